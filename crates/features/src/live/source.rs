//! The rows of one source on their way into windows.

use stakeout_core::{ChannelKind, CoreError, Schema, Source};

use crate::Samples;
use crate::series::{Counter, per_second, silence};

/// Numbers that one track may hold, and rows.
const MOST_VALUES: usize = 1 << 22;
const MOST_ROWS: usize = 1 << 18;

/// Samples of some columns, from the start of the next window on.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// For each column, which value of a row it is.
    columns: Vec<usize>,
    /// For each column, its channel.
    positions: Vec<usize>,
    t_ns: Vec<i64>,
    /// Rows × columns.
    values: Vec<f32>,
    samples: Samples,
}

impl Track {
    fn new(schema: &Schema, source: Source, wanted: impl Fn(ChannelKind) -> bool) -> Self {
        let own = schema.channels.iter().enumerate().filter(|(_, channel)| channel.source == source);
        let (columns, positions) = own
            .enumerate()
            .filter(|(_, (_, channel))| wanted(channel.kind))
            .map(|(column, (position, _))| (column, position))
            .unzip();
        Self { columns, positions, t_ns: Vec::new(), values: Vec::new(), samples: Samples::default() }
    }

    fn has_room(&self) -> bool {
        self.t_ns.len() < MOST_ROWS && self.values.len() + self.columns.len() <= MOST_VALUES
    }

    fn push(&mut self, t_ns: i64, values: impl IntoIterator<Item = f32>) {
        self.t_ns.push(t_ns);
        self.values.extend(values);
    }

    /// The samples in `[from, to)`, and the channel of each column.
    pub(super) fn select(&mut self, from: i64, to: i64) -> (&Samples, &[usize]) {
        let before = |t: i64| self.t_ns.partition_point(|sample| *sample < t);
        let rows = before(from)..before(to);
        let width = self.columns.len();
        self.samples.reset(width, self.t_ns[rows.clone()].iter().copied());
        let values = &self.values[rows.start * width..rows.end * width];
        for column in 0..width {
            let of_column = values.iter().skip(column).step_by(width);
            for (cell, value) in self.samples.column_mut(column).zip(of_column) {
                *cell = *value;
            }
        }
        (&self.samples, &self.positions)
    }

    /// Drops what no window from `floor` on holds; everything where there is none.
    fn forget(&mut self, floor: Option<i64>) {
        let gone = floor.map_or(self.t_ns.len(), |floor| self.t_ns.partition_point(|t| *t < floor));
        self.t_ns.drain(..gone);
        self.values.drain(..gone * self.columns.len());
    }
}

/// One source of the stream.
#[derive(Debug, Clone)]
pub(super) struct LiveSource {
    pub(super) source: Source,
    /// Levels and counters.
    readings: Track,
    /// For each column of `readings` its counter; `None` for a level.
    counters: Vec<Option<Counter>>,
    /// Bucketed amounts; the last sample is the open bucket, where the track still holds it.
    amounts: Track,
    bucket_ns: i64,
    /// Start of the bucket that a row may still add to, and its sums.
    open: Option<i64>,
    sums: Vec<f64>,
    /// Time of the last row.
    pub(super) last: Option<i64>,
    /// Time of the last row, where that was far from the stream's clock.
    pub(super) astray: Option<i64>,
    /// Whether it was waited for in vain, and no row came since.
    pub(super) given_up: bool,
}

impl LiveSource {
    pub(super) fn new(schema: &Schema, source: Source, bucket_ns: i64) -> Result<Self, CoreError> {
        let readings = Track::new(schema, source, |kind| kind != ChannelKind::Delta);
        let amounts = Track::new(schema, source, |kind| kind == ChannelKind::Delta);
        if let (Some(first), true) = (amounts.positions.first(), bucket_ns <= 0) {
            let rule = "it is a delta, so its source needs the length of its bucket";
            return Err(CoreError::invalid("channel", schema.channels[*first].name.clone(), rule));
        }
        let is_counter = |position: &usize| schema.channels[*position].kind == ChannelKind::Counter;
        Ok(Self {
            source,
            counters: readings.positions.iter().map(|at| is_counter(at).then(Counter::default)).collect(),
            readings,
            sums: vec![0.0; amounts.columns.len()],
            amounts,
            bucket_ns,
            open: None,
            last: None,
            astray: None,
            given_up: false,
        })
    }

