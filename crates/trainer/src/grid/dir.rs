//! The directory of a grid: `grid.toml`, a run directory a cell, and in the end `grid.json`.

use std::fs::File;
use std::path::{Path, PathBuf};

use stakeout_core::View;

use crate::rundir::{self, EXPERIMENT, GRID, GRID_RESULT, LOCK};
use crate::{Existing, Experiment, GridRecord, RunDir, ScalerChoice, TrainError};

/// A grid directory that no other process writes.
#[derive(Debug)]
pub struct GridDir {
    path: PathBuf,
    _lock: File,
}

impl GridDir {
    /// Makes or takes over a directory and locks it.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it is there and must not be touched, holds something that is no grid, or is locked by
    /// another process.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, TrainError> {
        // Looked at before anything is made in it, and again under the lock.
        if path.exists() && !is_grid(path) && !rundir::is_bare(path)? {
            return Err(TrainError::run(path, "it is there and is no grid: choose another --out"));
        }
        if existing == Existing::Continue && !is_grid(path) {
            return Err(TrainError::run(path, format!("there is no {GRID} to continue from")));
        }
        let dir = Self { path: path.to_owned(), _lock: rundir::make_and_lock(path)? };
        if existing == Existing::Refuse && is_grid(path) {
            return Err(TrainError::run(path, rundir::TAKEN));
        }
        rundir::remove_leftovers(path)?;
        if existing == Existing::Replace && is_grid(path) {
            dir.clear()?;
        }
        Ok(dir)
    }

    /// Says early that a directory cannot take a new grid; [`GridDir::open`] looks again.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it holds a grid.
    pub fn check_free(path: &Path) -> Result<(), TrainError> {
        if is_grid(path) { Err(TrainError::run(path, rundir::TAKEN)) } else { Ok(()) }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the runs of the grid and its own files, and nothing else; the settings last, so that what is left is
    /// still a grid.
    fn clear(&self) -> Result<(), TrainError> {
        rundir::remove_file(&self.path.join(GRID_RESULT))?;
        for folder in rundir::folders(&self.path, "")? {
            if !is_cell_name(&folder) {
                continue; // a run that somebody keeps beside the cells
            }
            if folder.join(EXPERIMENT).exists() {
                RunDir::open(&folder, Existing::Continue)?.remove()?;
            } else if rundir::is_bare(&folder)? {
                rundir::remove_leftovers(&folder)?;
                rundir::remove_file(&folder.join(LOCK))?;
                rundir::remove_dir(&folder)?;
            }
        }
        rundir::remove_file(&self.path.join(GRID))
    }
}

/// Whether a folder is named as a cell is: `<model>-<view>-<scaler>`.
fn is_cell_name(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let scalers = [ScalerChoice::None, ScalerChoice::Global, ScalerChoice::HostClean];
    let views = [View::Realistic, View::Oracle];
    scalers.iter().any(|scaler| views.iter().any(|view| name.ends_with(&format!("-{view}-{}", scaler.name()))))
}

/// Whether a directory holds a grid.
pub fn is_grid(path: &Path) -> bool {
    path.join(GRID).exists()
}

/// The settings that a grid was started with, and its record of data and code.
///
/// # Errors
/// [`TrainError`] when the directory holds no grid, or its settings cannot be read.
pub fn read_settings(path: &Path) -> Result<(Experiment, GridRecord), TrainError> {
    let file = path.join(GRID);
    if !file.exists() {
        return Err(TrainError::run(path, format!("there is no {GRID}: it is not a grid directory")));
    }
    let experiment = Experiment::read(Some(&file), &[])?;
    match experiment.grid.as_ref().and_then(|grid| grid.record.clone()) {
        Some(record) => Ok((experiment, record)),
        None => {
            Err(TrainError::run(path, format!("{GRID} has no [grid.record] section: it was not written by `train`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rundir::{METRICS, SUMMARY};

    #[test]
    fn a_grid_is_replaced_without_touching_what_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid");
        let first = GridDir::open(&path, Existing::Refuse).unwrap();
        assert!(GridDir::open(&path, Existing::Refuse).unwrap_err().to_string().contains("another process"));
        fs::write(path.join(GRID), "").unwrap();
        fs::write(path.join(GRID_RESULT), "{}").unwrap();
        let run = path.join("gbt-oracle-global");
        drop(RunDir::open(&run, Existing::Refuse).unwrap());
        fs::create_dir_all(run.join("fold-a/seed-1")).unwrap();
        fs::write(run.join(EXPERIMENT), "").unwrap();
        fs::write(run.join(SUMMARY), "").unwrap();
        fs::write(run.join("fold-a/seed-1").join(METRICS), "").unwrap();
        drop(RunDir::open(&path.join("gru-oracle-global"), Existing::Refuse).unwrap());
        // a run that was copied beside the cells, and one outside that a link leads to
        for kept in [path.join("my-own-run"), folder.path().join("outside")] {
            fs::create_dir(&kept).unwrap();
            fs::write(kept.join(EXPERIMENT), "").unwrap();
            fs::write(kept.join(METRICS), "{}").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path().join("outside"), path.join("gbt-realistic-global")).unwrap();
        fs::create_dir(path.join("notes")).unwrap();
        fs::write(path.join("notes/thesis.tex"), "years").unwrap();
        drop(first);
        assert!(GridDir::open(&path, Existing::Refuse).unwrap_err().to_string().contains("--resume"));
        assert!(RunDir::open(&path, Existing::Replace).is_err(), "a grid is no run");
        drop(GridDir::open(&path, Existing::Replace).unwrap());
        let mut left: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        left.retain(|name| name != "gbt-realistic-global");
        assert_eq!(left, [LOCK, "my-own-run", "notes"]);
        for kept in [path.join("my-own-run"), folder.path().join("outside")] {
            assert!(kept.join(EXPERIMENT).exists() && kept.join(METRICS).exists());
        }
        assert!(path.join("notes/thesis.tex").exists());
    }

    #[test]
    fn a_folder_that_is_no_grid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years").unwrap();
        for existing in [Existing::Refuse, Existing::Replace, Existing::Continue] {
            assert!(GridDir::open(folder.path(), existing).is_err());
        }
        assert!(read_settings(folder.path()).is_err() && folder.path().join("thesis.tex").exists());
    }
}
