//! Our own binary, end to end: record, validate, split, train, evaluate, predict.

use std::path::Path;
use std::process::{Command, Output};

fn run(binary: &str, words: &[&str]) -> Output {
    Command::new(binary).args(words).env("NO_COLOR", "1").output().expect("the binary runs")
}

/// Runs `acme` and returns what it prints; it must succeed.
fn acme(words: &[&str]) -> String {
    let output = run(env!("CARGO_BIN_EXE_acme"), words);
    assert!(output.status.success(), "acme {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

fn json(words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&acme(words)).expect("--json prints JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[test]
fn our_model_recipe_and_channel_have_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let (store, runs) = (folder.path().join("store"), folder.path().join("run"));
    let (store, out) = (text(&store), text(&runs));
    assert!(run(env!("CARGO_BIN_EXE_acme-record"), &[store]).status.success());
    acme(&["validate", "--quiet", store]);
    assert!(acme(&["channels", store]).contains("guest.open_files"));
    assert!(acme(&["models"]).contains("acme/nearest-centroid"));

    // Our own recipe, with a setting of it.
    let recipe = "acme/leave-one-profile-out";
    let keep = "split.keep=['benign']";
    let folds = json(&["split", "--quiet", "--json", store, "--split", recipe, "--set", keep]);
    let names: Vec<&str> = folds["folds"].as_array().unwrap().iter().filter_map(|fold| fold["name"].as_str()).collect();
    assert_eq!(names, ["encrypter", "miner", "stealer"]);

    // Our own model by our own recipe: one cell a profile, and a summary.
    let train = [
        "train",
        "--quiet",
        "--json",
        "--model",
        "acme/nearest-centroid",
        "--split",
        recipe,
        "--store",
        store,
        "--out",
        out,
        "--set",
        keep,
        "--set",
        "model.acme/nearest-centroid.sharpness=4",
        "--set",
        "intervals.resamples=200",
    ];
    let trained = json(&train);
    let pooled = &trained["summary"]["pooled"];
    let score = |part: &str| pooled[part]["macro_f1"]["point"].as_f64().expect("a score");
    assert!(score("test") > score("constant") + 0.1, "{pooled}");
    let again = run(env!("CARGO_BIN_EXE_acme"), &train);
    assert_eq!(again.status.code(), Some(2), "a finished run is not overwritten");

    // A stored model of ours is loaded, scored again to the same figures, and asked about another store.
    let cell = runs.join("fold-stealer").join("seed-1");
    let scored = json(&["eval", "--quiet", "--json", text(&cell)]);
    assert_eq!(scored["same_as_run"], true);
    let other = folder.path().join("other");
    acme_research::lab::record(&other, 2).unwrap();
    let lines = acme(&["predict", "--quiet", text(&cell), text(&other)]);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(first["probabilities"]["malicious"].as_f64().is_some(), "{first}");
}

#[test]
fn a_built_in_model_learns_from_our_channel() {
    let folder = tempfile::tempdir().unwrap();
    let (store, run) = (folder.path().join("store"), folder.path().join("run"));
    acme_research::lab::record(&store, 1).unwrap();
    let words = ["train", "--quiet", "--json", "--model", "gbt", "--split", "host"];
    let more = ["--store", text(&store), "--out", text(&run), "--set", "model.gbt.rounds=10"];
    let trained = json(&[&words[..], &more[..], &["--set", "intervals.resamples=200"]].concat());
    assert!(trained["metrics"]["test"]["macro_f1"]["point"].as_f64().unwrap() > 0.6, "{trained}");
}
