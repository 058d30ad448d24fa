//! Baselines end to end: a store and a table, learnt and scored.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{path, stakeout, stderr, stdout, store};

fn json(words: &[&str]) -> Value {
    let output = stakeout(words.iter().copied().chain(["--quiet", "--json"]));
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn refused(words: &[&str]) -> String {
    let output = stakeout(words.iter().copied().chain(["--quiet"]));
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}{}", stdout(&output), stderr(&output));
    assert_eq!(stdout(&output), "");
    stderr(&output)
}

/// Rows of two hosts; every 20th is an outlier of the second column.
fn table(folder: &Path) -> String {
    let mut text = String::from("host,part,a,b,y\n");
    for i in 0..4000u32 {
        let noise = |salt: u32| f64::from(i.wrapping_add(salt).wrapping_mul(2_654_435_761) >> 12) / 1_048_576.0;
        let outlier = i >= 3000 && i % 20 < 2;
        let (host, part) = (["pi-3", "pi-4"][i as usize % 2], if i < 3000 { "train" } else { "test" });
        let b = noise(900) + if outlier { 5.0 } else { 0.0 };
        writeln!(text, "{host},{part},{},{b},{}", noise(5) * 40.0, u8::from(outlier)).unwrap();
    }
    let file = folder.join("t.csv");
    fs::write(&file, text).unwrap();
    path(&file).to_owned()
}

#[test]
fn a_store_is_learnt_and_scored_by_host() {
    let folder = tempfile::tempdir().unwrap();
    let (file, lines) = (folder.path().join("b.json"), folder.path().join("scores.jsonl"));
    let store = path(store());
    for method in ["diagonal", "robust", "trimmed", "shrunk"] {
        let words = ["baseline", "train", store, "--out", path(&file), "--method", method, "--far", "0.02", "--force"];
        let learnt = json(&words);
        let hosts = learnt["hosts"].as_array().unwrap();
        assert_eq!(
            (hosts.len(), learnt["dimensions"].as_u64(), &learnt["simulated"]),
            (6, Some(145), &Value::Bool(true))
        );
        for host in hosts {
            assert!(host["n"].as_u64().unwrap() >= 30, "{host}");
            assert!(host["threshold"]["threshold"].as_f64().unwrap() > 0.0, "{host}");
            assert!((host["false_alarms_per_day"].as_f64().unwrap() / 17_280.0) <= 0.0201, "{host}");
        }
        let first = fs::read(&file).unwrap();
        json(&words);
        assert_eq!(fs::read(&file).unwrap(), first, "the same store gives the same bytes");
        let scored = json(&["baseline", "score", path(&file), store, "--out", path(&lines), "--force"]);
        let mean = scored["mean_over_hosts"]["AUROC"].as_f64().unwrap();
        assert!(mean > 0.6, "{method}: {mean}");
        let written = fs::read_to_string(&lines).unwrap();
        let vectors: u64 =
            scored["hosts"].as_array().unwrap().iter().map(|host| host["figures"]["vectors"].as_u64().unwrap()).sum();
        assert_eq!(written.lines().count() as u64, vectors);
        let outlier = written.lines().find(|line| line.contains("\"is_outlier\":true")).unwrap();
        let outlier: Value = serde_json::from_str(outlier).unwrap();
        assert!(outlier["z"].as_f64() > outlier["threshold"].as_f64());
        assert!(outlier["p_value"].as_f64().unwrap() <= 0.02 && outlier["t0_ns"].is_i64());
    }
    let text = stakeout(["baseline", "score", path(&file), store, "--quiet"]);
    assert!(stdout(&text).contains("best F1*") && stdout(&text).contains("an upper bound"), "{}", stdout(&text));
}

