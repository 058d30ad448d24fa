//! From a run to a deployed model and back.

use serde_json::Value;

use super::{bench, train};
use crate::harness::{QUICK_GBT, path, stakeout, stderr, stdout};

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}{}", stdout(output), stderr(output)))
}

#[test]
fn a_real_run_is_refused_by_the_default_policy_with_figure_bound_and_way_forward() {
    let bench = bench();
    let refused = stakeout(["gate", "--quiet", path(&bench.run), "--registry", path(&bench.registry)]);
    let text = stdout(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}{}", stderr(&refused));
    for needed in [
        "SIMULATED DATA",
        "figures of metrics.json come out of predictions.parquet again",
        "calibration error",
        "<= 0.08",
        ">= 0.85",
        "gain over constant",
        "lower end > 0",
        "verdict: refused",
        "is less than 0.85",
        "-> ",
        "predictions taken on trust",
        "simulated",
    ] {
        assert!(text.contains(needed), "no `{needed}` in\n{text}");
    }
    let list = bench.models(&["list"]);
    assert!(stdout(&list).contains("nothing is deployed") && list.status.success(), "{}", stdout(&list));
    let log = json(&bench.models(&["log", "--json"]));
    assert_eq!((&log[0]["action"], &log[0]["verdict"]), (&"judged".into(), &"refused".into()));
}

