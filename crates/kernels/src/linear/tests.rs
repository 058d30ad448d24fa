use proptest::prelude::*;

use super::*;
use crate::twin::{self, close, exact, gradient, numbers};

fn check(rows: usize, inputs: usize, outputs: usize, then: Then, seed: u64) {
    let mut x = numbers(rows * inputs, seed);
    if seed.is_multiple_of(2) {
        // some columns are zero throughout
        x.iter_mut().enumerate().filter(|(at, _)| (at % inputs / 9) % 2 == 1).for_each(|(_, x)| *x = 0.0);
    }
    let (w, b, dy) =
        (numbers(inputs * outputs, seed + 1), numbers(outputs, seed + 2), numbers(rows * outputs, seed + 3));
    let slow = |args: &[Vec<f64>]| -> Vec<f64> {
        let y = twin::dense(&args[0], &args[1], &args[2]);
        y.into_iter().map(|y| if then == Then::Rectify { y.max(0.0) } else { y }).collect()
    };
    let args = [exact(&x), exact(&w), exact(&b)];
    let layer = Dense { w: &w, b: &b, then };
    for level in Level::all() {
        let what = |part: &str| format!("{part} of {rows} rows, {inputs} to {outputs}, {level:?}");
        let mut scratch = Scratch::default();
        let mut y = vec![f32::NAN; rows * outputs];
        layer.forward(level, &x, &mut scratch, &mut y);
        close(&y, &slow(&args), 2e-6 * (1.0 + inputs as f64), &what("y"));
        let mut dz = dy.clone();
        let (mut dw, mut db, mut dx) = (vec![f32::NAN; w.len()], vec![f32::NAN; outputs], vec![f32::NAN; x.len()]);
        let into = Gradient { w: &mut dw, b: &mut db };
        layer.backward(level, &x, &y, &mut dz, &mut scratch, into, Some((&mut dx, Start::Zero)));
        let mut twice = dx.clone();
        let (mut again, mut dz) = (vec![f32::NAN; w.len()], dy.clone());
        let into = Gradient { w: &mut again, b: &mut vec![f32::NAN; outputs] };
        layer.backward(level, &x, &y, &mut dz, &mut scratch, into, Some((&mut twice, Start::Held)));
        assert_eq!(again, dw);
        close(&twice, &exact(&dx).iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-5, &what("twice dx"));
        for (by, got) in [dx, dw, db].iter().enumerate() {
            let expected = gradient(slow, &args, by, &dy);
            close(got, &expected, 2e-6 * (1.0 + (rows + outputs) as f64), &what(["dx", "dw", "db"][by]));
        }
    }
}

#[test]
fn values_and_gradients_follow_the_formula_at_odd_sizes() {
    for (rows, inputs, outputs) in [(0, 2, 3), (1, 1, 1), (1, 101, 5), (3, 17, 33), (7, 40, 16), (33, 5, 2)] {
        check(rows, inputs, outputs, Then::Nothing, 1);
        check(rows, inputs, outputs, Then::Rectify, 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn values_and_gradients_follow_the_formula(
        (rows, inputs, outputs) in (0usize..9, 1usize..40, 1usize..20),
        seed in 1u64..1000,
    ) {
        check(rows, inputs, outputs, Then::Rectify, seed);
    }

    #[test]
    fn a_row_does_not_see_the_others(inputs in 1usize..60, outputs in 1usize..60, seed in 1u64..1000) {
        let (w, b) = (numbers(inputs * outputs, seed), numbers(outputs, seed + 1));
        let layer = Dense { w: &w, b: &b, then: Then::Nothing };
        let x = numbers(7 * inputs, seed + 2);
        for level in Level::all() {
            let run = |x: &[f32]| {
                let mut y = vec![0.0; x.len() / inputs * outputs];
                layer.forward(level, x, &mut Scratch::default(), &mut y);
                y
            };
            let together = run(&x);
            for (x, y) in x.chunks_exact(inputs).zip(together.chunks_exact(outputs)) {
                prop_assert_eq!(run(x), y);
            }
        }
    }
}
