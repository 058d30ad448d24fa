//! Windows of a stream: rows come one by one, and a window is cut as soon as nothing that is still to come can change it.
//!
//! What comes out is what [`cut()`](crate::cut()) makes of the same rows of a finished episode that begins with the
//! stream's first row. The stream's clock is the latest time of any row; the machine's own clock takes no part, so that
//! the same rows give the same windows.
//!
//! * A window is complete once every source of the model has passed its end. A source that has not is waited for until
//!   the stream's clock is `patience` past that end, and from then on no longer, until its next row.
//! * A row whose time is far from the stream's clock is dropped. When the next row of its source continues from it, it
//!   was the clock that moved (a machine that slept, a snapshot put back): the stream ends and starts anew there.
//! * Memory holds the samples of one window and of `patience`, whatever comes: a source may have 2^22 numbers in it.

mod source;

use stakeout_core::{
    Batch, ChannelSpec, CoreError, Geometry, InputKind, Partial, Schema, Source, Statistic, WindowSpec,
};

use crate::grid::Grid;
use crate::kernel::{Place, StepMeans, Summariser};
use source::LiveSource;

/// How far a row may be from the stream's clock: one window and this many strides.
pub const FAR_STRIDES: i64 = 60;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It takes part.
    Taken,
    /// It takes part in windows to come, but one that it belongs to is already out.
    Late,
    /// The model looks at no channel of its source.
    NotAsked,
    /// Its time is not after that of the last row of its source: dropped.
    Backwards,
    /// Its time is far from the stream's clock: dropped.
    Astray,
    /// There is no room left in its window: dropped.
    Crowded,
    /// The second row of its source in succession that is far from the stream's clock, and near the first: the clock
    /// moved. Nothing was taken yet: drain [`Live::finish`], call [`Live::restart`] and push the row again.
    Moved,
}

/// Where the next window lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Wherever the first row says.
    Unknown,
    /// It starts here, and its end is a time too.
    At(i64),
    /// There is none: as many as an episode may have are out, or time ends.
    None,
}

/// Cuts the rows of one stream into windows of one kind of input.
#[derive(Debug, Clone)]
pub struct Live {
    kind: InputKind,
    geometry: Geometry,
    window: WindowSpec,
    patience_ns: i64,
    /// Beyond this distance from the clock a row is astray.
    far_ns: u64,
    sources: Vec<LiveSource>,
    /// Latest time of a row.
    clock: Option<i64>,
    next: Next,
    /// Start of the first window, end of the last one that is out.
    covered: i64,
    /// Windows that are out.
    windows: u32,
    stepped: bool,
    means: StepMeans,
    summariser: Summariser,
}

impl Live {
    /// A stream for the channels of `schema`; `bucket_ns` gives the length of the bucket that a row of a source stands
    /// for (0: none).
    ///
    /// # Errors
    /// [`CoreError::Invalid`] for a delta channel whose source has no bucket, and for a `patience_ns` that is negative or
    /// longer than a row may be away from the clock.
    pub fn new(
        schema: &Schema,
        kind: InputKind,
        bucket_ns: impl Fn(Source) -> i64,
        patience_ns: i64,
    ) -> Result<Self, CoreError> {
        let window = schema.window.clone();
        let far_ns = window.length_ns.saturating_add(window.stride_ns.saturating_mul(FAR_STRIDES));
        if !(0..=far_ns).contains(&patience_ns) {
            let rule = format!("it lies between 0 and {} s, a window and {FAR_STRIDES} strides", far_ns as f64 / 1e9);
            return Err(CoreError::invalid("patience", format!("{} s", patience_ns as f64 / 1e9), rule));
        }
        let mut sources = Vec::new();
        for source in Source::ALL {
            if Self::channels(schema, source).next().is_some() {
                sources.push(LiveSource::new(schema, source, bucket_ns(source))?);
            }
        }
        let stepped = kind == InputKind::Tensor || window.statistics.contains(&Statistic::ZeroShare);
        Ok(Self {
            kind,
            geometry: schema.geometry(),
            window,
            patience_ns,
            far_ns: far_ns as u64,
            sources,
            clock: None,
            next: Next::Unknown,
            covered: 0,
            windows: 0,
            stepped,
            means: StepMeans::default(),
            summariser: Summariser::default(),
        })
    }

    /// The channels of a source in the order in which [`Live::push`] takes their values.
    pub fn channels(schema: &Schema, source: Source) -> impl Iterator<Item = &ChannelSpec> {
        schema.channels.iter().filter(move |channel| channel.source == source)
    }

    /// An empty batch of the kind that windows are written to.
    pub fn batch(&self) -> Batch {
        Batch::new(self.kind, self.geometry)
    }

    /// Counter values so far that were smaller than the one before; their rates are missing.
    pub fn counter_resets(&self) -> u64 {
        self.sources.iter().map(LiveSource::counter_resets).sum()
    }

