//! Stratified choice of groups: a seeded systematic draw, repaired by swaps until both sides cover what they can.
//!
//! Groups are sorted by what they hold (their classes and profiles) and every n-th is taken from a random start, so
//! that each kind of group is drawn in proportion (systematic sampling with implicit stratification; Cochran, Sampling
//! Techniques, ch. 8). Where a class or profile is still missing on a side, groups are swapped as long as that helps.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;

use crate::draw::{below, shuffle};
use crate::groups::Strata;

/// How many of `groups` a share holds out: the rounded share, but at least 1, and at least 2 of 5 or more, because one
/// group says nothing about the spread between groups. At least one group is left.
pub(crate) fn held_count(groups: usize, share: f64) -> usize {
    let least = if groups >= 5 { 2 } else { 1 };
    ((groups as f64 * share).round() as usize).max(least).min(groups.saturating_sub(1))
}

/// Chooses `k` of the candidates (group number, what it holds), ascending. Strata below `classes` are classes, which
/// come before profiles; what only one group holds stays on the other side, where it can at least be learnt.
pub(crate) fn choose(
    candidates: &[(usize, Strata)],
    k: usize,
    classes: usize,
    rng: &mut Xoshiro256PlusPlus,
) -> Vec<usize> {
    if k == 0 || k >= candidates.len() {
        return candidates.iter().take(k).map(|(group, _)| *group).collect();
    }
    // Groups that hold the same are exchangeable: one list each, in drawn order.
    let mut alike: BTreeMap<&Strata, Vec<usize>> = BTreeMap::new();
    for (group, strata) in candidates {
        alike.entry(strata).or_default().push(*group);
    }
    let mut kinds: Vec<(&Strata, Vec<usize>)> = alike.into_iter().collect();
    shuffle(&mut kinds, rng);
    for (_, groups) in &mut kinds {
        shuffle(groups, rng);
    }
    // Systematic draw of k positions from the concatenated lists.
    let n = candidates.len();
    let start = below(rng, n);
    let mut drawn = (0..k).map(|i| (i * n + start) / k).peekable();
    let mut position = 0;
    let mut sides: Vec<Kind> = Vec::with_capacity(kinds.len());
    for (strata, groups) in kinds {
        let mut kind = Kind { strata, chosen: Vec::new(), rest: Vec::new() };
        for group in groups {
            let side = if drawn.next_if_eq(&position).is_some() { &mut kind.chosen } else { &mut kind.rest };
            side.push(group);
            position += 1;
        }
        sides.push(kind);
    }
    while let Some((give, take)) = improving_swap(&sides, classes) {
        let (out, into) = (sides[give].chosen.pop(), sides[take].rest.pop());
        sides[give].rest.extend(out);
        sides[take].chosen.extend(into);
    }
    let mut chosen: Vec<usize> = sides.into_iter().flat_map(|kind| kind.chosen).collect();
    chosen.sort_unstable();
    chosen
}

/// Groups that hold the same strata.
struct Kind<'a> {
    strata: &'a Strata,
    chosen: Vec<usize>,
    rest: Vec<usize>,
}

/// Strata missing: classes among the rest, classes among the chosen, profiles among the rest, profiles among the
/// chosen; compared in this order.
type Missing = [isize; 4];

