//! The contract of a recipe.

use std::collections::BTreeSet;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use stakeout_core::{SampleIndex, Side};
use stakeout_splits::{Fold, Separates, Split, SplitError, check_duplicates, sample_groups};

use crate::data::{IndexShape, small_index};

/// Generated indices a suite.
const CASES: u32 = 64;

/// Shapes of generated indices, the degenerate ones included.
pub fn shapes() -> impl Strategy<Value = IndexShape> {
    (1usize..9, 1usize..14, 1usize..5, 2usize..5, 1usize..40, 1usize..8).prop_map(
        |(hosts, samples, profiles, classes, episodes, windows)| IndexShape {
            hosts,
            samples,
            profiles,
            classes,
            episodes,
            windows,
        },
    )
}

/// Checks a recipe against its contract, over generated indices.
///
/// * every row stands on one side or was dropped for a reason; train and test are not empty;
/// * the sides keep apart what [`Split::separates`] and the fold promise: whole hosts, whole programs (by name and by
///   hash), whole episodes, or time with a gap of one window;
/// * no content and, where programs are held apart, no program stands on two sides;
/// * fold names differ and are safe as file names;
/// * the same seed makes the same folds, in parallel threads too;
/// * permuted windows make permuted folds.
///
/// A recipe may refuse an index, but not every index.
///
/// # Panics
/// With the contract that was broken and the smallest index that shows it.
pub fn check_split(recipe: &dyn Split) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let accepted = std::cell::Cell::new(0);
    let outcome = runner.run(&(shapes(), any::<u64>()), |(shape, seed)| {
        let index = small_index(seed, shape);
        if check_index_of(recipe, &index, seed)? {
            accepted.set(accepted.get() + 1);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("recipe `{}` breaks its contract: {error}", recipe.name());
    }
    assert!(accepted.get() > 0, "recipe `{}` refuses every index", recipe.name());
}

/// One index; whether the recipe accepts it.
fn check_index_of(recipe: &dyn Split, index: &SampleIndex, seed: u64) -> Result<bool, TestCaseError> {
    let here = recipe.folds(index, seed);
    let there: Vec<Result<Vec<Fold>, SplitError>> = thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| recipe.folds(index, seed))).collect();
        runs.into_iter().map(|run| run.join().expect("a recipe does not panic")).collect()
    });
    for again in &there {
        prop_assert!(same(&here, again), "the same seed makes other folds in another thread");
    }
    let (permuted, from) = permute(index, seed);
    let moved = recipe.folds(&permuted, seed);
    prop_assert_eq!(here.is_ok(), moved.is_ok(), "permuted windows are accepted or refused otherwise");
    let (Ok(folds), Ok(moved)) = (here, moved) else { return Ok(false) };

    prop_assert!(!folds.is_empty(), "no fold and no error");
    prop_assert_eq!(folds.len(), moved.len(), "permuted windows make another number of folds");
    let names: BTreeSet<&str> = folds.iter().map(Fold::name).collect();
    prop_assert_eq!(names.len(), folds.len(), "two folds have one name");
    for (fold, moved) in folds.iter().zip(&moved) {
        check_fold(recipe, index, fold)?;
        prop_assert_eq!(fold.name(), moved.name(), "permuted windows make another fold");
        for side in [Side::Train, Side::Validation, Side::Test] {
            let mut rows: Vec<usize> = moved.side(side).iter().map(|&row| from[row]).collect();
            rows.sort_unstable();
            prop_assert_eq!(fold.side(side), rows, "permuted windows make another {} side", side);
        }
    }
    Ok(true)
}

