//! The cut of a column that leaves the purest children: weighted Gini impurity, any number of classes.
//!
//! A child with class weights `w` of sum `W` has the impurity `W - Σ w² / W` (Breiman, Friedman, Olshen and Stone,
//! Classification and Regression Trees, 1984, section 4.3, times its weight). `W` is the same for all cuts of a node, so
//! that the best cut is the one with the largest purity `Σ l² / L + Σ r² / R`.

use crate::bins::MISSING;
use crate::partition::goes_left;
use crate::split::Side;

/// The class and the weight of a row.
pub type Member = (u16, f32);

/// The rows of a node. Weights are positive.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// Row numbers: positions in the column.
    pub rows: &'a [u32],
    /// One entry a row, in the same order.
    pub members: &'a [Member],
    /// Sum of the weights of each class.
    pub totals: &'a [f64],
    /// Least number of rows of a child, at least 1.
    pub min_rows: usize,
}

/// A cut of one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// `Σ l² / L + Σ r² / R` of the children.
    pub purity: f64,
    /// Bins up to this one go left.
    pub bin: u8,
    /// Where missing values go.
    pub missing: Side,
}

/// Working memory of one column at a time.
#[derive(Debug, Default)]
pub struct Desk {
    left: Vec<f64>,
    missing: Vec<f64>,
    keys: Vec<u32>,
    counts: Vec<f64>,
}

/// Nodes of at most this many rows are sorted; larger ones are counted into a histogram, which costs the same for any
/// number of rows to clear and to read.
const SORTED: usize = 256;

/// The purity of a node that is not cut: `Σ w² / W`; 0 for no weight.
pub fn purity(totals: &[f64]) -> f64 {
    let weight: f64 = totals.iter().sum();
    if weight > 0.0 { totals.iter().map(|w| w * w).sum::<f64>() / weight } else { 0.0 }
}

/// The best cut of a column in a node, the first among equals; `None` where no cut leaves enough rows on both sides.
///
/// Each cut is tried with the missing values on either side, and the cut "present | missing" as well. In a node without
/// missing values they go where more weight goes.
///
/// # Panics
/// When a row is out of range of `column`, a class of `totals`, or `members` has another length than `rows`.
pub fn best_cut(column: &[u8], node: Node<'_>, desk: &mut Desk) -> Option<Cut> {
    assert_eq!(node.rows.len(), node.members.len(), "one member a row");
    if node.rows.len() <= SORTED { sorted(column, node, desk) } else { counted(column, node, desk) }
}

/// The least and the greatest bin of the rows that have a value; `None` where none has.
pub fn span(column: &[u8], rows: &[u32]) -> Option<(u8, u8)> {
    let present = rows.iter().map(|row| column[*row as usize]).filter(|bin| *bin != MISSING);
    present.fold(None, |span, bin| match span {
        None => Some((bin, bin)),
        Some((least, greatest)) => Some((bin.min(least), bin.max(greatest))),
    })
}

/// The cut behind a given bin, with the missing values on the better side; `None` where it leaves too few rows.
///
/// # Panics
/// As [`best_cut`].
pub fn cut_at(column: &[u8], node: Node<'_>, bin: u8, desk: &mut Desk) -> Option<Cut> {
    assert_eq!(node.rows.len(), node.members.len(), "one member a row");
    let Desk { left, missing, .. } = desk;
    for sums in [&mut *left, &mut *missing] {
        sums.clear();
        sums.resize(node.totals.len(), 0.0);
    }
    let (mut left_rows, mut missing_rows) = (0, 0);
    for (row, (class, weight)) in node.rows.iter().zip(node.members) {
        let own = column[*row as usize];
        if own == MISSING {
            missing[usize::from(*class)] += f64::from(*weight);
            missing_rows += 1;
        } else if goes_left(own, bin, Side::Right) {
            left[usize::from(*class)] += f64::from(*weight);
            left_rows += 1;
        }
    }
    let right_rows = node.rows.len() - left_rows - missing_rows;
    let squares = |sum: &dyn Fn(usize) -> f64| -> [f64; 2] {
        (0..node.totals.len()).map(sum).fold([0.0, 0.0], |[squares, weight], w| [squares + w * w, weight + w])
    };
    let score = |[squares, weight]: [f64; 2]| squares / weight;
    let offer = |side: Side| {
        let (l, r, rows) = match side {
            Side::Left => (
                squares(&|c| left[c] + missing[c]),
                squares(&|c| node.totals[c] - left[c] - missing[c]),
                [left_rows + missing_rows, right_rows],
            ),
            Side::Right => {
                (squares(&|c| left[c]), squares(&|c| node.totals[c] - left[c]), [left_rows, right_rows + missing_rows])
            }
        };
        let enough = rows.iter().all(|rows| *rows >= node.min_rows.max(1));
        enough.then(|| (Cut { purity: score(l) + score(r), bin, missing: side }, l[1] > r[1]))
    };
    if missing_rows == 0 {
        return offer(Side::Right).map(|(cut, left_is_heavier)| Cut {
            missing: if left_is_heavier { Side::Left } else { Side::Right },
            ..cut
        });
    }
    match [offer(Side::Right), offer(Side::Left)].map(|cut| cut.map(|(cut, _)| cut)) {
        [Some(right), Some(left)] => Some(if left.purity > right.purity { left } else { right }),
        [right, left] => right.or(left),
    }
}

