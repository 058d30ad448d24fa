//! One regression tree on gradients, grown depth first to a depth limit.
//!
//! Histograms are summed over the smaller of two children; the other's are the parent's less these, as in LightGBM. A few
//! columns are summed and searched for cuts at a time, while their histograms are in the first-level cache; those of nodes
//! whose children are leaves never leave it. Depth first keeps one or two sets of histograms a level alive.

use std::ops::Range;

use rayon::prelude::*;
use stakeout_kernels::histogram::{LANES, Line};
use stakeout_kernels::partition::partition;
use stakeout_kernels::quantise::{Gradient, Packed, Units};
use stakeout_kernels::simd::Level;
use stakeout_kernels::split::{self, Cut, Rule, Side, best_cut};

use super::coded::Coded;
use super::forest::LIMIT;
use super::siblings::Siblings;
use super::tree::Tree;
use crate::trees::binned::{Binned, Edges};

/// What all trees of a fit share.
pub(super) struct Grower<'a> {
    pub(super) binned: &'a Binned,
    pub(super) coded: &'a Coded,
    pub(super) edges: &'a Edges,
    pub(super) rule: Rule,
    pub(super) max_depth: u32,
    pub(super) learning_rate: f64,
}

/// What one tree is grown on.
pub(super) struct Sample<'a> {
    /// One entry a row of the data.
    pub(super) gradients: &'a [Gradient],
    /// The same, rounded.
    pub(super) packed: &'a [Packed],
    pub(super) units: Units,
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
    own: Vec<Packed>,
    /// Which columns of each group may be cut, a bit each.
    columns: Vec<u8>,
    /// Sums of derivatives of each node.
    sums: Vec<[f64; 2]>,
    histograms: Vec<Vec<Line>>,
}

impl Workspace {
    /// Room for the histograms of a node; the content is unspecified.
    pub(super) fn histograms(&mut self) -> Vec<Line> {
        self.histograms.pop().unwrap_or_default()
    }
}

impl Grower<'_> {
    /// Grows a tree from the histograms of its root and adds its values to the margins of the rows that it sees.
    pub(super) fn grow(&self, sample: &Sample<'_>, root: Vec<Line>, work: &mut Workspace, margins: &mut [f32]) -> Tree {
        work.rows.clear();
        work.rows.extend_from_slice(sample.rows);
        work.spare.resize(sample.rows.len(), 0);
        work.columns.clear();
        work.columns.resize(self.coded.groups(), 0);
        for column in sample.columns {
            work.columns[*column as usize / LANES] |= 1 << (*column as usize % LANES);
        }
        work.sums.clear();
        let (tree, open) = (Tree::default(), Vec::new());
        let mut growing = Growing { grower: self, sample, work, margins, tree, open, level: Level::best() };
        growing.root(root);
        while let Some(node) = growing.open.pop() {
            growing.split(node);
        }
        growing.finish()
    }

    /// The step of Newton's method for rows with these sums, shortened by the learning rate.
    fn value(&self, [g, h]: [f64; 2]) -> f32 {
        let newton = -g / (h + self.rule.lambda);
        if newton.is_nan() { 0.0 } else { ((self.learning_rate * newton) as f32).clamp(-LIMIT, LIMIT) }
    }
}

/// A node with its best cut, to be split.
struct Open {
    node: usize,
    /// Its rows, as a range of the workspace's.
    rows: Range<usize>,
    depth: u32,
    total: Packed,
    cut: Cut,
    histograms: Vec<Line>,
}

/// The rows of a node and what they sum to.
struct Span {
    rows: Range<usize>,
    total: Packed,
    /// `None` where the node must be a leaf.
    scan: Option<split::Node>,
}

struct Growing<'a> {
    grower: &'a Grower<'a>,
    sample: &'a Sample<'a>,
    work: &'a mut Workspace,
    margins: &'a mut [f32],
    tree: Tree,
    open: Vec<Open>,
    level: Level,
}

