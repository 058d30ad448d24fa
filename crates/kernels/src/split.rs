//! The best cut of a histogram.

use crate::bins::MISSING;
use crate::histogram::Histogram;

/// A child of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Values at or below the cut.
    Left,
    /// Values above it.
    Right,
}

/// What a cut must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// L2 penalty of a leaf value.
    pub lambda: f64,
    /// Least sum of second derivatives of a child.
    pub min_child_weight: f64,
    /// Least reduction of the loss.
    pub min_gain: f64,
}

/// A cut of one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Reduction of the second-order approximation of the loss.
    pub gain: f64,
    /// Bins up to this one go left.
    pub bin: u8,
    /// Where missing values go.
    pub missing: Side,
}

/// Second derivatives of the missing values below this share of the node's are rounding error of a subtraction: the
/// node has none.
const NOTHING: f64 = 1e-6;

/// A gain per second derivative below this is rounding error.
const LEAST_GAIN: f64 = 1e-6;

/// Half the score of a node whose derivatives sum to `g` and `h`: how much the loss falls when its rows get the value
/// `-g / (h + lambda)` (Chen and Guestrin, XGBoost, KDD 2016, equation 6, without the penalty per leaf).
#[inline]
pub fn score(g: f64, h: f64, lambda: f64) -> f64 {
    0.5 * g * g / (h + lambda)
}

/// The best cut of a column in a node, the first among equals; `None` where no cut keeps the rule.
///
/// `edges` is the number of edges between the column's bins and `sum` the node's sums of first and second derivatives.
/// The gain is equation 7 of the same paper; each cut is tried with the missing values on either side (algorithm 3
/// there), and the cut "present | missing" as well. In a node without missing values they go where more weight goes.
pub fn best_cut(histogram: &Histogram, edges: usize, sum: [f64; 2], rule: &Rule) -> Option<Cut> {
    let [g, h] = sum;
    let missing = histogram[usize::from(MISSING)].map(f64::from);
    let parent = score(g, h, rule.lambda);
    let floor = rule.min_gain.max(LEAST_GAIN * h);
    let least = rule.min_child_weight.max(f64::MIN_POSITIVE);
    let mut best: Option<Cut> = None;
    let mut offer = |bin: usize, left: [f64; 2], missing: Side| {
        let [gl, hl] = left;
        let (gr, hr) = (g - gl, h - hl);
        if hl < least || hr < least {
            return;
        }
        let gain = score(gl, hl, rule.lambda) + score(gr, hr, rule.lambda) - parent;
        if gain > best.map_or(floor, |cut| cut.gain) {
            best = Some(Cut { gain, bin: bin as u8, missing });
        }
    };
    let mut left = [0.0; 2];
    if missing[1] <= NOTHING * h {
        for (bin, entry) in histogram[..edges].iter().enumerate() {
            left = add(left, entry.map(f64::from));
            offer(bin, left, if left[1] > h - left[1] { Side::Left } else { Side::Right });
        }
    } else {
        for (bin, entry) in histogram[..edges].iter().enumerate() {
            left = add(left, entry.map(f64::from));
            offer(bin, left, Side::Right);
            offer(bin, add(left, missing), Side::Left);
        }
        offer(edges, [g - missing[0], h - missing[1]], Side::Right);
    }
    best
}

