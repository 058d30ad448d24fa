//! One file a command.

mod account;
mod baseline;
mod calibrate;
mod channels;
mod completions;
mod config;
mod eval;
mod export;
mod gate;
mod grid;
mod import;
mod import_xgboost;
mod models;
mod predict;
mod predict_stream;
mod registry;
mod replace;
mod report;
mod sequence;
mod simulate;
mod split;
mod train;
mod truth;
mod tune;
mod validate;
mod what;

use crate::args::{Baseline, Command, Import};
use crate::{Context, Exit};

/// Runs a command.
pub(crate) fn run(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Import(Import::Table(args)) => import::run(&args, context),
        Command::Import(Import::Xgboost(args)) => import_xgboost::run(&args, context),
        Command::Simulate(args) => simulate::run(&args, context),
        Command::Validate(args) => validate::run(&args, context),
        Command::Channels(args) => channels::run(&args, context),
        Command::Split(args) => split::run(&args, context),
        Command::Config(args) => config::run(&args, context),
        Command::Models(args) => models::run(&args, context),
        Command::Train(args) => train::run(&args, context),
        Command::Eval(args) => eval::run(&args, context),
        Command::Predict(args) => predict::run(&args, context),
        Command::Tune(args) => tune::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Calibrate(args) => calibrate::run(&args, context),
        Command::Gate(args) => gate::run(&args, context),
        Command::Baseline(Baseline::Train(args)) => baseline::train(&args, context),
        Command::Baseline(Baseline::Score(args)) => baseline::score(&args, context),
        Command::Sequence(command) => sequence::run(&command, context),
        Command::Completions(args) => completions::run(&args),
    }
}
