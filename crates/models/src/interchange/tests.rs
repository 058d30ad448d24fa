//! What is inside exported files, by this crate's own reading of them; `cargo xtask verify-exports` runs them elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use safetensors::SafeTensors;
use serde_json::json;
use stakeout_core::calibration::Curve;
use stakeout_core::{
    BaseModel, Calibration, CheckpointHeader, Device, ExportContext, ExportFormat, FitContext, InputKind, Labelled,
    ModelError, Moments, Scaler, Silent, Windows,
};
use stakeout_testkit::data::small_windows;

use super::proto::{FLOAT, INT64, Model, ValueInfo};

/// A model of a kind, fitted in a moment, and the header of its checkpoint.
fn fitted(kind: &str) -> (CheckpointHeader, Box<dyn BaseModel>) {
    let registry = crate::builtin();
    let entry = registry.get(kind).unwrap();
    let mut config = (entry.configure)(&json!({})).unwrap().config();
    let quick = [("hidden", 6), ("layers", 2), ("rounds", 4), ("trees", 4), ("width", 8), ("feed_forward", 8)];
    for (key, value) in quick {
        if config[key].is_u64() {
            config[key] = json!(value);
        }
    }
    if config["train"]["epochs"].is_u64() {
        config["train"]["epochs"] = json!(2);
    }
    let estimator = (entry.configure)(&config).unwrap();
    let data = small_windows(3, 60, 3, 2, 5);
    let weights = vec![1.0; data.labels.len()];
    let train = Labelled { windows: &data.windows, labels: &data.labels, weights: &weights };
    let mut silent = Silent;
    let validation = estimator.needs_validation().then_some(train);
    let mut cx = FitContext { validation, seed: 1, device: Device::Flex, observer: &mut silent };
    let model = estimator.fit(train, &mut cx).unwrap();
    let schema = data.windows.schema().clone();
    let inputs = match model.input() {
        InputKind::Summary => schema.geometry().features,
        InputKind::Tensor => schema.geometry().channels,
    };
    let moments = Moments { mean: vec![0.25; inputs], deviation: vec![2.0; inputs] };
    let header = CheckpointHeader {
        kind: model.kind(),
        config: model.config(),
        input: model.input(),
        schema_hash: schema.hash(),
        schema,
        scaler: Scaler::Global(moments),
        calibration: None,
        recipe: "host".into(),
        held_out: Vec::new(),
        tested: false,
        seed: 1,
        simulated: true,
        code_version: "0.1.0".into(),
    };
    (header, model)
}

fn export(kind: &str, format: ExportFormat) -> (CheckpointHeader, Option<Vec<u8>>) {
    let (header, model) = fitted(kind);
    let cx = ExportContext::new(&header, None).unwrap();
    let bytes = model.export(format, &cx).unwrap();
    assert_eq!(bytes, model.export(format, &cx).unwrap(), "{kind}: the same model, other bytes");
    (header, bytes)
}

/// Name, element type and sizes (0: chosen by the caller) of an input or output.
fn described(value: &ValueInfo) -> (String, i32, Vec<i64>) {
    let tensor = value.r#type.clone().unwrap().tensor_type.unwrap();
    let sizes = tensor.shape.unwrap().dim.iter().map(|dim| dim.dim_value.unwrap_or(0)).collect();
    (value.name.clone(), tensor.elem_type.unwrap(), sizes)
}

#[test]
fn a_graph_takes_raw_windows_and_gives_probabilities_and_every_value_is_made_before_it_is_used() {
    let mut without = Vec::new();
    for entry in crate::builtin().entries() {
        let kind = entry.kind.as_str();
        let (header, bytes) = export(kind, ExportFormat::Onnx);
        let Some(bytes) = bytes else {
            without.push(kind.to_owned());
            continue;
        };
        let model = Model::decode(bytes.as_slice()).unwrap();
        assert_eq!(model.ir_version, Some(8));
        let sets: BTreeMap<&str, i64> =
            model.opset_import.iter().map(|set| (set.domain.as_str(), set.version.unwrap())).collect();
        assert_eq!(sets.get(""), Some(&17));
        let graph = model.graph.unwrap();
        let geometry = header.schema.geometry();
        let (channels, steps, features) = (geometry.channels as i64, geometry.steps as i64, geometry.features as i64);
        let inputs: Vec<_> = graph.input.iter().map(described).collect();
        let expected = match header.input {
            InputKind::Summary => vec![("values".into(), FLOAT, vec![0, features])],
            InputKind::Tensor => {
                vec![("values".into(), FLOAT, vec![0, channels, steps]), ("lengths".into(), INT64, vec![0])]
            }
        };
        assert_eq!(inputs, expected);
        let outputs: Vec<_> = graph.output.iter().map(described).collect();
        assert_eq!(outputs, [("probabilities".to_owned(), FLOAT, vec![0, geometry.classes as i64])]);

        let mut known: BTreeSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        for constant in &graph.initializer {
            let size = if constant.data_type == Some(FLOAT) { 4 } else { 8 }; // whole numbers and doubles
            let bytes = constant.raw_data.as_ref().unwrap().len() as i64;
            assert_eq!(constant.dims.iter().product::<i64>() * size, bytes, "{}", constant.name);
            assert!(known.insert(&constant.name), "{} is made twice", constant.name);
        }
        for node in &graph.node {
            assert!(sets.contains_key(node.domain.as_str()), "{}", node.domain);
            for input in node.input.iter().filter(|input| !input.is_empty()) {
                assert!(known.contains(input.as_str()), "{} uses {input} before it is made", node.name);
            }
            for output in &node.output {
                assert!(known.insert(output), "{output} is made twice");
            }
        }
        assert!(graph.output.iter().all(|output| known.contains(output.name.as_str())));

        let facts: BTreeMap<String, String> =
            model.metadata_props.into_iter().map(|pair| (pair.key, pair.value)).collect();
        assert_eq!(facts["stakeout.kind"], kind);
        assert_eq!(facts["stakeout.schema_hash"], header.schema_hash.as_str());
        let classes: Vec<String> = serde_json::from_str(&facts["stakeout.classes"]).unwrap();
        assert_eq!(classes, header.schema.classes.names());
        assert_eq!(facts["stakeout.simulated"], "true");
    }
    assert_eq!(without, ["constant", "knn", "minirocket"], "docs/interchange.md lists which models have a graph");
}

