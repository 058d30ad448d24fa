//! A grid: many runs in one directory, killed and continued to the same bytes, one table at the end.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{command, contents, path, stakeout, stderr, stdout, store};

/// Two cheap models, two views.
fn words<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let common = ["train", "--quiet", "--split", "host", "--store", path(store()), "--out", path(out)];
    let quick = ["--set", "intervals.resamples=200"];
    common.into_iter().chain(quick).chain(more.iter().copied()).collect()
}

const GBT_AND_GRU: [&str; 12] = [
    "--model",
    "gbt,gru",
    "--view",
    "both",
    "--set",
    "model.gbt.rounds=8",
    "--set",
    "train.epochs=8",
    "--set",
    "train.patience=8",
    "--set",
    "model.gru.hidden=8",
];

fn json(file: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
}

/// Kills a grid in the middle of its second cell and continues it; the finished cell is kept, the interrupted one goes
/// on from its state, the others are trained, and nothing tells the result from that of a grid left alone.
#[test]
fn kill_and_resume_gives_the_same_bytes_as_no_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (left_alone, killed) = (folder.path().join("left-alone"), folder.path().join("killed"));
    let whole = stakeout(words(&left_alone, &GBT_AND_GRU));
    assert_done(&whole);

    let mut child = command(words(&killed, &GBT_AND_GRU)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (first, second) = (killed.join("gbt-realistic-global"), killed.join("gru-realistic-global"));
    let begun = Instant::now();
    while !second.join("state.stk").exists() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no state was kept");
        assert!(child.try_wait().unwrap().is_none(), "the grid ended before its second cell kept a state");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!second.join("metrics.json").exists() && !killed.join("grid.json").exists(), "killed too late");
    let made = |file: &Path| std::fs::metadata(file).unwrap().modified().unwrap();
    let before = made(&first.join("metrics.json"));

    let resumed = stakeout(["train", "--resume", path(&killed)]);
    assert_done(&resumed);
    assert_eq!(before, made(&first.join("metrics.json")), "a finished cell was trained again");
    assert!(stderr(&resumed).contains("kept gbt-realistic-global"), "{}", stderr(&resumed));
    let (alone, continued) = (contents(&left_alone), contents(&killed));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&alone), names(&continued));
    for ((name, one), (_, other)) in alone.iter().zip(&continued) {
        assert!(one == other, "{name} differs");
    }
    assert_eq!(names(&alone).iter().filter(|name| name.ends_with("metrics.json")).count(), 4);

    // A grid that is done says the same again, without training or reading anything.
    let again = stakeout(["train", "--resume", path(&killed)]);
    assert_done(&again);
    let table = |output: &Output| stdout(output).replace(path(&killed), "");
    assert_eq!(table(&again), table(&resumed));
    assert!(!stderr(&again).contains("reading episodes"), "{}", stderr(&again));
}

#[test]
fn one_table_with_the_constant_first_and_a_group_of_columns_for_each_view_and_scaler() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("grid");
    let more =
        ["--model", "gbt,constant", "--view", "both", "--scaler", "global,host-clean", "--set", "model.gbt.rounds=5"];
    let run = stakeout(words(&out, &more));
    assert_done(&run);
    let text = stdout(&run);
    for needed in [
        "SIMULATED DATA",
        "grid       2 models × 2 views × 2 scalers",
        "recipe     host",
        "seed       1",
        "held out",
        "schema     realistic: ",
        "selection  gbt: ",
        "constant   ",
        "realistic, global: ",
        "oracle, host-clean: ",
        "accuracy",
        "seconds",
        "what was read",
    ] {
        assert!(text.contains(needed), "no {needed} in\n{text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    let heads: Vec<usize> = (0..lines.len()).filter(|&i| lines[i].starts_with("model  ")).collect();
    assert!(!heads.is_empty());
    for head in heads {
        assert!(lines[head + 1].starts_with("constant  ") && lines[head + 2].starts_with("gbt  "), "{text}");
        assert!(!lines.get(head + 3).is_some_and(|line| line.starts_with("constant")), "{text}");
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 100 || line.starts_with("grid: ")), "{text}");

    let result = json(&out.join("grid.json"));
    let cells = result["cells"].as_array().unwrap();
    let runs: Vec<&str> = cells.iter().map(|cell| cell["run"].as_str().unwrap()).collect();
    assert_eq!(cells.len(), 8);
    assert_eq!(runs[..3], ["gbt-realistic-global", "constant-realistic-global", "gbt-realistic-host-clean"]);
    for cell in cells {
        let of_run = json(&out.join(cell["run"].as_str().unwrap()).join("metrics.json"));
        assert_eq!(cell["result"]["scores"]["macro_f1"], of_run["test"]["macro_f1"]);
        assert_eq!(cell["result"]["schema_hash"], of_run["schema_hash"]);
    }
    let one = stakeout(["eval", "--quiet", path(&out)]);
    assert!(stderr(&one).contains("it is a grid: name one of the runs in it"), "{}", stderr(&one));
    assert_done(&stakeout(["eval", "--quiet", path(&out.join("gbt-oracle-host-clean"))]));
}

#[test]
fn a_cell_is_the_run_that_it_would_be_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (grid, alone) = (folder.path().join("grid"), folder.path().join("alone"));
    assert_done(&stakeout(words(&grid, &GBT_AND_GRU)));
    let gbt = ["--model", "gbt", "--view", "oracle", "--set", "model.gbt.rounds=8"];
    assert_done(&stakeout(words(&alone, &gbt)));
    assert_eq!(contents(&grid.join("gbt-oracle-global")), contents(&alone));
}

