//! Making a store in one step: it is built beside its place and moved there when it is whole. A kill leaves no half
//! store, a failure leaves the old one, nothing is replaced unasked, and nothing but a store is ever removed.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, bail};
use stakeout_telemetry::simulate::FAULTS_FILE;
use stakeout_telemetry::store::{EPISODES_FOLDER, INDEX_FILE};

use crate::interrupt::Begun;

/// What a store consists of; anything else in a folder was put there by somebody.
const OWN: [&str; 6] = ["corpus.toml", INDEX_FILE, EPISODES_FOLDER, FAULTS_FILE, "validation.parquet", ".lock"];

/// Builds a store with `make` and puts it at `path`. With `force`, a store that is there is replaced.
pub(crate) fn store<T>(path: &Path, force: bool, make: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    check(path, force)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let staging = tempfile::Builder::new().prefix(".partial-store-").tempdir_in(parent);
    let staging = staging.with_context(|| format!("making a folder in {}", parent.display()))?;
    let built = staging.path().join("store");
    let begun = Begun::in_folder(staging.path());
    let made = make(&built)?;
    drop(begun);
    // Looked at again: another process may have been here meanwhile.
    check(path, force)?;
    if path.exists() {
        let old = staging.path().join("old");
        std::fs::rename(path, &old).with_context(|| format!("moving the old {} away", path.display()))?;
    }
    std::fs::rename(&built, path).with_context(|| format!("moving {} into place", path.display()))?;
    Ok(made)
}

/// Whether a store may be put at `path`.
fn check(path: &Path, force: bool) -> anyhow::Result<()> {
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("looking at {}", path.display())),
    };
    if !about.is_dir() {
        bail!("{} is there and is no folder: choose another place", path.display());
    }
    let mut empty = true;
    for entry in std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
        let name = entry.with_context(|| format!("reading {}", path.display()))?.file_name();
        empty = false;
        if !OWN.iter().any(|own| name == OsStr::new(own)) {
            let name = name.to_string_lossy();
            bail!("{} holds `{name}`, which is no part of a store: choose another place", path.display());
        }
    }
    if !empty && !force {
        bail!("{} is there already: replace it with --force, or choose another place", path.display());
    }
    if let Ok(lock) = stakeout_core::files::open_regular(&path.join(".lock"))
        && matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock))
    {
        bail!("{}: another process is writing it", path.display());
    }
    Ok(())
}
