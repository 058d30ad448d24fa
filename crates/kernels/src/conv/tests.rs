use proptest::prelude::*;

use super::*;
use crate::twin::{close, numbers};

/// The plain sums in double precision.
fn slow(shape: Shape, w: &[f32], x: &[f32]) -> Vec<f64> {
    let Shape { rows, steps, inputs, filters, kernel } = shape;
    let before = (kernel - 1) / 2;
    let mut y = vec![0.0; rows * steps * filters];
    each(shape, |row, step, tap| {
        let seen = step + tap - before;
        for i in 0..inputs {
            for f in 0..filters {
                let product =
                    f64::from(x[(row * steps + seen) * inputs + i]) * f64::from(w[(tap * inputs + i) * filters + f]);
                y[(row * steps + step) * filters + f] += product;
            }
        }
    });
    y
}

/// Every row, step and tap that meets a step.
fn each(shape: Shape, mut visit: impl FnMut(usize, usize, usize)) {
    let before = (shape.kernel - 1) / 2;
    for row in 0..shape.rows {
        for step in 0..shape.steps {
            for tap in 0..shape.kernel {
                if (before..shape.steps + before).contains(&(step + tap)) {
                    visit(row, step, tap);
                }
            }
        }
    }
}

/// The gradients of `Σ y · dy` in double precision, by weights and inputs.
fn slow_gradients(shape: Shape, w: &[f32], x: &[f32], dy: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let Shape { steps, inputs, filters, kernel, .. } = shape;
    let before = (kernel - 1) / 2;
    let (mut dw, mut dx) = (vec![0.0; w.len()], vec![0.0; x.len()]);
    each(shape, |row, step, tap| {
        let seen = step + tap - before;
        for i in 0..inputs {
            for f in 0..filters {
                let (at_w, at_x) = ((tap * inputs + i) * filters + f, (row * steps + seen) * inputs + i);
                let dy = f64::from(dy[(row * steps + step) * filters + f]);
                dw[at_w] += dy * f64::from(x[at_x]);
                dx[at_x] += dy * f64::from(w[at_w]);
            }
        }
    });
    (dw, dx)
}

/// What a sum of so many terms may be off by.
fn limit(terms: usize) -> f64 {
    4e-6 * (terms as f64).sqrt().max(1.0)
}

fn check(shape: Shape, seed: u64) {
    let Shape { rows, steps, inputs, filters, kernel } = shape;
    let w = numbers(kernel * inputs * filters, seed);
    let mut x = numbers(rows * steps * inputs, seed + 1);
    if seed.is_multiple_of(2) {
        // some columns are zero throughout
        x.iter_mut().enumerate().filter(|(at, _)| (at % inputs / 9) % 2 == 1).for_each(|(_, x)| *x = 0.0);
    }
    let dy = numbers(rows * steps * filters, seed + 2);
    let expected = slow(shape, &w, &x);
    let (expected_dw, expected_dx) = slow_gradients(shape, &w, &x, &dy);
    for level in Level::all() {
        let prepared = Filters::new(level, shape, &w);
        let (mut seen, mut scratch) = (Seen::default(), Scratch::default());
        let mut y = vec![f32::NAN; expected.len()];
        forward(level, &prepared, &x, &mut seen, &mut scratch, &mut y);
        close(&y, &expected, limit(kernel.min(steps) * inputs), &format!("y of {shape:?}, {level:?}"));
        let (mut dw, mut dx) = (vec![f32::NAN; w.len()], vec![f32::NAN; x.len()]);
        backward(level, &prepared, &seen, &dy, &mut scratch, &mut dw, Some(&mut dx));
        close(&dw, &expected_dw, limit(rows * steps), &format!("dw of {shape:?}, {level:?}"));
        close(&dx, &expected_dx, limit(kernel.min(steps) * filters), &format!("dx of {shape:?}, {level:?}"));
        let mut alone = vec![f32::NAN; w.len()];
        backward(level, &prepared, &seen, &dy, &mut scratch, &mut alone, None);
        assert_eq!(alone, dw);
    }
}

