//! Many processes at one registry, and processes that are killed.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{bench, train};
use crate::harness::{command, path, stdout};

#[test]
fn promotions_by_many_processes_lose_nothing() {
    const RUNS: usize = 6;
    let bench = bench();
    bench.ask_nothing();
    let runs: Vec<_> = (0..RUNS).map(|i| bench.folder.path().join(format!("constant-{i}"))).collect();
    for (i, run) in runs.iter().enumerate() {
        train("constant", run, &["--seed", &i.to_string()]);
    }
    let start = |run: &std::path::PathBuf| {
        let words =
            ["gate", "--quiet", path(run), "--policy", path(&bench.policy), "--registry", path(&bench.registry)];
        command(words.iter().chain(&["--store", "own", "--promote"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = runs.iter().map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list: Value = serde_json::from_slice(&bench.models(&["list", "--json"]).stdout).unwrap();
    assert_eq!(list["pointer"]["revision"], RUNS);
    let states: Vec<&str> = list["models"].as_array().unwrap().iter().map(|m| m["state"].as_str().unwrap()).collect();
    assert_eq!(states.len(), RUNS);
    assert_eq!(states.iter().filter(|state| **state == "current").count(), 1);
    let log: Value = serde_json::from_slice(&bench.models(&["log", "--json"]).stdout).unwrap();
    assert_eq!(log.as_array().unwrap().len(), RUNS);
}

#[test]
fn one_candidate_promoted_by_many_processes_is_deployed_once_and_found_by_all() {
    const PROCESSES: usize = 6;
    let bench = bench();
    bench.ask_nothing();
    let run = bench.folder.path().join("constant");
    train("constant", &run, &[]);
    assert!(bench.gate_run(&run, &[]).status.success());
    let list: Value = serde_json::from_slice(&bench.models(&["list", "--json"]).stdout).unwrap();
    let id = list["models"][0]["id"].as_str().unwrap().to_owned();
    let start = |_| {
        let words = ["models", "promote", &id[..12], "--quiet", "--policy", path(&bench.policy), "--store", "own"];
        command(words.iter().chain(&["--registry", path(&bench.registry)]))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let list: Value = serde_json::from_slice(&bench.models(&["list", "--json"]).stdout).unwrap();
    assert_eq!((&list["pointer"]["revision"], list["models"].as_array().unwrap().len()), (&1.into(), 1));
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_whole_registry() {
    let bench = bench();
    bench.ask_nothing();
    let runs: Vec<_> = (0..2).map(|i| bench.folder.path().join(format!("constant-{i}"))).collect();
    for (i, run) in runs.iter().enumerate() {
        train("constant", run, &["--seed", &(10 + i).to_string()]);
    }
    for (i, delay) in [40u64, 120, 200, 300, 420, 600, 900].into_iter().enumerate() {
        let run = &runs[i % 2];
        let words =
            ["gate", "--quiet", path(run), "--policy", path(&bench.policy), "--registry", path(&bench.registry)];
        let mut child = command(words.iter().chain(&["--store", "own", "--promote"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::park_timeout(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if bench.registry.join("current").is_dir() {
            let list = bench.models(&["list"]);
            assert!(list.status.success(), "{}", stdout(&list));
            assert!(bench.models(&["log"]).status.success());
            if !stdout(&list).contains("nothing is deployed") {
                assert!(bench.models(&["show"]).status.success());
            }
        }
    }
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    let left = std::fs::read_dir(&bench.registry).unwrap().flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")), "what was killed is swept up");
}
