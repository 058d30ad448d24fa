//! `corpus.toml`: what every episode of a store has in common.
//!
//! A store without the file holds the built-in corpus: 46 channels, five phases that never go back, windows of ten
//! seconds. A key that is absent takes the built-in value where that makes sense: label rules and the forward order
//! belong to the built-in phases only, and a source is required exactly when a detector could have it.

mod file;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::{ChannelSpec, ClassList, Clock, Partial, Source, Statistic, WindowSpec, files};

use crate::reader::open_regular;
use crate::{ReasonCode, Seconds, TelemetryError};
use file::File;

/// The name of the file in a store.
pub const CORPUS_FILE: &str = "corpus.toml";

/// A description of thousands of channels takes less.
const LARGEST: u64 = 16 << 20;

/// Whether the classes of a corpus are phases that an episode goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelOrder {
    /// Class ids never decrease within an episode.
    Forward,
    /// Any order.
    Any,
}

/// Where the clean stretch of a host comes from that a `host-clean` scaler may read. Chosen by time or by the corpus,
/// never by a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calibration {
    /// There is none.
    None,
    /// The first stretch of each host, by time.
    First {
        /// Its length.
        ns: i64,
    },
    /// Whole episodes, flagged in their `meta.json`.
    Declared,
}

/// What a source must deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRule {
    /// Whether an episode without it is rejected (otherwise it is degraded).
    pub required: bool,
    /// The smallest number of rows that is of use.
    pub min_rows: u64,
}

/// What every episode of a store has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// A short name.
    pub name: String,
    /// Whether the telemetry was made by a program: every output on it says so.
    pub simulated: bool,
    /// The ordered classes of the labels.
    pub classes: ClassList,
    /// Whether classes are phases that never go back.
    pub label_order: LabelOrder,
    /// Class name to the event that must justify a label of that class.
    pub label_rules: BTreeMap<String, String>,
    /// The channels, in registry order.
    pub channels: Vec<ChannelSpec>,
    /// Length of the bucket that a row of a source stands for, in nanoseconds; every source with a delta channel has
    /// one.
    pub bucket_ns: BTreeMap<Source, i64>,
    /// What each source with channels must deliver.
    pub sources: BTreeMap<Source, SourceRule>,
    /// The window that is cut unless told otherwise.
    pub window: WindowSpec,
    /// The calibration stretches.
    pub calibration: Calibration,
}

impl Corpus {
    /// The corpus of a store without a `corpus.toml`.
    pub fn built_in() -> Self {
        File::default().into_corpus(Path::new(CORPUS_FILE), "").expect("the built-in corpus keeps its own rules")
    }

    /// Reads `corpus.toml` of a store; the built-in corpus where the file is absent.
    ///
    /// # Errors
    /// [`TelemetryError::Malformed`] with the line, or an I/O error.
    pub fn read(store: &Path) -> Result<Self, TelemetryError> {
        let path = store.join(CORPUS_FILE);
        let file = match open_regular(&path) {
            Ok((file, size)) if size <= LARGEST => file,
            Ok((_, size)) => {
                return Err(TelemetryError::malformed(&path, 1, format!("{size} bytes are no description")));
            }
            Err(problem) if problem.code == ReasonCode::FileMissing => return Ok(Self::built_in()),
            Err(problem) => return Err(TelemetryError::malformed(&path, 1, problem.text)),
        };
        let mut text = String::new();
        let read = std::io::Read::read_to_string(&mut std::io::Read::take(file, LARGEST), &mut text);
        read.map_err(|error| TelemetryError::io("reading", &path, error))?;
        Self::parse(&path, &text)
    }

    /// Reads the text of a `corpus.toml`; `path` is named in errors.
    ///
    /// # Errors
    /// [`TelemetryError::Malformed`] with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TelemetryError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            TelemetryError::malformed(path, line, error.message())
        })?;
        file.into_corpus(path, text)
    }

    /// The text of a `corpus.toml` that reads back as this corpus.
    ///
    /// # Errors
    /// [`TelemetryError::Invalid`] when the corpus breaks its own rules.
    pub fn to_toml(&self) -> Result<String, TelemetryError> {
        let text = toml::to_string(&File::from_corpus(self)?)
            .map_err(|error| TelemetryError::invalid("corpus", &self.name, error.to_string()))?;
        match Self::parse(Path::new(CORPUS_FILE), &text) {
            Ok(again) if again == *self => Ok(text),
            Ok(_) => Err(TelemetryError::invalid("corpus", &self.name, "it does not survive its own file")),
            Err(error) => Err(TelemetryError::invalid("corpus", &self.name, error.to_string())),
        }
    }

    /// Writes `corpus.toml` into a store, atomically.
    ///
    /// # Errors
    /// As [`Corpus::to_toml`], or an I/O error.
    pub fn write(&self, store: &Path) -> Result<(), TelemetryError> {
        Ok(files::write_atomic(&store.join(CORPUS_FILE), self.to_toml()?.as_bytes())?)
    }

    /// The channels of one source, in registry order.
    pub fn channels_of(&self, source: Source) -> impl Iterator<Item = &ChannelSpec> {
        self.channels.iter().filter(move |channel| channel.source == source)
    }

    /// What `available_in_deployment` says in the rows of a source: whether any of its channels is deployable.
    pub fn available(&self, source: Source) -> bool {
        self.channels_of(source).any(|channel| channel.deployable)
    }

    /// Bucket length of a source in nanoseconds; 0 where its rows are readings at an instant.
    pub fn bucket_of(&self, source: Source) -> i64 {
        self.bucket_ns.get(&source).copied().unwrap_or(0)
    }
}