/// By sorting the rows of the node.
fn sorted(column: &[u8], node: Node<'_>, desk: &mut Desk) -> Option<Cut> {
    let Desk { left, missing, keys, .. } = desk;
    keys.clear();
    keys.extend(node.rows.iter().enumerate().map(|(i, row)| u32::from(column[*row as usize]) << 24 | i as u32));
    keys.sort_unstable();
    let bin = |key: u32| (key >> 24) as u8;
    let member = |key: u32| node.members[(key & 0x00ff_ffff) as usize];
    let (present, absent) = keys.split_at(keys.partition_point(|key| bin(*key) != MISSING));
    missing.clear();
    missing.resize(node.totals.len(), 0.0);
    for (class, weight) in absent.iter().map(|key| member(*key)) {
        missing[usize::from(class)] += f64::from(weight);
    }
    let mut sweep = Sweep::new(node, left, missing, absent.len());
    for (i, key) in present.iter().enumerate() {
        let (class, weight) = member(*key);
        sweep.add(usize::from(class), f64::from(weight));
        sweep.left_rows += 1;
        match present.get(i + 1) {
            Some(next) if bin(*next) == bin(*key) => {}
            Some(_) => sweep.offer(bin(*key)),
            None => sweep.offer_missing_alone(),
        }
    }
    sweep.best
}

/// By a histogram over the bins: rows and class weights.
fn counted(column: &[u8], node: Node<'_>, desk: &mut Desk) -> Option<Cut> {
    let Desk { left, missing, counts, .. } = desk;
    let width = 1 + node.totals.len();
    counts.clear();
    counts.resize(256 * width, 0.0);
    for (row, (class, weight)) in node.rows.iter().zip(node.members) {
        let own = &mut counts[usize::from(column[*row as usize]) * width..][..width];
        own[0] += 1.0;
        own[1 + usize::from(*class)] += f64::from(*weight);
    }
    let (present, absent) = counts.split_at(usize::from(MISSING) * width);
    missing.clear();
    missing.extend_from_slice(&absent[1..]);
    let mut sweep = Sweep::new(node, left, missing, absent[0] as usize);
    for (bin, own) in present.chunks_exact(width).enumerate() {
        if own[0] == 0.0 {
            continue;
        }
        for (class, weight) in own[1..].iter().enumerate() {
            sweep.add(class, *weight);
        }
        sweep.left_rows += own[0] as usize;
        if sweep.left_rows + sweep.missing_rows < node.rows.len() {
            sweep.offer(bin as u8);
        } else {
            sweep.offer_missing_alone();
            break;
        }
    }
    sweep.best
}

/// A cut that moves to the right over the values present, with its sums of squares kept up to date.
struct Sweep<'a> {
    node: Node<'a>,
    left: &'a mut [f64],
    missing: &'a [f64],
    left_rows: usize,
    missing_rows: usize,
    /// Weight of all rows, of those without a value and of those to the left.
    weight: f64,
    missing_weight: f64,
    left_weight: f64,
    /// Sums of squares of (left, right) with the missing values to the right and to the left.
    squares: [[f64; 2]; 2],
    best: Option<Cut>,
}

