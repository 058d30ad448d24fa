//! What recurrent layers share: the walk over the steps of a batch of sequences, forwards and for the gradient.
//!
//! Of the four blocks that a row holds at each step, a cell makes its gates in place; on the way back each becomes the
//! gradient by what went into it. So one memory serves both passes, and all gradients by weights are two long products over
//! the steps of all rows at the end. Inside, time comes first: the rows of a step lie together.
//!
//! A row's result depends on no other row and not on how many there are, bit for bit. Gradients by weights are sums over
//! steps, then rows, in order.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::product::{Product, Size, Start, Strided, transpose};
use crate::simd::{Level, load, parts, store};

/// A batch of sequences as a layer reads it.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// What is read. Padding steps may hold anything.
    ///
    /// # Shapes
    /// `[rows, steps, inputs]`
    pub values: &'a [f32],
    /// Own steps of each row, from its first; the others are padding, at which the state is held.
    pub lengths: &'a [u32],
    /// Steps of every row, padding included.
    pub steps: usize,
    /// Numbers of a step.
    pub inputs: usize,
    /// How many of the last inputs are the same at all own steps of a row: their part is computed once a row.
    pub constant: usize,
    /// In which order the steps are read.
    pub order: Order,
}

/// The order in which steps are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last; padding comes last.
    Forwards,
    /// From the last to the first; padding comes first, at which the state stays zero.
    Backwards,
}

impl Sequences<'_> {
    fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Inputs that may differ from step to step.
    fn varying(&self) -> usize {
        self.inputs - self.constant
    }

    /// The step that is read as number `turn`.
    fn step(&self, turn: usize) -> usize {
        match self.order {
            Order::Forwards => turn,
            Order::Backwards => self.steps - 1 - turn,
        }
    }

    fn owns(&self, row: usize, step: usize) -> bool {
        step < self.lengths[row] as usize
    }

    /// Where what is kept stands before and after a step, on a line of one place more than steps.
    fn places(&self, step: usize) -> [usize; 2] {
        match self.order {
            Order::Forwards => [step, step + 1],
            Order::Backwards => [step + 1, step],
        }
    }

    fn check(&self) {
        assert_eq!(self.values.len(), self.rows() * self.steps * self.inputs, "rows of steps of inputs");
        assert!(self.steps > 0 && self.constant <= self.inputs, "a step, and no more constant inputs than there are");
        assert!(self.lengths.iter().all(|length| *length as usize <= self.steps), "no more own steps than steps");
    }
}

/// What a pass is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Its states alone.
    States,
    /// Also what the gradient needs.
    All,
}

