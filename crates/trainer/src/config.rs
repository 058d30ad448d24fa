//! Configuration: everything that decides a run, from defaults, a file, `--set` and options, in that order.
//!
//! ```toml
//! recipe = "host"
//! view = "realistic"
//! seed = 1                    # or [1, 2, 3]
//! scaler = "global"           # none | global | host-clean
//! calibration = "none"        # none | temperature | isotonic | dirichlet
//!
//! [window]                    # absent keys come from the corpus
//! seconds = 10
//!
//! [model.gru]
//! hidden = 64
//!
//! [train]                     # epochs, batch size, ... of every net
//! [split]                     # keys of the recipe
//! [tune]                      # what `stakeout tune` tries
//!
//! [grid]                      # only where models are trained crosswise
//! models = ["gbt", "gru"]
//! ```
//!
//! In reading order: `places` (where each setting was written), `nearest` (what was meant), `check` (names that only the
//! registries know), `text` (the commented default).

mod check;
mod grid;
mod nearest;
mod places;
mod text;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stakeout_core::{Device, ModelEntry, View, files};
use stakeout_eval::calibrate::Method;
use stakeout_telemetry::WindowKeys;

use crate::TrainError;
use crate::tune::TuneKeys;
use nearest::with_nearest;

pub use check::unknown_model;
pub use grid::{GridKeys, GridRecord};
pub use nearest::nearest;
pub use places::Places;
pub use text::commented_default;

/// Which moments an input is scaled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScalerChoice {
    /// Raw values.
    None,
    /// Moments of the training side.
    #[default]
    Global,
    /// Moments of each host's calibration stretch.
    HostClean,
}

impl ScalerChoice {
    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Global => "global",
            Self::HostClean => "host-clean",
        }
    }
}

/// What probabilities go through before they leave the model. `None` is the default: a map needs validation rows of its
/// own, and a model that chooses nothing is better served by training on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalibrationChoice {
    /// Nothing.
    #[default]
    None,
    /// One temperature.
    Temperature,
    /// A monotone curve a class.
    Isotonic,
    /// A linear map of the logarithms.
    Dirichlet,
}

impl CalibrationChoice {
    /// How the map is fitted; `None` without one.
    pub fn method(self) -> Option<Method> {
        match self {
            Self::None => None,
            Self::Temperature => Some(Method::Temperature),
            Self::Isotonic => Some(Method::Isotonic),
            Self::Dirichlet => Some(Method::Dirichlet),
        }
    }
}

/// One seed or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a seed is a whole number from 0, or a list of such numbers")]
pub enum Seeds {
    /// One run.
    One(u64),
    /// One run a seed.
    Many(Vec<u64>),
}

impl Seeds {
    /// The seeds in order.
    pub fn list(&self) -> Vec<u64> {
        match self {
            Self::One(seed) => vec![*seed],
            Self::Many(seeds) => seeds.clone(),
        }
    }
}

/// How many resamples stand behind an interval, and how wide it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intervals {
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Coverage.
    pub level: f64,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { resamples: 2000, level: 0.95 }
    }
}

/// Whether rare classes weigh more in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// Every class weighs the same in total.
    #[default]
    Balanced,
    /// Every window weighs the same.
    None,
}

/// What `experiment.toml` adds to a configuration: which data and code a run was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// The kind of model.
    pub model: String,
    /// The store; absent for the embedded default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<std::path::PathBuf>,
    /// Digest of the store's content.
    pub data_digest: String,
    /// Hash of the schema.
    pub schema_hash: String,
    /// Version of the code.
    pub code_version: String,
    /// Digest of all settings: an edited file is not continued.
    pub settings: String,
    /// The seed that the recipe drew its folds with.
    pub split_seed: u64,
    /// The fold of this directory, where a recipe has many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<String>,
}

