//! One regression tree on gradients, grown depth first to a depth limit.
//!
//! Histograms are summed over the smaller of two children; the other's are the parent's less these (Ke et al.,
//! LightGBM, NeurIPS 2017, supplement; the idea is older). Depth first keeps one set of histograms a level alive.

use std::ops::Range;

use rayon::prelude::*;
use stakeout_kernels::histogram::{self, EMPTY, Gradient, Histogram};
use stakeout_kernels::partition::{goes_left, partition};
use stakeout_kernels::split::{Cut, Rule, Side, best_cut};

use super::binned::{Binned, Edges};
use super::forest::{LIMIT, Node};

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
            let (mut at, mut node) = (0, &self.nodes[0]);
            while !node.is_leaf() {
                let bin = binned.column(node.column())[row as usize];
                let missing = if node.missing_left() { Side::Left } else { Side::Right };
                at = node.left() + usize::from(!goes_left(bin, self.cuts[at], missing));
                node = &self.nodes[at];
            }
            margins[row as usize] += node.value;
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
