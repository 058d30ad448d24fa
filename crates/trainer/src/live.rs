//! A stored model on a stream of rows: one prediction a window, as soon as the window is complete.
//!
//! The probabilities are those that [`StoredModel::predict`](crate::score::StoredModel::predict) gives for the same rows
//! in a store. Nothing of the store's side (tables, threads) takes part: a detector starts in milliseconds. Nothing is allocated
//! for a window once the first few have warmed the buffers, but for what models other than nets and `gbt`, and calibration
//! maps, need.

mod rows;

use std::path::Path;

use serde::Serialize;
use stakeout_core::confusion::argmax;
use stakeout_core::{
    BaseModel, Batch, Calibration, ChannelKind, ChannelSpec, Checkpoint, CheckpointHeader, CoreError, Device,
    InputKind, ModelRegistry, Moments, Scaler, Schema, Scratch,
};
use stakeout_features::scale::{self, fit_moments};
use stakeout_telemetry::Corpus;
use stakeout_telemetry::reader::{Limits, Line, Lines};

use crate::rundir::{self, METRICS};
use crate::score::{ByClass, table};
use crate::{TrainError, dataset};

pub use rows::{Dropped, LiveCounts, LiveRows};

/// Most windows of a calibration file.
const MOST_CALIBRATION_WINDOWS: usize = 1 << 16;

/// What a stream is read with, besides the model.
#[derive(Debug, Clone, Copy)]
pub struct LiveOptions<'a> {
    /// How long, on the stream's own clock, a window waits for a source that has not passed its end.
    pub patience_ns: i64,
    /// The corpus that the rows follow; `None`: the built-in one.
    pub corpus: Option<&'a Corpus>,
    /// The moments of a host-clean scaler.
    pub clean: Clean<'a>,
}

/// Where a host-clean scaler gets the moments of the stream's host from.
#[derive(Debug, Clone, Copy)]
pub enum Clean<'a> {
    /// Nowhere: the model has to do without.
    Absent,
    /// From the checkpoint: a host that the model was trained with.
    Host(&'a str),
    /// From a file of rows of a clean stretch of the host, chosen by time and never by a label.
    File(&'a Path),
}

/// One line of `stakeout predict --stdin`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LivePrediction<'a> {
    /// Start of the window in `t_wall_ns`.
    pub t0_ns: i64,
    /// The most probable class; `None` where nothing was observed, or no channel of the model has come yet.
    pub predicted: Option<&'a str>,
    /// Share of the model's inputs that were observed, 0 to 1. An amount that its source did not speak of is 0, and observed.
    pub observed: f64,
    /// One probability a class, by name.
    pub probabilities: ByClass<'a>,
    /// Whether the model is simulated: says nothing about real malware.
    pub simulated: bool,
}

/// A fitted model that reads a stream.
pub struct LiveModel {
    /// What the model was made from and may be fed.
    pub header: CheckpointHeader,
    scorer: Scorer,
    rows: LiveRows,
}

/// From a window to its probabilities.
struct Scorer {
    model: Box<dyn BaseModel>,
    moments: Option<Moments>,
    calibration: Option<Calibration>,
    scratch: Scratch,
    probabilities: Vec<f32>,
}

impl Scorer {
    /// The share of the inputs that were observed, and the probabilities.
    fn score(&mut self, batch: &mut Batch) -> Result<(f64, &[f32]), TrainError> {
        let observed = batch.values.iter().filter(|value| value.is_finite()).count();
        let observed = observed as f64 / batch.values.len().max(1) as f64;
        if let Some(moments) = &self.moments {
            scale::apply(moments, batch);
        }
        self.model.predict_into(batch, &mut self.scratch, &mut self.probabilities)?;
        if let Some(map) = &self.calibration {
            map.apply(&mut self.probabilities);
        }
        Ok((observed, &self.probabilities))
    }
}

impl LiveModel {
    /// Opens the directory of one cell, or a checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Run`] for a directory that is none, holds many cells or was not finished; errors of the checkpoint;
    /// [`TrainError::Data`] when the stream's channels are not the model's, or a host-clean scaler has no moments.
    pub fn open(
        path: &Path,
        registry: &ModelRegistry,
        device: Device,
        options: &LiveOptions<'_>,
    ) -> Result<Self, TrainError> {
        let file = if path.is_dir() {
            let file = rundir::checkpoint(path)?;
            if !path.join(METRICS).exists() {
                return Err(TrainError::run(
                    path,
                    format!("there is no {METRICS}: it was not finished, continue it with `stakeout train --resume`"),
                ));
            }
            file
        } else {
            path.to_owned()
        };
        let (header, model) = Checkpoint::load(&file, registry, device)?;
        let corpus = corpus_of(&header.schema, options.corpus)?;
        let open = |patience_ns| LiveRows::new(&header.schema, header.input, &corpus, patience_ns);
        let moments = match (&header.scaler, options.clean) {
            (Scaler::None, Clean::Absent) => None,
            (Scaler::Global(moments), Clean::Absent) => Some(moments.clone()),
            (Scaler::HostClean(by_host), Clean::Host(host)) => {
                let hosts = || by_host.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let unknown = || CoreError::invalid("host", host, format!("the model knows {}", hosts()));
                Some(by_host.get(host).ok_or_else(unknown)?.clone())
            }
            (Scaler::HostClean(_), Clean::File(file)) => Some(calibrate(file, open(options.patience_ns)?, &header)?),
            (Scaler::HostClean(_), Clean::Absent) => {
                return Err(TrainError::Data(
                    "the model's inputs are scaled by what is normal on each host (scaler host-clean): give rows of a \
                     clean stretch of this host with --calibration FILE, or name a host that it was trained with: --host"
                        .into(),
                ));
            }
            (_, Clean::Host(_) | Clean::File(_)) => {
                let name = header.scaler.name();
                return Err(TrainError::Data(format!(
                    "the model's scaler is {name}: --host and --calibration are for host-clean"
                )));
            }
        };
        if let Some(moments) = &moments {
            scale::check_moments(moments, &header.schema, header.input)?;
        }
        let scorer = Scorer {
            model,
            moments,
            calibration: header.calibration.clone(),
            scratch: Scratch::default(),
            probabilities: vec![0.0; header.schema.classes.len()],
        };
        let rows = open(options.patience_ns)?;
        Ok(Self { header, scorer, rows })
    }