#[test]
fn a_table_is_learnt_and_scored_by_host() {
    let folder = tempfile::tempdir().unwrap();
    let (file, table) = (folder.path().join("b.json"), table(folder.path()));
    let train = ["baseline", "train", &table, "--out", path(&file), "--host", "host", "--label", "y"];
    let more = ["--where", "part=train", "--far", "0.01", "--seconds", "60"];
    let learnt = json(&[&train[..], &more].concat());
    let first = &learnt["hosts"][0];
    assert_eq!((first["host"].as_str(), first["threshold"]["kind"].as_str()), (Some("pi-3"), Some("conformal")));
    assert!(first["false_alarms_per_day"].as_f64().unwrap() <= 14.4);
    let scored = json(&["baseline", "score", path(&file), &table, "--where", "part=test", "--label", "y"]);
    let figures = &scored["hosts"][1]["figures"];
    assert_eq!((figures["auroc"].as_f64(), figures["recall"].as_f64()), (Some(1.0), Some(1.0)));
    assert!(figures["false_alarm_rate"].as_f64().unwrap() < 0.05, "{figures}");
    // Without labels outliers are counted; a host that was never seen is named.
    let text = fs::read_to_string(&table).unwrap().replace("pi-4", "new");
    let other = folder.path().join("other.csv");
    fs::write(&other, text).unwrap();
    let scored = stakeout(["baseline", "score", path(&file), path(&other)]);
    assert!(scored.status.success());
    assert!(stdout(&scored).contains("new: 2000 vectors have no score: there is no baseline of this host"));
    // One baseline of all knows every host.
    let pooled = json(&[&train[..], &["--ignore", "part", "--pool", "--force"]].concat());
    assert_eq!(pooled["hosts"].as_array().unwrap().len(), 1);
    let scored = json(&["baseline", "score", path(&file), path(&other), "--label", "y"]);
    assert_eq!(scored["hosts"][0]["figures"]["skipped"], serde_json::json!({}));
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (file, table) = (folder.path().join("b.json"), table(folder.path()));
    let train =
        ["baseline", "train", &table, "--out", path(&file), "--host", "host", "--label", "y", "--ignore", "part"];
    let with = |more: &[&str]| refused(&[&train[..], more].concat());
    assert!(with(&["--method", "magic"]).contains("use diagonal, robust, trimmed or shrunk"));
    assert!(with(&["--far", "0"]).contains("false-alarm budget"));
    assert!(with(&["--half-life", "-3"]).contains("half-life") || with(&["--half-life=-3"]).contains("half-life"));
    assert!(with(&["--threshold", "three"]).contains("use auto, conformal or parametric"));
    assert!(with(&["--where", "part"]).contains("is not COLUMN=VALUE"));
    assert!(with(&["--where", "part=none"]).contains("no normal vector"));
    let strict = with(&["--threshold", "conformal", "--far", "0.0001"]);
    assert!(strict.contains("host pi-3") && strict.contains("needs 9999 held-out blocks"), "{strict}");
    assert!(!file.exists());
    assert!(
        refused(&["baseline", "train", path(&folder.path().join("no.csv")), "--out", path(&file)]).contains("no.csv")
    );
    json(&train);
    assert!(with(&[]).contains("--force"), "a file is not replaced in silence");
    let score = |file: &Path, data: &str| refused(&["baseline", "score", path(file), data]);
    assert!(score(&file, path(store())).contains("is no table"));
    let whole = fs::read(&file).unwrap();
    let damaged = folder.path().join("damaged.json");
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let error = score(&damaged, &table);
    assert!(error.contains("damaged.json:1") && error.contains("stakeout baseline train"), "{error}");
    let newer = String::from_utf8(whole).unwrap().replacen("\"version\":1", "\"version\":9", 1);
    fs::write(&damaged, newer).unwrap();
    assert!(score(&damaged, &table).contains("version 9 is newer"));
    let other = folder.path().join("other.csv");
    fs::write(&other, "host,a\npi-3,1\n").unwrap();
    assert!(score(&file, path(&other)).contains("there is no column `b`"));
    fs::write(&other, "host,a,b\npi-9,1,2\n").unwrap();
    let nothing = stakeout(["baseline", "score", path(&file), path(&other)]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("no vector was scored"), "{}", stderr(&nothing));
}
