//! Fitted recurrent nets on slices.

use stakeout_core::Scratch;
use stakeout_kernels::linear::{self, Then};
use stakeout_kernels::recurrent::{Keep, Order, Sequences, Tape};
use stakeout_kernels::simd::Level;
use stakeout_kernels::{gru, lstm};

use super::Recurrent;
use crate::nn::export::NamedWeights;
use crate::nn::infer::{Dense, Infer, sized};
use crate::nn::ops::recurrent::Cell;
use crate::nn::prepare::Prepared;

struct Fitted {
    cell: Cell,
    width: usize,
    /// The directions of each layer.
    layers: Vec<Vec<Direction>>,
    head: Dense,
}

struct Direction {
    order: Order,
    input: Vec<f32>,
    hidden: Vec<f32>,
    biases: [Vec<f32>; 2],
}

#[derive(Default)]
struct Memory {
    tape: Tape,
    linear: linear::Scratch,
    /// `[rows, steps, directions · width]`, read and made by a layer.
    series: [Vec<f32>; 2],
    /// The states of one direction, as they come from the kernel.
    states: Vec<f32>,
    /// `[rows, 2 · directions · width]`
    read: Vec<f32>,
}

pub(super) fn build(net: &Recurrent, weights: &NamedWeights<'_>) -> Box<dyn Infer> {
    let direction = |layer: usize, name: &str| {
        let part = |part: &str| weights.get(&format!("{}.{layer}{name}.{part}", net.cell.name)).to_vec();
        let biases = match net.cell.fused {
            Cell::Gru => [part("b_ih"), part("b_hh")],
            Cell::Lstm => [part("b"), Vec::new()],
        };
        let order = if name.is_empty() { Order::Forwards } else { Order::Backwards };
        Direction { order, input: part("w_ih"), hidden: part("w_hh"), biases }
    };
    let layer = |layer: usize| net.directions().iter().map(|name| direction(layer, name)).collect();
    Box::new(Fitted {
        cell: net.cell.fused,
        width: net.config.hidden,
        layers: (0..net.config.layers).map(layer).collect(),
        head: Dense::new(weights, "head"),
    })
}

impl Fitted {
    fn run(&self, level: Level, direction: &Direction, sequences: &Sequences<'_>, tape: &mut Tape) {
        let Direction { input, hidden, biases: [first, second], .. } = direction;
        let width = self.width;
        match self.cell {
            Cell::Gru => {
                let weights = gru::Weights { input, hidden, input_bias: first, hidden_bias: second, width };
                gru::forward(level, weights, sequences, Keep::States, tape);
            }
            Cell::Lstm => {
                let weights = lstm::Weights { input, hidden, bias: first, width };
                lstm::forward(level, weights, sequences, Keep::States, tape);
            }
        }
    }
}

impl Infer for Fitted {
    fn logits(&self, input: &Prepared, scratch: &mut Scratch, logits: &mut [f32]) {
        let level = Level::best();
        let Memory { tape, linear, series: [x, y], states, read } = scratch.state();
        let (rows, steps, width) = (input.rows(), input.steps, self.width);
        let mut inputs = input.width;
        for (number, layer) in self.layers.iter().enumerate() {
            let both = layer.len() * width;
            let last = number + 1 == self.layers.len();
            let (values, constant) = match number {
                0 => (&input.values[..], input.constant),
                _ => (&x[..rows * steps * inputs], 0),
            };
            for (at, direction) in layer.iter().enumerate() {
                let lengths = &input.lengths;
                let sequences = Sequences { values, lengths, steps, inputs, constant, order: direction.order };
                self.run(level, direction, &sequences, tape);
                if last {
                    // the last states of both directions, then both means
                    let ends = sized(states, rows * 2 * width);
                    tape.ends(&sequences, ends);
                    let read = sized(read, rows * 2 * both);
                    for (ends, read) in ends.chunks_exact(2 * width).zip(read.chunks_exact_mut(2 * both)) {
                        read[at * width..][..width].copy_from_slice(&ends[..width]);
                        read[both + at * width..][..width].copy_from_slice(&ends[width..]);
                    }
                } else {
                    let states = sized(states, rows * steps * width);
                    tape.series(&sequences, states);
                    let made = sized(y, rows * steps * both);
                    for (states, made) in states.chunks_exact(width).zip(made.chunks_exact_mut(both)) {
                        made[at * width..][..width].copy_from_slice(states);
                    }
                }
            }
            if !last {
                std::mem::swap(x, y);
                inputs = both;
            }
        }
        let read = sized(read, rows * 2 * self.layers[0].len() * width);
        self.head.run(level, read, Then::Nothing, linear, logits);
    }
}
