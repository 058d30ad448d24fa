//! `baseline train` and `baseline score`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Baseline {
    Train(BaselineTrain),
    Score(BaselineScore),
}

/// Which columns of a table are what; every other one is a dimension
#[derive(Debug, Clone, Args)]
pub(crate) struct TableOptions {
    /// Table: the column that names the host (default: all rows are of one; when scoring, the column of the training)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) host: Option<String>,
    /// Table: the column that says what is an outlier (above 0 it is, 0 it is not, below 0 or missing: unknown)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: Option<String>,
    /// Table: only rows with this value in this column; may be repeated
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub(crate) only: Vec<String>,
}

/// Learn each host's normal vectors: the windows of a store, or the rows of a table
#[derive(Debug, Args)]
#[command(
    after_help = "Learnt from: calibration stretches and windows of the first class of a store; rows of a table whose label is not above 0. The methods and what a threshold promises: docs/detectors.md.\n\nExamples:\n  stakeout baseline train stores/sim --out baseline.json\n  stakeout baseline train stores/sim --out baseline.json --method robust --far 0.01\n  stakeout baseline train smd.parquet --out smd.json --method shrunk --host host --where part=train --ignore step,label --seconds 60"
)]
pub(crate) struct BaselineTrain {
    /// A store, or a parquet or CSV table
    #[arg(value_name = "STORE|TABLE")]
    pub(crate) data: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How centre and spread are estimated: diagonal, robust (median, MAD), trimmed, shrunk (full covariance)
    #[arg(long, value_name = "METHOD", default_value = "diagonal")]
    pub(crate) method: String,
    /// The budget of false alarms: the share of normal vectors that may be called outliers
    #[arg(long, value_name = "SHARE", default_value_t = 0.001)]
    pub(crate) far: f64,
    /// A vector so many vectors old weighs half of the newest (default: all weigh the same)
    #[arg(long, value_name = "VECTORS")]
    pub(crate) half_life: Option<f64>,
    /// Where the threshold comes from: conformal (held-out vectors, guaranteed), parametric (a distribution), or auto
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) threshold: String,
    /// Neighbouring vectors that count as one observation (default: the autocorrelation time of the scores)
    #[arg(long, value_name = "VECTORS")]
    pub(crate) block: Option<usize>,
    /// Leave out at most this share of the training vectors where they lie apart from all others (default: 0.1 for robust
    /// and trimmed, 0 for the others)
    #[arg(long, value_name = "SHARE")]
    pub(crate) contamination: Option<f64>,
    /// One baseline of all hosts together
    #[arg(long)]
    pub(crate) pool: bool,
    /// Learn from all vectors, labelled as outliers or not
    #[arg(long)]
    pub(crate) all: bool,
    /// Learn from the newest vectors of a host, at most so many
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) newest: usize,
    #[command(flatten)]
    pub(crate) table: TableOptions,
    /// Table: columns that are no dimensions
    #[arg(long, value_name = "COLUMN[,COLUMN...]", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
    /// Table: seconds from a row of a host to its next, to tell false alarms a day
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// Store: which channels are seen, realistic or oracle
    #[arg(long, value_name = "VIEW", default_value = "realistic")]
    pub(crate) view: String,
    /// Store: also read episodes that the validator calls degraded
    #[arg(long)]
    pub(crate) degraded: bool,
    /// Replace a file that is there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Score vectors against a baseline: outliers by host, and how well they are ranked where labels are known
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stakeout baseline score baseline.json stores/other\n  stakeout baseline score baseline.json stores/other --out scores.jsonl\n  stakeout baseline score smd.json smd.parquet --where part=test --label label"
)]
pub(crate) struct BaselineScore {
    /// The file that `baseline train` wrote
    pub(crate) baseline: PathBuf,
    /// A store, or a parquet or CSV table
    #[arg(value_name = "STORE|TABLE")]
    pub(crate) data: PathBuf,
    /// Also write one line of JSON a vector: score, p-value, and the dimensions that stand out
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) table: TableOptions,
    /// Store: also read episodes that the validator calls degraded
    #[arg(long)]
    pub(crate) degraded: bool,
    /// Replace a file that is there already
    #[arg(long)]
    pub(crate) force: bool,
}
