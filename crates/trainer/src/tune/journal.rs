//! `trials.jsonl`: every finished evaluation, appended and synced, so that a killed search goes on from its last one.
//!
//! The first line says which search it is; another search does not go on from it. A line that a kill cut short is
//! removed; a damaged one is an error.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stakeout_core::files;
use stakeout_eval::TrainSide;

use super::space::Settings;
use crate::TrainError;

/// The name of the file.
pub const JOURNAL: &str = "trials.jsonl";
const VERSION: u32 = 1;
const LARGEST: u64 = 8 << 30;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    /// Digest of everything that decides the search.
    search: String,
}

/// Windows of one episode with one label and one prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell(
    /// Position of the episode in the data that was searched on.
    pub u32,
    /// Label.
    pub u16,
    /// Predicted class.
    pub u16,
    /// How many windows.
    pub u32,
);

/// What the fit of one trial gave on the test side of one inner fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// Sum over the windows of the log loss.
    pub log_loss: f64,
    /// The training side.
    pub train: TrainSide,
    /// The confusion counts of every episode, sorted.
    pub cells: Vec<Cell>,
}

/// One trial on one inner fold with so much of the resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Number of the trial; 0 is the configured settings.
    pub trial: usize,
    /// The rung on which it was made, from 1.
    pub rung: usize,
    /// How much of the resource it was given.
    pub resource: u64,
    /// Name of the inner fold.
    pub fold: String,
    /// Seed of the fit.
    pub seed: u64,
    /// The settings that were searched.
    pub settings: Settings,
    /// What came out; absent for a fit that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<Scored>,
    /// Why the fit failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The journal of a search that is going on.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Evaluations of an earlier process, in order, that were not asked for yet.
    kept: VecDeque<Evaluation>,
}

impl Journal {
    /// Opens the journal of a search, or begins one; `search` is the digest of everything that decides it.
    pub(super) fn open(folder: &Path, search: &str) -> Result<Self, TrainError> {
        let path = folder.join(JOURNAL);
        let io = |source| TrainError::io("opening", &path, source);
        let text = match files::read_regular(&path, LARGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(error)),
        };
        // A kill in the middle of a line leaves it without an end.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut kept = VecDeque::new();
        for (i, line) in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let damaged =
                |why: String| TrainError::run(&path, format!("line {}: {why}; start again with --force", i + 1));
            if i == 0 {
                let header: Header = serde_json::from_slice(line).map_err(|e| damaged(e.to_string()))?;
                if header != (Header { version: VERSION, search: search.to_owned() }) {
                    return Err(damaged("it is of another search: the settings, the data or the code changed".into()));
                }
            } else {
                kept.push_back(serde_json::from_slice(line).map_err(|e| damaged(e.to_string()))?);
            }
        }
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let mut journal = Self { path, file, kept };
        if whole == 0 {
            journal.line(&Header { version: VERSION, search: search.to_owned() })?;
        }
        Ok(journal)
    }

    /// How many evaluations of an earlier process are still to be asked for.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The evaluation of an earlier process, where the next one in order is there.
    ///
    /// # Errors
    /// When the next one that is there is another: the search asks in the same order every time.
    pub(super) fn next(&mut self, trial: usize, resource: u64, fold: &str) -> Result<Option<Evaluation>, TrainError> {
        match self.kept.pop_front() {
            None => Ok(None),
            Some(next) if (next.trial, next.resource, next.fold.as_str()) == (trial, resource, fold) => Ok(Some(next)),
            Some(next) => Err(TrainError::run(
                &self.path,
                format!(
                    "trial {} on {} stands where trial {trial} on {fold} belongs; start again with --force",
                    next.trial, next.fold
                ),
            )),
        }
    }

    /// Keeps a finished evaluation.
    pub(super) fn push(&mut self, evaluation: &Evaluation) -> Result<(), TrainError> {
        self.line(evaluation)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(value).map_err(|e| TrainError::run(&self.path, e.to_string()))?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|source| TrainError::io("writing", &self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(trial: usize) -> Evaluation {
        Evaluation {
            trial,
            rung: 1,
            resource: 4,
            fold: "host-1".into(),
            seed: 1,
            settings: Settings::from([("train.learning_rate".into(), serde_json::json!(0.1 + 0.2))]),
            scored: Some(Scored {
                log_loss: 1.0 / 3.0,
                train: TrainSide { windows: vec![3, 4], episodes: 2, hosts: 1 },
                cells: vec![Cell(0, 1, 0, 7)],
            }),
            failed: None,
        }
    }

    #[test]
    fn a_line_cut_short_anywhere_is_written_again_to_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        let mut journal = Journal::open(folder.path(), "abc").unwrap();
        for trial in 0..3 {
            assert_eq!(journal.next(trial, 4, "host-1").unwrap(), None);
            journal.push(&evaluation(trial)).unwrap();
        }
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in (0..=whole.len()).step_by(23).chain([whole.len()]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(folder.path(), "abc").unwrap();
            for trial in 0..3 {
                match journal.next(trial, 4, "host-1").unwrap() {
                    Some(kept) => assert_eq!(kept, evaluation(trial)),
                    None => journal.push(&evaluation(trial)).unwrap(),
                }
            }
            assert!(std::fs::read(&path).unwrap() == whole, "cut at byte {cut}");
        }
    }

    #[test]
    fn another_search_and_damage_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "abc").unwrap();
        journal.push(&evaluation(0)).unwrap();
        assert!(Journal::open(folder.path(), "abd").is_err());
        let mut again = Journal::open(folder.path(), "abc").unwrap();
        assert_eq!(again.kept(), 1);
        assert!(again.next(1, 4, "host-1").unwrap_err().to_string().contains("--force"));
        let path = folder.path().join(JOURNAL);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"trial\"", "\"trail\"")).unwrap();
        let message = Journal::open(folder.path(), "abc").err().unwrap().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}
