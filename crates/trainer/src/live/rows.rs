//! Lines of a stream into windows.

use std::collections::BTreeMap;

use stakeout_core::{Batch, ChannelSpec, InputKind, Schema, Source};
use stakeout_features::{Live, Pushed};
use stakeout_telemetry::reader::{Limits, Line, LineEnd};
use stakeout_telemetry::rows::{MixedRows, ROW_KEYS, Row};
use stakeout_telemetry::{Corpus, ReasonCode};

use crate::TrainError;

/// Why a line was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// A stable name.
    pub reason: &'static str,
    /// One readable line.
    pub text: String,
}

/// What became of the lines of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveCounts {
    /// Lines read.
    pub lines: u64,
    /// Lines dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Rows of sources that the model does not look at.
    pub not_asked: u64,
    /// Rows that came after a window that they belong to.
    pub late: u64,
    /// How often the stream's clock moved, and its windows started anew.
    pub restarts: u64,
    /// Counter values that fell: the rate across is missing.
    pub counter_resets: u64,
    /// Windows handed on.
    pub windows: u64,
}

/// Turns lines into windows.
pub struct LiveRows {
    parser: MixedRows,
    row: Row,
    live: Live,
    batch: Batch,
    /// By source: how many of the parser's fields are the model's, and what its rows say of their availability.
    asked: [(usize, bool); Source::ALL.len()],
    counts: LiveCounts,
}

impl LiveRows {
    /// A stream of rows of `corpus` for a model of `schema`.
    ///
    /// # Errors
    /// As [`Live::new`]; [`TrainError::Data`] for a channel whose field cannot be told from another one's.
    pub fn new(schema: &Schema, input: InputKind, corpus: &Corpus, patience_ns: i64) -> Result<Self, TrainError> {
        for channel in &schema.channels {
            let field = |other: &&ChannelSpec| (other.source, &other.field) == (channel.source, &channel.field);
            if ROW_KEYS.contains(&channel.field.as_str()) || schema.channels.iter().filter(field).count() > 1 {
                let text =
                    format!("channel {}: no stream can tell its field {} from another", channel.name, channel.field);
                return Err(TrainError::Data(text));
            }
        }
        let live = Live::new(schema, input, |source| corpus.bucket_of(source), patience_ns)?;
        // The model's channels first, then what else rows may carry: a known key is quicker than an unknown one.
        let fields = |source| {
            let own = || Live::channels(schema, source).map(|channel| channel.field.as_str());
            let others = corpus.channels_of(source).map(|channel| channel.field.as_str());
            own().chain(others.filter(|field| own().all(|own| own != *field))).collect::<Vec<_>>()
        };
        let asked = Source::ALL.map(|source| {
            let own = || Live::channels(schema, source);
            (own().count(), own().any(|channel| channel.deployable))
        });
        let batch = live.batch();
        let parser = MixedRows::new(fields);
        Ok(Self { parser, row: Row::default(), live, batch, asked, counts: LiveCounts::default() })
    }

    /// Reads a line and hands every window that it completes to `each`, with its start. What is wrong with a line drops
    /// it and is returned.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn line(
        &mut self,
        line: Line<'_>,
        mut each: impl FnMut(i64, &mut Batch) -> Result<(), TrainError>,
    ) -> Result<Option<Dropped>, TrainError> {
        self.counts.lines += 1;
        let dropped = self.take(line, &mut each)?;
        if let Some(Dropped { reason, .. }) = &dropped {
            *self.counts.dropped.entry(reason).or_default() += 1;
        }
        Ok(dropped)
    }

    fn take(
        &mut self,
        line: Line<'_>,
        each: &mut impl FnMut(i64, &mut Batch) -> Result<(), TrainError>,
    ) -> Result<Option<Dropped>, TrainError> {
        let dropped = |code: ReasonCode, text: String| Ok(Some(Dropped { reason: code.name(), text }));
        if line.end == LineEnd::TooLong {
            let text = format!("the line is longer than {} bytes", Limits::default().line);
            return dropped(ReasonCode::LineTooLong, text);
        }
        let source = match self.parser.parse(line.bytes, &mut self.row) {
            Ok(source) => source,
            Err(problem) => return dropped(problem.code, problem.text),
        };
        let at = Source::ALL.iter().position(|known| *known == source).expect("all sources");
        let (columns, available) = self.asked[at];
        if columns == 0 {
            self.counts.not_asked += 1;
            return Ok(None);
        }
        if self.row.available != available {
            let text =
                format!("available_in_deployment = {}, and the model's channels say otherwise", self.row.available);
            return dropped(ReasonCode::WrongAvailability, text);
        }
        let t = self.row.t_wall_ns;
        let mut pushed = self.live.push(source, t, &self.row.values[..columns]);
        if pushed == Pushed::Moved {
            self.finish(&mut *each)?;
            self.live.restart();
            self.counts.restarts += 1;
            pushed = self.live.push(source, t, &self.row.values[..columns]);
        }
        self.counts.late += u64::from(pushed == Pushed::Late);
        while let Some(t0) = self.live.next_window(&mut self.batch) {
            self.counts.windows += 1;
            each(t0, &mut self.batch)?;
        }
        match pushed {
            Pushed::Taken | Pushed::Late | Pushed::NotAsked => Ok(None),
            Pushed::Backwards => {
                let text = format!("t_wall_ns = {t} is not after that of the last row of {source}");
                dropped(ReasonCode::WallClockRegress, text)
            }
            Pushed::Astray | Pushed::Moved => {
                dropped(ReasonCode::OutsideSpan, format!("t_wall_ns = {t} is far from the clock of the stream"))
            }
            Pushed::Crowded => {
                let text = format!("a window would hold more rows of {source} than there is room for");
                Ok(Some(Dropped { reason: "too_dense", text }))
            }
        }
    }

    /// Hands the windows that are complete once no line is to come to `each`.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn finish(
        &mut self,
        mut each: impl FnMut(i64, &mut Batch) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        while let Some(t0) = self.live.finish(&mut self.batch) {
            self.counts.windows += 1;
            each(t0, &mut self.batch)?;
        }
        Ok(())
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> LiveCounts {
        LiveCounts { counter_resets: self.live.counter_resets(), ..self.counts.clone() }
    }

    /// Whether any line so far had a key for any channel.
    pub fn has_seen_a_channel(&self) -> bool {
        Source::ALL.into_iter().any(|source| self.parser.carried(source).iter().any(|carried| *carried))
    }

    /// Names of the channels of `schema` that no line so far had a key for.
    pub fn absent<'a>(&self, schema: &'a Schema) -> Vec<&'a str> {
        let of = |source| Live::channels(schema, source).zip(self.parser.carried(source));
        let absent = Source::ALL.into_iter().flat_map(of).filter(|(_, carried)| !**carried);
        absent.map(|(channel, _)| channel.name.as_str()).collect()
    }
}
