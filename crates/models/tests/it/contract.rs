//! Every model keeps the contract of its traits.

use serde_json::{Value, json};
use stakeout_models::builtin;
use stakeout_testkit::estimator::{check_estimator, check_zero_weight_is_absence};

fn check(kind: &str, config: &Value) {
    check_estimator(builtin().get(kind).unwrap(), config);
}

#[test]
fn constant() {
    check("constant", &json!({}));
}

#[test]
fn gbt() {
    check("gbt", &json!({ "rounds": 40, "early_stopping_rounds": 10 }));
}

#[test]
fn gbt_without_early_stopping_on_coarse_bins() {
    check("gbt", &json!({ "rounds": 25, "early_stopping_rounds": 0, "max_bins": 8, "subsample": 0.5 }));
}

#[test]
fn gbt_takes_weight_zero_for_absence() {
    check_zero_weight_is_absence(builtin().get("gbt").unwrap(), &json!({ "rounds": 20, "early_stopping_rounds": 5 }));
}

#[test]
fn logistic() {
    check("logistic", &json!({ "max_steps": 60 }));
    check_zero_weight_is_absence(builtin().get("logistic").unwrap(), &json!({ "max_steps": 40 }));
}

#[test]
fn tree() {
    check("tree", &json!({ "max_depth": 4 }));
    check("tree", &json!({ "max_bins": 16, "min_leaf_rows": 1, "smoothing": 0.5 }));
    check_zero_weight_is_absence(builtin().get("tree").unwrap(), &json!({}));
}

#[test]
fn forest() {
    check("forest", &json!({ "trees": 40 }));
    check_zero_weight_is_absence(builtin().get("forest").unwrap(), &json!({ "trees": 8 }));
}

#[test]
fn forest_on_time_steps() {
    check("forest", &json!({ "trees": 34, "input": "tensor", "min_leaf_rows": 2, "rows_per_tree": 100 }));
}

#[test]
fn extra_trees() {
    check("extra-trees", &json!({ "trees": 40, "inputs_per_split": 0.5 }));
    check_zero_weight_is_absence(builtin().get("extra-trees").unwrap(), &json!({ "trees": 8 }));
}

#[test]
fn extra_trees_on_time_steps() {
    check("extra-trees", &json!({ "trees": 34, "input": "tensor", "max_bins": 20, "rows_per_tree": 100 }));
}

#[test]
fn knn() {
    check("knn", &json!({}));
    check("knn", &json!({ "neighbours": 4, "input": "tensor", "max_rows": 120 }));
    for config in [json!({}), json!({ "neighbours": 5 })] {
        check_zero_weight_is_absence(builtin().get("knn").unwrap(), &config);
    }
}

#[test]
fn defaults_are_what_their_commented_text_says() {
    for entry in builtin().entries() {
        let text: Value = toml::from_str(entry.defaults).unwrap_or_else(|e| panic!("{}: {e}", entry.kind));
        let from_text = (entry.configure)(&text).unwrap().config();
        let from_nothing = (entry.configure)(&json!({})).unwrap().config();
        assert_eq!(from_text, from_nothing, "{}", entry.kind);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&text), keys(&from_nothing), "{}: every setting stands in the text", entry.kind);
    }
}

#[test]
fn minirocket() {
    check("minirocket", &json!({ "features": 168 }));
}

#[test]
fn minirocket_with_fewer_features_than_windows_one_dilation_and_one_penalty() {
    check("minirocket", &json!({ "features": 84, "max_dilations": 1, "alphas": [10.0] }));
}

#[test]
fn minirocket_takes_weight_zero_for_absence() {
    for features in [84, 336] {
        check_zero_weight_is_absence(builtin().get("minirocket").unwrap(), &json!({ "features": features }));
    }
}

/// A net with a short training.
fn check_net(kind: &str, own: &Value) {
    let registry = builtin();
    let entry = registry.get(kind).unwrap();
    let mut config = (entry.configure)(own).unwrap().config();
    let short = json!({ "epochs": 6, "batch_size": 50, "batch_share": 1.0, "learning_rate": 0.02 });
    for (key, value) in short.as_object().unwrap() {
        config["train"][key] = value.clone();
    }
    check_estimator(entry, &config);
}

#[test]
fn mlp() {
    check_net("mlp", &json!({ "hidden": 16 }));
}

#[test]
fn cnn() {
    check_net("cnn", &json!({ "filters": [8, 12], "kernels": [5, 3] }));
}

#[test]
fn gru() {
    check_net("gru", &json!({ "hidden": 12 }));
}

#[test]
fn gru_that_stops_early() {
    check_net("gru", &json!({ "hidden": 12, "bidirectional": true, "train": { "patience": 3 } }));
}

#[test]
fn lstm() {
    check_net("lstm", &json!({ "hidden": 12 }));
}

#[test]
fn transformer() {
    check_net("transformer", &json!({ "width": 16, "heads": 2, "layers": 1, "feed_forward": 16 }));
}

#[test]
fn a_net_that_augments() {
    let train = json!({ "jitter": 0.1, "scaling": 0.1, "channel_dropout": 0.05, "shift": 0.1 });
    check_net("cnn", &json!({ "filters": [8], "kernels": [3], "train": train }));
    check_net("mlp", &json!({ "hidden": 16, "train": train }));
}
