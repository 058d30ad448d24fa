//! Configuration: everything that decides a run, from defaults, a file, `--set` and options, in that order.
//!
//! ```toml
//! recipe = "host"
//! view = "realistic"
//! seed = 1                    # or [1, 2, 3]
//! scaler = "global"           # none | global | host-clean
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
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stakeout_core::{Device, ModelEntry, ModelRegistry, View, files};
use stakeout_telemetry::WindowKeys;

use crate::TrainError;
use crate::tune::TuneKeys;

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
    /// Where nets compute.
    pub device: Device,
    /// Whether rare classes weigh more in the loss.
    pub class_weights: ClassWeights,
    /// Whether episodes that the validator calls degraded are read too.
    pub degraded: bool,
    /// Whether the model is fitted on all rows and tested on none.
    pub refit_all: bool,
    /// Which data and code a finished run was made with; written, and read back by `--resume` and `eval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunInfo>,
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
            device: Device::default(),
            class_weights: ClassWeights::default(),
            degraded: false,
            refit_all: false,
            run: None,
            window: WindowKeys::default(),
            intervals: Intervals::default(),
            model: Map::new(),
            train: Map::new(),
            split: Map::new(),
            tune: None,
        }
    }
}

const TOP_KEYS: [&str; 15] = [
    "recipe",
    "view",
    "seed",
    "scaler",
    "device",
    "class_weights",
    "degraded",
    "refit_all",
    "run",
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
        const CAP: u64 = 1 << 20;
        let mut table = toml::Table::new();
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
        }
        for entry in overrides {
            let place = || format!("--set {entry}");
            let (path, value) = entry
                .split_once('=')
                .ok_or_else(|| TrainError::config(place(), "write it as key=value, for example window.seconds=20"))?;
            set(&mut table, path.trim(), parse_value(value.trim())).map_err(|why| TrainError::config(place(), why))?;
            Self::deserialize(table.clone())
                .map_err(|e| TrainError::config(place(), with_nearest(e.message(), &TOP_KEYS)))?;
        }
        let experiment =
            Self::deserialize(table).map_err(|e| TrainError::config("configuration", e.message().to_owned()))?;
        experiment.check()?;
        Ok(experiment)
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
            train.extend(self.train.clone());
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

/// The commented default configuration of one model and one recipe's settings, as TOML that [`Experiment::read`] takes.
///
/// # Errors
/// An unknown model.
pub fn commented_default(
    models: &ModelRegistry,
    kind: &str,
    recipe: &str,
    recipe_defaults: &str,
) -> Result<String, TrainError> {
    let entry = models.get(kind)?;
    let defaults = Experiment::default();
    let Intervals { resamples, level } = defaults.intervals;
    // A sub-section of the model's defaults, `[train]`, becomes a section of its own.
    let (own, train) = entry.defaults.split_once("[train]").unwrap_or((entry.defaults, ""));
    let train = if train.is_empty() { String::new() } else { format!("\n[train]\n{}\n", train.trim()) };
    Ok(format!(
        "# How data is held out: host, sample, time, given, leave-one-host-out, leave-one-sample-out.\n\
         recipe = \"{recipe}\"\n\
         # realistic: channels that can be had in deployment; oracle: all.\n\
         view = \"{view}\"\n\
         # One seed, or several for several runs: [1, 2, 3].\n\
         seed = 1\n\
         # none | global (moments of the training side) | host-clean (of each host's calibration stretch).\n\
         scaler = \"global\"\n\
         # Where nets compute: flex | ndarray (the slow reference).\n\
         device = \"flex\"\n\
         # balanced (every class weighs the same in the loss) | none.\n\
         class_weights = \"balanced\"\n\
         # Read episodes that the validator calls degraded, too.\n\
         degraded = false\n\
         # Fit on all rows but the validation side, which chooses when to stop; test on none: for deployment.\n\
         refit_all = false\n\
         \n\
         # Absent keys come from the corpus; the built-in corpus has these.\n\
         [window]\n\
         # seconds = 10\n\
         # stride_seconds = 5\n\
         # steps = 20\n\
         # max_per_episode = 0        # 0 = all\n\
         # partial = \"drop\"           # or \"mask\"\n\
         # statistics = [\"mean\", \"std\", \"p95\", \"slope\", \"zero_share\"]\n\
         \n\
         [intervals]\n\
         resamples = {resamples}\n\
         level = {level}\n\
         \n\
         [split]\n{split}\n\
         \n\
         [model.\"{kind}\"]\n{own}\n{train}",
        view = defaults.view,
        split = recipe_defaults.trim(),
        own = own.trim(),
    ))
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

/// Adds the nearest valid key to serde's "unknown field" message.
fn with_nearest(message: &str, keys: &[&str]) -> String {
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let nearest = unknown.and_then(|unknown| {
        let listed: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let candidates = if listed.is_empty() { keys.to_vec() } else { listed };
        candidates
            .into_iter()
            .max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)))
            .map(str::to_owned)
    });
    match nearest {
        Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
        None => message.to_owned(),
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
