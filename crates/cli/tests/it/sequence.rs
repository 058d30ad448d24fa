//! `stakeout sequence`: made-up and real sequences, hostile files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{path, stakeout, stderr, stdout};

fn json(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn line(actions: &[&str], label: u8) -> String {
    json!({ "features": { "sequence": actions }, "label": label }).to_string()
}

#[test]
fn made_up_sequences_are_headed_simulated_and_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a.json", "b.json"].map(|name| folder.path().join(name));
    let train = |out: &Path, more: &[&str]| {
        let words = ["sequence", "train", "--model-type", "anomaly", "--num-samples", "1500", "--epochs", "50"];
        stakeout(words.iter().chain(&["--seed", "7", "--batch-size", "32", "--out", path(out)]).chain(more))
    };
    let first = train(&a, &["--hold-out", "0.2", "--resamples", "100"]);
    assert!(first.status.success(), "{}", stderr(&first));
    let text = stdout(&first);
    assert!(text.starts_with("SIMULATED") && text.contains("held out by different sequence"), "{text}");
    assert!(text.contains("constant") && text.contains("calibration error"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(stderr(&first).contains("--batch-size changes nothing"), "{}", stderr(&first));
    assert_eq!(train(&b, &["--hold-out", "0.2", "--threads", "1"]).status.code(), Some(0));
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());

    let again = train(&a, &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
}

#[test]
fn a_file_is_learnt_scored_evaluated_updated_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (folder.path().join("a.jsonl"), folder.path().join("m.json"));
    let steps = ["open", "read", "read", "write", "close", "sync"];
    let quiet = |i: usize| {
        let actions: Vec<&str> = (0..4 + i % 5).map(|k| steps[(i / 5 + k) % 6]).collect();
        line(&actions, 0)
    };
    let mut lines: Vec<String> = (0..400).map(quiet).collect();
    lines.extend((0..40).map(|i| line(&["open", "scan", steps[i % 6], "scan", steps[i % 5], "exfil"], 1)));
    std::fs::write(&data, lines.join("\n")).unwrap();
    let made = json(&stakeout(["sequence", "train", path(&data), "--out", path(&model), "--far", "0.05", "--json"]));
    assert_eq!((&made["classes"], &made["simulated"]), (&json!("two"), &json!(false)));
    let crossed = &made["cross_fitted"];
    assert!(crossed["model"]["auroc"]["point"].as_f64().unwrap() > 0.9, "{crossed}");
    assert_eq!(crossed["constant"]["f1"]["point"], json!(0.0));

    let odd = folder.path().join("odd.jsonl");
    let unlabelled = r#"{"features":{"sequence":["\u001b[2J","日本",17]}}"#;
    std::fs::write(&odd, format!("{unlabelled}\n{}\n", line(&[], 0))).unwrap();
    let scored = stakeout(["sequence", "score", path(&model), path(&odd)]);
    let rows: Vec<Value> = stdout(&scored).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["row"], &rows[0]["label"]), (2, &json!(1), &json!(1)));
    for row in &rows {
        let p = row["probability"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&p) && row["confidence"].as_f64() == Some(p.max(1.0 - p)), "{row}");
        assert!(row["score"].is_f64() && row["features"]["rarity"].is_f64(), "{row}");
    }

    let eval = stakeout(["sequence", "eval", path(&model), path(&data), "--resamples", "100"]);
    assert!(
        stdout(&eval).contains("440 sessions, 40 anomalous") && stdout(&eval).contains("AUROC"),
        "{}",
        stdout(&eval)
    );
    let none = stakeout(["sequence", "eval", path(&model), path(&odd), "--threshold", "1.5"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("threshold"), "{}", stderr(&none));

    let before = std::fs::read(&model).unwrap();
    let words = ["sequence", "train", path(&odd), "--update", path(&model), "--out", path(&model), "--json"];
    let updated = json(&stakeout(words));
    assert_eq!((&updated["added"], &updated["left_out"], &updated["new_actions"]), (&json!(1), &json!(1), &json!(3)));
    assert_ne!(std::fs::read(&model).unwrap(), before);

    let usual = folder.path().join("usual.jsonl");
    std::fs::write(&usual, lines[..400].join("\n")).unwrap();
    let watch = |data: &Path| stakeout(["sequence", "drift", path(&model), path(&usual), path(data)]);
    assert_eq!(watch(&usual).status.code(), Some(0), "{}", stdout(&watch(&usual)));
    // its last forty are anomalous
    let risen = watch(&data);
    assert!(risen.status.code() == Some(1) && stdout(&risen).contains("score has risen"), "{}", stdout(&risen));
    // Time enough on quiet days, all at once on another: a burst, and nothing else.
    let timed = |name: &str, step: u64| {
        let file = folder.path().join(name);
        let row = |(i, line): (usize, &String)| {
            let t = 1_700_000_000_000_000_000 + i as u64 * step;
            line.replacen('{', &format!("{{\"t_wall_ns\":{t},"), 1)
        };
        std::fs::write(&file, lines[..400].iter().enumerate().map(row).collect::<Vec<_>>().join("\n")).unwrap();
        file
    };
    let (slow, fast) = (timed("slow.jsonl", 60_000_000_000), timed("fast.jsonl", 1_000_000));
    let silent = folder.path().join("silent.jsonl");
    std::fs::write(&silent, "").unwrap();
    let output = watch(&silent);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("silent"), "{}", stderr(&output));
    let clocked = |data: &Path| stakeout(["sequence", "drift", path(&model), path(&slow), path(data)]);
    assert_eq!(clocked(&slow).status.code(), Some(0), "{}", stdout(&clocked(&slow)));
    let crowd = clocked(&fast);
    assert!(crowd.status.code() == Some(1) && stdout(&crowd).contains("sequences a second"), "{}", stdout(&crowd));
    assert_eq!(clocked(&usual).status.code(), Some(0), "without a clock there is no rate");
    let strange = folder.path().join("strange.jsonl");
    std::fs::write(&strange, vec![line(&["exfil", "scan", "scan"], 0); 250].join("\n")).unwrap();
    let found = watch(&strange);
    assert_eq!(found.status.code(), Some(1));
    assert!(stdout(&found).contains("PSI") && stdout(&found).contains("fill no window"), "{}", stdout(&found));
}