#[inline]
fn add(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] + b[0], a[1] + b[1]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::histogram::{self, EMPTY, Gradient};

    /// All cuts of the rows themselves, in double precision: (gain, bin, side of the missing).
    fn slow(rows: &[(u8, Gradient)], edges: usize, rule: &Rule) -> Vec<(f64, usize, Side)> {
        let sum = |left: &dyn Fn(u8) -> bool, side: bool| {
            rows.iter()
                .filter(|(bin, _)| left(*bin) == side)
                .fold([0.0, 0.0], |[g, h], (_, [a, b])| [g + f64::from(*a), h + f64::from(*b)])
        };
        let half = |[g, h]: [f64; 2]| g * g / (h + rule.lambda) / 2.0;
        let mut cuts = Vec::new();
        for bin in 0..=edges {
            for side in [Side::Left, Side::Right] {
                let left = |b: u8| if b == MISSING { side == Side::Left } else { usize::from(b) <= bin };
                let (l, r) = (sum(&left, true), sum(&left, false));
                if l[1] >= rule.min_child_weight && r[1] >= rule.min_child_weight {
                    cuts.push((half(l) + half(r) - half([l[0] + r[0], l[1] + r[1]]), bin, side));
                }
            }
        }
        cuts
    }

    fn rows(missing: u32) -> impl Strategy<Value = Vec<(u8, Gradient)>> {
        let bin = prop_oneof![6 => 0u8..6, missing => Just(MISSING)];
        prop::collection::vec(
            (
                bin,
                (
                    (0u32..1 << 20).prop_map(|i| -1.0 + i as f32 * (2.0 / 1_048_576.0)),
                    (0u32..1 << 20).prop_map(|i| 0.05 + i as f32 * (0.45 / 1_048_576.0)),
                )
                    .prop_map(|(gradient, hessian)| [gradient, hessian]),
            ),
            1..60,
        )
    }

    fn check(rows: &[(u8, Gradient)], rule: &Rule) -> Result<(), TestCaseError> {
        let (column, gradients): (Vec<u8>, Vec<Gradient>) = rows.iter().copied().unzip();
        let mut filled = EMPTY;
        histogram::of_all(&column, &gradients, &mut filled);
        let sum = gradients.iter().fold([0.0, 0.0], |s, g| add(s, g.map(f64::from)));
        let fast = best_cut(&filled, 5, sum, rule);
        let cuts = slow(rows, 5, rule);
        let top = cuts.iter().map(|cut| cut.0).fold(f64::NEG_INFINITY, f64::max);
        match fast {
            // a gain at the floor may fall on either side of it by rounding
            None => prop_assert!(top <= rule.min_gain.max(LEAST_GAIN * sum[1]) + 1e-4, "missed a gain of {top}"),
            Some(cut) => {
                prop_assert!((cut.gain - top).abs() < 1e-4, "gain {} is not the best, {top}", cut.gain);
                let same = cuts.iter().find(|(_, bin, side)| *bin == usize::from(cut.bin) && *side == cut.missing);
                let gain = same.map_or(f64::NAN, |cut| cut.0);
                prop_assert!((cut.gain - gain).abs() < 1e-4, "{cut:?} really gains {gain}");
                prop_assert!(cut.gain > rule.min_gain);
            }
        }
        Ok(())
    }

    proptest! {
        // the limits of weight lie between the sums that can occur, so that rounding does not decide
        #[test]
        fn as_all_cuts_one_by_one(rows in rows(2), lambda in (0u32..1 << 20).prop_map(|i| 0.01 + f64::from(i) * (3.99 / 1_048_576.0)), min_gain in (0u32..1 << 20).prop_map(|i| 0.0 + f64::from(i) * (0.2 / 1_048_576.0))) {
            check(&rows, &Rule { lambda, min_child_weight: 0.04, min_gain })?;
        }

        #[test]
        fn as_all_cuts_without_missing_values(rows in rows(0), lambda in (0u32..1 << 20).prop_map(|i| 0.0 + f64::from(i) * (4.0 / 1_048_576.0))) {
            check(&rows, &Rule { lambda, min_child_weight: 0.04, min_gain: 0.0 })?;
        }
    }

    #[test]
    fn missing_values_alone_can_be_cut_off() {
        let mut filled = EMPTY;
        filled[0] = [5.0, 10.0];
        filled[usize::from(MISSING)] = [-5.0, 10.0];
        let rule = Rule { lambda: 1.0, min_child_weight: 1.0, min_gain: 0.0 };
        let cut = best_cut(&filled, 0, [0.0, 20.0], &rule).unwrap();
        assert_eq!((cut.bin, cut.missing), (0, Side::Right));
        assert!((cut.gain - 25.0 / 11.0).abs() < 1e-12);
    }

    #[test]
    fn a_child_below_the_least_weight_is_refused() {
        let mut filled = EMPTY;
        filled[0] = [1.0, 0.5];
        filled[1] = [-1.0, 10.0];
        let rule = |min_child_weight| Rule { lambda: 1.0, min_child_weight, min_gain: 0.0 };
        assert!(best_cut(&filled, 1, [0.0, 10.5], &rule(0.4)).is_some());
        assert_eq!(best_cut(&filled, 1, [0.0, 10.5], &rule(0.6)), None);
    }

    #[test]
    fn without_missing_values_they_follow_the_weight() {
        let mut filled = EMPTY;
        filled[0] = [1.0, 2.0];
        filled[1] = [-1.0, 9.0];
        let rule = Rule { lambda: 1.0, min_child_weight: 0.0, min_gain: 0.0 };
        assert_eq!(best_cut(&filled, 1, [0.0, 11.0], &rule).unwrap().missing, Side::Right);
        filled.swap(0, 1);
        assert_eq!(best_cut(&filled, 1, [0.0, 11.0], &rule).unwrap().missing, Side::Left);
    }
}
