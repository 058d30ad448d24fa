//! `export`, and `import xgboost`.

use std::path::Path;

use serde_json::Value;

use crate::harness::{QUICK_GBT, QUICK_GRU, path, stakeout, stderr, stdout, store};

fn train(model: &str, run: &Path, quick: &[&str], scaler: &str) {
    let scaler = format!("scaler={scaler}");
    let words = ["train", "--quiet", "--model", model, "--split", "host", "--store", path(store()), "--out", path(run)];
    let more = ["--set", &scaler, "--set", "window.partial=mask"];
    let trained = stakeout(words.iter().chain(quick).chain(&more));
    assert!(trained.status.success(), "{}", stderr(&trained));
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_net_leaves_as_a_graph_with_test_vectors_and_as_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train("gru", &run, &QUICK_GRU, "global");
    let onnx = stakeout(["export", path(&run), "--to", "onnx", "--cases", "9"]);
    assert!(onnx.status.success(), "{}", stderr(&onnx));
    assert!(stderr(&onnx).contains("SIMULATED DATA"), "{}", stderr(&onnx));
    assert!(stdout(&onnx).contains("values float [windows, 29, 20] raw with NaN"), "{}", stdout(&onnx));
    assert!(run.join("model.onnx").exists());
    let cases = read(&run.join("model.onnx.cases.json"));
    assert_eq!(cases["shape"], serde_json::json!([9, 29, 20]));
    assert_eq!(cases["values"].as_array().unwrap().len(), 9 * 29 * 20);
    assert!(cases["values"].as_array().unwrap().iter().any(Value::is_null), "gaps are part of the test");
    let lengths: Vec<u64> = cases["lengths"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert!(lengths.iter().any(|length| *length < 20) && lengths.contains(&20), "{lengths:?}");
    for row in cases["probabilities"].as_array().unwrap() {
        let sum: f64 = row.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
    // the same again is the same, and nothing is replaced unasked
    let before = std::fs::read(run.join("model.onnx")).unwrap();
    let again = stakeout(["export", path(&run), "--to", "onnx"]);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert!(stderr(&again).contains("--force"));
    assert!(stakeout(["export", "--quiet", path(&run), "--to", "onnx", "--force"]).status.success());
    assert_eq!(before, std::fs::read(run.join("model.onnx")).unwrap());

    let weights = stakeout(["export", "--json", "--quiet", path(&run.join("checkpoint.stk")), "--to", "safetensors"]);
    assert!(weights.status.success(), "{}", stderr(&weights));
    let said: Value = serde_json::from_str(&stdout(&weights)).unwrap();
    assert_eq!(said["file"], path(&run.join("checkpoint.safetensors")));
    let refused = stakeout(["export", path(&run), "--to", "xgboost"]);
    assert_eq!(refused.status.code(), Some(2));
    let text = stderr(&refused);
    assert!(text.contains("gru cannot be written as xgboost, but as onnx, safetensors"), "{text}");
    // a run that starts over takes its exports with it
    let words = ["train", "--quiet", "--model", "constant", "--split", "host", "--force"];
    let over = stakeout(words.iter().chain(&["--store", path(store()), "--out", path(&run)]));
    assert!(over.status.success(), "{}", stderr(&over));
    assert!(!run.join("model.onnx").exists() && !run.join("model.onnx.cases.json").exists());
}

#[test]
fn trees_go_to_xgboost_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (run, back) = (folder.path().join("run"), folder.path().join("back.stk"));
    train("gbt", &run, &QUICK_GBT, "none");
    let out = stakeout(["export", "--quiet", path(&run), "--to", "xgboost", "--cases", "12"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let model = run.join("model.xgboost.json");
    let imported = stakeout(["import", "xgboost", "--quiet", path(&model), path(&back)]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    assert!(stdout(&imported).contains("untested"), "{}", stdout(&imported));
    let words = ["export", "--quiet", path(&back), "--to", "xgboost", "--cases", "12", "--store", path(store())];
    let again = stakeout(words);
    assert!(again.status.success(), "{}", stderr(&again));
    let (before, after) =
        (read(&run.join("model.xgboost.json.cases.json")), read(&folder.path().join("back.xgboost.json.cases.json")));
    assert_eq!(before["values"], after["values"]);
    assert_eq!(before["probabilities"], after["probabilities"]);

    // the same windows, scored by the run and by the imported checkpoint
    let by_run = stakeout(["predict", "--quiet", path(&run), path(store())]);
    let by_checkpoint = stakeout(["predict", "--quiet", path(&back), path(store())]);
    assert!(by_checkpoint.status.success(), "{}", stderr(&by_checkpoint));
    assert_eq!(stdout(&by_run), stdout(&by_checkpoint));
}

#[test]
fn a_foreign_model_is_read_by_its_names_or_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.stk");
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/xgboost/multi.json");
    let import =
        |file: &Path, more: &[&str]| stakeout(["import", "xgboost", path(file), path(&out)].iter().chain(more));
    let refused = import(&foreign, &[]);
    assert_eq!(refused.status.code(), Some(2));
    let text = stderr(&refused);
    for needle in ["the model has 3 classes, the schema 5", "guest.channel_1.std, is none of the schema", "--schema"] {
        assert!(text.contains(needle), "no `{needle}` in {text}");
    }
    let file = folder.path().join("y.json");
    std::fs::write(&file, "{\"learner\": {").unwrap();
    assert_eq!(import(&file, &[]).status.code(), Some(2));
    assert_eq!(import(Path::new("nowhere.json"), &[]).status.code(), Some(2));
    assert!(!out.exists());

    // the built-in channels by name, and a model without names only with a schema
    let mut model: Value = serde_json::from_slice(&std::fs::read(&foreign).unwrap()).unwrap();
    model["learner"]["feature_names"] = serde_json::json!(vec!["guest.load1.mean"; 6]);
    std::fs::write(&file, model.to_string()).unwrap();
    let text = stderr(&import(&file, &[]));
    assert!(text.contains("are both guest.load1.mean"), "{text}");
    model["learner"]["feature_names"] = serde_json::json!([]);
    std::fs::write(&file, model.to_string()).unwrap();
    let text = stderr(&import(&file, &[]));
    assert!(text.contains("names no features: say with --schema"), "{text}");
}

#[test]
fn a_scaler_of_each_host_needs_a_host() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train("gbt", &run, &QUICK_GBT, "host-clean");
    let none = stakeout(["export", path(&run), "--to", "onnx"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("add --host NAME (host-01"), "{}", stderr(&none));
    let one = stakeout(["export", "--quiet", path(&run), "--to", "onnx", "--host", "host-01"]);
    assert!(one.status.success(), "{}", stderr(&one));
}