/// One fold, by brute force.
fn check_fold(recipe: &dyn Split, index: &SampleIndex, fold: &Fold) -> Result<(), TestCaseError> {
    let mut times = vec![0; index.len()];
    let sides = [fold.train(), fold.validation(), fold.test()];
    for &row in sides.into_iter().flatten().chain(fold.dropped().iter().flat_map(|dropped| &dropped.rows)) {
        times[row] += 1;
    }
    prop_assert!(times.iter().all(|n| *n == 1), "a row stands twice or nowhere");
    prop_assert!(sides.iter().all(|rows| rows.is_sorted()), "the rows of a side are not ascending");
    prop_assert!(!fold.train().is_empty() && !fold.test().is_empty(), "the train or test side is empty");
    prop_assert!(fold.dropped().iter().all(|dropped| !dropped.reason.is_empty()), "rows were dropped without a reason");
    prop_assert!(!fold.held_out().is_empty(), "nothing is said to be held out");
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._+-".contains(c);
    prop_assert!(
        fold.name().chars().all(safe) && !fold.name().starts_with(['.', '-']),
        "`{}` is no file name",
        fold.name()
    );
    prop_assert_eq!(fold.test_by(), recipe.separates(), "the fold promises something else than the recipe");

    let programs = sample_groups(index).expect("a generated index is sound");
    for (one, other, by) in [
        (fold.train(), fold.validation(), fold.validation_by()),
        (fold.train(), fold.test(), fold.test_by()),
        (fold.validation(), fold.test(), fold.test_by()),
    ] {
        for (&a, &b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
            let (earlier, later) = (index.windows[a], index.windows[b]);
            let (x, y) = (index.episode_of(a), index.episode_of(b));
            prop_assert!(
                earlier.digest == 0 || earlier.digest != later.digest,
                "windows {} and {} have the same content on two sides",
                a,
                b
            );
            let apart = match by {
                Separates::Hosts => x.host != y.host,
                Separates::Samples => programs[earlier.episode as usize] != programs[later.episode as usize],
                Separates::Episodes => earlier.episode != later.episode,
                Separates::Time => earlier.t0_ns + 2 * index.window_ns <= later.t0_ns,
                Separates::Given => x.sample_sha256.is_none() || x.sample_sha256 != y.sample_sha256,
                _ => true,
            };
            prop_assert!(apart, "windows {} and {} are not kept apart by {}", a, b, by.name());
        }
    }
    if let Err(error) = check_duplicates(index, fold) {
        return Err(TestCaseError::fail(error.to_string()));
    }
    Ok(())
}

/// Whether two answers are the same, errors by their text.
fn same(a: &Result<Vec<Fold>, SplitError>, b: &Result<Vec<Fold>, SplitError>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => a.to_string() == b.to_string(),
        _ => false,
    }
}

