//! Baselines of many hosts as one JSON file, read strictly.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::text::printable;
use stakeout_core::{CoreError, Schema, files};

use super::{Baseline, Number, Score, Scratch, Settings, Skipped};
use crate::DetectError;

/// The version of the file that is read and written.
pub const VERSION: u64 = 1;

/// A larger file is not read.
pub const MAX_BYTES: u64 = 256 << 20;

const FORMAT: &str = "stakeout-baseline";

/// The host under which one baseline of all hosts is kept.
const ALL: &str = "*";

/// The longest name of a host in bytes.
const LONGEST_HOST: usize = 1024;

/// What the vectors are, so that others are read alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Origin {
    /// Rows of a table; the columns are the dimensions.
    Table {
        /// The column that names the host.
        host: Option<String>,
    },
    /// Summaries of the windows of a store.
    Store {
        /// What the windows hold.
        schema: Box<Schema>,
        /// Whether the store was simulated.
        simulated: bool,
    },
}

/// Baselines by host, with all that is needed to score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    format: String,
    version: u64,
    /// The version of the program that learnt them.
    pub code_version: String,
    /// How they were learnt.
    pub settings: Settings,
    /// What the vectors are.
    pub origin: Origin,
    /// Name of each dimension.
    pub columns: Vec<String>,
    /// Vectors of a host in a day, where it is known: what turns the budget into alarms.
    pub vectors_per_day: Option<f64>,
    hosts: BTreeMap<String, Baseline>,
}

#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u64>,
}

impl Baselines {
    /// No host yet.
    pub fn new(settings: Settings, origin: Origin, columns: Vec<String>, vectors_per_day: Option<f64>) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            code_version: env!("CARGO_PKG_VERSION").into(),
            settings,
            origin,
            columns,
            vectors_per_day,
            hosts: BTreeMap::new(),
        }
    }

    /// Adds the baseline of a host, or of all hosts where `host` is `None`.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a host that is named as all hosts are (`*`), or with more than 1024 bytes.
    pub fn insert(&mut self, host: Option<&str>, baseline: Baseline) -> Result<(), DetectError> {
        let refuse = |why| Err(DetectError::Invalid { what: "host", why });
        match host {
            // Its vectors would speak for every host that is not known.
            Some(ALL) => return refuse(format!("`{ALL}` stands for all hosts together: give it another name")),
            Some(host) if host.len() > LONGEST_HOST => {
                let (shown, n) = (printable(host, 24), host.len());
                return refuse(format!("`{shown}` has {n} bytes, at most {LONGEST_HOST} are allowed"));
            }
            _ => {}
        }
        self.hosts.insert(host.unwrap_or(ALL).to_owned(), baseline);
        Ok(())
    }

    /// The baseline that speaks for a host: its own, or the one of all hosts.
    pub fn get(&self, host: &str) -> Option<&Baseline> {
        self.hosts.get(host).or_else(|| self.hosts.get(ALL))
    }

    /// All baselines, by host; `*` is the one of all hosts.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = (&str, &Baseline)> {
        self.hosts.iter().map(|(host, baseline)| (host.as_str(), baseline))
    }

    /// Scores a vector of a host; `None` where there is no vector.
    pub fn score<T: Number>(&self, host: &str, vector: Option<&[T]>, scratch: &mut Scratch) -> Score {
        match self.get(host) {
            Some(baseline) => baseline.score(vector.unwrap_or(&[]), scratch),
            None => Score::none(Skipped::UnknownHost, 0.0, 0),
        }
    }

    /// Alarms that a host's normal vectors raise in a day, at the level of its threshold; `None` where the number of
    /// vectors a day or the host is unknown.
    pub fn false_alarms_per_day(&self, host: &str) -> Option<f64> {
        Some(self.vectors_per_day? * self.get(host)?.calibrated()?.level)
    }

    /// Writes the file through a temporary one. Same baselines, same bytes.
    ///
    /// # Errors
    /// [`DetectError::Io`]; the old file is untouched then. [`DetectError::TooLarge`] and [`DetectError::Data`] for what
    /// could not be read again.
    pub fn save(&self, path: &Path) -> Result<(), DetectError> {
        self.check().map_err(DetectError::Data)?;
        let name = path.display().to_string();
        let bytes = serde_json::to_vec(self).map_err(|error| DetectError::Parse {
            path: name.clone(),
            line: None,
            why: error.to_string(),
        })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(DetectError::TooLarge { path: name, size: bytes.len() as u64, cap: MAX_BYTES });
        }
        files::write_atomic(path, &bytes).map_err(|error| match error {
            CoreError::Io { action, path, source } => DetectError::Io { action, path, source },
            other => DetectError::Data(other.to_string()),
        })
    }

    /// Reads what [`Baselines::save`] wrote, and nothing else: every number is checked.
    ///
    /// # Errors
    /// [`DetectError::Io`], [`DetectError::TooLarge`], [`DetectError::Version`] for an older or newer file,
    /// [`DetectError::Parse`] for a damaged one, with the line.
    pub fn load(path: &Path) -> Result<Self, DetectError> {
        let name = path.display().to_string();
        let failed = |source| DetectError::Io { action: "reading", path: name.clone(), source };
        let size = std::fs::symlink_metadata(path).map_err(failed)?.len();
        if size > MAX_BYTES {
            return Err(DetectError::TooLarge { path: name, size, cap: MAX_BYTES });
        }
        let bytes = files::read_regular(path, MAX_BYTES).map_err(failed)?;
        let damaged = |line: Option<u64>, why: String| DetectError::Parse {
            path: name.clone(),
            line,
            why: format!("{why}: learn the baseline again with `stakeout baseline train`"),
        };
        // What a damaged or hostile file says is shown in part, and without what steers a terminal.
        let parse = |error: &serde_json::Error| {
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            damaged(Some(error.line() as u64), format!("{} (column {})", printable(what, 160), error.column()))
        };
        let head: Head = serde_json::from_slice(&bytes).map_err(|error| parse(&error))?;
        if head.format.as_deref() != Some(FORMAT) {
            return Err(damaged(None, "it is no file of baselines".into()));
        }
        match head.version {
            Some(VERSION) => {}
            Some(found) => return Err(DetectError::Version { path: name, found, known: VERSION }),
            None => return Err(damaged(None, "it has no version".into())),
        }
        let own: Self = serde_json::from_slice(&bytes).map_err(|error| parse(&error))?;
        own.check().map_err(|why| damaged(None, why))?;
        Ok(own)
    }

    fn check(&self) -> Result<(), String> {
        self.settings.check().map_err(|error| error.to_string())?;
        if self.columns.is_empty() {
            return Err("it has no columns".into());
        }
        if self.vectors_per_day.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err("vectors_per_day is not a positive number".into());
        }
        let other = |baseline: &Baseline| baseline.width().is_some_and(|width| width != self.columns.len());
        if let Some((host, _)) = self.hosts.iter().find(|(_, baseline)| other(baseline)) {
            let host = printable(host, 64);
            return Err(format!("the baseline of {host} has another width than the {} columns", self.columns.len()));
        }
        if let Origin::Store { schema, .. } = &self.origin
            && schema.geometry().features != self.columns.len()
        {
            return Err("its schema has another number of features than it has columns".into());
        }
        Ok(())
    }
}