/// Everything that decides a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// The recipe that holds data out.
    pub recipe: String,
    /// Which channels the model sees.
    pub view: View,
    /// Seed or seeds.
    pub seed: Seeds,
    /// How inputs are scaled.
    pub scaler: ScalerChoice,
    /// The map, fitted on the validation side, that probabilities go through.
    pub calibration: CalibrationChoice,
    /// Where nets compute.
    pub device: Device,
    /// Whether rare classes weigh more in the loss.
    pub class_weights: ClassWeights,
    /// Whether episodes that the validator calls degraded are read too.
    pub degraded: bool,
    /// Whether the model is fitted on all rows and tested on none.
    pub refit_all: bool,
    /// How these settings were chosen, in the words of whoever chose them; every report repeats it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chosen: String,
    /// Which data and code a finished run was made with; written, and read back by `--resume` and `eval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunInfo>,
    /// What is trained crosswise; absent in a single run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridKeys>,
    /// How traces are cut; absent keys come from the corpus.
    pub window: WindowKeys,
    /// Intervals of the report.
    pub intervals: Intervals,
    /// Hyper-parameters by kind of model.
    pub model: Map<String, Value>,
    /// Training settings shared by all nets.
    pub train: Map<String, Value>,
    /// Settings of the recipe.
    pub split: Map<String, Value>,
    /// What `stakeout tune` tries; `train` does not look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune: Option<TuneKeys>,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            recipe: "host".into(),
            view: View::default(),
            seed: Seeds::One(1),
            scaler: ScalerChoice::default(),
            calibration: CalibrationChoice::default(),
            device: Device::default(),
            class_weights: ClassWeights::default(),
            degraded: false,
            refit_all: false,
            chosen: String::new(),
            run: None,
            grid: None,
            window: WindowKeys::default(),
            intervals: Intervals::default(),
            model: Map::new(),
            train: Map::new(),
            split: Map::new(),
            tune: None,
        }
    }
}

const TOP_KEYS: [&str; 18] = [
    "recipe",
    "view",
    "seed",
    "scaler",
    "calibration",
    "device",
    "class_weights",
    "degraded",
    "refit_all",
    "chosen",
    "run",
    "grid",
    "window",
    "intervals",
    "model",
    "train",
    "split",
    "tune",
];

impl Experiment {
    /// Reads a configuration file (or none) and lays `--set key=value` overrides over it.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming file and line, or the override, with the nearest valid key.
    pub fn read(file: Option<&Path>, overrides: &[String]) -> Result<Self, TrainError> {
        Ok(Self::read_placed(file, overrides)?.0)
    }

    /// As [`Experiment::read`], with the place of every setting.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn read_placed(file: Option<&Path>, overrides: &[String]) -> Result<(Self, Places), TrainError> {
        const CAP: u64 = 1 << 20;
        let mut table = toml::Table::new();
        let mut places = Places::default();
        if let Some(path) = file {
            let io = |source| TrainError::io("reading", path, source);
            let bytes = files::read_regular(path, CAP).map_err(io)?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().fold(1, |line, byte| line + usize::from(*byte == b'\n'));
                TrainError::config(format!("{}:{line}", path.display()), "it is not UTF-8 text")
            })?;
            let place = |e: &toml::de::Error| match e.span() {
                Some(span) => format!("{}:{}", path.display(), 1 + text[..span.start].matches('\n').count()),
                None => path.display().to_string(),
            };
            // Checked alone first: only the file has lines to name.
            toml::from_str::<Self>(&text)
                .map_err(|e| TrainError::config(place(&e), with_nearest(e.message(), &TOP_KEYS)))?;
            table = text.parse().map_err(|e: toml::de::Error| TrainError::config(place(&e), e.message()))?;
            places = Places::of_file(path, &text);
        }
        for entry in overrides {
            let place = || format!("--set {entry}");
            let (path, value) = entry
                .split_once('=')
                .ok_or_else(|| TrainError::config(place(), "write it as key=value, for example window.seconds=20"))?;
            set(&mut table, path.trim(), parse_value(value.trim())).map_err(|why| TrainError::config(place(), why))?;
            Self::deserialize(table.clone())
                .map_err(|e| TrainError::config(place(), with_nearest(e.message(), &TOP_KEYS)))?;
            places.note(path.trim().split('.'), place());
        }
        let experiment =
            Self::deserialize(table).map_err(|e| TrainError::config("configuration", e.message().to_owned()))?;
        experiment.check().map_err(|error| places.locate(error))?;
        Ok((experiment, places))
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`TrainError::Config`].
    pub fn check(&self) -> Result<(), TrainError> {
        let seeds = self.seed.list();
        let unique: std::collections::BTreeSet<_> = seeds.iter().collect();
        if seeds.is_empty() || unique.len() != seeds.len() {
            return Err(TrainError::config("seed", "give at least one seed, each once"));
        }
        if !(100..=1_000_000).contains(&self.intervals.resamples) {
            return Err(TrainError::config("intervals.resamples", "use 100 to 1,000,000 resamples"));
        }
        if !(self.intervals.level > 0.0 && self.intervals.level < 1.0) {
            return Err(TrainError::config("intervals.level", "a coverage lies between 0 and 1, as 0.95"));
        }
        Ok(())
    }

    /// The seed of the recipe: the first of the run, so that the seeds of one run differ in the fit alone. A cell of a
    /// run with many seeds remembers it.
    pub fn split_seed(&self) -> u64 {
        let own = self.seed.list().first().copied().unwrap_or_default();
        self.run.as_ref().map_or(own, |run| run.split_seed)
    }

    /// The complete hyper-parameters of a kind of model: its defaults, then `[train]` where the model has training
    /// settings, then `[model.<kind>]`.
    ///
    /// # Errors
    /// [`TrainError::Config`] when a registered default is not TOML.
    pub fn model_config(&self, entry: &ModelEntry) -> Result<Value, TrainError> {
        let mut config = defaults(entry)?;
        if !self.train.is_empty()
            && let Some(Value::Object(train)) = config.get_mut("train")
        {
            merge(train, &self.train);
        }
        if let Some(own) = self.model.get(entry.kind.as_str()) {
            let Value::Object(own) = own else {
                return Err(TrainError::config(format!("model.{}", entry.kind), "it is a section, not a value"));
            };
            merge(&mut config, own);
        }
        Ok(Value::Object(config))
    }

    /// The configuration as TOML, for `experiment.toml`.
    ///
    /// # Errors
    /// [`TrainError::Config`] for a value that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string(self).map_err(|e| TrainError::config("configuration", e.to_string()))
    }
}

