//! The folder as a path: there are no calls relative to an opened one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::windows::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    io::Errno,
    net::{bind, listen},
};

use super::{BACKLOG, set};
use crate::{
    TransportError,
    system::{self, FolderMonitor, UnixAddress},
};

/// The file that is open while somebody holds the lock.
const LOCK: &str = ".lock";
/// What the system says of a file that somebody has open and shares with nobody.
const SHARING_VIOLATION: i32 = 32;

/// A folder that only this user can enter.
#[derive(Debug)]
pub struct Folder {
    pub(super) path: PathBuf,
}

/// Where the folder is, where nothing says so.
pub(super) fn usual() -> PathBuf {
    set("LOCALAPPDATA").unwrap_or_else(std::env::temp_dir).join("arrowlane")
}

impl Folder {
    /// Opens a folder by its path and makes it where it is missing (its parent has to exist).
    ///
    /// # Errors
    /// As [`open_default`](Self::open_default).
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        match system::make_private(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(TransportError::io("creating the folder of sockets", error))
            }
            _ => Self::open_existing(path),
        }
    }

    /// Opens a folder by its path.
    ///
    /// # Errors
    /// As [`open_default`](Self::open_default), and when it is not there.
    pub fn open_existing(path: &Path) -> Result<Self, TransportError> {
        let unsafe_folder = |reason: String| TransportError::UnsafeFolder { path: path.display().to_string(), reason };
        // Of a link it is said what the link is.
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(unsafe_folder("it is no folder".into())),
            Err(error) => return Err(unsafe_folder(format!("it cannot be opened as a folder ({error})"))),
        }
        match system::others_may_enter(path) {
            Ok(None) => Ok(Self { path: path.to_owned() }),
            Ok(Some(reason)) => Err(unsafe_folder(reason)),
            Err(error) => Err(unsafe_folder(format!("who may enter it cannot be found out ({error})"))),
        }
    }

    /// The address of a socket file in this folder.
    pub(in super::super) fn address(&self, file: &str) -> Result<UnixAddress, TransportError> {
        let path = self.path.join(file);
        if path.as_os_str().len() <= system::LONGEST_ADDRESS {
            return UnixAddress::new(path).map_err(|e| TransportError::io("making a socket address", e));
        }
        Err(TransportError::BadName { name: file.into(), reason: "its path does not fit into a socket address" })
    }

    /// Whether a connection failed because nobody listens at a file. Where there is no such file, the system has several
    /// ways to say so.
    pub(in super::super) fn is_absent(&self, file: &str, error: Errno) -> bool {
        error == Errno::CONNREFUSED || error != Errno::AGAIN && is_missing(fs::symlink_metadata(self.path.join(file)))
    }

    pub(in super::super) fn lock(&self) -> Result<FolderLock<'_>, TransportError> {
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The lock, unless somebody holds it.
    pub(in super::super) fn try_lock(&self) -> Result<Option<FolderLock<'_>>, TransportError> {
        let mut options = OpenOptions::new();
        match options.write(true).create(true).truncate(false).share_mode(0).open(self.path.join(LOCK)) {
            Ok(file) => Ok(Some(FolderLock { _file: file, folder: self })),
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
            Err(error) => Err(TransportError::io("locking the folder of sockets", error)),
        }
    }

    /// Starts to watch for sockets that appear.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn watch(&self) -> Result<FolderWatch, TransportError> {
        FolderMonitor::new().map(FolderWatch)
    }

    /// The sockets in this folder, by file name.
    pub fn files(&self) -> Result<Vec<String>, TransportError> {
        let failed = |e| TransportError::io("reading the folder", e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A socket is a file of a kind that has no name here.
            let file = entry.file_type().is_ok_and(|kind| !kind.is_dir());
            if let (true, Some(name)) = (file, entry.file_name().to_str())
                && !name.starts_with('.')
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

fn is_missing<T>(found: io::Result<T>) -> bool {
    found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The folder's lock; held while a socket file is made, taken over or removed. Released on drop, and by death: it is a file that
/// nobody else can open meanwhile.
pub(in super::super) struct FolderLock<'a> {
    _file: File,
    folder: &'a Folder,
}

impl FolderLock<'_> {
    /// There are no sockets without a name here.
    pub(in super::super) fn sweep(&self) {}

    /// Volume and number of a file, if it exists.
    pub(in super::super) fn identity(&self, file: &str) -> Option<(u64, u64)> {
        system::file_identity(&self.folder.path.join(file))
    }

    pub(in super::super) fn remove(&self, file: &str) -> Result<(), TransportError> {
        match fs::remove_file(self.folder.path.join(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(TransportError::io("removing a stale socket", error))
            }
            _ => Ok(()),
        }
    }

    /// Has a socket listen under a name that no file has. Whoever finds it in between is refused, and cannot take it for a dead one's
    /// without the lock; subscribers look again.
    pub(in super::super) fn listen(&self, socket: &OwnedFd, file: &str) -> Result<(), TransportError> {
        bind(socket, &self.folder.address(file)?).map_err(|e| TransportError::io("bind", e))?;
        let listening = listen(socket, BACKLOG).map_err(|e| TransportError::io("listen", e));
        if listening.is_err() {
            let _ = self.remove(file); // the first error is the one to report
        }
        listening
    }
}

/// Polls readable when a socket may have appeared in the folder.
pub struct FolderWatch(FolderMonitor);

impl FolderWatch {
    /// To be watched for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }

    /// Takes notice of what happened so far.
    pub fn drain(&self) {
        self.0.quiet();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_made_here_is_this_user_s_alone() {
        let parent = tempfile::tempdir().expect("tempdir");
        let path = parent.path().join("sockets");
        Folder::open(&path).expect("made");
        Folder::open(&path).expect("opened");
        assert_eq!(system::others_may_enter(&path).expect("asked"), None);
    }

    #[test]
    fn one_at_a_time_has_the_lock() {
        let parent = tempfile::tempdir().expect("tempdir");
        let folder = Folder { path: parent.path().to_owned() };
        let lock = folder.lock().expect("locked");
        assert!(folder.try_lock().expect("asked").is_none());
        drop(lock);
        assert!(folder.try_lock().expect("asked").is_some());
    }
}
