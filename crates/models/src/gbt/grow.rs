//! One regression tree on gradients, grown depth first to a depth limit.
//!
//! Histograms are summed over the smaller of two children; the other's are the parent's less these, as in LightGBM.
//! Depth first keeps one or two sets of histograms a level alive.

use std::ops::Range;

use rayon::prelude::*;
use stakeout_kernels::histogram::{self, EMPTY, Gradient, Histogram};
use stakeout_kernels::partition::partition;
use stakeout_kernels::split::{Cut, Rule, Side, best_cut};

use super::forest::LIMIT;
use crate::trees::binned::{Binned, Edges};
use crate::trees::node::{Node, leaf_of_bins};

/// Histograms of fewer additions than this are not worth waking other threads for.
const PARALLEL: usize = 1 << 17;
/// Columns a task.
const COLUMNS: usize = 16;

/// What all trees of a fit share.
pub(super) struct Grower<'a> {
    pub(super) binned: &'a Binned,
    pub(super) edges: &'a Edges,
    pub(super) rule: Rule,
    pub(super) max_depth: u32,
    pub(super) learning_rate: f64,
}

/// What one tree is grown on.
pub(super) struct Sample<'a> {
    /// One entry a row of the data.
    pub(super) gradients: &'a [Gradient],
    /// The rows that the tree sees, ascending.
    pub(super) rows: &'a [u32],
    /// The columns that it may split on, ascending.
    pub(super) columns: &'a [u32],
}

/// Working memory of one tree at a time, kept from round to round.
#[derive(Default)]
pub(super) struct Workspace {
    rows: Vec<u32>,
    spare: Vec<u32>,
    own: Vec<Gradient>,
    histograms: Vec<Vec<Histogram>>,
}

impl Grower<'_> {
    /// Grows a tree and adds its values to the margins of the rows that it sees.
    pub(super) fn grow(&self, sample: &Sample<'_>, work: &mut Workspace, margins: &mut [f32]) -> Tree {
        work.rows.clear();
        work.rows.extend_from_slice(sample.rows);
        work.spare.resize(sample.rows.len(), 0);
        let mut growing = Growing { grower: self, sample, work, margins, tree: Tree::default(), open: Vec::new() };
        growing.root();
        while let Some(node) = growing.open.pop() {
            growing.split(node);
        }
        growing.tree
    }

    /// The step of Newton's method for rows with these sums, shortened by the learning rate.
    fn value(&self, [g, h]: [f64; 2]) -> f32 {
        let newton = -g / (h + self.rule.lambda);
        if newton.is_nan() { 0.0 } else { ((self.learning_rate * newton) as f32).clamp(-LIMIT, LIMIT) }
    }
}

/// A tree, with the bin of each node's threshold: rows that are binned already go by that.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    cuts: Vec<u8>,
}

impl Tree {
    /// A stored tree for rows that were binned by these edges; `None` where a threshold is not one of them.
    pub(super) fn from_nodes(nodes: &[Node], edges: &Edges) -> Option<Self> {
        let cut = |node: &Node| {
            if node.is_leaf() {
                return Some(0);
            }
            let edges = &edges.0[node.column()];
            let cut = edges.partition_point(|edge| *edge < node.threshold());
            let edge = edges.get(cut).copied().unwrap_or(f32::INFINITY);
            (edge == node.threshold()).then_some(cut as u8)
        };
        let cuts = nodes.iter().map(cut).collect::<Option<_>>()?;
        Some(Self { nodes: nodes.to_vec(), cuts })
    }

    /// Adds the tree's values to the margins of some rows.
    pub(super) fn add_to(&self, binned: &Binned, rows: impl IntoIterator<Item = u32>, margins: &mut [f32]) {
        for row in rows {
            margins[row as usize] += self.nodes[leaf_of_bins(&self.nodes, &self.cuts, binned, row)].value;
        }
    }

    fn push(&mut self, value: f32) -> usize {
        self.nodes.push(Node::leaf(value));
        self.cuts.push(0);
        self.nodes.len() - 1
    }
}

/// A node with histograms, to be split.
struct Open {
    node: usize,
    /// Its rows, as a range of the workspace's.
    rows: Range<usize>,
    depth: u32,
    sum: [f64; 2],
    histograms: Vec<Histogram>,
}

