//! A fitted net, whatever its kind.

use std::sync::OnceLock;

use burn::tensor::Device;
use ndarray::Array2;
use stakeout_core::{
    BaseModel, Batch, ExportContext, ExportFormat, Geometry, InputKind, LoadContext, ModelError, ModelKind, Scratch,
    model::check_batch,
};

use super::export::{self, NamedWeights};
use super::infer::Infer;
use super::input::Input;
use super::prepare::Prepared;
use super::weights::{self, Tensors, WeightSpec};
use super::{Net, Output, Pass};

/// Windows that run at once, so that memory does not grow with the batch.
const CHUNK: usize = 256;

/// A net with its weights.
pub(crate) struct FittedNet {
    kind: ModelKind,
    input: InputKind,
    config: serde_json::Value,
    geometry: Geometry,
    net: Box<dyn Net>,
    specs: Vec<WeightSpec>,
    values: Vec<f32>,
    /// How it answers on the default device; the reference device goes through the library.
    infer: Option<Box<dyn Infer>>,
    device: Device,
    /// Made when the library is first asked: a live process never asks it.
    tensors: OnceLock<Tensors>,
}

impl FittedNet {
    /// A net with weights that follow its own list.
    pub(crate) fn new(
        kind: ModelKind,
        input: InputKind,
        config: serde_json::Value,
        geometry: Geometry,
        net: Box<dyn Net>,
        values: Vec<f32>,
        device: stakeout_core::Device,
    ) -> Self {
        let specs = net.weights();
        let weights = NamedWeights { specs: &specs, values: &values };
        let infer = match device {
            stakeout_core::Device::Flex => Some(net.infer(&weights, geometry.steps)),
            stakeout_core::Device::Ndarray => None,
        };
        let device = super::device(device);
        Self { kind, input, config, geometry, net, specs, values, infer, device, tensors: OnceLock::new() }
    }

    /// A net with stored weights.
    ///
    /// # Errors
    /// [`ModelError::Weights`] when they are damaged or belong to another configuration.
    pub(crate) fn load(
        kind: ModelKind,
        input: InputKind,
        config: serde_json::Value,
        net: Box<dyn Net>,
        cx: &LoadContext<'_>,
    ) -> Result<Self, ModelError> {
        let values = weights::from_bytes(&net.weights(), cx.weights)?;
        Ok(Self::new(kind, input, config, cx.geometry, net, values, cx.device))
    }

    /// Runs a checked batch through the library, chunk by chunk.
    fn run(&self, batch: &Batch, mut each: impl FnMut(Output) -> Result<(), ModelError>) -> Result<(), ModelError> {
        let width = batch.row_len();
        let tensors = self.tensors.get_or_init(|| Tensors::new(&self.specs, &self.values, &self.device));
        for from in (0..batch.rows()).step_by(CHUNK) {
            let to = batch.rows().min(from + CHUNK);
            let mut chunk = Batch::new(self.input, self.geometry);
            chunk.values.extend_from_slice(&batch.values[from * width..to * width]);
            chunk.lengths.extend_from_slice(&batch.lengths[from..to]);
            each(forward(self.net.as_ref(), tensors, &chunk, &self.device)?)?;
        }
        Ok(())
    }

    /// Logits of a checked batch into `out`, on slices.
    fn run_on_slices(
        infer: &dyn Infer,
        batch: &Batch,
        scratch: &mut Scratch,
        classes: usize,
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let mut prepared = std::mem::take(scratch.state::<Prepared>());
        for (number, out) in out.chunks_mut(CHUNK * classes).enumerate() {
            let from = number * CHUNK;
            prepared.fill(batch, from..from + out.len() / classes)?;
            infer.logits(&prepared, scratch, out);
        }
        *scratch.state() = prepared;
        Ok(())
    }
}

/// Runs a batch as a fitted net does.
///
/// # Errors
/// [`ModelError::Geometry`] for a batch that is not consistent in itself.
pub(crate) fn forward(net: &dyn Net, tensors: &Tensors, batch: &Batch, device: &Device) -> Result<Output, ModelError> {
    Ok(net.forward(tensors, &Input::new(batch, device)?, &mut Pass::Infer))
}

/// From unnormalised log probabilities to probabilities.
fn softmax(row: &mut [f32]) {
    let normaliser = log_normaliser(row);
    for x in row {
        *x = (f64::from(*x) - normaliser).exp() as f32;
    }
}

/// `ln Σ exp(logit)`, without overflow.
pub(crate) fn log_normaliser(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum::<f64>().ln()
}

impl BaseModel for FittedNet {
    fn kind(&self) -> ModelKind {
        self.kind.clone()
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        let classes = self.geometry.classes;
        match &self.infer {
            Some(infer) => Self::run_on_slices(infer.as_ref(), batch, scratch, classes, out)?,
            None => {
                let mut chunks = out.chunks_mut(CHUNK * classes);
                self.run(batch, |output| {
                    let logits = weights::read(output.logits)?;
                    chunks.next().expect("a chunk of the batch").copy_from_slice(&logits);
                    Ok(())
                })?;
            }
        }
        out.chunks_exact_mut(classes).for_each(softmax);
        if out.iter().any(|probability| probability.is_nan()) {
            // the largest of these would be the first class: a broken detector must not say that all is well
            return Err(ModelError::Weights("what they make of a window is not finite: train the model again".into()));
        }
        Ok(())
    }

    fn embed(&self, batch: &Batch) -> Result<Option<Array2<f32>>, ModelError> {
        check_batch(self, batch, &vec![0.0; batch.rows() * self.geometry.classes])?;
        let (mut values, mut width) = (Vec::new(), 0);
        self.run(batch, |output| {
            width = output.hidden.dims()[1];
            values.extend(weights::read(output.hidden)?);
            Ok(())
        })?;
        Ok(Some(Array2::from_shape_vec((batch.rows(), width), values).expect("one row of that width a window")))
    }

    fn config(&self) -> serde_json::Value {
        self.config.clone()
    }

    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        Ok(weights::to_bytes(&self.specs, &self.values))
    }

    fn export(&self, format: ExportFormat, cx: &ExportContext<'_>) -> Result<Option<Vec<u8>>, ModelError> {
        let weights = NamedWeights { specs: &self.specs, values: &self.values };
        export::export(self.net.as_ref(), &weights, format, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normaliser_does_not_overflow() {
        let expected = 1000.0 + 2.0f64.ln();
        assert!((log_normaliser(&[1000.0, 1000.0, -1000.0]) - expected).abs() < 1e-9);
        assert!((log_normaliser(&[0.0; 4]) - 4.0f64.ln()).abs() < 1e-12);
    }
}
