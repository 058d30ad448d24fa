//! The file: names and nesting are `XGBoost`'s (its schema, version 2 and 3). Fields that say nothing about prediction
//! are written where its reader asks for them and not read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A leaf's child, and "no parent" in a root.
pub(super) const NONE: i32 = -1;
/// The parent of a root.
pub(super) const ROOT: i32 = i32::MAX;

#[derive(Serialize, Deserialize)]
pub(super) struct File {
    pub(super) learner: Learner,
    pub(super) version: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[allow(clippy::struct_field_names)] // the names of the file
pub(super) struct Learner {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) feature_names: Vec<String>,
    #[serde(default, skip_deserializing)]
    pub(super) feature_types: Vec<String>,
    pub(super) gradient_booster: Booster,
    pub(super) learner_model_param: LearnerParameters,
    pub(super) objective: Objective,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Booster {
    /// Absent in a booster that is no forest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Model>,
    pub(super) name: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Model {
    #[serde(default, skip_deserializing)]
    pub(super) gbtree_model_param: ForestParameters,
    #[serde(default, skip_deserializing)]
    pub(super) iteration_indptr: Vec<usize>,
    /// The class that each tree adds to.
    pub(super) tree_info: Vec<usize>,
    pub(super) trees: Vec<Tree>,
}

#[derive(Default, Serialize)]
pub(super) struct ForestParameters {
    pub(super) num_parallel_tree: String,
    pub(super) num_trees: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct LearnerParameters {
    /// A number, or from version 3.1 a list of them in brackets.
    pub(super) base_score: String,
    /// 0 with two classes.
    pub(super) num_class: String,
    pub(super) num_feature: String,
    #[serde(default = "one")]
    pub(super) num_target: String,
}

fn one() -> String {
    "1".into()
}

#[derive(Serialize, Deserialize)]
pub(super) struct Objective {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub(super) softmax_multiclass_param: Option<BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub(super) reg_loss_param: Option<BTreeMap<&'static str, String>>,
}

/// A tree, one entry a node in each list; node 0 is the root.
#[derive(Default, Serialize, Deserialize)]
#[allow(clippy::struct_field_names)] // the names of the file
pub(super) struct Tree {
    #[serde(default, skip_deserializing)]
    pub(super) base_weights: Vec<f32>,
    #[serde(default)]
    pub(super) categories: Vec<i64>,
    #[serde(default)]
    pub(super) categories_nodes: Vec<i64>,
    #[serde(default)]
    pub(super) categories_segments: Vec<i64>,
    #[serde(default)]
    pub(super) categories_sizes: Vec<i64>,
    pub(super) default_left: Vec<Flag>,
    #[serde(default, skip_deserializing)]
    pub(super) id: usize,
    pub(super) left_children: Vec<i32>,
    #[serde(default, skip_deserializing)]
    pub(super) loss_changes: Vec<f32>,
    #[serde(default, skip_deserializing)]
    pub(super) parents: Vec<i32>,
    pub(super) right_children: Vec<i32>,
    /// The threshold; in a leaf what it adds.
    pub(super) split_conditions: Vec<f32>,
    pub(super) split_indices: Vec<usize>,
    #[serde(default)]
    pub(super) split_type: Vec<u8>,
    #[serde(default)]
    pub(super) sum_hessian: Vec<f32>,
    pub(super) tree_param: TreeParameters,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct TreeParameters {
    #[serde(default, skip_deserializing)]
    pub(super) num_deleted: String,
    #[serde(default, skip_deserializing)]
    pub(super) num_feature: String,
    #[serde(default, skip_deserializing)]
    pub(super) num_nodes: String,
    #[serde(default = "one")]
    pub(super) size_leaf_vector: String,
}

/// Written as 0 or 1; older files have `true` and `false`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Flag {
    Number(u8),
    Word(bool),
}

impl Flag {
    pub(super) fn is_set(self) -> bool {
        match self {
            Self::Number(number) => number != 0,
            Self::Word(word) => word,
        }
    }
}
