//! A builder of ONNX graphs: every method appends one node and returns the name of its result.
//!
//! Operators are of operator set 17 (<https://github.com/onnx/onnx/blob/main/docs/Changelog.md>) and set 3 of
//! `ai.onnx.ml`. Shapes are not checked here: the tests of the exports run them.

use prost::Message;

use super::proto::{
    Attribute, DOUBLE, Dimension, FLOAT, GraphMessage, INT64, Model, Node, OperatorSet, Shape, StringPair,
    TensorMessage, TensorType, TypeMessage, ValueInfo,
};

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;
const ML_OPERATOR_SET: i64 = 3;
const ML: &str = "ai.onnx.ml";

/// The name of a value in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

/// A size in a shape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// The number of windows, chosen by the caller.
    Batch,
    /// A fixed size.
    Fixed(usize),
}

/// A graph under construction.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    message: GraphMessage,
}

impl Graph {
    /// An input of the graph.
    pub(crate) fn input(&mut self, name: &str, element: i32, shape: &[Size]) -> Value {
        self.message.input.push(info(name, element, shape));
        Value(name.into())
    }

    /// Gives a value a name of its own and makes it an output.
    pub(crate) fn output(&mut self, name: &str, value: &Value, element: i32, shape: &[Size]) {
        self.push("Identity", "", &[value], vec![name.into()], Vec::new());
        self.message.output.push(info(name, element, shape));
    }

    /// Constant numbers, row-major.
    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        self.constant(FLOAT, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Constant numbers in double precision, row-major.
    pub(crate) fn doubles(&mut self, shape: &[usize], values: &[f64]) -> Value {
        self.constant(DOUBLE, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A constant number.
    pub(crate) fn scalar(&mut self, value: f32) -> Value {
        self.floats(&[], &[value])
    }

    /// Constant whole numbers in a row.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        self.constant(INT64, &[values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn constant(&mut self, element: i32, shape: &[usize], raw_data: Vec<u8>) -> Value {
        let name = format!("constant_{}", self.message.initializer.len());
        self.message.initializer.push(TensorMessage {
            dims: shape.iter().map(|size| *size as i64).collect(),
            data_type: Some(element),
            name: name.clone(),
            raw_data: Some(raw_data),
        });
        Value(name)
    }

    /// A node with one result.
    pub(crate) fn op(&mut self, op_type: &str, inputs: &[&Value], attributes: Vec<Attribute>) -> Value {
        let [value] = self.ops(op_type, inputs, attributes);
        value
    }

    /// A node with several results.
    pub(crate) fn ops<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: &[&Value],
        attributes: Vec<Attribute>,
    ) -> [Value; N] {
        let node = self.message.node.len();
        let results = std::array::from_fn(|i| Value(format!("{}_{node}_{i}", op_type.to_lowercase())));
        let names = results.iter().map(|value: &Value| value.0.clone()).collect();
        self.push(op_type, "", inputs, names, attributes);
        results
    }

    /// A node of `ai.onnx.ml` with one result.
    pub(crate) fn ml(&mut self, op_type: &str, inputs: &[&Value], attributes: Vec<Attribute>) -> Value {
        let value = Value(format!("{}_{}", op_type.to_lowercase(), self.message.node.len()));
        self.push(op_type, ML, inputs, vec![value.0.clone()], attributes);
        value
    }

    fn push(&mut self, op_type: &str, domain: &str, inputs: &[&Value], output: Vec<String>, attribute: Vec<Attribute>) {
        self.message.node.push(Node {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output,
            name: format!("node_{}", self.message.node.len()),
            op_type: op_type.into(),
            attribute,
            domain: domain.into(),
        });
    }

    /// `a + b`, with the usual broadcasting.
    pub(crate) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Add", &[a, b], Vec::new())
    }

