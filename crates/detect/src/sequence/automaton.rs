//! A smoothed language model as a machine that reads one action after the other: contexts are its states, and what was
//! seen after a context lies in one flat table under the key (context, action).
//!
//! A seen action costs one look into the table, an unseen one a look more for each action that its context loses. This is
//! what makes a million sequences a second: open addressing with linear probing (Knuth, The Art of Computer
//! Programming 3, section 6.4, algorithm L) in a table at most half full, nothing allocated.

use std::collections::BTreeMap;

use super::counts::{Counts, Gram, MAX_N};
use super::kneser_ney::{EMPTY, shorter, smooth};
use super::vocabulary::{END, START};

/// The state of the empty context.
const ROOT: u32 = 0;
const NO_KEY: u64 = u64::MAX;

/// One action after one context.
#[derive(Debug, Clone, Copy)]
struct Arc {
    key: u64,
    ln_p: f32,
    rarity: f32,
    next: u32,
}

/// A context: what an unseen action costs, and the shorter context to ask then.
#[derive(Debug, Clone, Copy)]
struct State {
    ln_back: f32,
    shorter: u32,
}

/// What one action did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// The natural logarithm of its probability.
    pub(super) ln_p: f64,
    /// 1 / (1 + count of its n-gram): 1 for one that was never seen.
    pub(super) rarity: f64,
    /// The state after it.
    pub(super) next: u32,
}

/// A language model to be walked.
#[derive(Debug, Clone)]
pub(super) struct Automaton {
    states: Vec<State>,
    arcs: Vec<Arc>,
    /// Bits of a hash that are dropped.
    shift: u32,
    start: u32,
    /// ln of the probability under the shortest context of what was never seen at all.
    ln_unseen: f32,
}

impl Automaton {
    /// Smooths the counts; `ids` is [`super::Vocabulary::ids`].
    pub(super) fn new(counts: &Counts, ids: usize) -> Self {
        let n = counts.n();
        let levels = smooth(counts, ids);
        let place: BTreeMap<_, u32> = levels.keys().enumerate().map(|(at, context)| (*context, at as u32)).collect();
        let found = |mut context| loop {
            if let Some(&state) = place.get(&context) {
                return state;
            }
            context = shorter(context);
        };
        let states = levels
            .iter()
            .map(|(context, level)| State { ln_back: level.ln_back as f32, shorter: found(shorter(*context)) });
        let n_arcs: usize = levels.values().map(|level| level.seen.len()).sum();
        let slots = (2 * n_arcs).next_power_of_two().max(2);
        let empty = Arc { key: NO_KEY, ln_p: 0.0, rarity: 1.0, next: ROOT };
        let mut out = Self {
            states: states.collect(),
            arcs: vec![empty; slots],
            shift: 64 - slots.trailing_zeros(),
            start: found((n - 1, [START; MAX_N])),
            ln_unseen: (levels[&EMPTY].ln_back - ((ids - 1) as f64).ln()) as f32,
        };
        for (state, ((len, actions), level)) in levels.iter().enumerate() {
            for &(action, p, count) in &level.seen {
                let next = if action == END { ROOT } else { found(after(*len, actions, action, n)) };
                let rarity = count.map_or(1.0, |count| 1.0 / (1.0 + count as f64)) as f32;
                out.insert(Arc { key: key(state as u32, action), ln_p: p.ln() as f32, rarity, next });
            }
        }
        out
    }

    fn insert(&mut self, arc: Arc) {
        let mut at = self.slot(arc.key);
        while self.arcs[at].key != NO_KEY {
            at = (at + 1) & (self.arcs.len() - 1);
        }
        self.arcs[at] = arc;
    }

    /// Fibonacci hashing (Knuth, section 6.4).
    fn slot(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// The state before a sequence.
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// Reads one action.
    #[inline]
    pub(super) fn step(&self, state: u32, action: u32) -> Step {
        let mut state = state;
        let mut ln_p = 0.0f32;
        loop {
            let key = key(state, action);
            let mut at = self.slot(key);
            loop {
                let arc = &self.arcs[at];
                if arc.key == key {
                    return Step { ln_p: f64::from(ln_p + arc.ln_p), rarity: f64::from(arc.rarity), next: arc.next };
                }
                if arc.key == NO_KEY {
                    break;
                }
                at = (at + 1) & (self.arcs.len() - 1);
            }
            if state == ROOT {
                return Step { ln_p: f64::from(ln_p + self.ln_unseen), rarity: 1.0, next: ROOT };
            }
            let State { ln_back, shorter } = self.states[state as usize];
            ln_p += ln_back;
            state = shorter;
        }
    }
}

fn key(state: u32, action: u32) -> u64 {
    u64::from(state) << 32 | u64::from(action)
}

/// The longest context of at most n − 1 actions after an action.
fn after(len: usize, actions: &Gram, action: u32, n: usize) -> (usize, Gram) {
    let kept = (len + 1).min(n - 1);
    let mut next = [0; MAX_N];
    if kept > 0 {
        next[MAX_N - kept..MAX_N - 1].copy_from_slice(&actions[MAX_N - kept + 1..]);
        next[MAX_N - 1] = action;
    }
    (kept, next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequence::counts::shifted;
    use crate::sequence::vocabulary::{FIRST, UNKNOWN};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_walk_is_the_smoothed_model_context_by_context(
            n in 1usize..=5,
            lines in prop::collection::vec((prop::collection::vec(FIRST..FIRST + 5, 0..9), 1u64..4), 0..12),
            walk in prop::collection::vec(UNKNOWN..FIRST + 6, 0..12),
        ) {
            let ids = FIRST as usize + 6;
            let mut counts = Counts::new(n).unwrap();
            lines.iter().for_each(|(line, times)| counts.add(line, *times));
            let levels = smooth(&counts, ids);
            let automaton = Automaton::new(&counts, ids);
            let mut state = automaton.start();
            let mut gram = [START; MAX_N];
            for action in walk.into_iter().chain([END]) {
                let step = automaton.step(state, action);
                // The whole context, however much of it was ever seen.
                let mut context = (n - 1, [0; MAX_N]);
                context.1[MAX_N + 1 - n..].copy_from_slice(&gram[MAX_N + 1 - n..]);
                let mut ln_p = 0.0;
                let slow = loop {
                    if let Some(level) = levels.get(&context) {
                        if let Some(seen) = level.seen.iter().find(|seen| seen.0 == action) {
                            break ln_p + seen.1.ln();
                        }
                        ln_p += level.ln_back;
                    }
                    if context.0 == 0 {
                        break ln_p - ((ids - 1) as f64).ln();
                    }
                    context = shorter(context);
                };
                prop_assert!((step.ln_p - slow).abs() < 1e-4 * slow.abs().max(1.0), "{} {slow}", step.ln_p);
                gram = shifted(gram, action, n);
                let count = counts.grams().find(|(own, _)| **own == gram).map_or(0, |(_, count)| count);
                prop_assert_eq!(step.rarity as f32, (1.0 / (1.0 + count as f64)) as f32);
                state = step.next;
            }
        }
    }

    #[test]
    fn without_a_single_sequence_all_actions_are_alike() {
        let automaton = Automaton::new(&Counts::new(3).unwrap(), 8);
        for action in [END, UNKNOWN, FIRST] {
            assert!((automaton.step(automaton.start(), action).ln_p - (1.0f64 / 7.0).ln()).abs() < 1e-6);
        }
    }
}
