//! MiniRocket (Dempster, Schmidt and Webb, KDD 2021): the shares of convolution outputs above a bias, for 84 fixed kernels
//! at several dilations, and a ridge classifier on them. Several channels are summed as in the authors' multivariate
//! version.
//!
//! Guarantees: the same probabilities in any batch, bit for bit; the same bytes for any number of threads; a window of
//! weight 0 counts as absent; only a window's own steps take part; gaps are filled forward, and the share that was
//! missing is a feature of its own.
//!
//! In reading order: `series` (windows without gaps), `plan` (dilations, how many features), `transform` (windows to
//! features), `fit` (features to a regression, see `crate::ridge`), `link` (decisions to probabilities), `classifier`
//! (what is kept, its bytes).

mod classifier;
mod fit;
mod link;
mod plan;
mod series;
mod transform;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{
    BaseModel, Batch, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelEntry, ModelError,
    ModelKind, Scratch,
};

use crate::config::{self, within};
use classifier::Classifier;
use series::Series;

const KIND: &str = "minirocket";

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "MiniRocket: shares of convolution outputs above a bias, and a ridge classifier on them",
        defaults: include_str!("defaults.toml"),
        configure: |given| Ok(Box::new(MiniRocket::new(config::section(KIND, given)?)?)),
        load,
    }
}

/// Settings; the commented defaults are in the registry entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniRocketConfig {
    /// Features, rounded down to a multiple of 84.
    pub features: usize,
    /// Most dilations.
    pub max_dilations: usize,
    /// Largest side of the matrix that the regression decomposes.
    pub largest_side: usize,
    /// Penalties of the ridge regression to choose from, ascending.
    pub alphas: Vec<f64>,
}

impl Default for MiniRocketConfig {
    fn default() -> Self {
        // logspace(-3, 3, 10) as the authors, and two decades more for many windows
        let alphas =
            vec![0.001, 0.00464, 0.0215, 0.1, 0.464, 2.15, 10.0, 46.4, 215.0, 1000.0, 4640.0, 21_500.0, 100_000.0];
        Self { features: 10_000, max_dilations: 32, largest_side: 3024, alphas }
    }
}

impl MiniRocketConfig {
    fn check(&self) -> Result<(), ModelError> {
        within(KIND, "features", &self.features, 84..=1_000_000, "84 to 1000000")?;
        within(KIND, "max_dilations", &self.max_dilations, 1..=1000, "1 to 1000")?;
        within(KIND, "largest_side", &self.largest_side, 84..=100_000, "84 to 100000")?;
        within(KIND, "alphas", &self.alphas.len(), 1..=100, "a list of 1 to 100 penalties")?;
        for pair in self.alphas.windows(2) {
            within(KIND, "alphas", &pair[1], pair[0].next_up().., "penalties in ascending order")?;
        }
        for alpha in &self.alphas {
            within(KIND, "alphas", alpha, 1e-9..=1e12, "penalties of 1e-9 to 1e12")?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings serialise")
    }
}

/// Fits a ridge classifier on MiniRocket features.
#[derive(Debug, Clone, PartialEq)]
pub struct MiniRocket {
    config: MiniRocketConfig,
}

impl MiniRocket {
    /// An estimator with checked settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] that names the first setting out of range.
    pub fn new(config: MiniRocketConfig) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Estimator for MiniRocket {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Tensor
    }

    fn needs_validation(&self) -> bool {
        false
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    /// An interrupted fit keeps no state: it starts again, and a fit takes minutes at most.
    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        let classifier = fit::fit(&self.config, train, cx)?;
        Ok(Box::new(Fitted { config: self.config.clone(), geometry: train.windows.schema().geometry(), classifier }))
    }
}

struct Fitted {
    config: MiniRocketConfig,
    geometry: Geometry,
    classifier: Classifier,
}

impl BaseModel for Fitted {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        InputKind::Tensor
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, _scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        self.classifier.predict(&Series::new(batch.clone())?, out);
        Ok(())
    }

    /// The features that the ridge classifier decides on: shares of outputs, then shares missing.
    fn embed(&self, batch: &Batch) -> Result<Option<Array2<f32>>, ModelError> {
        check_batch(self, batch, &vec![0.0; batch.rows() * self.geometry.classes])?;
        let features = self.classifier.features(&Series::new(batch.clone())?);
        let shape = (batch.rows(), self.classifier.transform.width());
        Ok(Some(Array2::from_shape_vec(shape, features).expect("one row of that width a window")))
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        Ok(self.classifier.to_bytes())
    }
}

fn kind() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let config: MiniRocketConfig = config::section(KIND, cx.config)?;
    config.check()?;
    let classifier = Classifier::from_bytes(cx.weights, cx.geometry)?;
    Ok(Box::new(Fitted { config, geometry: cx.geometry, classifier }))
}
