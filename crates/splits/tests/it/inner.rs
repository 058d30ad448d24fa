//! Grouped k-fold inside the training side.

use proptest::prelude::*;
use stakeout_core::SampleIndex;
use stakeout_splits::{Fold, SplitError, Unit, inner_folds, sample_groups};
use stakeout_testkit::data::{IndexShape, small_index};
use stakeout_testkit::split::shapes;

use crate::{Row, index_of};

fn group(index: &SampleIndex, unit: Unit, row: usize) -> usize {
    match unit {
        Unit::Host => index.episode_of(row).host as usize,
        Unit::Sample => sample_groups(index).unwrap()[index.windows[row].episode as usize],
        Unit::Episode => index.windows[row].episode as usize,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_group_is_tested_once_and_whole(
        shape in shapes(),
        seed: u64,
        unit in prop_oneof![Just(Unit::Host), Just(Unit::Sample), Just(Unit::Episode)],
        k in 2usize..6,
    ) {
        let index = small_index(seed, shape);
        let rows: Vec<usize> = (0..index.len()).filter(|row| !row.is_multiple_of(3)).collect();
        let mut groups: Vec<usize> = rows.iter().map(|&row| group(&index, unit, row)).collect();
        groups.sort_unstable();
        groups.dedup();
        let folds = match inner_folds(&index, &rows, unit, k, seed) {
            Err(SplitError::Unsplittable { .. }) => {
                prop_assert!(groups.len() < k);
                return Ok(());
            }
            folds => folds.unwrap(),
        };
        prop_assert_eq!(folds.len(), k);
        let mut tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test().iter().copied()).collect();
        tested.sort_unstable();
        prop_assert_eq!(&tested, &rows, "every row is tested once");
        for fold in &folds {
            prop_assert!(fold.validation().is_empty());
            prop_assert_eq!(fold.train().len() + fold.test().len(), rows.len());
            let test: Vec<usize> = fold.test().iter().map(|&row| group(&index, unit, row)).collect();
            prop_assert!(fold.train().iter().all(|&row| !test.contains(&group(&index, unit, row))));
        }
        prop_assert_eq!(&folds, &inner_folds(&index, &rows, unit, k, seed).unwrap());
        let mut turned = rows.clone();
        turned.reverse();
        prop_assert_eq!(&folds, &inner_folds(&index, &turned, unit, k, seed).unwrap());
    }
}

#[test]
fn labels_are_spread_evenly() {
    // 30 samples, 10 of which are infected: 2 in each of 5 parts.
    let names: Vec<String> = (0..30).map(|i| format!("s{i}")).collect();
    let label = |i: usize| u16::from(i.is_multiple_of(3));
    let rows: Vec<Row<'_>> = names
        .iter()
        .enumerate()
        .map(|(i, sample)| Row { sample, windows: vec![(0, label(i)), (5, label(i))], ..Row::default() })
        .collect();
    let index = index_of(&rows);
    let all: Vec<usize> = (0..index.len()).collect();
    for seed in 0..10 {
        for fold in inner_folds(&index, &all, Unit::Sample, 5, seed).unwrap() {
            let infected = fold.test().iter().filter(|&&row| index.windows[row].label == 1).count();
            assert_eq!((infected, fold.test().len()), (4, 12), "seed {seed}");
        }
    }
}

#[test]
fn another_seed_deals_otherwise_and_bad_arguments_are_refused() {
    let index = small_index(1, IndexShape { samples: 20, episodes: 60, ..IndexShape::default() });
    let rows: Vec<usize> = (0..index.len()).collect();
    let folds = |seed| -> Vec<Fold> { inner_folds(&index, &rows, Unit::Sample, 4, seed).unwrap() };
    assert!((1..5).any(|seed| folds(seed) != folds(0)));
    for (rows, k) in [(&rows[..], 1), (&rows[..1], 2), (&[][..], 2)] {
        assert!(matches!(inner_folds(&index, rows, Unit::Sample, k, 0), Err(SplitError::Unsplittable { .. })));
    }
    let beyond = [index.len()];
    assert!(matches!(inner_folds(&index, &beyond, Unit::Sample, 2, 0), Err(SplitError::Index(_))));
    let twice = [0, 0];
    assert!(inner_folds(&index, &twice, Unit::Episode, 2, 0).is_err());
}
