//! How often each n-gram occurred: all that a language model knows. Counts of parts of the data add up to the counts of
//! the whole, so that they are updated as sequences come and merged as machines report.

use std::collections::BTreeMap;

use super::vocabulary::{END, FIRST, START};
use crate::DetectError;

/// The longest n-gram.
pub const MAX_N: usize = 5;

/// An n-gram, its last action at the end; what is before its n ids is [`START`].
pub(super) type Gram = [u32; MAX_N];

/// Counts of the n-grams of sequences between a start mark and an end mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    n: usize,
    grams: BTreeMap<Gram, u64>,
    sequences: u64,
}

impl Counts {
    /// No counts yet.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] when `n` is not in 1 to [`MAX_N`].
    pub fn new(n: usize) -> Result<Self, DetectError> {
        if !(1..=MAX_N).contains(&n) {
            return Err(DetectError::Invalid { what: "n", why: format!("{n}: n-grams have 1 to {MAX_N} actions") });
        }
        Ok(Self { n, grams: BTreeMap::new(), sequences: 0 })
    }

    /// The length of an n-gram.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many sequences were counted. All counts stop at the largest number instead of passing it.
    pub fn sequences(&self) -> u64 {
        self.sequences
    }

    /// Counts a sequence `times` times.
    pub fn add(&mut self, actions: &[u32], times: u64) {
        if times == 0 {
            return;
        }
        let mut gram = [START; MAX_N];
        for &action in actions.iter().chain([&END]) {
            gram = shifted(gram, action, self.n);
            let count = self.grams.entry(gram).or_default();
            *count = count.saturating_add(times);
        }
        self.sequences = self.sequences.saturating_add(times);
    }

    /// Adds the counts of other sequences, their actions under the ids of this vocabulary.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] when the other n-grams have another length.
    pub fn merge(&mut self, other: &Self, id: impl Fn(u32) -> u32) -> Result<(), DetectError> {
        if other.n != self.n {
            let why = format!("{} and {}: counts of n-grams of one length can be added", self.n, other.n);
            return Err(DetectError::Invalid { what: "n", why });
        }
        for (gram, &count) in &other.grams {
            let own = gram.map(|action| if action < FIRST { action } else { id(action) });
            let sum = self.grams.entry(own).or_default();
            *sum = sum.saturating_add(count);
        }
        self.sequences = self.sequences.saturating_add(other.sequences);
        Ok(())
    }

    /// Each n-gram with its count, ascending; the n ids are the last ones.
    pub(super) fn grams(&self) -> impl ExactSizeIterator<Item = (&Gram, u64)> {
        self.grams.iter().map(|(gram, &count)| (gram, count))
    }

    /// Takes an n-gram from a file; `false` where it breaks a rule: actions between marks, ascending, counted.
    pub(super) fn restore(&mut self, gram: Gram, count: u64, ids: usize) -> bool {
        let own = &gram[MAX_N - self.n..];
        let (last, before) = own.split_last().expect("n is at least 1");
        let action = |id: &u32| (FIRST as usize..ids).contains(&(*id as usize));
        let started = before.iter().skip_while(|id| **id == START).all(action);
        let rising = self.grams.last_key_value().is_none_or(|(last, _)| *last < gram);
        let good = started && (*last == END || action(last)) && rising && count > 0;
        if good {
            self.grams.insert(gram, count);
            if *last == END {
                self.sequences = self.sequences.saturating_add(count);
            }
        }
        good
    }

    /// How often each action occurred, by id; the marks have none.
    pub fn frequencies(&self, ids: usize) -> Vec<u64> {
        let mut frequencies = vec![0u64; ids];
        for (gram, &count) in &self.grams {
            let last = gram[MAX_N - 1];
            if last != END {
                frequencies[last as usize] = frequencies[last as usize].saturating_add(count);
            }
        }
        frequencies
    }
}

/// The n-gram that ends with the next action.
pub(super) fn shifted(gram: Gram, action: u32, n: usize) -> Gram {
    let mut next = [START; MAX_N];
    next[MAX_N - n..MAX_N - 1].copy_from_slice(&gram[MAX_N - n + 1..]);
    next[MAX_N - 1] = action;
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequences() -> impl Strategy<Value = Vec<Vec<u32>>> {
        prop::collection::vec(prop::collection::vec(FIRST..FIRST + 4, 0..8), 0..12)
    }

    fn counted(n: usize, sequences: &[Vec<u32>]) -> Counts {
        let mut counts = Counts::new(n).unwrap();
        sequences.iter().for_each(|sequence| counts.add(sequence, 1));
        counts
    }

    proptest! {
        #[test]
        fn merged_parts_are_the_whole(n in 1usize..=MAX_N, all in sequences(), cut in 0usize..12) {
            let (a, b) = all.split_at(cut.min(all.len()));
            let mut merged = counted(n, a);
            merged.merge(&counted(n, b), |id| id).unwrap();
            prop_assert_eq!(merged, counted(n, &all));
        }

        #[test]
        fn counts_are_those_of_the_padded_text(n in 1usize..=MAX_N, all in sequences()) {
            let counts = counted(n, &all);
            let padded = all.iter().map(|s| [vec![START; n - 1], s.clone(), vec![END]].concat());
            let grams: Vec<Vec<u32>> = padded.flat_map(|s| s.windows(n).map(<[u32]>::to_vec).collect::<Vec<_>>()).collect();
            prop_assert_eq!(counts.grams().map(|(_, count)| count).sum::<u64>(), grams.len() as u64);
            for (gram, count) in counts.grams() {
                let slow = grams.iter().filter(|other| other[..] == gram[MAX_N - n..]).count() as u64;
                prop_assert_eq!(slow, count);
            }
            let mut again = Counts::new(n).unwrap();
            for (gram, count) in counts.grams() {
                prop_assert!(again.restore(*gram, count, FIRST as usize + 4));
            }
            prop_assert_eq!(again, counts);
        }
    }

    #[test]
    fn counts_saturate() {
        let mut counts = Counts::new(2).unwrap();
        counts.add(&[FIRST], u64::MAX);
        counts.add(&[FIRST], 5);
        let copy = counts.clone();
        counts.merge(&copy, |id| id).unwrap();
        assert!(counts.grams().all(|(_, count)| count == u64::MAX) && counts.sequences() == u64::MAX);
    }

    #[test]
    fn what_no_sequence_can_make_is_not_restored() {
        let gram = |ids: [u32; 3]| [START, START, ids[0], ids[1], ids[2]];
        for (bad, count) in [
            (gram([3, START, 4]), 1), // a start inside
            (gram([3, END, 4]), 1),   // an end inside
            (gram([3, 4, START]), 1),
            (gram([3, 4, 9]), 1), // beyond the vocabulary
            (gram([3, 2, 4]), 1), // the unknown action is never counted
            (gram([3, 4, 4]), 0),
        ] {
            assert!(!Counts::new(3).unwrap().restore(bad, count, 6), "{bad:?}");
        }
        let mut counts = Counts::new(3).unwrap();
        assert!(counts.restore(gram([START, START, END]), 2, 6) && counts.restore(gram([3, 4, 5]), 1, 6));
        assert!(!counts.restore(gram([3, 4, 5]), 1, 6), "twice");
        assert_eq!(counts.sequences(), 2);
    }
}
