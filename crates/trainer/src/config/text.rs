//! The commented default configuration.

use std::fmt::Write;

use stakeout_core::ModelEntry;
use stakeout_splits::RecipeEntry;

/// What does not depend on models and recipe; its values are the defaults.
const COMMON: &str = include_str!("default.toml");

/// The commented default configuration of some models and one recipe, as TOML that
/// [`Experiment::read`](super::Experiment::read) takes. One model shares its training settings with `[train]`; several
/// keep each their own and are listed in `[grid]`.
pub fn commented_default(models: &[&ModelEntry], recipe: &RecipeEntry) -> String {
    let mut out = COMMON.replacen("recipe = \"host\"", &format!("recipe = \"{}\"", recipe.name), 1);
    if models.len() > 1 {
        let kinds: Vec<String> = models.iter().map(|entry| format!("\"{}\"", entry.kind)).collect();
        let _ = write!(
            out,
            "\n# What is trained crosswise; an empty list stands for the one view and the one scaler above.\n\
             [grid]\n\
             models = [{}]\n\
             views = [\"realistic\", \"oracle\"]\n\
             scalers = []\n",
            kinds.join(", ")
        ); // a String cannot refuse
    }
    let _ = write!(out, "\n[split]\n{}\n", recipe.defaults.trim());
    for entry in models {
        section(&mut out, entry, models.len() == 1);
    }
    out
}

/// One model's defaults below `[model."<kind>"]`, tables inside them as sections of their own; its `[train]` alone
/// stays `[train]`, which all nets read.
fn section(out: &mut String, entry: &ModelEntry, alone: bool) {
    let _ = write!(out, "\n[model.\"{}\"]\n", entry.kind);
    for line in entry.defaults.trim().lines() {
        match line.strip_prefix('[') {
            Some(name) if !(alone && (name.starts_with("train]") || name.starts_with("train."))) => {
                let _ = write!(out, "[model.\"{}\".{name}", entry.kind);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stakeout_core::{ModelError, ModelKind};
    use stakeout_splits::RecipeRegistry;

    use super::super::Experiment;
    use super::*;

    fn entry(kind: &str, defaults: &'static str) -> ModelEntry {
        ModelEntry {
            kind: ModelKind::new(kind).unwrap(),
            about: "",
            defaults,
            configure: |_| Err(ModelError::Data("never asked".into())),
            load: |_| Err(ModelError::Data("never asked".into())),
        }
    }

    fn read(text: &str) -> Experiment {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, text).unwrap();
        Experiment::read(Some(&file), &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn the_commented_values_are_the_defaults() {
        assert_eq!(read(COMMON), Experiment::default());
    }

    #[test]
    fn every_model_reads_back_as_its_own_defaults() {
        let gru = entry("gru", "hidden = 64 # units\n\n[train]\nepochs = 40\n\n[train.augment]\njitter = 0.0\n");
        let other = entry("acme/net", "depth = 2\n[stem]\nwidth = 3\n[train]\nepochs = 7\n");
        let recipes = RecipeRegistry::builtin();
        let time = recipes.get("time").unwrap();
        let alone = read(&commented_default(&[&gru], time));
        assert_eq!((alone.recipe.as_str(), alone.grid.clone()), ("time", None));
        assert_eq!(alone.train, *json!({ "epochs": 40, "augment": { "jitter": 0.0 } }).as_object().unwrap());
        assert_eq!(alone.model["gru"], json!({ "hidden": 64 }));
        let both = read(&commented_default(&[&gru, &other], time));
        assert_eq!(both.grid.as_ref().unwrap().models, ["gru", "acme/net"]);
        assert!(both.train.is_empty());
        for entry in [&gru, &other] {
            let plain = Experiment::default().model_config(entry).unwrap();
            assert_eq!(both.model_config(entry).unwrap(), plain, "{}", entry.kind);
        }
        assert_eq!(both.model["acme/net"]["train"]["epochs"], 7);
        recipes.configure("time", &both.split.clone().into()).unwrap();
    }
}
