//! One classification tree, grown depth first until its leaves are pure or a limit is met.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use stakeout_kernels::bins::MISSING;
use stakeout_kernels::gini::{self, Cut, Desk, Member};
use stakeout_kernels::partition::partition;
use stakeout_kernels::split::Side;

use super::binned::{Binned, Edges, Spans};
use super::node::{Node, leaf_of_bins};
use crate::draw::{below, uniform};

/// Work on fewer cells than this (rows × columns) is not worth waking other threads for.
const PARALLEL: usize = 1 << 17;

/// How the cut of a column is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cuts {
    /// The best of all (Breiman 2001).
    Best,
    /// One, drawn uniformly between the least and the greatest value in the node (Geurts, Ernst and Wehenkel 2006,
    /// table 1).
    Random,
}

/// How trees are grown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) cuts: Cuts,
    /// Inputs that each node chooses among: drawn afresh in every node, those that cannot be cut not counted.
    pub(crate) inputs_per_split: usize,
    /// Most splits between the root and a leaf.
    pub(crate) max_depth: u32,
    /// Least number of rows in a leaf.
    pub(crate) min_leaf_rows: usize,
    /// Rows of the training side's class frequencies that each leaf is filled up with.
    pub(crate) smoothing: f64,
}

/// What all trees of a fit share.
pub(crate) struct Ground<'a> {
    pub(crate) binned: &'a Binned,
    pub(crate) edges: &'a Edges,
    pub(crate) spans: &'a Spans,
    pub(crate) labels: &'a [u16],
    /// Class frequencies of the training side, none of them 0.
    pub(crate) prior: &'a [f64],
    pub(crate) shape: Shape,
}

/// A tree, with what it says in each node and the bin of each node's threshold.
pub(crate) struct ClassTree {
    /// A node's value is its training weight.
    pub(crate) nodes: Vec<Node>,
    /// Nodes × classes. An inner node says the mean of its leaves, by training weight.
    pub(crate) probabilities: Vec<f32>,
    cuts: Vec<u8>,
}

impl ClassTree {
    /// A stored tree for rows that were binned alike; `None` where it cannot be of these data.
    pub(crate) fn from_nodes(nodes: &[Node], probabilities: &[f32], spans: &Spans) -> Option<Self> {
        let cut = |node: &Node| if node.is_leaf() { Some(0) } else { spans.cut(node.column(), node.threshold()) };
        let cuts = nodes.iter().map(cut).collect::<Option<_>>()?;
        Some(Self { nodes: nodes.to_vec(), probabilities: probabilities.to_vec(), cuts })
    }

    /// What the tree says about a training row.
    pub(crate) fn vote(&self, binned: &Binned, row: u32, classes: usize) -> &[f32] {
        let leaf = leaf_of_bins(&self.nodes, &self.cuts, binned, row);
        &self.probabilities[leaf * classes..][..classes]
    }
}

/// Gives each inner node the mean of its children by training weight, from the leaves up.
pub(crate) fn fill_inner(nodes: &[Node], probabilities: &mut [f32], classes: usize) {
    for (i, node) in nodes.iter().enumerate().rev().filter(|(_, node)| !node.is_leaf()) {
        // children stand behind their parent
        let (own, behind) = probabilities[i * classes..].split_at_mut(classes);
        let children = &behind[(node.left() - i - 1) * classes..][..2 * classes];
        let [left, right] = [0, 1].map(|side| f64::from(nodes[node.left() + side].value));
        let share = if left + right > 0.0 { left / (left + right) } else { 0.5 };
        for (class, own) in own.iter_mut().enumerate() {
            let [l, r] = [children[class], children[classes + class]].map(f64::from);
            *own = (share * l + (1.0 - share) * r) as f32;
        }
    }
}

impl Ground<'_> {
    /// Grows a tree on some rows (distinct, in any order); `weights` has one entry a row of the data.
    pub(crate) fn grow(&self, rows: Vec<u32>, weights: &[f32], generator: Xoshiro256PlusPlus) -> ClassTree {
        let width = self.edges.0.len();
        let mut growing = Growing {
            ground: self,
            weights,
            generator,
            order: (0..width as u32).collect(),
            spare: vec![0; rows.len()],
            members: Vec::with_capacity(rows.len()),
            rows,
            desk: Desk::default(),
            tree: ClassTree { nodes: Vec::new(), probabilities: Vec::new(), cuts: Vec::new() },
        };
        let root = growing.node(0..growing.rows.len(), 0);
        let mut open: Vec<Open> = root.into_iter().collect();
        while let Some(node) = open.pop() {
            open.extend(growing.split(&node).into_iter().flatten().flatten());
        }
        let mut tree = growing.tree;
        fill_inner(&tree.nodes, &mut tree.probabilities, self.prior.len());
        tree
    }
}

/// A node that may be split.
struct Open {
    node: usize,
    /// Its rows, as a range of the tree's.
    rows: Range<usize>,
    depth: u32,
    totals: Vec<f64>,
}

/// A cut with its column and its threshold.
struct Candidate {
    column: u32,
    cut: Cut,
    threshold: f32,
}

struct Growing<'a> {
    ground: &'a Ground<'a>,
    weights: &'a [f32],
    generator: Xoshiro256PlusPlus,
    /// A permutation of the columns, shuffled further in every node.
    order: Vec<u32>,
    rows: Vec<u32>,
    spare: Vec<u32>,
    members: Vec<Member>,
    desk: Desk,
    tree: ClassTree,
}

