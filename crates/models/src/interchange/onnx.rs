//! What every exported graph has: raw windows as its input, scaled inside, and class probabilities as its output.

use stakeout_core::{Calibration, ExportContext, ExportFormat, InputKind, ModelError, calibration};

use super::facts;
use super::graph::{Graph, Size, Value};
use super::proto::{DOUBLE, FLOAT, INT64};

/// Raw windows: `[windows, channels, steps]` or `[windows, features]`, NaN where nothing was observed.
pub(crate) const VALUES: &str = "values";
/// Own steps of each window, `[windows]`; graphs of summaries have no such input.
pub(crate) const LENGTHS: &str = "lengths";
/// Class probabilities: `[windows, classes]`.
pub(crate) const PROBABILITIES: &str = "probabilities";

const ABOUT: &str = "Input `values`: raw windows, NaN where nothing was observed; filling, scaling and masking are part \
of the graph. Input `lengths` (graphs over time steps): how many leading steps of each window are its own; the others are \
padding. Output `probabilities`: one column a class, in the order of the metadata `stakeout.classes`; `stakeout.inputs` \
names the rows of the input.";

/// Raw windows as a graph takes them.
pub(crate) struct Raw {
    /// Scaled values, gaps still NaN: `[windows, channels, steps]` or `[windows, features]`.
    pub(crate) scaled: Value,
    /// `[windows]`, of a tensor.
    pub(crate) lengths: Option<Value>,
}

impl Raw {
    /// Scaled values as one row a window, whatever the input; what padding holds becomes NaN.
    pub(crate) fn rows(&self, graph: &mut Graph, cx: &ExportContext<'_>) -> Value {
        let Some(lengths) = &self.lengths else { return self.scaled.clone() };
        let geometry = cx.header.schema.geometry();
        let times: Vec<i64> = (0..geometry.steps as i64).collect();
        let (times, lengths) = (graph.ints(&times), graph.reshape(lengths, &[-1, 1, 1]));
        let own = graph.op("Less", &[&times, &lengths], Vec::new());
        let gap = graph.scalar(f32::NAN);
        let values = graph.choose(&own, &self.scaled, &gap);
        graph.reshape(&values, &[-1, (geometry.channels * geometry.steps) as i64])
    }
}

/// The graph's inputs, scaled as the program scales them: the same two operations in single precision.
pub(crate) fn raw(graph: &mut Graph, cx: &ExportContext<'_>) -> Raw {
    let geometry = cx.header.schema.geometry();
    let (shape, moments, lengths) = match cx.header.input {
        InputKind::Summary => (vec![Size::Batch, Size::Fixed(geometry.features)], vec![1, geometry.features], None),
        InputKind::Tensor => (
            vec![Size::Batch, Size::Fixed(geometry.channels), Size::Fixed(geometry.steps)],
            vec![1, geometry.channels, 1],
            Some(()),
        ),
    };
    let values = graph.input(VALUES, FLOAT, &shape);
    let lengths = lengths.map(|()| graph.input(LENGTHS, INT64, &[Size::Batch]));
    let scaled = match cx.moments {
        None => values,
        Some(of) => {
            let (mean, deviation) = (graph.floats(&moments, &of.mean), graph.floats(&moments, &of.deviation));
            let centred = graph.sub(&values, &mean);
            graph.div(&centred, &deviation)
        }
    };
    Raw { scaled, lengths }
}

/// Ends a graph whose last value is unnormalised log probabilities, `[windows, classes]`.
pub(crate) fn from_logits(mut graph: Graph, logits: &Value, cx: &ExportContext<'_>) -> Result<Vec<u8>, ModelError> {
    let probabilities = graph.softmax(logits);
    from_probabilities(graph, &probabilities, cx)
}

/// Ends a graph whose last value is the model's own class probabilities, `[windows, classes]`: they go through the
/// calibration map of the checkpoint.
pub(crate) fn from_probabilities(
    mut graph: Graph,
    probabilities: &Value,
    cx: &ExportContext<'_>,
) -> Result<Vec<u8>, ModelError> {
    let classes = cx.header.schema.geometry().classes;
    let mapped = match &cx.header.calibration {
        Some(map) => calibrated(&mut graph, probabilities, map)?,
        None => probabilities.clone(),
    };
    graph.output(PROBABILITIES, &mapped, FLOAT, &[Size::Batch, Size::Fixed(classes)]);
    let bytes = graph.into_bytes(cx.header.kind.as_str(), ABOUT, facts(cx));
    if bytes.len() > LARGEST {
        let why = format!("the graph takes {} bytes, a file of this format holds at most 2 GiB", bytes.len());
        return Err(ModelError::Interchange { format: ExportFormat::Onnx, why });
    }
    Ok(bytes)
}

/// What [`Calibration::apply`] does, in double precision as there.
fn calibrated(graph: &mut Graph, probabilities: &Value, map: &Calibration) -> Result<Value, ModelError> {
    let least = graph.scalar(calibration::LEAST);
    let floored = graph.op("Max", &[probabilities, &least], Vec::new());
    let floored = graph.cast(&floored, DOUBLE);
    let logs = graph.op("Log", &[&floored], Vec::new());
    let scores = match map {
        Calibration::Temperature { t } => {
            let t = graph.doubles(&[], &[*t]);
            graph.div(&logs, &t)
        }
        Calibration::Dirichlet { weights, bias } => {
            let classes = bias.len();
            let weights = graph.doubles(&[classes, classes], &weights.concat());
            let weights = graph.transpose(&weights, &[1, 0]);
            let bias = graph.doubles(&[1, classes], bias);
            let product = graph.matmul(&logs, &weights);
            graph.add(&product, &bias)
        }
        Calibration::Isotonic { .. } => {
            return Err(ModelError::Interchange {
                format: ExportFormat::Onnx,
                why: "probabilities of this model go through an isotonic map, whose steps turn another program's rounding \
                      into another probability: train with calibration = \"temperature\", \"dirichlet\" or \"none\" to \
                      export"
                    .into(),
            });
        }
    };
    let mapped = graph.softmax(&scores);
    Ok(graph.cast(&mapped, FLOAT))
}

/// A protocol buffer holds less than 2 GiB.
const LARGEST: usize = i32::MAX as usize;
