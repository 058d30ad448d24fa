//! Files of other programs: ONNX graphs and safetensors. (`XGBoost`'s own format stands with the trees,
//! [`gbt::xgboost`](crate::gbt::xgboost).)
//!
//! A model says how it is written where it stands (a net beside its forward pass, the boosted trees beside theirs);
//! what they share is here. Nothing below this folder knows a particular net.
//!
//! Invariants: an export takes raw windows, gaps as NaN, and what a model does to them before its first layer is part
//! of the graph; the same model gives the same bytes.
//!
//! In reading order: `proto` (the messages of an ONNX file), `graph` (a builder over them), `onnx` (the inputs and the
//! output that every graph has), `trees` (decision trees as one node), `safetensors`.

pub(crate) mod graph;
pub(crate) mod onnx;
pub(crate) mod proto;
pub(crate) mod safetensors;
pub(crate) mod trees;

use serde_json::json;
use stakeout_core::{ExportContext, InputKind};

/// What an exported file says about itself, in order: names begin with `stakeout.`, lists and objects are JSON.
pub(crate) fn facts(cx: &ExportContext<'_>) -> Vec<(String, String)> {
    let header = cx.header;
    let inputs = match header.input {
        InputKind::Summary => header.schema.feature_names(),
        InputKind::Tensor => header.schema.channels.iter().map(|channel| channel.name.clone()).collect(),
    };
    let facts = [
        ("kind", header.kind.to_string()),
        ("config", header.config.to_string()),
        ("input", header.input.to_string()),
        ("inputs", json!(inputs).to_string()),
        ("classes", json!(header.schema.classes.names()).to_string()),
        ("schema", json!(header.schema).to_string()),
        ("schema_hash", header.schema_hash.to_string()),
        ("scaler", header.scaler.name().to_owned()),
        ("recipe", header.recipe.clone()),
        ("held_out", json!(header.held_out).to_string()),
        ("tested", header.tested.to_string()),
        ("seed", header.seed.to_string()),
        ("simulated", header.simulated.to_string()),
        ("code_version", header.code_version.clone()),
    ];
    let host = cx.host.map(|host| ("host", host.to_owned()));
    let calibration = header.calibration.as_ref().map(|map| ("calibration", json!(map).to_string()));
    facts.into_iter().chain(host).chain(calibration).map(|(name, value)| (format!("stakeout.{name}"), value)).collect()
}

#[cfg(test)]
mod tests;
