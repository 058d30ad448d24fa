//! The best cut of a node.
//!
//! The gain of a cut (Chen and Guestrin, XGBoost, KDD 2016, equation 7) is half of
//! `gl² / L + gr² / R - g² / (h + λ)` with `L = hl + λ` and `R = hr + λ`. Since `gl + gr = g` and `L + R = h + 2λ = M` are
//! the same for all cuts of a node, and `gl² / L + gr² / R = g² / M + (gl - g L / M)² M / (L R)`, the cuts of a node compare
//! as `(gl - c L)² / (L (M - L))` with `c = g / M`: no sum of the right side, no cancellation against the parent's score.
//! Two quotients are compared crosswise, so that no cut costs a division. All of it in single precision, with M and the
//! largest possible |gl| scaled to 1; the gain of the chosen cut is computed once more, in double precision.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::histogram::{LANES, Line};
use crate::quantise::{Packed, Units, unpack};
use crate::simd::Level;

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

/// A gain per second derivative below this is rounding error.
const LEAST_GAIN: f64 = 1e-6;

/// Half the score of a node whose derivatives sum to `g` and `h`: how much the loss falls when its rows get the value
/// `-g / (h + lambda)` (equation 6 of the paper, without the penalty per leaf).
#[inline]
pub fn score(g: f64, h: f64, lambda: f64) -> f64 {
    0.5 * g * g / (h + lambda)
}

/// A node whose cuts are compared.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    total: Packed,
    /// Least steps of the second derivative of a child, at least one.
    floor: u32,
    /// Steps that the left child may have above that.
    span: u32,
    /// Factors from steps, and terms, as the module describes them.
    first: f32,
    second: f32,
    lambda: f32,
    centre: f32,
    units: Units,
    rule: Rule,
}

impl Node {
    /// A node of some rows whose derivatives sum to `total`; `None` where no cut can leave both children enough weight.
    pub fn new(total: Packed, rows: usize, units: Units, rule: Rule) -> Option<Self> {
        let (g, h) = unpack(total);
        // a float to an integer saturates: a limit above all sums lets nothing pass
        let floor = ((rule.min_child_weight / units.second()).ceil() as u32).max(1);
        let span = h.checked_sub(floor.checked_mul(2)?)?;
        let m = f64::from(h) * units.second() + 2.0 * rule.lambda;
        let first = 1.0 / (rows as f64 * f64::from(units.steps()));
        Some(Self {
            total,
            floor,
            span,
            first: first as f32,
            second: (units.second() / m) as f32,
            lambda: (rule.lambda / m) as f32,
            centre: (f64::from(g) * first) as f32,
            units,
            rule,
        })
    }

    /// Reduction of the second-order approximation of the loss by a cut; `None` where it is too small.
    pub fn gain(&self, left: Packed) -> Option<f64> {
        let of = |sum: Packed| {
            let [g, h] = self.units.sums(sum);
            score(g, h, self.rule.lambda)
        };
        let gain = of(left) + of(self.total.wrapping_sub(left)) - of(self.total);
        (gain > self.rule.min_gain.max(LEAST_GAIN * self.units.sums(self.total)[1])).then_some(gain)
    }
}

/// The best cut of some columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// What cuts of one node compare by; [`Node::gain`] is the gain itself.
    pub score: f32,
    /// The column.
    pub column: usize,
    /// Bins up to this one go left.
    pub bin: u8,
    /// Where missing values go.
    pub missing: Side,
    /// Sums of the left child, missing values included where they go there.
    pub left: Packed,
}

impl Cut {
    /// The better of two cuts of a node, the one of the lower column among equals.
    #[must_use]
    #[inline]
    pub fn better(self, other: Self) -> Self {
        let takes_other = other.score > self.score || (other.score == self.score && other.column < self.column);
        if takes_other { other } else { self }
    }
}

/// Which lines of a group's histogram hold what, and which of its columns count.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bins of present values are the first lines.
    pub present: usize,
    /// The line of missing values.
    pub missing: usize,
    /// Bit `i`: whether column `i` of the group may be cut.
    pub columns: u8,
}

