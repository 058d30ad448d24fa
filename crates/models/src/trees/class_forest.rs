//! Fitted classification trees that vote: prediction from raw values, path contributions, and their bytes.

use stakeout_core::ModelError;

use super::grow::{ClassTree, fill_inner};
use super::node::{Node, Trees, leaf_of, write_tree};
use crate::bytes::Reader;

const MAGIC: [u8; 4] = *b"SCLF";
const FORMAT: u32 = 1;

/// Trees in the order in which they were grown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClassForest {
    features: usize,
    classes: usize,
    /// A node's value is its training weight.
    trees: Trees,
    /// Nodes × classes.
    probabilities: Vec<f32>,
}

impl ClassForest {
    pub(crate) fn new(features: usize, classes: usize) -> Self {
        Self { features, classes, trees: Trees::default(), probabilities: Vec::new() }
    }

    pub(crate) fn push(&mut self, tree: &ClassTree) {
        self.trees.push(&tree.nodes);
        self.probabilities.extend_from_slice(&tree.probabilities);
    }

    /// Number of trees.
    pub(crate) fn len(&self) -> usize {
        self.trees.len()
    }

    /// Each tree's nodes and what it says in them (nodes × classes).
    pub(crate) fn trees(&self) -> impl Iterator<Item = (&[Node], &[f32])> {
        self.trees.iter().scan(0, |at, tree| {
            let own = &self.probabilities[*at..*at + tree.len() * self.classes];
            *at += own.len();
            Some((tree, own))
        })
    }

    /// Class probabilities of rows of raw values (rows × features) into `out` (rows × classes): the mean of what the
    /// trees say.
    pub(crate) fn predict(&self, values: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        // a tree at a time over all rows, so that it stays in the cache; each row still adds its trees in order
        for (tree, says) in self.trees() {
            for (row, out) in values.chunks_exact(self.features).zip(out.chunks_exact_mut(self.classes)) {
                let leaf = &says[leaf_of(tree, row) * self.classes..][..self.classes];
                out.iter_mut().zip(leaf).for_each(|(out, p)| *out += p);
            }
        }
        let trees = self.len() as f32;
        out.iter_mut().for_each(|p| *p /= trees);
    }

    /// What each input added to each class probability of one row of raw values, into `out` (classes × features): at
    /// every split on the way the difference between what the child taken and what the node says goes to the input that
    /// is compared (Saabas, "Interpreting random forests", 2014).
    pub(crate) fn attribute(&self, row: &[f32], out: &mut [f32]) {
        let trees = self.len() as f32;
        for (tree, says) in self.trees() {
            let say = |at: usize| &says[at * self.classes..][..self.classes];
            let mut at = 0;
            while !tree[at].is_leaf() {
                let child = tree[at].child(row);
                for (class, (new, old)) in say(child).iter().zip(say(at)).enumerate() {
                    out[class * self.features + tree[at].column()] += (new - old) / trees;
                }
                at = child;
            }
        }
    }

