//! Settings from `[model.<kind>]` and `[train]`: unknown keys and values out of range are errors that say what to do.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stakeout_core::ModelError;

use crate::config::{section, section_over, within};

/// How a net is trained: the `[train]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training windows at most; 0 makes [`TrainConfig::EPOCHS`], and more until there are `min_steps`.
    pub epochs: usize,
    /// Optimiser steps at least, where `epochs` is 0: few windows are passed over more often.
    pub min_steps: usize,
    /// Windows per optimiser step at most.
    pub batch_size: usize,
    /// Largest part of the training windows that one step may take, so that few windows still make many steps an epoch;
    /// [`TrainConfig::SMALLEST_BATCH`] windows are always allowed.
    pub batch_share: f64,
    /// Learning rate at the end of the warm-up.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Share of all steps over which the learning rate rises.
    pub warmup_share: f64,
    /// Epochs without a better validation side after which training stops; 0 runs every epoch and needs no validation.
    pub patience: usize,
    /// Longest gradient, as Euclidean norm over all weights.
    pub clip_norm: f64,
    /// Share of each target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Deviation of the noise added to each value of a training batch, in scaled units.
    pub jitter: f64,
    /// Deviation of the factor, around 1, of each channel of a training window.
    pub scaling: f64,
    /// Probability with which a channel of a training window is missing.
    pub channel_dropout: f64,
    /// Farthest that a training window is moved in time, as a share of its length; a summary has no time.
    pub shift: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 0,
            min_steps: 1000,
            batch_size: 64,
            batch_share: 0.1,
            learning_rate: 3e-3,
            weight_decay: 0.01,
            warmup_share: 0.05,
            patience: 0,
            clip_norm: 1.0,
            label_smoothing: 0.0,
            jitter: 0.0,
            scaling: 0.0,
            channel_dropout: 0.0,
            shift: 0.0,
        }
    }
}

/// The section `[train]` with every setting at its default, commented; it ends a net's own defaults, so that both
/// together are one object as [`parse`] reads it. The settings that nets differ in are given.
macro_rules! train_defaults {
    (learning_rate = $rate:literal) => {
        concat!(
            "
[train]
epochs = 0               # passes over the training windows at most; 0 = 40, and more until there are min_steps
min_steps = 1000         # optimiser steps at least, where epochs is 0
batch_size = 64          # windows per optimiser step at most
batch_share = 0.1        # and at most this share of the training windows, but always 8
learning_rate = ",
            $rate,
            "    # at the end of the warm-up; falls to zero along a cosine
weight_decay = 0.01      # decoupled; biases are not decayed
warmup_share = 0.05      # share of all steps over which the learning rate rises
patience = 0             # epochs without a better validation side before stopping; 0 = run all, learn from validation too
clip_norm = 1.0          # longest gradient, as norm over all weights together
label_smoothing = 0.0    # share of each target spread evenly over all classes
# Augmentation: each training batch is seen a little changed. Off at 0.
jitter = 0.0             # deviation of the noise on each value, in scaled units
scaling = 0.0            # deviation of a channel's factor around 1
channel_dropout = 0.0    # probability with which a channel is missing
shift = 0.0              # farthest move in time, as a share of the window
"
        )
    };
}
pub(crate) use train_defaults;

impl TrainConfig {
    /// Passes over the training windows where none are asked for.
    pub const EPOCHS: usize = 40;
    /// A step may always take so many windows, whatever `batch_share` says.
    pub const SMALLEST_BATCH: usize = 8;

    /// Optimiser steps an epoch of so many windows.
    pub(crate) fn steps_per_epoch(&self, windows: usize) -> usize {
        let share = ((windows as f64 * self.batch_share) as usize).max(Self::SMALLEST_BATCH);
        windows.div_ceil(self.batch_size.min(share))
    }

