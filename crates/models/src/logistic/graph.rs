//! The regression as nodes of an exported graph, in double precision as here.

use stakeout_core::{ExportContext, ModelError};

use super::Fitted;
use super::standard::LIMIT;
use crate::interchange::graph::Graph;
use crate::interchange::onnx;
use crate::interchange::proto::{Attribute, DOUBLE, FLOAT};

pub(super) fn build(model: &Fitted, cx: &ExportContext<'_>) -> Result<Vec<u8>, ModelError> {
    let (standard, classes) = (&model.standard, model.geometry.classes);
    let (width, inputs) = (standard.width(), standard.means.len());
    let mut graph = Graph::default();
    let raw = onnx::raw(&mut graph, cx);
    let present = graph.finite(&raw.scaled);
    let double = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    let mean = graph.doubles(&[1, inputs], &double(&standard.means));
    let scale = graph.doubles(&[1, inputs], &double(&standard.scales));
    let values = graph.cast(&raw.scaled, DOUBLE);
    let centred = graph.sub(&values, &mean);
    let scaled = graph.mul(&centred, &scale);
    let (low, high) = (graph.doubles(&[], &[-LIMIT]), graph.doubles(&[], &[LIMIT]));
    let scaled = graph.op("Clip", &[&scaled, &low, &high], Vec::new());
    // rows hold single precision
    let scaled = graph.cast(&scaled, FLOAT);
    let zero = graph.scalar(0.0);
    let filled = graph.choose(&present, &scaled, &zero);
    let mut row = graph.cast(&filled, DOUBLE);
    if !standard.indicators.is_empty() {
        let missing = graph.op("Not", &[&present], Vec::new());
        let missing = graph.cast(&missing, DOUBLE);
        let columns: Vec<i64> = standard.indicators.iter().map(|column| i64::from(*column)).collect();
        let columns = graph.ints(&columns);
        let indicators = graph.op("Gather", &[&missing, &columns], vec![Attribute::int("axis", 1)]);
        row = graph.concat(&[&row, &indicators], 1);
    }
    let (coefficients, intercepts) = model.coefficients();
    let coefficients = graph.doubles(&[classes, width], coefficients);
    let coefficients = graph.transpose(&coefficients, &[1, 0]);
    let margins = graph.matmul(&row, &coefficients);
    let intercepts = graph.doubles(&[1, classes], intercepts);
    let margins = graph.add(&margins, &intercepts);
    let probabilities = graph.softmax(&margins);
    let probabilities = graph.cast(&probabilities, FLOAT);
    onnx::from_probabilities(graph, &probabilities, cx)
}
