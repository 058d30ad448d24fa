//! `stakeout completions`.

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::{Exit, output};

pub(crate) fn run(args: &Completions) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stakeout", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Ok)
}
