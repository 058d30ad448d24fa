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
    let other = stakeout(["eval", "--quiet", "--json", path(&out), path(store())]);
    assert!(other.status.success(), "{}", stderr(&other));
    let predicted = stakeout(["predict", "--quiet", path(&out), path(store())]);
    assert!(predicted.status.success(), "{}", stderr(&predicted));
    let rows: serde_json::Value = serde_json::from_str(&stdout(&other)).unwrap();
    assert_eq!(stdout(&predicted).lines().count() as u64, rows["rows"]["windows_cut"].as_u64().unwrap());
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
    assert!(metrics.get("test").is_none());
}

#[test]
fn a_run_is_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(train("constant", "host", &out, &[]).status.success());
    let before = contents(&out);
    let refused = train("constant", "sample", &out, &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert_eq!(before, contents(&out));
    assert!(train("constant", "sample", &out, &["--force"]).status.success());
}
