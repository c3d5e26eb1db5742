//! The folder of this user's sockets, and how a name becomes a file in it.

use std::{
    ffi::OsString,
    fmt::Write as _,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    net::SocketAddrUnix,
    process::geteuid,
};
use sha2::{Digest, Sha256};

use crate::{TransportError, system};

/// Longest name at all.
const MAX_NAME: usize = 1024;

/// A folder that only this user can enter, opened.
///
/// Everything is done relative to the opened folder, so renaming or replacing its path changes nothing for those who
/// hold it, and the length of its path does not count against the 107 bytes that a socket address can hold.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens this user's folder and makes it where it is missing: `$ARROWLANE_RUNTIME_DIR`, else
    /// `$XDG_RUNTIME_DIR/arrowlane`, else `arrowlane-<uid>` in the folder for temporary files.
    ///
    /// # Errors
    /// [`TransportError::UnsafeFolder`] when it belongs to somebody else or others can enter it.
    pub fn open_default() -> Result<Self, TransportError> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let path = set("ARROWLANE_RUNTIME_DIR")
            .or_else(|| set("XDG_RUNTIME_DIR").map(|dir| dir.join("arrowlane")))
            .unwrap_or_else(|| {
                system::DEFAULT_FOLDER
                    .map_or_else(std::env::temp_dir, PathBuf::from)
                    .join(format!("arrowlane-{}", geteuid().as_raw()))
            });
        Self::open(&path)
    }

    /// Opens a folder by its path and makes it where it is missing (its parent has to exist).
    ///
    /// # Errors
    /// As [`open_default`](Self::open_default).
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        match fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
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

    /// Its path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the file that stands for `name`: readable where that is possible, never a path.
    ///
    /// # Errors
    /// [`TransportError::BadName`] for an empty name, one over 1024 bytes, or one with a NUL.
    pub fn file_name(name: &str) -> Result<String, TransportError> {
        let bad = |reason| TransportError::BadName { name: name.chars().take(80).collect(), reason };
        if name.is_empty() {
            return Err(bad("it is empty"));
        }
        if name.len() > MAX_NAME {
            return Err(bad("it is longer than 1024 bytes"));
        }
        if name.contains('\0') {
            return Err(bad("it contains a NUL"));
        }
        let mut spelled = String::with_capacity(name.len());
        for (at, byte) in name.bytes().enumerate() {
            // A leading dot or tilde is reserved: for our own temporary names and for hashed ones.
            let plain = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || (byte == b'.' && at > 0);
            if plain {
                spelled.push(byte as char);
            } else {
                let _ = write!(spelled, "%{byte:02X}"); // writing to a String cannot fail
            }
        }
        if spelled.len() <= system::MAX_SPELLED {
            return Ok(spelled);
        }
        let mut hashed = String::from("~");
        for byte in Sha256::digest(name.as_bytes()) {
            let _ = write!(hashed, "{byte:02x}"); // writing to a String cannot fail
        }
        Ok(hashed)
    }

    /// The address of a socket file in this folder.
    pub(super) fn address(&self, file: &str) -> Result<SocketAddrUnix, TransportError> {
        let path = system::socket_path(self.descriptor.as_fd(), &self.path, file);
        if path.as_os_str().len() <= system::LONGEST_ADDRESS {
            return SocketAddrUnix::new(path).map_err(|e| TransportError::io("making a socket address", e));
        }
        Err(TransportError::BadName { name: file.into(), reason: "its file name does not fit into a socket address" })
    }

    pub(super) fn lock(&self) -> Result<FolderLock<'_>, TransportError> {
        loop {
            if let Some(lock) = self.flock(FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// The lock, unless somebody holds it.
    pub(super) fn try_lock(&self) -> Result<Option<FolderLock<'_>>, TransportError> {
        self.flock(FlockOperation::NonBlockingLockExclusive)
    }

    /// The lock, if it can be had within some milliseconds: it is held for microseconds, but its holder may be stopped.
    pub(super) fn lock_soon(&self) -> Option<FolderLock<'_>> {
        for _ in 0..20 {
            match self.try_lock() {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) => std::thread::sleep(std::time::Duration::from_millis(1)),
                Err(_) => return None,
            }
        }
        None
    }

    fn flock(&self, how: FlockOperation) -> Result<Option<FolderLock<'_>>, TransportError> {
        // A descriptor of its own: flock belongs to the open file, and two threads of this process must exclude
        // each other as well.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = fs::openat(&self.descriptor, ".", flags, Mode::empty()).map_err(|e| TransportError::io("open", e))?;
        match fs::flock(&own, how) {
            Ok(()) => Ok(Some(FolderLock { _descriptor: own, folder: self })),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::WOULDBLOCK) => Ok(None),
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
pub(super) struct FolderLock<'a> {
    _descriptor: OwnedFd,
    folder: &'a Folder,
}

impl FolderLock<'_> {
    /// Removes sockets that were never named: their makers died before they could. Under the lock nobody makes one.
    pub(super) fn sweep(&self) {
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
    pub(super) fn identity(&self, file: &str) -> Option<(u64, u64)> {
        let stat = fs::statat(&self.folder.descriptor, file, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(system::identity(&stat))
    }

    pub(super) fn remove(&self, file: &str) -> Result<(), TransportError> {
        match fs::unlinkat(&self.folder.descriptor, file, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(TransportError::io("removing a stale socket", error)),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), TransportError> {
        fs::renameat(&self.folder.descriptor, from, &self.folder.descriptor, to)
            .map_err(|e| TransportError::io("naming the socket", e))
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
    fn a_name_never_becomes_a_path() {
        for name in ["../../etc/passwd", "/abs", ".", "..", "a/b", ".hidden", "~home", "a\nb", "é", "%2F", "x y"] {
            let file = Folder::file_name(name).expect("usable");
            assert!(!file.contains('/') && !file.starts_with('.') && !file.starts_with('~'), "{name} became {file}");
        }
        assert_eq!(Folder::file_name("camera-1.raw_x").expect("usable"), "camera-1.raw_x");
        assert_ne!(Folder::file_name("a/b").expect("usable"), Folder::file_name("a%2Fb").expect("usable"));
        let long = Folder::file_name(&"x/".repeat(400)).expect("usable");
        assert!(long.starts_with('~') && long.len() == 65);
        for bad in ["", "a\0b", &"x".repeat(1025)] {
            assert!(matches!(Folder::file_name(bad), Err(TransportError::BadName { .. })));
        }
    }

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
