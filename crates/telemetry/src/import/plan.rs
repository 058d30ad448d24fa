//! A mapping applied to the columns of a table: which are read, and what corpus comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stakeout_core::window::SECOND_NS;
use stakeout_core::{ChannelKind, ChannelSpec, ClassList, Clock, Source, WindowSpec};

use super::choice::{Template, WindowLength};
use super::clock::Unit;
use super::mapping::{Fold, Mapping};
use super::table::{fault, missing_column};
use crate::{Calibration, Corpus, LabelOrder, SourceRule, TelemetryError};

/// A channel and where its numbers come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedChannel {
    pub spec: ChannelSpec,
    /// Absent where rows are counted.
    pub column: Option<String>,
    pub fold: Option<Fold>,
}

/// The channels of a mapping, given the columns of a table in order.
///
/// # Errors
/// When a column is missing or a channel breaks a rule; names the table and the column.
pub(super) fn channels(
    mapping: &Mapping,
    path: &Path,
    names: &[String],
) -> Result<Vec<PlannedChannel>, TelemetryError> {
    let mut planned = Vec::new();
    for group in &mapping.channels {
        let columns = match &group.columns {
            None => vec![None],
            Some(selectors) => {
                let mut columns = Vec::new();
                for selector in &selectors.0 {
                    columns.extend(select(selector, path, names)?.into_iter().map(Some));
                }
                columns
            }
        };
        for column in columns {
            let part = column.as_deref().unwrap_or_default();
            let default = || Some(format!("{}.{part}", group.source));
            let name = group.name.as_ref().map_or_else(default, |name| name.fill(|_| Some(part))).unwrap_or_default();
            let field = match &column {
                Some(column) => column.clone(),
                None => name.rsplit('.').next().unwrap_or(&name).to_owned(),
            };
            let spec = ChannelSpec {
                name,
                source: group.source,
                field,
                kind: group.kind,
                unit: group.unit.clone(),
                deployable: group.deployable,
                about: group.about.clone(),
            };
            spec.check().map_err(|error| fault(path, column.as_deref(), None, error.to_string()))?;
            planned.push(PlannedChannel { spec, column, fold: group.aggregate });
        }
    }
    Ok(planned)
}

/// The columns that a selector means: a column of that very name, a range `m00..m37`, or a pattern with one `*`.
fn select(selector: &str, path: &Path, names: &[String]) -> Result<Vec<String>, TelemetryError> {
    let has = |column: &str| names.iter().any(|name| name == column);
    if has(selector) {
        return Ok(vec![selector.to_owned()]);
    }
    if let Some((prefix, suffix)) = selector.split_once('*') {
        let fits = |name: &&String| {
            name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
        };
        let found: Vec<String> = names.iter().filter(fits).cloned().collect();
        if found.is_empty() {
            return Err(fault(path, Some(selector), None, "no column of the table follows this pattern".into()));
        }
        return Ok(found);
    }
    let Some(range) = selector.split_once("..").and_then(|(from, to)| range(from, to)) else {
        return Err(missing_column(path, selector, names));
    };
    match range.iter().find(|column| !has(column)) {
        Some(missing) => Err(missing_column(path, missing, names)),
        None => Ok(range),
    }
}

/// `m00`, `m37` to all 38 names between them: the same text before numbers of the same width.
fn range(from: &str, to: &str) -> Option<Vec<String>> {
    let digits = from.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (prefix, first) = from.split_at(from.len() - digits);
    let last = to.strip_prefix(prefix).filter(|last| last.len() == digits)?;
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last - first < 10_000).then(|| (first..=last).map(|i| format!("{prefix}{i:0digits$}")).collect())
}

/// All columns that an import of `mapping` with these channels reads.
///
/// # Errors
/// When one is missing.
pub(super) fn columns(
    mapping: &Mapping,
    channels: &[PlannedChannel],
    path: &Path,
    names: &[String],
) -> Result<Vec<String>, TelemetryError> {
    let mut wanted: BTreeSet<&str> = channels.iter().filter_map(|channel| channel.column.as_deref()).collect();
    wanted.insert(&mapping.labels.column);
    wanted.extend(mapping.episode.key.iter().map(String::as_str));
    wanted.extend(mapping.time.column.as_deref());
    wanted.extend(mapping.given.as_ref().map(|given| given.column.as_str()));
    wanted.extend(mapping.calibration.as_ref().map(|calibration| calibration.column.as_str()));
    wanted.extend(mapping.event.as_ref().map(|event| event.column.as_str()));
    wanted.extend(mapping.audit.as_ref().and_then(|audit| audit.column.as_deref()));
    let templates =
        [Some(&mapping.host), Some(&mapping.sample), Some(&mapping.profile), mapping.sample_sha256.as_ref()];
    wanted.extend(templates.into_iter().flatten().flat_map(Template::columns));
    let found: Vec<String> = names.iter().filter(|name| wanted.contains(name.as_str())).cloned().collect();
    match wanted.iter().find(|column| !found.iter().any(|name| name == *column)) {
        Some(missing) => Err(missing_column(path, missing, names)),
        None => Ok(found),
    }
}

