//! What is measured of a sequence.

use serde::{Deserialize, Serialize};

use super::automaton::Automaton;
use super::counts::{Counts, MAX_N};
use super::vocabulary::{END, START, UNKNOWN};

/// Measurements of one sequence. A position is an action or the end mark: a sequence of L actions has L + 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// n-gram rarity: the mean over positions of 1 / (1 + c), c the count of the position's n-gram among normal
    /// sequences. 1: no n-gram was ever seen.
    pub rarity: f64,
    /// Action frequency deviation: the total variation distance ½ Σ |f − q| between the sequence's action frequencies f
    /// and those of normal sequences q, 0 to 1; 0 for a sequence without actions.
    pub deviation: f64,
    /// Shannon entropy of the sequence's action frequencies, −Σ f ln f in nats.
    pub entropy: f64,
    /// Pattern diversity: different n-grams / positions.
    pub diversity: f64,
    /// Mean surprise −ln p of a position under the normal language model, in nats.
    pub surprise: f64,
    /// Surprise of the most surprising position.
    pub worst: f64,
    /// Mean over positions of ln p under the anomalous language model less ln p under the normal one; 0 where there is
    /// no anomalous one.
    pub ratio: f64,
}

/// How many measurements there are.
pub(super) const FEATURES: usize = 7;

/// Their names, in the order of [`Features::values`].
pub const FEATURE_NAMES: [&str; FEATURES] =
    ["rarity", "deviation", "entropy", "diversity", "surprise", "worst", "ratio"];

impl Features {
    /// The measurements in the order of [`FEATURE_NAMES`].
    pub fn values(&self) -> [f64; FEATURES] {
        [self.rarity, self.deviation, self.entropy, self.diversity, self.surprise, self.worst, self.ratio]
    }
}

/// Language models and frequencies, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    n: usize,
    normal: Automaton,
    anomalous: Option<Automaton>,
    /// Share of each action among those of normal sequences, by id.
    shares: Vec<f64>,
}

impl Measure {
    /// `ids` is [`super::Vocabulary::ids`].
    pub(super) fn new(normal: &Counts, anomalous: Option<&Counts>, ids: usize) -> Self {
        let frequencies = normal.frequencies(ids);
        let total: f64 = frequencies.iter().map(|count| *count as f64).sum();
        Self {
            n: normal.n(),
            normal: Automaton::new(normal, ids),
            anomalous: anomalous.map(|counts| Automaton::new(counts, ids)),
            shares: frequencies.iter().map(|count| *count as f64 / total.max(1.0)).collect(),
        }
    }

    /// Share of each action among those of normal sequences, by id.
    pub(super) fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// Measures a sequence. An id that the vocabulary does not hold is the unknown action.
    pub(super) fn features(&self, actions: &[u32], scratch: &mut Scratch) -> Features {
        let positions = (actions.len() + 1) as f64;
        let (mut rarity, mut surprise, mut worst, mut ratio) = (0.0, 0.0, 0.0f64, 0.0);
        let mut state = self.normal.start();
        let mut other = self.anomalous.as_ref().map(|model| (model, model.start()));
        let patterns = &mut scratch.patterns;
        patterns.start(actions.len() + 1, self.n);
        let ids = self.shares.len();
        for &action in actions.iter().chain([&END]) {
            let action = if (action as usize) < ids { action } else { UNKNOWN };
            let step = self.normal.step(state, action);
            state = step.next;
            rarity += step.rarity;
            surprise -= step.ln_p;
            worst = worst.max(-step.ln_p);
            if let Some((model, state)) = &mut other {
                let under = model.step(*state, action);
                *state = under.next;
                ratio += under.ln_p - step.ln_p;
            }
            patterns.add(action);
        }
        let (entropy, deviation) = scratch.frequencies.measure(actions, &self.shares);
        Features {
            rarity: rarity / positions,
            deviation,
            entropy,
            diversity: f64::from(scratch.patterns.different) / positions,
            surprise: surprise / positions,
            worst,
            ratio: ratio / positions,
        }
    }
}

