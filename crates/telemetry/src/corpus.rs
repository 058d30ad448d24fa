//! `corpus.toml`: what every episode of a store has in common.
//!
//! A store without the file holds the built-in corpus: 46 channels, five phases that never go back, windows of ten
//! seconds. A key that is absent takes the built-in value where that makes sense: label rules and the forward order
//! belong to the built-in phases only, and a source is required exactly when a detector could have it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::{
    ChannelKind, ChannelSpec, ClassList, Clock, Partial, Source, Statistic, WindowSpec, channels, class, files,
};
use toml::Spanned;

use crate::{Seconds, TelemetryError};

/// The name of the file in a store.
pub const CORPUS_FILE: &str = "corpus.toml";

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
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::built_in()),
            Err(error) => Err(TelemetryError::io("reading", &path, error)),
        }
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

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // the unit is part of each key
struct Buckets {
    #[serde(skip_serializing_if = "Option::is_none")]
    proc_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qmp_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netflow_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    perf_ms: Option<u32>,
}

impl Buckets {
    fn of(&mut self, source: Source) -> &mut Option<u32> {
        match source {
            Source::Proc => &mut self.proc_ms,
            Source::Qmp => &mut self.qmp_ms,
            Source::Guest => &mut self.guest_ms,
            Source::Netflow => &mut self.netflow_ms,
            Source::Perf => &mut self.perf_ms,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibrationKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    declared: Option<bool>,
}

/// The file as it stands: every key optional, spans kept for error messages. Tables stand last, as TOML needs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<ClassList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_order: Option<LabelOrder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_rules: Option<BTreeMap<String, Spanned<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buckets: Option<Spanned<Buckets>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Spanned<CalibrationKeys>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Spanned<WindowKeys>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<BTreeMap<Source, Spanned<SourceRule>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<Spanned<ChannelSpec>>>,
}

impl File {
    fn into_corpus(self, path: &Path, text: &str) -> Result<Corpus, TelemetryError> {
        let bad = |offset: usize, why: String| TelemetryError::malformed(path, line_of(text, offset), why);
        let name = match self.name {
            None => "built-in".to_owned(),
            Some(name) => {
                let at = name.span().start;
                let name = name.into_inner();
                crate::meta::check_name("corpus name", &name).map_err(|error| bad(at, error.to_string()))?;
                name
            }
        };
        let own_classes = self.classes.is_some();
        let classes = self.classes.unwrap_or_else(class::built_in);
        let phases = classes == class::built_in();
        let label_order = self.label_order.unwrap_or(if phases { LabelOrder::Forward } else { LabelOrder::Any });
        let mut label_rules = BTreeMap::new();
        match self.label_rules {
            None if !own_classes => {
                label_rules.insert("infecting".to_owned(), "exploit_fire".to_owned());
                label_rules.insert("infected_running".to_owned(), "session_open".to_owned());
            }
            None => {}
            Some(rules) => {
                for (class, event) in rules {
                    let at = event.span().start;
                    if classes.id(&class).is_none() {
                        let known = classes.names().join(", ");
                        return Err(bad(at, format!("label rule for an unknown class `{class}`: use one of {known}")));
                    }
                    let event = event.into_inner();
                    crate::meta::check_name("event", &event).map_err(|error| bad(at, error.to_string()))?;
                    label_rules.insert(class, event);
                }
            }
        }
        let own_channels = self.channels.is_some();
        let mut list: Vec<ChannelSpec> = Vec::new();
        match self.channels {
            None => list.extend(channels::BUILT_IN.iter().map(ChannelSpec::from)),
            Some(own) => {
                for channel in own {
                    let at = channel.span().start;
                    let channel = channel.into_inner();
                    channel.check().map_err(|error| bad(at, error.to_string()))?;
                    if crate::rows::is_reserved(&channel.field) {
                        return Err(bad(
                            at,
                            format!("channel field `{}` is the name of a key of every row", channel.field),
                        ));
                    }
                    for other in &list {
                        if other.name == channel.name {
                            return Err(bad(at, format!("channel name `{}` stands twice", channel.name)));
                        }
                        if other.source == channel.source && other.field == channel.field {
                            let (field, source) = (&channel.field, channel.source);
                            return Err(bad(at, format!("field `{field}` of source {source} stands twice")));
                        }
                    }
                    list.push(channel);
                }
                if list.is_empty() {
                    return Err(bad(
                        0,
                        "channels = [] leaves nothing to read: name one channel or leave it out".into(),
                    ));
                }
            }
        }
        let mut bucket_ns = BTreeMap::new();
        let buckets_at = self.buckets.as_ref().map_or(0, |buckets| buckets.span().start);
        match self.buckets {
            Some(buckets) => {
                let mut buckets = buckets.into_inner();
                for source in Source::ALL {
                    if let Some(ms) = *buckets.of(source) {
                        if ms == 0 {
                            return Err(bad(buckets_at, format!("{source}_ms = 0: a bucket has a length")));
                        }
                        bucket_ns.insert(source, i64::from(ms) * 1_000_000);
                    }
                }
            }
            None if !own_channels => {
                bucket_ns.insert(Source::Netflow, channels::NETFLOW_BUCKET_NS);
            }
            None => {}
        }
        if let Some(delta) = list.iter().find(|c| c.kind == ChannelKind::Delta && !bucket_ns.contains_key(&c.source)) {
            let (name, source) = (&delta.name, delta.source);
            return Err(bad(buckets_at, format!("channel {name} is a delta: [buckets] needs `{source}_ms`")));
        }
        let mut rules = self.sources.unwrap_or_default();
        let mut sources = BTreeMap::new();
        for source in Source::ALL {
            let given = rules.remove(&source);
            let mut of_source = list.iter().filter(|channel| channel.source == source).peekable();
            if of_source.peek().is_none() {
                if let Some(rule) = given {
                    return Err(bad(rule.span().start, format!("source {source} has no channel in this corpus")));
                }
                continue;
            }
            let default = SourceRule {
                required: of_source.any(|channel| channel.deployable),
                min_rows: if own_channels { 1 } else { 10 },
            };
            sources.insert(source, given.map_or(default, Spanned::into_inner));
        }
        let window = match self.window {
            None => WindowSpec::default(),
            Some(keys) => {
                let at = keys.span().start;
                keys.into_inner().over(&WindowSpec::default()).map_err(|error| bad(at, error.to_string()))?
            }
        };
        let calibration = match self.calibration {
            None => Calibration::None,
            Some(keys) => {
                let at = keys.span().start;
                match keys.into_inner() {
                    CalibrationKeys { minutes: Some(minutes), declared: None } if minutes.ns() > 0 => {
                        Calibration::First { ns: minutes.times(60).map_err(|error| bad(at, error.to_string()))?.ns() }
                    }
                    CalibrationKeys { minutes: None, declared: Some(true) } => Calibration::Declared,
                    _ => return Err(bad(at, "calibration is `minutes = N` (N > 0) or `declared = true`".into())),
                }
            }
        };
        Ok(Corpus {
            name,
            simulated: self.simulated.unwrap_or(false),
            classes,
            label_order,
            label_rules,
            channels: list,
            bucket_ns,
            sources,
            window,
            calibration,
        })
    }

