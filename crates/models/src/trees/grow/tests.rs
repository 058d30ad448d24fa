use proptest::prelude::*;
use stakeout_core::{Batch, InputKind, Windows};
use stakeout_kernels::gini::purity;
use stakeout_testkit::data::small_windows;

use super::*;
use crate::draw::stream;
use crate::trees::node::leaf_of;

const CLASSES: usize = 3;
const KIND: InputKind = InputKind::Summary;

/// Raw values (row-major), their bins and labels, and row weights.
struct Example {
    values: Vec<f32>,
    width: usize,
    edges: Edges,
    spans: Spans,
    binned: Binned,
    labels: Vec<u16>,
    weights: Vec<f32>,
    prior: Vec<f64>,
}

fn example(seed: u64, rows: usize, max_bins: usize) -> Example {
    let small = small_windows(seed, rows, CLASSES, 3, 4);
    let all: Vec<usize> = (0..rows).collect();
    let weights: Vec<f32> = all.iter().map(|row| (1 + row * 7 % 5) as f32 / 3.0).collect();
    let edges = Edges::of(&small.windows, KIND, &all, &weights, max_bins, |n, _| (0..n as u32).collect()).unwrap();
    let mut batch = Batch::new(KIND, small.windows.schema().geometry());
    small.windows.gather(&all, &mut batch).unwrap();
    Example {
        spans: Spans::of(&small.windows, KIND, &all, &edges).unwrap(),
        binned: Binned::of(&small.windows, KIND, &all, &edges).unwrap(),
        edges,
        width: batch.row_len(),
        values: batch.values,
        labels: small.labels,
        weights,
        prior: vec![0.5, 0.3, 0.2],
    }
}

impl Example {
    fn grow(&self, shape: Shape, rows: &[u32]) -> ClassTree {
        let Self { edges, spans, binned, labels, prior, .. } = self;
        let ground = Ground { binned, edges, spans, labels, prior, shape };
        ground.grow(rows.to_vec(), &self.weights, stream(5, [1]))
    }

    fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.width..][..self.width]
    }

    fn totals(&self, rows: &[u32]) -> Vec<f64> {
        let mut totals = vec![0.0; CLASSES];
        for row in rows {
            totals[usize::from(self.labels[*row as usize])] += f64::from(self.weights[*row as usize]);
        }
        totals
    }

    /// The rows of each node, by the thresholds.
    fn members(&self, tree: &ClassTree, rows: &[u32]) -> Vec<Vec<u32>> {
        let mut members = vec![Vec::new(); tree.nodes.len()];
        members[0] = rows.to_vec();
        for (i, node) in tree.nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
            for row in members[i].clone() {
                members[node.child(self.row(row))].push(row);
            }
        }
        members
    }

    /// The largest purity that any threshold on any input leaves, missing values on either side.
    fn best_by_hand(&self, rows: &[u32], least: usize) -> Option<f64> {
        let mut best: Option<f64> = None;
        for column in 0..self.width {
            let value = |row: &u32| self.row(*row)[column];
            for cut in rows.iter().map(value).filter(|v| !v.is_nan()) {
                for missing_left in [false, true] {
                    let goes_left = |row: &&u32| if value(row).is_nan() { missing_left } else { value(row) <= cut };
                    let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(goes_left);
                    if left.len().min(right.len()) >= least {
                        let found = purity(&self.totals(&left)) + purity(&self.totals(&right));
                        best = Some(best.map_or(found, |best| best.max(found)));
                    }
                }
            }
        }
        best
    }
}

