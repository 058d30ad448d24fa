//! The net on slices: layer by layer, each direction as one walk over the steps.

use stakeout_kernels::linear::{Dense, Then};
use stakeout_kernels::recurrent::{self, Keep, Order, ReadGradient, Sequences};
use stakeout_kernels::simd::Level;
use stakeout_kernels::{gru, lstm};

use crate::nn::ops::parts::{Head, resized, take, take_dense, take_gradient, take_mut};
use crate::nn::ops::whole::{Mode, Out, Whole, Windows};

/// A kind of recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Three gates; the biases beside the input's product, then those beside the state's.
    Gru,
    /// Four gates, a bias each.
    Lstm,
}

/// Sizes of the net.
#[derive(Debug)]
pub(super) struct Fused {
    pub(super) kind: Kind,
    pub(super) inputs: usize,
    pub(super) width: usize,
    pub(super) layers: usize,
    /// The directions of every layer: their states stand side by side.
    pub(super) orders: &'static [Order],
    pub(super) classes: usize,
    pub(super) dropout: f32,
}

/// What a pass leaves.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// Of each direction of each layer.
    passes: Vec<recurrent::Tape>,
    /// What each layer but the first reads, behind its dropout.
    ///
    /// # Shapes
    /// layers − 1 × `[rows, steps, directions · width]`
    series: Vec<Vec<f32>>,
    /// What is read off one direction, or its gradient: `[rows, steps, width]` or `[rows, 2 · width]`.
    own: Vec<f32>,
    head: Head,
    by_hidden: Vec<f32>,
    /// Gradients by what a layer made, by what it read, and by the latter through one direction.
    by_series: [Vec<f32>; 3],
}

/// The weights of one direction of one layer.
#[derive(Clone, Copy)]
struct Direction<'a> {
    input: &'a [f32],
    hidden: &'a [f32],
    bias: &'a [f32],
}

/// The places of their gradients.
struct DirectionGradient<'a> {
    input: &'a mut [f32],
    hidden: &'a mut [f32],
    bias: &'a mut [f32],
}

impl Kind {
    /// Gates side by side in the weights, and numbers of the biases, by the width of the state.
    fn sizes(self, width: usize) -> [usize; 2] {
        match self {
            Self::Gru => [3 * width, 6 * width],
            Self::Lstm => [4 * width, 4 * width],
        }
    }

    fn forward(self, weights: Direction<'_>, sequences: &Sequences<'_>, keep: Keep, tape: &mut recurrent::Tape) {
        let (level, Direction { input, hidden, bias }) = (Level::best(), weights);
        match self {
            Self::Gru => {
                let (input_bias, hidden_bias) = bias.split_at(bias.len() / 2);
                let width = input_bias.len() / 3;
                gru::forward(
                    level,
                    gru::Weights { input, hidden, input_bias, hidden_bias, width },
                    sequences,
                    keep,
                    tape,
                );
            }
            Self::Lstm => {
                let width = bias.len() / 4;
                lstm::forward(level, lstm::Weights { input, hidden, bias, width }, sequences, keep, tape);
            }
        }
    }

    fn backward(
        self,
        weights: Direction<'_>,
        sequences: &Sequences<'_>,
        read: ReadGradient<'_>,
        tape: &mut recurrent::Tape,
        into: DirectionGradient<'_>,
        values: Option<&mut [f32]>,
    ) {
        let (level, Direction { input, hidden, bias }) = (Level::best(), weights);
        match self {
            Self::Gru => {
                let (input_bias, hidden_bias) = bias.split_at(bias.len() / 2);
                let width = input_bias.len() / 3;
                let weights = gru::Weights { input, hidden, input_bias, hidden_bias, width };
                let (input_bias, hidden_bias) = into.bias.split_at_mut(bias.len() / 2);
                let out = gru::Gradients { input: into.input, hidden: into.hidden, input_bias, hidden_bias, values };
                gru::backward(level, weights, sequences, read, tape, out);
            }
            Self::Lstm => {
                let weights = lstm::Weights { input, hidden, bias, width: bias.len() / 4 };
                let DirectionGradient { input, hidden, bias } = into;
                lstm::backward(level, weights, sequences, read, tape, lstm::Gradients { input, hidden, bias, values });
            }
        }
    }
}

impl Fused {
    /// Width of the states of a layer.
    fn both(&self) -> usize {
        self.orders.len() * self.width
    }

    fn inputs(&self, layer: usize) -> usize {
        if layer == 0 { self.inputs } else { self.both() }
    }

    /// Numbers of the weights of one direction: input, hidden, bias.
    fn sizes(&self, layer: usize) -> [usize; 3] {
        let [gates, biases] = self.kind.sizes(self.width);
        [self.inputs(layer) * gates, self.width * gates, biases]
    }

    /// The weights of a direction of a layer; those of the last layer end where the head begins.
    fn direction<'a>(&self, weights: &'a [f32], layer: usize, at: usize) -> Direction<'a> {
        let len = |layer| self.sizes(layer).iter().sum::<usize>();
        let from = (0..layer).map(|layer| self.orders.len() * len(layer)).sum::<usize>() + at * len(layer);
        let (mut rest, [input, hidden, bias]) = (&weights[from..], self.sizes(layer));
        Direction { input: take(&mut rest, input), hidden: take(&mut rest, hidden), bias: take(&mut rest, bias) }
    }

    fn head<'a>(&self, weights: &'a [f32]) -> Dense<'a> {
        let [width, classes] = self.widths();
        take_dense(&mut &weights[weights.len() - (width + 1) * classes..], width, classes, Then::Nothing)
    }

    /// What a direction of a layer reads.
    fn sequences<'a>(&self, batch: &Windows<'a>, series: &'a [Vec<f32>], layer: usize, order: Order) -> Sequences<'a> {
        let Windows { values, lengths, steps, constant } = *batch;
        match layer {
            0 => Sequences { values, lengths, steps, inputs: self.inputs, constant, order },
            _ => {
                let values = &series[layer - 1][..lengths.len() * steps * self.both()];
                Sequences { values, lengths, steps, inputs: self.both(), constant: 0, order }
            }
        }
    }
}

