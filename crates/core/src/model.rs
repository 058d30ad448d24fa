//! Estimators (unfitted hyper-parameters) and models (fitted): "predict before fit" cannot be written.

use std::any::Any;
use std::fmt;
use std::str::FromStr;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Batch, CoreError, ExportContext, ExportFormat, Geometry, InputKind, Windows};

/// With fewer validation windows than this, nothing is chosen by them or fitted to them: a score over so few is too
/// coarse.
pub const FEWEST_TO_CHOOSE: usize = 20;

/// Class probabilities, one row a window (windows × classes).
pub type Scores = Array2<f32>;

/// The name of a kind of model: `gru`, or `acme/my-model` for one from outside this workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelKind(String);

impl ModelKind {
    /// A kind from its name.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] unless it is lower-case letters, digits and `-`, with at most one `/` between two parts.
    pub fn new(name: &str) -> Result<Self, CoreError> {
        let part = |s: &str| {
            s.starts_with(|c: char| c.is_ascii_lowercase())
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if name.len() <= 64 && name.split('/').count() <= 2 && name.split('/').all(part) {
            Ok(Self(name.to_owned()))
        } else {
            Err(CoreError::invalid(
                "model kind",
                name,
                "use lower-case letters, digits and `-`, as `gru` or `acme/my-model`",
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelKind {
    type Error = CoreError;

    fn try_from(name: String) -> Result<Self, CoreError> {
        Self::new(&name)
    }
}

impl From<ModelKind> for String {
    fn from(kind: ModelKind) -> Self {
        kind.0
    }
}

impl FromStr for ModelKind {
    type Err = CoreError;

    fn from_str(s: &str) -> Result<Self, CoreError> {
        Self::new(s)
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a net computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The default CPU device.
    #[default]
    Flex,
    /// The reference CPU device.
    Ndarray,
}

impl Device {
    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
        }
    }
}

impl FromStr for Device {
    type Err = CoreError;

    fn from_str(s: &str) -> Result<Self, CoreError> {
        match s {
            "flex" => Ok(Self::Flex),
            "ndarray" => Ok(Self::Ndarray),
            _ => Err(CoreError::invalid("device", s, "this build has flex and ndarray")),
        }
    }
}

/// Why a model could not be fitted, loaded or asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A hyper-parameter is out of range or unknown.
    #[error("[model.{kind}] {key}: {why}")]
    Config {
        /// The kind of model.
        kind: String,
        /// The setting.
        key: String,
        /// The rule and the way forward.
        why: String,
    },
    /// The data cannot be learnt from.
    #[error("the training data: {0}")]
    Data(String),
    /// A batch of another kind or geometry than the model was fitted on.
    #[error("the model takes {expected}, got {got}")]
    Geometry {
        /// What the model takes.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// Stored weights or a stored state do not belong to this configuration.
    #[error("stored weights: {0}")]
    Weights(String),
    /// A file of another program is damaged or holds what this model is not, or this model what the file cannot hold.
    #[error("{format}: {why}")]
    Interchange {
        /// The format.
        format: ExportFormat,
        /// What is wrong or cannot be said, and the way forward.
        why: String,
    },
    /// The observer asked to stop; the state was saved first.
    #[error("interrupted")]
    Cancelled,
    /// A window source failed.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A library failed.
    #[error("{context}")]
    Foreign {
        /// What was being done.
        context: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Windows with what a fit needs to know about each.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The windows.
    pub windows: &'a dyn Windows,
    /// Class id of each window.
    pub labels: &'a [u16],
    /// Weight of each window in the loss: not negative, mean about 1. Class weights are already in it.
    pub weights: &'a [f32],
}

impl Labelled<'_> {
    /// Checks that there is one label and one usable weight a window, and every label is a class.
    ///
    /// # Errors
    /// [`ModelError::Data`].
    pub fn check(&self) -> Result<(), ModelError> {
        let (n, classes) = (self.windows.len(), self.windows.schema().classes.len());
        if n == 0 {
            return Err(ModelError::Data("there is no window".into()));
        }
        if self.labels.len() != n || self.weights.len() != n {
            return Err(ModelError::Data(format!(
                "{n} windows, {} labels and {} weights",
                self.labels.len(),
                self.weights.len()
            )));
        }
        if let Some(label) = self.labels.iter().find(|label| usize::from(**label) >= classes) {
            return Err(ModelError::Data(format!("label {label} with {classes} classes")));
        }
        if let Some(weight) = self.weights.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            return Err(ModelError::Data(format!("window weight {weight}: weights are finite and not negative")));
        }
        Ok(())
    }
}

/// One line of a training history. No wall-clock figure: histories repeat byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch (nets) or boosting round (trees), from 1.
    pub epoch: usize,
    /// Weighted mean training loss.
    pub train_loss: f64,
    /// Weighted mean validation loss.
    pub validation_loss: Option<f64>,
    /// Macro F1 on the validation side.
    pub validation_macro_f1: Option<f64>,
    /// Learning rate at the end of the epoch.
    pub learning_rate: f64,
}

/// Watches a fit: shows progress, can stop it, keeps its state.
pub trait FitObserver: Send {
    /// `done` of `total` units of work (optimiser steps, boosting rounds) are finished.
    fn progress(&mut self, done: u64, total: u64);

    /// An epoch is finished.
    ///
    /// # Errors
    /// When the record cannot be kept.
    fn epoch(&mut self, record: &EpochRecord) -> Result<(), ModelError>;

    /// A remark for the reader of the run, such as which epoch was kept and why. The same fit makes the same remarks.
    fn note(&mut self, _text: &str) {}

    /// Whether the fit should save its state and return [`ModelError::Cancelled`]. Asked at least once an epoch.
    fn cancelled(&self) -> bool;

    /// Keeps a state from which [`Estimator::fit`] continues bit for bit. Called after [`FitObserver::epoch`].
    ///
    /// # Errors
    /// When the state cannot be kept.
    fn save_state(&mut self, state: &[u8]) -> Result<(), ModelError>;

    /// The last state kept by an earlier, interrupted fit of the same estimator on the same data.
    ///
    /// # Errors
    /// When there is one but it cannot be read.
    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError>;
}

/// An observer that shows and keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl FitObserver for Silent {
    fn progress(&mut self, _done: u64, _total: u64) {}

    fn epoch(&mut self, _record: &EpochRecord) -> Result<(), ModelError> {
        Ok(())
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn save_state(&mut self, _state: &[u8]) -> Result<(), ModelError> {
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(None)
    }
}

/// Everything a fit is given besides the training windows.
pub struct FitContext<'a> {
    /// Chooses the epoch; `None` when the estimator does not need it or there are too few windows to choose by: all
    /// epochs or rounds are run then.
    pub validation: Option<Labelled<'a>>,
    /// The only source of randomness.
    pub seed: u64,
    /// Where nets compute.
    pub device: Device,
    /// Progress, cancellation and state.
    pub observer: &'a mut dyn FitObserver,
}

/// Hyper-parameters of a model: no data, no weights.
pub trait Estimator: Send + Sync {
    /// The kind of model that it fits.
    fn kind(&self) -> ModelKind;

    /// What the model is fed.
    fn input(&self) -> InputKind;

    /// Whether a validation side chooses something. If not, training and validation rows are merged for it, unless a
    /// calibration map is fitted on them.
    fn needs_validation(&self) -> bool;

    /// The hyper-parameters, complete, as the configuration section that would make them again.
    fn config(&self) -> serde_json::Value;

    /// Fits a model. The same data, seed and device give the same bytes, whatever the number of threads and whatever
    /// else runs in the process.
    ///
    /// # Errors
    /// [`ModelError::Data`] for data that cannot be learnt from, [`ModelError::Cancelled`] when the observer asked to
    /// stop.
    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError>;
}

/// Reusable memory for [`BaseModel::predict_into`], so that a live process does not allocate per window.
#[derive(Default)]
pub struct Scratch {
    slots: Vec<Vec<f32>>,
    states: Vec<Box<dyn Any + Send>>,
}

impl Scratch {
    /// The first `N` buffers, each of the asked length; the content is unspecified.
    pub fn buffers<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        if self.slots.len() < N {
            self.slots.resize_with(N, Vec::new);
        }
        let mut slots = self.slots.iter_mut();
        lengths.map(|length| {
            let slot = slots.next().expect("as many slots as lengths");
            if slot.len() < length {
                slot.resize(length, 0.0);
            }
            &mut slot[..length]
        })
    }

    /// The memory of a type, for a model that needs more than buffers: as it was left, at first its default. Models that
    /// share a type share it.
    pub fn state<T: Any + Default + Send>(&mut self) -> &mut T {
        let known = self.states.iter().position(|state| state.is::<T>());
        let at = known.unwrap_or_else(|| {
            self.states.push(Box::<T>::default());
            self.states.len() - 1
        });
        self.states[at].downcast_mut().expect("found by its type")
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths: Vec<usize> = self.slots.iter().map(Vec::len).collect();
        f.debug_struct("Scratch").field("buffers", &lengths).field("states", &self.states.len()).finish()
    }
}

/// What each input contributed to each class score of each window.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// Name of the method with its source.
    pub method: &'static str,
    /// Windows × (classes · inputs), class-major.
    pub values: Array2<f32>,
}

