//! A fitted forest: nodes, prediction from raw values, and its bytes.

use stakeout_core::ModelError;

use super::objective;
use crate::bytes::Reader;
use crate::trees::node::{self, Node, Trees};

const MAGIC: [u8; 4] = *b"SGBT";
const FORMAT: u32 = 1;
/// The largest size of a leaf value or a base margin. A difference of 100 is certainty for a softmax in single
/// precision, so that nothing is lost, and the sum over any number of trees stays finite.
pub(super) const LIMIT: f32 = 100.0;

/// Trees in the order in which they were grown, one an output of each round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forest {
    features: usize,
    /// Margin of each class before the first tree.
    base: Vec<f32>,
    trees: Trees,
}

impl Forest {
    pub(super) fn new(features: usize, base: Vec<f32>) -> Self {
        Self { features, base, trees: Trees::default() }
    }

    pub(super) fn push(&mut self, tree: &[Node]) {
        self.trees.push(tree);
    }

    pub(super) fn rounds(&self) -> usize {
        self.trees.len() / objective::outputs(self.classes())
    }

    /// Drops the rounds behind the first `rounds`.
    pub(super) fn truncate(&mut self, rounds: usize) {
        self.trees.truncate(rounds * objective::outputs(self.classes()));
    }

    pub(super) fn features(&self) -> usize {
        self.features
    }

    pub(super) fn classes(&self) -> usize {
        self.base.len()
    }

    /// Margin of each class before the first tree.
    pub(super) fn base(&self) -> &[f32] {
        &self.base
    }

    pub(super) fn trees(&self) -> impl Iterator<Item = &[Node]> {
        self.trees.iter()
    }

    /// Class probabilities of rows of raw values (rows × features) into `out` (rows × classes).
    pub(super) fn predict(&self, values: &[f32], out: &mut [f32]) {
        let classes = self.classes();
        for row in out.chunks_exact_mut(classes) {
            row.copy_from_slice(&self.base);
        }
        // a tree at a time over all rows, so that it stays in the cache; each row still adds its trees in order
        for (tree, class) in self.trees().zip(objective::classes_of_outputs(classes).cycle()) {
            for (row, out) in values.chunks_exact(self.features).zip(out.chunks_exact_mut(classes)) {
                out[class] += tree[node::leaf_of(tree, row)].value;
            }
        }
        for row in out.chunks_exact_mut(classes) {
            objective::softmax(row);
        }
    }

    /// What each input added to each class margin of one row of raw values, into `out` (classes × features): at every
    /// split on the way the difference between the value of the child taken and of the node goes to the input that is
    /// compared (Saabas, "Interpreting random forests", 2014).
    pub(super) fn attribute(&self, row: &[f32], out: &mut [f32]) {
        for (tree, class) in self.trees().zip(objective::classes_of_outputs(self.classes()).cycle()) {
            let mut node = &tree[0];
            while !node.is_leaf() {
                let child = &tree[node.child(row)];
                out[class * self.features + node.column()] += child.value - node.value;
                node = child;
            }
        }
    }

    /// Magic `SGBT`, then little endian: `u32` format, features, classes, trees; `f32` base margin a class; the trees as
    /// [`node::write_tree`] does, a node's value being its part of the margin.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for word in [FORMAT, self.features as u32, self.classes() as u32, self.trees.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.base.iter().flat_map(|b| b.to_le_bytes()));
        self.trees().for_each(|tree| node::write_tree(tree, &mut bytes));
        bytes
    }

    /// Reads what [`Forest::to_bytes`] wrote and believes nothing of it.
    pub(super) fn from_bytes(bytes: &[u8], features: usize, classes: usize) -> Result<Self, ModelError> {
        let refused = |why: String| Err(ModelError::Weights(why));
        let mut reader = Reader::new(bytes);
        reader.expect(MAGIC, FORMAT)?;
        let stored = [reader.u32()? as usize, reader.u32()? as usize];
        if stored != [features, classes] {
            return refused(format!(
                "they are for {} inputs and {} classes, the schema has {features} and {classes}",
                stored[0], stored[1]
            ));
        }
        let trees = reader.u32()? as usize;
        if !trees.is_multiple_of(objective::outputs(classes)) {
            return refused(format!("{trees} trees are no whole number of rounds for {classes} classes"));
        }
        let mut forest = Self::new(features, reader.f32s(classes)?);
        if let Some(base) = forest.base.iter().find(|base| !usable(**base)) {
            return refused(format!("base margin {base}"));
        }
        for _ in 0..trees {
            forest.trees.read_tree(&mut reader, features, usable)?;
        }
        reader.end()?;
        Ok(forest)
    }
}

