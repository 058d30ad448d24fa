//! The forest as a graph.

use stakeout_core::{ExportContext, ModelError};

use super::forest::Forest;
use super::objective;
use crate::interchange::graph::Graph;
use crate::interchange::onnx;
use crate::interchange::trees::{TreeNode, Trees};

/// One node for all trees, with the base margins in it, and a softmax.
pub(super) fn onnx(forest: &Forest, cx: &ExportContext<'_>) -> Result<Vec<u8>, ModelError> {
    let mut trees = Trees::default();
    for (tree, class) in forest.trees().zip(objective::classes_of_outputs(forest.classes()).cycle()) {
        trees.push(class, tree.iter().map(|node| TreeNode::of(node, std::slice::from_ref(&node.value))));
    }
    if forest.rounds() == 0 {
        trees.push(0, [TreeNode::Leaf(&[0.0])]);
    }
    let mut graph = Graph::default();
    let raw = onnx::raw(&mut graph, cx);
    let margins = trees.into_value(&mut graph, &raw.scaled, forest.base());
    onnx::from_logits(graph, &margins, cx)
}