    /// Magic `SCLF`, then little endian: `u32` format, features, classes, trees; per tree its nodes as [`write_tree`]
    /// does, a node's value being its training weight, and one `f32` a class of each leaf, in the order of the nodes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for word in [FORMAT, self.features as u32, self.classes as u32, self.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        for (tree, says) in self.trees() {
            write_tree(tree, &mut bytes);
            let leaves = tree.iter().zip(says.chunks_exact(self.classes)).filter(|(node, _)| node.is_leaf());
            bytes.extend(leaves.flat_map(|(_, says)| says).flat_map(|p| p.to_le_bytes()));
        }
        bytes
    }

    /// Reads what [`ClassForest::to_bytes`] wrote and believes nothing of it.
    pub(crate) fn from_bytes(bytes: &[u8], features: usize, classes: usize) -> Result<Self, ModelError> {
        let mut reader = Reader::new(bytes);
        reader.expect(MAGIC, FORMAT)?;
        let stored = [reader.u32()? as usize, reader.u32()? as usize];
        if stored != [features, classes] {
            return Err(ModelError::Weights(format!(
                "they are for {} inputs and {} classes, the schema has {features} and {classes}",
                stored[0], stored[1]
            )));
        }
        let trees = reader.u32()? as usize;
        let mut forest = Self::new(features, classes);
        for t in 0..trees {
            // written so that NaN is refused
            forest.trees.read_tree(&mut reader, features, |weight| (0.0..=f32::MAX).contains(&weight))?;
            let from = forest.probabilities.len();
            let nodes = &forest.trees.nodes()[from / classes..];
            let leaves = nodes.iter().filter(|node| node.is_leaf()).count();
            // inner nodes take as much room as leaves, but only leaves are paid for in bytes
            if nodes.len() + 1 != 2 * leaves {
                return Err(ModelError::Weights(format!("tree {t} has {leaves} leaves among {} nodes", nodes.len())));
            }
            let cells = leaves.saturating_mul(classes);
            let mut leaves = reader.f32s(cells)?.into_iter();
            for node in nodes {
                if node.is_leaf() {
                    let says: Vec<f32> = leaves.by_ref().take(classes).collect();
                    let sum: f32 = says.iter().sum();
                    if !(says.iter().all(|p| (0.0..=1.0).contains(p)) && (sum - 1.0).abs() < 1e-3) {
                        return Err(ModelError::Weights(format!("a leaf of tree {t} says {says:?}")));
                    }
                    forest.probabilities.extend(says);
                } else {
                    forest.probabilities.extend(std::iter::repeat_n(0.0, classes));
                }
            }
            fill_inner(nodes, &mut forest.probabilities[from..], classes);
        }
        reader.end()?;
        Ok(forest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two inputs, three classes: a split on input 1 and a single leaf.
    fn example() -> ClassForest {
        let mut root = Node::leaf(4.0);
        root.split(1, 1.5, true, 1);
        let nodes = [root, Node::leaf(3.0), Node::leaf(1.0)];
        let mut first = ClassForest::new(2, 3);
        first.trees.push(&nodes);
        first.probabilities = vec![0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.25, 0.75];
        fill_inner(&nodes, &mut first.probabilities, 3);
        first.trees.push(&[Node::leaf(4.0)]);
        first.probabilities.extend([1.0, 0.0, 0.0]);
        first
    }

    #[test]
    fn at_the_threshold_and_missing_go_left_and_votes_are_averaged() {
        let mut out = [7.0; 9];
        example().predict(&[9.0, 1.5, 9.0, f32::NAN, f32::NAN, 1.6], &mut out);
        assert_eq!(out, [0.75, 0.25, 0.0, 0.75, 0.25, 0.0, 0.5, 0.125, 0.375]);
    }

    #[test]
    fn attributions_and_what_the_roots_say_add_up() {
        let forest = example();
        assert_eq!(forest.probabilities[..3], [0.375, 0.4375, 0.1875]);
        let mut out = [0.0; 6];
        forest.attribute(&[0.0, 7.0], &mut out);
        assert_eq!(out, [0.0, -0.1875, 0.0, -0.09375, 0.0, 0.28125]);
    }

    #[test]
    fn bytes_round_trip() {
        let forest = example();
        assert_eq!(ClassForest::from_bytes(&forest.to_bytes(), 2, 3).unwrap(), forest);
    }

    #[test]
    fn every_lie_is_refused() {
        let good = example().to_bytes();
        // 20 bytes head, 4 bytes node count, then nodes of 16 bytes: threshold, value, left, column; then two leaves
        let (node, leaves) = (24, 24 + 3 * 16);
        let lies: [(&str, usize, [u8; 4]); 15] = [
            ("magic", 0, *b"SCLX"),
            ("format", 4, 2u32.to_le_bytes()),
            ("inputs", 8, 3u32.to_le_bytes()),
            ("classes", 12, 4u32.to_le_bytes()),
            ("fewer trees", 16, 1u32.to_le_bytes()),
            ("more trees than bytes", 16, u32::MAX.to_le_bytes()),
            ("no node", 20, 0u32.to_le_bytes()),
            ("more nodes than bytes", 20, u32::MAX.to_le_bytes()),
            ("threshold", node, f32::NAN.to_le_bytes()),
            ("weight", node + 4, (-1.0f32).to_le_bytes()),
            ("right child behind the tree", node + 8, 2u32.to_le_bytes()),
            ("input", node + 12, 2u32.to_le_bytes()),
            ("probability", leaves, 1.5f32.to_le_bytes()),
            ("no probability", leaves, f32::NAN.to_le_bytes()),
            ("sum", leaves, 0.75f32.to_le_bytes()),
        ];
        for (what, at, lie) in lies {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&lie);
            assert!(ClassForest::from_bytes(&bytes, 2, 3).is_err(), "{what}");
        }
    }
}
