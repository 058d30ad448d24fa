//! `stakeout calibrate`: real processes on real files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{command, path, stderr, stdout};

/// A user of their own: cache and state in `home`.
fn calibrate(home: &Path, words: &[&str]) -> Output {
    of(home, words).output().expect("the binary runs")
}

fn of(home: &Path, words: &[&str]) -> Command {
    let mut calibrate = command(std::iter::once(&"calibrate").chain(words));
    calibrate.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_STATE_HOME", home.join("state")).env("USER", "ana");
    calibrate
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn shown(home: &Path, more: &[&str]) -> serde_json::Value {
    json(&calibrate(home, &[&["--show", "--json", "--verbose"], more].concat()))
}

fn refused(output: &Output, code: i32, needle: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(needle) && !text.contains("panicked"), "{text}");
}

#[test]
fn feedback_is_counted_shown_and_taken_back() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let words = ["--tp", "gru", "gru", "gbt", "--fp", "baseline", "--host", "web-1", "--why", "ticket 812"];
    let told = calibrate(home, &words);
    assert!(told.status.success(), "{}", stderr(&told));
    let text = stdout(&told);
    assert!(
        text.starts_with("record 1, by ana: 3 hits of gru, gru, gbt; 1 false alarm of baseline on web-1\n"),
        "{text}"
    );
    let store = fs::read_to_string(home.join("cache/stakeout/calibration.json")).unwrap();
    let store: serde_json::Value = serde_json::from_str(&store).unwrap();
    assert_eq!((&store["version"], &store["detectors"]["gru"]["alpha"]), (&1.into(), &3.into()));
    assert_eq!(fs::read_dir(home.join("state/stakeout")).unwrap().count(), 2, "journal and lock");

    let table = stdout(&calibrate(home, &["--show", "--verbose"]));
    for needle in ["never fitted", "gru", "web-1", "+1.099", "ticket 812", "baseline", "-0.693"] {
        assert!(table.contains(needle), "no `{needle}` in\n{table}");
    }
    let show = shown(home, &[]);
    assert_eq!(show["detectors"]["gru"]["hosts"]["web-1"]["alpha"], 3);
    assert_eq!((&show["history"][0]["who"], &show["history"][0]["why"]), (&"ana".into(), &"ticket 812".into()));
    let old = shown(home, &["--half-life", "0.000000001"]);
    assert!(old["detectors"]["gru"]["weighed"]["hits"].as_f64().unwrap() < 1e-3, "{old}");
    assert_eq!(old["detectors"]["gru"]["alpha"], 3, "the store keeps it whole");

    assert!(calibrate(home, &["--fp", "gru", "--who", "bob"]).status.success());
    let undone = stdout(&calibrate(home, &["--undo"]));
    assert!(undone.contains("record 2 taken back, 1 false alarm of gru"), "{undone}");
    assert_eq!(shown(home, &[])["detectors"]["gru"]["beta"], 1);
    assert!(calibrate(home, &["--undo"]).status.success());
    refused(&calibrate(home, &["--undo"]), 2, "no change to take back");
    assert!(stdout(&calibrate(home, &["--show"])).contains("no feedback yet"));
}

#[test]
fn a_named_store_a_foreign_one_and_the_prior() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (store, plain) = (home.join("team/c.json"), home.join("plain.json"));
    fs::write(&plain, r#"{"version":1,"detectors":{"id":{"alpha":2,"beta":1}}}"#).unwrap();
    let on = |words: &[&str]| calibrate(home, &[&["--store", path(&store)], words].concat());
    assert!(on(&["--import", path(&plain)]).status.success());
    refused(&on(&["--import", path(&plain)]), 2, "--force");
    refused(&on(&["--import", path(&home.join("absent"))]), 2, "absent");
    refused(&on(&["--import", path(&store), "--force"]), 2, "is the store itself");
    for i in 0..6 {
        let id = format!("d{i}");
        assert!(on(&["--tp", &id, &id, &id, "--fp", &id]).status.success());
    }
    assert!(stdout(&on(&["--refit-prior"])).contains("prior refitted, revision 1"));
    let show = shown(home, &["--store", path(&store)]);
    assert_eq!((&show["prior"]["revision"], &show["detectors"]["id"]["alpha"]), (&1.into(), &2.into()));
    assert!(show["detectors"]["d0"]["weighed"]["without_history"].as_f64().unwrap() > 0.55);
    assert!(home.join("team/c.json.journal.jsonl").exists() && !home.join("cache").exists());
    let plainly = stdout(&on(&["--show", "--weighting", "posterior-mean"]));
    assert!(plainly.contains("0.333"), "0.5 times 2/3 after one hit: {plainly}");
    let bound = shown(home, &["--store", path(&store), "--weighting", "lower-bound", "--level", "0.1"]);
    assert!(bound["weighting"].as_str().unwrap().contains("0.1"));
}

