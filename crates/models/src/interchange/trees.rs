//! Decision trees as one node of a graph (`TreeEnsembleRegressor` of `ai.onnx.ml`).

use super::graph::{Graph, Value};
use super::proto::Attribute;
use crate::trees::node::Node;

/// A node of a tree, as the graph's operator sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TreeNode<'a> {
    /// Compares an input: values at or below the threshold go to `left`, greater ones to `right`, missing ones (NaN) to
    /// `left` if `missing_left`.
    Split {
        /// Which input.
        input: usize,
        /// At or below goes left.
        threshold: f32,
        /// Where missing values go.
        missing_left: bool,
        /// Position in the tree.
        left: usize,
        /// Position in the tree.
        right: usize,
    },
    /// Adds to the outputs, from the tree's first on.
    Leaf(&'a [f32]),
}

impl<'a> TreeNode<'a> {
    /// A node of this crate's trees, which adds `adds` if it is a leaf.
    pub(crate) fn of(node: &Node, adds: &'a [f32]) -> Self {
        if node.is_leaf() {
            return Self::Leaf(adds);
        }
        Self::Split {
            input: node.column(),
            threshold: node.threshold(),
            missing_left: node.missing_left(),
            left: node.left(),
            right: node.left() + 1,
        }
    }
}

/// Trees that add up.
#[derive(Debug, Default)]
#[allow(clippy::struct_field_names)] // trees are counted in trees
pub(crate) struct Trees {
    trees: i64,
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    inputs: Vec<i64>,
    thresholds: Vec<f32>,
    modes: Vec<&'static str>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing_yes: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_outputs: Vec<i64>,
    leaf_values: Vec<f32>,
}

impl Trees {
    /// Appends a tree, the root first, whose leaves add to the outputs from `first` on.
    pub(crate) fn push<'a>(&mut self, first: usize, nodes: impl IntoIterator<Item = TreeNode<'a>>) {
        for (id, node) in nodes.into_iter().enumerate() {
            self.tree_ids.push(self.trees);
            self.node_ids.push(id as i64);
            let (mode, input, threshold, yes, no, missing) = match node {
                TreeNode::Split { input, threshold, missing_left, left, right } => {
                    ("BRANCH_LEQ", input, threshold, left, right, missing_left)
                }
                TreeNode::Leaf(adds) => {
                    for (output, value) in (first..).zip(adds) {
                        self.leaf_trees.push(self.trees);
                        self.leaf_nodes.push(id as i64);
                        self.leaf_outputs.push(output as i64);
                        self.leaf_values.push(*value);
                    }
                    ("LEAF", 0, 0.0, 0, 0, false)
                }
            };
            self.modes.push(mode);
            self.inputs.push(input as i64);
            self.thresholds.push(threshold);
            self.yes.push(yes as i64);
            self.no.push(no as i64);
            self.missing_yes.push(missing.into());
        }
        self.trees += 1;
    }

    /// The sums over all trees on top of `base`, which has one number an output.
    ///
    /// # Shapes
    /// - `values`: `[windows, features]`
    /// - output: `[windows, outputs]`
    pub(crate) fn into_value(self, graph: &mut Graph, values: &Value, base: &[f32]) -> Value {
        let attributes = vec![
            Attribute::string("aggregate_function", "SUM"),
            Attribute::string("post_transform", "NONE"),
            Attribute::int("n_targets", base.len() as i64),
            Attribute::floats("base_values", base.to_vec()),
            Attribute::ints("nodes_treeids", self.tree_ids),
            Attribute::ints("nodes_nodeids", self.node_ids),
            Attribute::ints("nodes_featureids", self.inputs),
            Attribute::floats("nodes_values", self.thresholds),
            Attribute::strings("nodes_modes", self.modes),
            Attribute::ints("nodes_truenodeids", self.yes),
            Attribute::ints("nodes_falsenodeids", self.no),
            Attribute::ints("nodes_missing_value_tracks_true", self.missing_yes),
            Attribute::ints("target_treeids", self.leaf_trees),
            Attribute::ints("target_nodeids", self.leaf_nodes),
            Attribute::ints("target_ids", self.leaf_outputs),
            Attribute::floats("target_weights", self.leaf_values),
        ];
        graph.ml("TreeEnsembleRegressor", &[values], attributes)
    }
}
