//! A fitted net as a file of another program: its graph from raw windows on, or its weights alone.
//!
//! A net writes its own graph beside its forward pass (`Net::graph`), over the same input as there; this file makes that
//! input out of raw windows with the graph's operators, step for step as `input` does.

use stakeout_core::{ExportContext, ExportFormat, Geometry, InputKind, ModelError};

use super::Net;
use super::prepare::LIMIT;
use super::weights::WeightSpec;
use crate::interchange::graph::{Graph, Value};
use crate::interchange::onnx::{self, Raw};
use crate::interchange::proto::{Attribute, FLOAT, INT32, INT64};
use crate::interchange::safetensors::{self, Array};

/// The net as a file of `format`; `None` where it has no such form.
pub(super) fn export(
    net: &dyn Net,
    weights: &NamedWeights<'_>,
    format: ExportFormat,
    cx: &ExportContext<'_>,
) -> Result<Option<Vec<u8>>, ModelError> {
    match format {
        ExportFormat::Onnx => {
            let mut graph = Graph::default();
            let raw = onnx::raw(&mut graph, cx);
            let input = GraphInput::new(&mut graph, &raw, cx.header.input, cx.header.schema.geometry());
            match net.graph(&mut graph, &input, weights) {
                Some(logits) => onnx::from_logits(graph, &logits, cx).map(Some),
                None => Ok(None),
            }
        }
        ExportFormat::Safetensors => Ok(Some(safetensors::file(weights.arrays(), cx))),
        _ => Ok(None),
    }
}

/// A dense layer over the last dimension, with the weights `<name>.w` and `<name>.b`.
pub(crate) fn dense(graph: &mut Graph, weights: &NamedWeights<'_>, name: &str, x: &Value) -> Value {
    let w = weights.constant(graph, &format!("{name}.w"));
    let b = weights.constant(graph, &format!("{name}.b"));
    let product = graph.matmul(x, &w);
    graph.add(&product, &b)
}

/// The weights of a net by name.
pub(crate) struct NamedWeights<'a> {
    pub(super) specs: &'a [WeightSpec],
    pub(super) values: &'a [f32],
}

impl<'a> NamedWeights<'a> {
    fn arrays(&self) -> Vec<Array<'a>> {
        let mut rest = self.values;
        let arrays = self.specs.iter().map(|spec| {
            let (values, others) = rest.split_at(spec.len());
            rest = others;
            Array { name: spec.name.clone(), shape: spec.shape.clone(), values }
        });
        arrays.collect()
    }

    /// The numbers of a weight, row-major.
    ///
    /// # Panics
    /// When the net did not list it.
    pub(crate) fn get(&self, name: &str) -> &'a [f32] {
        let at = self.specs.iter().position(|spec| spec.name == name).expect("a listed weight");
        let from = self.specs[..at].iter().map(WeightSpec::len).sum::<usize>();
        &self.values[from..from + self.specs[at].len()]
    }

    /// A weight as a constant of a graph, in its shape.
    ///
    /// # Panics
    /// When the net did not list it.
    pub(crate) fn constant(&self, graph: &mut Graph, name: &str) -> Value {
        let spec = self.specs.iter().find(|spec| spec.name == name).expect("a listed weight");
        graph.floats(&spec.shape, self.get(name))
    }
}

/// What a net is fed, as in `Input`, as values of a graph.
pub(crate) struct GraphInput {
    /// `[windows, steps, 2 · channels]`, or `[windows, 1, 2 · features]` of a summary.
    pub(crate) values: Value,
    /// 1 where a step belongs to its window, else 0: `[windows, steps]`.
    pub(crate) own: Value,
    /// Own steps, at least 1: `[windows, 1]`.
    pub(crate) lengths: Value,
    /// Own steps as whole numbers of 32 bits, as recurrent operators take them: `[windows]`.
    pub(crate) sequence_lengths: Value,
    /// Steps of a window, its own or not.
    pub(crate) steps: usize,
}

impl GraphInput {
    fn new(graph: &mut Graph, raw: &Raw, kind: InputKind, geometry: Geometry) -> Self {
        match kind {
            InputKind::Summary => Self::summary(graph, raw),
            InputKind::Tensor => Self::tensor(graph, raw, geometry),
        }
    }

    fn summary(graph: &mut Graph, raw: &Raw) -> Self {
        let present = graph.finite(&raw.scaled);
        let zero = graph.scalar(0.0);
        let filled = graph.choose(&present, &raw.scaled, &zero);
        let filled = clamp(graph, &filled);
        let missing = graph.op("Not", &[&present], Vec::new());
        let missing = graph.cast(&missing, FLOAT);
        let values = graph.concat(&[&filled, &missing], 1);
        let values = graph.unsqueeze(&values, 1);
        // a summary is one step of its own: ones as many as windows
        let first = graph.slice(&filled, 1, 0, 1);
        let none = graph.mul(&first, &zero);
        let one = graph.scalar(1.0);
        let own = graph.add(&none, &one);
        let counts = graph.cast(&own, INT32);
        let sequence_lengths = graph.squeeze(&counts, 1);
        Self { values, lengths: own.clone(), own, sequence_lengths, steps: 1 }
    }

