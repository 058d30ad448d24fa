//! Writing files so that a crash leaves the old content or the new, never half of one.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Write};
use std::path::Path;

use crate::CoreError;

/// What is inside the error for a link, folder, FIFO, socket or device: [`is_not_regular`] tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRegular;

impl fmt::Display for NotRegular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is a link, folder, FIFO, socket or device, not a regular file")
    }
}

impl std::error::Error for NotRegular {}

/// Whether opening failed because there is something else than a regular file.
pub fn is_not_regular(error: &Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<NotRegular>)
}

/// Opens a regular file for reading: no link is followed, no FIFO or device is waited for.
///
/// # Errors
/// The operating system's, or `InvalidInput` with [`NotRegular`] inside for what is no regular file.
pub fn open_regular(path: &Path) -> std::io::Result<File> {
    regular(path, OpenOptions::new().read(true))
}

/// Opens (or makes) a file to lock, without following a link and without touching its content.
///
/// # Errors
/// As [`open_regular`].
pub fn open_lock(path: &Path) -> std::io::Result<File> {
    regular(path, OpenOptions::new().write(true).create(true).truncate(false))
}

/// Reads a regular file of at most `cap` bytes; its length is looked at before anything is allocated.
///
/// # Errors
/// As [`open_regular`], and `InvalidInput` beyond the cap.
pub fn read_regular(path: &Path, cap: u64) -> std::io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let size = file.metadata()?.len();
    let too_large = || Error::new(ErrorKind::InvalidInput, format!("it is larger than the cap of {cap} bytes"));
    if size > cap {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap { Err(too_large()) } else { Ok(bytes) }
}

fn regular(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    let refused = || Error::new(ErrorKind::InvalidInput, NotRegular);
    let odd = || std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file());
    if odd() {
        return Err(refused());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    // Looked at again where opening fails: a link may have come in between, and is not followed.
    let file = options.open(path).map_err(|error| if odd() { refused() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused()) }
}

/// How the names of temporary files begin. A killed process leaves one behind; whoever owns the folder may remove it.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Writes a file through a temporary one in the same folder: write, sync, rename, sync the folder.
///
/// # Errors
/// [`CoreError::Io`]; the target is untouched and the temporary file removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), CoreError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomic`], with the content streamed by `write`.
///
/// # Errors
/// [`CoreError::Io`]; the target is untouched and the temporary file removed.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut std::io::BufWriter<&mut File>) -> std::io::Result<()>,
) -> Result<(), CoreError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source| CoreError::io("writing", path, source);
    let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder).map_err(failed)?;
    {
        let mut buffered = std::io::BufWriter::with_capacity(1 << 16, file.as_file_mut());
        write(&mut buffered).and_then(|()| buffered.flush()).map_err(failed)?;
    }
    set_default_permissions(file.as_file()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)
}

/// Temporary files are private; what replaces a user's file is as readable as any file they create.
#[cfg(unix)]
fn set_default_permissions(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_default_permissions(_file: &File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_or_a_fifo_is_refused_and_its_target_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("precious"), folder.path().join(".lock"));
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(is_not_regular(&open_lock(&link).unwrap_err()) && is_not_regular(&open_regular(&link).unwrap_err()));
        assert!(!is_not_regular(&open_regular(&folder.path().join("absent")).unwrap_err()));
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert!(open_regular(folder.path()).is_err());
        assert!(read_regular(&target, 3).unwrap_err().to_string().contains("cap of 3"));
    }

    #[test]
    fn replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"one").unwrap();
        let failed = write_atomic_with(&path, |file| {
            file.write_all(b"half")?;
            Err(Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
