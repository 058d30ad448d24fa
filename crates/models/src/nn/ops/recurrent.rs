//! A whole recurrent layer as one operation.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use stakeout_kernels::recurrent::{Keep, Order, ReadGradient, Sequences, Tape};
use stakeout_kernels::simd::Level;
use stakeout_kernels::{gru, lstm};

use super::{sizes, slice, tensor};

/// A layer, apart from its tensors.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Its kind.
    pub(crate) cell: Cell,
    /// Own steps of each row.
    pub(crate) lengths: Arc<[u32]>,
    /// How many of the last inputs are the same at all own steps of a row.
    pub(crate) constant: usize,
    /// In which order the steps are read.
    pub(crate) order: Order,
    /// What is read off.
    pub(crate) read: Read,
}

/// A kind of recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Three gates; the bias is that beside the input's product, then that beside the state's.
    Gru,
    /// Four gates and one bias.
    Lstm,
}

/// What is read off a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// The states after all steps, `[rows, steps, width]`.
    Series,
    /// The state after the last step that is read beside the mean state over own steps, `[rows, 2 · width]`.
    Ends,
}

/// Runs a layer from a zero state; where a step is not the row's own, the state is held.
///
/// # Shapes
/// - `values`: `[rows, steps, inputs]`
/// - `input`: `[inputs, gates · width]`
/// - `hidden`: `[width, gates · width]`
/// - `bias`: all biases, one after another
/// - output: see [`Read`]
pub(crate) fn recurrent<const D: usize>(
    values: Tensor<3>,
    [input, hidden]: [Tensor<2>; 2],
    bias: Tensor<1>,
    layer: Layer,
) -> Tensor<D> {
    let [values, input, hidden, bias] =
        [values.into_dispatch(), input.into_dispatch(), hidden.into_dispatch(), bias.into_dispatch()];
    Tensor::from_dispatch(Dispatch::recurrent(values, input, hidden, bias, layer, None))
}

/// What a forward pass leaves for its gradient.
pub(crate) type Slot = Arc<Mutex<Warm>>;

/// A tape out of those that the thread has used before; goes back to them. Fresh memory costs a third of a training step.
#[derive(Debug, Default)]
pub(crate) struct Warm(Tape);

thread_local! {
    static WARM: RefCell<Vec<Tape>> = const { RefCell::new(Vec::new()) };
}
/// Tapes that a thread keeps at most: as many as there are directions and layers.
const MOST_WARM: usize = 8;

impl Warm {
    fn take() -> Self {
        Self(WARM.with_borrow_mut(Vec::pop).unwrap_or_default())
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let tape = std::mem::take(&mut self.0);
        // a thread that ends has no tapes any more: this one goes with it
        let _ = WARM.try_with(|warm| {
            let mut warm = warm.borrow_mut();
            if warm.len() < MOST_WARM {
                warm.push(tape);
            }
        });
    }
}

