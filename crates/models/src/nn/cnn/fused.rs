//! The net on slices, for devices that run it as one operation.

use stakeout_kernels::batch_norm::{self, Rows};
use stakeout_kernels::conv::{self, Filters, Seen, Shape};
use stakeout_kernels::linear::Then;
use stakeout_kernels::simd::Level;

use crate::nn::norm::EPSILON;
use crate::nn::ops::parts::{Head, mean, mean_gradient, own_steps, resized, take, take_dense, take_gradient, take_mut};
use crate::nn::ops::whole::{Mode, Out, Whole, Windows};

/// Windows of a part in which a fitted net runs a batch: its numbers stay in the second cache.
const CHUNK: usize = 32;

/// Sizes of the net.
#[derive(Debug)]
pub(super) struct Fused {
    /// Inputs, filters and kernel of each block.
    pub(super) blocks: Vec<[usize; 3]>,
    pub(super) classes: usize,
    pub(super) dropout: f32,
}

/// What a pass leaves.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// Steps for which the filters are laid out.
    steps: usize,
    filters: Vec<Filters>,
    blocks: Vec<BlockTape>,
    own: Vec<f32>,
    share: Vec<f32>,
    is_padded: bool,
    head: Head,
    scratch: conv::Scratch,
    gradients: [Vec<f32>; 2],
    by_hidden: Vec<f32>,
}

#[derive(Debug, Default)]
struct BlockTape {
    seen: Seen,
    /// What the filters made, normalised.
    normal: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    out: Vec<f32>,
}

/// The weights of a block.
struct Block<'a> {
    w: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
}

impl Fused {
    fn width(&self) -> usize {
        self.blocks.last().expect("at least one block")[1]
    }

    /// The weights of each block; what is left are those of the last layer.
    fn weights<'a>(&self, rest: &mut &'a [f32]) -> Vec<Block<'a>> {
        let block = |[inputs, filters, kernel]: &[usize; 3]| Block {
            w: take(rest, kernel * inputs * filters),
            scale: take(rest, *filters),
            shift: take(rest, *filters),
            mean: take(rest, *filters),
            variance: take(rest, *filters),
        };
        self.blocks.iter().map(block).collect()
    }

    /// Lays the filters out.
    fn prepare(&self, steps: usize, weights: &[Block<'_>], tape: &mut Tape) {
        let level = Level::best();
        tape.blocks.resize_with(self.blocks.len(), BlockTape::default);
        if tape.steps == steps && tape.filters.len() == weights.len() {
            tape.filters.iter_mut().zip(weights).for_each(|(filters, block)| filters.set(level, block.w));
            return;
        }
        let filters = self.blocks.iter().zip(weights).map(|([inputs, filters, kernel], block)| {
            let shape = Shape { rows: 0, steps, inputs: *inputs, filters: *filters, kernel: *kernel };
            Filters::new(level, shape, block.w)
        });
        tape.filters = filters.collect();
        tape.steps = steps;
    }

    /// The last block's outputs, with the statistics of the batch.
    fn train(&self, batch: &Windows<'_>, weights: &[Block<'_>], tape: &mut Tape) {
        let level = Level::best();
        let places = batch.lengths.len() * batch.steps;
        tape.is_padded = own_steps(batch, &mut tape.own);
        let kept = tape.own.iter().sum::<f32>().max(1.0);
        tape.share.clear();
        tape.share.extend(tape.own.iter().map(|own| own / kept));
        let rows = Rows { share: &tape.share, own: tape.is_padded.then_some(&tape.own[..]) };
        let mut x = batch.values;
        for (((block, filters), weights), [_, width, _]) in
            tape.blocks.iter_mut().zip(&tape.filters).zip(weights).zip(&self.blocks)
        {
            let BlockTape { seen, normal, mean, variance, out } = block;
            let normal = resized(normal, places * width);
            conv::forward(level, filters, x, seen, &mut tape.scratch, normal);
            let (mean, variance) = (resized(mean, *width), resized(variance, *width));
            let line = [weights.scale, weights.shift];
            batch_norm::forward(
                level,
                rows,
                line,
                EPSILON as f32,
                normal,
                mean,
                variance,
                resized(out, places * width),
            );
            x = out;
        }
    }

    /// The last block's outputs, with the statistics that training observed.
    fn infer(&self, batch: &Windows<'_>, weights: &[Block<'_>], tape: &mut Tape) {
        let level = Level::best();
        let places = batch.lengths.len() * batch.steps;
        let is_padded = own_steps(batch, &mut tape.own);
        let own = is_padded.then_some(&tape.own[..]);
        let mut x = batch.values;
        for (((block, filters), weights), [_, width, _]) in
            tape.blocks.iter_mut().zip(&tape.filters).zip(weights).zip(&self.blocks)
        {
            let (factor, offset) = (resized(&mut block.mean, *width), resized(&mut block.variance, *width));
            for f in 0..*width {
                factor[f] = weights.scale[f] / (weights.variance[f].max(0.0) + EPSILON as f32).sqrt();
                offset[f] = weights.shift[f] - weights.mean[f] * factor[f];
            }
            let out = resized(&mut block.out, places * width);
            conv::forward(level, filters, x, &mut block.seen, &mut tape.scratch, out);
            batch_norm::line_rectified(level, [factor, offset], own, out);
            x = out;
        }
    }
}