    fn tensor(graph: &mut Graph, raw: &Raw, geometry: Geometry) -> Self {
        let steps = geometry.steps;
        let times: Vec<f32> = (0..steps).map(|step| step as f32).collect();
        let times = graph.floats(&[1, 1, steps], &times);
        let given = raw.lengths.as_ref().expect("a tensor has lengths");
        let lengths = graph.cast(given, FLOAT);
        let lengths = graph.reshape(&lengths, &[-1, 1, 1]);
        let own = graph.op("Less", &[&times, &lengths], Vec::new());
        let finite = graph.finite(&raw.scaled);
        let present = graph.op("And", &[&finite, &own], Vec::new());

        let filled = fill_forward(graph, &raw.scaled, &present, &times, steps);
        let filled = clamp(graph, &filled);
        let own_number = graph.cast(&own, FLOAT);
        let filled = graph.mul(&filled, &own_number);

        let seen = graph.cast(&present, FLOAT);
        let seen = graph.sum(&seen, 2, true);
        let missing = graph.sub(&lengths, &seen);
        let one = graph.scalar(1.0);
        let divisor = graph.op("Max", &[&lengths, &one], Vec::new());
        let share = graph.div(&missing, &divisor);
        let share = graph.mul(&share, &own_number);

        let values = graph.concat(&[&filled, &share], 1);
        let values = graph.transpose(&values, &[0, 2, 1]);
        Self {
            values,
            own: graph.squeeze(&own_number, 1),
            lengths: graph.squeeze(&divisor, 2),
            sequence_lengths: graph.cast(given, INT32),
            steps,
        }
    }

    /// The mean of a series over each window's own steps.
    ///
    /// # Shapes
    /// - `series`: `[windows, steps, width]`
    /// - output: `[windows, width]`
    pub(crate) fn mean(&self, graph: &mut Graph, series: &Value) -> Value {
        let own = self.mask(graph, series);
        let sum = graph.sum(&own, 1, false);
        graph.div(&sum, &self.lengths)
    }

    /// A series with padding steps at 0.
    ///
    /// # Shapes
    /// - `series` and output: `[windows, steps, width]`
    pub(crate) fn mask(&self, graph: &mut Graph, series: &Value) -> Value {
        let own = graph.unsqueeze(&self.own, 2);
        graph.mul(series, &own)
    }
}

fn clamp(graph: &mut Graph, values: &Value) -> Value {
    let (low, high) = (graph.scalar(-LIMIT), graph.scalar(LIMIT));
    graph.op("Clip", &[values, &low, &high], Vec::new())
}

/// Fills each gap with the last present value before it, a leading one with the first present value, a channel without
/// any with 0.
///
/// The last present position up to each step is a running maximum. It is taken in rounds that look back 1, 2, 4, ...
/// steps (Hillis and Steele, CACM 1986), so that memory grows with the steps and not with their square.
///
/// # Shapes
/// - `values`, `present` and output: `[windows, channels, steps]`
/// - `times`: `[1, 1, steps]`
fn fill_forward(graph: &mut Graph, values: &Value, present: &Value, times: &Value, steps: usize) -> Value {
    let never = graph.scalar(-1.0);
    let mut last = graph.choose(present, times, &never);
    let mut back = 1;
    while back < steps {
        let earlier = graph.slice(&last, 2, 0, (steps - back) as i64);
        let margins = graph.ints(&[0, 0, back as i64, 0, 0, 0]);
        let shifted = graph.op("Pad", &[&earlier, &margins, &never], Vec::new());
        last = graph.op("Max", &[&last, &shifted], Vec::new());
        back *= 2;
    }
    let end = graph.scalar((steps - 1) as f32);
    let first = graph.choose(present, times, &end);
    let first = graph.op("ReduceMin", &[&first], vec![Attribute::ints("axes", vec![2]), Attribute::int("keepdims", 1)]);
    let zero = graph.scalar(0.0);
    let leading = graph.op("Less", &[&last, &zero], Vec::new());
    let source = graph.choose(&leading, &first, &last);
    let source = graph.cast(&source, INT64);
    // with no present value at all, every source is a gap, and a gap is 0 here
    let gapless = graph.choose(present, values, &zero);
    graph.op("GatherElements", &[&gapless, &source], vec![Attribute::int("axis", 2)])
}
