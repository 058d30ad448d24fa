use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use stakeout_core::{BaseModel, Checkpoint, CheckpointHeader, ExportContext, ExportFormat, Moments, Scaler};
use stakeout_testkit::data::small_schema;

use super::*;
use crate::gbt::forest::Forest;
use crate::gbt::{Fitted, GbtConfig, objective};
use crate::trees::node::Node;

const MULTI: &str = include_str!("../../../../../datasets/xgboost/multi.json");
const BINARY: &str = include_str!("../../../../../datasets/xgboost/binary.json");
const MULTI_CASES: &str = include_str!("../../../../../datasets/xgboost/multi.cases.json");
const BINARY_CASES: &str = include_str!("../../../../../datasets/xgboost/binary.cases.json");

/// What the library itself said (`datasets/xgboost/make.py`).
#[derive(Deserialize)]
struct Cases {
    names: Vec<String>,
    values: Vec<Vec<Option<f32>>>,
    probabilities: Vec<Vec<f32>>,
}

fn forest(checkpoint: &Checkpoint) -> Forest {
    let geometry = checkpoint.header.schema.geometry();
    Forest::from_bytes(&checkpoint.weights, geometry.features, geometry.classes).unwrap()
}

#[test]
fn a_model_of_the_library_says_what_it_said_there() {
    for (model, cases, classes) in [(MULTI, MULTI_CASES, 3), (BINARY, BINARY_CASES, 2)] {
        let cases: Cases = serde_json::from_str(cases).unwrap();
        let schema = small_schema(classes, 2, 4);
        let checkpoint = XgbModel::read(model.as_bytes()).unwrap().into_checkpoint(&schema).unwrap();
        let columns = schema.feature_names();
        for (values, expected) in cases.values.iter().zip(&cases.probabilities) {
            let row: Vec<f32> = columns
                .iter()
                .map(|column| values[cases.names.iter().position(|name| name == column).unwrap()].unwrap_or(f32::NAN))
                .collect();
            let mut scores = vec![0.0; classes];
            forest(&checkpoint).predict(&row, &mut scores);
            for (score, expected) in scores.iter().zip(expected) {
                assert!((score - expected).abs() < 1e-6, "{scores:?}, {expected:?}");
            }
        }
    }
}

/// A forest as a fit would make it, of `numbers` in turn.
fn grown(features: usize, classes: usize, numbers: &[u32]) -> Forest {
    let mut numbers = numbers.iter().copied().cycle();
    let mut next = || numbers.next().expect("an endless supply");
    let mut base = vec![0.0f32; classes];
    for margin in &mut base[1..] {
        *margin = next() as f32 / 1e9 - 2.0;
    }
    let mut forest = Forest::new(features, base);
    for _ in 0..3 * objective::outputs(classes) {
        let mut nodes = vec![Node::leaf(next() as f32 / 1e9)];
        for at in 0..7 {
            if at < nodes.len() && next() % 4 > 0 {
                let threshold = if next() % 9 == 0 { f32::INFINITY } else { next() as f32 / 1e9 - 2.0 };
                let left = nodes.len();
                nodes[at].split(next() % features as u32, threshold, next() % 2 == 0, left);
                nodes.extend([Node::leaf(next() as f32 / 1e9 - 2.0), Node::leaf(next() as f32 / 1e9 - 2.0)]);
            }
        }
        forest.push(&nodes);
    }
    forest
}

fn header(classes: usize, scaler: Scaler) -> CheckpointHeader {
    let schema = small_schema(classes, 2, 4);
    let imported = XgbModel::read(BINARY.as_bytes()).unwrap().into_checkpoint(&small_schema(2, 2, 4)).unwrap();
    CheckpointHeader { schema_hash: schema.hash(), schema, scaler, ..imported.header }
}