    /// Takes a row: one value for each of [`Live::channels`], NaN where there is none. Complete windows are to be fetched
    /// by [`Live::next_window`] before the next row.
    ///
    /// # Panics
    /// When there are more or fewer values than the source has channels.
    pub fn push(&mut self, source: Source, t_wall_ns: i64, values: &[f64]) -> Pushed {
        let (far_ns, max_gap_ns) = (self.far_ns, self.window.length_ns);
        let Some(own) = self.sources.iter_mut().find(|own| own.source == source) else { return Pushed::NotAsked };
        if self.clock.is_some_and(|clock| t_wall_ns.abs_diff(clock) > far_ns) {
            let before = own.astray.replace(t_wall_ns);
            let continues = before.is_some_and(|before| t_wall_ns > before && t_wall_ns.abs_diff(before) <= far_ns);
            return if continues { Pushed::Moved } else { Pushed::Astray };
        }
        own.astray = None;
        if own.last.is_some_and(|last| t_wall_ns <= last) {
            return Pushed::Backwards;
        }
        if self.next == Next::Unknown {
            self.next = first_window(t_wall_ns, &self.window);
            if let Next::At(t0) = self.next {
                self.covered = t0;
            }
        }
        self.clock = Some(self.clock.map_or(t_wall_ns, |clock| clock.max(t_wall_ns)));
        let floor = match self.next {
            Next::At(t0) => Some(t0),
            Next::Unknown | Next::None => None,
        };
        let fits = own.push(t_wall_ns, values, floor, max_gap_ns);
        let late = self.windows > 0 && t_wall_ns < self.covered;
        match (fits, late) {
            (false, _) => Pushed::Crowded,
            (true, true) => Pushed::Late,
            (true, false) => Pushed::Taken,
        }
    }

    /// Writes the next window that is complete to `into` as its only row, and returns its start in `t_wall_ns`.
    ///
    /// # Panics
    /// When `into` is of another kind or geometry than [`Live::batch`].
    pub fn next_window(&mut self, into: &mut Batch) -> Option<i64> {
        let Next::At(t0) = self.next else { return None };
        let end = t0 + self.window.length_ns;
        let past = self.clock.filter(|clock| *clock >= end)?.saturating_sub(end);
        let overdue = past >= self.patience_ns;
        for source in &mut self.sources {
            if !source.passed(end) {
                source.given_up |= overdue;
                if !source.given_up {
                    return None;
                }
            }
        }
        self.cut(t0, self.geometry.steps, into);
        Some(t0)
    }

    /// As [`Live::next_window`] once no row is to come: the windows that the rows so far reach the end of, and a last
    /// partial one where the schema keeps it.
    ///
    /// # Panics
    /// As [`Live::next_window`].
    pub fn finish(&mut self, into: &mut Batch) -> Option<i64> {
        let Next::At(t0) = self.next else { return None };
        let until = self.sources.iter().filter_map(LiveSource::until).max()?;
        if until >= t0 + self.window.length_ns {
            self.cut(t0, self.geometry.steps, into);
            return Some(t0);
        }
        let keeps = self.window.partial == Partial::Mask && t0 < until && self.covered < until;
        if keeps {
            let step_ns = self.window.step_ns();
            self.cut(t0, ((until - t0 + step_ns - 1) / step_ns) as usize, into);
        }
        self.next = Next::None;
        keeps.then_some(t0)
    }

    /// Starts anew, as with the first row of another episode.
    pub fn restart(&mut self) {
        self.sources.iter_mut().for_each(LiveSource::restart);
        (self.clock, self.next, self.covered, self.windows) = (None, Next::Unknown, 0, 0);
    }

    /// Writes the window at `t0` and moves on to the one after it.
    fn cut(&mut self, t0: i64, steps: usize, into: &mut Batch) {
        assert!(into.kind() == self.kind && into.geometry() == self.geometry, "a batch that this stream made");
        into.reset(1);
        into.lengths[0] = steps as u32;
        let WindowSpec { length_ns, stride_ns, .. } = self.window;
        let grid = Grid { first_ns: t0, stride_ns, length_ns, steps: self.geometry.steps, windows: 1 };
        for source in &mut self.sources {
            for track in source.tracks() {
                let (samples, positions) = track.select(t0, t0 + length_ns);
                let place = Place::new(positions, self.geometry.channels);
                if self.stepped {
                    self.means.compute(&grid, samples);
                }
                match self.kind {
                    InputKind::Summary => {
                        let statistics = &self.window.statistics;
                        self.summariser.write(&grid, samples, &self.means, statistics, &place, &mut into.values);
                    }
                    InputKind::Tensor => self.means.write(&place, &mut into.values),
                }
            }
        }
        self.covered = t0 + length_ns;
        self.windows = self.windows.saturating_add(1);
        let more = self.window.max_per_episode == 0 || self.windows < self.window.max_per_episode;
        let next = t0.checked_add(stride_ns).filter(|next| more && next.checked_add(length_ns).is_some());
        self.next = next.map_or(Next::None, Next::At);
        self.sources.iter_mut().for_each(|source| source.forget(next));
    }
}

/// The window at the first multiple of the stride at or after `begin`.
fn first_window(begin: i64, window: &WindowSpec) -> Next {
    let (begin, stride) = (i128::from(begin), i128::from(window.stride_ns));
    let first = begin.div_euclid(stride) * stride + if begin.rem_euclid(stride) == 0 { 0 } else { stride };
    let ends = first + i128::from(window.length_ns) <= i128::from(i64::MAX);
    if ends { Next::At(first as i64) } else { Next::None }
}
