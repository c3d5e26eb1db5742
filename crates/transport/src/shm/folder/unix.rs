//! The folder as a descriptor: everything is done relative to it.

use std::{
    ffi::OsString,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
    net::{bind, listen},
    process::geteuid,
};

use super::{BACKLOG, set};
use crate::{
    TransportError,
    system::{self, UnixAddress},
};

/// A folder that only this user can enter, opened.
///
/// Everything is done relative to the opened folder, so renaming or replacing its path changes nothing for those who
/// hold it, and the length of its path does not count against the 107 bytes that a socket address can hold.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
    pub(super) path: PathBuf,
}

/// Where the folder is, where nothing says so.
pub(super) fn usual() -> PathBuf {
    if let Some(folder) = set("XDG_RUNTIME_DIR") {
        return folder.join("arrowlane");
    }
    let name = format!("arrowlane-{}", geteuid().as_raw());
    system::DEFAULT_FOLDER.map_or_else(std::env::temp_dir, PathBuf::from).join(name)
}

impl Folder {
    /// Opens a folder by its path and makes it where it is missing (its parent has to exist).
    ///
    /// # Errors
    /// As [`open_default`](Self::open_default).
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        match fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(TransportError::io("creating the folder of sockets", error)),
        }
        Self::open_existing(path)
    }

    /// Opens a folder by its path.
    ///
    /// # Errors
    /// As [`open_default`](Self::open_default), and when it is not there.
    pub fn open_existing(path: &Path) -> Result<Self, TransportError> {
        let unsafe_folder = |reason: String| TransportError::UnsafeFolder { path: path.display().to_string(), reason };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = fs::open(path, flags, Mode::empty())
            .map_err(|e| unsafe_folder(format!("it cannot be opened as a folder ({e})")))?;
        let stat = fs::fstat(&descriptor).map_err(|e| TransportError::io("fstat", e))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(unsafe_folder(format!("it belongs to user {}", stat.st_uid)));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(unsafe_folder(format!("others may enter it (mode {:o})", stat.st_mode & 0o777)));
        }
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// The address of a socket file in this folder.
    pub(in super::super) fn address(&self, file: &str) -> Result<UnixAddress, TransportError> {
        let path = system::socket_path(self.descriptor.as_fd(), &self.path, file);
        if path.as_os_str().len() <= system::LONGEST_ADDRESS {
            return UnixAddress::new(path).map_err(|e| TransportError::io("making a socket address", e));
        }
        Err(TransportError::BadName { name: file.into(), reason: "its file name does not fit into a socket address" })
    }

    /// Whether a connection failed because nobody listens at a file.
    pub(in super::super) fn is_absent(&self, _file: &str, error: Errno) -> bool {
        matches!(error, Errno::NOENT | Errno::CONNREFUSED)
    }

    pub(in super::super) fn lock(&self) -> Result<FolderLock<'_>, TransportError> {
        loop {
            if let Some(lock) = self.flock(FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// The lock, unless somebody holds it.
    pub(in super::super) fn try_lock(&self) -> Result<Option<FolderLock<'_>>, TransportError> {
        self.flock(FlockOperation::NonBlockingLockExclusive)
    }

    fn flock(&self, how: FlockOperation) -> Result<Option<FolderLock<'_>>, TransportError> {
        // A descriptor of its own: flock belongs to the open file, and two threads of this process must exclude
        // each other as well.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = fs::openat(&self.descriptor, ".", flags, Mode::empty()).map_err(|e| TransportError::io("open", e))?;
        match fs::flock(&own, how) {
            Ok(()) => Ok(Some(FolderLock { _descriptor: own, folder: self })),
            Err(Errno::INTR | Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(TransportError::io("flock", error)),
        }
    }

    /// Starts to watch for sockets that appear.
    ///
    /// # Errors
    /// When the user's limit of watches is reached.
    pub fn watch(&self) -> Result<FolderWatch, TransportError> {
        Ok(FolderWatch { descriptor: system::watch_folder(self.descriptor.as_fd())? })
    }

    /// The sockets in this folder, by file name.
    pub fn files(&self) -> Result<Vec<String>, TransportError> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.descriptor).map_err(|e| TransportError::io("reading the folder", e))? {
            let entry = entry.map_err(|e| TransportError::io("reading the folder", e))?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if let (FileType::Socket, Some(name)) = (entry.file_type(), name.to_str())
                && !name.starts_with('.')
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// The folder's lock; held while a socket file is made, taken over or removed. Released on drop, and by death.
pub(in super::super) struct FolderLock<'a> {
    _descriptor: OwnedFd,
    folder: &'a Folder,
}

impl FolderLock<'_> {
    /// Removes sockets that were never named: their makers died before they could. Under the lock nobody makes one.
    pub(in super::super) fn sweep(&self) {
        let Ok(entries) = fs::Dir::read_from(&self.folder.descriptor) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if let (FileType::Socket, Ok(name)) = (entry.file_type(), name.to_str())
                && name.starts_with('.')
            {
                let _ = self.remove(name); // a later one tries again
            }
        }
    }

    /// Device and inode of a file, if it exists.
    pub(in super::super) fn identity(&self, file: &str) -> Option<(u64, u64)> {
        let stat = fs::statat(&self.folder.descriptor, file, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(system::identity(&stat))
    }

    pub(in super::super) fn remove(&self, file: &str) -> Result<(), TransportError> {
        match fs::unlinkat(&self.folder.descriptor, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(TransportError::io("removing a stale socket", error)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), TransportError> {
        fs::renameat(&self.folder.descriptor, from, &self.folder.descriptor, to)
            .map_err(|e| TransportError::io("naming the socket", e))
    }

    /// Has a socket listen under a name that no file has: it is bound under a temporary one, and renamed once it listens.
    pub(in super::super) fn listen(&self, socket: &OwnedFd, file: &str) -> Result<(), TransportError> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|e| TransportError::io("getrandom", std::io::Error::other(e)))?;
        let temporary = format!(".{:016x}", u64::from_ne_bytes(random));
        bind(socket, &self.folder.address(&temporary)?).map_err(|e| TransportError::io("bind", e))?;
        let named = listen(socket, BACKLOG)
            .map_err(|e| TransportError::io("listen", e))
            .and_then(|()| self.rename(&temporary, file));
        if named.is_err() {
            let _ = self.remove(&temporary); // the first error is the one to report
        }
        named
    }
}

/// Polls readable when a socket appeared in the folder.
pub struct FolderWatch {
    descriptor: OwnedFd,
}

impl FolderWatch {
    /// To be watched for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Takes notice of what happened so far.
    pub fn drain(&self) {
        let mut bytes = [0u8; 4096];
        while matches!(rustix::io::read(&self.descriptor, &mut bytes), Ok(n) if n > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().expect("tempdir");
        let path = parent.path().join("sockets");
        Folder::open(&path).expect("made");
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(matches!(Folder::open(&path), Err(TransportError::UnsafeFolder { .. })));
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        assert!(matches!(Folder::open(&link), Err(TransportError::UnsafeFolder { .. })), "links are not followed");
    }
}
