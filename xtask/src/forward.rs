//! Forwarding to the `stakeout` binary.

use std::process::{Command, ExitCode};

use crate::{cargo, root};

/// Builds `stakeout` in release mode (progress on stderr) and runs it with the given words from the caller's folder,
/// handing its exit code through.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    let built = cargo().args(["build", "--release", "--package", "stakeout-cli", "--bin", "stakeout"]).status();
    match built {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::from(3),
        Err(error) => {
            eprintln!("error: running cargo: {error}");
            return ExitCode::from(3);
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir));
    let binary = target.join("release").join(format!("stakeout{}", std::env::consts::EXE_SUFFIX));
    match Command::new(&binary).args(words).status() {
        // A child ended by a signal has no code; Ctrl-C reaches both of us.
        Ok(status) => ExitCode::from(status.code().map_or(130, |code| code as u8)),
        Err(error) => {
            eprintln!("error: running {}: {error}", binary.display());
            ExitCode::from(3)
        }
    }
}
