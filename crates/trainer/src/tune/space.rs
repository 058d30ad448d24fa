//! What is searched: `[tune]` of an experiment file, and the values that trials draw from `[tune.space]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Experiment, TrainError};

/// The section `[tune]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TuneKeys {
    /// Settings tried, the configured ones among them.
    pub trials: usize,
    /// Folds inside the training side, at most.
    pub inner_folds: usize,
    /// Steps from the smallest to the full resource.
    pub rungs: usize,
    /// One trial in so many goes on to the next rung, with so many times the resource.
    pub eta: usize,
    /// The whole-number setting that grows from rung to rung, as `train.epochs`; absent: the number of inner folds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Seed of the draws; absent: the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Setting to values.
    pub space: Map<String, Value>,
}

impl Default for TuneKeys {
    fn default() -> Self {
        Self { trials: 27, inner_folds: 4, rungs: 3, eta: 3, resource: None, seed: None, space: Map::new() }
    }
}

impl TuneKeys {
    /// Checks every range.
    ///
    /// # Errors
    /// [`TrainError::Config`].
    pub fn check(&self) -> Result<(), TrainError> {
        let within = |key: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(TrainError::config(format!("tune.{key}"), format!("{value} is out of range: use {least} to {most}")))
        };
        within("trials", self.trials, 2, 100_000)?;
        within("inner_folds", self.inner_folds, 2, 50)?;
        within("rungs", self.rungs, 1, 20)?;
        within("eta", self.eta, 2, 100)
    }
}

/// The values that a setting may take.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Any of these.
    Choice(Vec<Value>),
    /// Evenly between two numbers.
    Uniform(f64, f64),
    /// Evenly between the logarithms of two positive numbers.
    Log(f64, f64),
    /// A whole number, both ends included.
    Int(i64, i64),
    /// A whole number, evenly between logarithms, both ends included.
    LogInt(i64, i64),
}

/// What a table of one key may be called to be a range.
const RANGES: [&str; 4] = ["uniform", "log", "int", "log_int"];

impl Domain {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(values) if values.is_empty() => Err("the list is empty".into()),
            Value::Array(values) => Ok(Self::Choice(values.clone())),
            Value::Object(range) if range.len() == 1 => {
                let (name, ends) = range.iter().next().ok_or("it is empty")?;
                let ends = ends.as_array().map(Vec::as_slice);
                let Some([low, high]) = ends else { return Err(format!("{name} takes two numbers: [low, high]")) };
                let real = |least: f64| match (low.as_f64(), high.as_f64()) {
                    (Some(low), Some(high)) if least < low && low < high && high.is_finite() => Ok((low, high)),
                    _ => Err(format!("{name} takes two numbers, the smaller first{}", positive(least == 0.0))),
                };
                let whole = |least: i64| match (low.as_i64(), high.as_i64()) {
                    (Some(low), Some(high)) if least <= low && low < high => Ok((low, high)),
                    _ => Err(format!("{name} takes two whole numbers, the smaller first{}", positive(least == 1))),
                };
                match name.as_str() {
                    "uniform" => real(f64::NEG_INFINITY).map(|(low, high)| Self::Uniform(low, high)),
                    "log" => real(0.0).map(|(low, high)| Self::Log(low, high)),
                    "int" => whole(i64::MIN).map(|(low, high)| Self::Int(low, high)),
                    "log_int" => whole(1).map(|(low, high)| Self::LogInt(low, high)),
                    _ => Err(HOW.into()),
                }
            }
            _ => Err(HOW.into()),
        }
    }

    /// The value at a place `u` of `[0, 1)`. Real numbers are rounded to four digits, so that files stay readable.
    fn at(&self, u: f64) -> Value {
        let short = |x: f64, low: f64, high: f64| -> Value {
            let x: f64 = format!("{x:.3e}").parse().unwrap_or(x);
            x.clamp(low, high).into()
        };
        match *self {
            Self::Choice(ref values) => values[((u * values.len() as f64) as usize).min(values.len() - 1)].clone(),
            Self::Uniform(low, high) => short(low + u * (high - low), low, high),
            Self::Log(low, high) => short((low.ln() + u * (high.ln() - low.ln())).exp(), low, high),
            Self::Int(low, high) => {
                let n = (i128::from(high) - i128::from(low) + 1) as f64;
                let step = (u * n) as i128;
                ((i128::from(low) + step).min(i128::from(high)) as i64).into()
            }
            Self::LogInt(low, high) => {
                let (a, b) = ((low as f64).ln(), (high as f64 + 1.0).ln());
                ((a + u * (b - a)).exp() as i64).clamp(low, high).into()
            }
        }
    }
}

fn positive(needed: bool) -> &'static str {
    if needed { ", both above 0" } else { "" }
}