/// The index with its windows in another order, and the old row of each new one.
fn permute(index: &SampleIndex, seed: u64) -> (SampleIndex, Vec<usize>) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut from: Vec<usize> = (0..index.len()).collect();
    from.sort_by_cached_key(|_| rng.next_u64());
    let windows = from.iter().map(|&row| index.windows[row]).collect();
    (SampleIndex { windows, ..index.clone() }, from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use stakeout_splits::{FoldParts, RecipeRegistry};

    use super::*;

    /// A recipe made from a function.
    struct Made<F>(Separates, F);

    impl<F: Fn(&SampleIndex, u64) -> Result<Vec<Fold>, SplitError> + Send + Sync> Split for Made<F> {
        fn name(&self) -> &'static str {
            "made"
        }

        fn separates(&self) -> Separates {
            self.0
        }

        fn folds(&self, index: &SampleIndex, seed: u64) -> Result<Vec<Fold>, SplitError> {
            (self.1)(index, seed)
        }
    }

    /// The fold that tests the rows for which `tests` holds.
    fn fold(index: &SampleIndex, by: Separates, tests: impl Fn(usize) -> bool) -> Result<Vec<Fold>, SplitError> {
        let (test, train) = (0..index.len()).partition(|&row| tests(row));
        let parts = FoldParts {
            name: "x".into(),
            held_out: vec!["x".into()],
            train,
            validation: Vec::new(),
            test,
            dropped: Vec::new(),
            notes: Vec::new(),
            test_by: by,
            validation_by: by,
        };
        Ok(vec![Fold::new(index.len(), parts)?])
    }

    fn without_twins(index: &SampleIndex) -> SampleIndex {
        let windows = index.windows.iter().map(|window| stakeout_core::WindowKey { digest: 0, ..*window }).collect();
        SampleIndex { windows, ..index.clone() }
    }

    #[test]
    fn a_good_recipe_from_outside_passes() {
        check_split(&Made(Separates::Hosts, |index: &SampleIndex, _| {
            fold(index, Separates::Hosts, |row| index.episode_of(row).host == 0)
        }));
    }

    #[test]
    #[should_panic(expected = "not kept apart by hosts")]
    fn episodes_are_not_hosts() {
        check_split(&Made(Separates::Hosts, |index: &SampleIndex, _| {
            fold(index, Separates::Hosts, |row| index.windows[row].episode == 0)
        }));
    }

    #[test]
    #[should_panic(expected = "not kept apart by samples")]
    fn one_program_has_two_names() {
        check_split(&Made(Separates::Samples, |index: &SampleIndex, _| {
            fold(index, Separates::Samples, |row| index.episode_of(row).sample == 0)
        }));
    }

    #[test]
    #[should_panic(expected = "not kept apart by time")]
    fn a_cut_in_time_needs_a_gap() {
        check_split(&Made(Separates::Time, |index: &SampleIndex, _| {
            let mid = index.windows.iter().map(|window| window.t0_ns).max().unwrap_or(0) / 2;
            fold(index, Separates::Time, |row| index.windows[row].t0_ns > mid)
        }));
    }

    #[test]
    #[should_panic(expected = "permuted windows make another")]
    fn the_order_of_rows_plays_no_part() {
        check_split(&Made(Separates::Unstated, |index: &SampleIndex, _| {
            let first = index.windows[0].episode;
            fold(index, Separates::Unstated, |row| index.windows[row].episode == first)
        }));
    }

    #[test]
    #[should_panic(expected = "the same content on two sides")]
    fn identical_windows_are_found() {
        check_split(&Made(Separates::Unstated, |index: &SampleIndex, _| {
            fold(index, Separates::Unstated, |row| index.windows[row].t0_ns / 5_000_000_000 % 2 == 0)
        }));
    }

    #[test]
    #[should_panic(expected = "the same seed makes other folds")]
    fn a_seed_decides() {
        let calls = AtomicU64::new(0);
        check_split(&Made(Separates::Hosts, |index: &SampleIndex, _| {
            let host = (calls.fetch_add(1, Ordering::Relaxed) % 2) as u32;
            fold(index, Separates::Hosts, |row| index.episode_of(row).host == host)
        }));
    }

    #[test]
    #[should_panic(expected = "promises something else")]
    fn a_fold_promises_what_its_recipe_does() {
        check_split(&Made(Separates::Hosts, |index: &SampleIndex, _| {
            fold(index, Separates::Unstated, |row| index.episode_of(row).host == 0)
        }));
    }

    #[test]
    #[should_panic(expected = "refuses every index")]
    fn a_recipe_must_accept_something() {
        check_split(&Made(Separates::Hosts, |_: &SampleIndex, _| Err(SplitError::Index("no".into()))));
    }

    #[test]
    fn generated_indices_are_awkward_in_the_ways_they_promise() {
        let index = small_index(1, IndexShape::default());
        let programs = sample_groups(&index).unwrap();
        let names: BTreeSet<u32> = index.episodes.iter().map(|episode| episode.sample).collect();
        assert!(programs.iter().collect::<BTreeSet<_>>().len() < names.len(), "one program has two names");
        let digests: BTreeSet<u128> = index.windows.iter().map(|window| window.digest).collect();
        assert!(digests.contains(&0) && digests.len() < index.len(), "windows without a value and identical windows");
        for side in [Some(Side::Train), Some(Side::Validation), Some(Side::Test), None] {
            assert!(index.episodes.iter().any(|episode| episode.given == side), "{side:?}");
        }
        assert!(index.episodes.iter().any(|episode| episode.sample_sha256.is_none()));
        assert_eq!(index, small_index(1, IndexShape::default()));
        for entry in RecipeRegistry::builtin().entries() {
            (entry.configure)(&serde_json::json!({})).unwrap().folds(&without_twins(&index), 1).unwrap();
        }
    }
}
