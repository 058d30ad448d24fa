//! A whole net as one operation: a batch and all weights in, logits out.
//!
//! Layers of few numbers cost less than the graph between them. A net therefore computes on slices ([`Whole`]), and its weights
//! are one leaf.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};

use super::{sizes, slice, tensor};
use crate::nn::input::Input;
use crate::nn::weights::Tensors;
use crate::nn::{Output, Pass};

/// A net on slices.
pub(crate) trait Whole: fmt::Debug + Send + Sync + 'static {
    /// What a forward pass leaves for its gradient; its memory is used again.
    type Tape: Default + Send + 'static;

    /// Width of the representation before the last layer, and classes.
    fn widths(&self) -> [usize; 2];

    /// The shares of activations that are dropped while training, with the width of each, in the order in which a pass
    /// draws them.
    fn dropouts(&self, steps: usize) -> Vec<(usize, f32)>;

    /// Runs a batch: the representation before the last layer and the logits.
    fn forward(&self, batch: &Windows<'_>, weights: &[f32], mode: Mode<'_>, tape: &mut Self::Tape, out: Out<'_>);

    /// The gradient by all weights from that by the logits, after a pass that trained. `gradient` begins with zeros.
    fn backward(
        &self,
        batch: &Windows<'_>,
        weights: &[f32],
        masks: &[Option<Vec<f32>>],
        tape: &mut Self::Tape,
        by: &[f32],
        gradient: &mut [f32],
    );

    /// What the batch's normalisations observed: names of weights, and a value for each number of them.
    fn observed(&self, _tape: &Self::Tape) -> Vec<(String, Vec<f32>)> {
        Vec::new()
    }
}

/// A batch on the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows<'a> {
    /// `[rows, steps, width]`, 0 at padding steps.
    pub(crate) values: &'a [f32],
    /// Own steps of each row.
    pub(crate) lengths: &'a [u32],
    /// Steps of a row.
    pub(crate) steps: usize,
    /// How many of the last numbers of a step are the same at all own steps of a row.
    pub(crate) constant: usize,
}

impl<'a> Windows<'a> {
    /// Parts of at most so many rows.
    pub(crate) fn chunks(self, rows: usize) -> impl Iterator<Item = Windows<'a>> {
        let width = self.values.len() / self.lengths.len().max(1);
        let values = self.values.chunks(rows * width.max(1));
        values.zip(self.lengths.chunks(rows)).map(move |(values, lengths)| Windows { values, lengths, ..self })
    }
}

/// How a batch is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode<'a> {
    /// As a fitted net does: nothing is kept for a gradient.
    Infer,
    /// As a step of training does, with a mask for each dropout that drops anything.
    Train(&'a [Option<Vec<f32>>]),
}

/// Where the results of a batch go.
///
/// # Shapes
/// - `hidden`: `[rows, width]`
/// - `logits`: `[rows, classes]`
pub(crate) struct Out<'a> {
    /// The representation before the last layer.
    pub(crate) hidden: &'a mut [f32],
    /// Unnormalised log probabilities.
    pub(crate) logits: &'a mut [f32],
}

/// Memory that is lent out and comes back, so that a step of training finds that of the step before.
#[derive(Debug)]
pub(crate) struct Pool<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Default> Pool<T> {
    fn lend(&self) -> Lent<T> {
        let item = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lent { item: Some(item.unwrap_or_default()), home: self.0.clone() }
    }
}

struct Lent<T> {
    item: Option<T>,
    home: Arc<Mutex<Vec<T>>>,
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("there until it is dropped")
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("there until it is dropped")
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        home.extend(self.item.take());
    }
}

/// Whether [`run`] has what is asked for: on its device, and a gradient of training alone. That of a fitted net is left to the
/// library's own operations.
pub(crate) fn runs(weights: &Tensors, input: &Input, pass: &Pass) -> bool {
    super::fused(&input.values.device()) && (matches!(pass, Pass::Train { .. }) || !weights.is_tracked())
}

/// Runs a net as one operation, where [`runs`] holds.
pub(crate) fn run<W: Whole>(
    net: &Arc<W>,
    pool: &Pool<W::Tape>,
    weights: &Tensors,
    input: &Input,
    pass: &mut Pass,
) -> Output {
    let [rows, steps, _] = input.values.dims();
    let masks = match pass {
        Pass::Infer => None,
        Pass::Train { .. } => {
            Some(net.dropouts(steps).into_iter().map(|(width, share)| pass.mask(rows * width, share)).collect())
        }
    };
    let (lengths, constant) = (input.own_steps.clone(), input.constant);
    let job = Job { net: net.clone(), tape: pool.lend(), lengths, constant, masks, hidden: Vec::new() };
    let job: Shared = Arc::new(Mutex::new(job));
    let values = input.values.clone().into_dispatch();
    let logits = Tensor::from_dispatch(Dispatch::whole(values, weights.whole().into_dispatch(), job.clone()));
    let mut job = job.lock().unwrap_or_else(PoisonError::into_inner);
    let device = input.values.device();
    if let Pass::Train { observed, .. } = pass {
        observed.extend(job.observed().into_iter().map(|(name, values)| {
            let shape = [values.len()];
            (name, Tensor::from_data(TensorData::new(values, shape), &device))
        }));
    }
    let hidden = TensorData::new(job.hidden(), [rows, net.widths()[0]]);
    Output { hidden: Tensor::from_data(hidden, &device), logits }
}