/// Memory that is used again from sequence to sequence.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    frequencies: Frequencies,
    patterns: Patterns,
}

/// Values of `c ln c` that are looked up.
const LOGS: usize = 64;

/// Counts of the actions of one sequence; all 0 between sequences.
#[derive(Debug, Clone, Default)]
struct Frequencies {
    counts: Vec<u32>,
    c_ln_c: Vec<f64>,
}

impl Frequencies {
    /// Entropy and deviation of a sequence.
    fn measure(&mut self, actions: &[u32], shares: &[f64]) -> (f64, f64) {
        if actions.is_empty() {
            return (0.0, 0.0);
        }
        if self.counts.len() < shares.len() {
            self.counts.resize(shares.len(), 0);
        }
        if self.c_ln_c.is_empty() {
            self.c_ln_c = (0..LOGS).map(|c| if c == 0 { 0.0 } else { c as f64 * (c as f64).ln() }).collect();
        }
        let held = |action: u32| if (action as usize) < shares.len() { action as usize } else { UNKNOWN as usize };
        for &action in actions {
            self.counts[held(action)] += 1;
        }
        let length = actions.len() as f64;
        let (mut c_ln_c, mut outside, mut apart) = (0.0, 1.0, 0.0);
        for &action in actions {
            let count = std::mem::take(&mut self.counts[held(action)]);
            if count > 0 {
                let c = f64::from(count);
                c_ln_c += self.c_ln_c.get(count as usize).copied().unwrap_or_else(|| c * c.ln());
                let share = shares[held(action)];
                outside -= share;
                apart += (c / length - share).abs();
            }
        }
        let entropy = length.ln() - c_ln_c / length;
        // One kind of action: the two terms are equal up to rounding.
        (entropy.max(0.0), (f64::midpoint(apart, outside)).clamp(0.0, 1.0))
    }
}

/// The n-grams of one sequence that were met, in a table that is emptied by counting up a mark.
#[derive(Debug, Clone, Default)]
struct Patterns {
    n: usize,
    gram: [u32; MAX_N],
    table: Vec<([u32; MAX_N], u32)>,
    mark: u32,
    shift: u32,
    different: u32,
}

impl Patterns {
    fn start(&mut self, positions: usize, n: usize) {
        let slots = (2 * positions).next_power_of_two().max(32);
        if self.table.len() < slots {
            self.table = vec![([0; MAX_N], 0); slots];
            self.mark = 0;
        }
        self.shift = 64 - slots.trailing_zeros();
        if self.mark == u32::MAX {
            self.table.iter_mut().for_each(|slot| slot.1 = 0);
            self.mark = 0;
        }
        self.mark += 1;
        self.different = 0;
        self.n = n;
        self.gram = [START; MAX_N];
    }

