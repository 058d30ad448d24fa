//! One episode into windows.

use stakeout_core::{ChannelKind, InputKind, Schema, SourceRows, Statistic, Trace};

use crate::FeatureError;
use crate::digest::Content;
use crate::grid::{Grid, MAX_VALUES, Placed};
use crate::kernel::{Place, StepMeans, Summariser};
use crate::series::{self, MAX_SAMPLES, Series};

/// Which inputs to compute. Neither is a cheap pass: times, labels and digests are there all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Statistics per channel.
    pub summary: bool,
    /// Step means per channel.
    pub tensor: bool,
}

impl Inputs {
    /// Summary and tensor.
    pub const BOTH: Self = Self { summary: true, tensor: true };

    /// The one input of a model.
    pub fn of(kind: InputKind) -> Self {
        Self { summary: kind == InputKind::Summary, tensor: kind == InputKind::Tensor }
    }
}

/// The windows of one episode. All vectors run over windows in time order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cut {
    /// Start of each window in `t_wall_ns`.
    pub t0_ns: Vec<i64>,
    /// The last label at or before each window's centre; `None` before the first label and on an unlabelled stretch.
    pub labels: Vec<Option<u16>>,
    /// How many leading tensor steps begin inside the observed span: fewer than all only in a partial window.
    pub lengths: Vec<u32>,
    /// Digest of each window's raw values, 0 for a window without an observed value.
    pub digests: Vec<u128>,
    /// Number of observed raw values in each window.
    pub observed: Vec<u32>,
    /// Windows × features, statistic-major; empty when not asked for.
    pub summary: Vec<f32>,
    /// Windows × channels × steps; empty when not asked for. NaN for a step without a sample.
    pub tensor: Vec<f32>,
    /// What became of every row and window.
    pub counts: CutCounts,
}

/// What became of the rows and windows of one episode, or of many when added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CutCounts {
    /// Rows in the trace.
    pub rows_read: u64,
    /// Rows inside at least one window.
    pub rows_used: u64,
    /// Rows outside the observed span.
    pub rows_outside_span: u64,
    /// Rows inside the span and in no window: before the first, after the last, between windows that do not touch.
    pub rows_outside_windows: u64,
    /// Counter values that were smaller than the one before; their rates are missing.
    pub counter_resets: u64,
    /// Windows that were cut.
    pub windows: u64,
    /// Windows without a single observed value.
    pub windows_empty: u64,
    /// Windows centred before the first label.
    pub windows_before_first_label: u64,
    /// Windows centred on an unlabelled stretch.
    pub windows_unlabelled: u64,
    /// Last windows that the span covers only in part, dropped.
    pub partial_dropped: u64,
    /// Last windows that the span covers only in part, kept.
    pub partial_kept: u64,
    /// Windows beyond `window.max_per_episode`.
    pub windows_over_maximum: u64,
}

impl std::ops::AddAssign for CutCounts {
    fn add_assign(&mut self, other: Self) {
        let Self {
            rows_read,
            rows_used,
            rows_outside_span,
            rows_outside_windows,
            counter_resets,
            windows,
            windows_empty,
            windows_before_first_label,
            windows_unlabelled,
            partial_dropped,
            partial_kept,
            windows_over_maximum,
        } = other;
        self.rows_read += rows_read;
        self.rows_used += rows_used;
        self.rows_outside_span += rows_outside_span;
        self.rows_outside_windows += rows_outside_windows;
        self.counter_resets += counter_resets;
        self.windows += windows;
        self.windows_empty += windows_empty;
        self.windows_before_first_label += windows_before_first_label;
        self.windows_unlabelled += windows_unlabelled;
        self.partial_dropped += partial_dropped;
        self.partial_kept += partial_kept;
        self.windows_over_maximum = self.windows_over_maximum.saturating_add(windows_over_maximum);
    }
}

/// Buffers that one thread keeps between episodes.
#[derive(Debug, Clone, Default)]
pub struct CutScratch {
    readings: Series,
    amounts: Series,
    means: StepMeans,
    summariser: Summariser,
}

