//! Run directories: names, locks, what may be written where.
//!
//! A directory holds one cell (one fold, one seed), or, for many, `fold-<held-out>/seed-<n>/` and `summary.json`.
//! `metrics.json` is written last: where it stands, the cell is finished.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stakeout_core::{ExportFormat, files};

use crate::TrainError;
use crate::config::Experiment;
use crate::tune::SEARCH;

/// The fitted model.
pub const CHECKPOINT: &str = "checkpoint.stk";
/// Everything needed to repeat the run.
pub const EXPERIMENT: &str = "experiment.toml";
/// Scores of every validation and test window.
pub const PREDICTIONS: &str = "predictions.parquet";
/// The result.
pub const METRICS: &str = "metrics.json";
/// The result over many folds or seeds.
pub const SUMMARY: &str = "summary.json";
/// The settings of a grid.
pub const GRID: &str = "grid.toml";
/// The result of a grid.
pub const GRID_RESULT: &str = "grid.json";
/// The only file with wall-clock figures.
pub const TIMING: &str = "timing.json";
/// What stands behind the name of an export in the name of its test vectors.
pub const CASES_SUFFIX: &str = ".cases.json";
pub(crate) const LOCK: &str = ".lock";
pub(crate) const TAKEN: &str =
    "it is there already: continue it with --resume, start over with --force, or choose another --out";

/// What may happen to a directory that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error: nothing is ever overwritten unasked.
    Refuse,
    /// Its runs are removed first.
    Replace,
    /// What is finished is kept, what is not is continued.
    Continue,
}

/// A run directory that no other process writes.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes or takes over a directory and locks it.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it is there and must not be touched, holds something that is no run, or is locked by
    /// another process.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, TrainError> {
        // Looked at before anything is made in it, and again under the lock.
        if path.exists() && !is_run(path) && !is_bare(path)? {
            return Err(TrainError::run(path, "it is there and is no run: choose another --out"));
        }
        if existing == Existing::Continue && !is_run(path) {
            return Err(TrainError::run(path, format!("there is no {EXPERIMENT} to continue from")));
        }
        let dir = Self { path: path.to_owned(), _lock: make_and_lock(path)? };
        let there = is_run(path);
        if existing == Existing::Refuse && there {
            return Err(TrainError::run(path, TAKEN));
        }
        remove_leftovers(path)?;
        if existing == Existing::Replace && there {
            dir.clear()?;
        }
        Ok(dir)
    }

    /// Says early that a directory cannot take a new run; [`RunDir::open`] looks again.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it holds a run.
    pub fn check_free(path: &Path) -> Result<(), TrainError> {
        if path.is_file() {
            return Err(TrainError::run(path, "it is there and is no folder: choose another --out"));
        }
        if is_run(path) { Err(TrainError::run(path, TAKEN)) } else { Ok(()) }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the files that runs are made of, and nothing else; the root last, so that what is left is still a run.
    fn clear(&self) -> Result<(), TrainError> {
        for fold in folders(&self.path, "fold-")? {
            for seed in folders(&fold, "seed-")? {
                clear_cell(&seed)?;
                remove_dir(&seed)?;
            }
            remove_dir(&fold)?;
        }
        clear_cell(&self.path)
    }

    /// Removes the run and its directory.
    pub(crate) fn remove(self) -> Result<(), TrainError> {
        self.clear()?;
        let lock = self.path.join(LOCK);
        fs::remove_file(&lock).map_err(|e| TrainError::io("removing", &lock, e))?;
        remove_dir(&self.path)
    }
}

/// Removes an empty directory; one that holds something which no run made stays.
pub(crate) fn remove_dir(path: &Path) -> Result<(), TrainError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::DirectoryNotEmpty => {
            Err(TrainError::io("removing", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory where there is none, and locks it against other processes for as long as the file lives.
pub(crate) fn make_and_lock(path: &Path) -> Result<File, TrainError> {
    fs::create_dir_all(path).map_err(|e| TrainError::io("making", path, e))?;
    let lock_path = path.join(LOCK);
    let lock = files::open_lock(&lock_path).map_err(|e| TrainError::io("locking", &lock_path, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(TrainError::run(path, "another process is writing it")),
        Err(fs::TryLockError::Error(error)) => Err(TrainError::io("locking", &lock_path, error)),
    }
}

/// Whether a directory holds nothing but a lock and what killed writes left.
pub(crate) fn is_bare(path: &Path) -> Result<bool, TrainError> {
    let own = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name() == LOCK || is_leftover(&entry.file_name()))
    };
    Ok(fs::read_dir(path).map_err(|e| TrainError::io("reading", path, e))?.all(own))
}

pub(crate) fn is_run(path: &Path) -> bool {
    path.join(EXPERIMENT).exists()
}

/// A temporary file of a write that a kill cut short.
fn is_leftover(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(files::TEMPORARY_PREFIX)
}

/// Removes what killed writes left in a folder that this process has locked.
pub(crate) fn remove_leftovers(path: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(path).map_err(|e| TrainError::io("reading", path, e))? {
        let entry = entry.map_err(|e| TrainError::io("reading", path, e))?;
        if is_leftover(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::remove_file(entry.path()).map_err(|e| TrainError::io("removing", &entry.path(), e))?;
        }
    }
    Ok(())
}

/// The sub-folders of a folder whose name begins so, sorted.
pub(crate) fn folders(path: &Path, prefix: &str) -> Result<Vec<PathBuf>, TrainError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| TrainError::io("reading", path, e))? {
        let entry = entry.map_err(|e| TrainError::io("reading", path, e))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) && entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn clear_cell(path: &Path) -> Result<(), TrainError> {
    remove_leftovers(path)?;
    // The result goes first and the settings last: a half-removed run looks neither finished nor foreign.
    let own = [METRICS, SUMMARY, CHECKPOINT, PREDICTIONS, TIMING, "history.jsonl", "state.stk", EXPERIMENT];
    let exports = ExportFormat::ALL.map(ExportFormat::file_name).into_iter();
    let exports = exports.flat_map(|name| [name.to_owned(), format!("{name}{CASES_SUFFIX}")]);
    exports.chain(own.map(String::from)).try_for_each(|name| remove_file(&path.join(name)))
}

/// Removes a file that may be there.
pub(crate) fn remove_file(file: &Path) -> Result<(), TrainError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(TrainError::io("removing", file, error)),
    }
}