#[cfg(target_os = "linux")]
#[test]
fn without_the_variables_files_lie_where_the_platform_has_them() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    // A relative path says nothing, as the XDG specification has it.
    let told = of(home, &["--tp", "gru"])
        .env("HOME", home)
        .env("XDG_CACHE_HOME", "relative")
        .env_remove("XDG_STATE_HOME")
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", stderr(&told));
    assert!(home.join(".cache/stakeout/calibration.json").exists());
    assert_eq!(fs::read_dir(home.join(".local/state/stakeout")).unwrap().count(), 2);
    let nowhere = of(home, &["--tp", "gru"]).env_remove("HOME").env_remove("XDG_CACHE_HOME").output().unwrap();
    refused(&nowhere, 2, "--store PATH");
}

#[test]
fn words_that_make_no_sense_are_usage_errors() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for words in [
        &[][..],
        &["--tp"],
        &["--tp", "a", "--undo"],
        &["--show", "--undo"],
        &["--show", "--tp", "a"],
        &["--half-life", "3", "--tp", "a"],
        &["--host", "h", "--refit-prior"],
        &["--tp", ""],
        &["--tp", "a", "--host", " "],
        &["--tp", "a", "--why", ""],
        &["--tp", "\u{200b}\u{202e}\u{feff}"],
        &["--tp", "a", "--store", ""],
        &["--show", "--half-life", "-1"],
        &["--show", "--weighting", "lower-bound", "--level", "0.7"],
    ] {
        let output = calibrate(home, words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
    }
    let long = "x".repeat(100_000);
    refused(&calibrate(home, &["--tp", &long]), 2, "100000 bytes");
    assert!(!home.join("cache/stakeout/calibration.json").exists());
}

#[test]
fn odd_names_are_counted_and_do_not_steer_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let odd = ["\u{1b}[2J\u{1b}]0;owned\u{7}evil", "日本語", "\u{202e}exe.gnp", "a\nb"];
    let told = calibrate(home, &[&["--tp"], &odd[..], &["--why", "\u{1b}[31mred\u{7}"]].concat());
    assert!(told.status.success(), "{}", stderr(&told));
    let show = calibrate(home, &["--show", "--verbose"]);
    for text in [stdout(&told), stdout(&show), stderr(&told), stderr(&show)] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
    assert!(odd.iter().all(|id| shown(home, &[])["detectors"][id]["alpha"] == 2));
}

#[test]
fn a_damaged_store_is_refused_and_set_aside_by_force_alone() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    assert!(calibrate(home, &["--tp", "gru"]).status.success());
    let store = home.join("cache/stakeout/calibration.json");
    for (text, needle) in [
        ("{\"version\":1,\"detec", "calibration.json:1"),
        ("{\"version\":9}", "version 9 is newer"),
        ("{\"version\":0}", "version 0 is older"),
        ("{\"version\":1,\"detectors\":{\"a\":{\"alpha\":0,\"beta\":1}}}", "counters start at 1"),
        ("{\"version\":1,\"detectors\":{\"\":{\"alpha\":1,\"beta\":1}}}", "blank"),
    ] {
        fs::write(&store, text).unwrap();
        for words in [&["--show"][..], &["--tp", "gru"]] {
            let output = calibrate(home, words);
            refused(&output, 2, needle);
            refused(&output, 2, "--force");
        }
        assert_eq!(fs::read_to_string(&store).unwrap(), text, "a damaged file is left alone");
    }
    let forced = calibrate(home, &["--tp", "gru", "--force"]);
    assert!(forced.status.success() && stderr(&forced).contains("set aside"), "{}", stderr(&forced));
    assert_eq!(shown(home, &[])["detectors"]["gru"]["alpha"], 3, "the journal knew the first");
    assert!(store.with_file_name("calibration.json.damaged-1").exists());

    // Somebody else's counters: a finding when looked at, refused when added to.
    fs::write(&store, r#"{"version":1,"detectors":{"gru":{"alpha":50,"beta":1}}}"#).unwrap();
    assert_eq!(calibrate(home, &["--show"]).status.code(), Some(1));
    refused(&calibrate(home, &["--tp", "gru"]), 2, "another program");
}