/// A fitted model.
pub trait BaseModel: Send + Sync {
    /// The kind of model.
    fn kind(&self) -> ModelKind;

    /// What it is fed.
    fn input(&self) -> InputKind;

    /// The shape of what it is fed.
    fn geometry(&self) -> Geometry;

    /// Class probabilities of a batch into `out` (rows × classes). A row's result does not depend on the other rows.
    ///
    /// # Errors
    /// [`ModelError::Geometry`] for a batch of another kind or geometry, or an `out` of another length.
    fn predict_into(&self, batch: &Batch, scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError>;

    /// The representation before the last layer, where the model has one (rows × width).
    ///
    /// # Errors
    /// As for [`BaseModel::predict_into`].
    fn embed(&self, _batch: &Batch) -> Result<Option<Array2<f32>>, ModelError> {
        Ok(None)
    }

    /// Attribution of the class scores to the inputs, where the model has one.
    ///
    /// # Errors
    /// As for [`BaseModel::predict_into`].
    fn explain(&self, _batch: &Batch) -> Result<Option<Attribution>, ModelError> {
        Ok(None)
    }

    /// The hyper-parameters that it was fitted with, complete.
    fn config(&self) -> serde_json::Value;

    /// The fitted weights, as bytes that [`crate::ModelEntry::load`] turns back into the same model.
    ///
    /// # Errors
    /// When the weights cannot be read back from the device.
    fn weights(&self) -> Result<Vec<u8>, ModelError>;

    /// The model as a file of another program, where it has such a form. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`ModelError::Interchange`] when this model has the form, but something in or around it (`cx`) cannot be said in
    /// it.
    fn export(&self, _format: ExportFormat, _cx: &ExportContext<'_>) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(None)
    }

    /// Probabilities of all windows of a source, in order.
    ///
    /// # Errors
    /// As for [`BaseModel::predict_into`], and when a window cannot be gathered.
    fn predict(&self, windows: &dyn Windows) -> Result<Scores, ModelError> {
        const CHUNK: usize = 256;
        let classes = self.geometry().classes;
        let mut scores = Array2::zeros((windows.len(), classes));
        let out = scores.as_slice_mut().expect("a fresh array is contiguous");
        let mut batch = Batch::new(self.input(), windows.schema().geometry());
        let mut scratch = Scratch::default();
        let rows: Vec<usize> = (0..windows.len()).collect();
        for (rows, out) in rows.chunks(CHUNK).zip(out.chunks_mut(CHUNK * classes)) {
            windows.gather(rows, &mut batch)?;
            self.predict_into(&batch, &mut scratch, out)?;
        }
        Ok(scores)
    }
}

/// The check that every [`BaseModel::predict_into`] makes first.
///
/// # Errors
/// [`ModelError::Geometry`].
pub fn check_batch(model: &dyn BaseModel, batch: &Batch, out: &[f32]) -> Result<(), ModelError> {
    let geometry = model.geometry();
    if batch.kind() != model.input() || batch.geometry() != geometry {
        return Err(ModelError::Geometry {
            expected: format!("{} input of {geometry}", model.input()),
            got: format!("{} input of {}", batch.kind(), batch.geometry()),
        });
    }
    let expected = batch.rows() * geometry.classes;
    if out.len() != expected || batch.values.len() != batch.rows() * batch.row_len() {
        return Err(ModelError::Geometry {
            expected: format!("room for {expected} probabilities"),
            got: format!("{} (and {} input values for {} windows)", out.len(), batch.values.len(), batch.rows()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for good in ["gru", "acme/my-model", "extra-trees", "k2"] {
            assert!(ModelKind::new(good).is_ok(), "{good}");
        }
        for bad in ["", "GRU", "a/b/c", "/x", "x/", "../etc", "1st", "a b"] {
            assert!(ModelKind::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scratch_keeps_its_memory() {
        let mut scratch = Scratch::default();
        let [a, b] = scratch.buffers([4, 8]);
        assert_eq!((a.len(), b.len()), (4, 8));
        let [a] = scratch.buffers([2]);
        assert_eq!(a.len(), 2);
        scratch.state::<Vec<u8>>().push(7);
        scratch.state::<String>().push('x');
        assert_eq!(scratch.state::<Vec<u8>>(), &[7]);
        assert_eq!(scratch.state::<String>(), "x");
    }
}
