//! The training loop of every net.
//!
//! Class-weighted cross-entropy, `AdamW`, warm-up and cosine, one norm over all gradients, early stopping on validation
//! macro F1. A batch is cut into shards of fixed size that run in parallel; losses and gradients are added in shard
//! order, so the number of threads changes nothing.

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use rayon::prelude::*;
use stakeout_core::{
    Batch, Confusion, EpochRecord, FitContext, InputKind, Labelled, ModelError, Windows, confusion::argmax,
};

use super::config::TrainConfig;
use super::input::Input;
use super::model::{forward, log_normaliser};
use super::optim::{clip_global_norm, learning_rate};
use super::rng::{self, Purpose, generator};
use super::state::State;
use super::weights::{self, Tensors, WeightSpec};
use super::{Dropout, Net};

/// Windows per shard of a training step.
const SHARD: usize = 32;
/// Windows per shard of a validation pass.
const CHUNK: usize = 256;
/// With fewer validation windows than this, their macro F1 is too coarse to choose an epoch by.
pub(crate) const FEWEST_TO_CHOOSE: usize = 20;

/// Fits a net and returns its weights: those of the best epoch on the validation side, or of the last epoch when
/// there are fewer than [`FEWEST_TO_CHOOSE`] validation windows. `task` names the estimator with all its settings; a
/// state that was saved for another task, seed, device or number of windows is refused.
///
/// # Errors
/// [`ModelError::Data`] for data that cannot be learnt from or a loss that diverges, [`ModelError::Cancelled`] when
/// the observer asked to stop, and whatever a window source or the observer answers.
pub(crate) fn fit(
    net: &dyn Net,
    config: &TrainConfig,
    task: &str,
    train: Labelled<'_>,
    cx: &mut FitContext<'_>,
) -> Result<Vec<f32>, ModelError> {
    train.check()?;
    let validation = cx.validation.filter(|side| !side.windows.is_empty());
    if let Some(side) = &validation {
        side.check()?;
        train.windows.schema().check_same(side.windows.schema())?;
    }
    let specs = net.weights();
    let placed = OnDevice { net, specs: &specs, device: super::device(cx.device) };
    let (n, n_validation) = (train.windows.len(), validation.map_or(0, |side| side.windows.len()));
    let chooses = n_validation >= FEWEST_TO_CHOOSE;
    let task = format!("{task}, seed {}, {}, {n} + {n_validation} windows", cx.seed, cx.device.name());
    let steps = n.div_ceil(config.batch_size) as u64;

    let mut state = match cx.observer.load_state()? {
        Some(bytes) => State::from_bytes(&bytes, &task, weights::total(&specs), steps)?,
        None => State::start(weights::draw(&specs, &mut generator(cx.seed, Purpose::Weights, 0))),
    };
    let mut saved = state.to_bytes(&task);
    let total = steps * config.epochs as u64;
    let warmup = (total as f64 * config.warmup_share).ceil() as u64;
    let weight_of_all: f64 = train.weights.iter().map(|w| f64::from(*w)).sum();

    while state.epoch < config.epochs as u64 && !(chooses && state.epochs_since_best() >= config.patience as u64) {
        let order = rng::permutation(n, &mut generator(cx.seed, Purpose::Order, state.epoch));
        let (mut loss, mut rate) = (0.0, 0.0);
        for rows in order.chunks(config.batch_size) {
            if cx.observer.cancelled() {
                cx.observer.save_state(&saved)?; // an unfinished epoch is made again
                return Err(ModelError::Cancelled);
            }
            let step = state.optimizer.step;
            let (batch_loss, mut gradient) = placed.gradient(&state.weights, train, rows, config, (cx.seed, step))?;
            let norm = clip_global_norm(&mut gradient, config.clip_norm);
            if !(batch_loss.is_finite() && norm.is_finite()) {
                return Err(ModelError::Data(format!(
                    "the loss diverged in epoch {}: lower train.learning_rate (it is {})",
                    state.epoch + 1,
                    config.learning_rate
                )));
            }
            rate = learning_rate(config.learning_rate, step, warmup, total);
            state.optimizer.update(&specs, &mut state.weights, &gradient, rate, config.weight_decay);
            loss += batch_loss * rows.len() as f64;
            cx.observer.progress(step + 1, total);
        }
        state.epoch += 1;
        let scored = validation.map(|side| placed.score(&state.weights, side)).transpose()?;
        if let (Some((loss, macro_f1)), true) = (scored, chooses) {
            state.keep_if_better(macro_f1, loss);
        }
        cx.observer.epoch(&EpochRecord {
            epoch: state.epoch as usize,
            train_loss: if weight_of_all > 0.0 { loss / weight_of_all } else { 0.0 },
            validation_loss: scored.map(|(loss, _)| loss),
            validation_macro_f1: scored.map(|(_, macro_f1)| macro_f1),
            learning_rate: rate,
        })?;
        saved = state.to_bytes(&task);
        cx.observer.save_state(&saved)?;
    }
    cx.observer.progress(state.optimizer.step, state.optimizer.step);

    if let Some(best) = state.best {
        cx.observer.note(&format!(
            "kept epoch {} of {}: validation macro F1 {:.4}, loss {:.4}",
            best.epoch, state.epoch, best.macro_f1, best.loss
        ));
        return Ok(best.weights);
    }
    cx.observer.note(&format!(
        "kept the last epoch ({}): {n_validation} validation windows are too few to choose one ({FEWEST_TO_CHOOSE})",
        state.epoch
    ));
    Ok(state.weights)
}

