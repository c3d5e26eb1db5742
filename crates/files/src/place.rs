//! A file that appears under its name only when it is complete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where the bytes of an output go until it is finished.
///
/// A regular file is written beside its target: without a name where the system can do that (so that not even a
/// killed process leaves anything behind), else under a temporary name that is removed on drop. Pipes and devices
/// are written directly.
pub(crate) struct Place {
    target: PathBuf,
    pending: Pending,
}

enum Pending {
    /// Nothing to be done at the end: a pipe, a device, standard output.
    Direct,
    /// A file without a name, which gets one on commit.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// A file with a temporary name.
    Named(tempfile::TempPath),
}

impl Place {
    /// Opens the output; `-` is standard output. Bytes go into the returned writer.
    pub(crate) fn create(path: &Path) -> Result<(Self, Box<dyn Write + Send>)> {
        if path == Path::new("-") {
            return Ok((Self { target: path.to_owned(), pending: Pending::Direct }, Box::new(io::stdout())));
        }
        // Through a symbolic link the file behind it is replaced, and the link stays.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        match target.metadata() {
            Ok(found) if found.is_dir() => {
                return Err(Error::io("write", path, io::ErrorKind::IsADirectory.into()));
            }
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(&target).map_err(|e| Error::io("write", path, e))?;
                return Ok((Self { target, pending: Pending::Direct }, Box::new(file)));
            }
            _ => {}
        }
        let (pending, file) = beside(&target).map_err(|e| Error::io("write", path, e))?;
        Ok((Self { target, pending }, Box::new(file)))
    }

    /// A file without a name on the same disk, for what does not fit into memory.
    pub(crate) fn scratch(&self) -> Result<File> {
        let file = match self.pending {
            Pending::Direct => tempfile::tempfile(),
            _ => tempfile::tempfile_in(folder(&self.target)),
        };
        file.map_err(|e| Error::io("make a temporary file for", &self.target, e))
    }

    /// Gives the finished file its name, replacing what had it. Everything must have been flushed.
    pub(crate) fn commit(self) -> Result<()> {
        let done = match self.pending {
            Pending::Direct => Ok(()),
            #[cfg(target_os = "linux")]
            Pending::Unnamed(file) => linux::give_name(&file, &self.target),
            Pending::Named(name) => name.persist(&self.target).map_err(|e| e.error),
        };
        done.map_err(|e| Error::io("name", &self.target, e))
    }
}

fn folder(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(target: &Path) -> io::Result<(Pending, File)> {
    #[cfg(target_os = "linux")]
    if let Some(file) = linux::unnamed(folder(target)) {
        let writer = file.try_clone()?;
        return Ok((Pending::Unnamed(file), writer));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".arrowlane-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file; the umask is taken off by the system.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let (file, name) = builder.tempfile_in(folder(target))?.into_parts();
    Ok((Pending::Named(name), file))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags};

    /// A file without a name in a folder; None where the file system cannot do that, or any other hindrance that
    /// the ordinary way will report better.
    pub(super) fn unnamed(folder: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)).ok().map(File::from)
    }

    /// Links the file beside its target and renames it over, because a link alone replaces nothing.
    pub(super) fn give_name(file: &File, target: &Path) -> io::Result<()> {
        // A name that is free: taken from a temporary folder of our own beside the target, gone on return.
        let folder = tempfile::Builder::new().prefix(".arrowlane-").tempdir_in(super::folder(target))?;
        let name = folder.path().join("finished");
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, itself, CWD, &name, AtFlags::SYMLINK_FOLLOW)?;
        std::fs::rename(&name, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_name_until_it_is_committed_and_nothing_remains_of_a_dropped_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.arrow");
        std::fs::write(&target, "before").unwrap();
        let list = || std::fs::read_dir(folder.path()).unwrap().count();

        let (place, mut writer) = Place::create(&target).unwrap();
        writer.write_all(b"after").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "before");
        drop((place, writer));
        assert_eq!((list(), std::fs::read_to_string(&target).unwrap().as_str()), (1, "before"));

        let (place, mut writer) = Place::create(&target).unwrap();
        writer.write_all(b"after").unwrap();
        drop(writer);
        place.commit().unwrap();
        assert_eq!((list(), std::fs::read_to_string(&target).unwrap().as_str()), (1, "after"));
    }

    #[test]
    fn the_named_way_of_other_systems_replaces_and_cleans_up_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.arrow");
        let name = tempfile::NamedTempFile::new_in(folder.path()).unwrap().into_temp_path();
        Place { target: target.clone(), pending: Pending::Named(name) }.commit().unwrap();
        assert!(target.exists());
        let name = tempfile::NamedTempFile::new_in(folder.path()).unwrap().into_temp_path();
        drop(Place { target, pending: Pending::Named(name) });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let (place, mut writer) = Place::create(Path::new("/dev/null")).unwrap();
        writer.write_all(b"x").unwrap();
        place.commit().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Place::create(&link).unwrap().0.commit().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    }
}
