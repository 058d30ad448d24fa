//! Two clocks that should agree: how far apart are they?
//!
//! A second clock in the table is compared row by row. An event log is compared through what both have in common: the
//! instants at which a class sets in. The constant offset is the one that brings most label onsets next to an event of
//! their class, the mode of all pairwise differences, so that missed and spurious onsets do no harm.

use std::collections::BTreeMap;
use std::path::Path;

use stakeout_core::text::printable;
use stakeout_core::window::SECOND_NS;

use super::choice::{Part, Template};
use super::clock::{self, Unit};
use super::content::{Group, Identity};
use super::mapping::{Audit, Mapping};
use super::place::Placed;
use super::plan::scale_ns;
use super::report::Finding;
use super::table::{Scale, Table};
use crate::{Seconds, TelemetryError};

/// A line longer than this is not a line of an event log.
const LONGEST_LINE: usize = 64 * 1024;

/// One line of an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggedEvent {
    pub t_ns: i64,
    pub tag: String,
}

/// Reads an event log; blank lines are skipped.
///
/// # Errors
/// [`TelemetryError::Malformed`] with the line.
pub(super) fn read_event_log(path: &Path, text: &str, form: &Template) -> Result<Vec<LoggedEvent>, TelemetryError> {
    let mut events = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let event = read_line(line, form.parts()).map_err(|why| TelemetryError::malformed(path, number, why))?;
        events.push(event);
    }
    events.sort_by_key(|event| event.t_ns);
    Ok(events)
}

/// Each name takes the text up to the literal that follows it; the last takes the rest.
fn read_line(line: &str, parts: &[Part]) -> Result<LoggedEvent, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("the line is longer than {LONGEST_LINE} bytes"));
    }
    let (mut epoch, mut tag) = (None, None);
    let mut rest = line;
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Text(literal) => {
                let after = rest.strip_prefix(literal.as_str());
                rest = after
                    .ok_or_else(|| format!("`{literal}` is missing: the line does not follow audit.events.line"))?;
            }
            Part::Column(name) => {
                let end = match parts.get(i + 1) {
                    Some(Part::Text(literal)) => rest.find(literal.as_str()),
                    _ => Some(rest.len()),
                };
                let end =
                    end.ok_or_else(|| format!("nothing ends `{name}`: the line does not follow audit.events.line"))?;
                let (value, after) = rest.split_at(end);
                match name.as_str() {
                    "epoch" => epoch = Some(value.trim()),
                    "tag" => tag = Some(value.trim()),
                    _ => {}
                }
                rest = after;
            }
        }
    }
    let epoch = epoch.unwrap_or_default();
    let t_ns = clock::from_decimal(epoch, SECOND_NS)
        .ok_or_else(|| format!("`{}` is not a number of seconds", printable(epoch, 60)))?
        .map_err(|fault| fault.to_string())?;
    let tag = tag.unwrap_or_default();
    crate::meta::check_name("event", tag).map_err(|error| error.to_string())?;
    Ok(LoggedEvent { t_ns, tag: tag.to_owned() })
}

/// A constant difference between two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    /// Second clock minus first.
    pub ns: i64,
    /// How many instants it explains.
    pub explained: usize,
    /// Of how many.
    pub of: usize,
}

