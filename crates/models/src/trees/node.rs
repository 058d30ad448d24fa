//! The nodes of decision trees, the two ways to walk them, and their bytes.

use stakeout_core::ModelError;
use stakeout_kernels::partition::goes_left;
use stakeout_kernels::split::Side;

use super::binned::Binned;
use crate::bytes::Reader;

/// Bytes of a stored node.
const NODE: usize = 16;
/// Set in [`Node::column`] where missing values go left.
const MISSING_LEFT: u32 = 1 << 31;

/// A node of a tree. Its children stand side by side, behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// Values at or below it go left.
    threshold: f32,
    /// A number that the owner of the tree gives meaning to: what a boosted node adds to a margin, the training weight
    /// in a node of a classification tree.
    pub(crate) value: f32,
    /// Position of the left child in the tree, the right one follows it; 0 in a leaf.
    left: u32,
    /// The input that is compared, and [`MISSING_LEFT`].
    column: u32,
}

impl Node {
    pub(crate) fn leaf(value: f32) -> Self {
        Self { threshold: 0.0, value, left: 0, column: 0 }
    }

    pub(crate) fn split(&mut self, column: u32, threshold: f32, missing_left: bool, left: usize) {
        *self = Self {
            threshold,
            value: self.value,
            left: left as u32,
            column: column | if missing_left { MISSING_LEFT } else { 0 },
        };
    }

    /// The same node with the inputs elsewhere: `columns[input]`.
    pub(crate) fn with_columns(&self, columns: &[u32]) -> Self {
        if self.is_leaf() {
            return *self;
        }
        Self { column: columns[self.column()] | self.column & MISSING_LEFT, ..*self }
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn left(&self) -> usize {
        self.left as usize
    }

    pub(crate) fn threshold(&self) -> f32 {
        self.threshold
    }

    pub(crate) fn column(&self) -> usize {
        (self.column & !MISSING_LEFT) as usize
    }

    pub(crate) fn missing_left(&self) -> bool {
        self.column & MISSING_LEFT != 0
    }

    /// Position of the child that a row of raw values goes to.
    #[inline]
    pub(crate) fn child(&self, row: &[f32]) -> usize {
        let value = row[self.column()];
        let right = if value.is_nan() { !self.missing_left() } else { value > self.threshold };
        self.left() + usize::from(right)
    }
}

/// Position of the leaf that a row of raw values ends in.
#[inline]
pub(crate) fn leaf_of(tree: &[Node], row: &[f32]) -> usize {
    let mut at = 0;
    while !tree[at].is_leaf() {
        at = tree[at].child(row);
    }
    at
}

/// Position of the leaf that a row of binned data ends in; `cuts` holds the bin of each node's threshold.
#[inline]
pub(crate) fn leaf_of_bins(tree: &[Node], cuts: &[u8], binned: &Binned, row: u32) -> usize {
    let (mut at, mut node) = (0, &tree[0]);
    while !node.is_leaf() {
        let bin = binned.column(node.column())[row as usize];
        let missing = if node.missing_left() { Side::Left } else { Side::Right };
        at = node.left() + usize::from(!goes_left(bin, cuts[at], missing));
        node = &tree[at];
    }
    at
}

/// Trees in the order in which they were grown, in one piece of memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trees {
    nodes: Vec<Node>,
    /// Position in `nodes` behind the last node of each tree.
    ends: Vec<u32>,
}

impl Trees {
    pub(crate) fn push(&mut self, tree: &[Node]) {
        self.nodes.extend_from_slice(tree);
        self.ends.push(self.nodes.len() as u32);
    }

    /// Number of trees.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Drops the trees behind the first `trees`.
    pub(crate) fn truncate(&mut self, trees: usize) {
        self.ends.truncate(trees);
        self.nodes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// Each tree's nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Node]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.nodes[start as usize..*end as usize])
    }

    /// All nodes, tree by tree.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Appends a tree read from bytes. Believes nothing: lengths are checked against the buffer, children stand behind
    /// their one parent (so that every walk ends), inputs exist, thresholds compare, `sound` accepts the node's value.
    pub(crate) fn read_tree(
        &mut self,
        reader: &mut Reader<'_>,
        features: usize,
        sound: impl Fn(f32) -> bool,
    ) -> Result<(), ModelError> {
        let t = self.len();
        let count = reader.u32()? as usize;
        let stored = reader.take(count, NODE)?;
        if count == 0 || self.nodes.len() + count > u32::MAX as usize {
            return Err(ModelError::Weights(format!("tree {t} has {count} nodes")));
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
                || (node.left() > i && node.left() < count - 1 && node.column() < features && !node.threshold.is_nan());
            if !is_sound || !sound(node.value) {
                return Err(ModelError::Weights(format!("tree {t}, node {i}: {node:?}")));
            }
            self.nodes.push(node);
        }
        // a node that is reached on two ways would be deeper on one of them than it is on the other
        let mut reached = vec![false; count];
        for node in self.nodes[self.nodes.len() - count..].iter().filter(|node| !node.is_leaf()) {
            for child in [node.left(), node.left() + 1] {
                if std::mem::replace(&mut reached[child], true) {
                    return Err(ModelError::Weights(format!("tree {t}: node {child} has two parents")));
                }
            }
        }
        self.ends.push(self.nodes.len() as u32);
        Ok(())
    }
}

/// A tree's bytes, little endian: `u32` nodes and per node `f32` threshold, `f32` value, `u32` left child in the tree
/// (0: a leaf), `u32` input with the highest bit set where missing values go left.
pub(crate) fn write_tree(tree: &[Node], bytes: &mut Vec<u8>) {
    bytes.reserve(4 + NODE * tree.len());
    bytes.extend((tree.len() as u32).to_le_bytes());
    for node in tree {
        bytes.extend(node.threshold.to_le_bytes());
        bytes.extend(node.value.to_le_bytes());
        bytes.extend(node.left.to_le_bytes());
        bytes.extend(node.column.to_le_bytes());
    }
}
