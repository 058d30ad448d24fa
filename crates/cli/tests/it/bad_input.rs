//! Bad input: a message that names the place and the remedy, the right exit code, nothing lost.

use std::fs;

use crate::harness::{QUICK_GBT, path, stakeout, stderr, store};

fn refused(words: &[&str], code: i32, needles: &[&str]) {
    let output = stakeout(words);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    for needle in needles {
        assert!(text.contains(needle), "{words:?}: no `{needle}` in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn usage() {
    let store = path(store());
    refused(
        &["train", "--model", "gruu", "--split", "host", "--store", store],
        2,
        &["gruu", "constant, ", "gbt, ", "gru"],
    );
    refused(&["train", "--model", "gbt", "--split", "hosts", "--store", store], 2, &["hosts", "leave-one-host-out"]);
    refused(
        &["train", "--model", "gbt", "--split", "host", "--store", store, "--device", "cuda"],
        2,
        &["flex and ndarray"],
    );
    refused(&["train", "--model", "gbt", "--split", "host", "--store", "nowhere"], 2, &["nowhere"]);
    refused(
        &["train", "--model", "gbt", "--split", "host", "--store", store, "--set", "model.gbt.max_dept=3"],
        2,
        &["max_dept", "did you mean `max_depth`"],
    );
    refused(
        &["train", "--model", "gbt", "--split", "host", "--store", store, "--set", "window.seconds=-1"],
        2,
        &["window.seconds"],
    );
    refused(&["train", "--model", "gbt", "--split", "host", "--store", store, "--set", "nonsense"], 2, &["key=value"]);
    refused(&["train", "--model", "gbt", "--split", "given", "--store", store], 2, &["given"]);
    refused(&["train", "--resume", store], 2, &["experiment.toml"]);
    refused(&["eval", store], 2, &["experiment.toml"]);
    refused(&["no-such-command"], 2, &["no-such-command"]);
}

#[test]
fn a_configuration_file_names_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, "seed = 1\n\n[window]\nstepps = 3\n").unwrap();
    refused(
        &["train", "--model", "gbt", "--split", "host", "--store", path(store()), "--config", path(&file)],
        2,
        &["x.toml:4", "did you mean `steps`"],
    );
}

#[test]
fn a_damaged_or_foreign_checkpoint_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let words =
        ["train", "--quiet", "--model", "gbt", "--split", "host", "--store", path(store()), "--out", path(&run)];
    let trained = stakeout(words.iter().chain(&QUICK_GBT));
    assert!(trained.status.success(), "{}", stderr(&trained));
    let checkpoint = run.join("checkpoint.stk");
    let good = fs::read(&checkpoint).unwrap();

    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&checkpoint, flipped).unwrap();
    refused(&["eval", "--quiet", path(&run)], 2, &["digest does not match"]);

    let mut newer = good.clone();
    newer[8] = 9;
    fs::write(&checkpoint, newer).unwrap();
    refused(&["eval", "--quiet", path(&run)], 2, &["format version 9 is newer"]);

    fs::write(&checkpoint, &good[..good.len() - 10]).unwrap();
    refused(&["eval", "--quiet", path(&run)], 2, &["cut short or damaged"]);
    fs::write(&checkpoint, &good).unwrap();

    // The same store with two channels swapped in its registry: another schema.
    let other = folder.path().join("other");
    copy(store(), &other);
    let channels = stakeout(["channels", "--json", path(store())]);
    let mut channels: Vec<serde_json::Value> = serde_json::from_slice(&channels.stdout).unwrap();
    channels.swap(17, 19);
    let corpus = fs::read_to_string(other.join("corpus.toml")).unwrap_or_default();
    let corpus = corpus.split("[[channels]]").next().unwrap_or_default();
    let mut table: toml::Table = corpus.parse().unwrap();
    table.insert("channels".into(), toml::Value::try_from(&channels).unwrap());
    table.entry("buckets").or_insert(toml::Value::Table(toml::toml! { netflow_ms = 100 }));
    fs::write(other.join("corpus.toml"), toml::to_string(&table).unwrap()).unwrap();
    refused(&["eval", "--quiet", path(&run), path(&other)], 2, &["channel 0 was guest.cpu_user, is guest.cpu_iowait"]);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
