//! Interpolated Kneser-Ney smoothing: counts to probabilities of the next action, none of them zero.
//!
//! For a context h = h' without its first action (Kneser and Ney 1995; in the interpolated form of Chen and Goodman
//! 1999, section 2.7, equation 20)
//!
//! ```text
//! p(a | h) = max(c(h a) − D, 0) / c(h) + D · T(h) / c(h) · p(a | h')
//! ```
//!
//! with c the count of the n-gram at the highest order and below it the number of different actions (the start mark is
//! one) that it was seen after, T(h) the number of different actions seen after h, and one D = n₁ / (n₁ + 2 n₂) an
//! order, from how many n-grams have the count 1 and 2 (Ney, Essen and Kneser 1994; ½ where either is none). Under the
//! shortest context lies the uniform distribution over the vocabulary, the end mark and one unknown action, so that an
//! action that was never seen has a probability too.
//!
//! The formula is kept in its back-off form: a seen n-gram carries the whole sum, an unseen one is `γ(h) · p(a | h')`
//! with `γ(h) = D · T(h) / c(h)`: one number a context.

use std::collections::BTreeMap;

use super::counts::{Counts, Gram, MAX_N};
use super::vocabulary::START;

/// The actions of a context, the last one at the end; what lies before its length is 0.
type Context = (usize, Gram);

/// The empty context.
pub(super) const EMPTY: Context = (0, [0; MAX_N]);

/// What is known after one context.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    /// ln γ: what an action that was not seen here is weighed by.
    pub(super) ln_back: f64,
    /// Each action that was seen here, ascending: its probability and, at the highest order, its count.
    pub(super) seen: Vec<(u32, f64, Option<u64>)>,
}

/// The smoothed distributions of all contexts that were seen, the empty one always among them.
pub(super) fn smooth(counts: &Counts, ids: usize) -> BTreeMap<Context, Level> {
    let n = counts.n();
    // The vocabulary, the end mark and one unknown action: the start mark is never next.
    let uniform = 1.0 / (ids - 1) as f64;
    let mut levels: BTreeMap<Context, Level> = BTreeMap::new();
    levels.insert(EMPTY, Level { ln_back: 0.0, seen: Vec::new() });
    for order in 1..=n {
        let grams = if order == n { top(counts) } else { continuations(counts, order) };
        let discount = discount(&grams);
        for of_context in grams.chunk_by(|a, b| a.0[..MAX_N - 1] == b.0[..MAX_N - 1]) {
            let context = context(&of_context[0].0, order - 1);
            let total: f64 = of_context.iter().map(|(_, count)| *count as f64).sum();
            let back = discount * of_context.len() as f64 / total;
            let lower = shorter(context);
            let seen = of_context.iter().map(|(gram, count)| {
                let action = gram[MAX_N - 1];
                let below = if order == 1 { uniform } else { probability(&levels, lower, action, uniform) };
                let p = (*count as f64 - discount) / total + back * below;
                (action, p, (order == n).then_some(*count))
            });
            let level = Level { ln_back: back.ln(), seen: seen.collect() };
            levels.insert(context, level);
        }
    }
    levels
}

/// The context to fall back to: without the first action, and without start marks, since nothing is before them.
pub(super) fn shorter((mut len, mut actions): Context) -> Context {
    while len > 0 {
        actions[MAX_N - len] = 0;
        len -= 1;
        if len > 0 && actions[MAX_N - len] != START {
            break;
        }
    }
    (len, actions)
}

/// The last `len` actions before the last one of an n-gram.
fn context(gram: &Gram, len: usize) -> Context {
    let mut actions = [0; MAX_N];
    actions[MAX_N - len..].copy_from_slice(&gram[MAX_N - 1 - len..MAX_N - 1]);
    (len, actions)
}

fn probability(levels: &BTreeMap<Context, Level>, context: Context, action: u32, uniform: f64) -> f64 {
    let mut context = context;
    let mut ln_back = 0.0;
    loop {
        if let Some(level) = levels.get(&context) {
            if let Ok(at) = level.seen.binary_search_by_key(&action, |seen| seen.0) {
                return f64::exp(ln_back) * level.seen[at].1;
            }
            ln_back += level.ln_back;
        }
        if context.0 == 0 {
            return ln_back.exp() * uniform;
        }
        context = shorter(context);
    }
}

/// n-grams of the highest order with their counts, ascending.
fn top(counts: &Counts) -> Vec<(Gram, u64)> {
    counts.grams().map(|(gram, count)| (*gram, count)).collect()
}

/// n-grams of a lower order, without a start mark, with the number of different actions that they follow.
fn continuations(counts: &Counts, order: usize) -> Vec<(Gram, u64)> {
    let mut longer: Vec<(Gram, u32)> = Vec::new();
    for (gram, _) in counts.grams() {
        let own = &gram[MAX_N - order..];
        if own[0] != START {
            let mut short = [0; MAX_N];
            short[MAX_N - order..].copy_from_slice(own);
            longer.push((short, gram[MAX_N - order - 1]));
        }
    }
    longer.sort_unstable();
    longer.dedup();
    longer.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same.len() as u64)).collect()
}

