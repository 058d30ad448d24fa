//! Calibration maps from `train` to `eval` and `predict`.

use std::path::Path;

use serde_json::Value;

use crate::harness::{QUICK_GBT, QUICK_GRU, contents, path, stakeout, stderr, stdout, store};

fn train(model: &str, out: &Path, more: &[&str]) -> std::process::Output {
    let words = ["train", "--quiet", "--model", model, "--split", "host", "--store", path(store()), "--out", path(out)];
    let run = stakeout(words.iter().chain(more));
    assert!(run.status.success(), "{}", stderr(&run));
    run
}

fn metrics(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("metrics.json")).unwrap()).unwrap()
}

fn remark(metrics: &Value, part: &str) -> bool {
    metrics["remarks"].as_array().unwrap().iter().any(|remark| remark.as_str().unwrap().contains(part))
}

#[test]
fn a_temperature_is_fitted_stored_applied_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, mapped, again] = ["plain", "mapped", "again"].map(|name| folder.path().join(name));
    // With patience the validation rows choose the epoch either way: both runs fit the same weights.
    let chooses = [&QUICK_GRU[..], &["--set", "train.patience=3"]].concat();
    train("gru", &plain, &chooses);
    let asked = [&chooses[..], &["--set", "calibration=temperature"]].concat();
    let run = train("gru", &mapped, &asked);
    assert!(stdout(&run).contains("probabilities"), "{}", stdout(&run));
    train("gru", &again, &asked);
    assert_eq!(contents(&mapped), contents(&again));

    let (before, after) = (metrics(&plain), metrics(&mapped));
    assert!(after["calibration"]["temperature"]["t"].as_f64().unwrap() > 0.0);
    assert!(before.get("calibration").is_none());
    assert!(remark(&after, "temperature map") && remark(&after, "in-sample"), "{}", after["remarks"]);
    // One temperature changes no call and no sharing of rows, only what the probabilities say.
    assert_eq!(before["confusion"], after["confusion"]);
    assert_eq!(before["n_windows"], after["n_windows"]);
    let log_loss = |metrics: &Value| metrics["test"]["calibration"]["log_loss"]["score"]["point"].as_f64().unwrap();
    assert!((log_loss(&before) - log_loss(&after)).abs() > 1e-6);
    assert!(after["constant"]["calibration"]["brier"]["score"]["point"].is_f64());

    // A finished cell is read, not made again; the same figures come out of the checkpoint and its map.
    let before = contents(&mapped);
    assert!(stakeout(["train", "--quiet", "--resume", path(&mapped)]).status.success());
    assert_eq!(before, contents(&mapped));
    let eval = stakeout(["eval", "--quiet", path(&mapped)]);
    assert!(stdout(&eval).contains("the same figures as in the run's metrics.json"), "{}", stdout(&eval));
    assert!(stdout(&eval).contains("calibration error") && stdout(&eval).contains("confidence"), "{}", stdout(&eval));

    let exported = stakeout(["export", "--quiet", path(&mapped), "--to", "onnx"]);
    assert!(exported.status.success(), "the map is in the graph: {}", stderr(&exported));

    let probabilities = |run: &Path| {
        let predicted = stakeout(["predict", "--quiet", path(run), path(store())]);
        assert!(predicted.status.success(), "{}", stderr(&predicted));
        let lines: Vec<Value> = stdout(&predicted).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines
    };
    let (raw, mapped) = (probabilities(&plain), probabilities(&mapped));
    assert!(raw.iter().zip(&mapped).all(|(raw, mapped)| raw["predicted"] == mapped["predicted"]));
    assert!(raw.iter().zip(&mapped).any(|(raw, mapped)| raw["probabilities"] != mapped["probabilities"]));
}

#[test]
fn a_model_that_chooses_nothing_keeps_its_validation_rows_out_of_training_for_a_map() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        train("constant", &out, more);
        metrics(&out)
    };
    let merged = rows("merged", &[]);
    assert_eq!(merged["n_windows"]["validation"], 0);
    for method in ["temperature", "isotonic", "dirichlet"] {
        let kept = rows(method, &["--set", &format!("calibration={method}")]);
        assert!(kept["n_windows"]["validation"].as_u64().unwrap() >= 20, "{method}");
        let sum = |metrics: &Value| {
            ["train", "validation"].map(|side| metrics["n_windows"][side].as_u64().unwrap()).iter().sum::<u64>()
        };
        assert_eq!(sum(&kept), sum(&merged), "{method}");
        assert!(kept["calibration"].get(method).is_some(), "{method}: {}", kept["calibration"]);
        assert!(kept["selection"].as_str().unwrap().contains(method), "{}", kept["selection"]);
    }
    let refit = rows("refit", &["--refit-all", "--set", "calibration=isotonic", "--set", "scaler=host-clean"]);
    assert!(refit["calibration"].get("isotonic").is_some() && refit["tested"] == false);
    assert!(remark(&refit, "fitted on all rows but the validation side, which fitted the calibration map"));
}

#[test]
fn too_few_validation_windows_are_trained_on_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let few = folder.path().join("few-windows");
    let made = stakeout(["simulate", "--quiet", path(&few), "--episodes", "8", "--hosts", "2", "--seed", "5"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let words =
            ["train", "--quiet", "--model", "gbt", "--split", "host", "--store", path(&few), "--out", path(&out)];
        // A few windows an episode leave fewer than 20 on the validation side.
        let thin = ["--set", "window.max_per_episode=3"];
        let run = stakeout(words.iter().chain(&QUICK_GBT).chain(&thin).chain(more));
        assert!(run.status.success(), "{}", stderr(&run));
        metrics(&out)
    };
    let plain = run("plain", &[]);
    assert_eq!(plain["n_windows"]["validation"], 0);
    assert!(remark(&plain, "validation windows are too few to choose by (20): they were trained on"), "{plain}");
    assert!(remark(&plain, "kept the last round (12)"), "{}", plain["remarks"]);
    let asked = run("asked", &["--set", "calibration=temperature"]);
    assert!(asked.get("calibration").is_none());
    assert!(remark(&asked, "no calibration map"), "{}", asked["remarks"]);
    assert_eq!(plain["n_windows"], asked["n_windows"]);
}

#[test]
fn an_unknown_map_is_a_usage_error() {
    let words = ["train", "--model", "constant", "--split", "host", "--store", path(store())];
    let refused = stakeout(words.iter().chain(&["--set", "calibration=platt"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("temperature"), "{}", stderr(&refused));
}
