//! The command line: every command, option and example.

// help is shown as it stands, and a command line is made of switches
#![allow(clippy::doc_markdown, clippy::struct_excessive_bools)]

mod baseline;
mod gate;
mod sequence;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use baseline::{Baseline, BaselineScore, BaselineTrain, TableOptions};
pub(crate) use gate::{Gate, Judged, Models, ModelsCommand, ModelsPromote, ModelsRollback, ModelsShow, RegistryAt};
pub(crate) use sequence::{
    Sequence, SequenceData, SequenceDrift, SequenceEval, SequenceMode, SequenceScore, SequenceTrain,
};

/// Turn host telemetry into malware-behaviour detectors, and say honestly whether they work on a machine, a sample or a
/// month that they have never seen.
#[derive(Debug, Parser)]
#[command(name = "stakeout", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 ok, 1 a finding, 2 usage or bad input, 3 internal or I/O, 130 interrupted (state saved)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command, shown after its own.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print the result as JSON on stdout
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Worker threads (default: one a core); results do not depend on it
    #[arg(long, global = true, display_order = 901, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// Which cut windows are kept on disk ($XDG_CACHE_HOME/stakeout/windows) for this run and the next: those that take
    /// more than 1 GiB, all, or none; results do not depend on it
    #[arg(long, global = true, display_order = 902, value_name = "WHICH", default_value = "large")]
    pub(crate) keep_windows: KeepWindows,
    /// No progress on stderr
    #[arg(short, long, global = true, display_order = 903)]
    pub(crate) quiet: bool,
    /// More detail: the reliability table in a report, the whole chain of an error
    #[arg(short, long, global = true, display_order = 904, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// Which windows are kept on disk.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeepWindows {
    Large,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring foreign data into a store
    #[command(subcommand)]
    Import(Import),
    Simulate(Simulate),
    Validate(Validate),
    Channels(Channels),
    Split(Split),
    Config(Config),
    Models(Models),
    Train(Train),
    Eval(Eval),
    Predict(Predict),
    Tune(Tune),
    Export(Export),
    Calibrate(Calibrate),
    Gate(Gate),
    /// Learn what is normal for each host, and score how far vectors lie from it
    #[command(subcommand)]
    Baseline(Baseline),
    /// Judge sequences of actions: learn what is usual, score, evaluate, watch for drift
    #[command(subcommand)]
    Sequence(Sequence),
    Completions(Completions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    Table(ImportTable),
    Xgboost(ImportXgboost),
}