/// Whether a margin can be added up; false for NaN.
pub(super) fn usable(margin: f32) -> bool {
    margin.abs() <= LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two inputs, three classes, one round: a split on input 1 and two single leaves.
    fn example() -> Forest {
        let mut forest = Forest::new(2, vec![0.0, 0.5, -0.5]);
        let mut root = Node::leaf(0.25);
        root.split(1, 1.5, true, 1);
        forest.push(&[root, Node::leaf(-1.0), Node::leaf(1.0)]);
        forest.push(&[Node::leaf(0.0)]);
        forest.push(&[Node::leaf(2.0)]);
        forest
    }

    #[test]
    fn at_the_threshold_and_missing_go_left() {
        let mut out = [0.0; 9];
        example().predict(&[9.0, 1.5, 9.0, f32::NAN, f32::NAN, 1.6], &mut out);
        let odds = |row: usize| (out[3 * row] / out[3 * row + 1]).ln() + 0.5;
        for (row, value) in [-1.0, -1.0, 1.0].into_iter().enumerate() {
            assert!((odds(row) - value).abs() < 1e-6, "{}", odds(row));
        }
    }

    #[test]
    fn attributions_and_root_values_add_up_to_the_margin() {
        let forest = example();
        let mut out = [0.0; 6];
        forest.attribute(&[0.0, 7.0], &mut out);
        assert_eq!(out, [0.0, 0.75, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn bytes_round_trip_and_rounds_can_be_dropped() {
        let mut forest = example();
        assert_eq!(Forest::from_bytes(&forest.to_bytes(), 2, 3).unwrap(), forest);
        for tree in example().trees() {
            forest.push(tree);
        }
        assert_eq!(forest.rounds(), 2);
        forest.truncate(1);
        assert_eq!(forest, example());
    }

    #[test]
    fn every_lie_is_refused() {
        let good = example().to_bytes();
        // 20 bytes head, 12 bytes base, 4 bytes node count, then nodes: threshold, value, left, column
        let node = 36;
        let lies: [(&str, usize, [u8; 4]); 13] = [
            ("magic", 0, *b"SGBX"),
            ("format", 4, 2u32.to_le_bytes()),
            ("inputs", 8, 3u32.to_le_bytes()),
            ("classes", 12, 4u32.to_le_bytes()),
            ("trees that are no whole round", 16, 2u32.to_le_bytes()),
            ("more trees than bytes", 16, u32::MAX.to_le_bytes()),
            ("base margin", 20, f32::INFINITY.to_le_bytes()),
            ("no node", 32, 0u32.to_le_bytes()),
            ("more nodes than bytes", 32, u32::MAX.to_le_bytes()),
            ("threshold", node, f32::NAN.to_le_bytes()),
            ("value", node + 4, 1e9f32.to_le_bytes()),
            ("right child behind the tree", node + 8, 2u32.to_le_bytes()),
            ("input", node + 12, 2u32.to_le_bytes()),
        ];
        for (what, at, lie) in lies {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&lie);
            assert!(Forest::from_bytes(&bytes, 2, 3).is_err(), "{what}");
        }
        // a child that is its own parent
        let mut bytes = good.clone();
        let leaf = node + 16;
        bytes[leaf + 8..leaf + 12].copy_from_slice(&1u32.to_le_bytes());
        assert!(Forest::from_bytes(&bytes, 2, 3).is_err());
    }

    /// Such a tree was filled up to the depth of one of its ways, and written behind its end along the other.
    #[test]
    fn a_node_with_two_parents_is_refused() {
        let leaf = [0u32; 4];
        let split = |left: u32| [0, 0, left, 0];
        let mut tree = [leaf; 11];
        for (at, left) in [(0, 1), (1, 3), (2, 7), (3, 5), (5, 9), (7, 9)] {
            tree[at] = split(left);
        }
        let good = example().to_bytes();
        let mut bytes = good[..32].to_vec();
        bytes.extend(11u32.to_le_bytes());
        bytes.extend(tree.iter().flatten().flat_map(|word| word.to_le_bytes()));
        bytes.extend(&good[32..]);
        // one tree more than there were makes no whole round: the first of the old ones goes
        let first = 4 + 16 * u32::from_le_bytes(good[32..36].try_into().unwrap()) as usize;
        bytes.drain(32 + 4 + 16 * 11..32 + 4 + 16 * 11 + first);
        let error = Forest::from_bytes(&bytes, 2, 3).unwrap_err().to_string();
        assert!(error.contains("node 9 has two parents"), "{error}");
    }
}