/// The gradient of a loss by what was read off a pass.
#[derive(Debug, Clone, Copy)]
pub enum ReadGradient<'a> {
    /// By what [`Tape::series`] wrote, `[rows, steps, width]`.
    Series(&'a [f32]),
    /// By what [`Tape::ends`] wrote, `[rows, 2 · width]`.
    Ends(&'a [f32]),
}

/// The states of a pass and what its gradient needs. Memory that was large enough once is not allocated again.
#[derive(Debug, Default)]
pub struct Tape {
    rows: usize,
    steps: usize,
    width: usize,
    /// Blocks of a row in `kept`.
    blocks: usize,
    /// Whether its gates are gates no more, or were not kept.
    spent: bool,
    /// By step, unless only the states are kept: four blocks a row, then [`GAP`].
    gates: Vec<f32>,
    /// By place (`Sequences::places`): what a row keeps from step to step, the state first.
    kept: Vec<f32>,
    /// What goes into the gates whatever the step: biases, and the part of the constant inputs.
    base: Vec<f32>,
    /// For the gradient: by what is kept, sums of the gates' over all steps, and the inputs by step.
    carry: Vec<f32>,
    sums: Vec<f32>,
    inputs: Vec<f32>,
    /// Transposed weights.
    turned: Vec<f32>,
    /// Biases as they go into the gates.
    pub(crate) bias: Vec<f32>,
}

/// Numbers between two rows of gates: with rows of a power of two, the steps of a long product would meet in a few sets of
/// the first cache.
const GAP: usize = 16;
/// Blocks of gates a row.
const GATES: usize = 4;
/// With fewer rows than this, the inputs of all steps of a row are projected at once instead of those of all rows of a step.
const FEW: usize = 8;

impl Tape {
    /// The states after every step.
    ///
    /// # Shapes
    /// `out`: `[rows, steps, width]`
    ///
    /// # Panics
    /// When `out` has another length, or the tape is of another batch than `sequences`.
    pub fn series(&self, sequences: &Sequences<'_>, out: &mut [f32]) {
        let [rows, steps, width] = [self.rows, self.steps, self.width];
        assert!(out.len() == rows * steps * width && sequences.rows() == rows && sequences.steps == steps);
        for (row, out) in out.chunks_exact_mut(steps * width).enumerate() {
            for (step, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(self.state(sequences, row, step));
            }
        }
    }

    /// The state after the last step that is read beside the mean state over own steps (zero without any).
    ///
    /// # Shapes
    /// `out`: `[rows, 2 · width]`
    ///
    /// # Panics
    /// When `out` has another length, or the tape is of another batch than `sequences`.
    pub fn ends(&self, sequences: &Sequences<'_>, out: &mut [f32]) {
        let [rows, steps, width] = [self.rows, self.steps, self.width];
        assert!(out.len() == rows * 2 * width && sequences.rows() == rows && sequences.steps == steps);
        for (row, out) in out.chunks_exact_mut(2 * width).enumerate() {
            let (last, mean) = out.split_at_mut(width);
            last.copy_from_slice(self.state(sequences, row, sequences.step(steps - 1)));
            mean.fill(0.0);
            for step in 0..sequences.lengths[row] as usize {
                mean.iter_mut().zip(self.state(sequences, row, step)).for_each(|(sum, state)| *sum += state);
            }
            let share = 1.0 / sequences.lengths[row].max(1) as f32;
            mean.iter_mut().for_each(|sum| *sum *= share);
        }
    }

    /// A row's state after a step.
    fn state(&self, sequences: &Sequences<'_>, row: usize, step: usize) -> &[f32] {
        let [_, place] = sequences.places(step);
        &self.kept[(place * self.rows + row) * self.blocks * self.width..][..self.width]
    }
}

/// A product with the state before a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The first of its gates, as they stand side by side in the weights.
    pub(crate) from: usize,
    /// How many gates it makes.
    pub(crate) gates: usize,
    /// The block of a row where they begin.
    pub(crate) to: usize,
}

/// One kind of layer, row by row.
pub(crate) trait Cell {
    /// Gates side by side in the weights.
    const GATES: usize;
    /// What a row keeps from step to step, in blocks, the state first.
    const KEPT: usize;
    /// Its products with the state; together they read all gates of the weights.
    const HELD: &'static [Held];

    /// From sums to gates, in place, and from what was kept to what is.
    fn forward<S: Simd>(simd: S, width: usize, gates: &mut [f32], before: &[f32], after: &mut [f32]);

    /// From gates to gradients by their sums, in place, and from the gradient by what is kept after the step to the one by
    /// what was kept before it, save for the way through the products with the state.
    fn backward<S: Simd>(simd: S, width: usize, gates: &mut [f32], before: &[f32], after: &[f32], carry: &mut [f32]);
}

/// The matrices of a layer, gates side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrices<'a> {
    /// `[inputs, gates · width]`
    pub(crate) input: &'a [f32],
    /// `[width, gates · width]`
    pub(crate) hidden: &'a [f32],
    pub(crate) width: usize,
}

/// The gradients by the matrices of a layer and, where they are asked for, by its inputs.
#[derive(Debug)]
pub(crate) struct MatrixGradients<'a> {
    pub(crate) input: &'a mut [f32],
    pub(crate) hidden: &'a mut [f32],
    /// `[rows, steps, inputs]`; 0 at padding steps.
    pub(crate) values: Option<&'a mut [f32]>,
}

/// Runs a layer. `bias` is one row of four blocks.
pub(crate) fn forward<C: Cell>(
    level: Level,
    matrices: Matrices<'_>,
    bias: &[f32],
    sequences: &Sequences<'_>,
    keep: Keep,
    tape: &mut Tape,
) {
    sequences.check();
    check_matrices::<C>(matrices, sequences);
    level.run(Forward::<C> { matrices, bias, sequences, keep, tape, cell: std::marker::PhantomData });
}

fn check_matrices<C: Cell>(matrices: Matrices<'_>, sequences: &Sequences<'_>) {
    let Matrices { input, hidden, width } = matrices;
    assert_eq!(input.len(), sequences.inputs * C::GATES * width, "weights of every input and gate");
    assert_eq!(hidden.len(), width * C::GATES * width, "weights of every unit and gate");
}

struct Forward<'a, C> {
    matrices: Matrices<'a>,
    bias: &'a [f32],
    sequences: &'a Sequences<'a>,
    keep: Keep,
    tape: &'a mut Tape,
    cell: std::marker::PhantomData<C>,
}

