//! `cargo xtask verify-exports`: exported models beside the programs that they are for.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{cargo, root};

/// What the script needs, and nothing of it in this workspace.
const PINS: [&str; 5] =
    ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.31.1", "safetensors==0.8.0", "xgboost-cpu==3.2.0"];

/// Builds `stakeout`, makes a Python environment below the target folder (once: it is kept until the pins change), and
/// runs `xtask/verify_exports.py` in it. `words` go to the script.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    match verify(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::from(3)
        }
    }
}

fn verify(words: &[&str]) -> Result<bool, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir));
    let binary = target.join("release").join(format!("stakeout{}", std::env::consts::EXE_SUFFIX));
    let build = ["build", "--release", "--locked", "--package", "stakeout-cli", "--bin", "stakeout"];
    expect(cargo().args(build), "building stakeout")?;

    let folder = target.join("verify-exports");
    let venv = folder.join("venv");
    let python = venv.join("bin").join("python");
    let stamp = venv.join("pins.txt");
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(PINS.join("\n").as_str()) {
        expect(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), "making a Python environment")?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        expect(Command::new(&python).args(pip).args(PINS), "installing the pinned packages")?;
        std::fs::write(&stamp, PINS.join("\n")).map_err(|error| format!("{}: {error}", stamp.display()))?;
    }
    check(&python, &binary, &folder.join("work"), words)
}

/// Runs the script: true when every difference is within its limit.
fn check(python: &Path, binary: &Path, work: &Path, words: &[&str]) -> Result<bool, String> {
    let script = root().join("xtask").join("verify_exports.py");
    let status = Command::new(python).arg(script).arg(binary).arg(work).args(words).status();
    status.map(|status| status.success()).map_err(|error| format!("running {}: {error}", python.display()))
}

fn expect(command: &mut Command, what: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}
