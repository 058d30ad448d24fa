//! `tune`: what it leaves, that a kill does not show, and that the test side chooses nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use stakeout_core::{Batch, InputKind, WindowTable, Windows};
use stakeout_features::Inputs;
use stakeout_splits::RecipeRegistry;
use stakeout_trainer::tune::{Search, SearchDir, complete};
use stakeout_trainer::{Dataset, Existing, Experiment, Quiet, Reading, Request, WindowCache};

use crate::harness::{command, contents, path, stakeout, stderr, stdout, store};

const SPACE: &str = "recipe = 'host'\nseed = 1\nintervals.resamples = 200\n\
    [model.gbt]\nrounds = 18\n\
    [tune]\ntrials = 6\ninner_folds = 3\nrungs = 2\nresource = 'model.gbt.rounds'\n\
    [tune.space]\n'model.gbt.max_depth' = { int = [1, 6] }\n'model.gbt.learning_rate' = { log = [0.01, 0.5] }\n";

fn space(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("space.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn words<'a>(config: &'a Path, out: &'a Path) -> Vec<&'a str> {
    vec!["tune", "--quiet", "--model", "gbt", "--store", path(store()), "--config", path(config), "--out", path(out)]
}

#[test]
fn the_best_settings_train_and_the_table_names_what_a_number_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (space(folder.path(), SPACE), folder.path().join("search"));
    let tuned = stakeout(words(&config, &out));
    assert!(tuned.status.success(), "{}", stderr(&tuned));
    let text = stdout(&tuned);
    for needed in
        ["SIMULATED DATA", "constant", "as configured", "held out", "episodes", "schema", "inner folds", "best.toml"]
    {
        assert!(text.contains(needed), "no {needed} in\n{text}");
    }
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("tune.json")).unwrap()).unwrap();
    // Six trials with 6 rounds on 3 folds, then two and the configured settings, where they are not one of them, with 18.
    assert_eq!(result["rungs"], serde_json::json!([[6, 6], [2, 18]]));
    let fits = result["fits"].as_u64().unwrap();
    assert!(fits == 24 || fits == 27, "{fits}");
    let journal = std::fs::read_to_string(out.join("trials.jsonl")).unwrap();
    assert_eq!(journal.lines().count() as u64, 1 + fits);
    let ranking = result["ranking"].as_array().unwrap();
    let score = |i: usize| ranking[i]["macro_f1"]["point"].as_f64().unwrap();
    assert!((1..ranking.len()).all(|i| score(i - 1) >= score(i)), "{ranking:?}");
    assert!(ranking.iter().any(|ranked| ranked["trial"] == 0), "the configured settings ride along");

    let best = std::fs::read_to_string(out.join("best.toml")).unwrap();
    assert!(best.starts_with("# Settings of `gbt`, the best of 6 tried"), "{best}");
    let run = folder.path().join("run");
    let train = ["train", "--quiet", "--json", "--model", "gbt", "--store", path(store()), "--out", path(&run)];
    let trained = stakeout(train.iter().copied().chain(["--config", path(&out.join("best.toml"))]));
    assert!(trained.status.success(), "{}", stderr(&trained));
    let experiment = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
    let depth = &ranking[0]["settings"]["model.gbt.max_depth"];
    assert!(experiment.contains(&format!("max_depth = {depth}\n")), "{experiment}");
    assert!(experiment.contains("rounds = 18\n"), "all of the resource: {experiment}");
    let metrics = std::fs::read_to_string(run.join("metrics.json")).unwrap();
    assert!(metrics.contains("settings chosen by `stakeout tune`, the best of 6"), "{metrics}");

    let again = stakeout(words(&config, &out));
    assert_eq!(again.status.code(), Some(2), "a finished search is not overwritten");
    let before = contents(&out);
    let over = stakeout(words(&config, &out).into_iter().chain(["--force", "--json", "--threads", "1"]));
    assert!(over.status.success(), "{}", stderr(&over));
    serde_json::from_str::<serde_json::Value>(&stdout(&over)).unwrap();
    assert_eq!(contents(&out), before, "another number of threads");
}