impl<C: Cell> WithSimd for Forward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrices: Matrices { input, hidden, width }, bias, sequences, keep, tape, .. } = self;
        let (rows, steps, varying) = (sequences.rows(), sequences.steps, sequences.varying());
        let (columns, row_len, kept_len) = (C::GATES * width, GATES * width + GAP, C::KEPT * width);
        (tape.rows, tape.steps, tape.width, tape.blocks) = (rows, steps, width, C::KEPT);
        tape.spent = keep == Keep::States;
        let at_once = rows < FEW;
        let stored = if keep == Keep::All || at_once { steps } else { 1 };
        tape.gates.resize(stored * rows * row_len, 0.0);
        tape.kept.resize((steps + 1) * rows * kept_len, 0.0);
        let [first, _] = sequences.places(sequences.step(0));
        tape.kept[first * rows * kept_len..][..rows * kept_len].fill(0.0);

        // biases, and the part of the constant inputs, which stand at a row's first step
        tape.base.clear();
        (0..rows).for_each(|_| tape.base.extend_from_slice(bias));
        let size = |rows, columns, inner| Size { rows, columns, inner };
        if rows > 0 && sequences.constant > 0 {
            Product {
                size: size(rows, columns, sequences.constant),
                a: Strided { values: &sequences.values[varying..], row: steps * sequences.inputs, column: 1 },
                b: &input[varying * columns..],
                b_row: columns,
                c: &mut tape.base,
                c_row: GATES * width,
                start: Start::Held,
            }
            .run(simd);
        }
        if at_once {
            for row in 0..rows {
                Product {
                    size: size(steps, columns, varying),
                    a: Strided::rows(&sequences.values[row * steps * sequences.inputs..], sequences.inputs),
                    b: input,
                    b_row: columns,
                    c: &mut tape.gates[row * row_len..],
                    c_row: rows * row_len,
                    start: Start::Rows(&tape.base[row * GATES * width..], 0),
                }
                .run(simd);
            }
        }
        if rows == 0 {
            return;
        }

        for turn in 0..steps {
            let step = sequences.step(turn);
            let at = if stored == 1 { 0 } else { step };
            let gates = &mut tape.gates[at * rows * row_len..][..rows * row_len];
            if !at_once {
                Product {
                    size: size(rows, columns, varying),
                    a: Strided {
                        values: &sequences.values[step * sequences.inputs..],
                        row: steps * sequences.inputs,
                        column: 1,
                    },
                    b: input,
                    b_row: columns,
                    c: gates,
                    c_row: row_len,
                    start: Start::Rows(&tape.base, GATES * width),
                }
                .run(simd);
            }
            let (earlier, later) = tape.kept[step * rows * kept_len..].split_at_mut(rows * kept_len);
            let (before, after) = match sequences.order {
                Order::Forwards => (&*earlier, &mut later[..rows * kept_len]),
                Order::Backwards => (&later[..rows * kept_len], earlier),
            };
            for held in C::HELD {
                // the inputs have no part in a block behind those of the gates
                let apart = (held.to >= C::GATES).then(|| &tape.base[held.to * width..]);
                if turn > 0 {
                    Product {
                        size: size(rows, held.gates * width, width),
                        a: Strided::rows(before, kept_len),
                        b: &hidden[held.from * width..],
                        b_row: columns,
                        c: &mut gates[held.to * width..],
                        c_row: row_len,
                        start: apart.map_or(Start::Held, |base| Start::Rows(base, GATES * width)),
                    }
                    .run(simd);
                } else if let Some(base) = apart {
                    for (gates, base) in gates.chunks_exact_mut(row_len).zip(base.chunks(GATES * width)) {
                        gates[held.to * width..][..held.gates * width].copy_from_slice(&base[..held.gates * width]);
                    }
                }
            }
            let kept = before.chunks_exact(kept_len).zip(after.chunks_exact_mut(kept_len));
            for (row, (gates, (before, after))) in gates.chunks_exact_mut(row_len).zip(kept).enumerate() {
                if sequences.owns(row, step) {
                    C::forward(simd, width, &mut gates[..GATES * width], before, after);
                } else {
                    after.copy_from_slice(before);
                }
            }
        }
    }
}

