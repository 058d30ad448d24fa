//! `gate` and `models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List the models that this program knows; show, deploy and roll back models in a registry
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a word it lists the kinds that can be trained; `list` lists what is deployed and what might be.\n\nExamples:\n  stakeout models\n  stakeout models list\n  stakeout models promote 3f0c9a2b --store own\n  stakeout models rollback --why \"false alarms on the new image\""
)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) command: Option<ModelsCommand>,
}

/// Commands on a registry of models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// List the kinds of model that can be trained
    #[command(after_help = "Example:\n  stakeout models kinds")]
    Kinds,
    /// List a registry: the current model, earlier ones, candidates
    #[command(after_help = "Example:\n  stakeout models list --registry models")]
    List(RegistryAt),
    /// Show where a model comes from and how it was judged, and read its files again; exit 1 when a byte was changed
    #[command(after_help = "Example:\n  stakeout models show 3f0c9a2b")]
    Show(ModelsShow),
    /// Judge a candidate again and deploy it; exit 1 when it is refused
    #[command(after_help = "Example:\n  stakeout models promote 3f0c9a2b --store stores/mine --policy gate.toml")]
    Promote(ModelsPromote),
    /// Deploy the model before the current one again, or an earlier one
    #[command(after_help = "Example:\n  stakeout models rollback --why \"false alarms on the new image\"")]
    Rollback(ModelsRollback),
    /// Show who did what, when and why; exit 1 when a line was edited, removed or put in
    #[command(after_help = "Example:\n  stakeout models log --json")]
    Log(RegistryAt),
}

/// The registry that a command works on
#[derive(Debug, Clone, Args)]
pub(crate) struct RegistryAt {
    /// The folder of the registry
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub(crate) registry: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsShow {
    /// The model: the beginning of its address, or `current`
    #[arg(value_name = "ID|current", default_value = "current")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) at: RegistryAt,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsPromote {
    /// The model: the beginning of its address
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) judged: Judged,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsRollback {
    /// The earlier model: the beginning of its address (default: the one before the current one)
    pub(crate) id: Option<String>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) at: RegistryAt,
}

/// What a run is judged with; shared by `gate` and `models promote`
#[derive(Debug, Clone, Args)]
pub(crate) struct Judged {
    /// What it must show (default: `stakeout gate --default-policy`)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The run's own store, from which everything but the fit is made again; `own`: where the run says it lies. Without
    /// it predictions are taken on trust, and nothing is deployed
    #[arg(long, value_name = "STORE|own")]
    pub(crate) store: Option<PathBuf>,
    /// Also fit the model again: the checkpoint must come out byte for byte
    #[arg(long, requires = "store")]
    pub(crate) fit_again: bool,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    /// Also write the judgement as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Where nets compute: flex or ndarray
    #[arg(long, value_name = "D", default_value = "flex")]
    pub(crate) device: String,
    #[command(flatten)]
    pub(crate) at: RegistryAt,
}

/// Decide whether a run may be deployed, and file it in a registry; exit 1 when it is refused
#[derive(Debug, Args)]
#[command(
    after_help = "What is checked, and how a refusal reads: docs/gate.md.\n\nExamples:\n  stakeout gate --default-policy > gate.toml\n  stakeout gate runs/gbt-host-realistic-1-0a1b2c3d --policy gate.toml\n  stakeout gate runs/gbt-host-realistic-1-0a1b2c3d --policy gate.toml --store own --promote"
)]
pub(crate) struct Gate {
    /// The directory of one cell of a run
    #[arg(required_unless_present = "default_policy")]
    pub(crate) run: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) judged: Judged,
    /// Deploy the model where the verdict allows it; exit 1 where it does not
    #[arg(long)]
    pub(crate) promote: bool,
    /// Judge only: nothing is filed or logged
    #[arg(long, conflicts_with = "promote")]
    pub(crate) dry_run: bool,
    /// Print the commented default policy
    #[arg(long, conflicts_with_all = ["run", "promote", "dry_run"])]
    pub(crate) default_policy: bool,
}
