//! Identical sequences taken together, and folds that never part them.
//!
//! Sequences repeat: in the public HDFS logs three quarters of the sessions are copies. A split by session leaves nearly
//! every sequence on both sides, and what is measured then is memory. Here a sequence and all its copies are on one
//! side.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::data::Sequences;

/// Each different sequence once, ascending, with how often it occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct<'a> {
    /// The actions.
    pub sequences: Vec<&'a [u32]>,
    /// How many copies were normal.
    pub normal: Vec<u64>,
    /// How many copies were anomalous.
    pub anomalous: Vec<u64>,
    /// Rows without a label, which are in none of the counts.
    pub unlabelled: u64,
}

/// Takes identical sequences together.
pub fn distinct(data: &Sequences) -> Distinct<'_> {
    let mut rows: Vec<usize> = (0..data.len()).filter(|&row| data.label(row).is_some()).collect();
    rows.sort_unstable_by(|&a, &b| data.get(a).cmp(data.get(b)).then(a.cmp(&b)));
    let unlabelled = (data.len() - rows.len()) as u64;
    let mut out = Distinct { sequences: Vec::new(), normal: Vec::new(), anomalous: Vec::new(), unlabelled };
    for same in rows.chunk_by(|&a, &b| data.get(a) == data.get(b)) {
        let anomalous = same.iter().filter(|&&row| data.label(row) == Some(true)).count() as u64;
        out.sequences.push(data.get(same[0]));
        out.normal.push(same.len() as u64 - anomalous);
        out.anomalous.push(anomalous);
    }
    out
}

/// The fold of each item, dealt out in a shuffled order so that folds differ by one item at most; items of one kind are
/// dealt out before those of the next, so that each fold gets its share of a rare kind.
pub fn folds(kinds: &[usize], folds: usize, seed: u64) -> Vec<usize> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    // Fisher and Yates; the high half of a product is uniform up to 2⁻⁶⁴ an item.
    for i in (1..order.len()).rev() {
        let other = ((u128::from(generator.next_u64()) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, other);
    }
    order.sort_by_key(|&item| kinds[item]); // stable
    let mut fold = vec![0; kinds.len()];
    for (dealt, item) in order.into_iter().enumerate() {
        fold[item] = dealt % folds;
    }
    fold
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn data(rows: &[(Vec<u32>, Option<bool>)]) -> Sequences {
        let mut data = Sequences::default();
        rows.iter().for_each(|(actions, label)| data.push(actions.iter().copied(), *label));
        data
    }

    proptest! {
        #[test]
        fn copies_are_counted_and_never_parted(
            rows in prop::collection::vec((prop::collection::vec(3u32..5, 0..4), prop::option::of(any::<bool>())), 0..40),
            n_folds in 2usize..6, seed in 0u64..9,
        ) {
            let data = data(&rows);
            let all = distinct(&data);
            for (i, sequence) in all.sequences.iter().enumerate() {
                let count = |label| rows.iter().filter(|row| row.0 == **sequence && row.1 == Some(label)).count() as u64;
                prop_assert_eq!((all.normal[i], all.anomalous[i]), (count(false), count(true)));
            }
            prop_assert!(all.sequences.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(all.unlabelled, rows.iter().filter(|row| row.1.is_none()).count() as u64);
            let kinds: Vec<usize> = all.anomalous.iter().map(|n| usize::from(*n > 0)).collect();
            let fold = folds(&kinds, n_folds, seed);
            for kind in 0..2 {
                let sizes: Vec<usize> = (0..n_folds)
                    .map(|f| (0..fold.len()).filter(|&i| fold[i] == f && kinds[i] == kind).count()).collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            }
        }
    }

    /// The plain design cuts the rows at random and calls one part validation: a memory without any rule gets it right.
    #[test]
    fn known_fault_every_sequence_shared_by_train_and_validation() {
        // Ten sequences, fifty copies of each, labels that follow no rule.
        let rows: Vec<_> = (0..500u32).map(|i| (vec![3 + i % 10, 3 + (i % 10) / 2], Some(i % 10 < 4))).collect();
        let data = data(&rows);
        let remembered =
            |train: &BTreeSet<&[u32]>, row: usize| train.contains(data.get(row)) && data.label(row) == Some(true);
        let accuracy = |fold: &dyn Fn(usize) -> usize| {
            let train: BTreeSet<&[u32]> =
                (0..500).filter(|&r| fold(r) != 0 && data.label(r) == Some(true)).map(|r| data.get(r)).collect();
            let shared: BTreeSet<&[u32]> = (0..500).filter(|&r| fold(r) != 0).map(|r| data.get(r)).collect();
            let validation: Vec<usize> = (0..500).filter(|&row| fold(row) == 0).collect();
            let hits = validation.iter().filter(|&&r| remembered(&train, r) == (data.label(r) == Some(true))).count();
            let both = validation.iter().filter(|&&r| shared.contains(data.get(r))).count();
            (hits as f64 / validation.len() as f64, both)
        };
        let by_row = folds(&vec![0; 500], 5, 1);
        assert_eq!(accuracy(&|row| by_row[row]), (1.0, 100), "the fault: all validation rows were trained on");
        let all = distinct(&data);
        let by_sequence = folds(&[0; 10], 5, 1);
        let fold = |row: usize| by_sequence[all.sequences.iter().position(|s| *s == data.get(row)).unwrap()];
        let (hits, both) = accuracy(&fold);
        assert_eq!(both, 0, "mended: none of them");
        assert!(hits < 0.7, "{hits}: memory helps no more than a guess");
    }
}