impl Whole for Fused {
    type Tape = Tape;

    fn widths(&self) -> [usize; 2] {
        [self.width(), self.classes]
    }

    fn dropouts(&self, _: usize) -> Vec<(usize, f32)> {
        vec![(self.width(), self.dropout)]
    }

    fn forward(&self, batch: &Windows<'_>, weights: &[f32], mode: Mode<'_>, tape: &mut Tape, out: Out<'_>) {
        let width = self.width();
        let mut rest = weights;
        let blocks = self.weights(&mut rest);
        let head = take_dense(&mut rest, width, self.classes, Then::Nothing);
        self.prepare(batch.steps, &blocks, tape);
        let last = self.blocks.len() - 1;
        match mode {
            Mode::Train(masks) => {
                self.train(batch, &blocks, tape);
                mean(batch, width, &tape.blocks[last].out, out.hidden);
                tape.head.forward(head, out.hidden, masks[0].as_deref(), out.logits);
            }
            Mode::Infer => {
                let rows = out.hidden.chunks_mut(CHUNK * width).zip(out.logits.chunks_mut(CHUNK * self.classes));
                for (part, (hidden, logits)) in batch.chunks(CHUNK).zip(rows) {
                    self.infer(&part, &blocks, tape);
                    mean(&part, width, &tape.blocks[last].out, hidden);
                    tape.head.forward(head, hidden, None, logits);
                }
            }
        }
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
        let level = Level::best();
        let width = self.width();
        let places = batch.lengths.len() * batch.steps;
        let mut rest = weights;
        let blocks = self.weights(&mut rest);
        let head = take_dense(&mut rest, width, self.classes, Then::Nothing);
        let Tape {
            filters, blocks: tapes, own, share, is_padded, head: head_tape, scratch, gradients, by_hidden, ..
        } = tape;
        let rows = Rows { share, own: is_padded.then_some(&own[..]) };

        let [by_out, by_x] = gradients;
        let (mut by_blocks, mut by_head) = gradient.split_at_mut(weights.len() - rest_of_head(width, self.classes));
        let into = take_gradient(&mut by_head, width, self.classes);
        head_tape.backward(head, masks[0].as_deref(), by, into, by_hidden);
        mean_gradient(batch, width, by_hidden, resized(by_out, places * width));

        let sizes =
            self.blocks.iter().map(|[inputs, filters, kernel]| [kernel * inputs * filters, *filters, 2 * filters]);
        let places_of_blocks: Vec<_> = sizes
            .map(|[w, filters, observed]| {
                let w = take_mut(&mut by_blocks, w);
                let line = [take_mut(&mut by_blocks, filters), take_mut(&mut by_blocks, filters)];
                take_mut(&mut by_blocks, observed);
                (w, line)
            })
            .collect();
        let all = tapes.iter().zip(filters.iter()).zip(&blocks).zip(&self.blocks).zip(places_of_blocks);
        for (at, ((((tape, filters), weights), [inputs, _, _]), (by_w, by_line))) in all.enumerate().rev() {
            let line = [weights.scale, weights.shift];
            batch_norm::backward(level, rows, line, EPSILON as f32, &tape.variance, &tape.normal, by_out, by_line);
            let dx = (at > 0).then(|| resized(by_x, places * inputs));
            conv::backward(level, filters, &tape.seen, by_out, scratch, by_w, dx);
            std::mem::swap(by_out, by_x);
        }
    }

    fn observed(&self, tape: &Tape) -> Vec<(String, Vec<f32>)> {
        let blocks = tape.blocks.iter().enumerate();
        let each = blocks.flat_map(|(block, tape)| {
            [("mean", &tape.mean), ("variance", &tape.variance)]
                .map(|(part, value)| (format!("cnn.{block}.norm.{part}"), value.clone()))
        });
        each.collect()
    }
}

/// Numbers of the last layer.
fn rest_of_head(width: usize, classes: usize) -> usize {
    (width + 1) * classes
}
