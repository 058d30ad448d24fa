//! Forwarding to the `stakeout` binary.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::{cargo, root};

/// Builds `stakeout` in release mode (progress on stderr) and becomes it, so that Ctrl-C and the exit code are its own.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    let built =
        cargo().args(["build", "--release", "--locked", "--package", "stakeout-cli", "--bin", "stakeout"]).status();
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
    let error = become_it(Command::new(&binary).args(words));
    eprintln!("error: running {}: {error}", binary.display());
    ExitCode::from(3)
}

#[cfg(unix)]
fn become_it(command: &mut Command) -> std::io::Error {
    std::os::unix::process::CommandExt::exec(command)
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> std::io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(3)),
        Err(error) => error,
    }
}