impl<'a> Sweep<'a> {
    fn new(node: Node<'a>, left: &'a mut Vec<f64>, missing: &'a [f64], missing_rows: usize) -> Self {
        left.clear();
        left.resize(node.totals.len(), 0.0);
        let square = |sums: &dyn Fn(usize) -> f64| (0..node.totals.len()).map(|c| sums(c) * sums(c)).sum::<f64>();
        let all = square(&|c| node.totals[c]);
        let (alone, rest) = (square(&|c| missing[c]), square(&|c| node.totals[c] - missing[c]));
        Self {
            node,
            left,
            missing,
            left_rows: 0,
            missing_rows,
            weight: node.totals.iter().sum(),
            missing_weight: missing.iter().sum(),
            left_weight: 0.0,
            squares: [[0.0, all], [alone, rest]],
            best: None,
        }
    }

    /// Moves weight of a class from the right to the left: `(l + w)² - l² = w (2 l + w)`.
    #[inline]
    fn add(&mut self, class: usize, weight: f64) {
        let (l, t) = (self.left[class], self.node.totals[class]);
        self.squares[0][0] += weight * (2.0 * l + weight);
        self.squares[0][1] += weight * (weight - 2.0 * (t - l));
        if self.missing_rows > 0 {
            let m = self.missing[class];
            self.squares[1][0] += weight * (2.0 * (l + m) + weight);
            self.squares[1][1] += weight * (weight - 2.0 * (t - l - m));
        }
        self.left[class] = l + weight;
        self.left_weight += weight;
    }

    fn offer(&mut self, bin: u8) {
        let (left, right) = (self.left_weight, self.weight - self.left_weight);
        if self.missing_rows == 0 {
            let side = if left > right { Side::Left } else { Side::Right };
            return self.consider(0, self.left_rows, [left, right], bin, side);
        }
        self.consider(0, self.left_rows, [left, right], bin, Side::Right);
        let weights = [left + self.missing_weight, right - self.missing_weight];
        self.consider(1, self.left_rows + self.missing_rows, weights, bin, Side::Left);
    }

    /// The cut between all values present and the missing ones; values above any seen go with those present.
    fn offer_missing_alone(&mut self) {
        let weights = [self.left_weight, self.missing_weight];
        if self.missing_rows > 0 {
            self.consider(0, self.left_rows, weights, MISSING - 1, Side::Right);
        }
    }