    /// Reads a line and hands the prediction of every window that it completes to `emit`. What is wrong with a line drops
    /// it and is returned.
    ///
    /// # Errors
    /// When `emit` fails.
    pub fn line(
        &mut self,
        line: Line<'_>,
        mut emit: impl FnMut(&LivePrediction<'_>) -> Result<(), TrainError>,
    ) -> Result<Option<Dropped>, TrainError> {
        let Self { header, scorer, rows } = self;
        let sees = rows.has_seen_a_channel();
        rows.line(line, |t0_ns, batch| emit(&prediction(header, t0_ns, sees, scorer.score(batch)?)))
    }

    /// Hands the windows that are complete once no line is to come to `emit`.
    ///
    /// # Errors
    /// When `emit` fails.
    pub fn finish(
        &mut self,
        mut emit: impl FnMut(&LivePrediction<'_>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let Self { header, scorer, rows } = self;
        let sees = rows.has_seen_a_channel();
        rows.finish(|t0_ns, batch| emit(&prediction(header, t0_ns, sees, scorer.score(batch)?)))
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> LiveCounts {
        self.rows.counts()
    }

    /// Names of the model's channels that no line so far had a key for.
    pub fn absent(&self) -> Vec<&str> {
        self.rows.absent(&self.header.schema)
    }
}

fn prediction<'a>(
    header: &'a CheckpointHeader,
    t0_ns: i64,
    sees: bool,
    (observed, probabilities): (f64, &'a [f32]),
) -> LivePrediction<'a> {
    let classes = header.schema.classes.names();
    LivePrediction {
        t0_ns,
        predicted: (sees && observed > 0.0).then(|| &*classes[usize::from(argmax(probabilities))]),
        observed,
        probabilities: ByClass { classes, probabilities },
        simulated: header.simulated,
    }
}

/// The corpus that says what the rows of a stream hold, checked against the model's schema.
///
/// Without one, it is the built-in corpus as far as buckets go: a checkpoint knows no lengths of buckets, so that a delta
/// channel that is not a built-in one needs its own corpus.
fn corpus_of(schema: &Schema, given: Option<&Corpus>) -> Result<Corpus, TrainError> {
    if let Some(corpus) = given {
        dataset::schema_as(corpus, schema)?;
        return Ok(corpus.clone());
    }
    let window = schema.window.clone();
    let own = stakeout_features::schema(schema.channels.clone(), schema.view, window, schema.classes.clone())?;
    schema.check_same(&own)?;
    let corpus = Corpus::built_in();
    let same = |a: &ChannelSpec, b: &ChannelSpec| {
        (&a.name, a.source, &a.field, a.kind, &a.unit) == (&b.name, b.source, &b.field, b.kind, &b.unit)
    };
    let bucketed = schema.channels.iter().filter(|channel| channel.kind == ChannelKind::Delta);
    for channel in bucketed {
        if !corpus.channels.iter().any(|known| same(known, channel)) {
            return Err(TrainError::Data(format!(
                "channel {} counts amounts and is no built-in one: name a store whose corpus.toml gives the length of its \
                 buckets with --corpus STORE",
                channel.name
            )));
        }
    }
    Ok(corpus)
}

/// The moments of the windows of a file of rows.
fn calibrate(path: &Path, mut rows: LiveRows, header: &CheckpointHeader) -> Result<Moments, TrainError> {
    let failed = |why: String| TrainError::Data(format!("{}: {why}", path.display()));
    let compressed = path.extension().is_some_and(|extension| extension == "zst");
    let mut buffer = Vec::new();
    let mut lines = Lines::open(path, compressed, Limits::default(), &mut buffer).map_err(|p| failed(p.text))?;
    let (mut values, mut lengths) = (Vec::new(), Vec::new());
    let mut take = |_: i64, batch: &mut Batch| {
        if lengths.len() == MOST_CALIBRATION_WINDOWS {
            return Err(failed(format!("it holds more than {MOST_CALIBRATION_WINDOWS} windows: give less of it")));
        }
        values.extend_from_slice(&batch.values);
        lengths.extend_from_slice(&batch.lengths);
        Ok(())
    };
    while let Some(line) = lines.next_line().map_err(|problem| failed(problem.text))? {
        let number = line.number;
        if let Some(Dropped { reason, text }) = rows.line(line, &mut take)? {
            return Err(failed(format!("line {number}: {reason}: {text}")));
        }
    }
    rows.finish(&mut take)?;
    if lengths.is_empty() {
        return Err(failed("its rows fill no window".into()));
    }
    let all: Vec<usize> = (0..lengths.len()).collect();
    let (summary, tensor) = match header.input {
        InputKind::Summary => (values, Vec::new()),
        InputKind::Tensor => (Vec::new(), values),
    };
    let windows = table(&header.schema, header.input, summary, tensor, lengths)?;
    Ok(fit_moments(&windows, &all, header.input)?)
}