#[test]
fn the_scaler_is_inside_the_graph() {
    let (header, bytes) = export("gru", ExportFormat::Onnx);
    let Scaler::Global(moments) = &header.scaler else { panic!("the model is scaled") };
    let graph = Model::decode(bytes.unwrap().as_slice()).unwrap().graph.unwrap();
    let channels = header.schema.geometry().channels as i64;
    for (operator, expected) in [("Sub", &moments.mean), ("Div", &moments.deviation)] {
        let node = graph.node.iter().find(|node| node.op_type == operator).unwrap();
        let constant = graph.initializer.iter().find(|constant| constant.name == node.input[1]).unwrap();
        assert_eq!(constant.dims, [1, channels, 1]);
        let bytes: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(constant.raw_data.as_ref(), Some(&bytes), "{operator}");
    }
}

#[test]
fn a_calibration_map_ends_the_graph_or_is_refused() {
    let (mut header, model) = fitted("gbt");
    let operators = |header: &CheckpointHeader| -> Result<Vec<String>, ModelError> {
        let bytes = model.export(ExportFormat::Onnx, &ExportContext::new(header, None).unwrap())?.unwrap();
        let graph = Model::decode(bytes.as_slice()).unwrap().graph.unwrap();
        Ok(graph.node.into_iter().map(|node| node.op_type).collect())
    };
    let plain = operators(&header).unwrap();
    header.calibration = Some(Calibration::Temperature { t: 1.5 });
    let mapped = operators(&header).unwrap();
    let added = ["Max", "Cast", "Log", "Div", "Softmax", "Cast"];
    assert_eq!(mapped, [&plain[..plain.len() - 1], &added.map(String::from), &plain[plain.len() - 1..]].concat());
    let refused = model.export(ExportFormat::XgBoost, &ExportContext::new(&header, None).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("a temperature map, for which the file has no place"), "{refused}");
    header.calibration = Some(Calibration::Isotonic { maps: vec![Curve { x: vec![0.0, 1.0], y: vec![0.0, 1.0] }; 3] });
    let refused = operators(&header).unwrap_err().to_string();
    assert!(refused.contains("isotonic") && refused.contains("temperature"), "{refused}");
}

#[test]
fn weights_come_by_name_as_the_format_s_own_library_reads_them() {
    let (header, bytes) = export("gru", ExportFormat::Safetensors);
    let bytes = bytes.unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let own = ["gru.0.b_hh", "gru.0.b_ih", "gru.0.w_hh", "gru.0.w_ih", "gru.1.b_hh", "gru.1.b_ih", "gru.1.w_hh"];
    let rest = ["gru.1.w_ih", "head.b", "head.w", "scaler.deviation", "scaler.mean"];
    assert_eq!(names, [&own[..], &rest].concat());
    let head = file.tensor("head.b").unwrap();
    assert_eq!(head.shape(), [header.schema.classes.len()]);
    // the stored weights end with the last of the list
    let (_, model) = fitted("gru");
    let stored = model.weights().unwrap();
    assert_eq!(head.data(), &stored[stored.len() - head.data().len()..]);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let facts = metadata.metadata().as_ref().unwrap();
    assert_eq!(facts["stakeout.kind"], "gru");
    assert_eq!(facts["stakeout.config"], header.config.to_string());
    assert_eq!(facts["stakeout.schema_hash"], header.schema_hash.as_str());
}

#[test]
fn a_form_that_a_model_lacks_is_none() {
    let lacks = [
        ("constant", ExportFormat::Onnx),
        ("constant", ExportFormat::Safetensors),
        ("gbt", ExportFormat::Safetensors),
        ("gru", ExportFormat::XgBoost),
    ];
    for (kind, format) in lacks {
        assert!(export(kind, format).1.is_none(), "{kind} as {format}");
    }
}
