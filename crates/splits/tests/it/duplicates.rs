//! The same content or program on two sides, against a slow twin.

use proptest::prelude::*;
use serde_json::json;
use stakeout_core::{SampleIndex, Side};
use stakeout_splits::{Fold, FoldParts, Separates, SplitError, check_duplicates};
use stakeout_testkit::data::{IndexShape, small_index};

use crate::{Row, index_of, split};

/// A fold with the given side of every row.
fn fold_of(sides: &[Side], test_by: Separates, validation_by: Separates) -> Option<Fold> {
    let on = |side| (0..sides.len()).filter(|&row| sides[row] == side).collect();
    let parts = FoldParts {
        name: "x".into(),
        held_out: vec!["x".into()],
        train: on(Side::Train),
        validation: on(Side::Validation),
        test: on(Side::Test),
        dropped: Vec::new(),
        notes: Vec::new(),
        test_by,
        validation_by,
    };
    Fold::new(sides.len(), parts).ok()
}

fn by() -> impl Strategy<Value = Separates> {
    prop_oneof![Just(Separates::Hosts), Just(Separates::Samples), Just(Separates::Given), Just(Separates::Time)]
}

/// Sample hashes and digests that stand on two sides, by comparing all pairs.
fn slow(index: &SampleIndex, fold: &Fold) -> (Vec<String>, Vec<u128>) {
    let sides = fold.sides();
    let (mut hashes, mut digests) = (Vec::new(), Vec::new());
    for a in 0..index.len() {
        for b in 0..index.len() {
            let (Some(x), Some(y)) = (sides[a], sides[b]) else { continue };
            let by = if x == Side::Test || y == Side::Test { fold.test_by() } else { fold.validation_by() };
            let hash = &index.episode_of(a).sample_sha256;
            if x != y && hash.is_some() && hash == &index.episode_of(b).sample_sha256 && by.refuses_shared_samples() {
                hashes.extend(hash.clone());
            }
            if x != y && index.windows[a].digest != 0 && index.windows[a].digest == index.windows[b].digest {
                digests.push(index.windows[a].digest);
            }
        }
    }
    hashes.sort();
    hashes.dedup();
    digests.sort_unstable();
    digests.dedup();
    (hashes, digests)
}

proptest! {
    #[test]
    fn duplicates_are_those_of_the_slow_twin(
        seed: u64,
        sides in proptest::collection::vec(prop_oneof![Just(Side::Train), Just(Side::Validation), Just(Side::Test)], 30),
        test_by in by(),
        validation_by in by(),
        digests in proptest::collection::vec(0u128..25, 30),
        hashed in any::<bool>(),
    ) {
        let shape = IndexShape { episodes: 10, windows: 3, samples: 8, ..IndexShape::default() };
        let mut index = small_index(seed, shape);
        for (window, digest) in index.windows.iter_mut().zip(digests) {
            window.digest = digest;
        }
        if !hashed {
            index.episodes.iter_mut().for_each(|episode| episode.sample_sha256 = None);
        }
        let Some(fold) = fold_of(&sides, test_by, validation_by) else { return Ok(()) };
        let (hashes, contents) = slow(&index, &fold);
        match check_duplicates(&index, &fold) {
            Ok(()) => prop_assert!(hashes.is_empty() && contents.is_empty()),
            Err(SplitError::SharedSamples { count, first, .. }) => {
                prop_assert_eq!(count, hashes.len());
                for (shared, hash) in first.iter().zip(&hashes) {
                    prop_assert_eq!(&shared.sha256, hash);
                    prop_assert!(shared.one.1 != shared.other.1);
                }
            }
            Err(SplitError::DuplicateWindows { count, first, .. }) => {
                prop_assert!(hashes.is_empty());
                prop_assert_eq!(count, contents.len());
                prop_assert_eq!(first.len(), count.min(5));
                prop_assert!(first.iter().all(|(a, b)| a.side != b.side));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

/// Two hosts, the last window of each with the same content.
fn twins() -> SampleIndex {
    let run = |host| Row { host, windows: vec![(0, 0), (5, 1), (10, 1)], ..Row::default() };
    let mut index = index_of(&["x", "y"].map(run));
    index.windows[5].digest = index.windows[2].digest;
    index
}

#[test]
fn identical_windows_on_two_hosts_are_named() {
    let body = json!({ "validation_share": 0.0 });
    let error = split("host", &body, &twins(), 3).unwrap_err().to_string();
    let (x, y) = ("E0 at 10 ns (", "E1 at 10 ns (");
    assert!(
        error.contains("identical windows stand on two sides, 1 in all") && error.contains(x) && error.contains(y),
        "{error}"
    );
    assert!(error.contains("split.duplicates = \"drop\""), "{error}");
}

#[test]
fn twins_are_dropped_from_the_earlier_side_when_asked() {
    let body = json!({ "validation_share": 0.0, "duplicates": "drop" });
    let fold = split("host", &body, &twins(), 3).unwrap().remove(0);
    assert_eq!((fold.train().len(), fold.test().len()), (2, 3));
    assert_eq!(fold.dropped()[0].reason, "duplicate: a later side has a window of identical content");
    assert!([2, 5].contains(&fold.dropped()[0].rows[0]));
}

#[test]
fn windows_without_a_value_are_no_twins() {
    let mut index = twins();
    index.windows.iter_mut().for_each(|window| window.digest = 0);
    split("host", &json!({}), &index, 3).unwrap();
}

#[test]
fn a_program_on_two_given_sides_is_refused_or_noted() {
    let run = |(sample, given)| Row { sample, hash: Some("abcdef0123456789"), given: Some(given), ..Row::default() };
    let index = index_of(&[("a", Side::Train), ("b", Side::Test)].map(run));
    let error = split("given", &json!({}), &index, 0).unwrap_err().to_string();
    assert!(error.contains("abcdef012345 in E0 (train) and E1 (test)"), "{error}");
    assert!(error.contains("split.shared_samples = \"note\""), "{error}");
    let fold = split("given", &json!({ "shared_samples": "note" }), &index, 0).unwrap().remove(0);
    assert!(fold.notes().iter().any(|note| note.starts_with("sample hashes on the test side and on another: 1")));
}
