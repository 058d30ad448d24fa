//! Convolutions over the steps of windows, forward and backward, one thread.
//!
//! A filter of `kernel` taps sees `(kernel - 1) / 2` steps before its own and the rest from it on; beyond both ends lie zeros.
//! Nothing is copied tap by tap. Instead inputs are transformed tile by tile so that a tile's outputs need fewer products
//! (`toom_cook` says how and which), and what is transformed once serves the outputs and the gradient by the filters. The gradients
//! are the same linear maps transposed.
//!
//! Columns of the inputs that are zero throughout are left out of the products: half of what a net is fed says how much
//! was missing, which is often nothing. A window's outputs are the same with them, and depend on no other window.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

mod toom_cook;
mod transform;

use std::ops::Range;

use crate::columns::used_columns;
use crate::product::{Size, Start, Strided, multiply, transpose};
use crate::simd::Level;
use toom_cook::{Plan, Scheme};
use transform::{FilterGradients, InputGradients, InputTiles, OutputGradients, Outputs, Taps, Tiles};

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Windows.
    pub rows: usize,
    /// Steps of a window.
    pub steps: usize,
    /// Numbers of a step.
    pub inputs: usize,
    /// Filters, each of which makes a number of each step.
    pub filters: usize,
    /// Steps that a filter sees.
    pub kernel: usize,
}

/// Filters as they are multiplied, for windows of so many steps.
#[derive(Debug, Clone)]
pub struct Filters {
    plan: Plan,
    scheme: Scheme,
    /// Its rows are not looked at.
    shape: Shape,
    /// `[points, blocks, inputs, filters]`.
    values: Vec<f32>,
}

impl Filters {
    /// Transforms the weights of some filters; `shape.rows` is not looked at.
    ///
    /// # Shapes
    /// - `weights`: `[kernel, inputs, filters]`
    ///
    /// # Panics
    /// When `weights` has another length, or a size but that of the rows is 0.
    pub fn new(level: Level, shape: Shape, weights: &[f32]) -> Self {
        let Shape { steps, inputs, filters, kernel, .. } = shape;
        assert!(inputs > 0 && filters > 0, "{shape:?}");
        let plan = Plan::new(steps, kernel);
        let scheme = Scheme::new(plan.points);
        let mut new = Self { plan, scheme, shape, values: vec![0.0; plan.points * plan.blocks * inputs * filters] };
        new.set(level, weights);
        new
    }

    /// Takes other weights.
    ///
    /// # Panics
    /// When `weights` has another length.
    pub fn set(&mut self, level: Level, weights: &[f32]) {
        let Shape { inputs, filters, kernel, .. } = self.shape;
        assert!(weights.len() == kernel * inputs * filters, "{:?}", self.shape);
        let taps = Taps { plan: &self.plan, scheme: &self.scheme, size: inputs * filters };
        level.run(transform::Filters { taps, from: weights, to: &mut self.values });
    }

    /// A point's filters of a block: `[inputs, filters]`.
    fn at(&self, point: usize, block: usize) -> &[f32] {
        let size = self.shape.inputs * self.shape.filters;
        &self.values[(point * self.plan.blocks + block) * size..][..size]
    }

    fn tiles(&self, rows: usize, width: usize) -> Tiles<'_> {
        Tiles { plan: &self.plan, scheme: &self.scheme, rows, steps: self.shape.steps, width }
    }

    /// Tiles of so many rows, counted through.
    fn places(&self, rows: usize) -> usize {
        rows * self.plan.row()
    }
}

/// What [`forward`] leaves for [`backward`]. Its memory is used again.
#[derive(Debug, Default)]
pub struct Seen {
    rows: usize,
    /// Columns of the inputs that are not zero throughout.
    used: Vec<Range<usize>>,
    /// `[points, rows, tiles, used columns]`.
    inputs: Vec<f32>,
}

/// Memory that calls share; what it holds between them does not matter.
#[derive(Debug, Default)]
pub struct Scratch {
    products: Vec<f32>,
    gradients: Vec<f32>,
    filters: Vec<f32>,
    turned: Vec<f32>,
    sizes: Vec<f32>,
}