struct Growing<'a> {
    grower: &'a Grower<'a>,
    sample: &'a Sample<'a>,
    work: &'a mut Workspace,
    margins: &'a mut [f32],
    tree: Tree,
    open: Vec<Open>,
}

impl Growing<'_> {
    fn root(&mut self) {
        let rows = 0..self.work.rows.len();
        let sum = self.sum(&rows);
        let node = self.tree.push(self.grower.value(sum));
        if self.may_split(&rows, 0, sum) {
            let histograms = self.histograms(&rows);
            self.open.push(Open { node, rows, depth: 0, sum, histograms });
        } else {
            self.close(node, rows);
        }
    }

    fn split(&mut self, parent: Open) {
        let Some((column, cut)) = self.best(&parent) else {
            self.close(parent.node, parent.rows);
            return self.work.histograms.push(parent.histograms);
        };
        let bins = self.grower.binned.column(column);
        let Workspace { rows, spare, .. } = &mut *self.work;
        let left = partition(&mut rows[parent.rows.clone()], spare, bins, cut.bin, cut.missing);
        let border = parent.rows.start + left;
        let sides = [parent.rows.start..border, border..parent.rows.end];
        if sides.iter().any(Range::is_empty) {
            // rounding in a subtracted histogram can make an empty child look worth it
            self.close(parent.node, parent.rows);
            return self.work.histograms.push(parent.histograms);
        }

        let sums = sides.clone().map(|rows| self.sum(&rows));
        let nodes = sums.map(|sum| self.tree.push(self.grower.value(sum)));
        let threshold = self.grower.edges.0[column].get(usize::from(cut.bin)).copied().unwrap_or(f32::INFINITY);
        self.tree.nodes[parent.node].split(column as u32, threshold, cut.missing == Side::Left, nodes[0]);
        self.tree.cuts[parent.node] = cut.bin;

        let depth = parent.depth + 1;
        let opens = [0, 1].map(|side| self.may_split(&sides[side], depth, sums[side]));
        if opens == [false, false] {
            self.work.histograms.push(parent.histograms);
            for (node, rows) in nodes.into_iter().zip(sides) {
                self.close(node, rows);
            }
            return;
        }
        let smaller = usize::from(sides[1].len() < sides[0].len());
        let summed = self.histograms(&sides[smaller]);
        let mut rest = parent.histograms;
        histogram::subtract(&mut rest, &summed);
        let histograms = if smaller == 0 { [summed, rest] } else { [rest, summed] };
        for (side, histograms) in histograms.into_iter().enumerate() {
            let (node, rows, sum) = (nodes[side], sides[side].clone(), sums[side]);
            if opens[side] {
                self.open.push(Open { node, rows, depth, sum, histograms });
            } else {
                self.close(node, rows);
                self.work.histograms.push(histograms);
            }
        }
    }

    /// Makes a node a leaf for good.
    fn close(&mut self, node: usize, rows: Range<usize>) {
        let value = self.tree.nodes[node].value;
        for row in &self.work.rows[rows] {
            self.margins[*row as usize] += value;
        }
    }

    fn may_split(&self, rows: &Range<usize>, depth: u32, [_, h]: [f64; 2]) -> bool {
        depth < self.grower.max_depth && rows.len() >= 2 && h >= 2.0 * self.grower.rule.min_child_weight
    }

    /// Sums of derivatives in double precision, from the rows themselves: leaf values do not inherit the rounding of
    /// histograms.
    fn sum(&self, rows: &Range<usize>) -> [f64; 2] {
        self.work.rows[rows.clone()].iter().fold([0.0, 0.0], |[g, h], row| {
            let [a, b] = self.sample.gradients[*row as usize];
            [g + f64::from(a), h + f64::from(b)]
        })
    }

    fn histograms(&mut self, rows: &Range<usize>) -> Vec<Histogram> {
        let Sample { gradients, columns, .. } = *self.sample;
        let mut histograms = self.work.histograms.pop().unwrap_or_default();
        histograms.resize(columns.len(), EMPTY);
        let rows = &self.work.rows[rows.clone()];
        let all = rows.len() == gradients.len();
        let own = if all {
            gradients
        } else {
            // gathered once for all columns
            self.work.own.clear();
            self.work.own.extend(rows.iter().map(|row| gradients[*row as usize]));
            &self.work.own
        };
        let fill = |(column, out): (&u32, &mut Histogram)| {
            let bins = self.grower.binned.column(*column as usize);
            if all { histogram::of_all(bins, own, out) } else { histogram::of_rows(bins, rows, own, out) }
        };
        if rows.len() * columns.len() < PARALLEL {
            columns.iter().zip(&mut histograms).for_each(fill);
        } else {
            columns.par_iter().zip(&mut histograms).with_min_len(COLUMNS).for_each(fill);
        }
        histograms
    }

    /// The best cut over all columns, the first among equals.
    fn best(&self, node: &Open) -> Option<(usize, Cut)> {
        let one = |(column, histogram): (&u32, &Histogram)| {
            let edges = self.grower.edges.0[*column as usize].len();
            best_cut(histogram, edges, node.sum, &self.grower.rule).map(|cut| (*column as usize, cut))
        };
        let better = |a: (usize, Cut), b: (usize, Cut)| {
            let later_wins = b.1.gain > a.1.gain || (b.1.gain == a.1.gain && b.0 < a.0);
            if later_wins { b } else { a }
        };
        let columns = self.sample.columns;
        if columns.len() * EMPTY.len() < PARALLEL {
            columns.iter().zip(&node.histograms).filter_map(one).reduce(better)
        } else {
            columns.par_iter().zip(&node.histograms).with_min_len(COLUMNS).filter_map(one).reduce_with(better)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stakeout_core::Windows;
    use stakeout_testkit::data::small_windows;

    use super::super::forest::Forest;
    use super::*;

    const KIND: stakeout_core::InputKind = stakeout_core::InputKind::Summary;
    const RULE: Rule = Rule { lambda: 1.0, min_child_weight: 0.01, min_gain: 0.0 };

    /// Raw values (row-major), their bins, and gradients.
    struct Example {
        values: Vec<f32>,
        width: usize,
        edges: Edges,
        binned: Binned,
        gradients: Vec<Gradient>,
    }

    fn example(seed: u64, rows: usize, max_bins: usize) -> Example {
        let small = small_windows(seed, rows, 2, 3, 4);
        let all: Vec<usize> = (0..rows).collect();
        let edges =
            Edges::of(&small.windows, KIND, &all, &vec![1.0; rows], max_bins, |n, _| (0..n as u32).collect()).unwrap();
        let binned = Binned::of(&small.windows, KIND, &all, &edges).unwrap();
        let mut batch = stakeout_core::Batch::new(KIND, small.windows.schema().geometry());
        small.windows.gather(&all, &mut batch).unwrap();
        let gradients = small
            .labels
            .iter()
            .enumerate()
            .map(|(row, label)| [f32::from(*label) - 0.5, 0.1 + (row * 7 % 11) as f32 / 50.0])
            .collect();
        Example { width: batch.row_len(), values: batch.values, edges, binned, gradients }
    }

    fn grow(example: &Example, rows: &[u32], max_depth: u32, margins: &mut [f32]) -> Tree {
        let Example { binned, edges, gradients, width, .. } = example;
        let grower = Grower { binned, edges, rule: RULE, max_depth, learning_rate: 0.3 };
        let columns: Vec<u32> = (0..*width as u32).collect();
        grower.grow(&Sample { gradients, rows, columns: &columns }, &mut Workspace::default(), margins)
    }

    /// The rows of each node, by the thresholds.
    fn members(example: &Example, tree: &Tree, rows: &[u32]) -> Vec<Vec<u32>> {
        let mut members = vec![Vec::new(); tree.nodes.len()];
        members[0] = rows.to_vec();
        for (i, node) in tree.nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
            for row in members[i].clone() {
                let start = row as usize * example.width;
                members[node.child(&example.values[start..start + example.width])].push(row);
            }
        }
        members
    }

    fn totals(example: &Example, rows: &[u32]) -> [f64; 2] {
        rows.iter().fold([0.0, 0.0], |[g, h], row| {
            let [a, b] = example.gradients[*row as usize].map(f64::from);
            [g + a, h + b]
        })
    }

    fn half_score([g, h]: [f64; 2]) -> f64 {
        g * g / (h + RULE.lambda) / 2.0
    }

    /// The largest gain of any threshold between two values that occur, on any input, missing values on either side.
    fn best_by_hand(example: &Example, rows: &[u32]) -> f64 {
        let mut best = 0.0f64;
        let whole = half_score(totals(example, rows));
        for column in 0..example.width {
            let value = |row: &u32| example.values[*row as usize * example.width + column];
            for cut in rows.iter().map(value).filter(|v| !v.is_nan()) {
                for missing_left in [false, true] {
                    let goes_left = |row: &&u32| if value(row).is_nan() { missing_left } else { value(row) <= cut };
                    let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(goes_left);
                    let (left, right) = (totals(example, &left), totals(example, &right));
                    if left[1] >= RULE.min_child_weight && right[1] >= RULE.min_child_weight {
                        best = best.max(half_score(left) + half_score(right) - whole);
                    }
                }
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// With a bin a value, every split of a tree is the best that exists, and every value is the Newton step.
        #[test]
        fn as_an_exhaustive_search(seed in any::<u64>(), rows in 2usize..40) {
            let example = example(seed, rows, 255);
            let all: Vec<u32> = (0..rows as u32).collect();
            let tree = grow(&example, &all, 3, &mut vec![0.0; rows]);
            let members = members(&example, &tree, &all);
            let mut depths = vec![0; tree.nodes.len()];
            for (i, (node, rows)) in tree.nodes.iter().zip(&members).enumerate() {
                prop_assert!(!rows.is_empty());
                let [g, h] = totals(&example, rows);
                let step = -0.3 * g / (h + RULE.lambda);
                prop_assert!((f64::from(node.value) - step).abs() < 1e-6);
                let best = best_by_hand(&example, rows);
                if node.is_leaf() {
                    prop_assert!(depths[i] == 3 || best < 1e-4, "a leaf could have gained {best}");
                } else {
                    let children = [node.left(), node.left() + 1];
                    let [left, right] = children.map(|child| half_score(totals(&example, &members[child])));
                    let gain = left + right - half_score([g, h]);
                    prop_assert!((gain - best).abs() < 1e-4, "gain {gain}, there is {best}");
                    for child in children {
                        depths[child] = depths[i] + 1;
                    }
                }
            }
        }

        /// Margins by partition, by bins, by bins of a stored tree and by thresholds are the same number.
        #[test]
        fn thresholds_and_bins_agree(seed in any::<u64>(), rows in 2usize..200, max_bins in 2usize..=255) {
            let example = example(seed, rows, max_bins);
            let (inside, outside): (Vec<u32>, Vec<u32>) = (0..rows as u32).partition(|row| row % 4 != 1);
            let mut margins = vec![0.0; rows];
            let tree = grow(&example, &inside, 5, &mut margins);
            tree.add_to(&example.binned, outside, &mut margins);

            let stored = Tree::from_nodes(&tree.nodes, &example.edges).unwrap();
            prop_assert_eq!(&stored.cuts, &tree.cuts);
            let mut again = vec![0.0; rows];
            stored.add_to(&example.binned, 0..rows as u32, &mut again);
            prop_assert_eq!(&again, &margins);

            let mut forest = Forest::new(example.width, vec![0.0, 0.0]);
            forest.push(&tree.nodes);
            let mut out = vec![0.0; 2 * rows];
            forest.predict(&example.values, &mut out);
            for (row, margin) in out.chunks_exact(2).zip(&margins) {
                let mut expected = [0.0, *margin];
                super::super::objective::softmax(&mut expected);
                prop_assert_eq!(row, expected);
            }
        }
    }

    #[test]
    fn a_tree_of_other_edges_is_noticed() {
        let [one, other] = [1, 2].map(|seed| example(seed, 60, 255));
        let all: Vec<u32> = (0..60).collect();
        let tree = grow(&one, &all, 4, &mut [0.0; 60]);
        assert!(tree.nodes.len() > 3);
        assert!(Tree::from_nodes(&tree.nodes, &other.edges).is_none());
    }
}
