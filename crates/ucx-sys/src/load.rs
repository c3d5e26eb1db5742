//! Finding and opening the library.

use std::{
    ffi::{CStr, OsStr},
    fmt,
    path::{Path, PathBuf},
};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;

use crate::bindings::{UCP_API_MAJOR, UCP_API_MINOR, Ucp};

/// The oldest release that is supported, and tested.
pub const OLDEST: Version = Version { major: 1, minor: 13, release: 0 };

/// The file's name on every Linux.
const FILE: &str = "libucp.so.0";

/// Names a library file, or the folder it lies in, from outside: as [`Search::explicit`], where that is not set.
const VARIABLE: &str = "ARROWLANE_UCX_LIBRARY";

/// What the library must find in the environment when it is opened. Each is set only where the user has not.
const ENVIRONMENT: [(&str, &str); 6] = [
    // Else its constructor takes SIGSEGV, SIGBUS, SIGFPE and SIGILL over, prints and freezes where Node would have gone on or exited.
    ("UCX_HANDLE_ERRORS", "none"),
    // And the signal with which one prints its state: SIGHUP, by default.
    ("UCX_DEBUG_SIGNO", ""),
    // Else it patches mmap, munmap and malloc_trim in the running process, for a cache of registrations that TCP does not have.
    ("UCX_MEM_EVENTS", "n"),
    // Writes to a peer's memory that TCP has to imitate: 1.13 aborts when a connection is closed before one was acknowledged.
    ("UCX_TCP_PUT_ENABLE", "n"),
    // What goes wrong is returned as an error; by default it is printed too, and to standard output.
    ("UCX_LOG_LEVEL", "fatal"),
    ("UCX_LOG_FILE", "stderr"),
];

/// A release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1.
    pub major: u32,
    /// Grows with every release.
    pub minor: u32,
    /// Corrections.
    pub release: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.release)
    }
}

/// Where to look. The first library that opens is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// A library file, or the folder that holds `libucp.so.0`. Where it is set, nothing else is tried.
    pub explicit: Option<PathBuf>,
    /// A folder that holds `libucp.so.0` and the libraries beside it, for machines where the system has none.
    pub bundled: Option<PathBuf>,
}

/// The opened library.
pub struct Library {
    /// Its functions.
    pub ucp: Ucp,
    version: Version,
    path: PathBuf,
}

impl Library {
    /// Its release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the interface to ask `ucp_init_version` for: that of the bindings, or of the library where that is older.
    pub fn interface(&self) -> (u32, u32) {
        (UCP_API_MAJOR, UCP_API_MINOR.min(self.version.minor))
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("version", &self.version).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why there is no library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// None could be opened.
    #[error(
        "no UCX library could be opened ({tried}); install one (Debian, Ubuntu: apt install libucx0; or the libraries of the \
         libucx-cu12 wheel), or name its file in {VARIABLE}"
    )]
    Missing {
        /// What was tried and what the system said.
        tried: String,
    },
    /// One was opened and is too old, or too new.
    #[error(
        "{path} is UCX {version}: version {OLDEST} or newer of UCX 1 is needed; install another, or name its file in {VARIABLE}"
    )]
    Version {
        /// The library's file.
        path: String,
        /// Its version.
        version: Version,
    },
}

static LOADED: Mutex<Option<&'static Library>> = Mutex::new(None);

/// The library, if it was loaded before.
pub fn loaded() -> Option<&'static Library> {
    *LOADED.lock()
}

/// The process's library: what was loaded before, else the first that is found. A failure is not remembered, as one may be installed later.
///
/// The first call sets `UCX_HANDLE_ERRORS=none`, `UCX_DEBUG_SIGNO=`, `UCX_MEM_EVENTS=n`, `UCX_TCP_PUT_ENABLE=n`, `UCX_LOG_LEVEL=fatal` and `UCX_LOG_FILE=stderr` in
/// the process's environment where they are not set, because UCX reads them while it is opened: otherwise it would take over signals of the process,
/// patch its memory functions, and print to standard output. They stay set, for the process and its children.
///
/// # Errors
/// [`LoadError::Missing`] where none opens, [`LoadError::Version`] for one that cannot be used.
pub fn load(search: &Search) -> Result<&'static Library, LoadError> {
    let mut loaded = LOADED.lock();
    if let Some(library) = *loaded {
        return Ok(library);
    }
    let library: &'static Library = Box::leak(Box::new(open(search)?));
    *loaded = Some(library);
    Ok(library)
}

fn open(search: &Search) -> Result<Library, LoadError> {
    for (name, value) in ENVIRONMENT {
        if std::env::var_os(name).is_none() {
            // SAFETY: a write to the environment must not meet a reader on another thread. Rust's own readers are locked out; those of C are not, so
            // this is done once in the life of the process, before UCX (which reads them) exists, and callers are told to load early.
            unsafe { std::env::set_var(name, value) };
        }
    }
    let named =
        search.explicit.clone().or_else(|| std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from));
    let candidates = match named {
        Some(path) => vec![in_folder(path)],
        None => {
            let bundled = search.bundled.clone().map(in_folder);
            std::iter::once(PathBuf::from(FILE)).chain(bundled).collect()
        }
    };
    let mut tried = Vec::new();
    for path in candidates {
        match open_file(path.as_os_str()) {
            Ok(ucp) => return check(ucp, &path),
            Err(error) => tried.push(error.to_string()),
        }
    }
    Err(LoadError::Missing { tried: tried.join("; ") })
}

fn in_folder(path: PathBuf) -> PathBuf {
    if path.is_dir() { path.join(FILE) } else { path }
}

fn open_file(file: &OsStr) -> Result<Ucp, libloading::Error> {
    // SAFETY: opening it runs UCX's constructors, which are made for that; what they would do to the process is switched off above. The
    // functions have the types of the headers, whose releases only ever add to them.
    unsafe { Ucp::from_library(Handle::open(Some(file), RTLD_NOW | RTLD_LOCAL)?) }
}

fn check(ucp: Ucp, asked: &Path) -> Result<Library, LoadError> {
    let (mut major, mut minor, mut release) = (0, 0, 0);
    // SAFETY: the function writes three numbers.
    unsafe { (ucp.ucp_get_version)(&mut major, &mut minor, &mut release) };
    let version = Version { major, minor, release };
    let path = file_of(&ucp).unwrap_or_else(|| asked.into());
    if major != OLDEST.major || version < OLDEST {
        return Err(LoadError::Version { path: path.display().to_string(), version });
    }
    Ok(Library { ucp, version, path })
}

/// Which file a function lies in.
fn file_of(ucp: &Ucp) -> Option<PathBuf> {
    // SAFETY: all zeros is a valid value of this struct of pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let function = ucp.ucp_get_version as *const std::ffi::c_void;
    // SAFETY: it only looks the address up and fills the struct.
    let found = unsafe { libc::dladdr(function, &mut info) } != 0 && !info.dli_fname.is_null();
    // SAFETY: the name is a C string that lives as long as the library is open, and it is copied here.
    found.then(|| unsafe { CStr::from_ptr(info.dli_fname) }.to_str().ok().map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_named_with_what_to_install() {
        let folder = PathBuf::from("/nonexistent/ucx");
        let error = open(&Search { explicit: Some(folder), bundled: None }).expect_err("nothing is there");
        let text = error.to_string();
        assert!(
            text.contains("/nonexistent/ucx") && text.contains("apt install libucx0") && text.contains(VARIABLE),
            "{text}"
        );
    }
}
