//! The training loop of every net.
//!
//! Class-weighted cross-entropy, `AdamW`, warm-up and cosine, one norm over all gradients, early stopping on validation
//! macro F1 where it is asked for. A batch is cut into shards that run in parallel; losses, gradients and what the shards
//! observed are added in shard order, so the number of threads changes nothing.

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use rayon::prelude::*;
use stakeout_core::model::FEWEST_TO_CHOOSE;
use stakeout_core::{
    Batch, Confusion, EpochRecord, FitContext, InputKind, Labelled, ModelError, Windows, confusion::argmax,
};

use super::config::TrainConfig;
use super::feed::{self, Feed, even, position};
use super::input::Input;
use super::model::{forward, log_normaliser};
use super::optim::{self, clip, learning_rate};
use super::rng::{self, Purpose, generator};
use super::state::State;
use super::weights::{self, Tensors, WeightSpec};
use super::{Net, Pass};

/// How much of a normalisation's running statistics one step replaces (Ioffe and Szegedy 2015).
const MOMENTUM: f32 = 0.1;
/// Windows per shard of a validation pass.
const CHUNK: usize = 256;

/// Fits a net and returns its weights: those of the last epoch; with patience, those of the best epoch on the validation
/// side, when it has [`FEWEST_TO_CHOOSE`] windows or more. `task` names the estimator with all its settings; a
/// state that was saved for another task, seed, device or number of windows is refused.
///
/// # Errors
/// [`ModelError::Data`] for data that cannot be learnt from or a loss that diverges, [`ModelError::Cancelled`] when
/// the observer asked to stop, and whatever a window source or the observer answers.
pub(crate) fn fit(
    net: &dyn Net,
    kind: InputKind,
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
    let placed = OnDevice { net, kind, specs: &specs, device: super::device(cx.device) };
    let (n, n_validation) = (train.windows.len(), validation.map_or(0, |side| side.windows.len()));
    let chooses = config.patience > 0 && n_validation >= FEWEST_TO_CHOOSE;
    let task = format!("{task}, seed {}, {}, {n} + {n_validation} windows", cx.seed, cx.device.name());
    let steps = config.steps_per_epoch(n);
    let epochs = config.epochs_of(steps) as u64;

    let mut state = match cx.observer.load_state()? {
        Some(bytes) => State::from_bytes(&bytes, &task, weights::total(&specs), steps as u64)?,
        None => State::start(weights::draw(&specs, &mut generator(cx.seed, Purpose::Weights, 0))),
    };
    let mut saved = state.to_bytes(&task);
    let total = steps as u64 * epochs;
    let warmup = (total as f64 * config.warmup_share).ceil() as u64;
    let weight_of_all: f64 = train.weights.iter().map(|w| f64::from(*w)).sum();

    let seed = cx.seed;
    let feed = Feed { windows: train.windows, kind, config, shard: net.shard(), seed };
    let orders = (state.epoch..epochs).flat_map(|epoch| {
        let order = rng::permutation(n, &mut generator(seed, Purpose::Order, epoch));
        even(&order, steps).map(<[usize]>::to_vec).collect::<Vec<_>>()
    });
    feed.run((state.optimizer.step..).zip(orders), |batches| {
        while state.epoch < epochs && !(chooses && state.epochs_since_best() >= config.patience as u64) {
            let (mut loss, mut rate) = (0.0, 0.0);
            for _ in 0..steps {
                if cx.observer.cancelled() {
                    cx.observer.save_state(&saved)?; // an unfinished epoch is made again
                    return Err(ModelError::Cancelled);
                }
                let step = state.optimizer.step;
                let batch = batches.next()?;
                let rows = batch.rows.len();
                let Step { loss: batch_loss, gradient, norm, observed } =
                    placed.step(&state.weights, train, batch, config, (seed, step))?;
                if !(batch_loss.is_finite() && norm.is_finite()) {
                    return Err(ModelError::Data(format!(
                        "the loss diverged in epoch {}: lower train.learning_rate (it is {})",
                        state.epoch + 1,
                        config.learning_rate
                    )));
                }
                rate = learning_rate(config.learning_rate, step, warmup, total);
                let gradient = (&gradient[..], clip(norm, config.clip_norm));
                state.optimizer.update(&specs, &mut state.weights, gradient, rate, config.weight_decay);
                for (at, value) in observed {
                    state.weights[at] += MOMENTUM * (value - state.weights[at]);
                }
                loss += batch_loss * rows as f64;
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
        Ok(())
    })?;
    cx.observer.progress(state.optimizer.step, state.optimizer.step);

    if let Some(best) = state.best {
        cx.observer.note(&format!(
            "kept epoch {} of {}: validation macro F1 {:.4}, loss {:.4}",
            best.epoch, state.epoch, best.macro_f1, best.loss
        ));
        return Ok(best.weights);
    }
    let why = match (config.patience, n_validation) {
        (0, _) => "nothing chooses one, patience is 0".into(),
        (_, 0) => "no validation side chose one".into(),
        (_, n) => format!("{n} validation windows are too few to choose one ({FEWEST_TO_CHOOSE})"),
    };
    cx.observer.note(&format!("kept the last epoch ({}): {why}", state.epoch));
    Ok(state.weights)
}

/// What a step is made of.
struct Step {
    /// Mean loss of the batch.
    loss: f64,
    /// Its gradient by all weights.
    gradient: Vec<f32>,
    /// The Euclidean norm of that.
    norm: f64,
    /// Positions among the weights, and what the batch observed for each.
    observed: Vec<(usize, f32)>,
}

/// A net on a device.
struct OnDevice<'a> {
    net: &'a dyn Net,
    kind: InputKind,
    specs: &'a [WeightSpec],
    device: Device,
}

impl OnDevice<'_> {
    /// Loss, gradient and observations of a batch that was prepared, a part a shard. `seed` and `step` name all that is
    /// random.
    fn step(
        &self,
        weights: &[f32],
        train: Labelled<'_>,
        batch: feed::Step,
        config: &TrainConfig,
        (seed, step): (u64, u64),
    ) -> Result<Step, ModelError> {
        let feed::Step { rows, shards } = batch;
        let (rows, parts) = (&rows[..], shards.len());
        let shards: Vec<(&[usize], Batch)> = even(rows, parts).zip(shards).collect();
        let shared = Tensors::new(self.specs, weights, &self.device);
        let shards: Vec<Result<_, ModelError>> = shards
            .into_par_iter()
            .enumerate()
            .map(|(shard, (own, batch))| {
                let position = position(config, step, shard);
                let input = Input::new(&batch, &self.device)?;
                let tensors = shared.with_gradients();
                let mut pass = Pass::training(generator(seed, Purpose::Dropout, position));
                let logits = self.net.forward(&tensors, &input, &mut pass).logits;
                let loss = cross_entropy(logits, train, own, rows.len(), config.label_smoothing);
                let gradient = tensors.gradient(&loss)?;
                Ok((f64::from(weights::read(loss)?[0]), gradient, self.observed(pass)?))
            })
            .collect();
        let mut sum = Step { loss: 0.0, gradient: Vec::new(), norm: 0.0, observed: Vec::new() };
        let mut gradients = Vec::with_capacity(parts);
        for (shard, own) in shards.into_iter().zip(even(rows, parts)) {
            let (loss, gradient, observed) = shard?;
            sum.loss += loss;
            gradients.push(gradient);
            // the mean over the shards, each by its windows
            let share = own.len() as f32 / rows.len() as f32;
            if sum.observed.is_empty() {
                sum.observed = observed.iter().map(|(at, _)| (*at, 0.0)).collect();
            }
            sum.observed.iter_mut().zip(observed).for_each(|(sum, (_, value))| sum.1 += share * value);
        }
        (sum.gradient, sum.norm) = optim::sum(gradients);
        Ok(sum)
    }

    /// What a pass observed, by position among all weights.
    fn observed(&self, pass: Pass) -> Result<Vec<(usize, f32)>, ModelError> {
        let mut flat = Vec::new();
        let Pass::Train { observed, .. } = pass else { return Ok(flat) };
        for (name, values) in observed {
            let before = self.specs.iter().take_while(|spec| spec.name != name);
            let at = before.map(WeightSpec::len).sum::<usize>();
            flat.extend(weights::read(values)?.into_iter().enumerate().map(|(i, value)| (at + i, value)));
        }
        Ok(flat)
    }

    /// Weighted mean loss and macro F1 of a side.
    fn score(&self, weights: &[f32], side: Labelled<'_>) -> Result<(f64, f64), ModelError> {
        let classes = side.windows.schema().classes.len();
        let tensors = Tensors::new(self.specs, weights, &self.device);
        let rows: Vec<usize> = (0..side.windows.len()).collect();
        let chunks: Vec<Result<_, ModelError>> = rows
            .par_chunks(CHUNK)
            .map(|rows| {
                weights::read(
                    forward(self.net, &tensors, &gather(side.windows, self.kind, rows)?, &self.device)?.logits,
                )
            })
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

/// Some windows as a batch.
fn gather(windows: &dyn Windows, kind: InputKind, rows: &[usize]) -> Result<Batch, ModelError> {
    let mut batch = Batch::new(kind, windows.schema().geometry());
    windows.gather(rows, &mut batch)?;
    Ok(batch)
}

#[cfg(test)]
mod tests;
