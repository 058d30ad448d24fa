//! Windows that are kept on disk between runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::harness::{command, contents, path, stderr, store};

/// Trains a grid that reads both inputs, with a cache folder of its own.
fn train(cache: &Path, out: &Path, keep: &str) -> Output {
    let words = [
        "train",
        "--model",
        "tree,knn",
        "--split",
        "host",
        "--store",
        path(store()),
        "--out",
        path(out),
        "--keep-windows",
        keep,
    ];
    command(words).env("XDG_CACHE_HOME", cache).output().unwrap()
}

/// Every file of a run but those that hold seconds.
fn result(out: &Path) -> Vec<(String, Vec<u8>)> {
    contents(out).into_iter().filter(|(name, _)| !name.ends_with("timing.json")).collect()
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(cache.join("stakeout/windows")).unwrap();
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

#[test]
fn a_run_has_the_same_bytes_from_memory_from_disk_and_from_windows_of_an_earlier_run() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, at) = (folder.path().join("cache"), |name: &str| folder.path().join(name));
    let first = train(&cache, &at("memory"), "never");
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(!cache.join("stakeout/windows").exists());
    for (name, said) in [("written", "windows are read from"), ("read", "windows are read from")] {
        let run = train(&cache, &at(name), "always");
        assert!(run.status.success() && stderr(&run).contains(said), "{}", stderr(&run));
        assert_eq!(result(&at(name)), result(&at("memory")), "{name}");
    }
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn damaged_kept_windows_are_cut_again_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, at) = (folder.path().join("cache"), |name: &str| folder.path().join(name));
    assert!(train(&cache, &at("first"), "always").status.success());
    let entry = entries(&cache).remove(0);
    #[allow(clippy::type_complexity)] // a file, and what is done to it
    let damages: [(&str, &dyn Fn(&[u8]) -> Vec<u8>); 6] = [
        ("labelled.windows", &|bytes| bytes[..bytes.len() / 2].to_vec()),
        ("labelled.windows", &|bytes| [&bytes[..900], &[bytes[900] ^ 1], &bytes[901..]].concat()),
        ("calibration.windows", &|_| Vec::new()),
        ("keys", &|bytes| [&[bytes[0] ^ 1], &bytes[1..]].concat()),
        ("about.json", &|bytes| bytes[..bytes.len() - 9].to_vec()),
        ("about.json", &|bytes| String::from_utf8_lossy(bytes).replace("\"window_ns\"", "\"widow\"").into_bytes()),
    ];
    for (nth, (file, damage)) in damages.iter().enumerate() {
        let file = entry.join(file);
        fs::write(&file, damage(&fs::read(&file).unwrap())).unwrap();
        // what a killed process leaves behind
        fs::create_dir(cache.join("stakeout/windows/.tmp-left")).unwrap();
        let out = at(&format!("again-{nth}"));
        let run = train(&cache, &out, "always");
        assert!(run.status.success() && stderr(&run).contains("cannot be used and are cut again"), "{}", stderr(&run));
        assert_eq!(result(&out), result(&at("first")), "{nth}");
        assert_eq!(entries(&cache), std::slice::from_ref(&entry), "{nth}");
    }
}

#[test]
fn processes_that_keep_the_same_windows_at_once_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let runs: Vec<_> = (0..3)
        .map(|nth| {
            let (cache, out) = (cache.clone(), folder.path().join(format!("run-{nth}")));
            std::thread::spawn(move || (train(&cache, &out, "always"), out))
        })
        .collect();
    let outs: Vec<PathBuf> = runs
        .into_iter()
        .map(|run| {
            let (run, out) = run.join().unwrap();
            assert!(run.status.success(), "{}", stderr(&run));
            out
        })
        .collect();
    assert!(outs.iter().all(|out| result(out) == result(&outs[0])));
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn other_settings_have_windows_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    assert!(train(&cache, &folder.path().join("a"), "always").status.success());
    let words = [
        "split",
        "--split",
        "host",
        "--store",
        path(store()),
        "--set",
        "window.seconds=20",
        "--keep-windows",
        "always",
    ];
    let split = command(words).env("XDG_CACHE_HOME", &cache).output().unwrap();
    assert!(split.status.success(), "{}", stderr(&split));
    assert_eq!(entries(&cache).len(), 2);
}