/// The first pair of kinds whose swap (one chosen group of the first for one other of the second) leaves less missing.
fn improving_swap(kinds: &[Kind<'_>], classes: usize) -> Option<(usize, usize)> {
    let mut chosen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut rest: BTreeMap<usize, usize> = BTreeMap::new();
    for kind in kinds {
        for &stratum in kind.strata {
            *chosen.entry(stratum).or_default() += kind.chosen.len();
            *rest.entry(stratum).or_default() += kind.rest.len();
        }
    }
    let (gaps_chosen, gaps_rest) = (chosen.values().any(|n| *n == 0), rest.values().any(|n| *n == 0));
    if !gaps_chosen && !gaps_rest {
        return None;
    }
    for (give, out) in kinds.iter().enumerate().filter(|(_, kind)| !kind.chosen.is_empty()) {
        for (take, into) in kinds.iter().enumerate().filter(|(_, kind)| !kind.rest.is_empty()) {
            let mut change: Missing = [0; 4];
            for &stratum in out.strata.difference(into.strata) {
                let at = if stratum < classes { 0 } else { 2 };
                change[at] -= isize::from(rest[&stratum] == 0);
                change[at + 1] += isize::from(chosen[&stratum] == 1);
            }
            for &stratum in into.strata.difference(out.strata) {
                let at = if stratum < classes { 0 } else { 2 };
                change[at] += isize::from(rest[&stratum] == 1);
                change[at + 1] -= isize::from(chosen[&stratum] == 0);
            }
            if change < [0; 4] {
                return Some((give, take));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::draw::generator;

    #[test]
    fn counts_follow_the_share_with_a_floor() {
        let counts = [(1, 0), (2, 1), (4, 1), (5, 2), (6, 2), (10, 2), (12, 2), (13, 3), (100, 20)];
        for (groups, held) in counts {
            assert_eq!(held_count(groups, 0.2), held, "{groups} groups");
        }
        assert_eq!(held_count(3, 0.99), 2);
    }

    #[test]
    fn a_rare_class_comes_to_both_sides_and_a_lonely_one_stays_to_be_learnt() {
        // 40 groups of class 0; class 1 in two of them, class 2 in one.
        let candidates: Vec<(usize, Strata)> = (0..40)
            .map(|group| {
                let rare = match group {
                    7 | 23 => Some(1),
                    31 => Some(2),
                    _ => None,
                };
                (group, std::iter::once(0).chain(rare).collect())
            })
            .collect();
        for seed in 0..50 {
            let chosen = choose(&candidates, 8, 3, &mut generator(seed, &[]));
            assert_eq!(chosen.len(), 8);
            assert!(chosen.contains(&7) != chosen.contains(&23), "seed {seed}: {chosen:?}");
            assert!(!chosen.contains(&31), "seed {seed}: {chosen:?}");
        }
    }

    #[test]
    fn profiles_are_drawn_in_proportion() {
        // Three profiles of 50, 30 and 20 single-class groups.
        let profile = |group: usize| {
            if group < 50 {
                1
            } else if group < 80 {
                2
            } else {
                3
            }
        };
        let candidates: Vec<(usize, Strata)> =
            (0..100).map(|group| (group, Strata::from([0, profile(group)]))).collect();
        for seed in 0..20 {
            let chosen = choose(&candidates, 20, 1, &mut generator(seed, &[]));
            for (p, expected) in [(1, 10), (2, 6), (3, 4)] {
                let drawn = chosen.iter().filter(|&&group| profile(group) == p).count();
                assert!(drawn.abs_diff(expected) <= 1, "profile {p}: {drawn}");
            }
        }
    }

    #[test]
    fn equal_groups_are_drawn_equally_often() {
        let candidates: Vec<(usize, Strata)> = (0..6).map(|group| (group, Strata::from([0]))).collect();
        let mut drawn = [0u32; 6];
        for seed in 0..3000 {
            for group in choose(&candidates, 2, 1, &mut generator(seed, &[])) {
                drawn[group] += 1;
            }
        }
        assert!(drawn.iter().all(|&n| (900..1100).contains(&n)), "{drawn:?}");
    }

    proptest! {
        /// No single swap can improve what was chosen, by a recount from scratch.
        #[test]
        fn no_swap_improves_the_choice(
            held in proptest::collection::vec(proptest::collection::btree_set(0usize..6, 1..4), 2..12),
            share in (0u32..1 << 20).prop_map(|i| 0.1 + f64::from(i) * (0.8 / 1_048_576.0)),
            seed: u64,
        ) {
            let candidates: Vec<(usize, Strata)> = held.into_iter().enumerate().collect();
            let k = held_count(candidates.len(), share);
            let chosen = choose(&candidates, k, 3, &mut generator(seed, &[]));
            prop_assert_eq!(chosen.len(), k);
            let missing = |chosen: &[usize]| {
                let all: Strata = candidates.iter().flat_map(|(_, s)| s.clone()).collect();
                let on = |side: bool| -> Strata {
                    candidates.iter().filter(|(g, _)| chosen.contains(g) == side).flat_map(|(_, s)| s.clone()).collect()
                };
                let (inside, outside) = (on(true), on(false));
                let gaps = |side: &Strata, class: bool| all.iter().filter(|s| (**s < 3) == class && !side.contains(s)).count();
                [gaps(&outside, true), gaps(&inside, true), gaps(&outside, false), gaps(&inside, false)]
            };
            let best = missing(&chosen);
            for &out in &chosen {
                for (into, _) in candidates.iter().filter(|(g, _)| !chosen.contains(g)) {
                    let swapped: Vec<usize> = chosen.iter().map(|&g| if g == out { *into } else { g }).collect();
                    prop_assert!(missing(&swapped) >= best, "{chosen:?} with {out} for {into}");
                }
            }
        }
    }
}