impl Whole for Fused {
    type Tape = Tape;

    /// The state after the last step that each direction reads, then the mean states.
    fn widths(&self) -> [usize; 2] {
        [2 * self.both(), self.classes]
    }

    fn dropouts(&self, steps: usize) -> Vec<(usize, f32)> {
        let mut all = vec![(steps * self.both(), self.dropout); self.layers - 1];
        all.push((2 * self.both(), self.dropout));
        all
    }

    fn forward(&self, batch: &Windows<'_>, weights: &[f32], mode: Mode<'_>, tape: &mut Tape, out: Out<'_>) {
        let (masks, keep) = match mode {
            Mode::Train(masks) => (masks, Keep::All),
            Mode::Infer => (&[][..], Keep::States),
        };
        let mask = |layer: usize| masks.get(layer).and_then(Option::as_deref);
        let (rows, width, both) = (batch.lengths.len(), self.width, self.both());
        let Tape { passes, series, own, head, .. } = tape;
        passes.resize_with(self.layers * self.orders.len(), Default::default);
        series.resize_with(self.layers - 1, Vec::new);
        for layer in 0..self.layers {
            let is_last = layer + 1 == self.layers;
            for (at, order) in self.orders.iter().enumerate() {
                let (read, rest) = series.split_at_mut(layer);
                let sequences = self.sequences(batch, read, layer, *order);
                let pass = &mut passes[layer * self.orders.len() + at];
                self.kind.forward(self.direction(weights, layer, at), &sequences, keep, pass);
                if is_last {
                    let ends = resized(own, rows * 2 * width);
                    pass.ends(&sequences, ends);
                    spread(ends, width, at, out.hidden, both);
                } else {
                    let states = resized(own, rows * batch.steps * width);
                    pass.series(&sequences, states);
                    spread(states, width, at, resized(&mut rest[0], rows * batch.steps * both), both);
                }
            }
            if let (false, Some(mask)) = (is_last, mask(layer)) {
                series[layer].iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask);
            }
        }
        head.forward(self.head(weights), out.hidden, mask(self.layers - 1), out.logits);
    }

    fn backward(
        &self,
        batch: &Windows<'_>,
        weights: &[f32],
        masks: &[Option<Vec<f32>>],
        tape: &mut Tape,
        by: &[f32],
        gradient: &mut [f32],
    ) {
        let ([read, classes], width, both) = (self.widths(), self.width, self.both());
        let (mut layers, mut by_head) = gradient.split_at_mut(weights.len() - (read + 1) * classes);
        let into_head = take_gradient(&mut by_head, read, classes);
        let mut into: Vec<_> = (0..self.layers)
            .flat_map(|layer| self.orders.iter().map(move |_| layer))
            .map(|layer| {
                let [input, hidden, bias] = self.sizes(layer).map(|size| take_mut(&mut layers, size));
                DirectionGradient { input, hidden, bias }
            })
            .collect();
        let Tape { passes, series, own, head, by_hidden, by_series: [by_made, by_read, by_one] } = tape;
        head.backward(self.head(weights), masks[self.layers - 1].as_deref(), by, into_head, by_hidden);
        for layer in (0..self.layers).rev() {
            let is_last = layer + 1 == self.layers;
            let from = if is_last { &*by_hidden } else { &*by_made };
            for (at, order) in self.orders.iter().enumerate().rev() {
                let sequences = self.sequences(batch, series, layer, *order);
                let by_own = gathered(from, both, at, resized(own, from.len() / both * width), width);
                let read = if is_last { ReadGradient::Ends(by_own) } else { ReadGradient::Series(by_own) };
                let into = into.pop().expect("one a direction and layer");
                let is_first = at + 1 == self.orders.len();
                let values = if is_first { &mut *by_read } else { &mut *by_one };
                let values = (layer > 0).then(|| resized(values, sequences.values.len()));
                let pass = &mut passes[layer * self.orders.len() + at];
                self.kind.backward(self.direction(weights, layer, at), &sequences, read, pass, into, values);
                if layer > 0 && !is_first {
                    by_read.iter_mut().zip(&*by_one).for_each(|(sum, by)| *sum += by);
                }
            }
            std::mem::swap(by_made, by_read);
            if let Some(mask) = layer.checked_sub(1).and_then(|below| masks[below].as_deref()) {
                by_made.iter_mut().zip(mask).for_each(|(by, mask)| *by *= mask);
            }
        }
    }
}

/// Blocks of one direction to their places between those of the others.
fn spread(own: &[f32], width: usize, at: usize, all: &mut [f32], both: usize) {
    for (own, all) in own.chunks_exact(width).zip(all.chunks_exact_mut(both)) {
        all[at * width..][..width].copy_from_slice(own);
    }
}

/// The blocks of one direction out of those of all.
fn gathered<'a>(all: &[f32], both: usize, at: usize, own: &'a mut [f32], width: usize) -> &'a [f32] {
    for (own, all) in own.chunks_exact_mut(width).zip(all.chunks_exact(both)) {
        own.copy_from_slice(&all[at * width..][..width]);
    }
    own
}