#[test]
fn updates_of_many_processes_at_once_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (folder.path().join("a.jsonl"), folder.path().join("m.json"));
    let made = stakeout(["sequence", "train", "--num-samples", "400", "--out", path(&model)]);
    assert!(made.status.success(), "{}", stderr(&made));
    std::fs::write(&data, [line(&["open", "read"], 0), line(&["open"], 0)].join("\n")).unwrap();
    let words = ["sequence", "train", path(&data), "--update", path(&model), "--out", path(&model), "--json"];
    let running: Vec<_> = (0..12)
        .map(|_| {
            let mut command = crate::harness::command(words);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let model: Value = serde_json::from_slice(&std::fs::read(&model).unwrap()).unwrap();
    assert_eq!(model["training"]["updated"], json!(24), "12 processes added 2 sequences each");
}

#[test]
fn hostile_and_damaged_files_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |words: &[&str], expected: &str| {
        let run = stakeout(words.iter().copied());
        let said = stderr(&run);
        assert_eq!(run.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(expected) && !said.contains('\u{1b}') && said.len() < 1200, "{words:?}: {said}");
    };
    let (bad, model) = (at("bad.jsonl"), at("m.json"));
    let good = line(&["open"], 0);
    for (text, expected) in [
        (format!("{good}\n{{\"features\":{{\"sequence\":[\"a\""), "bad.jsonl:2: "),
        (format!("{good}\n{}", line(&[&"\u{1b}[2Jx".repeat(2_000_000)], 0)), "10000000 bytes"),
        (format!("{good}\n{}", good.replace(":0", ":7")), "bad.jsonl:2: "),
        (good.clone(), "at least 10 are needed"),
        (String::new(), "0 different normal sequences"),
        ("{\"features\":{\"sequence\":[\"open\"]}}".to_owned(), "usual; 1 without a label were left out"),
    ] {
        std::fs::write(&bad, text).unwrap();
        refused(&["sequence", "train", path(&bad), "--out", path(&model)], expected);
    }
    assert!(!model.exists(), "nothing was written");
    refused(&["sequence", "train", path(&at("absent.jsonl")), "--out", path(&model)], "absent.jsonl");
    refused(&["sequence", "train", path(folder.path()), "--out", path(&model)], "not a regular file");
    refused(&["sequence", "train", "--threshold", "x", "--out", path(&model)], "best-f1");
    refused(&["sequence", "train", "--far", "0.000001", "--num-samples", "300", "--out", path(&model)], "are needed");
    refused(&["sequence", "train", path(&bad), "--where", "split=train", "--out", path(&model)], "parquet");
    std::fs::write(at("bad.parquet"), b"PAR1 and nothing").unwrap();
    refused(&["sequence", "train", path(&at("bad.parquet")), "--out", path(&model)], "bad.parquet");

    let made = stakeout(["sequence", "train", "--num-samples", "400", "--out", path(&model)]);
    assert!(made.status.success(), "{}", stderr(&made));
    let text = std::fs::read_to_string(&model).unwrap();
    std::fs::write(&bad, &good).unwrap();
    for (damaged, expected) in [
        (text[..text.len() / 2].to_owned(), "cut off"),
        (text.replacen("\"version\":1", "\"version\":9", 1), "version 9 is newer"),
        (text.replacen("\"version\":1", "\"version\":0", 1), "version 0 is older"),
        ("{}".to_owned(), "m.json:1: "),
    ] {
        std::fs::write(&model, &damaged).unwrap();
        refused(&["sequence", "score", path(&model), path(&bad)], expected);
        refused(&["sequence", "train", path(&bad), "--update", path(&model), "--out", path(&model)], expected);
        assert_eq!(std::fs::read_to_string(&model).unwrap(), damaged, "a damaged model stays as it is");
    }
}

#[test]
fn hdfs_from_the_command_line() {
    let root = std::env::var_os("STAKEOUT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let table = root.join("hdfs_log_keys/hdfs100k_sessions.parquet");
    if !table.is_file() {
        println!("skipped: {} is not here (set STAKEOUT_DATA)", table.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("hdfs.json");
    let columns = ["--sequence-column", "keys", "--label-column", "anomalous", "--where"];
    let train = ["sequence", "train", path(&table), "--out", path(&model), "--threshold", "best-f1"];
    let made = stakeout(train.iter().chain(&columns).chain(&["split=train"]));
    assert!(made.status.success(), "{}", stderr(&made));
    let eval = ["sequence", "eval", path(&model), path(&table), "--resamples", "200", "--json"];
    let found = json(&stakeout(eval.iter().chain(&columns).chain(&["split=test"])));
    let figure = |name: &str| found["figures"]["model"][name]["point"].as_f64().unwrap();
    assert!(figure("f1") >= 0.674 && figure("auroc") >= 0.763, "{found}");
}
