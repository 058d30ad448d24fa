//! Where windows lie: integer nanoseconds on the absolute grid, from the observed span alone.

use stakeout_core::{Partial, WindowSpec};

use crate::FeatureError;

/// Most windows that one episode may have: a year of ten-second windows every 30 s.
pub const MAX_WINDOWS: u64 = 1 << 20;

/// Most numbers that the windows of one episode may hold per kind of input (4 GiB of `f32`).
pub const MAX_VALUES: u128 = 1 << 30;

/// The windows of one episode: window `w` is `[first_ns + w * stride_ns, first_ns + w * stride_ns + length_ns)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Start of the first window.
    pub first_ns: i64,
    /// Distance between window starts, positive.
    pub stride_ns: i64,
    /// Length of a window, positive; a multiple of `steps`.
    pub length_ns: i64,
    /// Time steps of a tensor.
    pub steps: usize,
    /// Number of windows.
    pub windows: usize,
}

/// A grid and what became of the windows that are not on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The windows to cut.
    pub grid: Grid,
    /// Whether a last, partly observed window was dropped.
    pub partial_dropped: bool,
    /// Whether the last window is partly observed and kept.
    pub partial_kept: bool,
    /// Full or kept windows beyond `max_per_episode`.
    pub over_maximum: u64,
}

impl Grid {
    /// Start of a window.
    pub fn start(&self, window: usize) -> i64 {
        self.first_ns + window as i64 * self.stride_ns
    }

    /// Length of a tensor step.
    pub fn step_ns(&self) -> i64 {
        self.length_ns / self.steps as i64
    }

