//! A fitted forest: nodes, prediction from raw values, and its bytes.

use stakeout_core::ModelError;

use super::objective;
use crate::bytes::Reader;

const MAGIC: [u8; 4] = *b"SGBT";
const FORMAT: u32 = 1;
/// Bytes of a stored node.
const NODE: usize = 16;
/// Set in [`Node::column`] where missing values go left.
const MISSING_LEFT: u32 = 1 << 31;

/// The largest size of a leaf value or a base margin. A difference of 100 is certainty for a softmax in single
/// precision, so that nothing is lost, and the sum over any number of trees stays finite.
pub(super) const LIMIT: f32 = 100.0;

/// A node of a tree. Its children stand side by side, behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// Values at or below it go left.
    threshold: f32,
    /// What the node would add to the margin if it were a leaf. A leaf does.
    pub(super) value: f32,
    /// Position of the left child in the tree, the right one follows it; 0 in a leaf.
    left: u32,
    /// The input that is compared, and [`MISSING_LEFT`].
    column: u32,
}

impl Node {
    pub(super) fn leaf(value: f32) -> Self {
        Self { threshold: 0.0, value, left: 0, column: 0 }
    }

    pub(super) fn split(&mut self, column: u32, threshold: f32, missing_left: bool, left: usize) {
        *self = Self {
            threshold,
            value: self.value,
            left: left as u32,
            column: column | if missing_left { MISSING_LEFT } else { 0 },
        };
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.left == 0
    }

    pub(super) fn left(&self) -> usize {
        self.left as usize
    }

    pub(super) fn threshold(&self) -> f32 {
        self.threshold
    }

    pub(super) fn column(&self) -> usize {
        (self.column & !MISSING_LEFT) as usize
    }

    pub(super) fn missing_left(&self) -> bool {
        self.column & MISSING_LEFT != 0
    }

    /// Position of the child that a row of raw values goes to.
    #[inline]
    pub(super) fn child(&self, row: &[f32]) -> usize {
        let value = row[self.column()];
        let right = if value.is_nan() { !self.missing_left() } else { value > self.threshold };
        self.left() + usize::from(right)
    }
}

/// Trees in the order in which they were grown, one an output of each round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forest {
    features: usize,
    /// Margin of each class before the first tree.
    base: Vec<f32>,
    /// Position in `nodes` behind the last node of each tree.
    ends: Vec<u32>,
    nodes: Vec<Node>,
}

impl Forest {
    pub(super) fn new(features: usize, base: Vec<f32>) -> Self {
        Self { features, base, ends: Vec::new(), nodes: Vec::new() }
    }

    pub(super) fn push(&mut self, tree: &[Node]) {
        self.nodes.extend_from_slice(tree);
        self.ends.push(self.nodes.len() as u32);
    }

    pub(super) fn rounds(&self) -> usize {
        self.ends.len() / objective::outputs(self.classes())
    }

    /// Drops the rounds behind the first `rounds`.
    pub(super) fn truncate(&mut self, rounds: usize) {
        self.ends.truncate(rounds * objective::outputs(self.classes()));
        self.nodes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    pub(super) fn classes(&self) -> usize {
        self.base.len()
    }

    pub(super) fn trees(&self) -> impl Iterator<Item = &[Node]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.nodes[start as usize..*end as usize])
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
                let mut node = &tree[0];
                while !node.is_leaf() {
                    node = &tree[node.child(row)];
                }
                out[class] += node.value;
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

    /// Magic `SGBT`, then little endian: `u32` format, features, classes, trees; `f32` base margin a class; per tree
    /// `u32` nodes and per node `f32` threshold, `f32` value, `u32` left child in the tree (0: a leaf), `u32` input
    /// with the highest bit set where missing values go left.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + 4 * (self.base.len() + self.ends.len()) + NODE * self.nodes.len());
        bytes.extend(MAGIC);
        for word in [FORMAT, self.features as u32, self.classes() as u32, self.ends.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.base.iter().flat_map(|b| b.to_le_bytes()));
        for tree in self.trees() {
            bytes.extend((tree.len() as u32).to_le_bytes());
            for node in tree {
                bytes.extend(node.threshold.to_le_bytes());
                bytes.extend(node.value.to_le_bytes());
                bytes.extend(node.left.to_le_bytes());
                bytes.extend(node.column.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads what [`Forest::to_bytes`] wrote and believes nothing: lengths are checked against the buffer, children
    /// stand behind their parent (so that every walk ends), inputs exist, numbers are usable.
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
        for t in 0..trees {
            let count = reader.u32()? as usize;
            let stored = reader.take(count, NODE)?;
            if count == 0 || forest.nodes.len() + count > u32::MAX as usize {
                return refused(format!("tree {t} has {count} nodes"));
            }
            for (i, bytes) in stored.chunks_exact(NODE).enumerate() {
                let word = |at: usize| bytes[at..at + 4].try_into().expect("four bytes");
                let node = Node {
                    threshold: f32::from_le_bytes(word(0)),
                    value: f32::from_le_bytes(word(4)),
                    left: u32::from_le_bytes(word(8)),
                    column: u32::from_le_bytes(word(12)),
                };
                let is_sound = node.is_leaf()
                    || (node.left() > i
                        && node.left() < count - 1
                        && node.column() < features
                        && !node.threshold.is_nan());
                if !is_sound || !usable(node.value) {
                    return refused(format!("tree {t}, node {i}: {node:?}"));
                }
                forest.nodes.push(node);
            }
            forest.ends.push(forest.nodes.len() as u32);
        }
        reader.end()?;
        Ok(forest)
    }
}

/// Whether a margin can be added up; false for NaN.
fn usable(margin: f32) -> bool {
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
        let leaf = node + NODE;
        bytes[leaf + 8..leaf + 12].copy_from_slice(&1u32.to_le_bytes());
        assert!(Forest::from_bytes(&bytes, 2, 3).is_err());
    }
}