/// The gradient of a pass with [`Keep::All`], whose tape it uses up. Writes the gradients and returns their sums over all
/// steps and rows by block of a row: those of the biases.
pub(crate) fn backward<'a, C: Cell>(
    level: Level,
    matrices: Matrices<'_>,
    sequences: &Sequences<'_>,
    read: ReadGradient<'_>,
    tape: &'a mut Tape,
    out: MatrixGradients<'_>,
) -> &'a [f32] {
    sequences.check();
    check_matrices::<C>(matrices, sequences);
    let [rows, steps, width] = [sequences.rows(), sequences.steps, matrices.width];
    assert!([tape.rows, tape.steps, tape.width, tape.blocks] == [rows, steps, width, C::KEPT], "the tape of this pass");
    assert!(!tape.spent, "a tape that kept all, for one gradient");
    assert!(out.input.len() == matrices.input.len() && out.hidden.len() == matrices.hidden.len());
    assert!(out.values.as_ref().is_none_or(|values| values.len() == sequences.values.len()));
    match read {
        ReadGradient::Series(by) => assert_eq!(by.len(), rows * steps * width, "a gradient a state"),
        ReadGradient::Ends(by) => assert_eq!(by.len(), rows * 2 * width, "a gradient a number read off"),
    }
    level.run(Backward::<C> { matrices, sequences, read, tape, out, cell: std::marker::PhantomData });
    tape.spent = true;
    &tape.sums[..GATES * width]
}

struct Backward<'a, C> {
    matrices: Matrices<'a>,
    sequences: &'a Sequences<'a>,
    read: ReadGradient<'a>,
    tape: &'a mut Tape,
    out: MatrixGradients<'a>,
    cell: std::marker::PhantomData<C>,
}

impl<C: Cell> WithSimd for Backward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrices: Matrices { input, hidden, width }, sequences, read, tape, out, .. } = self;
        let (rows, steps, inputs) = (sequences.rows(), sequences.steps, sequences.inputs);
        let (columns, row_len, kept_len) = (C::GATES * width, GATES * width + GAP, C::KEPT * width);
        let size = |rows, columns, inner| Size { rows, columns, inner };
        tape.sums.clear();
        tape.sums.resize(rows.max(1) * GATES * width, 0.0);
        tape.carry.clear();
        tape.carry.resize(rows * kept_len, 0.0);
        tape.turned.resize(hidden.len() + out.values.as_ref().map_or(0, |_| input.len()), 0.0);
        let (hidden_turned, input_turned) = tape.turned.split_at_mut(hidden.len());
        transpose(hidden, [width, columns], hidden_turned);
        if out.values.is_some() {
            transpose(input, [inputs, columns], input_turned);
        }
        let mut by_values = out.values;
        if let ReadGradient::Ends(by) = read {
            for (carry, by) in tape.carry.chunks_exact_mut(kept_len).zip(by.chunks_exact(2 * width)) {
                carry[..width].copy_from_slice(&by[..width]);
            }
        }

        for turn in (0..steps).rev().filter(|_| rows > 0) {
            let step = sequences.step(turn);
            let gates = &mut tape.gates[step * rows * row_len..][..rows * row_len];
            let [before, after] =
                sequences.places(step).map(|place| &tape.kept[place * rows * kept_len..][..rows * kept_len]);
            let kept = before.chunks_exact(kept_len).zip(after.chunks_exact(kept_len));
            let own = gates.chunks_exact_mut(row_len).zip(kept).zip(tape.carry.chunks_exact_mut(kept_len));
            for (row, (((gates, (before, after)), carry), sums)) in
                own.zip(tape.sums.chunks_exact_mut(GATES * width)).enumerate()
            {
                let gates = &mut gates[..GATES * width];
                let owns = sequences.owns(row, step);
                match read {
                    ReadGradient::Series(by) => {
                        add_scaled(simd, &mut carry[..width], 1.0, &by[(row * steps + step) * width..][..width]);
                    }
                    ReadGradient::Ends(by) if owns => {
                        let share = 1.0 / sequences.lengths[row] as f32;
                        add_scaled(simd, &mut carry[..width], share, &by[(2 * row + 1) * width..][..width]);
                    }
                    ReadGradient::Ends(_) => {}
                }
                if owns {
                    C::backward(simd, width, gates, before, after, carry);
                    add_scaled(simd, sums, 1.0, gates);
                } else {
                    gates.fill(0.0);
                }
            }
            for held in C::HELD.iter().filter(|_| turn > 0) {
                Product {
                    size: size(rows, width, held.gates * width),
                    a: Strided::rows(&gates[held.to * width..], row_len),
                    b: &hidden_turned[held.from * width * width..],
                    b_row: width,
                    c: &mut tape.carry,
                    c_row: kept_len,
                    start: Start::Held,
                }
                .run(simd);
            }
            if let Some(by_values) = by_values.as_deref_mut().filter(|by| !by.is_empty()) {
                Product {
                    size: size(rows, inputs, columns),
                    a: Strided::rows(gates, row_len),
                    b: input_turned,
                    b_row: inputs,
                    c: &mut by_values[step * inputs..],
                    c_row: steps * inputs,
                    start: Start::Zero,
                }
                .run(simd);
            }
        }

        Gradients { sequences, width, gates: &tape.gates, kept: &tape.kept, sums: &tape.sums }.run::<S, C>(
            simd,
            &mut tape.inputs,
            out.input,
            out.hidden,
        );
        // sums of rows to one row
        let (total, others) = tape.sums.split_at_mut(GATES * width);
        others.chunks_exact(GATES * width).for_each(|row| add_scaled(simd, total, 1.0, row));
    }
}