proptest! {
    /// Written and read again, a forest gives the same bits; with a scaler its raw thresholds part raw values as before.
    #[test]
    fn there_and_back_is_the_same_model(
        numbers in prop::collection::vec(any::<u32>(), 150),
        values in prop::collection::vec(prop::option::weighted(0.8, -4_000i32..4_000), 6 * 10),
        classes in 2usize..5,
        scaled in any::<bool>(),
    ) {
        let original = grown(6, classes, &numbers);
        let moments = Moments {
            mean: numbers[..6].iter().map(|n| *n as f32 / 1e9).collect(),
            deviation: numbers[6..12].iter().map(|n| *n as f32 / 1e9 + 0.01).collect(),
        };
        let header = header(classes, if scaled { Scaler::Global(moments.clone()) } else { Scaler::None });
        let bytes = write(&original, &ExportContext::new(&header, None).unwrap()).unwrap();
        let read = XgbModel::read(&bytes).unwrap();
        prop_assert_eq!(read.schema().unwrap(), Some(header.schema.clone()));
        let again = forest(&read.into_checkpoint(&header.schema).unwrap());
        for row in values.chunks_exact(6) {
            let raw: Vec<f32> = row.iter().map(|value| value.map_or(f32::NAN, |v| v as f32 / 1e3)).collect();
            let fed: Vec<f32> = if scaled {
                raw.iter().enumerate().map(|(i, x)| (x - moments.mean[i]) / moments.deviation[i]).collect()
            } else {
                raw.clone()
            };
            let (mut a, mut b) = (vec![0.0; classes], vec![0.0; classes]);
            original.predict(&fed, &mut a);
            again.predict(&raw, &mut b);
            prop_assert_eq!(a, b);
        }
    }
}

#[test]
fn features_are_found_by_name_and_a_difference_reads_well() {
    let refused = |schema: &stakeout_core::Schema| {
        XgbModel::read(MULTI.as_bytes()).unwrap().into_checkpoint(schema).unwrap_err().to_string()
    };
    let message = refused(&small_schema(4, 2, 4));
    assert!(message.contains("the model has 3 classes, the schema 4 (class-0, class-1"), "{message}");
    let message = refused(&small_schema(3, 1, 4));
    assert!(message.contains("feature 0 of the model, guest.channel_1.std, is none of the schema"), "{message}");
    assert!(message.contains("(whose feature 0 is guest.channel_0.mean)"), "{message}");
    // a wider schema has all of them
    let wide = small_schema(3, 5, 4);
    let checkpoint = XgbModel::read(MULTI.as_bytes()).unwrap().into_checkpoint(&wide).unwrap();
    assert_eq!(checkpoint.header.schema, wide);
    assert!(!checkpoint.header.tested && checkpoint.header.recipe == "imported");
}

#[test]
fn a_model_without_names_needs_as_many_features() {
    let mut file: Value = serde_json::from_str(MULTI).unwrap();
    file["learner"]["feature_names"] = json!([]);
    let read = || XgbModel::read(file.to_string().as_bytes()).unwrap();
    assert!(!read().is_named());
    assert!(read().into_checkpoint(&small_schema(3, 2, 4)).is_ok());
    let message = read().into_checkpoint(&small_schema(3, 5, 4)).unwrap_err().to_string();
    assert!(message.contains("6 features without names, the schema 15"), "{message}");
}

