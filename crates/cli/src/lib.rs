//! The `stakeout` command line, as a library: a research crate gets every command for its own models and recipes.
//!
//! ```no_run
//! // fn main() of acme's own binary:
//! let mut models = stakeout_models::builtin();
//! let recipes = stakeout_splits::RecipeRegistry::builtin();
//! // models.add(acme::my_model_entry())?;
//! std::process::exit(stakeout_cli::main_with(models, recipes).into());
//! ```
//!
//! Results go to stdout, progress and warnings to stderr. Every error says what to do next; the exit code says what
//! kind it was ([`Exit`]).

mod args;
mod commands;
mod embedded;
mod exit;
mod folders;
mod interrupt;
mod output;
mod progress;

use clap::Parser;
use stakeout_core::ModelRegistry;
use stakeout_splits::RecipeRegistry;
use stakeout_trainer::{Keep, Progress, WindowCache};

pub use exit::Exit;

/// What every command gets.
pub(crate) struct Context {
    pub(crate) models: ModelRegistry,
    pub(crate) recipes: RecipeRegistry,
    pub(crate) progress: Box<dyn Progress>,
    pub(crate) json: bool,
    /// Where windows are kept.
    pub(crate) cache: WindowCache,
    /// Whether more than the report is wanted.
    pub(crate) verbose: bool,
}

/// Parses the command line, runs the command with the given models and recipes, and returns how it ended.
pub fn main_with(models: ModelRegistry, recipes: RecipeRegistry) -> Exit {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version also come as errors; those are not usage errors.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return match error.print() {
                // A closed pipe ends the output in silence, as for any filter.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Internal,
                _ => exit,
            };
        }
    };
    if let Some(threads) = cli.global.threads
        && let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()
    {
        output::say(&format!("error: --threads {threads}: {error}"));
        return Exit::Usage;
    }
    let context = Context {
        models,
        recipes,
        progress: progress::for_stderr(cli.global.quiet),
        json: cli.global.json,
        cache: WindowCache {
            folder: folders::cache().map(|folder| folder.join("windows")),
            keep: match cli.global.keep_windows {
                args::KeepWindows::Large => Keep::Large,
                args::KeepWindows::Always => Keep::Always,
                args::KeepWindows::Never => Keep::Never,
            },
        },
        verbose: cli.global.verbose,
    };
    match commands::run(cli.command, &context) {
        Ok(exit) => exit,
        Err(error) => exit::report(&error, cli.global.verbose),
    }
}
