//! Where a run is copied and judged before it is anybody's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use stakeout_core::files::{self, TEMPORARY_PREFIX};
use tempfile::TempDir;

use super::{CANDIDATES, CURRENT, LOCK, entry};
use crate::EvidenceError;

/// A private folder inside a registry, gone when dropped. Its lock says that its process is alive.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    _alive: File,
}

impl Stage {
    pub(super) fn make(registry: &Path) -> Result<Self, EvidenceError> {
        let io = |source| EvidenceError::io("making a folder in", registry, source);
        let folder = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(registry).map_err(io)?;
        let alive = files::open_lock(&folder.path().join(LOCK)).map_err(io)?;
        alive.lock().map_err(io)?;
        Ok(Self { folder, _alive: alive })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the run's files are copied to.
    pub fn entry(&self) -> PathBuf {
        self.folder.path().join("entry")
    }
}

/// Removes what killed processes left. Called under the registry's lock, under which every stage is made and locked.
pub(super) fn remove_dead(registry: &Path) {
    let Ok(entries) = fs::read_dir(registry) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX));
        if !temporary || !path.is_dir() || fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink()) {
            continue;
        }
        let alive = files::open_regular(&path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err());
        if !alive {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(&path);
        }
    }
    for folder in [CURRENT, CANDIDATES].map(|name| registry.join(name)) {
        let entries = entry::ids(&folder).unwrap_or_default().into_iter().map(|id| folder.join(id));
        entries.chain([folder.clone()]).for_each(|place| remove_half_written(&place));
    }
}

/// Removes what a write that was killed left in a folder in which files are written under the registry's lock alone.
fn remove_half_written(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        if temporary && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