/// The offset that brings most label onsets to within `tolerance_ns` of an event of the same class; `None` when no
/// class is in both lists.
pub(super) fn offset_of_onsets(labels: &[(&str, i64)], events: &[(&str, i64)], tolerance_ns: i64) -> Option<Offset> {
    let mut differences: Vec<(i64, usize)> = Vec::new();
    let mut of = 0;
    for (i, (class, label)) in labels.iter().enumerate() {
        let before = differences.len();
        differences.extend(events.iter().filter(|(other, _)| other == class).map(|(_, event)| (event - label, i)));
        of += usize::from(differences.len() > before);
    }
    differences.sort_unstable();
    let mut counts = vec![0_u32; labels.len()];
    let (mut from, mut distinct) = (0, 0);
    let mut best: Option<Offset> = None;
    for to in 0..differences.len() {
        let (difference, label) = differences[to];
        counts[label] += 1;
        distinct += usize::from(counts[label] == 1);
        while difference - differences[from].0 > tolerance_ns {
            let left = differences[from].1;
            counts[left] -= 1;
            distinct -= usize::from(counts[left] == 0);
            from += 1;
        }
        let ns = differences[from + (to - from) / 2].0;
        let better = best
            .is_none_or(|best| distinct > best.explained || (distinct == best.explained && ns.abs() < best.ns.abs()));
        if better {
            best = Some(Offset { ns, explained: distinct, of });
        }
    }
    best
}

/// The median difference of two clocks that were read on the same rows.
pub(super) fn offset_of_rows(mut differences: Vec<i64>, tolerance_ns: i64) -> Option<Offset> {
    let of = differences.len();
    let middle = of.checked_sub(1)? / 2;
    let (_, ns, _) = differences.select_nth_unstable(middle);
    let ns = *ns;
    let explained = differences.iter().filter(|difference| (*difference - ns).abs() <= tolerance_ns).count();
    Some(Offset { ns, explained, of })
}

/// The offset as a human would set it: time zones differ by quarters of an hour, so that an estimate next to one is
/// taken as one; any other is rounded to the second.
pub(super) fn round_offset(ns: i64, tolerance_ns: i64) -> Seconds {
    let to = |unit: i64| (ns + unit.signum() * unit / 2).div_euclid(unit) * unit;
    let quarter = to(900 * SECOND_NS);
    Seconds::from_ns(if quarter != 0 && (quarter - ns).abs() <= tolerance_ns { quarter } else { to(SECOND_NS) })
}

/// Collects what two clocks say while tables are imported.
pub(super) struct Clocks<'a> {
    audit: Option<&'a Audit>,
    log: &'a [LoggedEvent],
    offset: Seconds,
    /// Per host, second clock minus first.
    rows: BTreeMap<String, Vec<i64>>,
    /// Per host, where classes set in.
    onsets: BTreeMap<String, Vec<(String, i64)>>,
}

impl<'a> Clocks<'a> {
    pub(super) fn new(mapping: &'a Mapping, log: &'a [LoggedEvent]) -> Self {
        let (rows, onsets) = (BTreeMap::new(), BTreeMap::new());
        Self { audit: mapping.audit.as_ref(), log, offset: mapping.time.offset_seconds, rows, onsets }
    }

    /// Compares a second clock column with the clock of the rows.
    pub(super) fn compare_rows(
        &mut self,
        table: &Table,
        instants: Option<&[Result<i64, clock::Fault>]>,
        groups: &[Group],
        identities: &[Identity],
    ) -> Result<(), TelemetryError> {
        let Some((column, audit)) = self.audit.and_then(|audit| audit.column.as_ref().map(|column| (column, audit)))
        else {
            return Ok(());
        };
        let scale = match audit.unit {
            Some(Unit::Date) | None => Scale::Date(audit.format.as_ref()),
            Some(unit) => Scale::Number(scale_ns(unit, 1)),
        };
        let second = table.times(column, &scale)?;
        for (group, identity) in groups.iter().zip(identities) {
            let of_host = self.rows.entry(identity.host.clone()).or_default();
            for row in group.rows.iter().map(|row| *row as usize) {
                if let (Some(Ok(first)), Ok(second)) = (instants.map(|instants| instants[row]), second[row]) {
                    of_host.push(second - first);
                }
            }
        }
        Ok(())
    }

