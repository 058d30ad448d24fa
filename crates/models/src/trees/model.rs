//! The fitted model behind every kind of classification trees.

use ndarray::Array2;
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{Attribution, BaseModel, Batch, Geometry, InputKind, LoadContext, ModelError, ModelKind, Scratch};

use super::class_forest::ClassForest;

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
}