    pub(super) fn counter_resets(&self) -> u64 {
        self.counters.iter().flatten().map(|counter| counter.resets).sum()
    }

    /// Forgets every row; the resets of its counters stay counted.
    pub(super) fn restart(&mut self) {
        self.forget(None);
        self.counters.iter_mut().flatten().for_each(Counter::restart);
        (self.open, self.last, self.astray, self.given_up) = (None, None, None, false);
    }

    pub(super) fn forget(&mut self, floor: Option<i64>) {
        self.readings.forget(floor);
        self.amounts.forget(floor);
    }

    /// Its tracks that have columns.
    pub(super) fn tracks(&mut self) -> impl Iterator<Item = &mut Track> {
        [&mut self.readings, &mut self.amounts].into_iter().filter(|track| !track.columns.is_empty())
    }

    /// Whether no row that is still to come can change a window that ends at `end`. Rows come in order; a row after the
    /// end still adds to a bucket that starts less than half a bucket before it.
    pub(super) fn passed(&self, end: i64) -> bool {
        let seen = if self.amounts.columns.is_empty() { self.last } else { self.open };
        seen.is_some_and(|seen| seen >= end)
    }

    /// Until when it was observed: a bucketed row stands for its bucket, another one for its instant.
    pub(super) fn until(&self) -> Option<i64> {
        self.last.map(|last| last.saturating_add(self.bucket_ns.max(1)))
    }

    /// Takes a row that is later than the last one; samples before `floor` are in no window to come. `false` when there
    /// is no room for it.
    pub(super) fn push(&mut self, t_ns: i64, values: &[f64], floor: Option<i64>, max_gap_ns: i64) -> bool {
        assert_eq!(values.len(), self.readings.columns.len() + self.amounts.columns.len(), "one value a channel");
        self.last = Some(t_ns);
        self.given_up = false;
        let read = self.read(t_ns, values, floor, max_gap_ns);
        let added = self.amounts.columns.is_empty() || self.add(t_ns, values, floor);
        read && added
    }

    fn read(&mut self, t_ns: i64, values: &[f64], floor: Option<i64>, max_gap_ns: i64) -> bool {
        let wanted = !self.readings.columns.is_empty() && floor.is_some_and(|floor| t_ns >= floor);
        let keep = wanted && self.readings.has_room();
        for (column, counter) in self.readings.columns.iter().zip(&mut self.counters) {
            let value = values[*column];
            let sample = match counter {
                Some(counter) => counter.rate(t_ns, value, max_gap_ns),
                None => value as f32,
            };
            if keep {
                self.readings.values.push(sample);
            }
        }
        if keep {
            self.readings.t_ns.push(t_ns);
        }
        keep || !wanted
    }

    fn add(&mut self, t_ns: i64, values: &[f64], floor: Option<i64>) -> bool {
        let silent = match self.open {
            Some(open) => silence(open, t_ns, self.bucket_ns, (floor.unwrap_or(i64::MAX), i64::MAX)),
            None => Some(0..0),
        };
        let Some(silent) = silent else {
            self.sums.iter_mut().zip(&self.amounts.columns).for_each(|(sum, column)| *sum += values[*column]);
            if self.amounts.t_ns.last() == self.open.as_ref() {
                let kept = self.amounts.values.len() - self.sums.len();
                for (cell, sum) in self.amounts.values[kept..].iter_mut().zip(&self.sums) {
                    *cell = per_second(*sum, self.bucket_ns);
                }
            }
            return true;
        };
        if let (Some(open), Some(_)) = (self.open, floor) {
            for number in silent {
                if !self.amounts.has_room() {
                    break;
                }
                let start = i128::from(open) + number * i128::from(self.bucket_ns);
                self.amounts.push(start as i64, self.sums.iter().map(|_| 0.0));
            }
        }
        self.open = Some(t_ns);
        self.sums.iter_mut().zip(&self.amounts.columns).for_each(|(sum, column)| *sum = 0.0 + values[*column]);
        if floor.is_none_or(|floor| t_ns < floor) {
            return true;
        }
        let fits = self.amounts.has_room();
        if fits {
            self.amounts.push(t_ns, self.sums.iter().map(|sum| per_second(*sum, self.bucket_ns)));
        }
        fits
    }
}
