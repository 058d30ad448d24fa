//! Where a fit stands after an epoch, as bytes: everything from which it continues bit for bit.

use stakeout_core::ModelError;

use super::optim::AdamW;
use super::weights::{finite, put_f32s, put_text, text};
use crate::bytes::Reader;

const MAGIC: [u8; 4] = *b"STKT";
const VERSION: u32 = 1;

/// The best epoch so far and its weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Best {
    /// Its number, from 1.
    pub(crate) epoch: u64,
    /// Macro F1 on the validation side.
    pub(crate) macro_f1: f64,
    /// Weighted mean loss on the validation side.
    pub(crate) loss: f64,
    /// The weights after it.
    pub(crate) weights: Vec<f32>,
}

/// A fit between two epochs. Random numbers need no place here: a position (epoch, step) names them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// Finished epochs.
    pub(crate) epoch: u64,
    /// Current weights.
    pub(crate) weights: Vec<f32>,
    /// Moments, and the number of steps made.
    pub(crate) optimizer: AdamW,
    /// The epoch to keep, once one was scored.
    pub(crate) best: Option<Best>,
}

impl State {
    /// Before the first epoch.
    pub(crate) fn start(weights: Vec<f32>) -> Self {
        Self { epoch: 0, optimizer: AdamW::new(weights.len()), weights, best: None }
    }

    /// Epochs since the best one (or since the start).
    pub(crate) fn epochs_since_best(&self) -> u64 {
        self.epoch - self.best.as_ref().map_or(0, |best| best.epoch)
    }

    /// Keeps the current weights when they score better: a higher macro F1, or the same at a lower loss.
    pub(crate) fn keep_if_better(&mut self, macro_f1: f64, loss: f64) {
        let better = self
            .best
            .as_ref()
            .is_none_or(|best| macro_f1 > best.macro_f1 || (macro_f1 == best.macro_f1 && loss < best.loss));
        if better {
            self.best = Some(Best { epoch: self.epoch, macro_f1, loss, weights: self.weights.clone() });
        }
    }

    /// The state as bytes. `task` says which fit it belongs to.
    pub(crate) fn to_bytes(&self, task: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 * self.weights.len() + task.len() + 64);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        put_text(&mut out, task);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.optimizer.step.to_le_bytes());
        for values in [&self.weights, &self.optimizer.first, &self.optimizer.second] {
            put_f32s(&mut out, values);
        }
        if let Some(best) = &self.best {
            out.extend_from_slice(&best.epoch.to_le_bytes());
            out.extend_from_slice(&best.macro_f1.to_bits().to_le_bytes());
            out.extend_from_slice(&best.loss.to_bits().to_le_bytes());
            put_f32s(&mut out, &best.weights);
        } else {
            out.extend_from_slice(&0u64.to_le_bytes());
        }
        out
    }

    /// A state from bytes, for a net of `weights` numbers and so many steps an epoch.
    ///
    /// # Errors
    /// [`ModelError::Weights`] for damaged bytes and for the state of another fit.
    pub(crate) fn from_bytes(bytes: &[u8], task: &str, weights: usize, steps: u64) -> Result<Self, ModelError> {
        let mut reader = Reader::new(bytes);
        reader.expect(MAGIC, VERSION)?;
        let found = text(&mut reader)?;
        if found != task {
            return Err(ModelError::Weights(format!(
                "the saved state belongs to another fit, remove it or repeat that one\n  saved: {}\n  asked: {task}",
                found.escape_default()
            )));
        }
        let (epoch, step) = (reader.u64()?, reader.u64()?);
        if epoch.checked_mul(steps) != Some(step) {
            let why = format!("the saved state: {step} steps in {epoch} epochs, where an epoch has {steps}");
            return Err(ModelError::Weights(why));
        }
        let weights_now = finite(&mut reader, weights)?;
        let (first, second) = (finite(&mut reader, weights)?, finite(&mut reader, weights)?);
        let best = match reader.u64()? {
            0 => None,
            best if best > epoch => {
                return Err(ModelError::Weights("the saved state: its best epoch lies in the future".into()));
            }
            best => Some(Best {
                epoch: best,
                macro_f1: f64::from_bits(reader.u64()?),
                loss: f64::from_bits(reader.u64()?),
                weights: finite(&mut reader, weights)?,
            }),
        };
        reader.end()?;
        if best.as_ref().is_some_and(|best| !(best.macro_f1.is_finite() && best.loss.is_finite())) {
            return Err(ModelError::Weights("the saved state: its best epoch has no score".into())); // none would be better
        }
        Ok(Self { epoch, weights: weights_now, optimizer: AdamW { first, second, step }, best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> State {
        let mut state = State::start(vec![1.0, -2.0, 0.5]);
        state.epoch = 3;
        state.optimizer = AdamW { first: vec![0.1, 0.2, 0.3], second: vec![0.4, 0.5, 0.6], step: 20 };
        state.keep_if_better(0.75, 0.4);
        state.epoch = 5;
        state
    }

    #[test]
    fn round_trip_with_and_without_a_best_epoch() {
        let state = example();
        assert_eq!(State::from_bytes(&state.to_bytes("task"), "task", 3, 4).unwrap(), state);
        let fresh = State::start(vec![0.0; 3]);
        assert_eq!(State::from_bytes(&fresh.to_bytes("task"), "task", 3, 4).unwrap(), fresh);
    }

    #[test]
    fn every_cut_another_fit_and_another_version_are_refused() {
        let bytes = example().to_bytes("task");
        for length in 0..bytes.len() {
            assert!(State::from_bytes(&bytes[..length], "task", 3, 4).is_err(), "cut at {length}");
        }
        assert!(State::from_bytes(&bytes, "other", 3, 4).unwrap_err().to_string().contains("another fit"));
        assert!(State::from_bytes(&bytes, "task", 4, 4).is_err());
        assert!(State::from_bytes(&bytes, "task", 3, 5).unwrap_err().to_string().contains("20 steps in 5 epochs"));
        let mut newer = bytes;
        newer[4] = 2;
        assert!(State::from_bytes(&newer, "task", 3, 4).unwrap_err().to_string().contains("format 2"));
    }

    /// No later epoch would be better than one whose score is not a number.
    #[test]
    fn a_best_epoch_without_a_score_is_refused() {
        for (macro_f1, loss) in [(f64::NAN, 0.4), (0.75, f64::NAN), (0.75, f64::INFINITY)] {
            let mut state = example();
            state.best = state.best.map(|best| Best { macro_f1, loss, ..best });
            assert!(State::from_bytes(&state.to_bytes("task"), "task", 3, 4).is_err(), "{macro_f1} {loss}");
        }
    }

    #[test]
    fn ties_break_by_loss_and_the_first_wins_a_full_tie() {
        let mut state = State::start(vec![0.0]);
        let mut kept = Vec::new();
        for (macro_f1, loss) in [(0.5, 0.9), (0.6, 1.0), (0.6, 0.8), (0.6, 0.8), (0.6, 0.9), (0.4, 0.1)] {
            state.epoch += 1;
            state.keep_if_better(macro_f1, loss);
            kept.push(state.best.as_ref().unwrap().epoch);
        }
        assert_eq!(kept, [1, 2, 3, 3, 3, 3]);
        assert_eq!(state.epochs_since_best(), 3);
    }
}
