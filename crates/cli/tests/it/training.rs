//! `train`, `eval` and `predict`.

use crate::harness::{QUICK_GBT, QUICK_GRU, contents, path, stakeout, stderr, stdout, store};

fn train(model: &str, recipe: &str, out: &std::path::Path, more: &[&str]) -> std::process::Output {
    let words = ["train", "--quiet", "--model", model, "--split", recipe, "--store", path(store()), "--out", path(out)];
    stakeout(words.iter().chain(more))
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for (model, quick) in [("gbt", &QUICK_GBT[..]), ("gru", &QUICK_GRU[..])] {
        let (one, two) = (folder.path().join(format!("{model}-1")), folder.path().join(format!("{model}-2")));
        let first = train(model, "host", &one, &[quick, &["--threads", "1"]].concat());
        assert!(first.status.success(), "{}", stderr(&first));
        let second = train(model, "host", &two, &[quick, &["--threads", "3"]].concat());
        assert!(second.status.success(), "{}", stderr(&second));
        assert_eq!(contents(&one), contents(&two), "{model}");
    }
}

#[test]
fn a_report_names_what_a_number_needs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let run = train("gbt", "host", &out, &QUICK_GBT);
    let text = stdout(&run);
    for needed in
        ["SIMULATED DATA", "constant", "gbt", "host", "seed", "schema", "held out", "episodes", "what was read"]
    {
        assert!(text.contains(needed), "no {needed} in\n{text}");
    }
    let metrics: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("metrics.json")).unwrap()).unwrap();
    for key in [
        "model",
        "recipe",
        "view",
        "seed",
        "schema_hash",
        "classes",
        "n_windows",
        "n_episodes",
        "n_hosts",
        "test",
        "by_profile",
        "by_host",
        "confusion",
        "constant",
        "ledger",
        "rows",
    ] {
        assert!(metrics.get(key).is_some(), "metrics.json has no {key}");
    }
    for figure in ["macro_f1", "accuracy"] {
        let estimate = &metrics["test"][figure];
        let number = |key: &str| estimate[key].as_f64().unwrap();
        assert!(number("lo") <= number("point") && number("point") <= number("hi"), "{estimate}");
        assert!(estimate["n_units"].as_u64().unwrap() > 1 && estimate["unit"].is_string(), "{estimate}");
    }
    assert_eq!(metrics["simulated"], true);
}

#[test]
fn eval_repeats_the_run_and_predict_speaks_of_every_window() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(train("gbt", "host", &out, &QUICK_GBT).status.success());
    let again = stakeout(["eval", "--quiet", path(&out)]);
    assert!(again.status.success(), "{}{}", stdout(&again), stderr(&again));
    assert!(stdout(&again).contains("the same figures as in the run's metrics.json"), "{}", stdout(&again));
    let own = stakeout(["eval", "--quiet", path(&out), path(store())]);
    assert_eq!((own.status.code(), stdout(&own)), (Some(0), stdout(&again)), "wherever it lies, it is no other store");

    let other = folder.path().join("other");
    assert!(
        stakeout(["simulate", "--quiet", path(&other), "--episodes", "8", "--hosts", "2", "--seed", "9"])
            .status
            .success()
    );
    let scored = stakeout(["eval", "--quiet", "--json", path(&out), path(&other)]);
    assert!(scored.status.success(), "{}", stderr(&scored));
    let scored: serde_json::Value = serde_json::from_str(&stdout(&scored)).unwrap();
    assert_eq!(scored["origin"]["model"], "gbt");
    let predicted = stakeout(["predict", "--quiet", path(&out), path(&other)]);
    assert!(predicted.status.success(), "{}", stderr(&predicted));
    assert_eq!(stdout(&predicted).lines().count() as u64, scored["rows"]["windows_cut"].as_u64().unwrap());
}

#[test]
fn many_folds_and_seeds_make_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let run = train("gbt", "leave-one-host-out", &out, &[&QUICK_GBT[..], &["--seed", "1,2"]].concat());
    assert!(run.status.success(), "{}", stderr(&run));
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["folds"].as_array().unwrap().len(), 6);
    assert_eq!(summary["primary"]["macro_f1"]["unit"], "host");
    assert_eq!(summary["primary"]["macro_f1"]["n_units"], 6);
    assert!(stdout(&run).contains("fold models share training data"), "{}", stdout(&run));
    let cells = contents(&out).into_iter().filter(|(name, _)| name.ends_with("metrics.json")).count();
    assert_eq!(cells, 12);
}

#[test]
fn a_refit_on_all_rows_is_marked_untested() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let run = train("constant", "host", &out, &["--refit-all"]);
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(stdout(&run).contains("UNTESTED"), "{}", stdout(&run));
    let metrics: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(metrics["tested"], false);
    assert!(metrics.get("test").is_none() && metrics["ledger"].is_null());
    let eval = stakeout(["eval", "--quiet", path(&out)]);
    assert_eq!(eval.status.code(), Some(2), "a model that saw all rows has no test side: {}", stdout(&eval));
}

#[test]
fn a_run_is_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(train("constant", "host", &out, &[]).status.success());
    let before = contents(&out);
    let impossible = train("constant", "given", &out, &["--force"]);
    assert_eq!(impossible.status.code(), Some(2));
    assert_eq!(before, contents(&out), "a run was given up for one that cannot be made");
    let refused = train("constant", "sample", &out, &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert_eq!(before, contents(&out));
    assert!(train("constant", "sample", &out, &["--force"]).status.success());
}

#[test]
fn two_hosts_held_out_at_once_are_two_hosts_in_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let run = train("constant", "host", &out, &["--seed", "1,2"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["primary"]["macro_f1"]["n_units"], 2);
}

#[test]
fn a_host_clean_scaler_reads_calibration_stretches_and_changes_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let figures = ["global", "host-clean"].map(|scaler| {
        let out = folder.path().join(scaler);
        let run = train("gbt", "host", &out, &[&QUICK_GBT[..], &["--set", &format!("scaler={scaler}")]].concat());
        assert!(run.status.success(), "{}", stderr(&run));
        let metrics: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("metrics.json")).unwrap()).unwrap();
        assert!(metrics["rows"]["windows_calibration"].as_u64().unwrap() > 0);
        (metrics["n_windows"].clone(), metrics["rows"].clone())
    });
    assert_eq!(figures[0], figures[1]);
}