/// `STAKEOUT_TEST_PROCESSES=100 STAKEOUT_TEST_UPDATES=100` runs the full count: as many shells, each starting the program so
/// many times.
#[cfg(unix)]
#[test]
fn shells_side_by_side_lose_no_update() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (shells, updates) = (number("STAKEOUT_TEST_PROCESSES", 6), number("STAKEOUT_TEST_UPDATES", 5));
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let script = "for i in $(seq $0); do \"$1\" calibrate --tp shared --host \"$2\" > /dev/null || exit 1; done";
    let children: Vec<_> = (0..shells)
        .map(|shell| {
            let program = of(home, &[]).get_program().to_owned();
            Command::new("sh")
                .args(["-c", script, &updates.to_string()])
                .arg(program)
                .arg(format!("h{shell}"))
                .env("XDG_CACHE_HOME", home.join("cache"))
                .env("XDG_STATE_HOME", home.join("state"))
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let show = shown(home, &[]);
    let shared = &show["detectors"]["shared"];
    println!("{shells} shells x {updates} updates: alpha {}", shared["alpha"]);
    assert_eq!(shared["alpha"], shells * updates + 1);
    assert!((0..shells).all(|shell| shared["hosts"][format!("h{shell}")]["alpha"] == updates + 1));
    assert_eq!(show["history"].as_array().unwrap().len() as u64, shells * updates);
}

/// A disk that is full in the middle of a write, by the shell's limit on the size of files: no privilege needed.
#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let ids: Vec<String> = (0..40).map(|i| format!("a-detector-with-a-name-{i:04}")).collect();
    let ids: Vec<&str> = std::iter::once("--tp").chain(ids.iter().map(String::as_str)).collect();
    assert!(calibrate(home, &ids).status.success());
    let before = shown(home, &[]);
    // 512-byte blocks. The signal would end the program; ignored, the write fails as on a full disk.
    for blocks in [0, 1, 2, 4, 6] {
        let program = of(home, &[]).get_program().to_owned();
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" calibrate \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(program)
            .args(&ids)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .output()
            .unwrap();
        refused(&output, 3, "writing");
        assert_eq!(shown(home, &[]), before, "{blocks} blocks: not said, not kept, nothing lost");
    }
    assert!(calibrate(home, &ids).status.success());
    assert_eq!(shown(home, &[])["detectors"]["a-detector-with-a-name-0000"]["alpha"], 3);
}

/// The journal is damaged and the store is gone; the disk fills up at every point of setting the journal aside.
#[cfg(unix)]
#[test]
fn a_full_disk_while_a_damaged_journal_is_set_aside_loses_no_counter() {
    let ids: Vec<String> = (0..40).map(|i| format!("a-detector-with-a-name-{i:04}")).collect();
    let ids: Vec<&str> = std::iter::once("--tp").chain(ids.iter().map(String::as_str)).collect();
    let mut failed = 0;
    for blocks in 0..24 {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert!(calibrate(home, &ids).status.success());
        assert!(calibrate(home, &["--fp", "other"]).status.success());
        let state = fs::read_dir(home.join("state/stakeout")).unwrap().map(|entry| entry.unwrap().path());
        let journal = state.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap();
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, text + "no record\n").unwrap();
        fs::remove_file(home.join("cache/stakeout/calibration.json")).unwrap();
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" calibrate --tp late --force");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(of(home, &[]).get_program())
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .output()
            .unwrap();
        let done = output.status.success();
        failed += u32::from(!done);
        if !done {
            refused(&output, 3, "writing");
        }
        assert!(calibrate(home, &["--tp", "next", "--force"]).status.success());
        let show = shown(home, &[]);
        let alpha = |id: &str| show["detectors"][id]["alpha"].as_u64();
        let late = done.then_some(2);
        assert_eq!(
            (alpha("a-detector-with-a-name-0000"), alpha("a-detector-with-a-name-0039"), alpha("late"), alpha("next")),
            (Some(2), Some(2), late, Some(2)),
            "{blocks} blocks"
        );
    }
    assert!((4..24).contains(&failed), "{failed} of 24 failed: the limit did not hold, or nothing was done");
}

/// A real small file system, where the right to mount one is there.
#[cfg(target_os = "linux")]
#[test]
fn a_full_or_read_only_file_system_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mount = home.join("small");
    fs::create_dir(&mount).unwrap();
    let program = of(home, &[]).get_program().to_owned();
    // A private mount namespace: nothing is left behind whatever happens.
    let script = r#"
        mount -t tmpfs -o size=64k tmpfs "$1" 2> /dev/null || exit 99
        set -- "$0" "$1/c.json"
        "$1" calibrate --store "$2" --tp first > /dev/null || exit 10
        dd if=/dev/zero of="${2%/*}/filler" bs=1k 2> /dev/null
        "$1" calibrate --store "$2" --tp second; [ $? -eq 3 ] || exit 11
        "$1" calibrate --store "$2" --show --json | grep -q second && exit 12
        rm "${2%/*}/filler"
        "$1" calibrate --store "$2" --tp third > /dev/null || exit 13
        mount -o remount,ro "${2%/*}" || exit 98
        "$1" calibrate --store "$2" --tp fourth; [ $? -eq 3 ] || exit 14
        "$1" calibrate --store "$2" --show --json
    "#;
    let output =
        Command::new("unshare").args(["-m", "sh", "-c", script]).arg(program).arg(&mount).env("NO_COLOR", "1").output();
    let Ok(output) = output else {
        println!("skipped: there is no unshare");
        return;
    };
    let code = output.status.code();
    if code != Some(0) && !(10..=14).contains(&code.unwrap_or(-1)) {
        println!("skipped: no file system may be mounted here ({})", stderr(&output));
        return;
    }
    assert_eq!(code, Some(0), "{}", stderr(&output));
    let show = json(&output);
    let alpha = |id: &str| show["detectors"][id]["alpha"].as_u64();
    assert_eq!((alpha("first"), alpha("second"), alpha("third"), alpha("fourth")), (Some(2), None, Some(2), None));
    assert!(show["notes"].as_array().unwrap().is_empty(), "{show}");
}
