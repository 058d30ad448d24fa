//! The directory of a search: locked while it is written, never overwritten unasked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::journal::JOURNAL;
use crate::rundir::{self, TAKEN, remove_leftovers};
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
        // Looked at before anything is made in it, and again under the lock.
        if path.exists() && !is_search(path) && !rundir::is_bare(path)? {
            return Err(TrainError::run(path, "it is there and is no search: choose another --out"));
        }
        if existing == Existing::Continue && !is_search(path) {
            return Err(TrainError::run(path, format!("there is no {SEARCH} to continue from")));
        }
        let lock = rundir::make_and_lock(path)?;
        if existing == Existing::Refuse && is_search(path) {
            return Err(TrainError::run(path, TAKEN));
        }
        remove_leftovers(path)?;
        if existing == Existing::Replace {
            for fold in rundir::folders(path, FOLD)? {
                clear(&fold)?;
                fs::remove_dir(&fold).map_err(|e| TrainError::io("removing", &fold, e))?;
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
    [RESULT, BEST, TRIALS, JOURNAL, SEARCH].into_iter().try_for_each(|name| rundir::remove_file(&path.join(name)))
}

fn is_search(path: &Path) -> bool {
    path.join(SEARCH).exists()
}
