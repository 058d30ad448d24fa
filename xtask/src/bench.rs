//! `cargo xtask bench`: the criterion suite, and the peers beside ours.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{cargo, root};

/// `bench [ARGS]` runs criterion; `bench --peers VENV NAME ARGS` builds our side and runs `benches/peers/NAME.py` with
/// that environment's Python.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    let status = match words {
        ["--peers", venv, name, rest @ ..] => {
            // beside the command line, the nets' bench needs nothing built again; the others ask for other features
            let packages: &[&str] =
                if *name == "nets" { &["stakeout-cli", "stakeout-net-steps"] } else { &["stakeout-benches"] };
            let packages = packages.iter().flat_map(|package| ["--package", package]);
            let build = cargo().args(["build", "--release"]).args(packages).arg("--bins").status();
            if !build.is_ok_and(|status| status.success()) {
                return ExitCode::from(3);
            }
            let python = Path::new(venv).join("bin").join("python");
            Command::new(python).arg(root().join("benches/peers").join(format!("{name}.py"))).args(rest).status()
        }
        ["--peers", ..] => {
            eprintln!("error: `bench --peers VENV NAME ARGS`: see docs/benchmarks.md");
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