    fn from_corpus(corpus: &Corpus) -> Result<Self, TelemetryError> {
        let spanned = |text: &String| Spanned::new(0..0, text.clone());
        let mut buckets = Buckets::default();
        for (source, ns) in &corpus.bucket_ns {
            let ms = u32::try_from(ns / 1_000_000).ok().filter(|_| ns % 1_000_000 == 0 && *ns > 0);
            let why = "a bucket is a whole number of milliseconds";
            *buckets.of(*source) = Some(ms.ok_or_else(|| TelemetryError::invalid("bucket", &format!("{ns} ns"), why))?);
        }
        let calibration = match corpus.calibration {
            Calibration::None => None,
            Calibration::Declared => Some(CalibrationKeys { minutes: None, declared: Some(true) }),
            Calibration::First { ns } => {
                let why = "a calibration stretch in minutes has at most nine decimals";
                let minutes = (ns % 60 == 0).then_some(Seconds::from_ns(ns / 60));
                let minutes =
                    minutes.ok_or_else(|| TelemetryError::invalid("calibration", &format!("{ns} ns"), why))?;
                Some(CalibrationKeys { minutes: Some(minutes), declared: None })
            }
        };
        let built_in = channels::BUILT_IN.iter().map(ChannelSpec::from).eq(corpus.channels.iter().cloned());
        let channels = corpus.channels.iter().map(|channel| Spanned::new(0..0, channel.clone()));
        Ok(Self {
            name: Some(spanned(&corpus.name)),
            simulated: Some(corpus.simulated),
            classes: Some(corpus.classes.clone()),
            label_order: Some(corpus.label_order),
            label_rules: Some(
                corpus.label_rules.iter().map(|(class, event)| (class.clone(), spanned(event))).collect(),
            ),
            buckets: Some(Spanned::new(0..0, buckets)),
            calibration: calibration.map(|keys| Spanned::new(0..0, keys)),
            window: Some(Spanned::new(0..0, WindowKeys::from(&corpus.window))),
            sources: Some(corpus.sources.iter().map(|(source, rule)| (*source, Spanned::new(0..0, *rule))).collect()),
            channels: (!built_in).then(|| channels.collect()),
        })
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
