//! The smaller commands, and what help says.

use crate::harness::{path, stakeout, stderr, stdout, store};

#[test]
fn help_of_every_command_has_an_example() {
    let commands = [
        "simulate",
        "validate",
        "channels",
        "split",
        "config",
        "models",
        "train",
        "eval",
        "predict",
        "tune",
        "export",
        "calibrate",
        "gate",
        "completions",
    ];
    for words in commands.iter().map(|c| vec![*c]).chain([
        vec!["import", "table"],
        vec!["import", "xgboost"],
        vec!["models", "kinds"],
        vec!["models", "list"],
        vec!["baseline", "train"],
        vec!["baseline", "score"],
        vec!["sequence", "train"],
        vec!["sequence", "score"],
        vec!["sequence", "eval"],
        vec!["sequence", "drift"],
    ]) {
        let help = stakeout(words.iter().copied().chain(["--help"]));
        assert!(help.status.success());
        assert!(stdout(&help).contains("Example"), "{words:?}");
    }
    insta::assert_snapshot!("help", stdout(&stakeout(["--help"])));
}

#[test]
fn channels_lists_46_of_which_29_are_deployable() {
    let list = stakeout(["channels"]);
    assert!(stdout(&list).ends_with("46 channels, 29 of them deployable\n"), "{}", stdout(&list));
}

#[test]
fn split_shows_folds_and_ledger_and_json_parses() {
    let text = stakeout(["split", "--quiet", path(store()), "--split", "leave-one-host-out"]);
    assert!(text.status.success(), "{}", stderr(&text));
    assert!(stdout(&text).contains("SIMULATED DATA") && stdout(&text).contains("what was read"), "{}", stdout(&text));
    let json = stakeout(["split", "--quiet", "--json", path(store()), "--split", "host"]);
    let value: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(value["folds"].as_array().unwrap().len(), 1);
}

#[test]
fn the_commented_default_configuration_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for model in ["constant", "gbt", "gru", "gbt,gru", "all"] {
        let text = stdout(&stakeout(["config", "--model", model]));
        let file = folder.path().join("x.toml");
        std::fs::write(&file, &text).unwrap();
        let split = stakeout(["split", "--quiet", path(store()), "--split", "host", "--config", path(&file)]);
        assert!(split.status.success(), "{model}: {}\n{text}", stderr(&split));
    }
}

#[test]
fn validate_finds_nothing_in_a_healthy_store_and_something_in_a_damaged_one() {
    let healthy = stakeout(["validate", "--quiet", "--no-table", path(store())]);
    assert_eq!(healthy.status.code(), Some(0), "{}{}", stdout(&healthy), stderr(&healthy));
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("store");
    let made = stakeout(["simulate", "--quiet", path(&damaged), "--episodes", "20", "--hosts", "2", "--faults", "0.5"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let found = stakeout(["validate", "--quiet", path(&damaged)]);
    assert_eq!(found.status.code(), Some(1), "{}{}", stdout(&found), stderr(&found));
    assert!(damaged.join("validation.parquet").exists());
    let text = stdout(&found);
    assert!(text.contains("10 of 10 faults found as what they are; 0 healthy episodes refused"), "{text}");
}

#[test]
fn force_replaces_a_store_only_when_the_new_one_is_whole_and_removes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let simulate = |more: &[&str]| {
        stakeout(["simulate", "--quiet", path(&place), "--episodes", "6", "--hosts", "2"].iter().chain(more))
    };
    std::fs::create_dir_all(place.join("episodes")).unwrap();
    std::fs::write(place.join("thesis.tex"), "years").unwrap();
    let foreign = simulate(&["--force"]);
    assert_eq!(foreign.status.code(), Some(2), "{}", stderr(&foreign));
    assert!(stderr(&foreign).contains("thesis.tex") && place.join("thesis.tex").exists());
    std::fs::remove_file(place.join("thesis.tex")).unwrap();

    assert!(simulate(&["--force"]).status.success());
    assert_eq!(simulate(&[]).status.code(), Some(2), "replaced unasked");
    let words = ["import", "table", "--quiet", "--mapping", "smd_subset", "--force", "/nonexistent.csv", path(&place)];
    assert_eq!(stakeout(words).status.code(), Some(2));
    let still = stakeout(["validate", "--quiet", "--no-table", path(&place)]);
    assert_eq!(still.status.code(), Some(0), "a failed import cost the old store: {}", stderr(&still));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a staging folder was left behind");
}

#[test]
fn a_full_stderr_stops_no_work() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full() else {
        println!("skipped: there is no /dev/full");
        return;
    };
    let status = crate::harness::command(["validate", "--no-table", path(store())])
        .stdout(std::process::Stdio::null())
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
