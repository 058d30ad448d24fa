//! The constant predictor: the class frequencies of the training side, whatever the window. Every table starts with it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stakeout_core::model::check_batch;
use stakeout_core::{
    BaseModel, Batch, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelEntry, ModelError,
    ModelKind, Scratch,
};

use crate::bytes::Reader;
use crate::config;

const KIND: &str = "constant";
const MAGIC: [u8; 4] = *b"CNST";
const FORMAT: u32 = 1;

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "class frequencies of the training side: the baseline every table starts with",
        defaults: "# The constant predictor has no settings.\n",
        configure: |given| {
            config::section::<NoSettings>(KIND, given)?;
            Ok(Box::new(Constant))
        },
        load,
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

/// Fits class frequencies.
///
/// Rows are counted, not weighted: class weights would flatten the frequencies and hide which class is the majority.
/// The input is not looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Constant;

impl Estimator for Constant {
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
        json!({})
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        train.check()?;
        let geometry = train.windows.schema().geometry();
        let mut counts = vec![0u64; geometry.classes];
        for label in train.labels {
            counts[usize::from(*label)] += 1;
        }
        let frequencies = counts.iter().map(|count| (*count as f64 / train.labels.len() as f64) as f32).collect();
        cx.observer.progress(1, 1);
        Ok(Box::new(Frequencies { geometry, frequencies }))
    }
}

struct Frequencies {
    geometry: Geometry,
    frequencies: Vec<f32>,
}

impl BaseModel for Frequencies {
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
        for row in out.chunks_exact_mut(self.frequencies.len()) {
            row.copy_from_slice(&self.frequencies);
        }
        Ok(())
    }

    fn config(&self) -> Value {
        json!({})
    }

    /// Magic `CNST`, `u32` format, one `f32` a class; little endian.
    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.frequencies.iter().flat_map(|f| f.to_le_bytes()));
        Ok(bytes)
    }
}

fn kind() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    config::section::<NoSettings>(KIND, cx.config)?;
    let mut reader = Reader::new(cx.weights);
    reader.expect(MAGIC, FORMAT)?;
    let frequencies = reader.f32s(cx.geometry.classes)?;
    reader.end()?;
    let total: f32 = frequencies.iter().sum();
    // written so that NaN is refused
    if !(frequencies.iter().all(|f| (0.0..=1.0).contains(f)) && (total - 1.0).abs() < 1e-3) {
        return Err(ModelError::Weights(format!("class frequencies {frequencies:?} do not sum to 1")));
    }
    Ok(Box::new(Frequencies { geometry: cx.geometry, frequencies }))
}