#[test]
fn a_real_run_is_kept_then_promoted_then_replaced_and_gone_back_to() {
    let bench = bench();
    // On trust: kept, and not deployed whatever is asked.
    let kept = bench.gate(&["--promote"]);
    assert_eq!(kept.status.code(), Some(1), "{}", stdout(&kept));
    assert!(stdout(&kept).contains("verdict: candidate") && stdout(&kept).contains("predictions taken on trust"));
    let list = json(&bench.models(&["list", "--json"]));
    assert_eq!(list["models"][0]["state"], "candidate");
    let first = list["models"][0]["id"].as_str().unwrap().to_owned();
    let trusted = bench.models(&["promote", &first[..8], "--policy", path(&bench.policy)]);
    assert_eq!(trusted.status.code(), Some(1), "{}", stdout(&trusted));

    // Made again from its store: deployed.
    let words =
        ["promote", &first[..8], "--policy", path(&bench.policy), "--store", "own", "--why", "first one", "--quiet"];
    let promoted = bench.models(&words);
    assert_eq!(promoted.status.code(), Some(0), "{}{}", stdout(&promoted), stderr(&promoted));
    assert!(stdout(&promoted).contains("verdict: deployable") && stdout(&promoted).contains("is the current model"));
    let again = bench.gate(&["--store", "own", "--promote"]);
    assert!(again.status.success() && stdout(&again).contains("already"), "{}", stdout(&again));

    // Another run in one go, with its judgement as a file whose digest holds.
    let (other, judgement) = (bench.folder.path().join("other"), bench.folder.path().join("gate.json"));
    train("gbt", &other, &[&QUICK_GBT[..], &["--seed", "2"]].concat());
    let more = ["--store", "own", "--fit-again", "--promote", "--bundle", path(&judgement)];
    let replaced = bench.gate_run(&other, &more);
    assert_eq!(replaced.status.code(), Some(0), "{}{}", stdout(&replaced), stderr(&replaced));
    assert!(stdout(&replaced).contains("a second fit gives the same"), "{}", stdout(&replaced));
    let bundle: stakeout_evidence::Bundle = serde_json::from_slice(&std::fs::read(&judgement).unwrap()).unwrap();
    assert!(bundle.is_whole() && bundle.store.is_some() && bundle.read.len() == 4);
    let list = json(&bench.models(&["list", "--json"]));
    let states: Vec<&str> = list["models"].as_array().unwrap().iter().map(|m| m["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["current", "earlier"]);

    let back = bench.models(&["rollback", "--why", "false alarms"]);
    assert!(back.status.success(), "{}", stderr(&back));
    let shown = bench.models(&["show"]);
    assert!(shown.status.success() && stdout(&shown).contains(&first), "{}", stdout(&shown));
    assert!(stdout(&shown).contains("files: as their address says") && stdout(&shown).contains("first one"));
    assert_eq!(bench.models(&["rollback"]).status.code(), Some(2));
    let log = json(&bench.models(&["log", "--json"]));
    let actions: Vec<&str> = log.as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["filed", "judged", "promoted", "filed", "promoted", "rolled-back"]);
    assert_eq!(log[5]["why"], "false alarms");
    // What is deployed scores.
    let current = bench.registry.join("current").join(&first);
    let predicted = stakeout(["predict", "--quiet", path(&current), path(crate::harness::store())]);
    assert!(predicted.status.success(), "{}", stderr(&predicted));
}

#[test]
fn the_same_run_and_policy_give_the_same_judgement() {
    let bench = bench();
    let digest = |threads: &str| {
        json(&bench.gate(&["--json", "--dry-run", "--store", "own", "--threads", threads]))["bundle"]["digest"].clone()
    };
    assert_eq!(digest("1"), digest("3"));
}

#[test]
fn simulated_data_and_one_held_out_host_keep_a_run_a_candidate() {
    let bench = bench();
    let without = |cap: &str| super::LENIENT.replace(&format!("{cap} = \"allow\"\n"), "");
    for (cap, why) in
        [("simulated", "it says nothing about real malware"), ("few_hosts", "no claim about other devices")]
    {
        std::fs::write(&bench.policy, without(cap)).unwrap();
        let judged = bench.gate(&["--store", "own", "--dry-run"]);
        let text = stdout(&judged);
        let hosts = text.contains("1 hosts;");
        if cap == "simulated" || hosts {
            assert!(text.contains("verdict: candidate") && text.contains(why), "{cap}: {text}");
        }
        std::fs::write(
            &bench.policy,
            super::LENIENT.replace(&format!("{cap} = \"allow\""), &format!("{cap} = \"refuse\"")),
        )
        .unwrap();
        if cap == "simulated" || hosts {
            assert_eq!(bench.verdict(&["--store", "own"]).0, "refused", "{cap}");
        }
    }
}

#[test]
fn the_current_model_is_what_the_next_one_is_held_against() {
    let bench = bench();
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    let asks = format!(
        "{}\n[gain_over_incumbent]\nabove = 0.0\n[worst_cell]\nmargin = 1.0\nmin_windows = 5\nmin_episodes = 1\nby = \"point\"\n[latency]\np99_ms = 10000.0\n",
        super::LENIENT
    );
    std::fs::write(&bench.policy, &asks).unwrap();
    // Itself: no gain. The constant predictor: a loss.
    let (verdict, refused) = bench.verdict(&["--store", "own"]);
    assert_eq!((verdict.as_str(), refused), ("refused", vec!["gain over current model".to_owned()]));
    let constant = bench.folder.path().join("constant");
    train("constant", &constant, &[]);
    let judged = bench.gate_run(&constant, &["--store", "own", "--promote"]);
    assert_eq!(judged.status.code(), Some(1));
    assert!(stdout(&judged).contains("keep the current model"), "{}", stdout(&judged));

    // Tested on other windows: taken on trust there is nothing to compare; from the store it scores them.
    let other = bench.folder.path().join("other-host");
    train("gbt", &other, &[&QUICK_GBT[..], &["--seed", "7"]].concat());
    let moved = bench.gate_run(&other, &["--dry-run", "--store", "own", "--json"]);
    let value = json(&moved);
    let criteria = value["bundle"]["criteria"].as_array().unwrap();
    let gain = criteria.iter().find(|one| one["name"] == "gain over current model").unwrap();
    assert!(gain["value"].is_f64(), "{gain}");
    assert!(criteria.iter().any(|one| one["name"] == "latency" && one["outcome"] == "met"));
}

#[test]
fn a_cell_of_the_ledger_that_was_not_tested_is_refused_where_a_policy_asks_for_it() {
    let bench = bench();
    let metrics: Value = serde_json::from_slice(&std::fs::read(bench.run.join("metrics.json")).unwrap()).unwrap();
    let tested = metrics["held_out"][0].as_str().unwrap();
    let trained = metrics["trained_on"]["hosts"][0].as_str().unwrap();
    let ask = |host: &str| {
        let cells = format!("[[coverage]]\nhost = \"{host}\"\nmin_windows = 1\nmin_episodes = 1\n");
        std::fs::write(&bench.policy, format!("{}{cells}", super::LENIENT)).unwrap();
        bench.gate(&["--dry-run", "--store", "own"])
    };
    assert!(stdout(&ask(tested)).contains("verdict: deployable"), "{}", stdout(&ask(tested)));
    for host in [trained, "each"] {
        let judged = ask(host);
        let text = stdout(&judged);
        assert_eq!(judged.status.code(), Some(1), "{text}");
        assert!(
            text.contains(&format!("any / {trained} / any has 0 of 0")) && text.contains("hold out hosts"),
            "{text}"
        );
    }
}

#[test]
fn what_was_never_tested_is_refused() {
    let bench = bench();
    let refit = bench.folder.path().join("refit");
    train("gbt", &refit, &[&QUICK_GBT[..], &["--refit-all"]].concat());
    let judged = bench.gate_run(&refit, &["--dry-run", "--store", "own"]);
    assert_eq!(judged.status.code(), Some(1), "{}", stderr(&judged));
    assert!(stdout(&judged).contains("tested on none"), "{}", stdout(&judged));
}

#[test]
fn the_seed_that_came_out_best_is_not_the_run() {
    let bench = bench();
    let seeds = bench.folder.path().join("seeds");
    train("gbt", &seeds, &[&QUICK_GBT[..], &["--seed", "5,6"]].concat());
    let fold = std::fs::read_dir(&seeds).unwrap().flatten().map(|e| e.path()).find(|p| p.is_dir()).unwrap();
    let whole = bench.gate_run(&seeds, &["--dry-run"]);
    assert_eq!(whole.status.code(), Some(2));
    assert!(stderr(&whole).contains("many folds: name one"), "{}", stderr(&whole));
    let second = bench.gate_run(&fold.join("seed-6"), &["--dry-run"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stdout(&second).contains("the run declares 5 first"), "{}", stdout(&second));
    // Taken away from its neighbours it is what it was.
    let moved = bench.folder.path().join("moved");
    super::copy(&fold.join("seed-6"), &moved);
    let second = bench.gate_run(&moved, &["--dry-run", "--store", "own"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stdout(&second).contains("the run declares 5 first"), "{}", stdout(&second));
    let first = bench.gate_run(&fold.join("seed-5"), &["--dry-run", "--store", "own"]);
    assert!(first.status.success() && stdout(&first).contains("deployable"), "{}", stdout(&first));
}
