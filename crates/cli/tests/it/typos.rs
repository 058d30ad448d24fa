//! A typo anywhere in the settings: the file and line (or the words of the command line) and the nearest name.

use std::fs;

use crate::harness::{path, stakeout, stderr, store};

/// What a configuration file is refused with, after the folder's name. Lists of everything that there would be are
/// left out: they grow with the program.
fn refused(text: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, text).unwrap();
    let words = ["train", "--quiet", "--store", path(store()), "--config", path(&file)];
    let output = stakeout(words.iter().chain(more));
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}: {message}");
    let prefix = format!("{}/", path(folder.path()));
    message.trim_start_matches("error: ").replace(&prefix, "").trim_end().to_owned()
}

#[test]
fn a_typo_in_a_file_is_named_with_its_line() {
    for (text, expected) in [
        ("seed = 1\nrecepi = \"host\"\n", "x.toml:2: unknown field `recepi`, …; did you mean `recipe`?"),
        ("[windw]\nsteps = 3\n", "x.toml:1: unknown field `windw`, …; did you mean `window`?"),
        ("[window]\n\nsecnds = 10\n", "x.toml:3: unknown field `secnds`, …; did you mean `seconds`?"),
        ("[intervals]\nlevle = 0.9\n", "x.toml:2: unknown field `levle`, …; did you mean `level`?"),
        ("scaler = \"globl\"\n", "x.toml:1: unknown variant `globl`, …; did you mean `global`?"),
        ("recipe = \"hst\"\n", "x.toml:1: split recipe `hst`: …; did you mean `host`?"),
        (
            "[split]\nseed_me = 1\ntest_shar = 0.3\n",
            "x.toml:2: [split] of recipe `host`: unknown field `seed_me`, …; did you mean `test_share`?",
        ),
        (
            "[split]\ntest_shar = 0.3\n",
            "x.toml:2: [split] of recipe `host`: unknown field `test_shar`, …; did you mean `test_share`?",
        ),
        (
            "[split]\nmin_cell = { windows = 3, episdes = 2 }\n",
            "x.toml:2: [split] of recipe `host`: unknown field `episdes`, …; did you mean `episodes`?",
        ),
        ("[split]\n\ntest_share = 7\n", "x.toml:3: [split] of recipe `host`: test_share is 7; it must lie in (0, 1)"),
        ("[model.gruu]\n", "x.toml:1: there is no model `gruu`: …; did you mean `gru`?"),
        (
            "[model.gbt]\nrounds = 5\n[model.gru]\nlayers = 1\nhiden = 8\n",
            "x.toml:5: [model.gru] hiden: there is no such setting, did you mean `hidden`?",
        ),
        (
            "[model]\ngbt.max_dept = 3\n",
            "x.toml:2: [model.gbt] max_dept: there is no such setting, did you mean `max_depth`?",
        ),
        ("[model.gbt]\nrounds = 0\n", "x.toml:2: [model.gbt] rounds: 0 is out of range: use 1 to 100000"),
        (
            "[train]\nbatch_size = 64\nepohcs = 3\n",
            "x.toml:3: [train] epohcs: there is no such setting, did you mean `epochs`?",
        ),
        (
            "[model.gru.train]\nepohcs = 3\n",
            "x.toml:2: [model.gru] train.epohcs: there is no such setting, did you mean `epochs`?",
        ),
        ("[grid]\nmodles = [\"gbt\"]\n", "x.toml:2: unknown field `modles`, …; did you mean `models`?"),
        ("[grid]\nviews = []\nmodels = [\"gbd\"]\n", "x.toml:3: there is no model `gbd`: …; did you mean `gbt`?"),
        ("seed = [1, 1]\n", "x.toml:1: seed: give at least one seed, each once"),
        ("[intervals]\nresamples = 3\n", "x.toml:2: intervals.resamples: use 100 to 1,000,000 resamples"),
        ("seed = 1\nseed = 2\n", "x.toml:2: duplicate key"),
    ] {
        let message = refused(text, &["--model", "constant"]);
        check(&message, expected);
    }
}

#[test]
fn a_typo_on_the_command_line_is_named_with_its_words() {
    for (words, expected) in [
        (&["--set", "window.step=3"][..], "--set window.step=3: unknown field `step`, …; did you mean `steps`?"),
        (
            &["--set", "model.gbt.ronds=3"],
            "--set model.gbt.ronds=3: [model.gbt] ronds: there is no such setting, did you mean `rounds`?",
        ),
        (
            &["--set", "train.epoch=3"],
            "--set train.epoch=3: [train] epoch: there is no such setting, did you mean `epochs`?",
        ),
        (&["--split", "hots"], "--split hots: split recipe `hots`: …; did you mean `host`?"),
        (&["--seed", "3,3"], "--seed 3,3: seed: give at least one seed, each once"),
        (&["--set", "model.gbt.rounds=-1"], "--set model.gbt.rounds=-1: [model.gbt] rounds: invalid value: …"),
        (
            &["--set", "model.gru.hidden=8"],
            "--set model.gru.hidden=8: it changes nothing, for only gbt is trained: leave it out",
        ),
        (
            &["--set", "train.epochs=8"],
            "--set train.epochs=8: it changes nothing, for only gbt is trained: leave it out",
        ),
        (&["--scaler", "global,global"], "--scaler: name each once"),
    ] {
        // The right value of the file does not hide the wrong one that is laid over it.
        let words: Vec<&str> = ["--model", "gbt"].iter().chain(words).copied().collect();
        check(&refused("seed = 1\n[model.gbt]\nrounds = 5\n[model.gru]\nhidden = 9\n", &words), expected);
    }
    check(&refused("", &["--model", "gbt,gru,gtb"]), "--model: there is no model `gtb`: …; did you mean `gbt`?");
    check(&refused("", &["--model", "gbt,gru,gbt"]), "--model: gbt is named twice");
    check(&refused("", &[]), "give --model: the configuration names no model in [grid]");
}

/// `…` stands for any text.
fn check(message: &str, expected: &str) {
    let message = message.split(" Settings: ").next().unwrap_or_default();
    let matches = match expected.split_once('…') {
        None => message.lines().next() == Some(expected),
        Some((head, tail)) => message.starts_with(head) && message.ends_with(tail),
    };
    assert!(matches, "expected {expected}\n     got {message}");
}
