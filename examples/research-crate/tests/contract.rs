//! Our model and our recipe keep the contract that every command relies on.

use serde_json::json;
use stakeout_testkit::estimator::check_zero_weight_is_absence;
use stakeout_testkit::{check_estimator, check_split};

#[test]
fn the_model_keeps_its_contract() {
    let models = acme_research::models().unwrap();
    let entry = models.get("acme/nearest-centroid").unwrap();
    check_estimator(entry, &json!({ "sharpness": 3.0 }));
    check_zero_weight_is_absence(entry, &json!({}));
}

#[test]
fn the_recipe_keeps_its_contract() {
    let recipes = acme_research::recipes().unwrap();
    for settings in [json!({}), json!({ "keep": ["profile-0"] })] {
        check_split(recipes.configure("acme/leave-one-profile-out", &settings).unwrap().as_ref());
    }
    let error = recipes.configure("acme/leave-one-profile-out", &json!({ "kep": [] })).err().unwrap();
    assert!(error.to_string().contains("unknown field `kep`"), "{error}");
}

#[test]
fn commented_defaults_are_the_defaults() {
    let models = acme_research::models().unwrap();
    let entry = models.get("acme/nearest-centroid").unwrap();
    let text: serde_json::Value = toml::from_str(entry.defaults).unwrap();
    assert_eq!((entry.configure)(&text).unwrap().config(), (entry.configure)(&json!({})).unwrap().config());
}
