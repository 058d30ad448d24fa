//! One decision tree (Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984): Gini impurity, the
//! best cut of all inputs in every node, depth and leaf size limited. A baseline that can be read.
//!
//! Missing values (NaN) need no filling: every split chooses the side that they go to. Guarantees: those of
//! [`crate::forest`].
//!
//! linfa-trees 0.8 is the textbook tree of the ecosystem and was meant to grow this one. It cannot keep "same seed, same
//! bytes": class weights stand in a `HashMap` with a random hash, and Gini impurity is a single-precision sum over its
//! values, whose rounding follows the order of iteration. With three classes or more, cuts of equal worth are then
//! decided by that rounding; and with two already, a leaf whose classes weigh the same takes either, after which pruning
//! merges other leaves. A test shows fits of the same rows in one process that differ. Leaf frequencies by a pass of our
//! own mend neither. Values nearer than 1e-5 are also one to it, whatever their unit. So the tree is grown on the bins of
//! this crate, and linfa's stands beside it in the tests, which hold this one to its accuracy.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::{
    BaseModel, Estimator, FitContext, InputKind, Labelled, LoadContext, ModelEntry, ModelError, ModelKind,
};

use crate::config::{self, within};
use crate::trees::bagging::{self, Plan, Rows};
use crate::trees::grow::{Cuts, Shape};
use crate::trees::model::TreeModel;

const KIND: &str = "tree";

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "one decision tree on window summaries: a baseline that can be read",
        defaults: include_str!("tree/defaults.toml"),
        configure: |given| Ok(Box::new(DecisionTree::new(config::section(KIND, given)?)?)),
        load,
    }
}

/// Settings; the commented defaults are in the registry entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeConfig {
    /// Most splits between the root and a leaf.
    pub max_depth: u32,
    /// Least number of rows in a leaf.
    pub min_leaf_rows: usize,
    /// Rows of the training frequencies that each leaf is filled up with.
    pub smoothing: f64,
    /// Most bins of an input, besides the one for missing values.
    pub max_bins: usize,
}

impl Default for TreeConfig {
    fn default() -> Self {
        Self { max_depth: 8, min_leaf_rows: 5, smoothing: 1.0, max_bins: 255 }
    }
}

impl TreeConfig {
    fn check(&self) -> Result<(), ModelError> {
        within(KIND, "max_depth", &self.max_depth, 1..=64, "1 to 64")?;
        within(KIND, "min_leaf_rows", &self.min_leaf_rows, 1..=1_000_000, "1 to 1000000")?;
        within(KIND, "smoothing", &self.smoothing, 0.0..=1e6, "0 to 1e6")?;
        within(KIND, "max_bins", &self.max_bins, 2..=255, "2 to 255")
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings serialise")
    }
}

/// Fits a decision tree.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionTree {
    config: TreeConfig,
}

impl DecisionTree {
    /// An estimator with checked settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] that names the first setting out of range.
    pub fn new(config: TreeConfig) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Estimator for DecisionTree {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    fn needs_validation(&self) -> bool {
        false
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        let TreeConfig { max_depth, min_leaf_rows, smoothing, max_bins } = self.config;
        let (geometry, input) = (train.windows.schema().geometry(), InputKind::Summary);
        let plan = Plan {
            input,
            trees: 1,
            rows: Rows::All { at_most: usize::MAX },
            max_bins,
            shape: Shape { cuts: Cuts::Best, inputs_per_split: geometry.features, max_depth, min_leaf_rows, smoothing },
            settings: self.config.to_json(),
        };
        let forest = bagging::fit(&plan, train, cx)?;
        Ok(Box::new(TreeModel { kind: kind(), input, config: self.config.to_json(), geometry, forest }))
    }
}

fn kind() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let config: TreeConfig = config::section(KIND, cx.config)?;
    config.check()?;
    TreeModel::load(kind(), InputKind::Summary, config.to_json(), cx)
}