    /// Places windows over the half-open `span`: starts at multiples of the stride, from the first one inside the
    /// span. A window is full when it ends inside the span. At most one partial window follows: the next one after the
    /// last full window, when the span holds time at its end that no full window covers.
    ///
    /// # Errors
    /// [`FeatureError::TooLarge`] beyond [`MAX_WINDOWS`] windows, after `max_per_episode` was applied.
    pub fn place(span: (i64, i64), spec: &WindowSpec, episode: &str) -> Result<Placed, FeatureError> {
        let (stride, length) = (i128::from(spec.stride_ns), i128::from(spec.length_ns));
        let (begin, end) = (i128::from(span.0), i128::from(span.1));
        // The first multiple of the stride at or after the begin.
        let first = begin.div_euclid(stride) * stride + if begin.rem_euclid(stride) == 0 { 0 } else { stride };
        let full = if first + length <= end { (end - length - first) / stride + 1 } else { 0 };
        let next = first + full * stride;
        let covered = if full == 0 { first } else { next - stride + length };
        let partial = next < end && covered < end && next + length <= i128::from(i64::MAX);
        let keep_partial = partial && spec.partial == Partial::Mask;
        let available = full + i128::from(keep_partial);
        let maximum = if spec.max_per_episode == 0 { i128::MAX } else { i128::from(spec.max_per_episode) };
        let windows = available.min(maximum);
        if windows > i128::from(MAX_WINDOWS) {
            return Err(FeatureError::TooLarge {
                episode: episode.into(),
                what: "the number of windows",
                got: windows as u128,
                limit: u128::from(MAX_WINDOWS),
                remedy: "check the episode's clock, raise `window.stride_seconds` or set `window.max_per_episode`",
            });
        }
        let grid = Grid {
            first_ns: if windows > 0 { first as i64 } else { span.0 },
            stride_ns: spec.stride_ns,
            length_ns: spec.length_ns,
            steps: spec.steps as usize,
            windows: windows as usize,
        };
        Ok(Placed {
            grid,
            partial_dropped: partial && !keep_partial,
            partial_kept: keep_partial && windows == available,
            over_maximum: u64::try_from(available - windows).unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stakeout_core::window::SECOND_NS;

    use super::*;

    fn spec(length_ns: i64, stride_ns: i64) -> WindowSpec {
        WindowSpec { length_ns, stride_ns, steps: 1, ..WindowSpec::default() }
    }

    fn starts(span: (i64, i64), spec: &WindowSpec) -> Vec<i64> {
        let grid = Grid::place(span, spec, "e").unwrap().grid;
        (0..grid.windows).map(|w| grid.start(w)).collect()
    }

    #[test]
    fn one_nanosecond_decides() {
        let s = SECOND_NS;
        let spec = WindowSpec::default();
        assert_eq!(starts((0, 20 * s), &spec), [0, 5 * s, 10 * s]);
        assert_eq!(starts((0, 20 * s - 1), &spec), [0, 5 * s]);
        assert_eq!(starts((1, 20 * s), &spec), [5 * s, 10 * s]);
        assert_eq!(starts((-1, 20 * s), &spec), [0, 5 * s, 10 * s]);
        assert_eq!(starts((-5 * s, 5 * s), &spec), [-5 * s]);
    }

    #[test]
    fn a_partial_window_must_hold_time_of_its_own() {
        let s = SECOND_NS;
        let mask = WindowSpec { partial: Partial::Mask, ..WindowSpec::default() };
        let placed = |end: i64| Grid::place((0, end), &mask, "e").unwrap();
        assert_eq!((placed(20 * s).grid.windows, placed(20 * s).partial_kept), (3, false));
        assert_eq!((placed(20 * s + 1).grid.windows, placed(20 * s + 1).partial_kept), (4, true));
        assert_eq!((placed(3).grid.windows, placed(3).partial_kept), (1, true));
        let dropped = Grid::place((0, 3), &WindowSpec::default(), "e").unwrap();
        assert_eq!((dropped.grid.windows, dropped.partial_dropped), (0, true));
    }

    #[test]
    fn hostile_spans_end_in_an_error_or_in_nothing() {
        let spec = WindowSpec::default();
        let error = Grid::place((i64::MIN, i64::MAX), &spec, "e").unwrap_err().to_string();
        assert!(error.contains("window.max_per_episode"), "{error}");
        let mask = WindowSpec { partial: Partial::Mask, ..spec.clone() };
        let last = Grid::place((i64::MAX - 30 * SECOND_NS, i64::MAX), &mask, "e").unwrap().grid;
        assert!(last.windows > 2 && last.start(last.windows - 1).checked_add(last.length_ns).is_some());
        for span in [(i64::MAX, i64::MIN), (5, 5), (i64::MAX - 1, i64::MAX)] {
            assert_eq!(Grid::place(span, &spec, "e").unwrap().grid.windows, 0);
        }
        let first_three = WindowSpec { max_per_episode: 3, ..spec };
        let placed = Grid::place((i64::MIN, i64::MAX), &first_three, "e").unwrap();
        assert_eq!(placed.grid.windows, 3);
        assert!(placed.over_maximum > 1 << 30);
    }

    proptest! {
        #[test]
        fn as_a_walk_over_the_multiples_of_the_stride(
            begin in -300i64..300, observed in 0i64..300, length in 1i64..40, stride in 1i64..60, mask: bool, max in 0u32..6,
        ) {
            let end = begin + observed;
            let partial = if mask { Partial::Mask } else { Partial::Drop };
            let spec = WindowSpec { partial, max_per_episode: max, ..spec(length, stride) };
            let mut full = Vec::new();
            let mut candidate = -600 / stride * stride;
            let mut next = None;
            while candidate < 700 {
                if candidate >= begin && candidate + length <= end { full.push(candidate); }
                else if candidate >= begin && candidate < end && next.is_none() { next = Some(candidate); }
                candidate += stride;
            }
            let covered = full.last().map_or(i64::MIN, |t0| t0 + length);
            let has_partial = next.is_some() && covered < end;
            if mask && has_partial { full.extend(next); }
            let over = if max == 0 { 0 } else { full.len().saturating_sub(max as usize) };
            full.truncate(full.len() - over);
            let placed = Grid::place((begin, end), &spec, "e").unwrap();
            prop_assert_eq!(starts((begin, end), &spec), full);
            prop_assert_eq!(placed.partial_dropped, has_partial && !mask);
            prop_assert_eq!(placed.partial_kept, has_partial && mask && over == 0);
            prop_assert_eq!(placed.over_maximum, over as u64);
        }
    }
}