/// 1-based line of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> u64 {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count() as u64
}

/// `[window]` with the keys that a human writes. Absent keys take the default window's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowKeys {
    /// Length of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<Seconds>,
    /// Distance between window starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride_seconds: Option<Seconds>,
    /// Time steps of a tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// At most this many windows from the start of each episode (0 = all).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_episode: Option<u32>,
    /// What happens to a partial last window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<Partial>,
    /// The clock that the corpus carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// What a summary holds per channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Vec<Statistic>>,
}

impl From<&WindowSpec> for WindowKeys {
    fn from(window: &WindowSpec) -> Self {
        Self {
            seconds: Some(Seconds::from_ns(window.length_ns)),
            stride_seconds: Some(Seconds::from_ns(window.stride_ns)),
            steps: Some(window.steps),
            max_per_episode: Some(window.max_per_episode),
            partial: Some(window.partial),
            clock: Some(window.clock),
            statistics: Some(window.statistics.clone()),
        }
    }
}

impl WindowKeys {
    /// A window with these keys laid over another one.
    ///
    /// # Errors
    /// When the result breaks a rule of [`WindowSpec::check`].
    pub fn over(&self, window: &WindowSpec) -> Result<WindowSpec, TelemetryError> {
        let window = WindowSpec {
            length_ns: self.seconds.map_or(window.length_ns, Seconds::ns),
            stride_ns: self.stride_seconds.map_or(window.stride_ns, Seconds::ns),
            steps: self.steps.unwrap_or(window.steps),
            max_per_episode: self.max_per_episode.unwrap_or(window.max_per_episode),
            partial: self.partial.unwrap_or(window.partial),
            clock: self.clock.unwrap_or(window.clock),
            statistics: self.statistics.clone().unwrap_or_else(|| window.statistics.clone()),
        };
        window.check()?;
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Corpus, TelemetryError> {
        Corpus::parse(Path::new("corpus.toml"), text)
    }

    #[test]
    fn an_empty_file_is_the_built_in_corpus() {
        let corpus = parse("").unwrap();
        assert_eq!(corpus, Corpus::built_in());
        assert_eq!(corpus.channels.len(), 46);
        assert_eq!(corpus.label_rules["infecting"], "exploit_fire");
        assert_eq!(corpus.bucket_of(Source::Netflow), 100_000_000);
        assert!(corpus.sources[&Source::Guest].required && !corpus.sources[&Source::Proc].required);
        assert!(!corpus.sources.contains_key(&Source::Perf));
    }

    #[test]
    fn survives_its_own_file() {
        let mut corpus = Corpus::built_in();
        corpus.window.length_ns = 4_000_000_000;
        corpus.window.stride_ns = 100_000_000;
        corpus.calibration = Calibration::First { ns: 90_000_000_000 };
        corpus.simulated = true;
        let folder = tempfile::tempdir().unwrap();
        corpus.write(folder.path()).unwrap();
        assert_eq!(Corpus::read(folder.path()).unwrap(), corpus);
        let text = "classes = ['a', 'b']\nbuckets.perf_ms = 1000\n[[channels]]\nname = 'perf.x'\nsource = 'perf'\n\
                    field = 'x'\nkind = 'delta'\nunit = '1'\ndeployable = true\n[calibration]\ndeclared = true";
        let own = parse(text).unwrap();
        assert_eq!(own.label_order, LabelOrder::Any);
        assert!(own.label_rules.is_empty());
        assert_eq!(parse(&own.to_toml().unwrap()).unwrap(), own);
    }

    #[test]
    fn errors_name_the_line() {
        let channel = |extra: &str| {
            format!(
                "[[channels]]\nname='g.x'\nsource='guest'\nfield='x'\nkind='level'\nunit='1'\ndeployable=true\n{extra}"
            )
        };
        for (text, line, words) in [
            ("name = 'x'\nwindows = 3".to_owned(), 2, "windows"),
            ("\nclasses = ['one']".to_owned(), 2, "2 to 1000"),
            ("[label_rules]\nclean = 'a'\narmd = 'b'".to_owned(), 3, "armd"),
            ("\n[window]\nseconds = 0.3333333333333".to_owned(), 3, "nanoseconds"),
            ("\n[window]\nseconds = 10\nsteps = 7".to_owned(), 2, "divide"),
            ("[calibration]\nminutes = -1".to_owned(), 1, "minutes"),
            (channel(&channel("")), 8, "stands twice"),
            (channel("").replace("'x'", "'source'"), 1, "key of every row"),
            (channel("").replace("level", "delta"), 1, "guest_ms"),
            (channel("[sources.qmp]\nrequired=true\nmin_rows=1"), 8, "no channel"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("corpus.toml:{line}: ")) && error.contains(words), "{text}\n{error}");
        }
    }
}