fn shape(cuts: Cuts, inputs_per_split: usize, max_depth: u32, min_leaf_rows: usize) -> Shape {
    Shape { cuts, inputs_per_split, max_depth, min_leaf_rows, smoothing: 0.7 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// With a bin a value and all inputs, every split is the best that exists.
    #[test]
    fn as_an_exhaustive_search(seed in any::<u64>(), n in 2usize..40, least in 1usize..4) {
        let example = example(seed, n, 255);
        let all: Vec<u32> = (0..n as u32).collect();
        let tree = example.grow(shape(Cuts::Best, example.width, 3, least), &all);
        let members = example.members(&tree, &all);
        let mut depths = vec![0; tree.nodes.len()];
        for (i, (node, rows)) in tree.nodes.iter().zip(&members).enumerate() {
            let best = example.best_by_hand(rows, least);
            let mixed = example.totals(rows).iter().filter(|w| **w > 0.0).count() > 1;
            if node.is_leaf() {
                prop_assert!(depths[i] == 3 || !mixed || best.is_none(), "a leaf could have been split");
            } else {
                let children = [node.left(), node.left() + 1];
                let found: f64 = children.iter().map(|child| purity(&example.totals(&members[*child]))).sum();
                let best = best.unwrap();
                prop_assert!((found - best).abs() < 1e-9 * best, "purity {found}, there is {best}");
                children.iter().for_each(|child| depths[*child] = depths[i] + 1);
            }
        }
    }

    /// Rows end in the same leaf by bins, by bins of a stored tree and by thresholds; leaves hold enough rows and say
    /// the m-estimate of what they hold; inner nodes say the mean of their leaves.
    #[test]
    fn bins_and_thresholds_agree(
        seed in any::<u64>(), n in 2usize..200, max_bins in 2usize..=255, random in any::<bool>(), inputs in 1usize..9,
        least in 1usize..4,
    ) {
        let example = example(seed, n, max_bins);
        let (inside, _): (Vec<u32>, Vec<u32>) = (0..n as u32).partition(|row| row % 4 != 1);
        let cuts = if random { Cuts::Random } else { Cuts::Best };
        let tree = example.grow(shape(cuts, inputs, 64, least), &inside);
        let stored = ClassTree::from_nodes(&tree.nodes, &tree.probabilities, &example.spans).unwrap();
        for row in 0..n as u32 {
            let leaf = leaf_of(&tree.nodes, example.row(row));
            let said = &tree.probabilities[leaf * CLASSES..][..CLASSES];
            prop_assert_eq!(tree.vote(&example.binned, row, CLASSES), said);
            prop_assert_eq!(stored.vote(&example.binned, row, CLASSES), said);
        }
        for (i, (node, rows)) in tree.nodes.iter().zip(example.members(&tree, &inside)).enumerate() {
            let totals = example.totals(&rows);
            let weight: f64 = totals.iter().sum();
            prop_assert!((f64::from(node.value) - weight).abs() < 1e-4);
            prop_assert!(rows.len() >= least.min(inside.len()));
            for (class, total) in totals.iter().enumerate() {
                // the mean of leaves by weight carries their smoothing along
                let leaves: f64 = if node.is_leaf() {
                    (total + 0.7 * example.prior[class]) / (weight + 0.7)
                } else {
                    let [l, r] = [0, 1].map(|side| node.left() + side);
                    let say = |at: usize| f64::from(tree.probabilities[at * CLASSES + class]);
                    let [a, b] = [l, r].map(|at| f64::from(tree.nodes[at].value));
                    (a * say(l) + b * say(r)) / (a + b)
                };
                prop_assert!((f64::from(tree.probabilities[i * CLASSES + class]) - leaves).abs() < 1e-5);
            }
        }
    }

    /// A random threshold lies between values that occur, and every gap between two bins is met in proportion.
    #[test]
    fn random_thresholds_cut_where_they_say(draws in prop::collection::vec(0u32..1 << 20, 1..50)) {
        let spans = [[0.0, 1.0], [3.0, 3.0], [7.0, 8.0], [8.5, 10.0]];
        for draw in draws {
            let draw = f64::from(draw) / f64::from(1 << 20);
            let (bin, threshold) = place(&spans, 0, 3, draw);
            let bin = usize::from(bin);
            prop_assert!(spans[bin][1] <= threshold && threshold < spans[bin + 1][0], "{threshold} behind bin {bin}");
            let drawn = (10.0 * draw) as f32;
            let expected = [(0.0..3.0), (3.0..7.0), (7.0..10.0)].iter().position(|gap| gap.contains(&drawn)).unwrap();
            prop_assert_eq!(bin, expected.min(2));
        }
    }
}

#[test]
fn exclusive_or_is_learnt() {
    // neither input says anything alone
    let mut example = example(1, 40, 255);
    let is_odd = |row: &[f32]| (row[0] > 0.0) != (row[1] > 0.0);
    example.labels = (0..40).map(|row| u16::from(is_odd(example.row(row)))).collect();
    let all: Vec<u32> = (0..40).collect();
    for cuts in [Cuts::Best, Cuts::Random] {
        let tree = example.grow(Shape { smoothing: 0.0, ..shape(cuts, 3, 64, 1) }, &all);
        for row in &all {
            let said = tree.vote(&example.binned, *row, CLASSES);
            assert_eq!(said[usize::from(example.labels[*row as usize])], 1.0);
        }
    }
}

#[test]
fn a_tree_of_other_data_can_be_noticed() {
    let example = example(1, 60, 255);
    let mut root = Node::leaf(1.0);
    root.split(0, -1e30, false, 1);
    let nodes = [root, Node::leaf(0.5), Node::leaf(0.5)];
    assert!(ClassTree::from_nodes(&nodes, &[0.0; 9], &example.spans).is_none());
}