/// Import columnar tables (parquet, CSV) as described by a mapping
#[derive(Debug, Args)]
#[command(
    override_usage = "stakeout import table [OPTIONS] --mapping <M.toml|NAME> <SRC>... <STORE>\n       stakeout import table --list",
    after_help = "How to write a mapping: docs/importing-tables.md.\n\nExample:\n  stakeout import table --mapping smd_subset smd.parquet stores/smd"
)]
pub(crate) struct ImportTable {
    /// A mapping file, or the name of a built-in mapping (`import table --list`)
    #[arg(long, value_name = "M.toml|NAME", required_unless_present = "list")]
    pub(crate) mapping: Option<String>,
    /// List the built-in mappings
    #[arg(long)]
    pub(crate) list: bool,
    /// The tables (and companion logs that the mapping names), then the store to make
    #[arg(value_name = "SRC... STORE", required_unless_present = "list", num_args = 2..)]
    pub(crate) paths: Vec<PathBuf>,
    /// Move the rows by this many seconds: the remedy for a clock disagreement, over the mapping's own
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(crate) offset_seconds: Option<f64>,
    /// Replace a store that is there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Turn an XGBoost model (JSON) into a checkpoint of `gbt`
#[derive(Debug, Args)]
#[command(
    after_help = "Features are found by their names: `stakeout.inputs` of an export, or <channel>.<statistic>. See docs/interchange.md.\n\nExample:\n  stakeout import xgboost booster.json booster.stk --schema runs/gbt-host-realistic-1-0a1b2c3d\n  stakeout predict booster.stk stores/other"
)]
pub(crate) struct ImportXgboost {
    /// The model, as `Booster.save_model("model.json")` writes it
    pub(crate) model: PathBuf,
    /// The checkpoint to make
    pub(crate) out: PathBuf,
    /// A run or a checkpoint whose schema the model is for (default: the one that an export carries, else the built-in
    /// channels)
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    pub(crate) schema: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Make a seeded store of simulated episodes
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stakeout simulate stores/sim --episodes 2000 --hosts 12 --seed 7 --faults 0.1")]
pub(crate) struct Simulate {
    /// The store to make
    pub(crate) store: PathBuf,
    /// Number of episodes
    #[arg(long, default_value_t = 240)]
    pub(crate) episodes: u32,
    /// Number of hosts
    #[arg(long, default_value_t = 6)]
    pub(crate) hosts: u32,
    /// Seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Damage this share of the episodes and write the ground truth beside them
    #[arg(long, value_name = "P")]
    pub(crate) faults: Option<f64>,
    /// Replace a store that is there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Check every episode of a store; exit 1 when anything was rejected or errored
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stakeout validate stores/sim")]
pub(crate) struct Validate {
    /// The store
    pub(crate) store: PathBuf,
    /// Where to write one row an episode
    #[arg(long, value_name = "FILE", default_value = None)]
    pub(crate) out: Option<PathBuf>,
    /// Do not write validation.parquet into the store
    #[arg(long, conflicts_with = "out")]
    pub(crate) no_table: bool,
}

/// Show the channel registry
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stakeout channels            # the built-in 46\n  stakeout channels stores/smd")]
pub(crate) struct Channels {
    /// A store with its own registry
    pub(crate) store: Option<PathBuf>,
}

/// What to read and how to cut and hold it out; shared by `split`, `train` and `config`
#[derive(Debug, Clone, Args)]
pub(crate) struct What {
    /// The store (default: a simulated one, generated once)
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<PathBuf>,
    /// A configuration file (see `stakeout config`)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override one setting, as `window.seconds=20`; may be repeated; `stakeout config --model M` lists the keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seed, or several: `1,2,3`
    #[arg(long, value_name = "N[,N...]", value_delimiter = ',', value_parser = seed())]
    pub(crate) seed: Vec<u64>,
    /// Also read episodes that the validator calls degraded
    #[arg(long)]
    pub(crate) degraded: bool,
}

/// Show the folds and the coverage ledger of a recipe, without training
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stakeout split stores/sim --split leave-one-host-out")]
pub(crate) struct Split {
    /// The store (default: the embedded simulated one)
    #[arg(value_name = "STORE", conflicts_with = "store")]
    pub(crate) path: Option<PathBuf>,
    /// Recipe: host (the default), sample, time, given, leave-one-host-out, leave-one-sample-out
    #[arg(long = "split", value_name = "R")]
    pub(crate) recipe: Option<String>,
    #[command(flatten)]
    pub(crate) what: What,
}

/// Print the commented default configuration of a run
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stakeout config --model gru --split host > gru.toml\n  stakeout train --model gru --config gru.toml\n  stakeout config --model all > zoo.toml\n  stakeout train --config zoo.toml"
)]
pub(crate) struct Config {
    /// The model, several, or `all`
    #[arg(long, value_name = "M[,M...]|all", value_delimiter = ',', default_value = "gru")]
    pub(crate) model: Vec<String>,
    /// The recipe
    #[arg(long = "split", default_value = "host")]
    pub(crate) recipe: String,
}

/// Which channels to train on
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ViewChoice {
    /// Deployable channels only
    Realistic,
    /// All channels
    Oracle,
    /// One run of each
    Both,
}

/// What inputs are scaled by
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scaling {
    /// Raw values
    None,
    /// Moments of the training side
    Global,
    /// Moments of each host's calibration stretch
    HostClean,
}

/// Train and test: hold data out, fit, score, report; several models make a grid
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stakeout train --model gru --split host\n  stakeout train --model gbt --split leave-one-host-out --store stores/smd --scaler host-clean\n  stakeout train --model all --split host --view both   # a grid: one directory, one table\n  stakeout train --model gbt,gru --split host --scaler global,host-clean --out runs/mine\n  stakeout train --resume runs/gru-host-realistic-1-0a1b2c3d   # a run or a grid\n  stakeout train --config runs/grid-host-0a1b2c3d/grid.toml --seed 2"
)]
pub(crate) struct Train {
    /// The model, several, or `all` (the models of --config where it names them)
    #[arg(long, value_name = "M[,M...]|all", value_delimiter = ',', required_unless_present_any = ["resume", "config"])]
    pub(crate) model: Vec<String>,
    /// Recipe: host, sample, time, given, leave-one-host-out, leave-one-sample-out
    #[arg(long = "split", value_name = "R", required_unless_present_any = ["resume", "config"])]
    pub(crate) recipe: Option<String>,
    /// Which channels the model may see
    #[arg(long, value_enum)]
    pub(crate) view: Option<ViewChoice>,
    /// What inputs are scaled by, one or several
    #[arg(long, value_enum, value_name = "S[,S...]", value_delimiter = ',')]
    pub(crate) scaler: Vec<Scaling>,
    /// Where nets compute: flex or ndarray
    #[arg(long, value_name = "D")]
    pub(crate) device: Option<String>,
    /// The directory of the run or grid (default: runs/<model>-<recipe>-<view>-<seed>-<hash>, runs/grid-<recipe>-<hash>)
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Continue an interrupted run or grid, bit for bit; failed cells of a grid are tried again
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "scaler", "recipe", "out", "config", "set", "store", "seed", "view", "degraded", "device", "force", "refit_all"])]
    pub(crate) resume: Option<PathBuf>,
    /// Start over in a directory that is there already
    #[arg(long)]
    pub(crate) force: bool,
    /// Fit on all rows but the validation side, which chooses when to stop; test on none: for deployment, marked untested
    #[arg(long)]
    pub(crate) refit_all: bool,
    #[command(flatten)]
    pub(crate) what: What,
}