/// The gradients by the gates' sums, from which those by the matrices are made.
struct Gradients<'a> {
    sequences: &'a Sequences<'a>,
    width: usize,
    gates: &'a [f32],
    kept: &'a [f32],
    sums: &'a [f32],
}

impl Gradients<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Cell>(&self, simd: S, copy: &mut Vec<f32>, by_input: &mut [f32], by_hidden: &mut [f32]) {
        let (sequences, width) = (self.sequences, self.width);
        let (rows, steps, inputs, varying) = (sequences.rows(), sequences.steps, sequences.inputs, sequences.varying());
        let (columns, row_len, kept_len) = (C::GATES * width, GATES * width + GAP, C::KEPT * width);
        let size = |rows, columns, inner| Size { rows, columns, inner };
        // inputs with the steps in front, so that one product adds up all; padding as zeros, whatever it holds
        copy.clear();
        for step in 0..steps {
            for row in 0..rows {
                let values = &sequences.values[(row * steps + step) * inputs..][..varying];
                if step < sequences.lengths[row] as usize {
                    copy.extend_from_slice(values);
                } else {
                    copy.resize(copy.len() + varying, 0.0);
                }
            }
        }
        let (by_varying, by_constant) = by_input.split_at_mut(varying * columns);
        Product {
            size: size(varying, columns, steps * rows),
            a: Strided::rows(copy, varying).transposed(),
            b: self.gates,
            b_row: row_len,
            c: by_varying,
            c_row: columns,
            start: Start::Zero,
        }
        .run(simd);
        if sequences.constant > 0 {
            copy.clear();
            for row in 0..rows {
                let values = &sequences.values[row * steps * inputs + varying..][..sequences.constant];
                match sequences.lengths[row] {
                    0 => copy.resize(copy.len() + sequences.constant, 0.0),
                    _ => copy.extend_from_slice(values),
                }
            }
            Product {
                size: size(sequences.constant, columns, rows),
                a: Strided::rows(copy, sequences.constant).transposed(),
                b: self.sums,
                b_row: GATES * width,
                c: by_constant,
                c_row: columns,
                start: Start::Zero,
            }
            .run(simd);
        }
        // the state before the step that is read first is zero
        let [gates, kept] = match sequences.order {
            Order::Forwards => [rows * row_len, rows * kept_len],
            Order::Backwards => [0, rows * kept_len],
        };
        for held in C::HELD {
            Product {
                size: size(width, held.gates * width, (steps - 1) * rows),
                a: Strided::rows(&self.kept[kept..], kept_len).transposed(),
                b: self.gates.get(gates + held.to * width..).unwrap_or_default(),
                b_row: row_len,
                c: &mut by_hidden[held.from * width..],
                c_row: columns,
                start: Start::Zero,
            }
            .run(simd);
        }
    }
}

/// The four blocks of a row.
#[inline(always)]
pub(crate) fn blocks(row: &mut [f32], width: usize) -> [&mut [f32]; GATES] {
    let (a, rest) = row.split_at_mut(width);
    let (b, rest) = rest.split_at_mut(width);
    let (c, rest) = rest.split_at_mut(width);
    [a, b, c, &mut rest[..width]]
}

/// `out += factor · row`.
#[inline(always)]
fn add_scaled<S: Simd>(simd: S, out: &mut [f32], factor: f32, row: &[f32]) {
    let factor = simd.splat_f32s(factor);
    parts::<S>(
        out.len(),
        #[inline(always)]
        |part| {
            let sum = simd.mul_add_e_f32s(factor, load(simd, row, part), load(simd, out, part));
            store(simd, out, part, sum);
        },
    );
}

#[cfg(test)]
pub(crate) mod tests;
