//! `predict --stdin` against `predict` on a store.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::{QUICK_GBT, QUICK_GRU, command, path, stakeout, stderr, stdout, store};

fn train(folder: &Path, name: &str, model: &str, more: &[&str]) -> PathBuf {
    let out = folder.join(name);
    let words =
        ["train", "--quiet", "--model", model, "--split", "host", "--store", path(store()), "--out", path(&out)];
    let run = stakeout(words.iter().chain(more));
    assert!(run.status.success(), "{}", stderr(&run));
    out
}

/// Feeds a child and waits for it.
fn pipe(words: &[&str], input: &[u8]) -> Output {
    let mut child = command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // A child that ends early closes its end.
    let feeder = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().expect("it ends");
    feeder.join().expect("it does not panic");
    output
}

fn stream(run: &Path, more: &[&str], input: &[u8]) -> Output {
    pipe(&[&["predict", "--quiet", path(run), "--stdin"], more].concat(), input)
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// The rows of an episode as they came: every file's lines, in the order of their times.
fn rows(episode: &str, sources: &[&str]) -> Vec<u8> {
    let mut rows: Vec<(i64, String)> = Vec::new();
    for name in sources {
        let file = store().join("episodes").join(episode).join(name);
        let plain = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for line in String::from_utf8(plain).expect("telemetry is UTF-8").lines() {
            let row: Value = serde_json::from_str(line).expect("a row");
            rows.push((row["t_wall_ns"].as_i64().expect("a time"), line.to_owned()));
        }
    }
    rows.sort_by_key(|row| row.0);
    rows.into_iter().flat_map(|(_, line)| [line.into_bytes(), vec![b'\n']]).flatten().collect()
}

const DEPLOYABLE: [&str; 2] = ["telemetry-guest.jsonl", "netflow.jsonl"];
const ALL: [&str; 4] = ["telemetry-proc.jsonl", "telemetry-qmp.jsonl", "telemetry-guest.jsonl", "netflow.jsonl"];

/// Accepted episodes with what the store path says of their windows.
fn stored(run: &Path) -> Vec<(String, String, Vec<Value>)> {
    let predicted = stakeout(["predict", "--quiet", path(run), path(store())]);
    assert!(predicted.status.success(), "{}", stderr(&predicted));
    let mut episodes: Vec<(String, String, Vec<Value>)> = Vec::new();
    for line in lines(&predicted) {
        let [id, host] = ["episode", "host"].map(|key| line[key].as_str().expect("a name").to_owned());
        if episodes.last().is_none_or(|last| last.0 != id) {
            episodes.push((id, host, Vec::new()));
        }
        episodes.last_mut().expect("one was added").2.push(line);
    }
    episodes
}

/// The windows that both know say the same. The store knows when an episode began and ended, a stream its rows alone: a
/// window at either end may be one path's only.
fn assert_same(streamed: &[Value], stored: &[Value], what: &str) -> usize {
    let mut both = 0;
    for window in streamed {
        let Some(known) = stored.iter().find(|known| known["t0_ns"] == window["t0_ns"]) else { continue };
        both += 1;
        assert_eq!(window["predicted"], known["predicted"], "{what}");
        assert_eq!(window["simulated"], true);
        let (got, expected) =
            (window["probabilities"].as_object().unwrap(), known["probabilities"].as_object().unwrap());
        assert!(got.keys().eq(expected.keys()));
        for (class, probability) in got {
            let apart = (probability.as_f64().unwrap() - expected[class].as_f64().unwrap()).abs();
            assert!(apart <= 1e-6, "{what}: {class} of {} is {apart} apart", window["t0_ns"]);
        }
    }
    assert!(both + 2 >= stored.len() && both + 1 >= streamed.len(), "{what}: {both} of {}", stored.len());
    both
}

#[test]
fn a_piped_episode_gives_what_the_stored_one_gives() {
    let folder = tempfile::tempdir().unwrap();
    let calibrated = [&QUICK_GRU[..], &["--set", "calibration=dirichlet"]].concat();
    let oracle = [&QUICK_GBT[..], &["--view", "oracle"]].concat();
    for (model, more, sources) in
        [("gru", &calibrated[..], &DEPLOYABLE[..]), ("gbt", &QUICK_GBT, &ALL), ("gbt", &oracle, &ALL)]
    {
        let run = train(folder.path(), &format!("{model}-{}", more.len()), model, more);
        let mut compared = 0;
        for (id, _, windows) in stored(&run).iter().step_by(7) {
            let output = stream(&run, &["--patience", "300"], &rows(id, sources));
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            compared += assert_same(&lines(&output), windows, &format!("{model} {id}"));
        }
        assert!(compared > 50, "{compared}");
    }
}

#[test]
fn a_model_scaled_by_host_needs_to_be_told_what_is_normal() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "clean", "gbt", &[&QUICK_GBT[..], &["--scaler", "host-clean"]].concat());
    let episodes = stored(&run);
    let (id, host, windows) = &episodes[episodes.len() / 2];
    let input = rows(id, &DEPLOYABLE);
    let refused = stream(&run, &[], &input);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--calibration FILE") && stdout(&refused).is_empty(), "{}", stderr(&refused));
    let unknown = stream(&run, &["--host", "nobody"], &input);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains(host.as_str()), "{}", stderr(&unknown));

    let named = stream(&run, &["--host", host, "--patience", "300"], &input);
    assert_eq!(named.status.code(), Some(0), "{}", stderr(&named));
    assert_same(&lines(&named), windows, id);

    let clean = folder.path().join("clean.jsonl");
    std::fs::write(&clean, &input).unwrap();
    let from_file = stream(&run, &["--calibration", path(&clean), "--patience", "300"], &input);
    assert_eq!(from_file.status.code(), Some(0), "{}", stderr(&from_file));
    assert_eq!(lines(&from_file).len(), lines(&named).len());
    std::fs::write(&clean, "{}\n").unwrap();
    let broken = stream(&run, &["--calibration", path(&clean)], &input);
    assert_eq!(broken.status.code(), Some(2));
    assert!(stderr(&broken).contains("line 1: missing_key"), "{}", stderr(&broken));

    let plain = train(folder.path(), "plain", "constant", &[]);
    let needless = stream(&plain, &["--host", host], &input);
    assert_eq!(needless.status.code(), Some(2));
}