/// Score a run again, on its own data or on another store
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stakeout eval runs/gru-host-realistic-1-0a1b2c3d\n  stakeout eval runs/gru-host-realistic-1-0a1b2c3d stores/other"
)]
pub(crate) struct Eval {
    /// The run directory
    pub(crate) run: PathBuf,
    /// Another store; its labelled windows are all test rows
    pub(crate) store: Option<PathBuf>,
    /// Where nets compute: flex or ndarray
    #[arg(long, value_name = "D", default_value = "flex")]
    pub(crate) device: String,
}

/// Class probabilities of every window of a store or of a live stream, labelled or not, as JSON Lines
#[derive(Debug, Args)]
#[command(
    after_help = "With --stdin, rows come in as they stand in an episode's files, of all sources, each source's in order of t_wall_ns. A line is printed for each window as soon as every source of the model has passed its end. Lines that cannot be used are dropped and reported; the exit code is then 1.\n\nExamples:\n  stakeout predict runs/gru-host-realistic-1-0a1b2c3d stores/other > predictions.jsonl\n  collector | stakeout predict runs/gru-host-realistic-1-0a1b2c3d --stdin"
)]
pub(crate) struct Predict {
    /// The run directory, or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub(crate) run: PathBuf,
    /// The store
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
    pub(crate) store: Option<PathBuf>,
    /// Read telemetry rows of one host from standard input instead, as they come
    #[arg(long)]
    pub(crate) stdin: bool,
    /// How long, by the rows' own clock, a window waits for a source that has not passed its end
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, requires = "stdin", allow_negative_numbers = true)]
    pub(crate) patience: f64,
    /// A store whose corpus.toml says what the rows hold (default: the built-in channels)
    #[arg(long, value_name = "STORE", requires = "stdin")]
    pub(crate) corpus: Option<PathBuf>,
    /// For a model scaled by host: the host of the rows, where the model was trained with it
    #[arg(long, value_name = "NAME", requires = "stdin", conflicts_with = "calibration")]
    pub(crate) host: Option<String>,
    /// For a model scaled by host: rows of a clean stretch of the host, chosen by time
    #[arg(long, value_name = "FILE", requires = "stdin")]
    pub(crate) calibration: Option<PathBuf>,
    /// Where nets compute: flex or ndarray
    #[arg(long, value_name = "D", default_value = "flex")]
    pub(crate) device: String,
}

/// Choose settings inside the training side; the test side is not looked at
#[derive(Debug, Args)]
#[command(
    after_help = "What is tried stands in [tune.space] of the configuration file: docs/tuning.md.\n\nExamples:\n  stakeout tune --model gru --split host --config gru-space.toml\n  stakeout train --model gru --config runs/tune-gru-host-realistic-1-0a1b2c3d/best.toml\n  stakeout tune --resume runs/tune-gru-host-realistic-1-0a1b2c3d"
)]
pub(crate) struct Tune {
    /// The model
    #[arg(long, value_name = "M", required_unless_present = "resume")]
    pub(crate) model: Option<String>,
    /// Recipe: host, sample, time, given, leave-one-host-out, leave-one-sample-out
    #[arg(long = "split", value_name = "R")]
    pub(crate) recipe: Option<String>,
    /// Settings to try, the configured ones among them (default: tune.trials, 27)
    #[arg(long, value_name = "N")]
    pub(crate) trials: Option<usize>,
    /// The outer fold inside whose training side settings are chosen (default: the recipe's first)
    #[arg(long, value_name = "FOLD", conflicts_with = "all_folds")]
    pub(crate) fold: Option<String>,
    /// Search inside every outer fold, each on its own: nested cross-validation
    #[arg(long)]
    pub(crate) all_folds: bool,
    /// The directory of the search (default: runs/tune-<model>-<recipe>-<view>-<seed>-<hash>)
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Continue an interrupted search
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "recipe", "trials", "fold", "all_folds", "out", "config", "set", "store", "seed", "degraded", "force"])]
    pub(crate) resume: Option<PathBuf>,
    /// Start over in a directory of a search that is there already
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) what: What,
}

