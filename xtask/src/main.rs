//! `cargo xtask`: the workspace's own commands, and a front door to the `stakeout` binary.
//!
//! `ci`, `tidy`, `bench` and `verify-exports` are handled here; every other word is forwarded verbatim to `stakeout`,
//! built in release mode. There are no dependencies, so that this starts in a second on a fresh clone.

mod bench;
mod ci;
mod forward;
mod tidy;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask <command>

  ci               everything that gates a change: fmt, tidy, clippy, tests, docs, benches compiled
  tidy             the workspace's invariants (docs/architecture.md)
  bench [ARGS]     the criterion benches; `bench --peers VENV NAME ARGS` runs a peer beside ours and prints ratios
  verify-exports   exported models in onnxruntime, XGBoost and safetensors, from a Python environment made for it
                   below the target folder (docs/interchange.md); needs python3 and a package registry
  <anything else>  forwarded to the stakeout binary, built in release mode:
                   cargo xtask train --model gru --split host
                   cargo xtask --help-stakeout
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // A word that is not UTF-8 can only be a path for the binary.
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or("")).collect();
    match words.as_slice() {
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["bench", rest @ ..] => bench::run(rest),
        ["verify-exports", rest @ ..] => verify::run(rest),
        ["--help-stakeout"] => forward::run(&["--help".into()]),
        _ => forward::run(&arguments),
    }
}

/// The workspace root: the parent of this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that runs us, in the workspace root, with the workspace's own target folder.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
