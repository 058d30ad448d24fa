//! Names and values that only the registries can judge: kinds of model and their settings, recipes and theirs. A typo in
//! a section that this run does not use is still a typo.

use serde_json::{Map, Value};
use stakeout_core::{ModelEntry, ModelError, ModelRegistry};
use stakeout_splits::{RecipeRegistry, SplitError};

use super::nearest::{nearest, unknown_field, with_nearest};
use super::{Experiment, Places};
use crate::TrainError;

impl Experiment {
    /// As [`Experiment::check`], and the recipe, `[split]`, every `[model.<kind>]` and `[train]` against what a program
    /// knows.
    ///
    /// # Errors
    /// [`TrainError::Config`] with the place, the setting, and the nearest one that there is.
    pub fn check_names(
        &self,
        models: &ModelRegistry,
        recipes: &RecipeRegistry,
        places: &Places,
    ) -> Result<(), TrainError> {
        self.check().map_err(|error| places.locate(error))?;
        self.check_recipe(recipes, places)?;
        for (kind, section) in &self.model {
            let at = ["model", kind.as_str()];
            let Some(entry) = models.entries().iter().find(|entry| entry.kind.as_str() == kind) else {
                return Err(placed(places, &at, &unknown_model(kind, models)));
            };
            if !section.is_object() {
                return Err(placed(places, &at, &format!("model.{kind}: it is a section, not a value")));
            }
            (entry.configure)(&self.model_config(entry)?).map_err(|error| of_model(error, places))?;
        }
        for kind in self.grid.iter().flat_map(|grid| &grid.models) {
            if models.get(kind).is_err() {
                return Err(placed(places, &["grid", "models"], &unknown_model(kind, models)));
            }
        }
        self.check_train(models, places)
    }

    /// Refuses what the command line sets for models that are not trained: it would change nothing. A file may hold
    /// sections of other models.
    ///
    /// # Errors
    /// [`TrainError::Config`] with the words of the command line.
    pub fn check_used(&self, trained: &[&ModelEntry], places: &Places) -> Result<(), TrainError> {
        let kinds: Vec<&str> = trained.iter().map(|entry| entry.kind.as_str()).collect();
        for (key, words) in places.words() {
            let used = match key.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["model", kind, ..] => kinds.contains(&kind),
                ["train", ..] => {
                    let mut with_training = false;
                    for entry in trained {
                        with_training |= self.model_config(entry)?.get("train").is_some();
                    }
                    with_training
                }
                _ => true,
            };
            if !used {
                let kinds = kinds.join(", ");
                return Err(TrainError::config(
                    words,
                    format!("it changes nothing, for only {kinds} is trained: leave it out"),
                ));
            }
        }
        Ok(())
    }

    fn check_recipe(&self, recipes: &RecipeRegistry, places: &Places) -> Result<(), TrainError> {
        if let Err(error) = recipes.get(&self.recipe) {
            let nearest = nearest(&self.recipe, recipes.entries().iter().map(|entry| entry.name));
            let nearest = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
            return Err(placed(places, &["recipe"], &format!("{error}{nearest}")));
        }
        let Err(error) = recipes.configure(&self.recipe, &self.split.clone().into()) else { return Ok(()) };
        let SplitError::Config { recipe, why } = error else { return Err(error.into()) };
        let mut at = vec!["split".to_owned()];
        at.extend(self.split_culprit(recipes, &why));
        if let Some(field) = unknown_field(&why).filter(|field| at.last().is_none_or(|last| last != field)) {
            at.push(field.to_owned()); // of a table inside the section
        }
        Err(placed(places, &at, &format!("[split] of recipe `{recipe}`: {}", with_nearest(&why, &[]))))
    }

    /// The key of `[split]` that alone leads to the same error; a recipe's errors are sentences, not keys.
    fn split_culprit(&self, recipes: &RecipeRegistry, why: &str) -> Option<String> {
        let alone = |key: &String, value: &Value| {
            let body = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            matches!(recipes.configure(&self.recipe, &body), Err(SplitError::Config { why: own, .. }) if own == why)
        };
        self.split.iter().find(|(key, value)| alone(key, value)).map(|(key, _)| key.clone())
    }

    /// `[train]` holds settings of every model that is trained in epochs.
    fn check_train(&self, models: &ModelRegistry, places: &Places) -> Result<(), TrainError> {
        if self.train.is_empty() {
            return Ok(());
        }
        let mut trained = false;
        for entry in models.entries() {
            let config = self.model_config(entry)?;
            if config.get("train").is_some() {
                (entry.configure)(&config).map_err(|error| of_model(error, places))?;
                trained = true;
            }
        }
        if trained {
            return Ok(());
        }
        Err(placed(places, &["train"], "[train]: no model of this program has training settings"))
    }
}

/// What is wrong with a kind that no model has.
pub fn unknown_model(kind: &str, models: &ModelRegistry) -> String {
    let known: Vec<&str> = models.entries().iter().map(|entry| entry.kind.as_str()).collect();
    let nearest = nearest(kind, known.iter().copied()).map(|nearest| format!("; did you mean `{nearest}`?"));
    let kind: String = kind.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("there is no model `{kind}`: this program knows {}{}", known.join(", "), nearest.unwrap_or_default())
}

/// Finds the place of a model's setting: in its own section, or in `[train]`, which nets read too.
fn of_model(error: ModelError, places: &Places) -> TrainError {
    let ModelError::Config { kind, key, why } = error else { return error.into() };
    let parts = |section: &[&str], key: &str| -> Vec<String> {
        section.iter().copied().chain(key.split('.')).map(str::to_owned).collect()
    };
    let own = parts(&["model", &kind], &key);
    let shared = key.strip_prefix("train.").map(|rest| (parts(&["train"], rest), rest));
    match shared {
        Some((at, rest)) if !places.has(&own) && places.has(&at) => {
            placed(places, &at, &format!("[train] {rest}: {why}"))
        }
        _ => placed(places, &own, &format!("[model.{kind}] {key}: {why}")),
    }
}

fn placed<S: AsRef<str>>(places: &Places, at: &[S], why: &str) -> TrainError {
    TrainError::config(places.of(at).unwrap_or_else(|| "configuration".into()), why)
}
