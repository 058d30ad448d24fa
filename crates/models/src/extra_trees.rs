//! Extremely randomised trees (Geurts, Ernst and Wehenkel, Machine Learning 63, 2006): every tree sees all rows; in every
//! node a few inputs are drawn, each with one random threshold, and the best of these cuts is taken.
//!
//! Thresholds are drawn uniformly between the least and the greatest value in the node, as in the paper. Rows are told
//! apart by bins: a threshold that falls inside a bin moves to its upper end, which with at most `max_bins` distinct
//! values is never the case. Missing values go to the side that leaves purer children; an input that has one value and
//! missing ones in a node is cut between these.
//!
//! Guarantees: those of [`crate::forest`].

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::{
    BaseModel, Estimator, FitContext, InputKind, Labelled, LoadContext, ModelEntry, ModelError, ModelKind,
};

use crate::config::{self, within};
use crate::forest::inputs_of;
use crate::trees::bagging::{self, Plan, Rows};
use crate::trees::grow::{Cuts, Shape};
use crate::trees::model::TreeModel;

const KIND: &str = "extra-trees";

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "extremely randomised trees; takes missing values as they are",
        defaults: include_str!("extra_trees/defaults.toml"),
        configure: |given| Ok(Box::new(ExtraTrees::new(config::section(KIND, given)?)?)),
        load,
    }
}

/// Settings; the commented defaults are in the registry entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraTreesConfig {
    /// What each window is fed as.
    pub input: InputKind,
    /// Number of trees.
    pub trees: usize,
    /// Share of the inputs that each node chooses among; 0: the square root of their number.
    pub inputs_per_split: f64,
    /// Most splits between the root and a leaf.
    pub max_depth: u32,
    /// Least number of rows in a leaf.
    pub min_leaf_rows: usize,
    /// Rows that each tree is grown on, at most.
    pub rows_per_tree: usize,
    /// Rows of the training frequencies that each leaf is filled up with.
    pub smoothing: f64,
    /// Most bins of an input, besides the one for missing values.
    pub max_bins: usize,
}

impl Default for ExtraTreesConfig {
    fn default() -> Self {
        Self {
            input: InputKind::Summary,
            trees: 300,
            inputs_per_split: 0.0,
            max_depth: 64,
            min_leaf_rows: 1,
            rows_per_tree: 50_000,
            smoothing: 0.1,
            max_bins: 255,
        }
    }
}

impl ExtraTreesConfig {
    fn check(&self) -> Result<(), ModelError> {
        within(KIND, "trees", &self.trees, 1..=10_000, "1 to 10000")?;
        within(KIND, "inputs_per_split", &self.inputs_per_split, 0.0..=1.0, "0 to 1")?;
        within(KIND, "max_depth", &self.max_depth, 1..=64, "1 to 64")?;
        within(KIND, "min_leaf_rows", &self.min_leaf_rows, 1..=1_000_000, "1 to 1000000")?;
        within(KIND, "rows_per_tree", &self.rows_per_tree, 2..=100_000_000, "2 to 100000000")?;
        within(KIND, "smoothing", &self.smoothing, 0.0..=1e6, "0 to 1e6")?;
        within(KIND, "max_bins", &self.max_bins, 2..=255, "2 to 255")
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings serialise")
    }
}

/// Fits extremely randomised trees.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraTrees {
    config: ExtraTreesConfig,
}

impl ExtraTrees {
    /// An estimator with checked settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] that names the first setting out of range.
    pub fn new(config: ExtraTreesConfig) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Estimator for ExtraTrees {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        self.config.input
    }

    fn needs_validation(&self) -> bool {
        false
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        let ExtraTreesConfig { input, trees, inputs_per_split, max_depth, min_leaf_rows, rows_per_tree, .. } =
            self.config;
        let geometry = train.windows.schema().geometry();
        let plan = Plan {
            input,
            trees,
            rows: Rows::All { at_most: rows_per_tree },
            max_bins: self.config.max_bins,
            shape: Shape {
                cuts: Cuts::Random,
                inputs_per_split: inputs_of(geometry.row_len(input), inputs_per_split),
                max_depth,
                min_leaf_rows,
                smoothing: self.config.smoothing,
            },
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
    let config: ExtraTreesConfig = config::section(KIND, cx.config)?;
    config.check()?;
    TreeModel::load(kind(), config.input, config.to_json(), cx)
}