    /// Remembers where the classes of an episode set in.
    pub(super) fn note_labels(&mut self, host: &str, placed: &Placed, labels: &[u16], classes: &[String]) {
        if self.log.is_empty() {
            return;
        }
        let of_host = self.onsets.entry(host.to_owned()).or_default();
        let mut last = None;
        for (row, t) in &placed.rows {
            let class = labels[*row as usize];
            if last.is_some_and(|last| last != class)
                && let Some(name) = classes.get(usize::from(class))
            {
                of_host.push((name.clone(), *t));
            }
            last = Some(class);
        }
    }

    /// How far the event log's clock is ahead of a host's rows, as far as the tables so far tell; 0 where the two agree
    /// or no constant explains the difference.
    pub(super) fn offset_ns(&self, host: &str) -> i64 {
        let tolerance = self.audit.map_or(0, |audit| audit.tolerance_seconds.ns());
        let constant = |offset: &Offset| offset.explained * 2 >= offset.of && offset.ns.abs() > tolerance;
        self.offset_from_log(host).filter(constant).map_or(0, |offset| round_offset(offset.ns, tolerance).ns())
    }

    fn offset_from_log(&self, host: &str) -> Option<Offset> {
        let audit = self.audit?;
        let suffix = audit.events.as_ref()?.onset_suffix.as_str();
        let onset = |event: &'a LoggedEvent| Some((event.tag.strip_suffix(suffix)?, event.t_ns));
        let events: Vec<(&str, i64)> = self.log.iter().filter_map(onset).collect();
        let onsets: Vec<(&str, i64)> = self.onsets.get(host)?.iter().map(|(class, t)| (class.as_str(), *t)).collect();
        offset_of_onsets(&onsets, &events, audit.tolerance_seconds.ns())
    }

    /// What the comparisons say; hosts that say the same are named together.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let Some(audit) = self.audit else { return Vec::new() };
        let tolerance = audit.tolerance_seconds.ns();
        let mut findings: Vec<Finding> = Vec::new();
        for (host, differences) in &self.rows {
            let against = format!("column {}", audit.column.as_deref().unwrap_or_default());
            if let Some(offset) = offset_of_rows(differences.clone(), tolerance) {
                judge(offset, tolerance, self.offset, against, host.clone(), &mut findings);
            }
        }
        if let Some(log) = &audit.events {
            for host in self.onsets.keys() {
                if let Some(offset) = self.offset_from_log(host) {
                    judge(offset, tolerance, self.offset, log.file.clone(), host.clone(), &mut findings);
                }
            }
        }
        findings
    }
}

