//! `sequence`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Sequence {
    Train(SequenceTrain),
    Score(SequenceScore),
    Eval(SequenceEval),
    Drift(SequenceDrift),
}

/// Where a table of sequences has its columns; a file whose name does not end in .parquet is JSON Lines:
/// {"features": {"sequence": ["open", 17]}, "label": 0}
#[derive(Debug, Clone, Args)]
pub(crate) struct SequenceData {
    /// Parquet: the list column of actions
    #[arg(long, value_name = "COLUMN", default_value = "sequence")]
    pub(crate) sequence_column: String,
    /// Parquet: the column of labels, 0 (normal) or 1 (anomalous)
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    pub(crate) label_column: String,
    /// Parquet: the column of times, whole Unix nanoseconds (JSON Lines: the field t_wall_ns)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time_column: Option<String>,
    /// Parquet: only rows whose column has this value; may be repeated
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub(crate) only: Vec<String>,
}

/// What a detector of sequences is
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SequenceKind {
    /// Smoothed n-gram models with a calibrated head
    Anomaly,
}

/// What it learns from
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SequenceMode {
    /// Two classes where at least 10 different sequences are anomalous, else one
    Auto,
    /// Normal sequences alone
    OneClass,
    /// Normal and anomalous sequences
    TwoClass,
}

/// Learn which sequences of actions are usual
#[derive(Debug, Args)]
#[command(
    after_help = "Without DATA a seeded synthetic set is made, and every output on it is headed SIMULATED. See docs/detectors.md.\n\nExamples:\n  stakeout sequence train sessions.jsonl --out sequence.json --far 0.01\n  stakeout sequence train --model-type anomaly --num-samples 5000 --epochs 100 --seed 7 --out sim.json\n  stakeout sequence train today.jsonl --update sequence.json --out sequence.json"
)]
pub(crate) struct SequenceTrain {
    /// Labelled sequences: JSON Lines, or a .parquet table
    #[arg(conflicts_with = "num_samples")]
    pub(crate) data: Option<PathBuf>,
    /// The model file to write
    #[arg(long, value_name = "FILE", default_value = "sequence.json")]
    pub(crate) out: PathBuf,
    /// The kind of detector
    #[arg(long, value_enum, default_value = "anomaly")]
    pub(crate) model_type: SequenceKind,
    /// Sequences to make up where no DATA is given (default: 5000)
    #[arg(long, value_name = "N")]
    pub(crate) num_samples: Option<usize>,
    /// Most passes over the data of the logistic head's fit, which ends when it has converged; n-grams are counted once
    /// (default: 100)
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,
    /// Accepted and without effect: sequences are counted, not stepped through in batches
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// Seed of folds and of made-up sequences
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Length of an n-gram, 1 to 5 (default: 3)
    #[arg(long, value_name = "N")]
    pub(crate) n: Option<usize>,
    /// The probability from which a sequence is called anomalous, or best-f1: the best on training sequences that were
    /// not seen (default: 0.3)
    #[arg(long, value_name = "P|best-f1", conflicts_with = "far")]
    pub(crate) threshold: Option<String>,
    /// Choose the threshold by a false-alarm rate on normal training sequences that were not seen
    #[arg(long, value_name = "SHARE")]
    pub(crate) far: Option<f64>,
    /// What is learnt from (default: auto)
    #[arg(long, value_enum)]
    pub(crate) mode: Option<SequenceMode>,
    /// Parts of the cross-fit, cut by different sequence (default: 10)
    #[arg(long, value_name = "N")]
    pub(crate) folds: Option<usize>,
    /// One class: the prior probability of an anomaly (default: 0.05)
    #[arg(long, value_name = "P")]
    pub(crate) prior: Option<f64>,
    /// Keep this share of the different sequences, with all copies, out of the fit and judge them
    #[arg(long, value_name = "SHARE")]
    pub(crate) hold_out: Option<f64>,
    /// Resamples of an interval
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = resamples())]
    pub(crate) resamples: usize,
    /// Add DATA to this model instead of fitting one: counts move, the head, its calibration and the threshold stay
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["num_samples", "epochs", "batch_size", "n", "threshold", "far", "mode", "folds", "prior", "hold_out"])]
    pub(crate) update: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) columns: SequenceData,
}

/// What a model says of each sequence, as JSON Lines
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stakeout sequence score sequence.json today.jsonl > scores.jsonl")]
pub(crate) struct SequenceScore {
    /// The model file
    pub(crate) model: PathBuf,
    /// Sequences, labelled or not
    pub(crate) data: PathBuf,
    /// Another threshold than the model's own
    #[arg(long, value_name = "P")]
    pub(crate) threshold: Option<f64>,
    #[command(flatten)]
    pub(crate) columns: SequenceData,
}

/// How well a model tells labelled sequences apart, beside the constant answer
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stakeout sequence eval hdfs.json hdfs100k_sessions.parquet --sequence-column keys --label-column anomalous --where split=test"
)]
pub(crate) struct SequenceEval {
    /// The model file
    pub(crate) model: PathBuf,
    /// Labelled sequences
    pub(crate) data: PathBuf,
    /// Another threshold than the model's own
    #[arg(long, value_name = "P")]
    pub(crate) threshold: Option<f64>,
    /// Resamples of an interval
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = resamples())]
    pub(crate) resamples: usize,
    /// Seed of the resamples
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) columns: SequenceData,
}

/// Whether later sequences are still like those of a baseline; exit 1 when they are not
#[derive(Debug, Args)]
#[command(
    after_help = "Bursts are looked for where both files say when their sequences came: t_wall_ns, or --time-column.\n\nExample:\n  stakeout sequence drift sequence.json last-month.jsonl today.jsonl"
)]
pub(crate) struct SequenceDrift {
    /// The model file
    pub(crate) model: PathBuf,
    /// Sequences of a quiet stretch
    pub(crate) baseline: PathBuf,
    /// Later sequences, in their order
    pub(crate) data: PathBuf,
    /// Sequences of a window
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = window())]
    pub(crate) window: usize,
    /// Probability of a false alarm of each test of a window
    #[arg(long, value_name = "P", default_value_t = 0.001)]
    pub(crate) level: f64,
    #[command(flatten)]
    pub(crate) columns: SequenceData,
}

fn resamples() -> impl clap::builder::TypedValueParser<Value = usize> {
    counted(1_000_000)
}

fn window() -> impl clap::builder::TypedValueParser<Value = usize> {
    counted(10_000_000)
}

/// A number from 1 to the largest.
fn counted(largest: u64) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    clap::value_parser!(u64).range(1..=largest).map(|n| n as usize)
}