    /// Epochs of so many steps.
    pub(crate) fn epochs_of(&self, steps: usize) -> usize {
        match self.epochs {
            0 => Self::EPOCHS.max(self.min_steps.div_ceil(steps.max(1))),
            asked => asked,
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key and the range.
    pub(crate) fn check(&self, kind: &str) -> Result<(), ModelError> {
        within(kind, "train.epochs", &self.epochs, 0..=10_000, "0 to 10000")?;
        within(kind, "train.min_steps", &self.min_steps, 0..=1_000_000, "0 to 1000000")?;
        within(kind, "train.batch_size", &self.batch_size, 1..=4096, "1 to 4096")?;
        within(kind, "train.batch_share", &self.batch_share, 0.0..=1.0, "0 to 1")?;
        within(kind, "train.learning_rate", &self.learning_rate, 1e-8..=1.0, "1e-8 to 1")?;
        within(kind, "train.weight_decay", &self.weight_decay, 0.0..=1.0, "0 to 1")?;
        within(kind, "train.warmup_share", &self.warmup_share, 0.0..=0.9, "0 to 0.9")?;
        within(kind, "train.patience", &self.patience, 0..=10_000, "0 to 10000")?;
        within(kind, "train.clip_norm", &self.clip_norm, 1e-6..=1e6, "1e-6 to 1e6")?;
        within(kind, "train.label_smoothing", &self.label_smoothing, 0.0..=0.5, "0 to 0.5")?;
        within(kind, "train.jitter", &self.jitter, 0.0..=10.0, "0 to 10")?;
        within(kind, "train.scaling", &self.scaling, 0.0..=1.0, "0 to 1")?;
        within(kind, "train.channel_dropout", &self.channel_dropout, 0.0..=0.9, "0 to 0.9")?;
        within(kind, "train.shift", &self.shift, 0.0..=0.5, "0 to 0.5")
    }
}

/// A net's own settings and how it is trained, from one object that holds the former and, under `train`, the latter.
///
/// # Errors
/// [`ModelError::Config`] for an unknown key (with the nearest valid one) or a value of the wrong type. Ranges are
/// checked where the estimator is made.
pub(crate) fn parse<T>(kind: &str, given: &Value, train_defaults: &TrainConfig) -> Result<(T, TrainConfig), ModelError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut own = given.clone();
    let train = own.as_object_mut().and_then(|own| own.remove("train")).unwrap_or_else(|| json!({}));
    let own = section(kind, &own)?;
    let train = section_over(kind, train_defaults, &train).map_err(|error| match error {
        ModelError::Config { kind, key, why } => ModelError::Config { kind, key: format!("train.{key}"), why },
        other => other,
    })?;
    Ok((own, train))
}

/// The object that [`parse`] reads back.
pub(crate) fn to_value<T: Serialize>(own: &T, train: &TrainConfig) -> Value {
    let mut value = json!(own);
    value["train"] = json!(train);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Own {
        hidden: usize,
        dropout: f32,
    }

    #[test]
    fn given_keys_replace_defaults() {
        let other = TrainConfig { clip_norm: 3.0, ..TrainConfig::default() };
        let (own, train) = parse::<Own>("gru", &json!({"hidden": 3, "train": {"epochs": 7}}), &other).unwrap();
        assert_eq!(own, Own { hidden: 3, dropout: 0.0 });
        assert_eq!(train, TrainConfig { epochs: 7, ..other.clone() });
        assert_eq!(parse::<Own>("gru", &to_value(&own, &train), &other).unwrap(), (own, train));
    }

    #[test]
    fn errors_name_the_key_and_the_way_forward() {
        let check = |value: Value, expected: &str| {
            let message = parse::<Own>("gru", &value, &TrainConfig::default()).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(json!({"hiden": 3}), "[model.gru] hiden: there is no such setting, did you mean `hidden`?");
        check(json!({"train": {"epoch": 3}}), "train.epoch: there is no such setting, did you mean `epochs`?");
        check(json!({"hidden": -1}), "[model.gru] hidden: invalid value: integer `-1`");
        check(json!({"train": {"learning_rate": "fast"}}), "train.learning_rate: invalid type");
        check(json!({"train": 3}), "expected a table of settings");
        check(json!([1]), "expected a table of settings");
    }

    #[test]
    fn ranges() {
        assert!(TrainConfig::default().check("gru").is_ok());
        let changes: [fn(&mut TrainConfig); 13] = [
            |c| c.epochs = 10_001,
            |c| c.batch_size = 0,
            |c| c.learning_rate = 0.0,
            |c| c.learning_rate = f64::NAN,
            |c| c.weight_decay = -1.0,
            |c| c.warmup_share = 1.0,
            |c| c.batch_share = 1.5,
            |c| c.clip_norm = 0.0,
            |c| c.label_smoothing = 0.9,
            |c| c.jitter = f64::NAN,
            |c| c.scaling = -0.1,
            |c| c.channel_dropout = 1.0,
            |c| c.shift = 0.6,
        ];
        for change in changes {
            let mut config = TrainConfig::default();
            change(&mut config);
            let message = config.check("gru").unwrap_err().to_string();
            assert!(message.contains("out of range: use "), "{message}");
        }
    }

    #[test]
    fn few_windows_make_small_batches_and_many_epochs() {
        let check = |windows: usize, steps: usize, epochs: usize| {
            let config = TrainConfig { min_steps: 1000, batch_size: 64, ..TrainConfig::default() };
            assert_eq!(config.steps_per_epoch(windows), steps, "{windows} windows");
            assert_eq!(config.epochs_of(steps), epochs, "{windows} windows");
        };
        check(1, 1, 1000);
        check(40, 5, 200);
        check(270, 10, 100);
        check(640, 10, 100);
        check(6400, 100, 40);
        let asked = TrainConfig { epochs: 3, batch_size: 4, batch_share: 0.0, ..TrainConfig::default() };
        assert_eq!((asked.steps_per_epoch(40), asked.epochs_of(10)), (10, 3));
    }
}