const HOW: &str = "write a list of choices, or one of { uniform = [a, b] }, { log = [a, b] }, { int = [a, b] }, \
                   { log_int = [a, b] }";

/// Where a setting stands in an experiment whose model section is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A key of the experiment itself.
    Top,
    /// A path inside `[model.<kind>]`; `train.x` is there too.
    Model(Vec<String>),
}

/// Keys of the experiment itself that change how well a model learns, and not what it is judged on.
const TOP: [&str; 2] = ["scaler", "class_weights"];

/// One setting of the space.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    key: String,
    place: Place,
    domain: Domain,
}

/// Settings of one trial, by the key that the space gives them.
pub type Settings = BTreeMap<String, Value>;

/// The space of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    kind: String,
    axes: Vec<Axis>,
    /// Keys of the file that this model does not have: sections of other models.
    pub skipped: Vec<String>,
}

impl Space {
    /// Reads `[tune.space]` for one kind of model. `base` is a [complete](crate::tune::complete) experiment; every key
    /// must be one of its settings.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the key and the nearest one, or the rule that its values break.
    pub fn read(space: &Map<String, Value>, kind: &str, base: &Experiment) -> Result<Self, TrainError> {
        let (mut axes, mut skipped) = (Vec::new(), Vec::new());
        let mut flat = Vec::new();
        flatten("", space, &mut flat);
        for (key, value) in flat {
            let wrong = |why: String| TrainError::config(format!("tune.space.{key}"), why);
            match place(&key, kind, base).map_err(wrong)? {
                None => skipped.push(key),
                Some(place) => axes.push(Axis { place, domain: Domain::parse(value).map_err(wrong)?, key }),
            }
        }
        axes.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some(pair) =
            axes.windows(2).find(|pair| pair[0].key == pair[1].key || pair[0].place.same(&pair[1].place))
        {
            return Err(TrainError::config(format!("tune.space.{}", pair[1].key), "it stands twice"));
        }
        if axes.is_empty() {
            let example = "[tune.space]\n\"train.learning_rate\" = { log = [1e-4, 1e-2] }";
            let why = format!("it names no setting of `{kind}`; say what to try, as\n{example}");
            return Err(TrainError::config("tune.space", why));
        }
        Ok(Self { kind: kind.to_owned(), axes, skipped })
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().map(|axis| axis.key.as_str())
    }

    /// Whether a setting of the model is one of the space.
    pub(crate) fn searches(&self, path: &[String]) -> bool {
        self.axes.iter().any(|axis| matches!(&axis.place, Place::Model(own) if own == path))
    }

    /// At most `trials` different settings: those of `base` first, then drawn ones. The value of a key depends on the
    /// seed, the trial and the key alone: a key that is added to a file leaves the others as they were.
    pub fn draw(&self, base: &Experiment, trials: usize, seed: u64) -> Vec<Settings> {
        /// A small space of choices runs out of new settings; after so many repeats in a row it is taken as empty.
        const REPEATS: u64 = 200;
        let own = self.axes.iter().map(|axis| (axis.key.clone(), self.get(base, axis)));
        let mut drawn = vec![own.collect::<Settings>()];
        let (mut attempt, mut repeats) = (0, 0);
        while drawn.len() < trials && repeats < REPEATS {
            let settings: Settings = self
                .axes
                .iter()
                .map(|axis| (axis.key.clone(), axis.domain.at(place_of(seed, attempt, &axis.key))))
                .collect();
            attempt += 1;
            if drawn.contains(&settings) {
                repeats += 1;
            } else {
                repeats = 0;
                drawn.push(settings);
            }
        }
        drawn
    }

    fn get(&self, base: &Experiment, axis: &Axis) -> Value {
        match &axis.place {
            Place::Top => top(base).remove(&axis.key).unwrap_or_default(),
            Place::Model(path) => base.model.get(&self.kind).and_then(|own| at(own, path)).cloned().unwrap_or_default(),
        }
    }

    /// A complete experiment with some settings in it.
    ///
    /// # Errors
    /// [`TrainError::Config`] for a value of the wrong type.
    pub fn apply(&self, base: &Experiment, settings: &Settings) -> Result<Experiment, TrainError> {
        let mut experiment = base.clone();
        for axis in &self.axes {
            let Some(value) = settings.get(&axis.key) else { continue };
            match &axis.place {
                Place::Top => set_top(&mut experiment, &axis.key, value)?,
                Place::Model(path) => set_model(&mut experiment, &self.kind, path, value),
            }
        }
        Ok(experiment)
    }
}

impl Place {
    fn same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Model(a), Self::Model(b)) if a == b)
    }
}