/// A net on a device.
struct OnDevice<'a> {
    net: &'a dyn Net,
    specs: &'a [WeightSpec],
    device: Device,
}

impl OnDevice<'_> {
    /// Mean loss of a batch and its gradient by all weights. `position` (seed and step) names the dropout.
    fn gradient(
        &self,
        weights: &[f32],
        train: Labelled<'_>,
        rows: &[usize],
        config: &TrainConfig,
        (seed, step): (u64, u64),
    ) -> Result<(f64, Vec<f32>), ModelError> {
        let shards: Vec<Result<_, ModelError>> = rows
            .par_chunks(SHARD)
            .enumerate()
            .map(|(shard, own)| {
                let tensors = Tensors::tracked(self.specs, weights, &self.device.clone().autodiff());
                let position = step * config.batch_size.div_ceil(SHARD) as u64 + shard as u64;
                let mut dropout = Dropout::On(generator(seed, Purpose::Dropout, position));
                let input = Input::new(gather(train.windows, own)?, &self.device)?;
                let logits = self.net.forward(&tensors, &input, &mut dropout).logits;
                let loss = cross_entropy(logits, train, own, rows.len(), config.label_smoothing);
                let gradient = tensors.gradient(&loss)?;
                Ok((f64::from(weights::read(loss)?[0]), gradient))
            })
            .collect();
        let mut sum = (0.0, vec![0.0f32; weights.len()]);
        for shard in shards {
            let (loss, gradient) = shard?;
            sum.0 += loss;
            sum.1.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
        }
        Ok(sum)
    }

    /// Weighted mean loss and macro F1 of a side.
    fn score(&self, weights: &[f32], side: Labelled<'_>) -> Result<(f64, f64), ModelError> {
        let classes = side.windows.schema().classes.len();
        let tensors = Tensors::new(self.specs, weights, &self.device);
        let rows: Vec<usize> = (0..side.windows.len()).collect();
        let chunks: Vec<Result<_, ModelError>> = rows
            .par_chunks(CHUNK)
            .map(|rows| weights::read(forward(self.net, &tensors, gather(side.windows, rows)?, &self.device)?.logits))
            .collect();
        let (mut confusion, mut loss, mut weight) = (Confusion::new(classes), 0.0, 0.0);
        let mut truth = side.labels.iter().zip(side.weights);
        for chunk in chunks {
            for (logits, (label, w)) in chunk?.chunks_exact(classes).zip(&mut truth) {
                confusion.add(*label, argmax(logits));
                loss += f64::from(*w) * (log_normaliser(logits) - f64::from(logits[usize::from(*label)]));
                weight += f64::from(*w);
            }
        }
        let macro_f1 = confusion.macro_f1().unwrap_or(0.0);
        Ok((if weight > 0.0 { loss / weight } else { 0.0 }, macro_f1))
    }
}

/// Weighted cross-entropy of some rows against smoothed targets (Szegedy et al. 2016), divided by the rows of the
/// whole batch.
///
/// # Shapes
/// - `logits`: `[rows, classes]`
/// - output: `[1]`
pub(crate) fn cross_entropy(
    logits: Tensor<2>,
    side: Labelled<'_>,
    rows: &[usize],
    batch: usize,
    smoothing: f64,
) -> Tensor<1> {
    let classes = side.windows.schema().classes.len();
    let mut targets = vec![0.0f32; rows.len() * classes];
    for (target, row) in targets.chunks_exact_mut(classes).zip(rows) {
        let weight = f64::from(side.weights[*row]) / batch as f64;
        target.fill((weight * smoothing / classes as f64) as f32);
        target[usize::from(side.labels[*row])] += (weight * (1.0 - smoothing)) as f32;
    }
    let targets = Tensor::from_data(TensorData::new(targets, [rows.len(), classes]), &logits.device());
    (log_softmax(logits, 1) * targets).sum_dim(1).sum().neg()
}

/// Some windows as a tensor batch.
fn gather(windows: &dyn Windows, rows: &[usize]) -> Result<Batch, ModelError> {
    let mut batch = Batch::new(InputKind::Tensor, windows.schema().geometry());
    windows.gather(rows, &mut batch)?;
    Ok(batch)
}

#[cfg(test)]
mod tests;