/// Write a trained model as a file of another program: ONNX, safetensors or XGBoost
#[derive(Debug, Args)]
#[command(
    after_help = "What each format holds, and which models have it: docs/interchange.md.\n\nExamples:\n  stakeout export runs/gru-host-realistic-1-0a1b2c3d --to onnx\n  stakeout export runs/gbt-host-realistic-1-0a1b2c3d --to xgboost --out booster.json --cases 64"
)]
pub(crate) struct Export {
    /// The run directory, or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub(crate) from: PathBuf,
    /// The format: onnx, safetensors or xgboost
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: String,
    /// The file to write (default: model.<format> in the run directory, or beside the checkpoint)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The host whose scaler goes into the file, where the scaler is host-clean
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Also write FILE.cases.json: N raw windows, gaps and short ones among them, with this program's probabilities
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) cases: Option<u32>,
    /// The store that those windows come from (default: the run's own)
    #[arg(long, value_name = "STORE", requires = "cases")]
    pub(crate) store: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// How feedback moves a score
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightingChoice {
    /// Its log-odds are shifted, relative to a detector without a history
    LogOdds,
    /// The same, but raised only as far as the lower credible bound proves
    LowerBound,
    /// It is multiplied by the posterior mean: the plain design
    PosteriorMean,
}

/// Count which alerts were right, as an analyst says, and weigh detectors by it
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("asked").required(true).multiple(true).args(["tp", "fp", "show", "undo", "import", "refit_prior"]))]
#[command(group = clap::ArgGroup::new("feedback").multiple(true).args(["tp", "fp"]))]
#[command(group = clap::ArgGroup::new("other").args(["show", "undo", "import", "refit_prior"]).conflicts_with("feedback"))]
#[command(
    after_help = "What is counted and how it weighs: docs/detectors.md. A detector that is named twice counts twice.\n\nExamples:\n  stakeout calibrate --tp gru gru gbt --fp baseline --host web-1 --why \"ticket 812\"\n  stakeout calibrate --show --half-life 90\n  stakeout calibrate --undo\n  stakeout calibrate --import colleague.json --who ana\n  stakeout calibrate --refit-prior"
)]
pub(crate) struct Calibrate {
    /// Detectors whose alert was confirmed
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub(crate) tp: Vec<String>,
    /// Detectors whose alert was false
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub(crate) fp: Vec<String>,
    /// The host that the alerts were on (with --show: what is known there)
    #[arg(long, value_name = "H", conflicts_with_all = ["undo", "import", "refit_prior"])]
    pub(crate) host: Option<String>,
    /// Who says so (default: the user)
    #[arg(long, value_name = "W", conflicts_with = "show")]
    pub(crate) who: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", conflicts_with = "show")]
    pub(crate) why: Option<String>,
    /// Show what is known of every detector; with --verbose, the last changes too
    #[arg(long)]
    pub(crate) show: bool,
    /// Take back the last change that was not taken back
    #[arg(long)]
    pub(crate) undo: bool,
    /// Add the counters of another store
    #[arg(long, value_name = "FILE")]
    pub(crate) import: Option<PathBuf>,
    /// Fit what is expected of a detector without a history to all that is known
    #[arg(long)]
    pub(crate) refit_prior: bool,
    /// The store, with its journal beside it (default: $XDG_CACHE_HOME/stakeout/calibration.json, its journal in
    /// $XDG_STATE_HOME/stakeout)
    #[arg(long, value_name = "PATH")]
    pub(crate) store: Option<PathBuf>,
    /// How feedback is weighed
    #[arg(long, value_enum, value_name = "MODE", default_value = "log-odds")]
    pub(crate) weighting: WeightingChoice,
    /// Level of the lower credible bound
    #[arg(long, value_name = "P", default_value_t = stakeout_detect::reliability::DEFAULT_LEVEL)]
    pub(crate) level: f64,
    /// Show feedback that is so many days old at half its weight; the store keeps it whole
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["tp", "fp", "undo", "import", "refit_prior"])]
    pub(crate) half_life: Option<f64>,
    /// Set a damaged store or journal aside and go on; import a file again
    #[arg(long, conflicts_with = "show")]
    pub(crate) force: bool,
}

/// Print shell completions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stakeout completions bash > ~/.local/share/bash-completion/completions/stakeout")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Seeds that TOML can hold: a run must be able to read its own settings again.
fn seed() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}