/// An offset that explains at least half of what was compared is a constant difference; a small one is none at all.
fn judge(
    offset: Offset,
    tolerance_ns: i64,
    present: Seconds,
    against: String,
    host: String,
    findings: &mut Vec<Finding>,
) {
    let Offset { ns, explained, of } = offset;
    let finding = if explained * 2 < of {
        Finding::ClocksUnrelated { against, hosts: vec![host], explained, of }
    } else if ns.abs() > tolerance_ns {
        let seconds = round_offset(ns, tolerance_ns);
        let wanted = Seconds::from_ns(present.ns().saturating_add(seconds.ns()));
        let remedy = format!("to move the rows, set time.offset_seconds = {wanted}");
        Finding::ClockDisagreement { seconds, against, hosts: vec![host], explained, of, remedy }
    } else {
        return;
    };
    if !findings.iter_mut().any(|known| known.absorb(&finding)) {
        findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = SECOND_NS;

    fn form() -> Template {
        Template::parse("[{epoch} -- {date} -- {elapsed}] [{tag}]{text}").unwrap()
    }

    #[test]
    fn a_log_line_is_taken_apart() {
        let text =
            "[1678444174.081 -- 2023-03-10 10:29:34 -- 0.00] [INFO] it starts\n\n[7.5 -- x -- y] [A-END]no blank\n";
        let events = read_event_log(Path::new("e.txt"), text, &form()).unwrap();
        assert_eq!(events[0], LoggedEvent { t_ns: 7_500_000_000, tag: "A-END".into() });
        assert_eq!(events[1].tag, "INFO");
        assert_eq!(events[1].t_ns, 1_678_444_174_081_000_000);
    }

    #[test]
    fn a_line_of_another_form_is_named() {
        let long = format!("[1 -- a -- b] [{}] x", "t".repeat(LONGEST_LINE));
        for (line, words) in [
            ("nonsense", "is missing"),
            ("[1 -- a", "nothing ends `date`"),
            ("[one -- a -- b] [T] x", "not a number"),
            ("[99999999999999 -- a -- b] [T] x", "2261"),
            ("[-1 -- a -- b] [T] x", "negative"),
            ("[1 -- a -- b] [] x", "visible"),
            ("[1 -- a -- b] [\u{1b}[2J] x", "visible"),
            (&long, "longer"),
        ] {
            let text = format!("[1 -- a -- b] [T] x\n{line}\n");
            let error = read_event_log(Path::new("e.txt"), &text, &form()).unwrap_err().to_string();
            assert!(error.starts_with("e.txt:2: ") && error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn an_hour_is_found_among_missed_and_spurious_onsets() {
        let events: Vec<(&str, i64)> =
            (0..12).map(|i| (["a", "b", "c"][i % 3], 3600 * S + i as i64 * 97 * S)).collect();
        let mut labels: Vec<(&str, i64)> =
            (0..12).map(|i| (["a", "b", "c"][i % 3], i as i64 * 97 * S + (i as i64 % 4) * S / 3)).collect();
        labels.remove(3);
        labels.extend([("a", 41 * S), ("b", 500 * S), ("normal", 0)]);
        let offset = offset_of_onsets(&labels, &events, 5 * S).unwrap();
        assert_eq!((offset.explained, offset.of), (11, 13));
        assert_eq!(round_offset(offset.ns, 5 * S).ns(), 3600 * S);
        assert_eq!(offset_of_onsets(&[("x", 1)], &events, S), None);
    }

    #[test]
    fn an_offset_is_rounded_as_a_human_would() {
        for (ns, tolerance, expected) in [
            (3_599_700_000_000, 5 * S, 3600),
            (-3_601_000_000_000, 5 * S, -3600),
            (3_590 * S, 5 * S, 3_590),
            (700_000_000, 5 * S, 1),
            (-12_400_000_000, 5 * S, -12),
            (0, 5 * S, 0),
        ] {
            assert_eq!(round_offset(ns, tolerance).ns(), expected * S, "{ns}");
        }
    }

    #[test]
    fn rows_vote_by_their_median() {
        let offset = offset_of_rows(vec![10, 11, 9, 10, 500], 2).unwrap();
        assert_eq!(offset, Offset { ns: 10, explained: 4, of: 5 });
        assert_eq!(offset_of_rows(vec![], 2), None);
    }

    /// The slow twin: tries every difference as the lower edge.
    fn most_explained(labels: &[(&str, i64)], events: &[(&str, i64)], tolerance: i64) -> usize {
        let explained = |low: i64| {
            let near = |(class, label): &&(&str, i64)| {
                events.iter().any(|(c, event)| c == class && (low..=low + tolerance).contains(&(event - label)))
            };
            labels.iter().filter(near).count()
        };
        labels.iter().flat_map(|l| events.iter().map(move |e| e.1 - l.1)).map(explained).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn the_sliding_window_finds_what_trying_all_finds(
            labels in prop::collection::vec((0usize..3, 0i64..60), 0..12),
            events in prop::collection::vec((0usize..3, 0i64..60), 0..12),
            tolerance in 1i64..10,
        ) {
            let named = |list: Vec<(usize, i64)>| list.into_iter().map(|(c, t)| (["a", "b", "c"][c], t)).collect::<Vec<_>>();
            let (labels, events) = (named(labels), named(events));
            let found = offset_of_onsets(&labels, &events, tolerance).map_or(0, |offset| offset.explained);
            prop_assert_eq!(found, most_explained(&labels, &events, tolerance));
        }
    }
}
