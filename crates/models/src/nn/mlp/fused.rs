//! The net on slices, for devices that run it as one operation.

use stakeout_kernels::linear::{Dense, Scratch, Then};
use stakeout_kernels::product::Start;
use stakeout_kernels::simd::Level;

use crate::nn::ops::parts::{Head, resized, take_dense, take_gradient};
use crate::nn::ops::whole::{Mode, Out, Whole, Windows};

/// Sizes of the net.
#[derive(Debug)]
pub(super) struct Fused {
    pub(super) inputs: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) classes: usize,
    pub(super) dropout: f32,
}

/// What a pass leaves.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// What each layer made, before its dropout.
    made: Vec<Vec<f32>>,
    /// What each layer but the first read.
    read: Vec<Vec<f32>>,
    head: Head,
    scratch: Scratch,
    gradients: [Vec<f32>; 2],
}

impl Fused {
    fn width(&self, layer: usize) -> usize {
        if layer == 0 { self.inputs } else { self.hidden }
    }

    fn weights<'a>(&self, mut rest: &'a [f32]) -> (Vec<Dense<'a>>, Dense<'a>) {
        let layer = |layer| take_dense(&mut rest, self.width(layer), self.hidden, Then::Rectify);
        let layers = (0..self.layers).map(layer).collect();
        (layers, take_dense(&mut rest, self.hidden, self.classes, Then::Nothing))
    }
}

impl Whole for Fused {
    type Tape = Tape;

    fn widths(&self) -> [usize; 2] {
        [self.hidden, self.classes]
    }

    fn dropouts(&self, _: usize) -> Vec<(usize, f32)> {
        vec![(self.hidden, self.dropout); self.layers]
    }

    fn forward(&self, batch: &Windows<'_>, weights: &[f32], mode: Mode<'_>, tape: &mut Tape, out: Out<'_>) {
        let (layers, head) = self.weights(weights);
        let masks = if let Mode::Train(masks) = mode { masks } else { &[] };
        let mask = |layer: usize| masks.get(layer).and_then(Option::as_deref);
        let Tape { made, read, head: head_tape, scratch, .. } = tape;
        made.resize_with(self.layers, Vec::new);
        read.resize_with(self.layers, Vec::new);
        let len = batch.lengths.len() * self.hidden;
        for (at, layer) in layers.iter().enumerate() {
            let (before, after) = made.split_at_mut(at);
            let x = match before.last() {
                Some(made) => {
                    masked(made, mask(at - 1), &mut read[at]);
                    &read[at]
                }
                None => batch.values,
            };
            layer.forward(Level::best(), x, scratch, resized(&mut after[0], len));
        }
        out.hidden.copy_from_slice(&made[self.layers - 1]);
        head_tape.forward(head, out.hidden, mask(self.layers - 1), out.logits);
    }

    fn backward(
        &self,
        batch: &Windows<'_>,
        weights: &[f32],
        masks: &[Option<Vec<f32>>],
        tape: &mut Tape,
        by: &[f32],
        mut gradient: &mut [f32],
    ) {
        let (layers, head) = self.weights(weights);
        let mut into: Vec<_> =
            (0..self.layers).map(|layer| take_gradient(&mut gradient, self.width(layer), self.hidden)).collect();
        let into_head = take_gradient(&mut gradient, self.hidden, self.classes);
        let Tape { made, read, head: head_tape, scratch, gradients: [by_made, by_read] } = tape;
        head_tape.backward(head, masks[self.layers - 1].as_deref(), by, into_head, by_made);
        for at in (0..self.layers).rev() {
            let x = if at == 0 { batch.values } else { &read[at] };
            let dx = (at > 0).then(|| (resized(by_read, x.len()), Start::Zero));
            let into = into.pop().expect("one a layer");
            layers[at].backward(Level::best(), x, &made[at], by_made, scratch, into, dx);
            if at > 0 {
                masked(by_read, masks[at - 1].as_deref(), by_made);
            }
        }
    }
}

/// `to = mask · from`.
fn masked(from: &[f32], mask: Option<&[f32]>, to: &mut Vec<f32>) {
    to.clear();
    match mask {
        Some(mask) => to.extend(from.iter().zip(mask).map(|(x, mask)| x * mask)),
        None => to.extend_from_slice(from),
    }
}
