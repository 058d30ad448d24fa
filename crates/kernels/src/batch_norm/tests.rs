use super::*;
use crate::twin::{close, exact, gradient, numbers};

const EPSILON: f32 = 1e-3;

/// `args`: inputs, scale, shift.
fn twin(args: &[Vec<f64>], share: &[f32], own: Option<&[f32]>) -> Vec<f64> {
    let [x, scale, shift] = args else { panic!("three arguments") };
    let width = scale.len();
    let column = |f: usize| x.iter().skip(f).step_by(width).zip(share).map(|(x, s)| (*x, f64::from(*s)));
    let mut y = vec![0.0; x.len()];
    for f in 0..width {
        let mean: f64 = column(f).map(|(x, s)| s * x).sum();
        let variance: f64 = column(f).map(|(x, s)| s * (x - mean).powi(2)).sum();
        for row in 0..share.len() {
            let normal = (x[row * width + f] - mean) / (variance + f64::from(EPSILON)).sqrt();
            let kept = own.map_or(1.0, |own| f64::from(own[row]));
            y[row * width + f] = kept * (scale[f] * normal + shift[f]).max(0.0);
        }
    }
    y
}

fn check(count: usize, width: usize, padded: bool) {
    let (x, scale, shift) = (numbers(count * width, 1), numbers(width, 2), numbers(width, 3));
    let dy = numbers(count * width, 4);
    let mask: Vec<f32> = (0..count).map(|row| if row % 3 == 1 { 0.0 } else { 1.0 }).collect();
    let own = padded.then_some(&mask[..]);
    let kept = own.map_or(count as f32, |own| own.iter().sum());
    let share: Vec<f32> = (0..count).map(|row| own.map_or(1.0, |own| own[row]) / kept).collect();
    let rows = Rows { share: &share, own };
    let args = [exact(&x), exact(&scale), exact(&shift)];
    for level in Level::all() {
        let what = |part: &str| format!("{part} of {count} rows of {width}, {level:?}");
        let (mut normal, mut y) = (x.clone(), vec![f32::NAN; x.len()]);
        let (mut mean, mut variance) = (vec![f32::NAN; width], vec![f32::NAN; width]);
        forward(level, rows, [&scale, &shift], EPSILON, &mut normal, &mut mean, &mut variance, &mut y);
        close(&y, &twin(&args, &share, own), 1e-5, &what("y"));
        let expected: Vec<f64> = (0..width)
            .map(|f| x.iter().skip(f).step_by(width).zip(&share).map(|(x, s)| f64::from(*x) * f64::from(*s)).sum())
            .collect();
        close(&mean, &expected, 1e-6, &what("mean"));

        let mut dx = dy.clone();
        let (mut dscale, mut dshift) = (vec![f32::NAN; width], vec![f32::NAN; width]);
        let gradients = [&mut dscale[..], &mut dshift[..]];
        backward(level, rows, [&scale, &shift], EPSILON, &variance, &normal, &mut dx, gradients);
        for (by, got) in [dx, dscale, dshift].iter().enumerate() {
            let expected = gradient(|args| twin(args, &share, own), &args, by, &dy);
            close(got, &expected, 2e-4, &what(["dx", "dscale", "dshift"][by]));
        }
    }
}

#[test]
fn values_and_gradients_follow_the_formula() {
    for (count, width) in [(1, 1), (2, 1), (7, 3), (20, 16), (9, 33), (4, 101)] {
        check(count, width, false);
        check(count, width, count > 2);
    }
}

#[test]
fn no_row_that_counts_gives_zeros() {
    let rows = Rows { share: &[0.0, 0.0], own: Some(&[0.0, 0.0]) };
    for level in Level::all() {
        let (mut x, mut y, mut mean, mut variance) = ([1.0, -2.0], [f32::NAN; 2], [f32::NAN], [f32::NAN]);
        forward(level, rows, [&[2.0], &[3.0]], EPSILON, &mut x, &mut mean, &mut variance, &mut y);
        assert_eq!((y, mean, variance), ([0.0; 2], [0.0], [0.0]));
        let (mut dy, mut dscale, mut dshift) = ([5.0, 6.0], [f32::NAN], [f32::NAN]);
        let gradients = [&mut dscale[..], &mut dshift[..]];
        backward(level, rows, [&[2.0], &[3.0]], EPSILON, &variance, &x, &mut dy, gradients);
        assert_eq!((dy, dscale, dshift), ([0.0; 2], [0.0], [0.0]));
    }
}

#[test]
fn a_line_is_what_a_fitted_normalisation_is() {
    for width in [1, 15, 16, 37] {
        let (x, factor, offset) = (numbers(5 * width, 5), numbers(width, 6), numbers(width, 7));
        let own = [1.0, 0.0, 1.0, 1.0, 0.0];
        for level in Level::all() {
            let mut y = x.clone();
            line_rectified(level, [&factor, &offset], Some(&own), &mut y);
            let value = |at: usize| {
                let f = at % width;
                f64::from(own[at / width]) * (f64::from(factor[f]) * f64::from(x[at]) + f64::from(offset[f])).max(0.0)
            };
            close(&y, &(0..x.len()).map(value).collect::<Vec<_>>(), 1e-6, "line");
        }
    }
}