/// Cuts one episode into windows. `trace.sources[].channels` are positions in `schema.channels`.
///
/// # Errors
/// [`FeatureError::Trace`] when a source does not follow its own description (sizes, order of times, channels, a
/// delta channel without a bucket), [`FeatureError::TooLarge`] when the span asks for absurdly many windows or values.
pub fn cut(trace: &Trace, schema: &Schema, inputs: Inputs, scratch: &mut CutScratch) -> Result<Cut, FeatureError> {
    let episode = trace.episode.id.as_str();
    let span = trace.episode.span;
    let placed = Grid::place(span, &schema.window, episode)?;
    let grid = placed.grid;
    for source in &trace.sources {
        check(source, schema, episode)?;
    }
    let (width, depth) = widths(schema, inputs);
    // Step means are kept for a summary too.
    let largest = schema.geometry().features.max(schema.geometry().row_len(InputKind::Tensor));
    let values = grid.windows as u128 * largest as u128;
    if values > MAX_VALUES {
        return Err(FeatureError::TooLarge {
            episode: episode.into(),
            what: "the number of values of its windows",
            got: values,
            limit: MAX_VALUES,
            remedy: "raise `window.stride_seconds`, lower `window.steps` or set `window.max_per_episode`",
        });
    }

    let mut cut = describe(trace, &placed);
    cut.summary = vec![f32::NAN; grid.windows * width];
    cut.tensor = vec![f32::NAN; grid.windows * depth];
    if !inputs.summary && !inputs.tensor {
        return Ok(cut);
    }
    let statistics = &schema.window.statistics;
    let stepped = inputs.tensor || statistics.contains(&Statistic::ZeroShare);
    let kind = |position: usize| schema.channels[position].kind;
    for source in &trace.sources {
        cut.counts.counter_resets += series::readings(source, kind, span.1, grid.length_ns, &mut scratch.readings);
        series::amounts(source, kind, span, &mut scratch.amounts).map_err(|got| FeatureError::TooLarge {
            episode: episode.into(),
            what: "the number of buckets of a source",
            got,
            limit: MAX_SAMPLES as u128,
            remedy: "check the episode's clock and the length of the source's bucket",
        })?;
        for series in [&scratch.readings, &scratch.amounts] {
            let place = Place::new(&series.positions, schema.channels.len());
            if stepped {
                scratch.means.compute(&grid, &series.samples);
            }
            if inputs.summary {
                let (samples, means) = (&series.samples, &scratch.means);
                scratch.summariser.write(&grid, samples, means, statistics, &place, &mut cut.summary);
            }
            if inputs.tensor {
                scratch.means.write(&place, &mut cut.tensor);
            }
        }
    }
    Ok(cut)
}

/// Numbers per window of the summary and of the tensor, 0 for one that is not asked for.
fn widths(schema: &Schema, inputs: Inputs) -> (usize, usize) {
    let of = |asked: bool, kind| if asked { schema.geometry().row_len(kind) } else { 0 };
    (of(inputs.summary, InputKind::Summary), of(inputs.tensor, InputKind::Tensor))
}

fn check(rows: &SourceRows, schema: &Schema, episode: &str) -> Result<(), FeatureError> {
    let fault = |why: String| Err(FeatureError::Trace { episode: episode.into(), from: rows.source, why });
    if rows.values.len() != rows.t_wall_ns.len() * rows.channels.len() {
        let (values, times, columns) = (rows.values.len(), rows.t_wall_ns.len(), rows.channels.len());
        return fault(format!("{values} values do not make {times} rows of {columns} columns"));
    }
    if !rows.t_wall_ns.is_sorted() {
        return fault("rows are not in time order: sort them by t_wall_ns".into());
    }
    for &position in &rows.channels {
        let Some(channel) = schema.channels.get(position) else {
            return fault(format!(
                "column of channel {position}, but the schema has {}: read the trace with the schema's channels",
                schema.channels.len()
            ));
        };
        if channel.kind == ChannelKind::Delta && rows.bucket_ns <= 0 {
            return fault(format!("channel {} is a delta, so the source needs the length of its bucket", channel.name));
        }
    }
    Ok(())
}

/// Everything about the windows that needs no kernel: times, labels, digests, counts.
fn describe(trace: &Trace, placed: &Placed) -> Cut {
    let grid = &placed.grid;
    let (begin, end) = trace.episode.span;
    let content = Content::new(&trace.sources);
    let mut cut = Cut::default();
    let counts = &mut cut.counts;
    for window in 0..grid.windows {
        let t0 = grid.start(window);
        let observed_ns = grid.length_ns.min(end - t0);
        let steps = (observed_ns + grid.step_ns() - 1) / grid.step_ns();
        let (observed, digest) = content.digest(t0, t0 + observed_ns);
        let centre = t0 + grid.length_ns / 2;
        let label = trace.label_at(centre);
        if label.is_none() {
            let before_first = trace.labels.first().is_none_or(|first| centre < first.t_wall_ns);
            *(if before_first { &mut counts.windows_before_first_label } else { &mut counts.windows_unlabelled }) += 1;
        }
        counts.windows_empty += u64::from(observed == 0);
        cut.t0_ns.push(t0);
        cut.labels.push(label);
        cut.lengths.push(steps as u32);
        cut.digests.push(digest);
        cut.observed.push(observed);
    }
    counts.windows = grid.windows as u64;
    counts.partial_dropped = u64::from(placed.partial_dropped);
    counts.partial_kept = u64::from(placed.partial_kept);
    counts.windows_over_maximum = placed.over_maximum;
    for rows in &trace.sources {
        let before = |t: i64| rows.t_wall_ns.partition_point(|row| *row < t) as u64;
        let inside = before(end).saturating_sub(before(begin));
        let mut used = 0;
        let mut counted_to = i64::MIN;
        for &t0 in &cut.t0_ns {
            let (from, to) = (t0.max(counted_to), (t0 + grid.length_ns).min(end));
            used += before(to) - before(from).min(before(to));
            counted_to = to;
        }
        counts.rows_read += rows.t_wall_ns.len() as u64;
        counts.rows_used += used;
        counts.rows_outside_span += rows.t_wall_ns.len() as u64 - inside;
        counts.rows_outside_windows += inside - used;
    }
    cut
}