/// Waits until a search has kept some fits.
fn wait_for_fits(child: &mut Child, out: &Path, fits: usize) {
    let begun = Instant::now();
    loop {
        let kept = std::fs::read_to_string(out.join("trials.jsonl")).map_or(0, |text| text.lines().count());
        if kept > fits {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "no fit was kept");
        assert!(child.try_wait().unwrap().is_none(), "the search ended before it kept {fits} fits");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_and_an_interrupted_search_go_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let slow = SPACE.replace("rounds = 18", "rounds = 27").replace("rungs = 2\n", "rungs = 2\neta = 2\n");
    let config = space(folder.path(), &slow);
    let (left_alone, killed) = (folder.path().join("left-alone"), folder.path().join("killed"));
    let whole = stakeout(words(&config, &left_alone));
    assert!(whole.status.success(), "{}", stderr(&whole));

    let mut child = command(words(&config, &killed)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_fits(&mut child, &killed, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("tune.json").exists(), "the search was over before the kill");
    // What a kill in the middle of a line leaves.
    let journal = killed.join("trials.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 20]).unwrap();

    let resume = ["tune", "--quiet", "--resume", path(&killed)];
    let mut child = command(resume).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_fits(&mut child, &killed, text.lines().count() + 1);
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let interrupted = child.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(130), "{}", stderr(&interrupted));
    assert!(stderr(&interrupted).contains("tune --resume"), "{}", stderr(&interrupted));
    assert!(!killed.join("tune.json").exists(), "the search was over before it was interrupted");

    let resumed = stakeout(resume);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(contents(&left_alone), contents(&killed));

    let file = killed.join("search.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("trials = 6", "trials = 7")).unwrap();
    let refused = stakeout(resume);
    assert_eq!(refused.status.code(), Some(2), "an edited search is not continued");
}

#[test]
fn every_fold_has_its_own_search_and_its_best_settings_keep_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = SPACE.replace("'host'", "'leave-one-host-out'").replace("trials = 6", "trials = 2");
    let text = text.replace("resource = 'model.gbt.rounds'\n", "");
    let (config, out) = (space(folder.path(), &text), folder.path().join("search"));
    let hosts = stdout(&stakeout(["split", "--quiet", "--json", path(store()), "--split", "leave-one-host-out"]));
    let hosts: serde_json::Value = serde_json::from_str(&hosts).unwrap();
    let names: Vec<&str> = (0..2).map(|i| hosts["folds"][i]["held_out"][0].as_str().unwrap()).collect();
    let only = format!("split.only=['{}', '{}']", names[0], names[1]);
    let tuned = stakeout(words(&config, &out).into_iter().chain(["--set", &only, "--all-folds", "--json"]));
    assert!(tuned.status.success(), "{}", stderr(&tuned));
    for (i, host) in names.iter().enumerate() {
        let fold = hosts["folds"][i]["name"].as_str().unwrap();
        let best = std::fs::read_to_string(out.join(format!("fold-{fold}")).join("best.toml")).unwrap();
        assert!(best.contains(&format!("only = [\"{host}\"]")), "{best}");
    }
    let resumed = stakeout(["tune", "--quiet", "--resume", path(&out)]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
}

#[test]
fn a_space_that_cannot_be_searched_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("search");
    for (change, expected) in [
        (("max_depth'", "max_dept'"), "did you mean `max_depth`?"),
        (("max_depth' = { int = [1, 6] }", "max_depth' = { int = [1, 60] }"), "out of range"),
        (("'model.gbt.rounds'\n", "'model.gbt.lambda'\n"), "whole number"),
        (("trials = 6", "trails = 6"), "did you mean `trials`?"),
        (("inner_folds = 3", "inner_folds = 1"), "2 to 50"),
        (("'model.gbt.max_depth'", "'window.seconds'"), "different windows"),
    ] {
        let config = space(folder.path(), &SPACE.replace(change.0, change.1));
        let refused = stakeout(words(&config, &out));
        assert_eq!(refused.status.code(), Some(2), "{change:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(expected), "{change:?}: {}", stderr(&refused));
        assert!(!out.exists());
    }
}

/// The test side's values, labels, content digests and calibration stretches are replaced; the search leaves the same
/// bytes.
#[test]
fn poison_on_the_test_side_changes_no_byte_of_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let text = SPACE.replace("[tune.space]\n", "[tune.space]\nscaler = ['global', 'host-clean']\n");
    let text = text.replace("rounds = 18", "rounds = 6").replace("inner_folds = 3", "inner_folds = 2");
    let experiment = Experiment::read(Some(&space(folder.path(), &text)), &[]).unwrap();
    let models = stakeout_models::builtin();
    let model = models.get("gbt").unwrap();
    let recipes = RecipeRegistry::builtin();
    let recipe = recipes.configure("host", &serde_json::json!({})).unwrap();
    let never = AtomicBool::new(false);
    let reading = Reading::of(&experiment, Inputs { summary: true, tensor: false }, &WindowCache::NONE);
    let open = || Dataset::open(store(), &reading, &Quiet, &never).unwrap();
    let (mut dataset, base) = (open(), complete(&experiment, model).unwrap());
    let outer = recipe.folds(&dataset.index, 1).unwrap().remove(0);
    let tested: Vec<String> = outer.held_out().to_vec();

    let history = |dataset: &Dataset, name: &str| {
        let request = Request { dataset, store: None, experiment: &base, model, recipe: &*recipe };
        let keys = experiment.tune.as_ref().unwrap();
        let dir = SearchDir::open(&folder.path().join(name), Existing::Refuse).unwrap();
        Search { request: &request, keys, outer: &outer, recipes: &recipes }.run(&dir, &Quiet, &never).unwrap();
        contents(dir.path())
    };
    let clean = history(&dataset, "clean");
    assert!(clean.iter().any(|(name, _)| name == "trials.parquet"));
    for (name, value) in [("nan", f32::NAN), ("huge", 1e30), ("constant", 7.0)] {
        let poisoned = |windows: &dyn Windows, hit: &dyn Fn(usize) -> bool| {
            let geometry = windows.schema().geometry();
            let mut batch = Batch::new(InputKind::Summary, geometry);
            windows.gather(&(0..windows.len()).collect::<Vec<_>>(), &mut batch).unwrap();
            for (row, values) in batch.values.chunks_exact_mut(geometry.features).enumerate() {
                if hit(row) {
                    values.fill(value);
                }
            }
            let summary = ndarray::Array2::from_shape_vec((windows.len(), geometry.features), batch.values).unwrap();
            WindowTable::new(windows.schema().clone(), Some(summary), None, batch.lengths).unwrap().into()
        };
        dataset.windows = poisoned(&dataset.windows, &|row| outer.test().contains(&row));
        dataset.calibration.windows =
            poisoned(&dataset.calibration.windows, &|row| tested.contains(&dataset.calibration.hosts[row]));
        let classes = dataset.index.classes.len() as u16;
        for &row in outer.test() {
            let window = &mut dataset.index.windows[row];
            window.label = (window.label + 1) % classes;
            window.digest = window.digest.wrapping_mul(3).wrapping_add(1);
        }
        assert_eq!(history(&dataset, name), clean, "{name}");
    }
    // The test does bite: a poisoned training row shows.
    dataset = open();
    for &row in outer.train().iter().take(outer.train().len() / 2) {
        let window = &mut dataset.index.windows[row];
        window.label = (window.label + 1) % dataset.index.classes.len() as u16;
    }
    assert_ne!(history(&dataset, "bites"), clean);
}