/// The whole-number setting of a resource: its path and its configured value.
pub(crate) fn resource(key: &str, kind: &str, base: &Experiment) -> Result<(Vec<String>, u64), TrainError> {
    let wrong = |why: String| TrainError::config("tune.resource", why);
    match place(key, kind, base).map_err(wrong)? {
        Some(Place::Model(path)) => {
            let own = base.model.get(kind).and_then(|own| at(own, &path)).and_then(Value::as_u64);
            match own {
                Some(own) if own > 0 => Ok((path, own)),
                Some(_) => Err(wrong(format!("`{key}` is 0, which is automatic: give it a value in the file first"))),
                None => Err(wrong(format!("`{key}` is no whole number: name epochs, rounds or trees"))),
            }
        }
        _ => Err(wrong(format!("`{key}` is no setting of `{kind}`: name its epochs, rounds or trees"))),
    }
}

/// Sets a path inside the model's own section.
pub(crate) fn set_model(experiment: &mut Experiment, kind: &str, path: &[String], value: &Value) {
    let mut place = experiment.model.entry(kind.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    for part in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(part.clone()).or_insert(Value::Null);
    }
    *place = value.clone();
}

/// Dotted keys of nested tables; a table of one range is a value.
fn flatten<'a>(prefix: &str, table: &'a Map<String, Value>, into: &mut Vec<(String, &'a Value)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) if !(inner.len() == 1 && inner.keys().all(|key| RANGES.contains(&key.as_str()))) => {
                flatten(&path, inner, into);
            }
            _ => into.push((path, value)),
        }
    }
}

/// Where a key stands; `None` for a setting of another model.
fn place(key: &str, kind: &str, base: &Experiment) -> Result<Option<Place>, String> {
    if TOP.contains(&key) {
        return Ok(Some(Place::Top));
    }
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let own = base.model.get(kind).cloned().unwrap_or_default();
    let path: Vec<String> = match section {
        "train" if own.get("train").is_none() => return Ok(None),
        "train" => key.split('.').map(str::to_owned).collect(),
        "model" => match rest.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => rest.split('.').map(str::to_owned).collect(),
            None => return Ok(None),
        },
        "window" | "view" => {
            return Err("it decides what is compared: two trials would be judged on different windows; compare runs \
                        of `train` instead"
                .into());
        }
        _ => {
            return Err(format!(
                "only model.{kind}.*, train.* and {} can be searched: the rest decides what is held out",
                TOP.join(", ")
            ));
        }
    };
    if at(&own, &path).is_some_and(|value| !value.is_object()) {
        return Ok(Some(Place::Model(path)));
    }
    let mut known = Vec::new();
    leaves("", &own, &mut known);
    let wanted = path.join(".");
    let nearest =
        known.iter().max_by(|a, b| strsim::jaro_winkler(&wanted, a).total_cmp(&strsim::jaro_winkler(&wanted, b)));
    Err(match nearest {
        Some(near) => format!("`{kind}` has no such setting, did you mean `{near}`?"),
        None => format!("`{kind}` has no settings"),
    })
}

fn leaves(prefix: &str, value: &Value, into: &mut Vec<String>) {
    if let Value::Object(map) = value {
        for (key, value) in map {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if value.is_object() { leaves(&path, value, into) } else { into.push(path) }
        }
    }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, part| value.get(part))
}

fn top(experiment: &Experiment) -> Map<String, Value> {
    let value = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
    Map::from_iter([
        ("scaler".to_owned(), value(serde_json::to_value(experiment.scaler))),
        ("class_weights".to_owned(), value(serde_json::to_value(experiment.class_weights))),
    ])
}

fn set_top(experiment: &mut Experiment, key: &str, value: &Value) -> Result<(), TrainError> {
    let wrong = |e: serde_json::Error| TrainError::config(format!("tune.space.{key}"), e.to_string());
    match key {
        "scaler" => experiment.scaler = serde_json::from_value(value.clone()).map_err(wrong)?,
        _ => experiment.class_weights = serde_json::from_value(value.clone()).map_err(wrong)?,
    }
    Ok(())
}

