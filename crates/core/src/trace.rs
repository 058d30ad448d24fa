//! Traces: the aligned rows of one episode, before any window is cut.

use crate::{Side, Source};

/// What is known about an episode apart from its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpisodeInfo {
    /// The episode's ULID.
    pub id: String,
    /// The device that was observed.
    pub host: String,
    /// The program that was run.
    pub sample: String,
    /// Its sha256 in lower-case hex, where known.
    pub sample_sha256: Option<String>,
    /// The behaviour family of the sample.
    pub profile: String,
    /// The side that the corpus itself assigns, where it does.
    pub given: Option<Side>,
    /// Whether the corpus declares the whole episode a calibration stretch of its host.
    pub calibration: bool,
    /// Observed span in `t_wall_ns`, half open.
    pub span: (i64, i64),
}

/// From `t_wall_ns` on, the label is `class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelPoint {
    /// Wall clock, Unix nanoseconds.
    pub t_wall_ns: i64,
    /// Class id, or `None` for an unlabelled stretch.
    pub class: Option<u16>,
}

/// The rows of one source of one episode.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRows {
    /// The source.
    pub source: Source,
    /// Length of the bucket that a row stands for, for sources of `delta` channels (0 = the source has none).
    pub bucket_ns: i64,
    /// For each column of `values`, its position in the channel list that the trace was read with.
    pub channels: Vec<usize>,
    /// Wall clock of each row, Unix nanoseconds, ascending. A bucketed row carries its bucket's start.
    pub t_wall_ns: Vec<i64>,
    /// Raw values, row-major (rows × columns), NaN where a field is absent or null. `f64`, because a cumulative
    /// counter needs more than the 24 bits of `f32`.
    pub values: Vec<f64>,
}

/// One episode: what was seen and what it was labelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Who, what, when.
    pub episode: EpisodeInfo,
    /// One entry a source that has a file, in the order of [`Source::ALL`].
    pub sources: Vec<SourceRows>,
    /// Label changes in time order.
    pub labels: Vec<LabelPoint>,
}

impl Trace {
    /// The label in force at an instant: the last label at or before it. `None` before the first label and on an
    /// unlabelled stretch.
    pub fn label_at(&self, t_wall_ns: i64) -> Option<u16> {
        let after = self.labels.partition_point(|label| label.t_wall_ns <= t_wall_ns);
        after.checked_sub(1).and_then(|i| self.labels[i].class)
    }
}