/// The record of a grid is a configuration that trains it again.
#[test]
fn a_grid_is_repeated_from_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let more = ["--model", "constant,gbt", "--view", "both", "--seed", "4", "--set", "model.gbt.rounds=3"];
    assert_done(&stakeout(words(&one, &more)));
    let file = one.join("grid.toml");
    let again = stakeout(["train", "--quiet", "--json", "--config", path(&file), "--out", path(&two)]);
    assert_done(&again);
    assert_eq!(contents(&one), contents(&two));
    let printed: serde_json::Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(printed["result"], json(&two.join("grid.json")));
    assert_eq!(printed["fit_and_score_seconds"].as_array().unwrap().len(), 4);
    // A run's own file trains that run.
    let (run, three) = (one.join("gbt-oracle-global"), folder.path().join("three"));
    let file = run.join("experiment.toml");
    assert_done(&stakeout(["train", "--quiet", "--config", path(&file), "--out", path(&three)]));
    assert_eq!(contents(&run), contents(&three));
}

#[test]
fn many_folds_and_seeds_are_one_row_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("grid");
    let common = ["train", "--quiet", "--split", "leave-one-host-out", "--seed", "1,2", "--store", path(store())];
    let more = ["--model", "constant,gbt", "--set", "model.gbt.rounds=3", "--set", "intervals.resamples=200"];
    let run = stakeout(common.iter().chain(&more).chain(&["--out", path(&out)]));
    assert_done(&run);
    let text = stdout(&run);
    assert!(text.contains("realistic, global: 6 hosts") && text.contains("seeds      1, 2"), "{text}");
    assert!(text.contains("note: fold models share training data"), "{text}");
    let summary = json(&out.join("gbt-realistic-global").join("summary.json"));
    assert_eq!(
        json(&out.join("grid.json"))["cells"][1]["result"]["scores"]["macro_f1"],
        summary["primary"]["macro_f1"]
    );
}

/// A store without calibration stretches: `host-clean` cannot work, `global` can.
#[test]
fn a_cell_that_fails_is_recorded_and_the_grid_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("store");
    let made = stakeout(["simulate", "--quiet", path(&bare), "--episodes", "18", "--hosts", "3"]);
    assert_done(&made);
    let corpus = std::fs::read_to_string(bare.join("corpus.toml")).unwrap();
    let mut table: toml::Table = corpus.parse().unwrap();
    assert!(table.remove("calibration").is_some(), "{corpus}");
    std::fs::write(bare.join("corpus.toml"), toml::to_string(&table).unwrap()).unwrap();

    let out = folder.path().join("grid");
    let words = ["train", "--quiet", "--model", "constant,gbt", "--split", "host", "--store", path(&bare)];
    let more = ["--scaler", "host-clean,global", "--set", "model.gbt.rounds=3", "--set", "intervals.resamples=200"];
    let run = stakeout(words.iter().chain(&more).chain(&["--out", path(&out)]));
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stderr(&run).contains("2 of 4 cells failed"), "{}", stderr(&run));
    let text = stdout(&run);
    assert!(text.contains("note: gbt-realistic-host-clean failed: scaler host-clean: no calibration window"), "{text}");
    let result = json(&out.join("grid.json"));
    let failed: Vec<bool> = result["cells"].as_array().unwrap().iter().map(|cell| cell["failed"].is_string()).collect();
    assert_eq!(failed, [true, true, false, false]);

    // Tried again, it fails again, and what was finished stays.
    let before = contents(&out);
    let again = stakeout(["train", "--quiet", "--resume", path(&out)]);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert_eq!(before, contents(&out));
}

#[test]
fn a_grid_is_never_overwritten_unasked_nor_continued_as_another() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("grid");
    let more = ["--model", "constant", "--view", "both"];
    assert_done(&stakeout(words(&out, &more)));
    let before = contents(&out);
    assert_eq!(stakeout(words(&out, &more)).status.code(), Some(2));
    assert_eq!(stakeout(words(&out, &["--model", "constant", "--force"])).status.code(), Some(2), "a grid is no run");
    let impossible = stakeout(words(&out, &[&more[..], &["--force", "--set", "window.seconds=100000"]].concat()));
    assert_eq!(impossible.status.code(), Some(2));
    assert_eq!(before, contents(&out), "a grid was given up for one that cannot be made");

    let file = out.join("grid.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("seed = 1\n", "seed = 2\n")).unwrap();
    let refused = stakeout(["train", "--quiet", "--resume", path(&out)]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("grid.toml or the code changed since"), "{}", stderr(&refused));

    assert_done(&stakeout(words(&out, &[&more[..], &["--force", "--seed", "3"]].concat())));
    assert_eq!(json(&out.join("grid.json"))["seeds"], serde_json::json!([3]));
}

/// Ctrl-C saves the state, says how to go on, and ends with 130.
#[cfg(unix)]
#[test]
fn an_interrupted_grid_says_how_to_continue() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("grid");
    let slow =
        ["--model", "constant,gru", "--view", "both", "--set", "train.epochs=400", "--set", "train.patience=400"];
    let child = command(words(&out, &slow)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !out.join("gru-realistic-global").join("state.stk").exists() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no state was kept");
        std::thread::yield_now();
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("stakeout train --resume {}", path(&out))), "{}", stderr(&output));
    assert!(out.join("constant-realistic-global").join("metrics.json").exists() && !out.join("grid.json").exists());
}
