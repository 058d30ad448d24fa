//! Every built-in recipe keeps the contract, at its defaults and with every setting that changes sides.

use serde_json::json;
use stakeout_core::{EpisodeRef, SampleIndex, Side, WindowKey};
use stakeout_splits::{Fold, RecipeRegistry};
use stakeout_testkit::check_split;
use stakeout_testkit::data::{IndexShape, small_index};

#[test]
fn every_built_in_recipe_keeps_the_contract() {
    let registry = RecipeRegistry::builtin();
    for entry in registry.entries() {
        for body in [
            json!({}),
            json!({ "duplicates": "drop" }),
            json!({ "validation_share": 0.0 }),
            json!({ "require_profiles": true }),
        ] {
            check_split((entry.configure)(&body).unwrap().as_ref());
        }
    }
}

#[test]
fn settings_of_single_recipes_keep_the_contract() {
    let registry = RecipeRegistry::builtin();
    for (recipe, body) in [
        ("host", json!({ "test_share": 0.5, "validation_share": 0.5 })),
        ("sample", json!({ "test_share": 0.5, "validation_share": 0.5 })),
        ("time", json!({ "purge_windows": 3 })),
        ("time", json!({ "test_from_ns": 300_000_000_000_i64, "validation_from_ns": 120_000_000_000_i64 })),
        ("given", json!({ "shared_samples": "note" })),
        ("leave-one-host-out", json!({ "only": ["host-1"] })),
    ] {
        check_split(registry.configure(recipe, &body).unwrap().as_ref());
    }
}

/// Store order and the order of first appearance play no part either: the same episodes, interned the other way round.
#[test]
fn folds_do_not_depend_on_the_order_of_names() {
    for seed in 0..20 {
        let index = small_index(seed, IndexShape::default());
        let last = |n: usize, at: u32| (n - 1) as u32 - at;
        let reversed = |names: &[String]| names.iter().rev().cloned().collect::<Vec<_>>();
        let mirrored = SampleIndex {
            classes: index.classes.clone(),
            hosts: reversed(&index.hosts),
            samples: reversed(&index.samples),
            profiles: reversed(&index.profiles),
            episodes: index
                .episodes
                .iter()
                .rev()
                .map(|e| EpisodeRef {
                    host: last(index.hosts.len(), e.host),
                    sample: last(index.samples.len(), e.sample),
                    profile: last(index.profiles.len(), e.profile),
                    ..e.clone()
                })
                .collect(),
            windows: index
                .windows
                .iter()
                .map(|w| WindowKey { episode: last(index.episodes.len(), w.episode), ..*w })
                .collect(),
            window_ns: index.window_ns,
        };
        for entry in RecipeRegistry::builtin().entries() {
            // An idle stretch of an episode may hold identical windows; a cut in time can part them.
            let recipe = (entry.configure)(&json!({ "duplicates": "drop" })).unwrap();
            let (a, b) = (recipe.folds(&index, seed).unwrap(), recipe.folds(&mirrored, seed).unwrap());
            assert_eq!(a, b, "{} with seed {seed}", entry.name);
        }
    }
}

#[test]
fn another_seed_draws_another_fold() {
    let index = small_index(1, IndexShape { hosts: 12, episodes: 80, ..IndexShape::default() });
    for recipe in ["host", "sample"] {
        let recipe = RecipeRegistry::builtin().configure(recipe, &json!({})).unwrap();
        let held = |seed| -> Vec<Fold> { recipe.folds(&index, seed).unwrap() };
        let first = held(0)[0].side(Side::Test).to_vec();
        assert!((1..6).any(|seed| held(seed)[0].test() != first), "{}", recipe.name());
    }
}