/// A place in `[0, 1)` for a key of a draw: the head of a BLAKE3 hash, so that no draw moves another.
fn place_of(seed: u64, attempt: u64, key: &str) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&attempt.to_le_bytes()).update(key.as_bytes());
    let head = u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("eight bytes"));
    (head >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn base() -> Experiment {
        let own = json!({ "hidden": 64, "dropout": 0.1, "train": { "epochs": 40, "learning_rate": 0.003 } });
        Experiment { model: Map::from_iter([("gru".to_owned(), own)]), ..Experiment::default() }
    }

    fn read(space: &Value) -> Result<Space, TrainError> {
        Space::read(space.as_object().unwrap(), "gru", &base())
    }

    #[test]
    fn dotted_and_nested_keys_are_the_same_settings() {
        let flat =
            read(&json!({ "model.gru.hidden": [16, 32], "train.learning_rate": { "log": [1e-4, 1e-2] } })).unwrap();
        let nested = read(
            &json!({ "model": { "gru": { "hidden": [16, 32] } }, "train": { "learning_rate": { "log": [1e-4, 1e-2] } } }),
        );
        assert_eq!(flat, nested.unwrap());
        let trials = flat.draw(&base(), 9, 1);
        assert_eq!(
            trials[0],
            Settings::from([("model.gru.hidden".into(), json!(64)), ("train.learning_rate".into(), json!(0.003))])
        );
        let applied = flat.apply(&base(), &trials[1]).unwrap();
        assert_eq!(applied.model["gru"]["hidden"], trials[1]["model.gru.hidden"]);
        assert_eq!(applied.model["gru"]["train"]["learning_rate"], trials[1]["train.learning_rate"]);
        assert_eq!(applied.model["gru"]["dropout"], 0.1);
    }

    #[test]
    fn errors_name_the_key_and_the_way_forward() {
        for (space, words) in [
            (json!({ "model.gru.hiden": [1] }), "did you mean `hidden`?"),
            (json!({ "train.epoch": [1] }), "did you mean `train.epochs`?"),
            (json!({ "window.seconds": [10, 20] }), "different windows"),
            (json!({ "split.test_share": [0.1] }), "what is held out"),
            (json!({ "model.gru.hidden": [] }), "empty"),
            (json!({ "model.gru.hidden": 3 }), "list of choices"),
            (json!({ "train.learning_rate": { "log": [0.0, 1.0] } }), "above 0"),
            (json!({ "train.learning_rate": { "uniform": [2.0, 1.0] } }), "the smaller first"),
            (json!({ "model.gru.hidden": { "int": [1.5, 2] } }), "whole numbers"),
            (json!({ "model.gbt.rounds": [10] }), "no setting of `gru`"),
        ] {
            let message = read(&space).unwrap_err().to_string();
            assert!(message.starts_with("tune.space") && message.contains(words), "{space}: {message}");
        }
        let other = read(&json!({ "model.gbt.rounds": [10], "scaler": ["none", "global"] })).unwrap();
        assert_eq!(
            (other.skipped.clone(), other.keys().collect::<Vec<_>>()),
            (vec!["model.gbt.rounds".into()], vec!["scaler"])
        );
    }

    #[test]
    fn a_small_space_runs_out_and_repeats_nothing() {
        let space = read(&json!({ "model.gru.hidden": [16, 32], "scaler": ["none", "global"] })).unwrap();
        let trials = space.draw(&base(), 100, 3);
        assert_eq!(trials.len(), 5, "the configured settings and four combinations");
        assert_eq!(trials, space.draw(&base(), 100, 3));
    }

    #[test]
    fn a_new_key_leaves_the_draws_of_the_others_alone() {
        let rate = json!({ "log": [1e-4, 1e-2] });
        let one = read(&json!({ "train.learning_rate": rate })).unwrap().draw(&base(), 20, 1);
        let two =
            read(&json!({ "train.learning_rate": rate, "model.gru.dropout": { "uniform": [0.0, 0.5] } })).unwrap();
        for (one, two) in one.iter().zip(two.draw(&base(), 20, 1)) {
            assert_eq!(one["train.learning_rate"], two["train.learning_rate"]);
        }
    }

    proptest! {
        #[test]
        fn values_lie_in_their_range(low in -1000i64..1000, width in 1i64..1000, place in 0u32..1 << 24) {
            let u = f64::from(place) / f64::from(1u32 << 24);
            let high = low + width;
            let whole = Domain::Int(low, high).at(u).as_i64().unwrap();
            prop_assert!((low..=high).contains(&whole));
            let real = Domain::Uniform(low as f64, high as f64).at(u).as_f64().unwrap();
            prop_assert!((low as f64..=high as f64).contains(&real));
            let (low, high) = (low.abs() + 1, low.abs() + 1 + width);
            let whole = Domain::LogInt(low, high).at(u).as_i64().unwrap();
            prop_assert!((low..=high).contains(&whole));
            let real = Domain::Log(low as f64, high as f64).at(u).as_f64().unwrap();
            prop_assert!((low as f64..=high as f64).contains(&real));
        }
    }

    #[test]
    fn every_whole_number_is_reached_about_equally_often() {
        let mut seen = [0u32; 5];
        for attempt in 0..5000 {
            let value = Domain::Int(-2, 2).at(place_of(1, attempt, "x")).as_i64().unwrap();
            seen[(value + 2) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (880..1120).contains(n)), "{seen:?}");
    }
}