#[test]
fn every_lie_is_refused_with_its_place() {
    let tree = "/learner/gradient_booster/model/trees/0";
    let lies: [(&str, String, Value, &str); 20] = [
        ("another booster", "/learner/gradient_booster/name".into(), json!("dart"), "only gbtree"),
        ("another objective", "/learner/objective/name".into(), json!("rank:ndcg"), "only binary:logistic"),
        ("huge class count", "/learner/learner_model_param/num_class".into(), json!("4294967295"), "classes"),
        ("no class count", "/learner/learner_model_param/num_class".into(), json!("three"), "num_class"),
        ("targets", "/learner/learner_model_param/num_target".into(), json!("2"), "several targets"),
        ("features", "/learner/learner_model_param/num_feature".into(), json!("99999999999"), "feature names"),
        ("base", "/learner/learner_model_param/base_score".into(), json!("[1,2]"), "base_score"),
        ("base NaN", "/learner/learner_model_param/base_score".into(), json!("NaN"), "base_score"),
        ("tree_info", "/learner/gradient_booster/model/tree_info".into(), json!([0]), "tree_info"),
        ("output", "/learner/gradient_booster/model/tree_info/0".into(), json!(7), "output 7 of 3"),
        ("uneven", "/learner/gradient_booster/model/tree_info/0".into(), json!(1), "not as many for each class"),
        ("cycle", format!("{tree}/left_children/1"), json!(0), "reached twice"),
        ("itself", format!("{tree}/right_children/0"), json!(0), "reached twice"),
        ("child out of range", format!("{tree}/left_children/0"), json!(1_000_000), "has the child 1000000"),
        ("negative child", format!("{tree}/left_children/0"), json!(-7), "has the child -7"),
        ("half a leaf", format!("{tree}/left_children/0"), json!(-1), "has the child -1"),
        ("feature out of range", format!("{tree}/split_indices/0"), json!(6), "looks at feature 6 of 6"),
        ("threshold", format!("{tree}/split_conditions/0"), json!(1e300), "number out of range"),
        ("categories", format!("{tree}/split_type/0"), json!(1), "categories"),
        ("short list", format!("{tree}/default_left"), json!([]), "`default_left` has 0 entries"),
    ];
    for (what, place, lie, expected) in lies {
        let mut file: Value = serde_json::from_str(MULTI).unwrap();
        *file.pointer_mut(&place).unwrap_or_else(|| panic!("{place}")) = lie;
        let message = XgbModel::read(file.to_string().as_bytes()).err().expect(what).to_string();
        assert!(message.contains(expected), "{what}: {message}");
    }
    let mut file: Value = serde_json::from_str(MULTI).unwrap();
    let leaf =
        file.pointer(&format!("{tree}/left_children")).unwrap().as_array().unwrap().iter().position(|c| *c == -1);
    *file.pointer_mut(&format!("{tree}/split_conditions/{}", leaf.unwrap())).unwrap() = json!(1e6);
    assert!(XgbModel::read(file.to_string().as_bytes()).err().unwrap().to_string().contains("beyond ±100"));
    for text in ["", "{}", "[1]", "{\"learner\": NaN}", &MULTI[..MULTI.len() / 2], &"[".repeat(100_000)] {
        assert!(XgbModel::read(text.as_bytes()).is_err());
    }
}

#[test]
fn a_chain_of_splits_is_cut_off() {
    let chain = |splits: i32| {
        let nodes = 2 * splits + 1;
        let child = |at: i32, right: i32| if at % 2 == 0 && at + 1 < nodes { at + 1 + right } else { -1 };
        let mut file: Value = serde_json::from_str(BINARY).unwrap();
        let zeros = vec![0; nodes as usize];
        file["learner"]["gradient_booster"]["model"]["tree_info"] = json!([0]);
        file["learner"]["gradient_booster"]["model"]["trees"] = json!([{
            "default_left": zeros, "split_indices": zeros, "split_conditions": zeros,
            "left_children": (0..nodes).map(|at| child(at, 0)).collect::<Vec<_>>(),
            "right_children": (0..nodes).map(|at| child(at, 1)).collect::<Vec<_>>(),
            "tree_param": {},
        }]);
        XgbModel::read(file.to_string().as_bytes()).map(|_| ())
    };
    assert!(chain(256).is_ok());
    assert!(chain(257).unwrap_err().to_string().contains("deeper than 256"));
}

#[test]
fn names_are_escaped_and_back() {
    for name in ["guest.cpu_user.mean", "a[0]<1%.mean", "%3C", "%25"] {
        let escaped = escape(name);
        assert!(!escaped.contains(['[', ']', '<']), "{escaped}");
        assert_eq!(unescape(&escaped), name);
    }
}

#[test]
fn an_export_names_what_the_library_asks_for() {
    let header = header(3, Scaler::None);
    let forest = grown(6, 3, &[7, 11, 3_000_000_000, 5, 123_456_789]);
    let model = Fitted::new(GbtConfig::default(), header.schema.geometry(), forest);
    let cx = ExportContext::new(&header, None).unwrap();
    let bytes = model.export(ExportFormat::XgBoost, &cx).unwrap().unwrap();
    assert_eq!(bytes, model.export(ExportFormat::XgBoost, &cx).unwrap().unwrap());
    let file: Value = serde_json::from_slice(&bytes).unwrap();
    let learner = &file["learner"];
    assert_eq!(learner["objective"]["name"], "multi:softprob");
    assert_eq!(learner["learner_model_param"]["num_class"], "3");
    assert_eq!(learner["feature_names"][0], "guest.channel_0.mean");
    assert_eq!(learner["gradient_booster"]["model"]["iteration_indptr"], json!([0, 3, 6, 9]));
    assert!(model.export(ExportFormat::Safetensors, &cx).unwrap().is_none());
}
