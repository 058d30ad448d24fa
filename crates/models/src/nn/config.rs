//! Settings from `[model.<kind>]` and `[train]`: unknown keys and values out of range are errors that say what to do.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stakeout_core::ModelError;

use crate::config::{section, within};

/// How a net is trained: the `[train]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training windows at most.
    pub epochs: usize,
    /// Windows per optimiser step.
    pub batch_size: usize,
    /// Learning rate at the end of the warm-up.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Share of all steps over which the learning rate rises.
    pub warmup_share: f64,
    /// Epochs without a better validation side after which training stops.
    pub patience: usize,
    /// Longest gradient, as Euclidean norm over all weights.
    pub clip_norm: f64,
    /// Share of each target spread evenly over all classes.
    pub label_smoothing: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 40,
            batch_size: 64,
            learning_rate: 3e-3,
            weight_decay: 0.01,
            warmup_share: 0.05,
            patience: 10,
            clip_norm: 1.0,
            label_smoothing: 0.0,
        }
    }
}

/// The section `[train]` with every setting at its default, commented; it ends a net's own defaults, so that both
/// together are one object as [`parse`] reads it.
macro_rules! train_defaults {
    () => {
        "
[train]
epochs = 40              # passes over the training windows at most
batch_size = 64          # windows per optimiser step
learning_rate = 0.003    # at the end of the warm-up; falls to zero along a cosine
weight_decay = 0.01      # decoupled; biases are not decayed
warmup_share = 0.05      # share of all steps over which the learning rate rises
patience = 10            # epochs without a better validation side before stopping
clip_norm = 1.0          # longest gradient, as norm over all weights together
label_smoothing = 0.0    # share of each target spread evenly over all classes
"
    };
}
pub(crate) use train_defaults;

impl TrainConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key and the range.
    pub(crate) fn check(&self, kind: &str) -> Result<(), ModelError> {
        within(kind, "train.epochs", &self.epochs, 1..=10_000, "1 to 10000")?;
        within(kind, "train.batch_size", &self.batch_size, 1..=4096, "1 to 4096")?;
        within(kind, "train.learning_rate", &self.learning_rate, 1e-8..=1.0, "1e-8 to 1")?;
        within(kind, "train.weight_decay", &self.weight_decay, 0.0..=1.0, "0 to 1")?;
        within(kind, "train.warmup_share", &self.warmup_share, 0.0..=0.9, "0 to 0.9")?;
        within(kind, "train.patience", &self.patience, 1..=10_000, "1 to 10000")?;
        within(kind, "train.clip_norm", &self.clip_norm, 1e-6..=1e6, "1e-6 to 1e6")?;
        within(kind, "train.label_smoothing", &self.label_smoothing, 0.0..=0.5, "0 to 0.5")
    }
}

/// A net's own settings and how it is trained, from one object that holds the former and, under `train`, the latter.
///
/// # Errors
/// [`ModelError::Config`] for an unknown key (with the nearest valid one) or a value of the wrong type. Ranges are
/// checked where the estimator is made.
pub(crate) fn parse<T>(kind: &str, given: &Value) -> Result<(T, TrainConfig), ModelError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut own = given.clone();
    let train = own.as_object_mut().and_then(|own| own.remove("train")).unwrap_or_else(|| json!({}));
    let own = section(kind, &own)?;
    let train: TrainConfig = section(kind, &train).map_err(|error| match error {
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
        let (own, train) = parse::<Own>("gru", &json!({"hidden": 3, "train": {"epochs": 7}})).unwrap();
        assert_eq!(own, Own { hidden: 3, dropout: 0.0 });
        assert_eq!(train, TrainConfig { epochs: 7, ..TrainConfig::default() });
        assert_eq!(parse::<Own>("gru", &to_value(&own, &train)).unwrap(), (own, train));
    }

    #[test]
    fn errors_name_the_key_and_the_way_forward() {
        let check = |value: Value, expected: &str| {
            let message = parse::<Own>("gru", &value).map(|_| ()).unwrap_err().to_string();
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
        let changes: [fn(&mut TrainConfig); 9] = [
            |c| c.epochs = 0,
            |c| c.batch_size = 0,
            |c| c.learning_rate = 0.0,
            |c| c.learning_rate = f64::NAN,
            |c| c.weight_decay = -1.0,
            |c| c.warmup_share = 1.0,
            |c| c.patience = 0,
            |c| c.clip_norm = 0.0,
            |c| c.label_smoothing = 0.9,
        ];
        for change in changes {
            let mut config = TrainConfig::default();
            change(&mut config);
            let message = config.check("gru").unwrap_err().to_string();
            assert!(message.contains("out of range: use "), "{message}");
        }
    }
}
