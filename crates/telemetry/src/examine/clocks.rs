//! Clock bases: rows outside the observed span, and constant disagreements between the clocks of one episode.
//!
//! Two mistakes are common enough to be told by name. A recorder may write time since boot into `t_wall_ns`. And one
//! clock may run in local time: then everything that it stamped is off by a whole number of quarter hours (every
//! offset in the IANA time zone database since 1972 is one).

use stakeout_core::Clock;
use stakeout_core::window::SECOND_NS;

use super::{CLOCK_TOLERANCE_NS, Examination, Seen};
use crate::{ReasonCode, Seconds, Stream};

const QUARTER_HOUR_NS: i64 = 900 * SECOND_NS;
const HOUR_NS: i64 = 4 * QUARTER_HOUR_NS;
/// No machine is up for longer, and no Unix clock of a recording is this early.
const LONGEST_UPTIME_NS: i64 = 10 * 366 * 86_400 * SECOND_NS;

type Range = (i64, i64);

impl Examination<'_> {
    pub(super) fn judge_clocks(&mut self, seen: &[Option<Seen>; 7]) {
        let all = || Stream::ALL.into_iter().zip(seen).filter_map(|(stream, seen)| Some((stream, (*seen)?)));
        for (stream, seen) in all().filter(|(_, seen)| seen.outside > 0) {
            let (Some(span), Some(range)) = (self.span, seen.range) else { continue };
            self.judge_outside(stream, seen, range, span);
        }
        if self.corpus.window.clock != Clock::Wall {
            return;
        }
        let inside: Vec<(Stream, Range)> = all()
            .filter(|(_, seen)| seen.outside == 0)
            .filter_map(|(stream, seen)| Some((stream, seen.range?)))
            .collect();
        let mut sources = inside.iter().filter(|(stream, _)| matches!(stream, Stream::Rows(_)));
        let Some(&(first, reference)) = sources.next() else { return };
        let mut rows = reference;
        for &(stream, range) in sources {
            if let Some(offset) = parallel(range, reference) {
                let text = || format!("its clock is {} s from that of {}", Seconds::from_ns(offset), first.name());
                self.findings.add(ReasonCode::ClockOffset, Some(stream.file_name()), None, text);
            }
            rows = (rows.0.min(range.0), rows.1.max(range.1));
        }
        // Labels hold until the next one, so they may well start long before the rows; events are points in time.
        for &(stream, range) in inside.iter().filter(|(stream, _)| *stream == Stream::Events) {
            let beyond = (rows.0 - range.0).max(range.1 - rows.1);
            if let Some(offset) = shift_into(range, rows, HOUR_NS).filter(|_| beyond > HOUR_NS / 2) {
                let text = || format!("its clock is {} s from that of the rows", Seconds::from_ns(offset));
                self.findings.add(ReasonCode::ClockOffset, Some(stream.file_name()), None, text);
            }
        }
    }

    fn judge_outside(&mut self, stream: Stream, seen: Seen, range: Range, span: Range) {
        let file = Some(stream.file_name());
        let parsed = seen.outside;
        let wall = self.corpus.window.clock == Clock::Wall;
        if wall && range.1 < LONGEST_UPTIME_NS && span.0 > LONGEST_UPTIME_NS {
            let text = || {
                let up = Seconds::from_ns(range.0);
                format!("t_wall_ns starts at {up} s after 1970: it is time since boot, not wall clock")
            };
            self.findings.add(ReasonCode::ClockBootRelative, file, None, text);
        } else if let Some(offset) =
            shift_into(range, span, HOUR_NS).or_else(|| shift_into(range, span, QUARTER_HOUR_NS)).filter(|_| wall)
        {
            let text = || format!("its clock is {} s from the observed span", Seconds::from_ns(offset));
            self.findings.add(ReasonCode::ClockOffset, file, None, text);
        } else {
            let text = || {
                let (lo, hi) = (Seconds::from_ns(range.0 - span.0), Seconds::from_ns(range.1 - span.0));
                let length = Seconds::from_ns(span.1 - span.0);
                format!("{parsed} rows lie outside: rows span {lo} .. {hi} s of an episode of {length} s")
            };
            self.findings.add(ReasonCode::OutsideSpan, file, None, text);
        }
    }
}

/// The smallest multiple of `unit` by which `range` is off, such that without it the whole range lies in `span`.
fn shift_into(range: Range, span: Range, unit: i64) -> Option<i64> {
    let least = (range.1 - span.1).saturating_sub(CLOCK_TOLERANCE_NS);
    let most = (range.0 - span.0).saturating_add(CLOCK_TOLERANCE_NS);
    // Offsets in `least ..= most` bring both ends inside; the nearest to zero is the one that a human would name.
    let offset = if least > 0 {
        least.checked_add(unit - 1)? / unit * unit
    } else if most < 0 {
        -((most.checked_neg()?.checked_add(unit - 1)?) / unit * unit)
    } else {
        return None;
    };
    ((least..=most).contains(&offset)).then_some(offset)
}

/// The whole number of quarter hours by which two ranges of like length are apart.
fn parallel(range: Range, reference: Range) -> Option<i64> {
    let (start, end) = (range.0 - reference.0, range.1 - reference.1);
    let quarters = start.saturating_add(start.signum() * QUARTER_HOUR_NS / 2) / QUARTER_HOUR_NS;
    let offset = quarters * QUARTER_HOUR_NS;
    let near = |shift: i64| (shift - offset).abs() <= CLOCK_TOLERANCE_NS;
    (quarters != 0 && near(start) && near(end)).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = SECOND_NS;

    #[test]
    fn a_shift_is_named_only_when_it_explains_everything() {
        let span = (100_000 * S, 105_440 * S);
        assert_eq!(shift_into((103_600 * S, 109_000 * S), span, HOUR_NS), Some(3600 * S));
        assert_eq!(shift_into((96_403 * S, 101_000 * S), span, HOUR_NS), Some(-3600 * S));
        assert_eq!(shift_into((100_900 * S, 106_340 * S), span, HOUR_NS), None);
        assert_eq!(shift_into((100_900 * S, 106_340 * S), span, QUARTER_HOUR_NS), Some(900 * S));
        assert_eq!(shift_into((0, 200_000 * S), span, QUARTER_HOUR_NS), None);
        assert_eq!(shift_into((100_100 * S, 105_000 * S), span, QUARTER_HOUR_NS), None);
        assert_eq!(shift_into((0, i64::MAX), span, HOUR_NS), None);
    }

    #[test]
    fn parallel_ranges_are_compared_at_both_ends() {
        let reference = (100_000 * S, 105_440 * S);
        assert_eq!(parallel((103_601 * S, 109_039 * S), reference), Some(3600 * S));
        assert_eq!(parallel((96_400 * S, 101_840 * S), reference), Some(-3600 * S));
        assert_eq!(parallel((103_600 * S, 105_440 * S), reference), None);
        assert_eq!(parallel((100_001 * S, 105_443 * S), reference), None);
        assert_eq!(parallel((100_400 * S, 105_840 * S), reference), None);
    }
}
