use super::*;
use crate::twin::{self, close, exact, gradient, numbers};

const EPSILON: f32 = 1e-5;

#[test]
fn values_and_gradients_follow_the_formula() {
    for (count, width) in [(0, 3), (1, 1), (3, 2), (5, 15), (4, 16), (3, 64), (2, 101)] {
        let (x, scale, shift) = (numbers(count * width, 1), numbers(width, 2), numbers(width, 3));
        let dy = numbers(count * width, 4);
        let args = [exact(&x), exact(&scale), exact(&shift)];
        let slow = |args: &[Vec<f64>]| twin::layer_norm(&args[0], &args[1], &args[2], f64::from(EPSILON));
        for level in Level::all() {
            let what = |part: &str| format!("{part} of {count} rows of {width}, {level:?}");
            let (mut normal, mut inverse, mut y) = (vec![0.0; x.len()], vec![0.0; count], vec![0.0; x.len()]);
            forward(level, [&scale, &shift], EPSILON, &x, [&mut normal, &mut inverse], &mut y);
            close(&y, &slow(&args), 1e-5, &what("y"));
            let (mut dx, mut dscale, mut dshift) = (dy.clone(), vec![0.0; width], vec![0.0; width]);
            backward(level, &scale, [&normal, &inverse], &mut dx, [&mut dscale, &mut dshift]);
            for (by, got) in [dx, dscale, dshift].iter().enumerate() {
                // two numbers a row: the formula is a step, and its differences are coarse
                let limit = if width == 2 { 2e-2 } else { 2e-4 };
                close(got, &gradient(slow, &args, by, &dy), limit, &what(["dx", "dscale", "dshift"][by]));
            }
        }
    }
}