    fn consider(&mut self, squares: usize, left_rows: usize, weights: [f64; 2], bin: u8, missing: Side) {
        let least = self.node.min_rows.max(1);
        if left_rows < least || self.node.rows.len() - left_rows < least {
            return;
        }
        let [l, r] = self.squares[squares];
        let purity = l / weights[0] + r / weights[1];
        if self.best.is_none_or(|best| purity > best.purity) {
            self.best = Some(Cut { purity, bin, missing });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Example {
        column: Vec<u8>,
        members: Vec<Member>,
        classes: usize,
        min_rows: usize,
    }

    impl Example {
        fn totals(&self) -> Vec<f64> {
            self.sums(|_| true)
        }

        fn sums(&self, keep: impl Fn(u8) -> bool) -> Vec<f64> {
            let mut sums = vec![0.0; self.classes];
            for (bin, (class, weight)) in self.column.iter().zip(&self.members) {
                if keep(*bin) {
                    sums[usize::from(*class)] += f64::from(*weight);
                }
            }
            sums
        }

        /// The purity of a cut of the rows themselves; `None` where a side has too few.
        fn slow(&self, cut: u8, missing: Side) -> Option<f64> {
            let left = |bin: u8| if bin == MISSING { missing == Side::Left } else { bin <= cut };
            let rows = self.column.iter().filter(|bin| left(**bin)).count();
            let enough = rows.min(self.column.len() - rows) >= self.min_rows;
            enough.then(|| purity(&self.sums(left)) + purity(&self.sums(|bin| !left(bin))))
        }
    }

    fn example(missing: u32) -> impl Strategy<Value = Example> {
        let bin = prop_oneof![6 => 0u8..6, 1 => 250u8..255, missing => Just(MISSING)];
        let row = (bin, (0u16..4, (1u32..1 << 12).prop_map(|i| i as f32 / 512.0)));
        (prop::collection::vec(row, 1..60), 1usize..4).prop_map(|(rows, min_rows)| {
            let (column, members) = rows.into_iter().unzip();
            Example { column, members, classes: 5, min_rows }
        })
    }

    fn check(example: &Example) -> Result<(), TestCaseError> {
        let rows: Vec<u32> = (0..example.column.len() as u32).collect();
        let totals = example.totals();
        let node = Node { rows: &rows, members: &example.members, totals: &totals, min_rows: example.min_rows };
        let mut desk = Desk::default();
        let slow = (0..=254u8).flat_map(|bin| [Side::Left, Side::Right].map(|side| example.slow(bin, side)));
        let top = slow.flatten().fold(f64::NEG_INFINITY, f64::max);
        let fast = [sorted(&example.column, node, &mut desk), counted(&example.column, node, &mut desk)];
        for cut in fast {
            match cut {
                None => prop_assert_eq!(top, f64::NEG_INFINITY),
                Some(cut) => {
                    prop_assert!((cut.purity - top).abs() < 1e-9 * top, "{} is not the best, {top}", cut.purity);
                    let real = example.slow(cut.bin, cut.missing).unwrap();
                    prop_assert!((cut.purity - real).abs() < 1e-9 * top, "{cut:?} really has {real}");
                }
            }
        }
        for bin in 0..=254 {
            let slow = [Side::Left, Side::Right].map(|side| example.slow(bin, side));
            let top = slow.into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
            match cut_at(&example.column, node, bin, &mut desk) {
                None => prop_assert_eq!(top, f64::NEG_INFINITY),
                Some(cut) => {
                    prop_assert_eq!(cut.bin, bin);
                    prop_assert!((cut.purity - top).abs() < 1e-9 * top, "{} is not the better side, {top}", cut.purity);
                    let real = example.slow(bin, cut.missing).unwrap();
                    prop_assert!((cut.purity - real).abs() < 1e-9 * top, "{cut:?} really has {real}");
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn as_all_cuts_one_by_one(example in example(2)) {
            check(&example)?;
        }

        #[test]
        fn as_all_cuts_without_missing_values(example in example(0)) {
            check(&example)?;
        }

        #[test]
        fn the_span_is_that_of_the_values_present(example in example(3)) {
            let rows: Vec<u32> = (0..example.column.len() as u32).filter(|row| row % 2 == 0).collect();
            let mut present: Vec<u8> =
                rows.iter().map(|row| example.column[*row as usize]).filter(|bin| *bin != MISSING).collect();
            present.sort_unstable();
            prop_assert_eq!(span(&example.column, &rows), present.first().copied().zip(present.last().copied()));
        }
    }

    #[test]
    fn missing_values_alone_can_be_cut_off() {
        let column = [3, 3, MISSING, MISSING];
        let members = [(0, 1.0), (0, 1.0), (1, 1.0), (1, 1.0)];
        let node = Node { rows: &[0, 1, 2, 3], members: &members, totals: &[2.0, 2.0], min_rows: 1 };
        let cut = best_cut(&column, node, &mut Desk::default()).unwrap();
        assert_eq!(cut, Cut { purity: 4.0, bin: 254, missing: Side::Right });
        assert_eq!(purity(&[2.0, 2.0]), 2.0);
    }

    #[test]
    fn large_nodes_are_counted() {
        let n = 10 * SORTED as u32;
        let rows: Vec<u32> = (0..n).collect();
        let column: Vec<u8> = rows.iter().map(|row| (row % 200) as u8).collect();
        let members: Vec<Member> = column.iter().map(|bin| (u16::from(*bin > 77), 0.5)).collect();
        let mut totals = [0.0; 2];
        members.iter().for_each(|(class, weight)| totals[usize::from(*class)] += f64::from(*weight));
        let node = Node { rows: &rows, members: &members, totals: &totals, min_rows: 1 };
        let cut = best_cut(&column, node, &mut Desk::default()).unwrap();
        assert_eq!(cut.bin, 77);
        assert!((cut.purity - f64::from(n) / 2.0).abs() < 1e-6);
    }
}
