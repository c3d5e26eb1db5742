//! The folder of this user's sockets, and how a name becomes a file in it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{TransportError, system};

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as here;
#[cfg(windows)]
use windows as here;

pub(super) use here::FolderLock;
pub use here::{Folder, FolderWatch};

/// Longest name at all.
const MAX_NAME: usize = 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 256;

impl Folder {
    /// Opens this user's folder and makes it where it is missing: `$ARROWLANE_RUNTIME_DIR`, else
    /// `$XDG_RUNTIME_DIR/arrowlane`, else `arrowlane-<uid>` in the folder for temporary files; on Windows
    /// `%ARROWLANE_RUNTIME_DIR%`, else `%LOCALAPPDATA%\arrowlane`.
    ///
    /// # Errors
    /// [`TransportError::UnsafeFolder`] when it belongs to somebody else or others can enter it.
    pub fn open_default() -> Result<Self, TransportError> {
        Self::open(&set("ARROWLANE_RUNTIME_DIR").unwrap_or_else(here::usual))
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
        for byte in &Sha256::digest(name.as_bytes())[..system::HASHED] {
            let _ = write!(hashed, "{byte:02x}"); // writing to a String cannot fail
        }
        Ok(hashed)
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
}

/// What a variable of the environment says.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
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
        assert!(long.starts_with('~') && long.len() == 1 + 2 * system::HASHED);
        for bad in ["", "a\0b", &"x".repeat(1025)] {
            assert!(matches!(Folder::file_name(bad), Err(TransportError::BadName { .. })));
        }
    }
}
