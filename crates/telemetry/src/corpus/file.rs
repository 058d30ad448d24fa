//! The text of `corpus.toml`: keys as they stand, and the rules that they must keep.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::text::printable;
use stakeout_core::{ChannelKind, ChannelSpec, ClassList, Source, WindowSpec, channels, class};
use toml::Spanned;

use super::{Calibration, Corpus, LabelOrder, SourceRule, WindowKeys, line_of};
use crate::meta::check_name;
use crate::rows::is_reserved;
use crate::{Seconds, TelemetryError};

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
pub(super) struct File {
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

/// Where an error is placed.
#[derive(Clone, Copy)]
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Text<'_> {
    fn bad(&self, offset: usize, why: impl Into<String>) -> TelemetryError {
        TelemetryError::malformed(self.path, line_of(self.text, offset), why)
    }
}

impl File {
    pub(super) fn into_corpus(self, path: &Path, text: &str) -> Result<Corpus, TelemetryError> {
        let text = Text { path, text };
        let name = match self.name {
            None => "built-in".to_owned(),
            Some(name) => checked_name("corpus name", name, text)?,
        };
        let (own_classes, own_channels) = (self.classes.is_some(), self.channels.is_some());
        let classes = self.classes.unwrap_or_else(class::built_in);
        let phases = classes == class::built_in();
        let label_rules = match self.label_rules {
            Some(rules) => label_rules(rules, &classes, text)?,
            None if own_classes => BTreeMap::new(),
            None => BUILT_IN_RULES.map(|(class, event)| (class.to_owned(), event.to_owned())).into(),
        };
        let channels = match self.channels {
            Some(list) => channels(list, text)?,
            None => channels::BUILT_IN.iter().map(ChannelSpec::from).collect(),
        };
        let bucket_ns = match self.buckets {
            None if !own_channels => BTreeMap::from([(Source::Netflow, channels::NETFLOW_BUCKET_NS)]),
            buckets => bucket_ns(buckets, &channels, text)?,
        };
        let sources = sources(self.sources.unwrap_or_default(), &channels, if own_channels { 1 } else { 10 }, text)?;
        let window = match self.window {
            None => WindowSpec::default(),
            Some(keys) => {
                let at = keys.span().start;
                keys.into_inner().over(&WindowSpec::default()).map_err(|error| text.bad(at, error.to_string()))?
            }
        };
        Ok(Corpus {
            name,
            simulated: self.simulated.unwrap_or(false),
            classes,
            label_order: self.label_order.unwrap_or(if phases { LabelOrder::Forward } else { LabelOrder::Any }),
            label_rules,
            channels,
            bucket_ns,
            sources,
            window,
            calibration: calibration(self.calibration, text)?,
        })
    }

    pub(super) fn from_corpus(corpus: &Corpus) -> Result<Self, TelemetryError> {
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

/// The events that the phases of the built-in corpus need.
const BUILT_IN_RULES: [(&str, &str); 2] = [("infecting", "exploit_fire"), ("infected_running", "session_open")];

fn checked_name(what: &'static str, name: Spanned<String>, text: Text<'_>) -> Result<String, TelemetryError> {
    let at = name.span().start;
    let name = name.into_inner();
    check_name(what, &name).map_err(|error| text.bad(at, error.to_string()))?;
    Ok(name)
}

fn label_rules(
    rules: BTreeMap<String, Spanned<String>>,
    classes: &ClassList,
    text: Text<'_>,
) -> Result<BTreeMap<String, String>, TelemetryError> {
    let checked = rules.into_iter().map(|(class, event)| {
        if classes.id(&class).is_none() {
            let known = classes.names().join(", ");
            let why = format!("label rule for an unknown class `{}`: use one of {known}", printable(&class, 64));
            return Err(text.bad(event.span().start, why));
        }
        Ok((class, checked_name("event", event, text)?))
    });
    checked.collect()
}

fn channels(own: Vec<Spanned<ChannelSpec>>, text: Text<'_>) -> Result<Vec<ChannelSpec>, TelemetryError> {
    let mut list: Vec<ChannelSpec> = Vec::with_capacity(own.len());
    for channel in own {
        let at = channel.span().start;
        let channel = channel.into_inner();
        channel.check().map_err(|error| text.bad(at, error.to_string()))?;
        if is_reserved(&channel.field) {
            return Err(text.bad(at, format!("channel field `{}` is the name of a key of every row", channel.field)));
        }
        for other in &list {
            if other.name == channel.name {
                return Err(text.bad(at, format!("channel name `{}` stands twice", channel.name)));
            }
            if other.source == channel.source && other.field == channel.field {
                let (field, source) = (&channel.field, channel.source);
                return Err(text.bad(at, format!("field `{field}` of source {source} stands twice")));
            }
        }
        list.push(channel);
    }
    if list.is_empty() {
        return Err(text.bad(0, "channels = [] leaves nothing to read: name one channel or leave it out"));
    }
    Ok(list)
}

fn bucket_ns(
    buckets: Option<Spanned<Buckets>>,
    channels: &[ChannelSpec],
    text: Text<'_>,
) -> Result<BTreeMap<Source, i64>, TelemetryError> {
    let at = buckets.as_ref().map_or(0, |buckets| buckets.span().start);
    let mut buckets = buckets.map(Spanned::into_inner).unwrap_or_default();
    let mut lengths = BTreeMap::new();
    for source in Source::ALL {
        match *buckets.of(source) {
            None => {}
            Some(0) => return Err(text.bad(at, format!("{source}_ms = 0: a bucket has a length"))),
            Some(ms) => {
                lengths.insert(source, i64::from(ms) * 1_000_000);
            }
        }
    }
    match channels.iter().find(|c| c.kind == ChannelKind::Delta && !lengths.contains_key(&c.source)) {
        Some(ChannelSpec { name, source, .. }) => {
            Err(text.bad(at, format!("channel {name} is a delta: [buckets] needs `{source}_ms`")))
        }
        None => Ok(lengths),
    }
}

/// A source with channels is required exactly when a detector could have it, unless the file says otherwise.
fn sources(
    mut given: BTreeMap<Source, Spanned<SourceRule>>,
    channels: &[ChannelSpec],
    min_rows: u64,
    text: Text<'_>,
) -> Result<BTreeMap<Source, SourceRule>, TelemetryError> {
    let mut rules = BTreeMap::new();
    for source in Source::ALL {
        let mut own = channels.iter().filter(|channel| channel.source == source).peekable();
        match (own.peek().is_some(), given.remove(&source)) {
            (false, None) => {}
            (false, Some(rule)) => {
                return Err(text.bad(rule.span().start, format!("source {source} has no channel in this corpus")));
            }
            (true, rule) => {
                let required = own.any(|channel| channel.deployable);
                rules.insert(source, rule.map_or(SourceRule { required, min_rows }, Spanned::into_inner));
            }
        }
    }
    Ok(rules)
}

fn calibration(keys: Option<Spanned<CalibrationKeys>>, text: Text<'_>) -> Result<Calibration, TelemetryError> {
    let Some(keys) = keys else { return Ok(Calibration::None) };
    let at = keys.span().start;
    match keys.into_inner() {
        CalibrationKeys { minutes: Some(minutes), declared: None } if minutes.ns() > 0 => {
            let length = minutes.times(60).map_err(|error| text.bad(at, error.to_string()))?;
            Ok(Calibration::First { ns: length.ns() })
        }
        CalibrationKeys { minutes: None, declared: Some(true) } => Ok(Calibration::Declared),
        _ => Err(text.bad(at, "calibration is `minutes = N` (N > 0) or `declared = true`")),
    }
}
