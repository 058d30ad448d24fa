//! What watches a fit: progress for people, history and state for the run directory.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use stakeout_core::{CoreError, EpochRecord, FitObserver, ModelError, files};

use crate::{TrainError, rundir};

/// Receives progress; the command line draws it, tests and libraries ignore it.
pub trait Progress: Send + Sync {
    /// A stage begins; `total` units of `unit` are expected (0 = unknown).
    fn stage(&self, name: &str, unit: &'static str, total: u64);
    /// So many units of the stage are done, with a short note (a loss, a verdict count).
    fn advance(&self, done: u64, total: u64, note: &str);
    /// A sentence worth keeping on screen.
    fn say(&self, text: &str);
}

/// Progress that goes nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn stage(&self, _name: &str, _unit: &'static str, _total: u64) {}
    fn advance(&self, _done: u64, _total: u64, _note: &str) {}
    fn say(&self, _text: &str) {}
}

const STATE: &str = "state.stk";
const STATE_MAGIC: &[u8; 8] = b"STKSTATE";
const HEADER: usize = 8 + 8 + 8;
const DIGEST: usize = 32;

/// Keeps a fit's history and state in its run directory, so that a killed fit continues bit for bit.
///
/// `state.stk` holds the length of `history.jsonl` at the time of the state: what a killed process wrote after its last
/// state is cut off on resume, and written again by the epochs that are done again.
pub(crate) struct RunObserver<'a> {
    history: BufWriter<File>,
    history_path: PathBuf,
    state_path: PathBuf,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    note: String,
    notes: Vec<String>,
    state: Option<Vec<u8>>,
}

impl<'a> RunObserver<'a> {
    /// Opens the history of a run directory, cut back to the last kept state (or to nothing).
    pub(crate) fn open(
        folder: &Path,
        progress: &'a dyn Progress,
        cancel: &'a AtomicBool,
    ) -> Result<RunObserver<'a>, TrainError> {
        let history_path = folder.join("history.jsonl");
        let state_path = folder.join(STATE);
        let kept = read_state(&state_path)?;
        let (length, state) = kept.map_or((0, None), |(length, state)| (length, Some(state)));
        let io = |source| TrainError::io("opening", &history_path, source);
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&history_path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        if found < length {
            return Err(TrainError::run(
                folder,
                format!("history.jsonl is {found} bytes long, its state speaks of {length}: start again with --force"),
            ));
        }
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Self {
            history: BufWriter::new(file),
            history_path,
            state_path,
            progress,
            cancel,
            note: String::new(),
            notes: Vec::new(),
            state,
        })
    }

    /// Whether an earlier process left a state to go on from.
    pub(crate) fn continues(&self) -> bool {
        self.state.is_some()
    }

    /// What the fit remarked about itself.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The fit is done: brings the history to the disk.
    pub(crate) fn finish(mut self) -> Result<(), TrainError> {
        self.sync_history().map_err(TrainError::Core)?;
        Ok(())
    }

    /// Removes the state of a finished cell. Only after its result is written: a kill in between costs nothing.
    pub(crate) fn forget(folder: &Path) -> Result<(), TrainError> {
        rundir::remove_file(&folder.join(STATE))
    }

    fn sync_history(&mut self) -> Result<u64, CoreError> {
        let io = |source| CoreError::io("writing", &self.history_path, source);
        self.history.flush().map_err(io)?;
        self.history.get_ref().sync_data().map_err(io)?;
        Ok(self.history.get_ref().metadata().map_err(io)?.len())
    }
}

impl FitObserver for RunObserver<'_> {
    fn progress(&mut self, done: u64, total: u64) {
        self.progress.advance(done, total, &self.note);
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), ModelError> {
        self.note = match record.validation_macro_f1 {
            Some(f1) => format!("loss {:.4}, validation macro F1 {f1:.3}", record.train_loss),
            None => format!("loss {:.4}", record.train_loss),
        };
        let line = serde_json::to_string(record).map_err(|source| ModelError::Foreign {
            context: "writing the history".into(),
            source: Box::new(source),
        })?;
        writeln!(self.history, "{line}").map_err(|source| CoreError::io("writing", &self.history_path, source))?;
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn save_state(&mut self, state: &[u8]) -> Result<(), ModelError> {
        let length = self.sync_history()?;
        let mut bytes = Vec::with_capacity(HEADER + state.len() + DIGEST);
        bytes.extend_from_slice(STATE_MAGIC);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
        bytes.extend_from_slice(state);
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        files::write_atomic(&self.state_path, &bytes)?;
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(self.state.take())
    }
}

/// The kept history length and state, or `None` where no fit was interrupted.
fn read_state(path: &Path) -> Result<Option<(u64, Vec<u8>)>, TrainError> {
    const CAP: u64 = 8 << 30;
    let mut file = match files::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TrainError::io("reading", path, error)),
    };
    let io = |source| TrainError::io("reading", path, source);
    let size = file.metadata().map_err(io)?.len();
    let damaged = || {
        TrainError::run(
            path,
            "the kept state is damaged: remove it (or use --force) and the fit starts from its beginning",
        )
    };
    if size < (HEADER + DIGEST) as u64 || size > CAP {
        return Err(damaged());
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.read_to_end(&mut bytes).map_err(io)?;
    let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let (Some(history), Some(length)) = (word(8), word(16)) else { return Err(damaged()) };
    let (body, digest) = bytes.split_at(bytes.len() - DIGEST);
    let whole = length.checked_add((HEADER + DIGEST) as u64) == Some(size);
    if !whole || &body[..8] != STATE_MAGIC || blake3::hash(body).as_bytes() != digest {
        return Err(damaged());
    }
    Ok(Some((history, body[HEADER..].to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize) -> EpochRecord {
        EpochRecord { epoch, train_loss: 0.5, validation_loss: None, validation_macro_f1: None, learning_rate: 0.1 }
    }

    #[test]
    fn a_killed_fit_finds_its_state_and_the_history_up_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = AtomicBool::new(false);
        let mut first = RunObserver::open(folder.path(), &Quiet, &cancel).unwrap();
        assert_eq!(first.load_state().unwrap(), None);
        first.epoch(&record(1)).unwrap();
        first.save_state(b"after one").unwrap();
        first.epoch(&record(2)).unwrap();
        drop(first); // the second epoch reaches the disk, its state does not
        let mut second = RunObserver::open(folder.path(), &Quiet, &cancel).unwrap();
        assert_eq!(second.load_state().unwrap().as_deref(), Some(&b"after one"[..]));
        second.epoch(&record(2)).unwrap();
        second.finish().unwrap();
        RunObserver::forget(folder.path()).unwrap();
        let history = std::fs::read_to_string(folder.path().join("history.jsonl")).unwrap();
        assert_eq!(history.lines().count(), 2);
        assert!(!folder.path().join("state.stk").exists());
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = AtomicBool::new(false);
        let mut first = RunObserver::open(folder.path(), &Quiet, &cancel).unwrap();
        first.save_state(b"state").unwrap();
        drop(first);
        let path = folder.path().join("state.stk");
        let good = std::fs::read(&path).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(RunObserver::open(folder.path(), &Quiet, &cancel).is_err(), "byte {i}");
        }
    }
}