    /// `a - b`.
    pub(crate) fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Sub", &[a, b], Vec::new())
    }

    /// `a · b`, element by element.
    pub(crate) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Mul", &[a, b], Vec::new())
    }

    /// `a / b`.
    pub(crate) fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Div", &[a, b], Vec::new())
    }

    /// The matrix product over the last two dimensions.
    pub(crate) fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.op("MatMul", &[a, b], Vec::new())
    }

    /// `yes` where `condition` holds, else `no`.
    pub(crate) fn choose(&mut self, condition: &Value, yes: &Value, no: &Value) -> Value {
        self.op("Where", &[condition, yes, no], Vec::new())
    }

    /// Another element type.
    pub(crate) fn cast(&mut self, value: &Value, element: i32) -> Value {
        self.op("Cast", &[value], vec![Attribute::int("to", element.into())])
    }

    /// Dimensions in another order.
    pub(crate) fn transpose(&mut self, value: &Value, order: &[i64]) -> Value {
        self.op("Transpose", &[value], vec![Attribute::ints("perm", order.to_vec())])
    }

    /// Another shape; 0 keeps a size, -1 takes what is left.
    pub(crate) fn reshape(&mut self, value: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.op("Reshape", &[value, &shape], Vec::new())
    }

    /// Values side by side along a dimension.
    pub(crate) fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        self.op("Concat", values, vec![Attribute::int("axis", axis)])
    }

    /// A dimension of size 1, removed.
    pub(crate) fn squeeze(&mut self, value: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.op("Squeeze", &[value, &axes], Vec::new())
    }

    /// A dimension of size 1, put in.
    pub(crate) fn unsqueeze(&mut self, value: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.op("Unsqueeze", &[value, &axes], Vec::new())
    }

    /// The sum along a dimension, which stays with size 1 if `keep`.
    pub(crate) fn sum(&mut self, value: &Value, axis: i64, keep: bool) -> Value {
        let axes = self.ints(&[axis]);
        self.op("ReduceSum", &[value, &axes], vec![Attribute::int("keepdims", keep.into())])
    }

    /// Where a value is a finite number: false for NaN too, which no comparison holds for.
    pub(crate) fn finite(&mut self, values: &Value) -> Value {
        let size = self.op("Abs", &[values], Vec::new());
        let largest = self.scalar(f32::MAX);
        self.op("LessOrEqual", &[&size, &largest], Vec::new())
    }

    /// Shares that sum to 1 over the last dimension.
    pub(crate) fn softmax(&mut self, value: &Value) -> Value {
        self.op("Softmax", &[value], vec![Attribute::int("axis", -1)])
    }

    /// What is positive, else 0.
    pub(crate) fn relu(&mut self, value: &Value) -> Value {
        self.op("Relu", &[value], Vec::new())
    }

    /// The positions `from..to` along a dimension.
    pub(crate) fn slice(&mut self, value: &Value, axis: i64, from: i64, to: i64) -> Value {
        let [from, to, axis] = [from, to, axis].map(|bound| self.ints(&[bound]));
        self.op("Slice", &[value, &from, &to, &axis], Vec::new())
    }

    /// The file.
    pub(crate) fn into_bytes(mut self, name: &str, about: &str, facts: Vec<(String, String)>) -> Vec<u8> {
        let set = |domain: &str, version| OperatorSet { domain: domain.into(), version: Some(version) };
        let mut opset_import = vec![set("", OPERATOR_SET)];
        if self.message.node.iter().any(|node| node.domain == ML) {
            opset_import.push(set(ML, ML_OPERATOR_SET));
        }
        self.message.name = name.into();
        let model = Model {
            ir_version: Some(IR_VERSION),
            producer_name: "stakeout".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: about.into(),
            graph: Some(self.message),
            opset_import,
            metadata_props: facts.into_iter().map(|(key, value)| StringPair { key, value }).collect(),
        };
        model.encode_to_vec()
    }
}

fn info(name: &str, element: i32, shape: &[Size]) -> ValueInfo {
    let dim = shape.iter().map(|size| match size {
        Size::Batch => Dimension { dim_value: None, dim_param: Some("windows".into()) },
        Size::Fixed(size) => Dimension { dim_value: Some(*size as i64), dim_param: None },
    });
    let shape = Shape { dim: dim.collect() };
    let tensor_type = TensorType { elem_type: Some(element), shape: Some(shape) };
    ValueInfo { name: name.into(), r#type: Some(TypeMessage { tensor_type: Some(tensor_type) }) }
}