/// The directories of the cells of a run that is there: its own for a single one, else those below it, sorted.
pub(crate) fn cells(root: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if root.join(METRICS).exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for fold in folders(root, "fold-")? {
        found.extend(folders(&fold, "seed-")?);
    }
    Ok(found)
}

/// The directory of one cell: the run's own for a single one, else below it.
pub fn cell(root: &Path, fold: &str, seed: u64, single: bool) -> PathBuf {
    if single { root.to_owned() } else { root.join(format!("fold-{fold}")).join(format!("seed-{seed}")) }
}

/// Digest of all settings of a run with the complete configuration of its model.
pub fn settings_digest(model: &str, experiment: &Experiment, model_config: &serde_json::Value) -> String {
    let mut decides = experiment.clone();
    decides.run = None;
    decides.tune = None;
    decides.grid = None;
    decides.chosen.clear(); // says why, changes nothing
    decides.train.clear(); // part of the model's own section
    decides.model = serde_json::Map::from_iter([(model.to_owned(), model_config.clone())]);
    let text = serde_json::to_string(&decides).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// The default name of a run: `<model>-<recipe>-<view>-<seed>-<hash8>`; the hash is over everything that decides it.
pub fn default_name(model: &str, experiment: &Experiment, model_config: &serde_json::Value, data: &str) -> String {
    let seeds: Vec<String> = experiment.seed.list().iter().map(u64::to_string).collect();
    let hash = blake3::hash((settings_digest(model, experiment, model_config) + data).as_bytes()).to_hex();
    let plain = |name: &str| name.replace('/', "_");
    format!("{}-{}-{}-{}-{}", plain(model), plain(&experiment.recipe), experiment.view, seeds.join("+"), &hash[..8])
}

/// The checkpoint of a run directory of one cell.
///
/// # Errors
/// [`TrainError::Run`] for a directory that is none, holds many cells or was not finished.
pub fn checkpoint(path: &Path) -> Result<PathBuf, TrainError> {
    let file = path.join(CHECKPOINT);
    if file.exists() {
        return Ok(file);
    }
    let experiment = read_experiment(path)?;
    let fold = fs::read_dir(path).ok().and_then(|mut entries| {
        entries.find_map(|e| e.ok().filter(|e| e.file_name().to_string_lossy().starts_with("fold-")))
    });
    let why = match fold {
        Some(fold) => format!(
            "it holds many folds: name one, as {}",
            fold.path().join(format!("seed-{}", experiment.seed.list().first().unwrap_or(&1))).display()
        ),
        None => {
            format!("there is no {CHECKPOINT}: the run was not finished, continue it with `stakeout train --resume`")
        }
    };
    Err(TrainError::run(path, why))
}

/// Writes a value as indented JSON, atomically.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| TrainError::run(path, e.to_string()))?;
    text.push('\n');
    Ok(files::write_atomic(path, text.as_bytes())?)
}

/// Reads a JSON file of a run, of at most 256 MiB.
///
/// # Errors
/// [`TrainError::Run`] naming the line, or when it cannot be read.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, TrainError> {
    const CAP: u64 = 256 << 20;
    let text = files::read_regular(path, CAP).map_err(|source| TrainError::io("reading", path, source))?;
    serde_json::from_slice(&text).map_err(|e| TrainError::run(path, format!("line {}: {e}", e.line())))
}

/// Reads the experiment of a run directory.
///
/// # Errors
/// [`TrainError::Run`] when the directory is none.
pub fn read_experiment(path: &Path) -> Result<Experiment, TrainError> {
    let file = path.join(EXPERIMENT);
    if path.join(GRID).exists() {
        return Err(TrainError::run(path, "it is a grid: name one of the runs in it"));
    }
    if path.join(SEARCH).exists() {
        let why =
            "it is a search for settings: `stakeout tune --resume` continues it, its best.toml is for `train --config`";
        return Err(TrainError::run(path, why));
    }
    if !path.is_dir() {
        let what = if path.exists() { "it is a file" } else { "there is no such folder" };
        return Err(TrainError::run(path, format!("{what}: it is not a run directory")));
    }
    if !file.exists() {
        return Err(TrainError::run(path, format!("there is no {EXPERIMENT}: it is not a run directory")));
    }
    Experiment::read(Some(&file), &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_while_written_and_never_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let first = RunDir::open(&path, Existing::Refuse).unwrap();
        assert!(RunDir::open(&path, Existing::Refuse).unwrap_err().to_string().contains("another process"));
        fs::write(path.join(EXPERIMENT), "").unwrap();
        fs::write(path.join(METRICS), "{}").unwrap();
        drop(first);
        assert!(RunDir::open(&path, Existing::Refuse).unwrap_err().to_string().contains("--resume"));
        RunDir::open(&path, Existing::Replace).unwrap();
        assert!(!path.join(METRICS).exists());
    }

    #[test]
    fn a_folder_that_is_no_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years").unwrap();
        for existing in [Existing::Refuse, Existing::Replace, Existing::Continue] {
            assert!(RunDir::open(folder.path(), existing).is_err());
        }
        assert!(folder.path().join("thesis.tex").exists());
    }
}