/// One pass of some net.
pub(crate) trait Pending: Send {
    /// Makes the logits.
    fn forward(&mut self, values: &[f32], steps: usize, weights: &[f32]) -> Vec<f32>;
    /// Makes the gradient by the weights.
    fn backward(&mut self, values: &[f32], steps: usize, weights: &[f32], by: &[f32]) -> Vec<f32>;
    /// Takes the representation out.
    fn hidden(&mut self) -> Vec<f32>;
    /// See [`Whole::observed`].
    fn observed(&self) -> Vec<(String, Vec<f32>)>;
}

impl fmt::Debug for dyn Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

struct Job<W: Whole> {
    net: Arc<W>,
    tape: Lent<W::Tape>,
    lengths: Arc<[u32]>,
    constant: usize,
    /// While training.
    masks: Option<Vec<Option<Vec<f32>>>>,
    hidden: Vec<f32>,
}

impl<W: Whole> Pending for Job<W> {
    fn forward(&mut self, values: &[f32], steps: usize, weights: &[f32]) -> Vec<f32> {
        let [width, classes] = self.net.widths();
        let rows = self.lengths.len();
        self.hidden.resize(rows * width, 0.0);
        let mut logits = vec![0.0; rows * classes];
        let out = Out { hidden: &mut self.hidden, logits: &mut logits };
        let mode = self.masks.as_deref().map_or(Mode::Infer, Mode::Train);
        let batch = Windows { values, lengths: &self.lengths, steps, constant: self.constant };
        self.net.forward(&batch, weights, mode, &mut self.tape, out);
        logits
    }

    fn backward(&mut self, values: &[f32], steps: usize, weights: &[f32], by: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; weights.len()];
        let masks = self.masks.as_deref().expect("a gradient is asked for of a pass that trains");
        let batch = Windows { values, lengths: &self.lengths, steps, constant: self.constant };
        self.net.backward(&batch, weights, masks, &mut self.tape, by, &mut gradient);
        gradient
    }

    fn hidden(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.hidden)
    }

    fn observed(&self) -> Vec<(String, Vec<f32>)> {
        self.net.observed(&self.tape)
    }
}

/// A pass that the operation and its gradient share.
pub(crate) type Shared = Arc<Mutex<dyn Pending>>;

/// The operation and its gradient.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait WholeOps: Backend {
    /// Runs a net: the logits.
    fn whole(values: FloatTensor<Self>, weights: FloatTensor<Self>, job: Shared) -> FloatTensor<Self>;

    /// The gradient by all weights.
    fn whole_gradient(
        values: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        by: FloatTensor<Self>,
        job: Shared,
    ) -> FloatTensor<Self>;
}

impl WholeOps for Flex {
    fn whole(values: FloatTensor<Self>, weights: FloatTensor<Self>, job: Shared) -> FloatTensor<Self> {
        let [values, weights] = [values, weights].map(|tensor| tensor.to_contiguous());
        let [rows, steps, _] = sizes(&values);
        let mut job = job.lock().unwrap_or_else(PoisonError::into_inner);
        let logits = job.forward(slice(&values), steps, slice(&weights));
        let classes = logits.len().checked_div(rows).unwrap_or(0);
        tensor(logits, [rows, classes])
    }

    fn whole_gradient(
        values: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        by: FloatTensor<Self>,
        job: Shared,
    ) -> FloatTensor<Self> {
        let [values, weights, by] = [values, weights, by].map(|tensor| tensor.to_contiguous());
        let [_, steps, _] = sizes(&values);
        let mut job = job.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = job.backward(slice(&values), steps, slice(&weights), slice(&by));
        let count = gradient.len();
        tensor(gradient, [count])
    }
}

#[derive(Debug)]
struct Gradient;

impl<B: WholeOps> Backward<B, 1> for Gradient {
    type State = ([FloatTensor<B>; 2], Shared);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let by = gradients.consume::<B>(&ops.node);
        let ([values, weights], job) = ops.state;
        let gradient = B::whole_gradient(values, weights, by, job);
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, gradient);
        }
    }
}

impl<B: WholeOps, C: CheckpointStrategy> WholeOps for Autodiff<B, C> {
    /// The batch has no gradient: nets are not asked what an input counts.
    fn whole(values: FloatTensor<Self>, weights: FloatTensor<Self>, job: Shared) -> FloatTensor<Self> {
        let (values, _) = values.into_parts();
        let (weights, node) = weights.into_parts();
        match Gradient.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let out = B::whole(values.clone(), weights.clone(), job.clone());
                prepared.finish(([values, weights], job), out)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::whole(values, weights, job)),
        }
    }

    fn whole_gradient(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Shared,
    ) -> FloatTensor<Self> {
        unreachable!("the gradient is computed below the differentiating backend: nobody asks for its own gradient")
    }
}