/// D = n₁ / (n₁ + 2 n₂) (Ney, Essen and Kneser 1994, equation 9); ½ where the counts do not say.
fn discount(grams: &[(Gram, u64)]) -> f64 {
    let with = |times: u64| grams.iter().filter(|(_, count)| *count == times).count() as f64;
    let (once, twice) = (with(1), with(2));
    if once == 0.0 || twice == 0.0 { 0.5 } else { once / (once + 2.0 * twice) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::sequence::vocabulary::{END, FIRST, UNKNOWN};

    /// The definition, straight from the padded text.
    struct Slow {
        n: usize,
        ids: usize,
        text: Vec<Vec<u32>>,
    }

    impl Slow {
        fn grams(&self, order: usize) -> Vec<(Vec<u32>, f64)> {
            let all = |len: usize| self.text.iter().flat_map(move |line| line.windows(len).map(<[u32]>::to_vec));
            let started = |gram: &[u32]| gram.last() == Some(&START);
            let kinds: BTreeSet<Vec<u32>> = all(order).filter(|gram| !started(gram)).collect();
            let count = |gram: &Vec<u32>| {
                if order == self.n {
                    return all(order).filter(|other| other == gram).count() as f64;
                }
                let longer: BTreeSet<Vec<u32>> = all(order + 1).filter(|longer| longer[1..] == gram[..]).collect();
                longer.len() as f64
            };
            let kept = kinds.into_iter().filter(|gram| order == self.n || !gram.contains(&START));
            kept.map(|gram| (gram.clone(), count(&gram))).collect()
        }

        fn p(&self, action: u32, context: &[u32]) -> f64 {
            let order = context.len() + 1;
            let below = || match context.iter().position(|own| *own != START) {
                _ if context.is_empty() => 1.0 / (self.ids - 1) as f64,
                None => self.p(action, &[]),
                Some(0) => self.p(action, &context[1..]),
                Some(marks) => self.p(action, &context[marks..]),
            };
            let grams = self.grams(order);
            let with = |times: f64| grams.iter().filter(|(_, count)| *count == times).count() as f64;
            let d = if with(1.0) * with(2.0) == 0.0 { 0.5 } else { with(1.0) / (with(1.0) + 2.0 * with(2.0)) };
            let own: Vec<_> = grams.iter().filter(|(gram, _)| gram[..order - 1] == *context).collect();
            let total: f64 = own.iter().map(|(_, count)| count).sum();
            if total == 0.0 {
                return below();
            }
            let count = own.iter().find(|(gram, _)| gram[order - 1] == action).map_or(0.0, |(_, count)| *count);
            (count - d).max(0.0) / total + d * own.len() as f64 / total * below()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn probabilities_are_those_of_the_definition_and_sum_to_one(
            n in 1usize..=4,
            lines in prop::collection::vec(prop::collection::vec(FIRST..FIRST + 4, 0..6), 0..7),
            context in prop::collection::vec(FIRST..FIRST + 5, 0..3),
        ) {
            let ids = FIRST as usize + 5;
            let mut counts = Counts::new(n).unwrap();
            lines.iter().for_each(|line| counts.add(line, 1));
            let levels = smooth(&counts, ids);
            let text = lines.iter().map(|line| [vec![START; n - 1], line.clone(), vec![END]].concat());
            let slow = Slow { n, ids, text: text.collect() };
            // As a sequence that begins with the context would meet it.
            let padded = [vec![START; n - 1], context].concat();
            let context = &padded[padded.len() + 1 - n..];
            let mut own = [0; MAX_N];
            own[MAX_N - context.len()..].copy_from_slice(context);
            let mut sum = 0.0;
            for action in [END, UNKNOWN].into_iter().chain(FIRST..ids as u32) {
                let p = probability(&levels, (context.len(), own), action, 1.0 / (ids - 1) as f64);
                prop_assert!((p - slow.p(action, context)).abs() < 1e-12, "{action} after {context:?}");
                prop_assert!(p > 0.0);
                sum += p;
            }
            prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn a_context_falls_back_past_its_start_marks() {
        let context = |actions: [u32; 3]| (3, [0, 0, actions[0], actions[1], actions[2]]);
        assert_eq!(shorter(context([5, 6, 7])), (2, [0, 0, 0, 6, 7]));
        assert_eq!(shorter(context([START, 6, 7])), (2, [0, 0, 0, 6, 7]));
        assert_eq!(shorter(context([START, START, 7])), (1, [0, 0, 0, 0, 7]));
        assert_eq!(shorter(context([START; 3])), EMPTY);
    }
}