/// The best cut of a group of columns, which are numbered from 0; `None` where no cut leaves enough weight.
///
/// Each cut is tried with the missing values on either side (algorithm 3 of the paper), and the cut "present | missing" as
/// well: it is the one behind the last bin. In a column without missing values in this node they go where more weight
/// goes. Among equals the first one is taken: missing values right before left, lower bins before higher.
///
/// # Panics
/// When the histogram has fewer lines than `shape` says.
pub fn best_cut(level: Level, node: &Node, lines: &[Line], shape: Shape) -> Option<Cut> {
    level.run(Alone { node, lines, shape }).pick(shape, node, |bin| lines[bin])
}

/// The best cuts of the two children of a node: `child` holds the histogram of one, `rest` that of the parent, which becomes that of
/// the other child where `keep` says so.
///
/// # Panics
/// When a histogram has fewer lines than `shape` says.
pub fn best_cuts(
    level: Level,
    nodes: [Option<&Node>; 2],
    child: &[Line],
    rest: &mut [Line],
    keep: bool,
    shape: Shape,
) -> [Option<Cut>; 2] {
    let [one, other] = match nodes {
        [None, None] => return [None, None],
        [Some(one), other] => [one, other.unwrap_or(one)],
        [None, Some(other)] => [other, other],
    };
    let pair = [one, other];
    let best = if keep {
        level.run(Both::<true> { nodes: pair, child, rest, shape })
    } else {
        level.run(Both::<false> { nodes: pair, child, rest, shape })
    };
    [
        nodes[0].and_then(|node| best[0].pick(shape, node, |bin| child[bin])),
        nodes[1].and_then(|node| {
            best[1].pick(shape, node, |bin| if keep { rest[bin] } else { rest[bin].minus(child[bin]) })
        }),
    ]
}

/// Set in a bin's number where missing values go left.
const MISSING_LEFT: u32 = 256;

/// The best cut of each column so far.
#[derive(Clone, Copy)]
struct Best {
    /// Sums left of the cut that was looked at last.
    left: [Packed; LANES],
    /// Numerators and denominators of the best quotients.
    above: [f32; LANES],
    below: [f32; LANES],
    bins: [u32; LANES],
}

impl Best {
    const NONE: Self = Self { left: [0; LANES], above: [0.0; LANES], below: [1.0; LANES], bins: [0; LANES] };

    /// Moves the cuts behind the next bin.
    #[inline(always)]
    #[allow(clippy::needless_bitwise_bool)] // a branch would keep the lanes apart
    fn step(&mut self, node: &Node, line: &Line, bin: u32) {
        for lane in 0..LANES {
            self.left[lane] = self.left[lane].wrapping_add(line.0[lane]);
        }
        let mut above = [0.0f32; LANES];
        let mut below = [0.0f32; LANES];
        let mut better = [false; LANES];
        for lane in 0..LANES {
            let (g, h) = unpack(self.left[lane]);
            // below 2^31: the signed conversion is the cheap one
            let weight = h as i32 as f32 * node.second + node.lambda;
            let apart = g as f32 * node.first - node.centre * weight;
            above[lane] = apart * apart;
            below[lane] = weight * (1.0 - weight);
            let is_heavy = h.wrapping_sub(node.floor) <= node.span;
            better[lane] = is_heavy & (above[lane] * self.below[lane] > self.above[lane] * below[lane]);
        }
        for lane in 0..LANES {
            self.above[lane] = if better[lane] { above[lane] } else { self.above[lane] };
            self.below[lane] = if better[lane] { below[lane] } else { self.below[lane] };
            self.bins[lane] = if better[lane] { bin } else { self.bins[lane] };
        }
    }

    /// The best of the columns, with the sums left of it.
    fn pick(&self, shape: Shape, node: &Node, line: impl Fn(usize) -> Line) -> Option<Cut> {
        let mut best: Option<(usize, f32)> = None;
        for lane in (0..LANES).filter(|lane| shape.columns >> lane & 1 == 1) {
            let score = self.above[lane] / self.below[lane];
            if score > best.map_or(0.0, |(_, best)| best) {
                best = Some((lane, score));
            }
        }
        let (column, score) = best?;
        let bin = (self.bins[column] & !MISSING_LEFT) as usize;
        let mut missing = if self.bins[column] & MISSING_LEFT == 0 { Side::Right } else { Side::Left };
        let absent = line(shape.missing).0[column];
        let mut left = if missing == Side::Left { absent } else { 0 };
        for bin in 0..=bin {
            left = left.wrapping_add(line(bin).0[column]);
        }
        if absent == 0 {
            let [all, left] = [node.total, left].map(|sum| unpack(sum).1);
            missing = if left > all - left { Side::Left } else { Side::Right };
        }
        Some(Cut { score, column, bin: bin as u8, missing, left })
    }
}