    #[inline]
    fn add(&mut self, action: u32) {
        self.gram = super::counts::shifted(self.gram, action, self.n);
        // Multiplied and added up: what collides is compared.
        let mixed = self
            .gram
            .iter()
            .fold(0u64, |mixed, id| (mixed ^ u64::from(*id)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23));
        let last = (1usize << (64 - self.shift)) - 1;
        let mut at = (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        loop {
            let slot = &mut self.table[at];
            if slot.1 != self.mark {
                *slot = (self.gram, self.mark);
                self.different += 1;
                return;
            }
            if slot.0 == self.gram {
                return;
            }
            at = (at + 1) & last;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::sequence::vocabulary::FIRST;

    fn counted(n: usize, lines: &[Vec<u32>]) -> Counts {
        let mut counts = Counts::new(n).unwrap();
        lines.iter().for_each(|line| counts.add(line, 1));
        counts
    }

    fn lines() -> impl Strategy<Value = Vec<Vec<u32>>> {
        prop::collection::vec(prop::collection::vec(FIRST..FIRST + 4, 0..9), 0..10)
    }

    proptest! {
        #[test]
        fn features_are_their_definitions(
            n in 1usize..=4,
            normal in lines(),
            walks in prop::collection::vec(prop::collection::vec(UNKNOWN..FIRST + 5, 0..100), 1..4),
        ) {
            let ids = FIRST as usize + 5;
            let counts = counted(n, &normal);
            let measure = Measure::new(&counts, None, ids);
            let mut scratch = Scratch::default();
            for walk in walks {
                let found = measure.features(&walk, &mut scratch);
                let padded = [vec![START; n - 1], walk.clone(), vec![END]].concat();
                let grams: Vec<&[u32]> = padded.windows(n).collect();
                let count = |gram: &[u32]| {
                    counts.grams().find(|(own, _)| own[MAX_N - n..] == *gram).map_or(0, |(_, count)| count) as f64
                };
                let rarity = grams.iter().map(|gram| 1.0 / (1.0 + count(gram))).sum::<f64>() / grams.len() as f64;
                prop_assert!((found.rarity - rarity).abs() < 1e-6);
                let kinds: BTreeSet<&[u32]> = grams.iter().copied().collect();
                prop_assert!((found.diversity - kinds.len() as f64 / grams.len() as f64).abs() < 1e-12);
                let shares = |lines: &[Vec<u32>]| {
                    let all: Vec<u32> = lines.concat();
                    let mut shares: BTreeMap<u32, f64> = BTreeMap::new();
                    all.iter().for_each(|a| *shares.entry(*a).or_default() += 1.0 / all.len() as f64);
                    shares
                };
                let (own, usual) = (shares(std::slice::from_ref(&walk)), shares(&normal));
                let entropy = -own.values().map(|f| f * f.ln()).sum::<f64>();
                prop_assert!((found.entropy - entropy).abs() < 1e-9, "{} {entropy}", found.entropy);
                let at = |of: &BTreeMap<u32, f64>, id: u32| of.get(&id).copied().unwrap_or(0.0);
                let apart: f64 = (0..ids as u32).map(|id| (at(&own, id) - at(&usual, id)).abs()).sum();
                let all = if walk.is_empty() { 0.0 } else { apart + if usual.is_empty() { 1.0 } else { 0.0 } };
                prop_assert!((found.deviation - all / 2.0).abs() < 1e-9, "{} {}", found.deviation, all / 2.0);
                prop_assert!(found.worst >= found.surprise && found.surprise > 0.0);
                prop_assert_eq!(found.ratio, 0.0);
            }
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_two_models() {
        let (normal, anomalous) = (counted(3, &[vec![3, 4, 5]]), counted(3, &[vec![5, 4, 3]]));
        let measure = |a: &Counts, b: Option<&Counts>| Measure::new(a, b, 6);
        let mut scratch = Scratch::default();
        let both = measure(&normal, Some(&anomalous));
        for walk in [&[3, 4, 5][..], &[5, 4, 3], &[3], &[]] {
            let ratio = both.features(walk, &mut scratch).ratio;
            let [own, other] =
                [&normal, &anomalous].map(|counts| measure(counts, None).features(walk, &mut scratch).surprise);
            assert!((ratio - (own - other)).abs() < 1e-6);
        }
        assert!(both.features(&[5, 4, 3], &mut scratch).ratio > 0.0);
        assert!(both.features(&[3, 4, 5], &mut scratch).ratio < 0.0);
    }

    #[test]
    fn scratch_serves_models_and_sequences_of_any_size() {
        let small = Measure::new(&counted(2, &[vec![3]]), None, 4);
        let large = Measure::new(&counted(3, &[(3..900).collect()]), None, 900);
        let mut scratch = Scratch::default();
        let long: Vec<u32> = (0..3000).map(|i| 3 + i % 7).collect();
        for measure in [&small, &large, &small] {
            for walk in [&long[..], &[3, 3], &[]] {
                assert_eq!(measure.features(walk, &mut scratch), measure.features(walk, &mut Scratch::default()));
            }
        }
    }
}
