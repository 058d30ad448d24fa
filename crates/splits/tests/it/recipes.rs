//! What each recipe does, on indices small enough to check by eye.

use serde_json::json;
use stakeout_core::{SampleIndex, Side};
use stakeout_splits::{Fold, Separates, SplitError};

use crate::{Row, index_of, split};

/// `n` hosts that all run the same two samples.
fn hosts(n: usize) -> SampleIndex {
    let names: Vec<String> = (0..n).map(|host| format!("host-{host}")).collect();
    let run = |host: &'static str, sample| Row { host, sample, windows: vec![(0, 0), (5, 1)], ..Row::default() };
    let names = names.into_iter().map(|name| &*name.leak());
    index_of(&names.flat_map(|host| [run(host, "a"), run(host, "b")]).collect::<Vec<_>>())
}

fn host_names(index: &SampleIndex, rows: &[usize]) -> Vec<String> {
    let mut names: Vec<String> =
        rows.iter().map(|&row| index.hosts[index.episode_of(row).host as usize].clone()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn hosts_are_held_out_whole_and_at_least_two_of_five() {
    for (n, test, validation) in [(4, 1, 0), (5, 2, 0), (6, 2, 1), (8, 2, 2), (12, 2, 2), (20, 4, 3)] {
        let index = hosts(n);
        let fold = split("host", &json!({}), &index, 7).unwrap().remove(0);
        assert_eq!(fold.held_out(), host_names(&index, fold.test()), "{n} hosts");
        assert_eq!(fold.held_out().len(), test, "{n} hosts");
        assert_eq!(fold.name(), fold.held_out().join("+"));
        if validation > 0 {
            assert_eq!(host_names(&index, fold.validation()).len(), validation, "{n} hosts");
            assert_eq!(fold.validation_by(), Separates::Hosts);
            assert!(fold.notes().is_empty(), "{:?}", fold.notes());
        }
    }
}

#[test]
fn few_hosts_validate_on_held_out_samples_and_it_is_said() {
    let index = hosts(4);
    let fold = split("host", &json!({}), &index, 7).unwrap().remove(0);
    assert_eq!(fold.validation_by(), Separates::Samples);
    assert_eq!(host_names(&index, fold.validation()), host_names(&index, fold.train()));
    assert_eq!(fold.notes(), ["validation: held-out samples, because fewer than 3 training hosts would be left"]);
}

#[test]
fn one_sample_on_few_hosts_validates_on_held_out_episodes() {
    let run = |host| Row { host, windows: vec![(0, 0), (5, 1)], ..Row::default() };
    let index = index_of(&["x", "x", "x", "y"].map(run));
    let fold = split("host", &json!({ "test_share": 0.5 }), &index, 0).unwrap().remove(0);
    if fold.held_out() == ["y"] {
        assert_eq!(fold.validation_by(), Separates::Episodes);
        assert_eq!((fold.train().len(), fold.validation().len()), (4, 2));
    } else {
        assert_eq!(fold.validation().len(), 0);
        assert_eq!(fold.notes(), ["validation: none, because the training side has only one episode"]);
    }
}

#[test]
fn one_host_cannot_be_held_out() {
    let error = split("host", &json!({}), &hosts(1), 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "recipe `host` cannot split this data: it has labelled windows of only one host; at least two hosts are needed"
    );
}

#[test]
fn a_host_recipe_says_that_programs_stand_on_both_sides() {
    let run = |host| Row { host, hash: Some("aa"), ..Row::default() };
    let fold =
        split("host", &json!({ "validation_share": 0.0 }), &index_of(&["x", "y"].map(run)), 0).unwrap().remove(0);
    assert_eq!(
        fold.notes(),
        [
            "validation: none, because split.validation_share is 0",
            "sample hashes on the test side and on another: 1 (the recipe holds out hosts, not programs)"
        ]
    );
}

#[test]
fn a_class_and_a_profile_of_two_samples_come_to_both_sides() {
    // 20 clean samples of profile p; classes and profiles of a and b are nowhere else.
    let names: Vec<String> = (0..20).map(|i| format!("s{i}")).collect();
    let mut rows: Vec<Row<'_>> = names.iter().map(|sample| Row { sample, ..Row::default() }).collect();
    rows.extend(["a", "b"].map(|sample| Row { sample, profile: "rare", windows: vec![(0, 1)], ..Row::default() }));
    let index = index_of(&rows);
    for seed in 0..20 {
        let body = json!({ "require_profiles": true });
        let fold = split("sample", &body, &index, seed).unwrap().remove(0);
        let rare = |rows: &[usize]| rows.iter().filter(|&&row| index.windows[row].label == 1).count();
        assert_eq!((rare(fold.train()) + rare(fold.validation()), rare(fold.test())), (1, 1), "seed {seed}");
        assert_eq!(rare(fold.train()), 1, "seed {seed}: what is tested is trained before it is validated");
    }
}

#[test]
fn a_profile_that_was_never_trained_is_refused_by_name_when_asked() {
    let run = |(host, profile)| Row { host, profile, ..Row::default() };
    let index = index_of(&[("x", "miner"), ("y", "worm")].map(run));
    let error = split("host", &json!({ "require_profiles": true }), &index, 0).unwrap_err();
    let SplitError::UntrainedProfiles { profiles, .. } = &error else { panic!("{error}") };
    assert_eq!(profiles.len(), 1);
    assert!(error.to_string().contains("require_profiles"), "{error}");
    split("host", &json!({}), &index, 0).unwrap();
}

#[test]
fn one_program_under_two_names_is_held_out_as_one() {
    let run = |(sample, hash)| Row { sample, hash, ..Row::default() };
    let index = index_of(&[("a", Some("11")), ("b", Some("11")), ("c", Some("22")), ("d", None)].map(run));
    let folds = split("leave-one-sample-out", &json!({}), &index, 0).unwrap();
    let held: Vec<&[String]> = folds.iter().map(Fold::held_out).collect();
    assert_eq!(held, [vec!["a", "b"], vec!["c"], vec!["d"]]);
    assert_eq!(folds[0].name(), "a+b");
    assert!(folds[0].notes().iter().any(|note| note == "samples without a known hash, told apart by name alone: 1"));
}

#[test]
fn every_host_is_left_out_once_or_only_those_named() {
    let index = hosts(5);
    let folds = split("leave-one-host-out", &json!({}), &index, 0).unwrap();
    let names: Vec<&str> = folds.iter().map(Fold::name).collect();
    assert_eq!(names, ["host-0", "host-1", "host-2", "host-3", "host-4"]);
    assert!(folds.iter().all(|fold| fold.validation_by() == Separates::Hosts && fold.validation().len() == 4));
    let only = split("leave-one-host-out", &json!({ "only": ["host-3"] }), &index, 0).unwrap();
    assert_eq!(only, folds[3..4]);
    let error = split("leave-one-host-out", &json!({ "only": ["host-9"] }), &index, 0).unwrap_err().to_string();
    assert!(error.contains("split.only names `host-9`"), "{error}");
}

#[test]
fn time_leaves_a_gap_and_counts_it() {
    // Windows of length 10 every 5, starts 0, 5, …, 195.
    let windows = (0..40).map(|i| (5 * i, 0)).collect();
    let index = index_of(&[Row { windows, ..Row::default() }]);
    let fold = split("time", &json!({}), &index, 0).unwrap().remove(0);
    let starts = |rows: &[usize]| -> Vec<i64> { rows.iter().map(|&row| index.windows[row].t0_ns).collect() };
    let (train, validation, test) = (starts(fold.train()), starts(fold.validation()), starts(fold.test()));
    // The last 8 of 40 windows test: from 160. A window before them ends 10 after its start and 10 before 160.
    assert_eq!((test[0], test.len()), (160, 8));
    // 29 windows (0 to 140) are left; a fifth of them is 6: from 115.
    assert_eq!((validation[0], *validation.last().unwrap()), (115, 140));
    assert_eq!(*train.last().unwrap(), 95);
    assert_eq!(fold.dropped()[0].rows.len(), 40 - train.len() - validation.len() - test.len());
    assert_eq!(
        fold.notes(),
        [
            "windows purged, because they end less than 1 window lengths before a later side: 6",
            "episodes on two sides, one part earlier and one later: 1"
        ]
    );
    assert_eq!(fold.name(), "from-1970-01-01t00-00-00.00000016z");
    assert_eq!(fold.held_out(), ["t0 >= 1970-01-01T00:00:00.00000016Z"]);
}

#[test]
fn time_from_an_instant() {
    let windows = (0..40).map(|i| (5 * i, 0)).collect();
    let index = index_of(&[Row { windows, ..Row::default() }]);
    let fold = split("time", &json!({ "test_from_ns": 100, "validation_share": 0.0 }), &index, 0).unwrap().remove(0);
    assert_eq!((fold.test().len(), fold.validation().len(), fold.train().len()), (20, 0, 17));
    // A validation stretch that begins after the test side is none, and closes no gap.
    let body = json!({ "validation_from_ns": 150, "test_share": 0.5 });
    let fold = split("time", &body, &index, 0).unwrap().remove(0);
    assert_eq!((fold.test().len(), fold.validation().len(), fold.train().len()), (20, 0, 17));
}

#[test]
fn time_without_enough_time_is_an_error() {
    let index = index_of(&[Row { windows: vec![(0, 0), (5, 0)], ..Row::default() }]);
    let error = split("time", &json!({}), &index, 0).unwrap_err().to_string();
    assert!(error.contains("no window is left on the train side"), "{error}");
    // Clocks at both ends of the range do not overflow.
    let index = index_of(&[Row { windows: vec![(i64::MIN, 0), (i64::MAX, 0)], ..Row::default() }]);
    let fold = split("time", &json!({ "validation_share": 0.0 }), &index, 0).unwrap().remove(0);
    assert_eq!((fold.train(), fold.test()), (&[0][..], &[1][..]));
}

#[test]
fn given_sides_are_taken_as_they_are_and_the_rest_is_counted() {
    let run = |(sample, given)| Row { sample, given, windows: vec![(0, 0), (5, 1)], ..Row::default() };
    let index = index_of(
        &[("a", Some(Side::Train)), ("b", Some(Side::Validation)), ("c", Some(Side::Test)), ("d", None)].map(run),
    );
    let fold = split("given", &json!({}), &index, 0).unwrap().remove(0);
    assert_eq!((fold.train(), fold.validation(), fold.test()), (&[0, 1][..], &[2, 3][..], &[4, 5][..]));
    assert_eq!(fold.dropped().len(), 1);
    assert_eq!(fold.dropped()[0].rows, [6, 7]);
    assert_eq!(fold.dropped()[0].reason, "the corpus gives their episode no side");
}

#[test]
fn a_missing_validation_side_is_cut_from_the_given_training_side() {
    let run = |(host, sample, given)| Row { host, sample, given: Some(given), ..Row::default() };
    let on_one_host =
        [("x", "a", Side::Train), ("x", "b", Side::Train), ("x", "c", Side::Train), ("x", "d", Side::Test)].map(run);
    let fold = split("given", &json!({}), &index_of(&on_one_host), 0).unwrap().remove(0);
    assert_eq!((fold.train().len(), fold.validation().len(), fold.test().len()), (2, 1, 1));
    assert_eq!(fold.validation_by(), Separates::Samples);
    assert_eq!(
        fold.notes(),
        [
            "validation: cut from the training side, because the corpus gives none",
            "validation: held-out samples, because fewer than 3 training hosts would be left"
        ]
    );
    let on_four_hosts = ["w", "x", "y", "z"].map(|host| run((host, "a", Side::Train)));
    let test = [run(("t", "b", Side::Test))];
    let rows: Vec<Row<'_>> = on_four_hosts.into_iter().chain(test).collect();
    let fold = split("given", &json!({}), &index_of(&rows), 0).unwrap().remove(0);
    assert_eq!(fold.validation_by(), Separates::Hosts);
    assert_eq!((fold.train().len(), fold.validation().len()), (3, 1));
}

#[test]
fn a_corpus_without_given_sides_is_an_error() {
    let error = split("given", &json!({}), &hosts(3), 0).unwrap_err().to_string();
    assert!(error.contains("no episode with a labelled window is given the train side"), "{error}");
}

#[test]
fn an_index_that_contradicts_itself_is_an_error_for_every_recipe() {
    let damage: [fn(&mut SampleIndex); 6] = [
        |index| index.episodes[0].host = 99,
        |index| index.episodes[0].profile = 99,
        |index| index.windows[0].episode = 99,
        |index| index.windows[0].label = 99,
        |index| index.windows.clear(),
        |index| index.window_ns = 0,
    ];
    for damage in damage {
        let mut index = hosts(6);
        damage(&mut index);
        for entry in stakeout_splits::RecipeRegistry::builtin().entries() {
            let error = split(entry.name, &json!({}), &index, 0).unwrap_err();
            assert!(matches!(error, SplitError::Index(_)), "{}: {error}", entry.name);
        }
    }
}
