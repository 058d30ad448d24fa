//! The directory of a search: locked while it is written, never overwritten unasked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use stakeout_core::files;

use super::journal::JOURNAL;
use crate::rundir::remove_leftovers;
use crate::{Existing, TrainError};

/// The settings that were searched with, complete; written first.
pub const SEARCH: &str = "search.toml";
/// The best settings, as an experiment that `train --config` takes.
pub const BEST: &str = "best.toml";
/// The whole history, one row a trial, rung and inner fold.
pub const TRIALS: &str = "trials.parquet";
/// The result; written last.
pub const RESULT: &str = "tune.json";
/// How the directory of one outer fold begins.
const FOLD: &str = "fold-";
const LOCK: &str = ".lock";
const TAKEN: &str = "it is there already: continue it with --resume, start over with --force, or choose another --out";

/// The directory of a search that no other process writes.
#[derive(Debug)]
pub struct SearchDir {
    path: PathBuf,
    /// Held for its lock; the directory of a fold has the whole search's.
    _lock: Option<File>,
}

impl SearchDir {
    /// Makes or takes over a directory and locks it.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it is there and must not be touched, holds something that is no search, or is locked by
    /// another process.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, TrainError> {
        let io = |source| TrainError::io("making", path, source);
        let foreign = |entry: std::io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                name != LOCK && !name.to_string_lossy().starts_with(files::TEMPORARY_PREFIX)
            })
        };
        if path.exists() && !is_search(path) && fs::read_dir(path).map_err(io)?.any(foreign) {
            return Err(TrainError::run(path, "it is there and is no search: choose another --out"));
        }
        if existing == Existing::Continue && !is_search(path) {
            return Err(TrainError::run(path, format!("there is no {SEARCH} to continue from")));
        }
        fs::create_dir_all(path).map_err(io)?;
        let lock_path = path.join(LOCK);
        let lock = files::open_lock(&lock_path).map_err(|e| TrainError::io("locking", &lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(TrainError::run(path, "another process is writing it")),
            Err(fs::TryLockError::Error(error)) => return Err(TrainError::io("locking", &lock_path, error)),
        }
        if existing == Existing::Refuse && is_search(path) {
            return Err(TrainError::run(path, TAKEN));
        }
        remove_leftovers(path)?;
        if existing == Existing::Replace {
            for entry in fs::read_dir(path).map_err(io)? {
                let entry = entry.map_err(io)?;
                if entry.file_name().to_string_lossy().starts_with(FOLD) && entry.path().is_dir() {
                    clear(&entry.path())?;
                    fs::remove_dir(entry.path()).map_err(io)?;
                }
            }
            clear(path)?;
        }
        Ok(Self { path: path.to_owned(), _lock: Some(lock) })
    }

    /// The directory of one outer fold below this one, made or continued.
    ///
    /// # Errors
    /// As [`SearchDir::open`].
    pub fn below(&self, fold: &str) -> Result<Self, TrainError> {
        let path = self.path.join(format!("{FOLD}{fold}"));
        fs::create_dir_all(&path).map_err(|e| TrainError::io("making", &path, e))?;
        remove_leftovers(&path)?;
        // The lock of the whole search is held: nobody else writes below it.
        Ok(Self { path, _lock: None })
    }

    /// Says early that a directory cannot take a new search; [`SearchDir::open`] looks again.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it holds one.
    pub fn check_free(path: &Path) -> Result<(), TrainError> {
        if is_search(path) { Err(TrainError::run(path, TAKEN)) } else { Ok(()) }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the files that a search is made of, and nothing else. The result goes first and the settings last: what is
/// left looks neither finished nor foreign.
fn clear(path: &Path) -> Result<(), TrainError> {
    remove_leftovers(path)?;
    for name in [RESULT, BEST, TRIALS, JOURNAL, SEARCH] {
        match fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(TrainError::io("removing", &path.join(name), error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_search(path: &Path) -> bool {
    path.join(SEARCH).exists()
}