/// The corpus that an import writes. `longest` is the length of the longest series of list columns.
///
/// # Errors
/// When classes, channels or window break a rule.
pub(super) fn corpus(
    mapping: &Mapping,
    name: String,
    classes: Vec<String>,
    channels: &[PlannedChannel],
    longest: usize,
) -> Result<Corpus, TelemetryError> {
    let bucket_ns = mapping.aggregate.map(|aggregate| aggregate.bucket_seconds).or(mapping.time.step_seconds);
    let mut buckets = BTreeMap::new();
    let mut sources: BTreeMap<Source, SourceRule> = BTreeMap::new();
    for PlannedChannel { spec, .. } in channels {
        if let Some(bucket) = bucket_ns.filter(|_| mapping.aggregate.is_some() || spec.kind == ChannelKind::Delta) {
            buckets.insert(spec.source, bucket.ns());
        }
        let rule = sources.entry(spec.source).or_insert(SourceRule { required: false, min_rows: 1 });
        rule.required |= spec.deployable;
    }
    Ok(Corpus {
        name,
        simulated: false,
        classes: ClassList::try_from(classes)?,
        label_order: LabelOrder::Any,
        label_rules: mapping.label_rules.clone(),
        channels: channels.iter().map(|channel| channel.spec.clone()).collect(),
        bucket_ns: buckets,
        sources,
        window: window(mapping, longest)?,
        calibration: if mapping.calibration.is_some() { Calibration::Declared } else { Calibration::None },
    })
}

fn window(mapping: &Mapping, longest: usize) -> Result<WindowSpec, TelemetryError> {
    let keys = &mapping.window;
    let default = WindowSpec::default();
    let step_ns = mapping.time.step_seconds.map_or(SECOND_NS, crate::Seconds::ns);
    let (length_ns, steps) = match keys.seconds {
        WindowLength::Fixed(seconds) => (seconds.ns(), default.steps),
        WindowLength::Longest => ((longest as i64).saturating_mul(step_ns), longest as u32),
    };
    let window = WindowSpec {
        length_ns,
        stride_ns: keys.stride_seconds.map_or(length_ns, crate::Seconds::ns),
        steps: keys.steps.unwrap_or(steps),
        max_per_episode: keys.max_per_episode,
        partial: keys.partial,
        // the corpus has no absolute clock of its own, whether its rows are numbered or timed from the episode's start
        clock: if mapping.is_synthetic() { Clock::Index } else { Clock::Wall },
        statistics: keys.statistics.clone().unwrap_or(default.statistics),
    };
    window.check()?;
    Ok(window)
}

/// Nanoseconds of one unit of a numeric time column.
pub(super) fn scale_ns(unit: Unit, step_ns: i64) -> i64 {
    match unit {
        Unit::S => SECOND_NS,
        Unit::Ms => 1_000_000,
        Unit::Us => 1_000,
        Unit::Ns | Unit::Date => 1,
        Unit::Index => step_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selectors_find_their_columns() {
        let table = names(&["t", "m08", "m09", "m10", "ch_b", "ch_a", "a..b"]);
        let get = |selector| select(selector, Path::new("t"), &table).unwrap();
        assert_eq!(get("m08..m10"), ["m08", "m09", "m10"]);
        assert_eq!(get("ch*"), ["ch_b", "ch_a"]);
        assert_eq!(get("*_a"), ["ch_a"]);
        assert_eq!(get("a..b"), ["a..b"]);
        assert_eq!(get("t"), ["t"]);
    }

    #[test]
    fn what_is_not_there_is_named_with_its_neighbour() {
        let table = names(&["t", "m08", "m09", "m10"]);
        for (selector, words) in [
            ("m08..m11", "column `m11`: the table has no such column; did you mean `m1"),
            ("m8..m10", "column `m8..m10`"),
            ("x*", "pattern"),
            ("m07", "did you mean `m0"),
            ("m00..m99999", "no such column"),
        ] {
            let error = select(selector, Path::new("a.parquet"), &table).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(error.to_string() == "table a.parquet" && source.contains(words), "{selector}: {source}");
        }
    }
}