#[test]
fn bad_lines_are_dropped_counted_and_named_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "gbt", "gbt", &QUICK_GBT);
    let (id, _, _) = stored(&run).swap_remove(3);
    let good = rows(&id, &DEPLOYABLE);
    let expected = lines(&stream(&run, &[], &good));
    assert!(expected.len() > 3);
    let mut bad = b"not json\n\xff\xfe\n\n".to_vec();
    bad.extend(vec![b'x'; 3 << 20]);
    bad.extend_from_slice(b"\n{\"source\":\"nowhere\"}\n");
    for (i, line) in good.split_inclusive(|byte| *byte == b'\n').enumerate() {
        bad.extend_from_slice(line);
        if i % 50 == 49 {
            bad.extend_from_slice(line); // not after the row before
            bad.extend_from_slice(&line[..line.len() / 2]);
            bad.push(b'\n');
        }
        if i == 70 {
            let far =
                br#"{"t_mono_ns":0,"t_wall_ns":9223372036854775807,"source":"guest","available_in_deployment":true}"#;
            bad.extend_from_slice(far);
            bad.push(b'\n');
        }
    }
    bad.extend_from_slice(b"{\"cut");
    let output = stream(&run, &[], &bad);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(lines(&output), expected);
    let told = stderr(&output);
    for part in
        ["line 1: dropped, bad_json", "line 2: dropped, not_utf8", "line 4: dropped, line_too_long", "1 outside_span"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(told.contains("wall_clock_regress") && told.lines().count() < 60, "{told}");

    let nothing = stream(&run, &[], b"");
    assert_eq!((nothing.status.code(), stdout(&nothing)), (Some(0), String::new()));
    let misused = pipe(&["predict", path(&run), path(store()), "--stdin"], b"");
    assert_eq!(misused.status.code(), Some(2));
    let neither = pipe(&["predict", path(&run)], b"");
    assert_eq!(neither.status.code(), Some(2));
}

#[test]
fn a_prediction_is_out_before_the_stream_ends_and_missing_channels_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "oracle", "gbt", &[&QUICK_GBT[..], &["--view", "oracle"]].concat());
    let (id, _, _) = stored(&run).swap_remove(2);
    let input = rows(&id, &DEPLOYABLE);
    let mut child = command(["predict", "--quiet", path(&run), "--stdin", "--patience", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    stdin.write_all(&input).unwrap();
    stdin.flush().unwrap();
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(serde_json::from_str::<Value>(&first).unwrap()["probabilities"].is_object(), "{first}");
    drop(stdin);
    let rest: Vec<String> = out.lines().map(Result::unwrap).collect();
    assert!(!rest.is_empty());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("17 of the model's 46 channels have not come"), "{}", stderr(&output));
}

/// A detector whose sensors are misnamed must not say that all is well, nor that anything is wrong.
#[test]
fn rows_without_any_of_the_models_channels_are_a_finding_and_no_class() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "blind", "gbt", &QUICK_GBT);
    let (id, _, _) = stored(&run).swap_remove(2);
    let rows = String::from_utf8(rows(&id, &DEPLOYABLE)).unwrap();
    let misnamed: Vec<String> = rows
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let known = ["t_mono_ns", "t_wall_ns", "source", "available_in_deployment"];
            let renamed = row.as_object().unwrap().iter().map(|(key, value)| {
                let name = if known.contains(&key.as_str()) { key.clone() } else { format!("x_{key}") };
                (name, value.clone())
            });
            Value::Object(renamed.collect()).to_string()
        })
        .collect();
    let output = stream(&run, &[], (misnamed.join("\n") + "\n").as_bytes());
    let windows = lines(&output);
    assert!(!windows.is_empty(), "{}", stderr(&output));
    // amounts that a source did not speak of are zeros
    assert!(windows.iter().all(|window| window["predicted"].is_null()), "{windows:?}");
    assert!(windows.iter().all(|window| window["observed"].as_f64().unwrap() < 0.5), "{windows:?}");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("29 of the model's 29 channels have not come"), "{}", stderr(&output));
}
