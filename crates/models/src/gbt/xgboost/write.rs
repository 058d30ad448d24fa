//! This program's forest as `XGBoost`'s file.

use std::collections::BTreeMap;

use stakeout_core::{ExportContext, ModelError};

use super::file::{
    Booster, File, Flag, ForestParameters, Learner, LearnerParameters, Model, NONE, Objective, ROOT, Tree,
    TreeParameters,
};
use super::{escape, refused, threshold};
use crate::gbt::forest::Forest;
use crate::gbt::objective;
use crate::interchange::facts;
use crate::trees::node::Node;

/// The version that the file names: the oldest whose readers know all of it.
const VERSION: [u32; 3] = [2, 0, 0];

/// The file, as bytes of JSON.
///
/// Base margins are added to the leaves of the first round, in the order in which the program adds them, and the file's
/// own base is 0: there is one for all classes in versions before 3.1.
pub(in crate::gbt) fn write(forest: &Forest, cx: &ExportContext<'_>) -> Result<Vec<u8>, ModelError> {
    if let Some(map) = &cx.header.calibration {
        return Err(refused(format!(
            "probabilities of this model go through a {} map, for which the file has no place: export as onnx, or train \
             with calibration = \"none\"",
            map.name()
        )));
    }
    let (classes, features) = (forest.classes(), cx.header.schema.geometry().features);
    let (outputs, base) = (objective::outputs(classes), margins(forest.base()));
    let single = [Node::leaf(0.0)];
    let trees: Vec<&[Node]> = if forest.rounds() == 0 { vec![&single; outputs] } else { forest.trees().collect() };
    let file_tree = |(id, nodes): (usize, &&[Node])| {
        let base = if id < outputs { base[id] } else { 0.0 };
        tree(id, nodes, base, features, cx)
    };
    let is_binary = classes == 2;
    let parameter = |name, value: String| Some(BTreeMap::from([(name, value)]));
    let file = File {
        learner: Learner {
            attributes: facts(cx).into_iter().collect(),
            feature_names: cx.header.schema.feature_names().iter().map(|name| escape(name)).collect(),
            feature_types: vec!["float".into(); features],
            gradient_booster: Booster {
                model: Some(Model {
                    gbtree_model_param: ForestParameters {
                        num_parallel_tree: "1".into(),
                        num_trees: trees.len().to_string(),
                    },
                    iteration_indptr: (0..=trees.len()).step_by(outputs).collect(),
                    tree_info: (0..outputs).cycle().take(trees.len()).collect(),
                    trees: trees.iter().enumerate().map(file_tree).collect(),
                }),
                name: "gbtree".into(),
            },
            learner_model_param: LearnerParameters {
                // a probability with two classes, a margin with more; 0 as a margin in both
                base_score: if is_binary { "5E-1" } else { "0E0" }.into(),
                num_class: if is_binary { 0 } else { classes }.to_string(),
                num_feature: features.to_string(),
                num_target: "1".into(),
            },
            objective: if is_binary {
                Objective {
                    name: "binary:logistic".into(),
                    softmax_multiclass_param: None,
                    reg_loss_param: parameter("scale_pos_weight", "1".into()),
                }
            } else {
                Objective {
                    name: "multi:softprob".into(),
                    softmax_multiclass_param: parameter("num_class", classes.to_string()),
                    reg_loss_param: None,
                }
            },
        },
        version: VERSION.to_vec(),
    };
    serde_json::to_vec(&file).map_err(|error| refused(error.to_string()))
}

/// What the first tree of each output starts from. With two classes only the difference counts.
fn margins(base: &[f32]) -> Vec<f32> {
    if let [first, second] = base { vec![second - first] } else { base.to_vec() }
}

fn tree(id: usize, nodes: &[Node], base: f32, features: usize, cx: &ExportContext<'_>) -> Tree {
    let mut parents = vec![ROOT; nodes.len()];
    for (i, node) in nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
        parents[node.left()] = i as i32;
        parents[node.left() + 1] = i as i32;
    }
    // its readers explain predictions with this; the forest does not keep it, so that every leaf weighs the same
    let mut sum_hessian = vec![1.0; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev().filter(|(_, node)| !node.is_leaf()) {
        sum_hessian[i] = sum_hessian[node.left()] + sum_hessian[node.left() + 1];
    }
    let child = |node: &Node, right: usize| if node.is_leaf() { NONE } else { (node.left() + right) as i32 };
    let condition = |node: &Node| {
        if node.is_leaf() {
            base + node.value
        } else {
            threshold::to_raw(node.threshold(), threshold::scale(cx.moments, node.column()))
        }
    };
    Tree {
        base_weights: nodes.iter().map(|node| base + node.value).collect(),
        default_left: nodes.iter().map(|node| Flag::Number(node.missing_left().into())).collect(),
        id,
        left_children: nodes.iter().map(|node| child(node, 0)).collect(),
        loss_changes: vec![0.0; nodes.len()],
        parents,
        right_children: nodes.iter().map(|node| child(node, 1)).collect(),
        split_conditions: nodes.iter().map(condition).collect(),
        split_indices: nodes.iter().map(|node| if node.is_leaf() { 0 } else { node.column() }).collect(),
        split_type: vec![0; nodes.len()],
        sum_hessian,
        tree_param: TreeParameters {
            num_deleted: "0".into(),
            num_feature: features.to_string(),
            num_nodes: nodes.len().to_string(),
            size_leaf_vector: "1".into(),
        },
        ..Tree::default()
    }
}
