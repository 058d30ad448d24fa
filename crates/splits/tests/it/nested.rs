//! Folds for choosing settings inside the training side.

use proptest::prelude::*;
use stakeout_core::Side;
use stakeout_splits::{Separates, SplitError, nested_folds, sample_groups};
use stakeout_testkit::data::small_index;
use stakeout_testkit::split::shapes;

const LADDERS: [Separates; 6] =
    [Separates::Hosts, Separates::Samples, Separates::Given, Separates::Episodes, Separates::Unstated, Separates::Time];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// By brute force over all pairs of rows: nothing from outside stands on a side, and sides are kept apart as the fold
    /// promises.
    #[test]
    fn sides_keep_their_promise_and_rows_outside_are_on_none(
        shape in shapes(),
        seed: u64,
        by in prop::sample::select(&LADDERS[..]),
        k in 2usize..5,
    ) {
        let index = small_index(seed, shape);
        let rows: Vec<usize> = (0..index.len()).filter(|row| !row.is_multiple_of(4)).collect();
        let folds = match nested_folds(&index, &rows, by, k, seed) {
            Err(SplitError::Unsplittable { .. } | SplitError::Fold { .. }) => return Ok(()),
            folds => folds.unwrap(),
        };
        prop_assert!((2..=k).contains(&folds.len()));
        let programs = sample_groups(&index).unwrap();
        let mut tested = vec![0; index.len()];
        for fold in &folds {
            for side in [Side::Train, Side::Validation, Side::Test] {
                prop_assert!(fold.side(side).iter().all(|row| !row.is_multiple_of(4)), "a row from outside");
            }
            fold.test().iter().for_each(|&row| tested[row] += 1);
            for (one, other, by) in [
                (fold.train(), fold.validation(), fold.validation_by()),
                (fold.train(), fold.test(), fold.test_by()),
                (fold.validation(), fold.test(), fold.test_by()),
            ] {
                for (&a, &b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                    let (x, y) = (index.windows[a], index.windows[b]);
                    prop_assert!(x.digest == 0 || x.digest != y.digest, "one content on two sides");
                    let apart = match by {
                        Separates::Hosts => index.episode_of(a).host != index.episode_of(b).host,
                        Separates::Samples => programs[x.episode as usize] != programs[y.episode as usize],
                        Separates::Episodes => x.episode != y.episode,
                        Separates::Time => x.t0_ns + 2 * index.window_ns <= y.t0_ns,
                        _ => true,
                    };
                    prop_assert!(apart, "rows {} and {} are not kept apart by {}", a, b, by.name());
                }
            }
        }
        // Over time the first stretches are never tested; else every row is, once.
        let once = if by == Separates::Time { tested.iter().all(|n| *n <= 1) } else { rows.iter().all(|&row| tested[row] == 1) };
        prop_assert!(once, "a row is tested twice or never");
        prop_assert_eq!(&folds, &nested_folds(&index, &rows, by, k, seed).unwrap());
    }
}

#[test]
fn one_host_alone_falls_back_to_its_samples_and_says_so() {
    let index = small_index(3, stakeout_testkit::data::IndexShape::default());
    let rows: Vec<usize> = (0..index.len()).filter(|&row| index.episode_of(row).host == 0).collect();
    let folds = nested_folds(&index, &rows, Separates::Hosts, 3, 1).unwrap();
    assert!(folds.iter().all(|fold| fold.test_by() == Separates::Samples));
    assert!(folds[0].notes()[0].contains("one host alone"), "{:?}", folds[0].notes());
    let episode: Vec<usize> = (0..index.len()).filter(|&row| index.windows[row].episode == 0).collect();
    assert!(matches!(nested_folds(&index, &episode, Separates::Hosts, 3, 1), Err(SplitError::Unsplittable { .. })));
}
