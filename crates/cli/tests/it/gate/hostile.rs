//! Files that nobody meant: a message that names the place, the right exit code, nothing lost.

use std::fs;
use std::path::Path;

use super::{Bench, bench};
use crate::harness::{contents, path, stakeout, stderr, stdout, store};

fn refused(output: &std::process::Output, code: i32, needles: &[&str]) {
    let text = stderr(output) + &stdout(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for needle in needles {
        assert!(text.contains(needle), "no `{needle}` in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn deployed(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    contents(&bench.registry.join("current"))
}

#[test]
fn a_run_with_a_file_that_is_cut_damaged_empty_or_no_file_is_named_and_nothing_changes() {
    let bench = bench();
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    let before = deployed(&bench);
    for name in ["checkpoint.stk", "experiment.toml", "metrics.json", "predictions.parquet"] {
        let file = bench.run.join(name);
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0x40;
        for bad in [&good[..good.len() / 2], &good[..1], &[][..], &flipped, b"\xff\xfe\x00"] {
            fs::write(&file, bad).unwrap();
            let output = bench.gate(&["--promote"]);
            // Either it cannot be read, or what it says is not believed; `experiment.toml` may still be TOML.
            assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {}{}", stdout(&output), stderr(&output));
            assert!(!stderr(&output).contains("panicked"), "{name}: {}", stderr(&output));
        }
        fs::remove_file(&file).unwrap();
        refused(&bench.gate(&[]), 2, &[name]);
        fs::create_dir(&file).unwrap();
        refused(&bench.gate(&[]), 2, &[name]);
        fs::remove_dir(&file).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
            refused(&bench.gate(&[]), 2, &[name, "link"]);
            fs::remove_file(&file).unwrap();
        }
        fs::write(&file, good).unwrap();
    }
    assert_eq!(deployed(&bench), before);
    assert!(bench.gate(&["--store", "own"]).status.success());
}

#[test]
fn every_cut_of_a_metrics_file_is_an_error_of_that_file() {
    let bench = bench();
    let file = bench.run.join("metrics.json");
    let good = fs::read(&file).unwrap();
    for part in 1..12 {
        fs::write(&file, &good[..good.len() * part / 12]).unwrap();
        refused(&bench.gate(&["--dry-run"]), 2, &["metrics.json", "line "]);
    }
    // Numbers that JSON does not have.
    let text = String::from_utf8(good).unwrap();
    fs::write(&file, text.replacen("\"point\": 0", "\"point\": NaN", 1)).unwrap();
    refused(&bench.gate(&["--dry-run"]), 2, &["metrics.json"]);
    fs::write(&file, text.replacen("\"point\": 0", "\"point\": 1e999", 1)).unwrap();
    assert!(matches!(bench.gate(&["--dry-run"]).status.code(), Some(1 | 2)));
}

/// The copy that is judged is gone when somebody reads the message.
#[test]
fn a_message_about_a_file_names_the_runs_own_and_says_what_to_do() {
    let bench = bench();
    for name in ["checkpoint.stk", "experiment.toml", "metrics.json", "predictions.parquet"] {
        let file = bench.run.join(name);
        let good = fs::read(&file).unwrap();
        fs::write(&file, &good[..good.len() / 2]).unwrap();
        for more in [&["--dry-run"][..], &[]] {
            let output = bench.gate(more);
            assert!(!stderr(&output).contains(".tmp-"), "{}", stderr(&output));
            // Half of a TOML file may be one.
            if name != "experiment.toml" {
                refused(&output, 2, &[path(&file), "never edited"]);
            }
        }
        fs::write(&file, good).unwrap();
    }
}

/// What no reader would accept is not copied first.
#[cfg(unix)]
#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_copied() {
    let bench = bench();
    for name in ["checkpoint.stk", "metrics.json", "predictions.parquet"] {
        let file = bench.run.join(name);
        let good = fs::read(&file).unwrap();
        fs::File::create(&file).unwrap().set_len((8 << 30) + 1).unwrap();
        refused(&bench.gate(&[]), 2, &[path(&file), "larger than"]);
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn policies_that_are_mistaken_name_line_and_key() {
    let bench = bench();
    for (text, needles) in [
        ("[acuracy]\nmin = 0.5", ["gate.toml:1", "did you mean `accuracy`"]),
        ("[accuracy]\nmin = nan", ["gate.toml", "accuracy"]),
        ("[caps]\non_trust = \"allow\"", ["on_trust", "deploy nothing"]),
        ("format = 9", ["format", "newer stakeout"]),
        ("[accuracy]\nmin = \"high\"", ["gate.toml:2", "string"]),
    ] {
        fs::write(&bench.policy, text).unwrap();
        refused(&bench.gate(&["--dry-run"]), 2, &needles);
    }
    fs::write(&bench.policy, [0xff, 0xfe]).unwrap();
    refused(&bench.gate(&["--dry-run"]), 2, &["UTF-8"]);
    fs::remove_file(&bench.policy).unwrap();
    refused(&bench.gate(&["--dry-run"]), 2, &["gate.toml"]);
    assert!(!bench.registry.exists(), "a dry run makes nothing");
}

#[test]
fn another_store_a_changed_one_and_a_folder_that_is_no_run_are_usage_errors() {
    let bench = bench();
    let other = bench.folder.path().join("other");
    assert!(
        stakeout(["simulate", "--quiet", path(&other), "--episodes", "8", "--hosts", "2", "--seed", "9"])
            .status
            .success()
    );
    refused(&bench.gate(&["--dry-run", "--store", path(&other)]), 2, &["is not the store that the run names"]);
    refused(&bench.gate(&["--dry-run", "--store", "nowhere"]), 2, &["nowhere"]);
    refused(&bench.gate_run(store(), &["--dry-run"]), 2, &["experiment.toml"]);
    refused(&bench.gate_run(Path::new("/nonexistent"), &["--dry-run"]), 2, &["nonexistent"]);
    refused(&bench.gate(&["--dry-run", "--promote"]), 2, &["--promote"]);
    refused(&bench.gate(&["--fit-again"]), 2, &["--store"]);
    refused(&stakeout(["gate"]), 2, &["RUN"]);
    refused(&bench.models(&["list"]), 2, &["there is no registry here"]);
    let thesis = bench.folder.path().join("thesis");
    fs::create_dir(&thesis).unwrap();
    fs::write(thesis.join("thesis.tex"), "years").unwrap();
    refused(&stakeout(["gate", path(&bench.run), "--registry", path(&thesis)]), 2, &["thesis.tex", "no registry"]);
    assert_eq!(fs::read_dir(&thesis).unwrap().count(), 1);
}

#[test]
fn a_registry_with_a_changed_byte_says_so_and_goes_on() {
    let bench = bench();
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    let id = stdout(&bench.models(&["list"])).lines().nth(1).unwrap()[..12].to_owned();
    let checkpoint = fs::read_dir(bench.registry.join("current"))
        .unwrap()
        .flatten()
        .find(|e| e.path().is_dir())
        .unwrap()
        .path()
        .join("checkpoint.stk");
    let good = fs::read(&checkpoint).unwrap();
    let mut bad = good.clone();
    bad[good.len() - 1] ^= 1;
    fs::write(&checkpoint, &bad).unwrap();
    refused(&bench.models(&["show"]), 1, &["a byte was changed"]);
    refused(
        &bench.models(&["promote", &id, "--policy", path(&bench.policy), "--store", "own"]),
        2,
        &["a byte was changed"],
    );
    // The same run through the gate puts it right.
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    assert_eq!(bench.models(&["show"]).status.code(), Some(0));
    let log = bench.registry.join("audit.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("promoted", "filed", 1)).unwrap();
    refused(&bench.models(&["log"]), 1, &["line 1", "edited, removed or put in"]);
    fs::write(bench.registry.join("current").join("pointer.json"), "{\"format\":7}").unwrap();
    refused(&bench.models(&["list"]), 2, &["pointer.json", "newer"]);
    refused(&bench.gate(&["--store", "own", "--promote"]), 2, &["pointer.json", "newer"]);
}

/// A process that may write so many KiB to a file: what it meets is what a full disk says.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_registry_stays_whole() {
    let bench = bench();
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    let before = deployed(&bench);
    let other = bench.folder.path().join("other");
    super::train("constant", &other, &["--seed", "4"]);
    bench.ask_nothing();
    let binary = env!("CARGO_BIN_EXE_stakeout");
    let mut failed = 0;
    for kib in [0, 1, 2, 4, 8, 16, 64] {
        let script = format!(
            "trap '' XFSZ; ulimit -f {kib}; exec '{binary}' gate --quiet '{}' --policy '{}' --registry '{}' --store own --promote",
            path(&other),
            path(&bench.policy),
            path(&bench.registry)
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .output()
            .unwrap();
        if output.status.success() {
            break;
        }
        failed += 1;
        refused(&output, 3, &["because"]);
        assert_eq!(deployed(&bench), before, "{kib} KiB");
        assert_eq!(bench.models(&["log"]).status.code(), Some(0));
    }
    assert!(failed >= 2, "no write failed: the limit did not hold");
    assert!(bench.gate_run(&other, &["--store", "own", "--promote"]).status.success());
    let left = fs::read_dir(&bench.registry).unwrap().flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")));
}

#[cfg(unix)]
#[test]
fn a_registry_that_cannot_be_written_is_an_error_and_is_still_read() {
    use std::os::unix::fs::PermissionsExt;
    let bench = bench();
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    let mode = |mode: u32| fs::set_permissions(&bench.registry, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    if fs::File::create(bench.registry.join("probe")).is_ok() {
        fs::remove_file(bench.registry.join("probe")).unwrap();
        mode(0o755);
        println!("skipped: this user may write anywhere");
        return;
    }
    refused(&bench.gate(&["--store", "own", "--promote"]), 3, &["because"]);
    assert!(bench.models(&["list"]).status.success());
    mode(0o755);
}

#[test]
fn words_that_are_mistaken_are_refused_before_a_registry_is_made() {
    let bench = bench();
    let long = "x".repeat(5000);
    refused(&bench.gate(&["--why", &long]), 2, &["why", "at most 4096 are kept"]);
    refused(&bench.gate_run(&bench.folder.path().join("typo"), &[]), 2, &["typo", "not a run directory"]);
    assert!(!bench.registry.exists());
    fs::write(&bench.registry, "a file").unwrap();
    refused(&bench.gate(&[]), 2, &["it is a file, not a folder"]);
    fs::remove_file(&bench.registry).unwrap();
    assert!(bench.gate(&["--store", "own", "--promote"]).status.success());
    refused(&bench.models(&["rollback", "--why", &long]), 2, &["at most 4096 are kept"]);
    refused(&bench.models(&["rollback", ""]), 2, &["4 characters"]);
    assert_eq!(bench.models(&["log"]).status.code(), Some(0));
}

/// The disk is full for the log, which is longer than any other file here, and for nothing else.
#[cfg(unix)]
#[test]
fn a_promotion_that_the_log_could_not_hold_is_told_as_one_and_written_down_by_the_next() {
    let bench = bench();
    bench.ask_nothing();
    let [first, second] = ["first", "second"].map(|name| bench.folder.path().join(name));
    super::train("constant", &first, &["--seed", "4"]);
    super::train("constant", &second, &["--seed", "5"]);
    assert!(bench.gate_run(&first, &["--store", "own", "--promote"]).status.success());
    let log = bench.registry.join("audit.jsonl");
    let mut text = fs::read(&log).unwrap();
    text.resize((1 << 20) + 512, b'\n');
    fs::write(&log, text).unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 2049; exec '{}' gate --quiet '{}' --policy '{}' --registry '{}' --store own --promote",
        env!("CARGO_BIN_EXE_stakeout"),
        path(&second),
        path(&bench.policy),
        path(&bench.registry)
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    refused(&output, 3, &["is the current model now", "the next change of the registry writes it down", "audit.jsonl"]);
    let list = stdout(&bench.models(&["list"]));
    assert!(
        list.lines().filter(|line| line.contains(" current ")).count() == 1 && list.contains(" earlier "),
        "{list}"
    );
    assert!(bench.models(&["rollback"]).status.success());
    let log: serde_json::Value = serde_json::from_slice(&bench.models(&["log", "--json"]).stdout).unwrap();
    let said: Vec<(&str, bool)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["recovered"] == true))
        .collect();
    assert_eq!(said, [("promoted", false), ("promoted", true), ("rolled-back", false)]);
}