/// The operation and its gradient.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait RecurrentOps: Backend {
    /// Runs a layer; a slot is filled where a gradient will be asked for.
    fn recurrent(
        values: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        layer: Layer,
        slot: Option<Slot>,
    ) -> FloatTensor<Self>;

    /// The gradients by input weights, hidden weights and biases, and by the values where they are asked for (an empty tensor
    /// elsewhere).
    #[allow(clippy::too_many_arguments)] // the library maps tensors one by one
    fn recurrent_gradient(
        values: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        by: FloatTensor<Self>,
        layer: Layer,
        slot: Slot,
        by_values: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl RecurrentOps for Flex {
    fn recurrent(
        values: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        layer: Layer,
        slot: Option<Slot>,
    ) -> FloatTensor<Self> {
        let [values, input, hidden, bias] = [values, input, hidden, bias].map(|tensor| tensor.to_contiguous());
        let ([rows, steps, inputs], [width, _]) = (sizes(&values), sizes(&hidden));
        let sequences = sequences(slice(&values), [steps, inputs], &layer);
        let level = Level::best();
        let run = |keep: Keep, tape: &mut Tape| match layer.cell {
            Cell::Gru => {
                let (input_bias, hidden_bias) = slice(&bias).split_at(3 * width);
                let weights =
                    gru::Weights { input: slice(&input), hidden: slice(&hidden), input_bias, hidden_bias, width };
                gru::forward(level, weights, &sequences, keep, tape);
            }
            Cell::Lstm => {
                let weights = lstm::Weights { input: slice(&input), hidden: slice(&hidden), bias: slice(&bias), width };
                lstm::forward(level, weights, &sequences, keep, tape);
            }
        };
        let read = |tape: &Tape| match layer.read {
            Read::Series => {
                let mut out = vec![0.0; rows * steps * width];
                tape.series(&sequences, &mut out);
                tensor(out, [rows, steps, width])
            }
            Read::Ends => {
                let mut out = vec![0.0; rows * 2 * width];
                tape.ends(&sequences, &mut out);
                tensor(out, [rows, 2 * width])
            }
        };
        match slot {
            Some(slot) => {
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Warm::take();
                run(Keep::All, &mut slot.0);
                read(&slot.0)
            }
            None => {
                let mut warm = Warm::take();
                run(Keep::States, &mut warm.0);
                read(&warm.0)
            }
        }
    }

    fn recurrent_gradient(
        values: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        by: FloatTensor<Self>,
        layer: Layer,
        slot: Slot,
        by_values: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [values, input, hidden, bias, by] = [values, input, hidden, bias, by].map(|tensor| tensor.to_contiguous());
        let ([rows, steps, inputs], [width, columns]) = (sizes(&values), sizes(&hidden));
        let sequences = sequences(slice(&values), [steps, inputs], &layer);
        let level = Level::best();
        let read = match layer.read {
            Read::Series => ReadGradient::Series(slice(&by)),
            Read::Ends => ReadGradient::Ends(slice(&by)),
        };
        let zeros = |like: &[f32]| vec![0.0; like.len()];
        let (mut by_input, mut by_hidden, mut by_bias) =
            (zeros(slice(&input)), zeros(slice(&hidden)), zeros(slice(&bias)));
        let mut of_values = by_values.then(|| zeros(sequences.values));
        let tape = &mut slot.lock().unwrap_or_else(PoisonError::into_inner).0;
        match layer.cell {
            Cell::Gru => {
                let (input_bias, hidden_bias) = slice(&bias).split_at(columns);
                let weights =
                    gru::Weights { input: slice(&input), hidden: slice(&hidden), input_bias, hidden_bias, width };
                let (input_bias, hidden_bias) = by_bias.split_at_mut(columns);
                let (input, hidden) = (&mut by_input, &mut by_hidden);
                let out = gru::Gradients { input, hidden, input_bias, hidden_bias, values: of_values.as_deref_mut() };
                gru::backward(level, weights, &sequences, read, tape, out);
            }
            Cell::Lstm => {
                let weights = lstm::Weights { input: slice(&input), hidden: slice(&hidden), bias: slice(&bias), width };
                let (input, hidden, bias) = (&mut by_input, &mut by_hidden, &mut by_bias);
                let out = lstm::Gradients { input, hidden, bias, values: of_values.as_deref_mut() };
                lstm::backward(level, weights, &sequences, read, tape, out);
            }
        }
        let biases = by_bias.len();
        let of_values = match of_values {
            Some(of_values) => tensor(of_values, [rows, steps, inputs]),
            None => tensor(Vec::new(), [0]),
        };
        let of_input = tensor(by_input, [inputs, columns]);
        (of_input, tensor(by_hidden, [width, columns]), tensor(by_bias, [biases]), of_values)
    }
}

fn sequences<'a>(values: &'a [f32], [steps, inputs]: [usize; 2], layer: &'a Layer) -> Sequences<'a> {
    let Layer { lengths, constant, order, .. } = layer;
    Sequences { values, lengths, steps, inputs, constant: *constant, order: *order }
}

#[derive(Debug)]
struct Gradient;

impl<B: RecurrentOps> Backward<B, 4> for Gradient {
    type State = ([FloatTensor<B>; 4], Layer, Slot);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let by = gradients.consume::<B>(&ops.node);
        let ([values, input, hidden, bias], layer, slot) = ops.state;
        let [of_values, of_input, of_hidden, of_bias] = ops.parents;
        let wanted = of_values.is_some();
        let (by_input, by_hidden, by_bias, by_values) =
            B::recurrent_gradient(values, input, hidden, bias, by, layer, slot, wanted);
        let parents = [(of_values, by_values), (of_input, by_input), (of_hidden, by_hidden), (of_bias, by_bias)];
        for (parent, gradient) in parents {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: RecurrentOps, C: CheckpointStrategy> RecurrentOps for Autodiff<B, C> {
    fn recurrent(
        values: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        layer: Layer,
        _: Option<Slot>,
    ) -> FloatTensor<Self> {
        #[allow(clippy::redundant_closure_for_method_calls)] // the type of these tensors cannot be named
        let [values, input, hidden, bias] = [values, input, hidden, bias].map(|tensor| tensor.into_parts());
        let nodes = [values.1, input.1, hidden.1, bias.1];
        let [values, input, hidden, bias] = [values.0, input.0, hidden.0, bias.0];
        let run = |slot| {
            let [values, input, hidden, bias] = [&values, &input, &hidden, &bias].map(Clone::clone);
            B::recurrent(values, input, hidden, bias, layer.clone(), slot)
        };
        match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                let slot = Slot::default();
                let out = run(Some(slot.clone()));
                node.finish(([values, input, hidden, bias], layer, slot), out)
            }
            OpsKind::UnTracked(node) => node.finish(run(None)),
        }
    }

    fn recurrent_gradient(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Layer,
        _: Slot,
        _: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("the gradient is computed below the differentiating backend: nobody asks for its own gradient")
    }
}
