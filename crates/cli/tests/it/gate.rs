//! `gate` and `models`: real runs through the gate into a registry, and each known way around it.

mod forged;
mod hostile;
mod lifecycle;
mod shared;
mod together;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{QUICK_GBT, path, stakeout, stderr, stdout, store};

/// A policy that a quick booster on a small simulated store meets: it beats the constant predictor, on paired resamples.
pub(crate) const LENIENT: &str = "
[intervals]
resamples = 500
level = 0.95
seed = 0
[calibration_error]
max = 0.4
[accuracy]
min = 0.2
[gain_over_constant]
above = 0.0
[recall]
classes = [\"infected_running\"]
[caps]
simulated = \"allow\"
few_hosts = \"allow\"
";

/// A run of the quick booster, trained once; tests copy it before they touch it.
pub(crate) fn run() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let out = store().with_file_name("gate-run");
        train("gbt", &out, &[&QUICK_GBT[..], &["--set", "calibration=temperature"]].concat());
        out
    })
}

pub(crate) fn train(model: &str, out: &Path, more: &[&str]) {
    let words = ["train", "--quiet", "--model", model, "--split", "host", "--store", path(store()), "--out", path(out)];
    let made = stakeout(words.iter().chain(more));
    assert!(made.status.success(), "{}", stderr(&made));
}

/// A copy of [`run`] with a policy and a place for a registry beside it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) run: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) registry: PathBuf,
}

pub(crate) fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let [run, policy, registry] = ["run", "gate.toml", "models"].map(|name| folder.path().join(name));
    copy(self::run(), &run);
    std::fs::write(&policy, LENIENT).unwrap();
    Bench { folder, run, policy, registry }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

impl Bench {
    /// A policy that the constant predictor meets, where many runs are needed and none is good.
    pub(crate) fn ask_nothing(&self) {
        std::fs::write(&self.policy, LENIENT.replace("above = 0.0", "above = -0.5")).unwrap();
    }

    pub(crate) fn gate(&self, more: &[&str]) -> Output {
        self.gate_run(&self.run, more)
    }

    pub(crate) fn gate_run(&self, run: &Path, more: &[&str]) -> Output {
        let words = ["gate", "--quiet", path(run), "--policy", path(&self.policy), "--registry", path(&self.registry)];
        stakeout(words.iter().chain(more))
    }

    /// The verdict, with the checks and criteria that were refused.
    pub(crate) fn verdict(&self, more: &[&str]) -> (String, Vec<String>) {
        let output = self.gate(&[&["--json", "--dry-run"], more].concat());
        let text = stdout(&output);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", stderr(&output)));
        let bundle = &value["bundle"];
        let verdict = bundle["verdict"].as_str().unwrap().to_owned();
        assert_eq!(output.status.code(), Some(i32::from(verdict == "refused")), "{text}");
        let of = |list: &str| bundle[list].as_array().unwrap().clone();
        let refused = [of("checks"), of("criteria")].concat();
        let refused = refused.iter().filter(|one| one["outcome"] == "refused");
        (verdict, refused.map(|one| one["name"].as_str().unwrap().to_owned()).collect())
    }

    pub(crate) fn models(&self, words: &[&str]) -> Output {
        stakeout(["models"].iter().chain(words).chain(&["--registry", path(&self.registry)]))
    }
}
