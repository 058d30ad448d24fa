//! Histogram gradient boosting on window summaries (Friedman 2001; Chen and Guestrin, XGBoost, KDD 2016; Ke et al.,
//! LightGBM, NIPS 2017).
//!
//! Missing values (NaN) need no filling: every split learns the side that they go to. Trees look at the order of values
//! alone, so that scaling does not matter to them.
//!
//! Guarantees: the same probabilities in any batch, bit for bit; the same bytes for any number of threads; a window of
//! weight 0 counts as absent; a class without a training window keeps its column, with a small probability.
//!
//! In reading order: `trees::binned` (data), `objective` (loss), `coded` and `root` (what histograms are summed from),
//! `grow` and `siblings` (how a tree grows), `tree` (a tree on binned rows), `forest` (all trees, their bytes), `flat` (the
//! same for scoring), `boost` (the loop), `state` (what an interrupted fit goes on from), `export` and [`xgboost`] (the
//! forest in other programs).

mod boost;
mod coded;
mod export;
mod flat;
mod forest;
mod grow;
mod objective;
mod root;
mod siblings;
mod state;
mod tree;
pub mod xgboost;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{
    Attribution, BaseModel, Batch, Estimator, ExportContext, ExportFormat, FitContext, Geometry, InputKind, Labelled,
    LoadContext, ModelEntry, ModelError, ModelKind, Scratch,
};

use crate::config::{self, within};
use flat::Flat;
use forest::Forest;

const KIND: &str = "gbt";
const INPUT: InputKind = InputKind::Summary;

/// With fewer validation windows than this the last round is taken: their loss says too little to choose by. The
/// history then carries no validation loss.
pub const MIN_VALIDATION_WINDOWS: usize = stakeout_core::model::FEWEST_TO_CHOOSE;

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "histogram gradient boosting on window summaries; takes missing values as they are",
        defaults: include_str!("gbt/defaults.toml"),
        configure: |given| Ok(Box::new(Gbt::new(config::section(KIND, given)?)?)),
        load,
    }
}

/// Settings; the commented defaults are in the registry entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbtConfig {
    /// Most rounds.
    pub rounds: usize,
    /// Shrinkage of each step.
    pub learning_rate: f64,
    /// Most splits between the root and a leaf.
    pub max_depth: u32,
    /// Least sum of second derivatives in a leaf.
    pub min_child_weight: f64,
    /// L2 penalty of leaf values.
    pub lambda: f64,
    /// Least reduction of the loss by a split.
    pub min_gain: f64,
    /// Share of the rows that each round sees.
    pub subsample: f64,
    /// Share of the inputs that each tree sees.
    pub colsample: f64,
    /// Most bins of an input, besides the one for missing values.
    pub max_bins: usize,
    /// Rounds without a smaller validation loss before the fit stops; 0 runs every round.
    pub early_stopping_rounds: usize,
}

impl Default for GbtConfig {
    fn default() -> Self {
        Self {
            rounds: 500,
            learning_rate: 0.1,
            max_depth: 6,
            min_child_weight: 0.1,
            lambda: 1.0,
            min_gain: 0.0,
            subsample: 0.8,
            colsample: 0.8,
            max_bins: 255,
            early_stopping_rounds: 50,
        }
    }
}

impl GbtConfig {
    fn check(&self) -> Result<(), ModelError> {
        const TINY: f64 = f64::MIN_POSITIVE;
        within(KIND, "rounds", &self.rounds, 1..=100_000, "1 to 100000")?;
        within(KIND, "learning_rate", &self.learning_rate, TINY..=1.0, "above 0 to 1")?;
        within(KIND, "max_depth", &self.max_depth, 1..=16, "1 to 16")?;
        within(KIND, "min_child_weight", &self.min_child_weight, 0.0..=1e9, "0 to 1e9")?;
        within(KIND, "lambda", &self.lambda, 0.0..=1e9, "0 to 1e9")?;
        within(KIND, "min_gain", &self.min_gain, 0.0..=1e9, "0 to 1e9")?;
        within(KIND, "subsample", &self.subsample, TINY..=1.0, "above 0 to 1")?;
        within(KIND, "colsample", &self.colsample, TINY..=1.0, "above 0 to 1")?;
        within(KIND, "max_bins", &self.max_bins, 2..=255, "2 to 255")?;
        within(KIND, "early_stopping_rounds", &self.early_stopping_rounds, 0..=100_000, "0 to 100000")
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings serialise")
    }
}

/// Fits gradient-boosted trees.
#[derive(Debug, Clone, PartialEq)]
pub struct Gbt {
    config: GbtConfig,
}

impl Gbt {
    /// An estimator with checked settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] that names the first setting out of range.
    pub fn new(config: GbtConfig) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Estimator for Gbt {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    fn needs_validation(&self) -> bool {
        self.config.early_stopping_rounds > 0
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        let forest = boost::boost(&self.config, train, cx)?;
        Ok(Box::new(Fitted::new(self.config.clone(), train.windows.schema().geometry(), forest)))
    }
}

struct Fitted {
    config: GbtConfig,
    geometry: Geometry,
    forest: Forest,
    /// The forest once more, for scoring; `None` where its trees are deep.
    flat: Option<Flat>,
}

impl Fitted {
    fn new(config: GbtConfig, geometry: Geometry, forest: Forest) -> Self {
        let flat = Flat::of(&forest);
        Self { config, geometry, forest, flat }
    }
}

impl BaseModel for Fitted {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, _scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        match &self.flat {
            Some(flat) => flat.predict(&batch.values, out),
            None => self.forest.predict(&batch.values, out),
        }
        Ok(())
    }

    /// Attribution of the class margins (log odds). With two classes the first one's margin is constant and the whole
    /// attribution stands at the second.
    fn explain(&self, batch: &Batch) -> Result<Option<Attribution>, ModelError> {
        let width = self.geometry.classes * self.geometry.features;
        let mut values = Array2::zeros((batch.rows(), width));
        check_batch(self, batch, &vec![0.0; batch.rows() * self.geometry.classes])?;
        for (row, mut out) in values.rows_mut().into_iter().enumerate() {
            self.forest.attribute(batch.row(row), out.as_slice_mut().expect("a row of a fresh array is contiguous"));
        }
        Ok(Some(Attribution { method: "decision path contributions to the class margin (Saabas 2014)", values }))
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        Ok(self.forest.to_bytes())
    }

    fn export(&self, format: ExportFormat, cx: &ExportContext<'_>) -> Result<Option<Vec<u8>>, ModelError> {
        match format {
            ExportFormat::Onnx => export::onnx(&self.forest, cx).map(Some),
            ExportFormat::XgBoost => xgboost::write(&self.forest, cx).map(Some),
            _ => Ok(None),
        }
    }
}

fn kind() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let config: GbtConfig = config::section(KIND, cx.config)?;
    config.check()?;
    let forest = Forest::from_bytes(cx.weights, cx.geometry.features, cx.geometry.classes)?;
    Ok(Box::new(Fitted::new(config, cx.geometry, forest)))
}
