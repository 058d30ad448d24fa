//! The ledger against a slow twin, its file form, its text.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;
use stakeout_core::{SampleIndex, Side};
use stakeout_splits::{Count, Fold, Ledger, MinCell, Status};
use stakeout_testkit::data::small_index;
use stakeout_testkit::split::shapes;

use crate::{Row, index_of, split};

/// Windows and episodes of a cell and side, by looking at every row.
fn slow(index: &SampleIndex, fold: &Fold, cell: [&str; 3], side: Side) -> Count {
    let mut count = Count::default();
    let mut episodes = BTreeSet::new();
    for &row in fold.side(side) {
        let episode = index.episode_of(row);
        let names = [
            index.profiles[episode.profile as usize].as_str(),
            index.hosts[episode.host as usize].as_str(),
            index.classes[usize::from(index.windows[row].label)].as_str(),
        ];
        if names == cell {
            count.windows += 1;
            episodes.insert(index.windows[row].episode);
        }
    }
    count.episodes = episodes.len() as u64;
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_cell_is_that_of_the_slow_twin(shape in shapes(), seed: u64, windows in 1u64..6, episodes in 1u64..3) {
        let index = small_index(seed, shape);
        let Ok(folds) = split("sample", &json!({}), &index, seed) else { return Ok(()) };
        let min = MinCell { windows, episodes };
        let ledger = Ledger::new(&index, &folds[0], min).unwrap();
        let cells: Vec<_> = ledger.cells().collect();
        prop_assert_eq!(cells.len(), index.profiles.len() * index.hosts.len() * index.classes.len());
        prop_assert!(cells.iter().map(|cell| (cell.profile, cell.host)).is_sorted());
        for cell in &cells {
            let names = [cell.profile, cell.host, cell.phase];
            prop_assert_eq!(cell.train, slow(&index, &folds[0], names, Side::Train));
            prop_assert_eq!(cell.validation, slow(&index, &folds[0], names, Side::Validation));
            prop_assert_eq!(cell.test, slow(&index, &folds[0], names, Side::Test));
            let status = match cell.test {
                Count { windows: 0, .. } => Status::Untested,
                Count { windows: w, episodes: e } if w >= windows && e >= episodes => Status::Tested,
                _ => Status::TooFew,
            };
            prop_assert_eq!(cell.status, status);
        }
        let summary = ledger.summary();
        prop_assert_eq!(summary.tested + summary.too_few + summary.untested, cells.len());
        prop_assert_eq!(summary.untested, cells.iter().filter(|cell| cell.test.windows == 0).count());
        let text = serde_json::to_string(&ledger).unwrap();
        let read: Ledger = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read, ledger);
    }
}

#[test]
fn a_damaged_file_is_refused() {
    let good = json!({
        "profiles": ["p"], "hosts": ["h"], "phases": ["clean"], "min_cell": { "windows": 1, "episodes": 1 },
        "cells": [[0, 0, 0, 1, 1, 0, 0, 2, 1]],
    });
    let ledger: Ledger = serde_json::from_value(good.clone()).unwrap();
    assert_eq!(ledger.cells().next().unwrap().test, Count { windows: 2, episodes: 1 });
    for cells in
        [json!([[0, 1, 0, 1, 1, 0, 0, 2, 1]]), json!([[0, 0, 0, 1, 1, 0, 0, 2, 1], [0, 0, 0, 1, 1, 0, 0, 2, 1]])]
    {
        let mut bad = good.clone();
        bad["cells"] = cells;
        assert!(serde_json::from_value::<Ledger>(bad).is_err());
    }
}

/// Three hosts; `y` tests. The miner never ran on `y`, the worm was dormant only there, and one name turns around.
fn example() -> Ledger {
    let run = |(host, profile, given, labels): (_, _, _, &[u16])| Row {
        host,
        profile,
        given: Some(given),
        windows: labels.iter().enumerate().map(|(i, &label)| (5 * i as i64, label)).collect(),
        ..Row::default()
    };
    let index = index_of(
        &[
            ("x", "miner", Side::Train, &[0, 0, 1][..]),
            ("x", "worm", Side::Train, &[0, 0]),
            ("z", "worm", Side::Train, &[0, 0]),
            ("y", "worm", Side::Test, &[0, 0, 0, 1]),
            ("y", "worm", Side::Test, &[0, 0, 0]),
            ("y", "idle\u{202e}", Side::Test, &[0]),
        ]
        .map(run),
    );
    let fold = split("given", &json!({ "validation_share": 0.0 }), &index, 0).unwrap().remove(0);
    Ledger::new(&index, &fold, MinCell { windows: 4, episodes: 2 }).unwrap()
}

#[test]
fn the_text_names_what_was_not_tested() {
    insta::assert_snapshot!(example().render(72), @r"
coverage, profile × host × phase, in test windows: a cell is tested from
    4 windows of 2 episodes on (? = fewer, - = none)
  profile  host  clean  infected
  idle�    y        1?         -
  worm     y         6        1?
untested: idle� on y: infected; miner on y: every phase; every profile
    and phase on x, z (no test window)
too few (windows/episodes): idle� on y: clean 1/1; worm on y: infected
    1/1
tested but never trained on any host: idle�: clean; worm: infected
1 of 18 cells tested, 2 too few, 15 untested
");
}
