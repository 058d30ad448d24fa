//! The fitted model behind every kind of classification trees.

use ndarray::Array2;
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{
    Attribution, BaseModel, Batch, ExportContext, ExportFormat, Geometry, InputKind, LoadContext, ModelError,
    ModelKind, Scratch,
};

use super::class_forest::ClassForest;
use crate::interchange::graph::Graph;
use crate::interchange::onnx;
use crate::interchange::trees::{TreeNode, Trees};

/// Trees with what they were fitted as.
pub(crate) struct TreeModel {
    pub(crate) kind: ModelKind,
    pub(crate) input: InputKind,
    pub(crate) config: Value,
    pub(crate) geometry: Geometry,
    pub(crate) forest: ClassForest,
}

impl TreeModel {
    /// A model from stored weights; `config` is complete and checked.
    pub(crate) fn load(
        kind: ModelKind,
        input: InputKind,
        config: Value,
        cx: &LoadContext<'_>,
    ) -> Result<Box<dyn BaseModel>, ModelError> {
        let forest = ClassForest::from_bytes(cx.weights, cx.geometry.row_len(input), cx.geometry.classes)?;
        if forest.len() == 0 {
            return Err(ModelError::Weights("they hold no tree".into()));
        }
        Ok(Box::new(Self { kind, input, config, geometry: cx.geometry, forest }))
    }
}

impl BaseModel for TreeModel {
    fn kind(&self) -> ModelKind {
        self.kind.clone()
    }

    fn input(&self) -> InputKind {
        self.input
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, _scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        self.forest.predict(&batch.values, out);
        Ok(())
    }

    /// Attribution of the class probabilities. With what the roots say, the training frequencies, they add up to the
    /// prediction.
    fn explain(&self, batch: &Batch) -> Result<Option<Attribution>, ModelError> {
        let classes = self.geometry.classes;
        let mut values = Array2::zeros((batch.rows(), classes * self.geometry.row_len(self.input)));
        check_batch(self, batch, &vec![0.0; batch.rows() * classes])?;
        for (row, mut out) in values.rows_mut().into_iter().enumerate() {
            self.forest.attribute(batch.row(row), out.as_slice_mut().expect("a row of a fresh array is contiguous"));
        }
        Ok(Some(Attribution { method: "decision path contributions to the class probability (Saabas 2014)", values }))
    }

    fn config(&self) -> Value {
        self.config.clone()
    }

    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        Ok(self.forest.to_bytes())
    }

    fn export(&self, format: ExportFormat, cx: &ExportContext<'_>) -> Result<Option<Vec<u8>>, ModelError> {
        if format != ExportFormat::Onnx {
            return Ok(None);
        }
        let (classes, mut trees) = (self.geometry.classes, Trees::default());
        for (tree, says) in self.forest.trees() {
            let nodes = tree.iter().zip(says.chunks_exact(classes));
            trees.push(0, nodes.map(|(node, says)| TreeNode::of(node, says)));
        }
        let mut graph = Graph::default();
        let raw = onnx::raw(&mut graph, cx);
        let rows = raw.rows(&mut graph, cx);
        let sums = trees.into_value(&mut graph, &rows, &vec![0.0; classes]);
        let count = graph.scalar(self.forest.len() as f32);
        let means = graph.div(&sums, &count);
        onnx::from_probabilities(graph, &means, cx).map(Some)
    }
}
