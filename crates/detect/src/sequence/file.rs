//! The model as a JSON file.
//!
//! n-grams are lists: the ids of their actions (0 and 1 are the start and the end mark, 3 is the first action of the
//! vocabulary), then the count. What a file says is believed only after it was checked.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::CoreError;
use stakeout_core::files::{read_regular, write_atomic};
use stakeout_core::text::printable;

use super::calibrate::Meaning;
use super::config::{Config, Threshold};
use super::counts::{Counts, MAX_N};
use super::head::Head;
use super::model::{SequenceModel, Training};
use super::vocabulary::Vocabulary;
use crate::DetectError;

/// The version of model files that is written and read.
pub const VERSION: u64 = 1;
/// The largest model file in bytes: what it holds takes up to fifteen times as much in memory.
pub const MODEL_CAP: u64 = 256 << 20;
/// What the file is, in its first field.
const FORMAT: &str = "stakeout-sequence";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u64,
    config: Config,
    threshold: f64,
    training: Training,
    head: Head,
    calibration: Meaning,
    vocabulary: Vec<String>,
    normal: Vec<Vec<u64>>,
    anomalous: Option<Vec<Vec<u64>>>,
}

/// What any version of the file has.
#[derive(Deserialize)]
struct Announced {
    format: String,
    version: u64,
}

impl SequenceModel {
    /// The file of the model. Same model, same bytes.
    ///
    /// # Errors
    /// [`DetectError::TooLarge`] beyond [`MODEL_CAP`]: such a model could not be read again.
    pub fn to_json(&self) -> Result<Vec<u8>, DetectError> {
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            config: self.config,
            threshold: self.threshold,
            training: self.training,
            head: self.head.clone(),
            calibration: self.meaning.clone(),
            vocabulary: self.vocabulary.names().map(str::to_owned).collect(),
            normal: listed(&self.normal),
            anomalous: self.anomalous.as_ref().map(listed),
        };
        let mut bytes = serde_json::to_vec(&file).map_err(|error| DetectError::Data(error.to_string()))?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MODEL_CAP {
            let path = "the model".to_owned();
            return Err(DetectError::TooLarge { path, size: bytes.len() as u64, cap: MODEL_CAP });
        }
        Ok(bytes)
    }

    /// Writes the file through a temporary one.
    ///
    /// # Errors
    /// As [`SequenceModel::to_json`], and [`DetectError::Io`]; an older file is untouched then.
    pub fn save(&self, path: &Path) -> Result<(), DetectError> {
        write_atomic(path, &self.to_json()?).map_err(|error| match error {
            CoreError::Io { action, path, source } => DetectError::Io { action, path, source },
            other => DetectError::Data(other.to_string()),
        })
    }

    /// Reads a file of a model.
    ///
    /// # Errors
    /// [`DetectError::Io`], [`DetectError::TooLarge`], [`DetectError::Version`] for a newer or older version, and
    /// [`DetectError::Parse`] for what is no such file, cut off, or against its rules.
    pub fn load(path: &Path) -> Result<Self, DetectError> {
        let shown = path.display().to_string();
        let io = |source| DetectError::Io { action: "reading", path: shown.clone(), source };
        let size = std::fs::symlink_metadata(path).map_err(io)?.len();
        if size > MODEL_CAP {
            return Err(DetectError::TooLarge { path: shown, size, cap: MODEL_CAP });
        }
        Self::from_json(&read_regular(path, MODEL_CAP).map_err(io)?, &shown)
    }

    /// Reads the content of a file; `path` is for errors.
    ///
    /// # Errors
    /// As [`SequenceModel::load`].
    pub fn from_json(bytes: &[u8], path: &str) -> Result<Self, DetectError> {
        let refuse = |line, why| DetectError::Parse { path: path.to_owned(), line, why };
        let unreadable = |error: &serde_json::Error| {
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            let remedy =
                if error.is_eof() { "the file was cut off" } else { "the file is no sequence model or damaged" };
            let why = format!("{} (column {}); {remedy}: train it again", printable(what, 160), error.column());
            refuse(Some(error.line() as u64), why)
        };
        let announced: Announced = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        if announced.format != FORMAT {
            let why = format!("it is a `{}`, not a `{FORMAT}`", printable(&announced.format, 40));
            return Err(refuse(None, why));
        }
        if announced.version != VERSION {
            return Err(DetectError::Version { path: path.to_owned(), found: announced.version, known: VERSION });
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        file.model().map_err(|why| refuse(None, format!("{why}: the file is damaged, train it again")))
    }
}

/// Each n-gram without the start marks that only fill it up, then its count.
fn listed(counts: &Counts) -> Vec<Vec<u64>> {
    let n = counts.n();
    let row =
        |gram: &[u32; MAX_N], count: u64| gram[MAX_N - n..].iter().map(|id| u64::from(*id)).chain([count]).collect();
    counts.grams().map(|(gram, count)| row(gram, count)).collect()
}

fn restored(n: usize, rows: &[Vec<u64>], ids: usize) -> Result<Counts, String> {
    let mut counts = Counts::new(n).map_err(|error| error.to_string())?;
    for (at, row) in rows.iter().enumerate() {
        let broken = || format!("n-gram {} is not one of its vocabulary, in order, with a count", at + 1);
        let [actions @ .., count] = row.as_slice() else { return Err(broken()) };
        if actions.len() != n {
            return Err(broken());
        }
        let mut gram = [0; MAX_N];
        for (place, id) in gram[MAX_N - n..].iter_mut().zip(actions) {
            *place = u32::try_from(*id).map_err(|_| broken())?;
        }
        if !counts.restore(gram, *count, ids) {
            return Err(broken());
        }
    }
    Ok(counts)
}

impl File {
    fn model(self) -> Result<SequenceModel, String> {
        self.config.check().map_err(|error| error.to_string())?;
        Config { threshold: Threshold::At(self.threshold), ..self.config }
            .check()
            .map_err(|error| error.to_string())?;
        let vocabulary = Vocabulary::from_names(self.vocabulary).map_err(|error| error.to_string())?;
        let normal = restored(self.config.n, &self.normal, vocabulary.ids())?;
        let anomalous = self.anomalous.map(|rows| restored(self.config.n, &rows, vocabulary.ids())).transpose()?;
        if let Some(why) = self.head.broken().or(self.calibration.broken()) {
            return Err(why.to_owned());
        }
        let two = [
            anomalous.is_some(),
            matches!(self.head, Head::Logistic { .. }),
            matches!(self.calibration, Meaning::Isotonic { .. }),
        ];
        if two != [two[0]; 3] {
            return Err("the head, the calibration and the counts are of different kinds of models".to_owned());
        }
        let (config, threshold, training) = (self.config, self.threshold, self.training);
        Ok(SequenceModel::new(config, vocabulary, normal, anomalous, self.head, self.calibration, threshold, training))
    }
}
