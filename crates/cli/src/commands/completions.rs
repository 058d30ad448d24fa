//! `stakeout completions`.

use clap::CommandFactory;

use crate::Exit;
use crate::args::{Cli, Completions};

pub(crate) fn run(args: &Completions) -> Exit {
    clap_complete::generate(args.shell, &mut Cli::command(), "stakeout", &mut std::io::stdout());
    Exit::Ok
}