/// A model's defaults as a JSON object.
fn defaults(entry: &ModelEntry) -> Result<Map<String, Value>, TrainError> {
    let broken = |why: String| TrainError::config(format!("defaults of {}", entry.kind), why);
    let table: toml::Table = entry.defaults.parse().map_err(|e: toml::de::Error| broken(e.message().to_owned()))?;
    match serde_json::to_value(table).map_err(|e| broken(e.to_string()))? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// Lays `over` on `base`, section by section.
fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A TOML value, or the text itself where it is none: `--set scaler=host-clean` needs no quotes.
fn parse_value(text: &str) -> toml::Value {
    format!("x = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("x"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// Sets a dotted key.
fn set(table: &mut toml::Table, path: &str, value: toml::Value) -> Result<(), String> {
    let (key, rest) = match path.split_once('.') {
        None => (path, None),
        Some((key, rest)) => (key, Some(rest)),
    };
    if key.is_empty() {
        return Err("a part of the key is empty".into());
    }
    match rest {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some(rest) => match table.entry(key.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
            toml::Value::Table(inner) => set(inner, rest, value),
            _ => Err(format!("`{key}` is a value, not a section")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &[&str]) -> Result<Experiment, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        Experiment::read(Some(&path), &overrides.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn file_then_overrides() {
        let experiment = read(
            "seed = [1, 2]\n[window]\nseconds = 20\n[model.gru]\nhidden = 8\n",
            &["window.stride_seconds=2.5", "scaler=host-clean", "model.gru.layers=2"],
        )
        .unwrap();
        assert_eq!(experiment.seed.list(), [1, 2]);
        assert_eq!(experiment.scaler, ScalerChoice::HostClean);
        assert_eq!(experiment.model["gru"], serde_json::json!({ "hidden": 8, "layers": 2 }));
        let WindowKeys { seconds, stride_seconds, .. } = experiment.window;
        assert_eq!([seconds, stride_seconds].map(|s| s.unwrap().ns()), [20_000_000_000, 2_500_000_000]);
    }

    #[test]
    fn a_typo_names_line_and_nearest_key() {
        let message = read("seed = 1\nscalar = \"none\"\n", &[]).unwrap_err().to_string();
        assert!(message.contains("x.toml:2"), "{message}");
        assert!(message.contains("did you mean `scaler`?"), "{message}");
        let message = read("[window]\nsecond = 1\n", &[]).unwrap_err().to_string();
        assert!(message.contains("x.toml:2") && message.contains("did you mean `seconds`?"), "{message}");
        let message = read("", &["window.step=1"]).unwrap_err().to_string();
        assert!(message.contains("--set window.step=1") && message.contains("did you mean `steps`?"), "{message}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let experiment = read("seed = [3]\n[model.gbt]\nrounds = 7\n", &[]).unwrap();
        let again = read(&experiment.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(experiment, again);
    }
}