struct Alone<'a> {
    node: &'a Node,
    lines: &'a [Line],
    shape: Shape,
}

impl WithSimd for Alone<'_> {
    type Output = Best;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Best {
        let Self { node, lines, shape } = self;
        let mut best = Best::NONE;
        for (bin, line) in (0..).zip(&lines[..shape.present]) {
            best.step(node, line, bin);
        }
        best.left = lines[shape.missing].0;
        if best.left != [0; LANES] {
            for (bin, line) in (MISSING_LEFT..).zip(&lines[..shape.present]) {
                best.step(node, line, bin);
            }
        }
        best
    }
}

struct Both<'a, const KEEP: bool> {
    nodes: [&'a Node; 2],
    child: &'a [Line],
    rest: &'a mut [Line],
    shape: Shape,
}

impl<const KEEP: bool> WithSimd for Both<'_, KEEP> {
    type Output = [Best; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [Best; 2] {
        let Self { nodes, child, rest, shape } = self;
        let [mut one, mut other] = [Best::NONE; 2];
        for (bin, (child, rest)) in (0..).zip(child[..shape.present].iter().zip(&mut rest[..shape.present])) {
            let left = rest.minus(*child);
            if KEEP {
                *rest = left;
            }
            one.step(nodes[0], child, bin);
            other.step(nodes[1], &left, bin);
        }
        let missing = rest[shape.missing].minus(child[shape.missing]);
        if KEEP {
            rest[shape.missing] = missing;
        }
        (one.left, other.left) = (child[shape.missing].0, missing.0);
        if one.left != [0; LANES] || other.left != [0; LANES] {
            for (bin, (child, rest)) in (MISSING_LEFT..).zip(child[..shape.present].iter().zip(&rest[..shape.present]))
            {
                one.step(nodes[0], child, bin);
                other.step(nodes[1], &if KEEP { *rest } else { rest.minus(*child) }, bin);
            }
        }
        [one, other]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantise::{Gradient, pack};

    const PRESENT: usize = 6;
    const SHAPE: Shape = Shape { present: PRESENT, missing: PRESENT, columns: u8::MAX };

    /// Rows of a node: a bin of each column, [`PRESENT`] for a missing value, and derivatives.
    type Rows = Vec<([u8; LANES], Gradient)>;

    fn rows(missing: u32) -> impl Strategy<Value = Rows> {
        let bin = prop_oneof![6 => 0..PRESENT as u8, missing => Just(PRESENT as u8)];
        let gradient = (0u32..1 << 20, 0u32..1 << 20)
            .prop_map(|(g, h)| [-1.0 + g as f32 * (2.0 / 1_048_576.0), 0.05 + h as f32 * (0.45 / 1_048_576.0)]);
        prop::collection::vec(
            (prop::collection::vec(bin, LANES).prop_map(|bins| bins.try_into().unwrap()), gradient),
            1..60,
        )
    }

    struct Example {
        units: Units,
        packed: Vec<Packed>,
        total: Packed,
        lines: Vec<Line>,
    }

    fn example(rows: &Rows) -> Example {
        let units = Units::of(rows.iter().map(|row| row.1));
        let packed: Vec<Packed> = rows.iter().map(|row| units.round(row.1, 1 << 63 | 1 << 31)).collect();
        let mut lines = vec![Line::ZERO; PRESENT + 1];
        for ((bins, _), packed) in rows.iter().zip(&packed) {
            for (lane, bin) in bins.iter().enumerate() {
                let sum = &mut lines[usize::from(*bin)].0[lane];
                *sum = sum.wrapping_add(*packed);
            }
        }
        let total = packed.iter().fold(0, |sum: Packed, row| sum.wrapping_add(*row));
        Example { units, packed, total, lines }
    }

    /// All cuts of a column from the rows themselves, in double precision: (gain, bin, side of the missing).
    fn slow(rows: &Rows, column: usize, rule: &Rule) -> Vec<(f64, usize, Side)> {
        let sum = |left: &dyn Fn(u8) -> bool, side: bool| {
            rows.iter()
                .filter(|(bins, _)| left(bins[column]) == side)
                .fold([0.0, 0.0], |[g, h], (_, [a, b])| [g + f64::from(*a), h + f64::from(*b)])
        };
        let half = |[g, h]: [f64; 2]| g * g / (h + rule.lambda) / 2.0;
        let mut cuts = Vec::new();
        for bin in 0..PRESENT {
            for side in [Side::Left, Side::Right] {
                let left = |b: u8| if usize::from(b) == PRESENT { side == Side::Left } else { usize::from(b) <= bin };
                let (l, r) = (sum(&left, true), sum(&left, false));
                if l[1] >= rule.min_child_weight && r[1] >= rule.min_child_weight {
                    cuts.push((half(l) + half(r) - half([l[0] + r[0], l[1] + r[1]]), bin, side));
                }
            }
        }
        cuts
    }

    fn check(rows: &Rows, rule: Rule, columns: u8) -> Result<(), TestCaseError> {
        let Example { units, packed, total, lines } = example(rows);
        let shape = Shape { columns, ..SHAPE };
        let node = Node::new(total, rows.len(), units, rule);
        let fast = node.and_then(|node| best_cut(Level::best(), &node, &lines, shape));
        for level in Level::all() {
            let same = node.and_then(|node| best_cut(level, &node, &lines, shape));
            prop_assert_eq!(same, fast, "{:?}", level);
        }
        let cuts: Vec<Vec<_>> = (0..LANES).map(|column| slow(rows, column, &rule)).collect();
        let allowed = (0..LANES).filter(|column| columns >> column & 1 == 1);
        let top = allowed.flat_map(|column| &cuts[column]).map(|cut| cut.0).fold(f64::NEG_INFINITY, f64::max);
        let Some(cut) = fast else {
            prop_assert!(top <= 1e-5, "missed a gain of {top}");
            return Ok(());
        };
        prop_assert!(columns >> cut.column & 1 == 1);
        let same = cuts[cut.column].iter().find(|(_, bin, side)| *bin == usize::from(cut.bin) && *side == cut.missing);
        let gain = same.map_or(f64::NAN, |cut| cut.0);
        prop_assert!((top - gain).abs() <= 1e-5 * (1.0 + top), "{cut:?} gains {gain}, there is {top}");
        let left = rows.iter().zip(&packed).filter(|((bins, _), _)| match usize::from(bins[cut.column]) {
            PRESENT => cut.missing == Side::Left,
            bin => bin <= usize::from(cut.bin),
        });
        prop_assert_eq!(cut.left, left.fold(0, |sum: Packed, (_, packed)| sum.wrapping_add(*packed)));
        match node.unwrap().gain(cut.left) {
            Some(own) => prop_assert!((own - gain).abs() < 1e-4 && own > rule.min_gain),
            // a gain at the floor may fall on either side of it by rounding
            None => prop_assert!(gain <= rule.min_gain.max(LEAST_GAIN * units.sums(total)[1]) + 1e-4),
        }
        Ok(())
    }

    fn real(steps: u32, least: f64, most: f64) -> f64 {
        least + f64::from(steps) * ((most - least) / 1_048_576.0)
    }

    proptest! {
        // the limits of weight lie between the sums that can occur, so that rounding does not decide
        #[test]
        fn as_all_cuts_one_by_one(rows in rows(2), lambda in 0u32..1 << 20, gain in 0u32..1 << 20, columns in any::<u8>()) {
            let rule = Rule { lambda: real(lambda, 0.01, 4.0), min_child_weight: 0.04, min_gain: real(gain, 0.0, 0.2) };
            check(&rows, rule, columns)?;
        }

        #[test]
        fn as_all_cuts_without_missing_values(rows in rows(0), lambda in 0u32..1 << 20) {
            check(&rows, Rule { lambda: real(lambda, 0.0, 4.0), min_child_weight: 0.04, min_gain: 0.0 }, u8::MAX)?;
        }

        /// The two children at once as each of them alone.
        #[test]
        fn siblings_as_one_by_one(rows in rows(1), border in 0usize..60, keep in any::<bool>(), asked in 0u8..4) {
            let Example { units, packed, total, lines } = example(&rows);
            let border = border.min(rows.len());
            let mut child = vec![Line::ZERO; PRESENT + 1];
            for ((bins, _), packed) in rows.iter().zip(&packed).take(border) {
                for (lane, bin) in bins.iter().enumerate() {
                    let sum = &mut child[usize::from(*bin)].0[lane];
                    *sum = sum.wrapping_add(*packed);
                }
            }
            let own = packed[..border].iter().fold(0, |sum: Packed, row| sum.wrapping_add(*row));
            let rule = Rule { lambda: 1.0, min_child_weight: 0.04, min_gain: 0.0 };
            let nodes = [(own, border, 1), (total.wrapping_sub(own), rows.len() - border, 2)]
                .map(|(total, rows, bit)| if asked & bit == bit { Node::new(total, rows, units, rule) } else { None });
            let other: Vec<Line> = lines.iter().zip(&child).map(|(whole, child)| whole.minus(*child)).collect();
            let expected = [(&nodes[0], &child), (&nodes[1], &other)]
                .map(|(node, lines)| node.and_then(|node| best_cut(Level::best(), &node, lines, SHAPE)));
            for level in Level::all() {
                let mut rest = lines.clone();
                let cuts = best_cuts(level, [nodes[0].as_ref(), nodes[1].as_ref()], &child, &mut rest, keep, SHAPE);
                prop_assert_eq!(cuts, expected);
                if nodes.iter().any(Option::is_some) {
                    prop_assert_eq!(&rest, if keep { &other } else { &lines });
                }
            }
        }
    }

    /// Steps of size 1 in one column.
    fn column(lines: &[(i32, u32)]) -> (Vec<Line>, Packed, Units, Shape) {
        // the largest number is as many units as there are steps
        let units = Units::of([[(1 << 22) as f32, (1 << 22) as f32]].into_iter());
        let own: Vec<Line> = lines
            .iter()
            .map(|(first, second)| {
                let mut line = Line::ZERO;
                line.0[3] = pack(*first, *second);
                line
            })
            .collect();
        let total = own.iter().fold(0, |sum: Packed, line| sum.wrapping_add(line.0[3]));
        (own, total, units, Shape { present: lines.len() - 1, missing: lines.len() - 1, columns: u8::MAX })
    }

    const EASY: Rule = Rule { lambda: 1.0, min_child_weight: 0.0, min_gain: 0.0 };

    #[test]
    fn missing_values_alone_can_be_cut_off() {
        let (lines, total, units, shape) = column(&[(5, 10), (-5, 10)]);
        let node = Node::new(total, 20, units, EASY).unwrap();
        let cut = best_cut(Level::best(), &node, &lines, shape).unwrap();
        assert_eq!((cut.column, cut.bin, cut.missing, cut.left), (3, 0, Side::Right, pack(5, 10)));
        assert!((node.gain(cut.left).unwrap() - 25.0 / 11.0).abs() < 1e-9);
    }

    #[test]
    fn a_child_below_the_least_weight_is_refused() {
        let (lines, total, units, shape) = column(&[(2, 1), (-2, 20), (0, 0)]);
        let cut = |min_child_weight| {
            let node = Node::new(total, 21, units, Rule { min_child_weight, ..EASY })?;
            best_cut(Level::best(), &node, &lines, shape)
        };
        assert!(cut(1.0).is_some());
        assert_eq!(cut(1.1), None);
        assert!(Node::new(total, 21, units, Rule { min_child_weight: 10.0, ..EASY }).is_some());
        assert!(Node::new(total, 21, units, Rule { min_child_weight: 10.6, ..EASY }).is_none());
        assert!(Node::new(total, 21, units, Rule { min_child_weight: 1e30, ..EASY }).is_none());
    }

    #[test]
    fn without_missing_values_they_follow_the_weight() {
        for (lines, side) in [([(1, 2), (-1, 9), (0, 0)], Side::Right), ([(-1, 9), (1, 2), (0, 0)], Side::Left)] {
            let (lines, total, units, shape) = column(&lines);
            let node = Node::new(total, 11, units, EASY).unwrap();
            assert_eq!(best_cut(Level::best(), &node, &lines, shape).unwrap().missing, side);
        }
    }
}