/// Makes the outputs of some windows, without any bias.
///
/// # Shapes
/// - `x`: `[rows, steps, inputs]`
/// - `y`: `[rows, steps, filters]`
///
/// # Panics
/// When a slice has another length.
pub fn forward(level: Level, filters: &Filters, x: &[f32], seen: &mut Seen, scratch: &mut Scratch, y: &mut [f32]) {
    let Shape { steps, inputs, filters: width, .. } = filters.shape;
    let rows = x.len() / (steps * inputs);
    assert!(x.len() == rows * steps * inputs, "whole windows");
    assert!(y.len() == rows * steps * width, "as many windows");
    let plan = &filters.plan;
    let places = filters.places(rows);
    seen.rows = rows;
    used_columns(level, x, inputs, &mut scratch.sizes, &mut seen.used);
    let kept: usize = seen.used.iter().map(ExactSizeIterator::len).sum();
    resize(&mut seen.inputs, plan.points * places * kept);
    let tiles = filters.tiles(rows, inputs);
    level.run(InputTiles { tiles, used: &seen.used, from: x, to: &mut seen.inputs });

    resize(&mut scratch.products, plan.points * places * width);
    for point in 0..plan.points {
        let inputs = &seen.inputs[point * places * kept..][..places * kept];
        let products = &mut scratch.products[point * places * width..][..places * width];
        let mut start = Start::Zero;
        for block in 0..plan.blocks {
            let size = |columns: usize| Size { rows: places.saturating_sub(block), columns: width, inner: columns };
            let mut at = block * kept;
            for used in &seen.used {
                let a = Strided::rows(inputs.get(at..).unwrap_or(&[]), kept);
                let b = (&filters.at(point, block)[used.start * width..], width);
                multiply(level, size(used.len()), a, b, (products, width), start);
                at += used.len();
                start = Start::Held;
            }
        }
        if start == Start::Zero {
            products.fill(0.0); // nothing was used at all
        }
    }
    level.run(Outputs { tiles: filters.tiles(rows, width), from: &scratch.products, to: y });
}

/// The gradients by weights and, where asked for, by inputs, from those by outputs. `seen` is what [`forward`] left.
///
/// # Shapes
/// - `dy`: `[rows, steps, filters]`
/// - `dw`: `[kernel, inputs, filters]`
/// - `dx`: `[rows, steps, inputs]`
///
/// # Panics
/// When a slice has another length, or `seen` belongs to other windows.
pub fn backward(
    level: Level,
    filters: &Filters,
    seen: &Seen,
    dy: &[f32],
    scratch: &mut Scratch,
    dw: &mut [f32],
    dx: Option<&mut [f32]>,
) {
    let Shape { steps, inputs, filters: width, kernel, .. } = filters.shape;
    let (plan, rows) = (&filters.plan, seen.rows);
    assert!(dy.len() == rows * steps * width, "as many windows as were seen");
    assert!(dw.len() == kernel * inputs * width, "the weights of the filters");
    let places = filters.places(rows);
    resize(&mut scratch.products, plan.points * places * width);
    level.run(OutputGradients { tiles: filters.tiles(rows, width), from: dy, to: &mut scratch.products });

    let kept: usize = seen.used.iter().map(ExactSizeIterator::len).sum();
    resize(&mut scratch.filters, filters.values.len());
    if kept < inputs {
        scratch.filters.fill(0.0);
    }
    let size = inputs * width;
    for point in 0..plan.points {
        let dm = &scratch.products[point * places * width..][..places * width];
        let tiles = &seen.inputs[point * places * kept..][..places * kept];
        for block in 0..plan.blocks {
            let gradient = &mut scratch.filters[(point * plan.blocks + block) * size..][..size];
            let mut at = block * kept;
            for used in &seen.used {
                let size = Size { rows: used.len(), columns: width, inner: places.saturating_sub(block) };
                let a = Strided::rows(tiles.get(at..).unwrap_or(&[]), kept).transposed();
                let gradient = &mut gradient[used.start * width..];
                multiply(level, size, a, (dm, width), (gradient, width), Start::Zero);
                at += used.len();
            }
        }
    }
    let taps = Taps { plan, scheme: &filters.scheme, size };
    level.run(FilterGradients { taps, from: &scratch.filters, to: dw });

    let Some(dx) = dx else { return };
    assert!(dx.len() == rows * steps * inputs, "as many windows as were seen");
    resize(&mut scratch.gradients, plan.points * places * inputs);
    resize(&mut scratch.turned, size);
    for point in 0..plan.points {
        let dm = &scratch.products[point * places * width..][..places * width];
        let gradients = &mut scratch.gradients[point * places * inputs..][..places * inputs];
        for block in 0..plan.blocks {
            transpose(filters.at(point, block), [inputs, width], &mut scratch.turned);
            let size = Size { rows: places.saturating_sub(block), columns: inputs, inner: width };
            let start = if block == 0 { Start::Zero } else { Start::Held };
            let to = gradients.get_mut(block * inputs..).unwrap_or(&mut []);
            multiply(level, size, Strided::rows(dm, width), (&scratch.turned, inputs), (to, inputs), start);
        }
    }
    level.run(InputGradients { tiles: filters.tiles(rows, inputs), from: &scratch.gradients, to: dx });
}

/// Gives a vector a length; what it held is lost.
fn resize(values: &mut Vec<f32>, len: usize) {
    // a longer vector is cut, a shorter one filled: no number is written twice
    values.resize(len, 0.0);
}

#[cfg(test)]
mod tests;