impl Growing<'_> {
    /// Adds a node as a leaf; returns it where it may be split.
    fn node(&mut self, rows: Range<usize>, depth: u32) -> Option<Open> {
        let Ground { labels, prior, shape, .. } = self.ground;
        let mut totals = vec![0.0; prior.len()];
        for row in &self.rows[rows.clone()] {
            totals[usize::from(labels[*row as usize])] += f64::from(self.weights[*row as usize]);
        }
        let weight: f64 = totals.iter().sum();
        let node = self.tree.nodes.len();
        self.tree.nodes.push(Node::leaf(weight as f32));
        self.tree.cuts.push(0);
        // m-estimate (Cestnik, Estimating probabilities, ECAI 1990)
        let estimate = |(own, prior): (&f64, &f64)| (own + shape.smoothing * prior) / (weight + shape.smoothing);
        self.tree.probabilities.extend(totals.iter().zip(*prior).map(estimate).map(|p| p as f32));
        let is_mixed = totals.iter().filter(|weight| **weight > 0.0).count() > 1;
        let may_split = is_mixed && depth < shape.max_depth && rows.len() >= 2 * shape.min_leaf_rows;
        may_split.then_some(Open { node, rows, depth, totals })
    }

    /// Splits a node; returns those children that may be split further.
    fn split(&mut self, parent: &Open) -> Option<[Option<Open>; 2]> {
        let Candidate { column, cut, threshold } = self.best(parent)?;
        let bins = self.ground.binned.column(column as usize);
        let left = partition(&mut self.rows[parent.rows.clone()], &mut self.spare, bins, cut.bin, cut.missing);
        let border = parent.rows.start + left;
        let child = self.tree.nodes.len();
        self.tree.nodes[parent.node].split(column, threshold, cut.missing == Side::Left, child);
        self.tree.cuts[parent.node] = cut.bin;
        let depth = parent.depth + 1;
        Some([parent.rows.start..border, border..parent.rows.end].map(|rows| self.node(rows, depth)))
    }

    /// The best cut over drawn columns, the first drawn among equals. Columns are drawn until enough of them offer a
    /// cut or none is left; where all are wanted they come in their own order, whatever the seed. A mixed node is cut
    /// even where no cut makes its children purer, so that exclusive-or can be learnt.
    fn best(&mut self, node: &Open) -> Option<Candidate> {
        let Self { ground, weights, generator, order, rows, members, desk, .. } = self;
        let rows = &rows[node.rows.clone()];
        members.clear();
        members.extend(rows.iter().map(|row| (ground.labels[*row as usize], weights[*row as usize])));
        let gini = gini::Node { rows, members, totals: &node.totals, min_rows: ground.shape.min_leaf_rows };

        let mut best: Option<Candidate> = None;
        let (mut drawn, mut found) = (0, 0);
        while found < ground.shape.inputs_per_split && drawn < order.len() {
            let until = (drawn + ground.shape.inputs_per_split - found).min(order.len());
            let all = ground.shape.inputs_per_split >= order.len();
            for i in (drawn..until).filter(|_| !all) {
                let pick = i + below(generator, order.len() - i);
                order.swap(i, pick);
            }
            let tasks: Vec<(u32, f64)> = order[drawn..until].iter().map(|c| (*c, uniform(generator))).collect();
            drawn = until;
            let candidates: Vec<Candidate> = if rows.len() * tasks.len() < PARALLEL {
                tasks.iter().filter_map(|(column, draw)| ground.candidate(*column, *draw, gini, desk)).collect()
            } else {
                tasks
                    .par_iter()
                    .map_init(Desk::default, |desk, (column, draw)| ground.candidate(*column, *draw, gini, desk))
                    .flatten()
                    .collect()
            };
            found += candidates.len();
            for candidate in candidates {
                if best.as_ref().is_none_or(|best| candidate.cut.purity > best.cut.purity) {
                    best = Some(candidate);
                }
            }
        }
        best
    }
}

impl Ground<'_> {
    /// The cut of one column; `draw`, uniform in `[0, 1)`, places a random one.
    fn candidate(&self, column: u32, draw: f64, node: gini::Node<'_>, desk: &mut Desk) -> Option<Candidate> {
        let bins = self.binned.column(column as usize);
        if self.shape.cuts == Cuts::Best {
            let cut = gini::best_cut(bins, node, desk)?;
            let threshold = self.edges.0[column as usize].get(usize::from(cut.bin)).copied().unwrap_or(f32::INFINITY);
            return Some(Candidate { column, cut, threshold });
        }
        let (least, greatest) = gini::span(bins, node.rows)?;
        if least == greatest {
            // one value: all that can be told apart is whether there is one
            let cut = gini::cut_at(bins, node, MISSING - 1, desk)?;
            return Some(Candidate { column, cut, threshold: f32::INFINITY });
        }
        let (bin, threshold) = place(&self.spans.0[column as usize], least, greatest, draw);
        let cut = gini::cut_at(bins, node, bin, desk)?;
        Some(Candidate { column, cut, threshold })
    }
}

/// A uniform threshold between the values of two bins, and the bin behind which it cuts. Inside a bin it moves up to
/// the greatest value there, since rows are told apart by bins; between two bins it stays where it was drawn.
fn place(spans: &[[f32; 2]], least: u8, greatest: u8, draw: f64) -> (u8, f32) {
    let (from, to) = (f64::from(spans[usize::from(least)][0]), f64::from(spans[usize::from(greatest)][1]));
    let threshold = from + draw * (to - from);
    let behind = spans.partition_point(|[low, _]| f64::from(*low) <= threshold);
    let bin = behind.saturating_sub(1).clamp(usize::from(least), usize::from(greatest) - 1);
    let (high, next) = (spans[bin][1], spans[bin + 1][0]);
    let threshold = (threshold as f32).max(high);
    (bin as u8, if threshold < next { threshold } else { high })
}

#[cfg(test)]
mod tests;
