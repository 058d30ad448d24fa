//! A tree of one round, as rows walk through it that are binned already.

use crate::trees::binned::{Binned, Edges};
use crate::trees::node::{Node, leaf_of_bins};

/// A tree, with the bin of each node's threshold: rows that are binned already go by that.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) cuts: Vec<u8>,
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

    /// A leaf that says nothing yet; returns its position.
    pub(super) fn push(&mut self) -> usize {
        self.nodes.push(Node::leaf(0.0));
        self.cuts.push(0);
        self.nodes.len() - 1
    }
}