#[test]
fn as_the_plain_sums_at_odd_sizes() {
    for (steps, kernel) in
        [(20, 5), (20, 8), (20, 3), (1, 5), (1, 1), (2, 2), (3, 64), (7, 4), (9, 7), (13, 6), (5, 12)]
    {
        for (rows, inputs, filters) in [(1, 1, 1), (3, 2, 5), (2, 101, 3), (1, 17, 33)] {
            check(Shape { rows, steps, inputs, filters, kernel }, 3 + steps as u64);
        }
    }
    check(Shape { rows: 0, steps: 3, inputs: 2, filters: 2, kernel: 3 }, 1);
}

#[test]
fn nothing_but_zeros_gives_zeros() {
    let shape = Shape { rows: 2, steps: 6, inputs: 3, filters: 2, kernel: 5 };
    let (w, x) = (numbers(30, 1), [0.0; 36]);
    let level = Level::best();
    let prepared = Filters::new(level, shape, &w);
    let (mut seen, mut scratch, mut y) = (Seen::default(), Scratch::default(), [f32::NAN; 24]);
    forward(level, &prepared, &x, &mut seen, &mut scratch, &mut y);
    assert_eq!(y, [0.0; 24]);
    let (mut dw, mut dx) = ([f32::NAN; 30], [f32::NAN; 36]);
    backward(level, &prepared, &seen, &[1.0; 24], &mut scratch, &mut dw, Some(&mut dx));
    assert_eq!(dw, [0.0; 30]);
    assert!(dx.iter().all(|x| *x != 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn as_the_plain_sums(
        (rows, steps, inputs, filters, kernel) in (0usize..4, 1usize..30, 1usize..40, 1usize..40, 1usize..20),
        seed in 1u64..1000,
    ) {
        check(Shape { rows, steps, inputs, filters, kernel }, seed);
    }

    /// Central differences are exact for a linear map: the gradients belong to this very forward pass.
    #[test]
    fn gradients_are_differences((steps, kernel) in (1usize..24, 1usize..12), seed in 1u64..1000) {
        let shape = Shape { rows: 2, steps, inputs: 3, filters: 4, kernel };
        let w = numbers(kernel * 12, seed);
        let x = numbers(2 * steps * 3, seed + 1);
        let dy = numbers(2 * steps * 4, seed + 2);
        let level = Level::best();
        let value = |w: &[f32], x: &[f32]| {
            let mut y = vec![0.0; dy.len()];
            forward(level, &Filters::new(level, shape, w), x, &mut Seen::default(), &mut Scratch::default(), &mut y);
            y.iter().zip(&dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum::<f64>()
        };
        let prepared = Filters::new(level, shape, &w);
        let (mut seen, mut scratch) = (Seen::default(), Scratch::default());
        let mut y = vec![0.0; dy.len()];
        forward(level, &prepared, &x, &mut seen, &mut scratch, &mut y);
        let (mut dw, mut dx) = (vec![0.0; w.len()], vec![0.0; x.len()]);
        backward(level, &prepared, &seen, &dy, &mut scratch, &mut dw, Some(&mut dx));
        let moved = |values: &[f32], at: usize, by: f32| {
            let mut values = values.to_vec();
            values[at] += by;
            values
        };
        for (at, dw) in dw.iter().enumerate() {
            let difference = (value(&moved(&w, at, 0.5), &x) - value(&moved(&w, at, -0.5), &x)) as f32;
            prop_assert!((difference - dw).abs() < 2e-4, "weight {at}: {difference} and {}", dw);
        }
        for (at, dx) in dx.iter().enumerate() {
            let difference = (value(&w, &moved(&x, at, 0.5)) - value(&w, &moved(&x, at, -0.5))) as f32;
            prop_assert!((difference - dx).abs() < 2e-4, "input {at}: {difference} and {}", dx);
        }
    }

    #[test]
    fn a_window_does_not_see_the_others((steps, kernel) in (1usize..24, 1usize..12), seed in 1u64..1000) {
        let shape = Shape { rows: 3, steps, inputs: 19, filters: 21, kernel };
        let x = numbers(3 * steps * 19, seed);
        for level in Level::all() {
            let prepared = Filters::new(level, shape, &numbers(kernel * 19 * 21, seed + 1));
            let run = |x: &[f32]| {
                let mut y = vec![0.0; x.len() / 19 * 21];
                forward(level, &prepared, x, &mut Seen::default(), &mut Scratch::default(), &mut y);
                y
            };
            let together = run(&x);
            for (x, y) in x.chunks_exact(steps * 19).zip(together.chunks_exact(steps * 21)) {
                prop_assert_eq!(run(x), y);
            }
        }
    }
}
