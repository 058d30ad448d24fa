//! Multinomial logistic regression with an L2 penalty: the linear baseline.
//!
//! Inputs are standardised by the weighted mean and deviation of the training side and held within ten deviations; a
//! missing value counts as the mean, and an input that is missing anywhere gets a second one which says that it is.
//!
//! linfa-logistic takes no row weights, so the weighted loss is our own, minimised by argmin's L-BFGS. An epoch of the
//! history is up to 25 steps with a memory of their own: what an interrupted fit goes on from is then the parameters
//! alone.
//!
//! Guarantees: the same probabilities in any batch, bit for bit; the same bytes for any number of threads and any seed; a
//! window of weight 0 counts as absent; a class without a training window keeps its column, with a small probability.
//!
//! In reading order: `standard` (inputs), `objective` (loss), `minimise` (the loop, its state), `graph` (the model in
//! other programs).

mod graph;
mod minimise;
mod objective;
mod standard;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{
    Attribution, BaseModel, Batch, Estimator, ExportContext, ExportFormat, FitContext, Geometry, InputKind, Labelled,
    LoadContext, ModelEntry, ModelError, ModelKind, Scratch,
};

use crate::bytes::Reader;
use crate::config::{self, within};
use standard::Standard;

const KIND: &str = "logistic";
const MAGIC: [u8; 4] = *b"SLOG";
const FORMAT: u32 = 1;

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "multinomial logistic regression on standardised window summaries: the linear baseline",
        defaults: include_str!("logistic/defaults.toml"),
        configure: |given| Ok(Box::new(Logistic::new(config::section(KIND, given)?)?)),
        load,
    }
}

/// Settings; the commented defaults are in the registry entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticConfig {
    /// L2 penalty of the coefficients, half of whose square sum times this joins the sum of the losses.
    pub l2: f64,
    /// Most steps of L-BFGS.
    pub max_steps: usize,
}

impl Default for LogisticConfig {
    fn default() -> Self {
        Self { l2: 1.0, max_steps: 500 }
    }
}

impl LogisticConfig {
    fn check(&self) -> Result<(), ModelError> {
        within(KIND, "l2", &self.l2, 1e-9..=1e9, "1e-9 to 1e9")?;
        within(KIND, "max_steps", &self.max_steps, 1..=100_000, "1 to 100000")
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings serialise")
    }
}

/// Fits a logistic regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    config: LogisticConfig,
}

impl Logistic {
    /// An estimator with checked settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] that names the first setting out of range.
    pub fn new(config: LogisticConfig) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Estimator for Logistic {
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
        let (standard, parameters) = minimise::fit(&self.config, train, cx)?;
        let parameters = parameters.into_iter().map(|p| f64::from(p as f32)).collect();
        let geometry = train.windows.schema().geometry();
        Ok(Box::new(Fitted { config: self.config.clone(), geometry, standard, parameters }))
    }
}

struct Fitted {
    config: LogisticConfig,
    geometry: Geometry,
    standard: Standard,
    /// As in [`objective::Objective`], each of them a single-precision number.
    parameters: Vec<f64>,
}

impl Fitted {
    fn coefficients(&self) -> (&[f64], &[f64]) {
        self.parameters.split_at(self.geometry.classes * self.standard.width())
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

    fn predict_into(&self, batch: &Batch, scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        let (coefficients, intercepts) = self.coefficients();
        let width = self.standard.width();
        let [row] = scratch.buffers([width]);
        let mut margins = vec![0.0; intercepts.len()];
        for (values, out) in batch.values.chunks_exact(batch.row_len()).zip(out.chunks_exact_mut(margins.len())) {
            self.standard.apply(values, row);
            objective::margins(coefficients, intercepts, row, &mut margins);
            objective::softmax(&mut margins);
            out.iter_mut().zip(&margins).for_each(|(out, p)| *out = *p as f32);
        }
        Ok(())
    }

    /// Coefficient times standardised value, of each class margin; a missing value's own coefficient goes to its input.
    /// With the intercepts they add up to the margins.
    fn explain(&self, batch: &Batch) -> Result<Option<Attribution>, ModelError> {
        let (classes, inputs) = (self.geometry.classes, self.geometry.features);
        check_batch(self, batch, &vec![0.0; batch.rows() * classes])?;
        let (coefficients, _) = self.coefficients();
        let width = self.standard.width();
        let mut values = Array2::zeros((batch.rows(), classes * inputs));
        let mut row = vec![0.0; width];
        for (i, raw) in batch.values.chunks_exact(inputs).enumerate() {
            self.standard.apply(raw, &mut row);
            for class in 0..classes {
                let own = &coefficients[class * width..][..width];
                for (at, (coefficient, value)) in own.iter().zip(&row).enumerate() {
                    let input = self.standard.input(at);
                    values[(i, class * inputs + input)] += (coefficient * f64::from(*value)) as f32;
                }
            }
        }
        Ok(Some(Attribution { method: "coefficient times standardised value, of the class margin", values }))
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    /// Magic `SLOG`, then little endian: `u32` format, inputs, classes; the scaling as [`Standard::write`] does; one
    /// `f32` a class and standardised input, one a class.
    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        let mut bytes = MAGIC.to_vec();
        for word in [FORMAT, self.geometry.features as u32, self.geometry.classes as u32] {
            bytes.extend(word.to_le_bytes());
        }
        self.standard.write(&mut bytes);
        bytes.extend(self.parameters.iter().flat_map(|p| (*p as f32).to_le_bytes()));
        Ok(bytes)
    }

    fn export(&self, format: ExportFormat, cx: &ExportContext<'_>) -> Result<Option<Vec<u8>>, ModelError> {
        if format == ExportFormat::Onnx { graph::build(self, cx).map(Some) } else { Ok(None) }
    }
}

fn kind() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let config: LogisticConfig = config::section(KIND, cx.config)?;
    config.check()?;
    let Geometry { features, classes, .. } = cx.geometry;
    let mut reader = Reader::new(cx.weights);
    reader.expect(MAGIC, FORMAT)?;
    let stored = [reader.u32()? as usize, reader.u32()? as usize];
    if stored != [features, classes] {
        return Err(ModelError::Weights(format!(
            "they are for {} inputs and {} classes, the schema has {features} and {classes}",
            stored[0], stored[1]
        )));
    }
    let standard = Standard::read(&mut reader, features)?;
    let count = (standard.width() + 1).saturating_mul(classes);
    let parameters = reader.f32s(count)?;
    reader.end()?;
    match parameters.iter().find(|p| !p.is_finite()) {
        Some(odd) => Err(ModelError::Weights(format!("coefficient {odd}"))),
        None => {
            let parameters = parameters.into_iter().map(f64::from).collect();
            Ok(Box::new(Fitted { config, geometry: cx.geometry, standard, parameters }))
        }
    }
}
