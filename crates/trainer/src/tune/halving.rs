//! Successive halving (Jamieson and Talwalkar, AISTATS 2016): many trials with little of a resource, few with all of it.
//!
//! One bracket of Hyperband (Li et al., JMLR 2018): rung `i` of `s` runs the best `trials / eta^i` of the rung before it
//! with `most / eta^(s - 1 - i)` of the resource. With one rung it is plain random search. The first trial, the settings
//! as they were configured, rides along to the end, so that the table shows what the search gained.

use std::cmp::Ordering;

/// One step of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Trials that it runs, besides the configured settings where they were not among the best.
    pub trials: usize,
    /// How much of the resource each is given.
    pub resource: u64,
}

/// The rungs of a search with `trials` trials and at most `most` of the resource: as many of the wanted ones as there
/// are trials and units of the resource for; the last has all of it.
pub fn rungs(trials: usize, wanted: usize, eta: usize, most: u64) -> Vec<Rung> {
    // As long as the rung keeps at least two trials to choose from.
    let mut count = 1;
    while count < wanted && trials / eta.saturating_pow(count as u32) >= 2 {
        count += 1;
    }
    let mut resources: Vec<u64> = (0..count)
        .map(|i| ((most as f64 / (eta as f64).powi((count - 1 - i) as i32)).round() as u64).clamp(1, most))
        .collect();
    resources.dedup();
    let rung = |(i, resource)| Rung { trials: (trials / eta.pow(i as u32)).max(1), resource };
    resources.into_iter().enumerate().map(rung).collect()
}

/// How good a trial was on a rung.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Macro F1 over all inner test windows; `None` for a fit that failed.
    pub macro_f1: Option<f64>,
    /// Mean log loss over the same windows, which breaks ties.
    pub log_loss: f64,
}

/// The trials from best to worst: larger macro F1, then smaller log loss, then the earlier trial; failed fits last.
pub fn rank(scores: &[(usize, Score)]) -> Vec<usize> {
    let mut ranked: Vec<&(usize, Score)> = scores.iter().collect();
    ranked.sort_by(|(trial_a, a), (trial_b, b)| {
        let by_score = match (a.macro_f1, b.macro_f1) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        let by_loss = || if a.macro_f1.is_some() { a.log_loss.total_cmp(&b.log_loss) } else { Ordering::Equal };
        by_score.then_with(by_loss).then(trial_a.cmp(trial_b))
    });
    ranked.into_iter().map(|(trial, _)| *trial).collect()
}

/// The trials of the next rung, ascending: its share of the best, and trial 0. Failed ones do not go on.
pub fn promote(scores: &[(usize, Score)], next: Rung) -> Vec<usize> {
    let alive: Vec<(usize, Score)> = scores.iter().copied().filter(|(_, score)| score.macro_f1.is_some()).collect();
    let mut kept: Vec<usize> = rank(&alive).into_iter().take(next.trials).collect();
    if alive.iter().any(|(trial, _)| *trial == 0) && !kept.contains(&0) {
        kept.push(0);
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bracket_of_hyperband() {
        let plan = |trials, wanted, eta, most| -> Vec<(usize, u64)> {
            rungs(trials, wanted, eta, most).into_iter().map(|rung| (rung.trials, rung.resource)).collect()
        };
        // The resources of bracket s = 3 of Li et al. 2018, Table 1: R = 81, eta = 3.
        assert_eq!(plan(81, 4, 3, 81), [(81, 3), (27, 9), (9, 27), (3, 81)]);
        assert_eq!(plan(27, 1, 3, 40), [(27, 40)], "one rung is random search");
        assert_eq!(plan(27, 3, 3, 40), [(27, 4), (9, 13), (3, 40)]);
        assert_eq!(plan(27, 3, 3, 4), [(27, 1), (9, 4)], "rungs of the same resource are one");
        assert_eq!(plan(4, 5, 3, 40), [(4, 40)], "too few trials to halve");
        assert_eq!(plan(2, 3, 2, 1), [(2, 1)]);
    }

    #[test]
    fn ties_are_broken_by_log_loss_then_by_the_earlier_trial() {
        let score = |macro_f1, log_loss| Score { macro_f1, log_loss };
        let scores = [
            (0, score(Some(0.4), 1.0)),
            (1, score(Some(0.7), 0.9)),
            (2, score(None, f64::NAN)),
            (3, score(Some(0.7), 0.5)),
            (4, score(Some(0.7), 0.5)),
        ];
        assert_eq!(rank(&scores), [3, 4, 1, 0, 2]);
        assert_eq!(promote(&scores, Rung { trials: 1, resource: 1 }), [0, 3]);
        assert_eq!(promote(&scores, Rung { trials: 9, resource: 1 }), [0, 1, 3, 4]);
    }

    proptest! {
        /// Against the slow obvious rule: nobody outside is better than somebody inside.
        #[test]
        fn the_best_go_on(scores in proptest::collection::vec((0u8..4, 0u8..4, any::<bool>()), 1..30), keep in 1usize..12) {
            let scores: Vec<(usize, Score)> = scores
                .into_iter()
                .enumerate()
                .map(|(trial, (f1, loss, failed))| {
                    (trial, Score { macro_f1: (!failed).then_some(f64::from(f1)), log_loss: f64::from(loss) })
                })
                .collect();
            let kept = promote(&scores, Rung { trials: keep, resource: 1 });
            let alive: Vec<&(usize, Score)> = scores.iter().filter(|(_, s)| s.macro_f1.is_some()).collect();
            prop_assert!(kept.len() <= keep + 1 && kept.len() >= keep.min(alive.len()));
            let better = |a: &Score, b: &Score| {
                a.macro_f1 > b.macro_f1 || (a.macro_f1 == b.macro_f1 && a.log_loss < b.log_loss)
            };
            for (trial, inside) in alive.iter().filter(|(trial, _)| kept.contains(trial) && *trial != 0) {
                for (other, outside) in alive.iter().filter(|(other, _)| !kept.contains(other)) {
                    prop_assert!(!better(outside, inside), "{other} is better than {trial}");
                }
            }
        }

        #[test]
        fn resources_grow_to_all_of_it(trials in 2usize..500, wanted in 1usize..6, eta in 2usize..5, most in 1u64..1000) {
            let plan = rungs(trials, wanted, eta, most);
            prop_assert_eq!(plan.last().unwrap().resource, most);
            prop_assert_eq!(plan[0].trials, trials);
            prop_assert!(plan.len() <= wanted);
            prop_assert!(plan.windows(2).all(|pair| pair[0].resource < pair[1].resource && pair[0].trials >= pair[1].trials));
        }
    }
}
