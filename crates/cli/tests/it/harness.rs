//! Running the binary.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A folder of this test run with one small simulated store, made once.
pub(crate) fn store() -> &'static Path {
    static STORE: OnceLock<PathBuf> = OnceLock::new();
    STORE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{}", std::process::id()));
        let store = folder.join("store");
        std::fs::create_dir_all(&folder).unwrap();
        let made = stakeout(["simulate", path(&store), "--episodes", "36", "--hosts", "6", "--seed", "3"]);
        assert!(made.status.success(), "{}", stderr(&made));
        store
    })
}

/// Runs `stakeout` with the given words, quietly, in the folder of the test run.
pub(crate) fn stakeout<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Output {
    command(words).output().expect("the binary runs")
}

pub(crate) fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stakeout"));
    command.args(words).env("NO_COLOR", "1").env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Settings that make a fit take about a second.
pub(crate) const QUICK_GRU: [&str; 6] =
    ["--set", "train.epochs=3", "--set", "model.gru.hidden=8", "--set", "intervals.resamples=200"];

/// Settings that make a fit take a moment.
pub(crate) const QUICK_GBT: [&str; 4] = ["--set", "model.gbt.rounds=12", "--set", "intervals.resamples=200"];

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder with its bytes, sorted, wall-clock files and locks left out.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.ends_with("timing.json") && path.file_name() != Some(OsStr::new(".lock")) {
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
