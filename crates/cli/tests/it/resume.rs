//! A killed run continues to the same bytes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{command, contents, path, stakeout, stderr, store};

/// Kills a training process once it has kept a state, continues it, and compares with a run that was left alone.
#[test]
fn kill_and_resume_gives_the_same_bytes_as_no_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (left_alone, killed) = (folder.path().join("left-alone"), folder.path().join("killed"));
    let words = |out: &std::path::Path| -> Vec<String> {
        let words = [
            "train",
            "--quiet",
            "--model",
            "gru",
            "--split",
            "host",
            "--store",
            path(store()),
            "--out",
            path(out),
            "--set",
            "train.epochs=12",
            "--set",
            "train.patience=12",
            "--set",
            "model.gru.hidden=8",
            "--set",
            "intervals.resamples=200",
        ];
        words.map(String::from).to_vec()
    };
    let whole = stakeout(words(&left_alone));
    assert!(whole.status.success(), "{}", stderr(&whole));

    let mut child = command(words(&killed)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = killed.join("state.stk");
    let begun = Instant::now();
    while !state.exists() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no state was kept");
        assert!(child.try_wait().unwrap().is_none(), "the fit ended before it kept a state");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("metrics.json").exists(), "the fit was over before the kill");

    let resumed = stakeout(["train", "--quiet", "--resume", path(&killed)]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(contents(&left_alone), contents(&killed));
}

#[test]
fn an_edited_experiment_is_not_continued_and_a_killed_run_can_be_started_over() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let words =
        ["train", "--quiet", "--model", "constant", "--split", "host", "--store", path(store()), "--out", path(&run)];
    assert!(stakeout(words).status.success());
    let file = run.join("experiment.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("seed = 1\n", "seed = 2\n")).unwrap();
    let refused = stakeout(["train", "--quiet", "--resume", path(&run)]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    // What a kill in the middle of a write leaves behind.
    std::fs::write(run.join(".tmp-abc"), "half").unwrap();
    let over = stakeout(words.iter().chain(&["--force"]));
    assert!(over.status.success(), "{}", stderr(&over));
    assert!(!run.join(".tmp-abc").exists());
}

/// It left a hidden folder beside the store, and no word.
#[cfg(unix)]
#[test]
fn an_interrupted_simulation_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let words = ["simulate", path(&store), "--episodes", "5000", "--hosts", "4", "--seed", "1"];
    let child = command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().join("store/episodes").exists();
    while !std::fs::read_dir(folder.path()).unwrap().any(begun) {
        std::thread::yield_now();
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing was made"), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
