//! `cargo xtask bench`: the criterion suite, and the peers beside ours.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{cargo, root};

/// `bench [ARGS]` runs criterion; `bench --peers VENV` runs `benches/peers/run.py` with that environment's Python.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    let status = match words {
        ["--peers", venv, rest @ ..] => {
            let build = cargo().args(["build", "--release", "--package", "stakeout-benches", "--bins"]).status();
            if !build.is_ok_and(|status| status.success()) {
                return ExitCode::from(3);
            }
            let python = Path::new(venv).join("bin").join("python");
            Command::new(python).arg(root().join("benches/peers/run.py")).args(rest).status()
        }
        ["--peers"] => {
            eprintln!("error: `bench --peers` needs a Python environment, as in benches/peers/README.md");
            return ExitCode::from(2);
        }
        rest => cargo().args(["bench", "--package", "stakeout-benches"]).args(rest).status(),
    };
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}
