//! The rows of an episode, in time.

use std::collections::BTreeMap;

use stakeout_core::window::SECOND_NS;

use super::clock::{LAST_NS, Unit, shift};
use super::content::Group;
use super::mapping::{Mapping, Origin, Timeline};
use super::plan::scale_ns;
use super::report::ImportReport;
use super::table::{Scale, Table};
use crate::{Seconds, TelemetryError};

const HOUR_NS: i64 = 3_600 * SECOND_NS;
/// 2000-01-01T00:00:00Z: synthetic clocks start here.
const SYNTHETIC_START_NS: i64 = 946_684_800 * SECOND_NS;

/// An instant a row, or why there is none.
type Instants = Vec<Result<i64, super::clock::Fault>>;

/// The instants of a table's rows: absolute, or relative to the start of their episode. `None` when rows are counted.
pub(super) fn instants(mapping: &Mapping, table: &Table) -> Result<Option<Instants>, TelemetryError> {
    let time = &mapping.time;
    let Some(column) = &time.column else { return Ok(None) };
    let scale = match time.unit {
        Unit::Date => Scale::Date(time.format.as_ref()),
        unit => Scale::Number(scale_ns(unit, time.step_seconds.map_or(1, Seconds::ns))),
    };
    let mut instants = table.times(column, &scale)?;
    let offset = time.offset_seconds.ns();
    if offset != 0 {
        for instant in &mut instants {
            *instant = instant.and_then(|ns| shift(ns, offset));
        }
    }
    Ok(Some(instants))
}

/// Some rows and their instants, in ascending order.
pub(super) struct Placed {
    /// Row and instant.
    pub rows: Vec<(u32, i64)>,
    /// Observed span: start, end (exclusive).
    pub span: (i64, i64),
}

/// Puts the rows of one episode in time order. Rows without a usable instant are dropped, and, where rows are readings
/// (not events), so are rows at an instant that another one has.
pub(super) fn place(
    mapping: &Mapping,
    table: &Table,
    group: &Group,
    instants: Option<&Instants>,
    report: &mut ImportReport,
) -> Placed {
    let step_ns = mapping.time.step_seconds.map(Seconds::ns);
    let mut rows: Vec<(u32, i64)> = Vec::with_capacity(group.rows.len());
    for (i, &row) in group.rows.iter().enumerate() {
        let instant = instants.map_or_else(
            || super::clock::from_integer(i as i64, step_ns.unwrap_or(1)),
            |instants| instants[row as usize],
        );
        match instant {
            Ok(ns) => rows.push((row, ns)),
            Err(fault) => report.drop_row(&fault.to_string(), &table.path, row as usize),
        }
    }
    report.rows_reordered += rows.windows(2).filter(|pair| pair[1].1 < pair[0].1).count() as u64;
    rows.sort_by_key(|(_, ns)| *ns);
    if mapping.aggregate.is_none() {
        let mut last = None;
        rows.retain(|&(row, ns)| {
            let fresh = last != Some(ns);
            if !fresh {
                report.drop_row("another row of the episode has the same time", &table.path, row as usize);
            }
            last = Some(ns);
            fresh
        });
    }
    if mapping.time.unit == Unit::Index
        && let Some(&(_, first)) = rows.first()
    {
        for (_, ns) in &mut rows {
            *ns -= first;
        }
    }
    let (first, last) = rows.first().zip(rows.last()).map_or((0, 0), |(first, last)| (first.1, last.1));
    let span = match (mapping.aggregate, step_ns) {
        (Some(aggregate), _) => {
            let bucket = aggregate.bucket_seconds.ns();
            (first.div_euclid(bucket) * bucket, (last.div_euclid(bucket) + 1) * bucket)
        }
        (None, Some(step)) => (first, last + step),
        (None, None) => (first, last + 1),
    };
    let start = if mapping.time.origin == Origin::Episode { 0 } else { span.0 };
    Placed { rows, span: (start, span.1) }
}

/// Gives episodes that do not know when they began a place on a made-up clock: one after the other, each start on a
/// whole hour that is also a multiple of the stride, so that the window grid starts where the episode does.
pub(super) struct Timelines {
    align_ns: i64,
    by: Timeline,
    next: BTreeMap<String, i64>,
}

impl Timelines {
    pub(super) fn new(by: Timeline, stride_ns: i64) -> Self {
        let common = (HOUR_NS / gcd(HOUR_NS, stride_ns)).checked_mul(stride_ns);
        // with a stride that shares little with an hour, whole hours would be years apart: the stride matters more
        let align_ns = common.filter(|ns| *ns <= 1_000 * HOUR_NS).unwrap_or(stride_ns);
        Self { align_ns, by, next: BTreeMap::new() }
    }

    /// Moves an episode of `host` to its place; `None` when the clock is full.
    pub(super) fn settle(&mut self, placed: &mut Placed, host: &str) -> Option<()> {
        let line = match self.by {
            Timeline::Corpus => String::new(),
            Timeline::Host => host.to_owned(),
        };
        let free = self.next.get(&line).copied().unwrap_or(SYNTHETIC_START_NS);
        let start = free.checked_add(self.align_ns - 1)?.div_euclid(self.align_ns) * self.align_ns;
        let end = start.checked_add(placed.span.1 - placed.span.0).filter(|end| *end <= LAST_NS)?;
        let by = start - placed.span.0;
        for (_, ns) in &mut placed.rows {
            *ns += by;
        }
        placed.span = (start, end);
        self.next.insert(line, end);
        Some(())
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(length_ns: i64) -> Placed {
        Placed { rows: vec![(0, 0), (1, length_ns - 1)], span: (0, length_ns) }
    }

    #[test]
    fn synthetic_episodes_start_on_hours_and_on_the_window_grid() {
        for stride_s in [4, 29, 600, 7_919] {
            let stride = stride_s * SECOND_NS;
            let mut lines = Timelines::new(Timeline::Corpus, stride);
            let mut end = 0;
            for length in [1, 3_600, 3_601, 90_000] {
                let mut episode = placed(length * SECOND_NS);
                lines.settle(&mut episode, "h").unwrap();
                assert_eq!(episode.span.0 % stride, 0);
                assert!(stride_s == 7_919 || episode.span.0 % HOUR_NS == 0);
                assert!(episode.span.0 >= end && episode.span.1 - episode.span.0 == length * SECOND_NS);
                assert_eq!(episode.rows[0].1, episode.span.0);
                end = episode.span.1;
            }
        }
    }

    #[test]
    fn hosts_side_by_side_share_their_start() {
        let mut lines = Timelines::new(Timeline::Host, 600 * SECOND_NS);
        let starts: Vec<i64> = ["a", "b", "a", "b"]
            .into_iter()
            .map(|host| {
                let mut episode = placed(5_000 * SECOND_NS);
                lines.settle(&mut episode, host).unwrap();
                episode.span.0
            })
            .collect();
        assert!(starts[0] == starts[1] && starts[2] == starts[3] && starts[2] == starts[0] + 2 * HOUR_NS);
    }

    #[test]
    fn a_full_clock_is_an_answer_not_an_overflow() {
        let mut lines = Timelines::new(Timeline::Corpus, SECOND_NS);
        assert!(lines.settle(&mut placed(LAST_NS - SYNTHETIC_START_NS), "h").is_some());
        assert!(lines.settle(&mut placed(HOUR_NS), "h").is_none());
    }
}