impl Growing<'_> {
    fn root(&mut self, histograms: Vec<Line>) {
        let total =
            self.sample.rows.iter().fold(0, |sum: Packed, row| sum.wrapping_add(self.sample.packed[*row as usize]));
        let span = self.span(0..self.work.rows.len(), 0, total);
        let cut = span.scan.and_then(|node| {
            let groups = histograms.par_chunks_exact(self.grower.coded.bins()).enumerate();
            groups.filter_map(|(group, lines)| self.best(&node, group, lines)).reduce_with(Cut::better)
        });
        let node = self.tree.push();
        self.enter(node, span, 0, cut, histograms);
    }

    fn split(&mut self, parent: Open) {
        let Open { cut, total, .. } = parent;
        let bins = self.grower.binned.column(cut.column);
        let Workspace { rows, spare, .. } = &mut *self.work;
        let left = partition(&mut rows[parent.rows.clone()], spare, bins, cut.bin, cut.missing);
        let border = parent.rows.start + left;
        let depth = parent.depth + 1;
        let spans = [
            self.span(parent.rows.start..border, depth, cut.left),
            self.span(border..parent.rows.end, depth, total.wrapping_sub(cut.left)),
        ];

        let nodes = [(); 2].map(|()| self.tree.push());
        let threshold = self.grower.edges.0[cut.column].get(usize::from(cut.bin)).copied().unwrap_or(f32::INFINITY);
        self.tree.nodes[parent.node].split(cut.column as u32, threshold, cut.missing == Side::Left, nodes[0]);
        self.tree.cuts[parent.node] = cut.bin;

        let mut histograms = [Vec::new(), parent.histograms];
        let mut cuts = [None, None];
        let smaller = usize::from(spans[1].rows.len() < spans[0].rows.len());
        if spans.iter().any(|span| span.scan.is_some()) {
            // their children are leaves: the cuts are all that is wanted
            let keep = depth + 1 < self.grower.max_depth;
            let scans = [smaller, 1 - smaller].map(|side| spans[side].scan.as_ref());
            if keep {
                histograms[0] = self.work.histograms();
            }
            let [child, rest] = &mut histograms;
            cuts = self.cuts(spans[smaller].rows.clone(), scans, rest, keep.then_some(child));
        }
        if smaller == 1 {
            histograms.swap(0, 1);
            cuts.swap(0, 1);
        }
        for (((node, span), cut), histograms) in nodes.into_iter().zip(spans).zip(cuts).zip(histograms) {
            self.enter(node, span, depth, cut, histograms);
        }
    }

    /// A node of the tree, to be split by and by where it has a worthwhile cut, else a leaf.
    fn enter(&mut self, node: usize, span: Span, depth: u32, cut: Option<Cut>, histograms: Vec<Line>) {
        let Span { rows, total, scan } = span;
        match cut.filter(|cut| scan.is_some_and(|scan| scan.gain(cut.left).is_some())) {
            Some(cut) => self.open.push(Open { node, rows, depth, total, cut, histograms }),
            None => {
                self.close(node, rows);
                if histograms.capacity() > 0 {
                    self.work.histograms.push(histograms);
                }
            }
        }
    }

    /// Makes a node a leaf: its value is the Newton step of the unrounded derivatives.
    fn close(&mut self, node: usize, rows: Range<usize>) {
        let rows = &self.work.rows[rows];
        let sum = rows.iter().fold([0.0, 0.0], |[g, h], row| {
            let [a, b] = self.sample.gradients[*row as usize];
            [g + f64::from(a), h + f64::from(b)]
        });
        let value = self.grower.value(sum);
        for row in rows {
            self.margins[*row as usize] += value;
        }
        self.tree.nodes[node].value = value;
        self.work.sums.resize(self.tree.nodes.len().max(self.work.sums.len()), [0.0; 2]);
        self.work.sums[node] = sum;
    }

    /// The values of the inner nodes, from the sums of their children.
    fn finish(self) -> Tree {
        let Self { mut tree, work, grower, .. } = self;
        for node in (0..tree.nodes.len()).rev().filter(|node| !tree.nodes[*node].is_leaf()).collect::<Vec<_>>() {
            let left = tree.nodes[node].left();
            let [[a, b], [c, d]] = [work.sums[left], work.sums[left + 1]];
            work.sums[node] = [a + c, b + d];
            tree.nodes[node].value = grower.value(work.sums[node]);
        }
        tree
    }

    fn span(&self, rows: Range<usize>, depth: u32, total: Packed) -> Span {
        let Grower { max_depth, rule, .. } = *self.grower;
        let may_split = depth < max_depth && rows.len() >= 2;
        let scan = if may_split { split::Node::new(total, rows.len(), self.sample.units, rule) } else { None };
        Span { rows, total, scan }
    }

    /// The best cut of a group of columns from its histogram.
    fn best(&self, node: &split::Node, group: usize, lines: &[Line]) -> Option<Cut> {
        let shape = self.grower.coded.shape(group, self.work.columns[group]);
        best_cut(self.level, node, lines, shape).map(|cut| Cut { column: cut.column + group * LANES, ..cut })
    }

    /// The best cuts of two siblings. `rows` are those of the smaller one; `rest` holds the parent's histograms. Where
    /// `child` is given, the two become those of the siblings.
    fn cuts(
        &mut self,
        rows: Range<usize>,
        scans: [Option<&split::Node>; 2],
        rest: &mut [Line],
        child: Option<&mut Vec<Line>>,
    ) -> [Option<Cut>; 2] {
        let Workspace { rows: all, own, columns, .. } = &mut *self.work;
        let rows = &all[rows];
        // gathered once for all columns
        own.clear();
        own.extend(rows.iter().map(|row| self.sample.packed[*row as usize]));
        let child = child.map(|child| {
            child.resize(rest.len(), Line::ZERO);
            &mut child[..]
        });
        Siblings { coded: self.grower.coded, level: self.level, columns, rows, own, scans }.cuts(rest, child)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stakeout_core::Windows;
    use stakeout_testkit::data::small_windows;

    use super::super::forest::Forest;
    use super::super::root;
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
        let coded = &Coded::of(binned, edges);
        let grower = Grower { binned, coded, edges, rule: RULE, max_depth, learning_rate: 0.3 };
        let columns: Vec<u32> = (0..*width as u32).collect();
        let units = Units::of(rows.iter().map(|row| gradients[*row as usize]));
        let packed: Vec<Packed> = gradients.iter().map(|gradient| units.round(*gradient, 1 << 63 | 1 << 31)).collect();
        let (mut lines, mut root) = (Vec::new(), Vec::new());
        root::lines(&[&packed], rows, &mut lines);
        root::histograms(binned, coded, rows, &lines, &mut [&mut root]);
        let sample = Sample { gradients, packed: &packed, units, rows, columns: &columns };
        grower.grow(&sample, root, &mut Workspace::default(), margins)
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
