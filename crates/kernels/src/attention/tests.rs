use super::*;
use crate::twin::{self, close, exact, gradient, numbers};

fn check(shape: Shape<'_>) {
    let len = shape.numbers();
    let [query, key, value, dmixed] = [1, 2, 3, 4].map(|seed| {
        let mut values = numbers(len, seed);
        values.iter_mut().for_each(|x| *x *= 2.0);
        values
    });
    let args = [exact(&query), exact(&key), exact(&value)];
    let slow = |args: &[Vec<f64>]| twin::attention(shape, &args[0], &args[1], &args[2]);
    for level in Level::all() {
        let what = |part: &str| format!("{part} of {shape:?}, {level:?}");
        let (mut scratch, mut shares) = (Scratch::default(), vec![f32::NAN; shape.shares()]);
        let mut mixed = vec![f32::NAN; len];
        forward(level, shape, [&query, &key, &value], &mut scratch, &mut shares, &mut mixed);
        close(&mixed, &slow(&args), 1e-5, &what("mixed"));
        let mut gradients = [vec![f32::NAN; len], vec![f32::NAN; len], vec![f32::NAN; len]];
        let [dquery, dkey, dvalue] = &mut gradients;
        let into = [&mut dquery[..], &mut dkey[..], &mut dvalue[..]];
        backward(level, shape, [&query, &key, &value], &shares, &dmixed, &mut scratch, into);
        for (by, got) in gradients.iter().enumerate() {
            close(got, &gradient(slow, &args, by, &dmixed), 3e-5, &what(["dquery", "dkey", "dvalue"][by]));
        }
    }
}

#[test]
fn values_and_gradients_follow_the_formula() {
    for (steps, width, heads) in [(1, 1, 1), (1, 6, 3), (4, 10, 2), (5, 16, 1), (3, 34, 2), (18, 4, 4)] {
        check(Shape { lengths: &[steps as u32], steps, width, heads });
        check(Shape { lengths: &[steps as u32, 0, steps as u32 / 2, 1], steps, width, heads });
    }
    check(Shape { lengths: &[], steps: 3, width: 4, heads: 2 });
}

#[test]
fn large_scores_do_not_overflow() {
    let shape = Shape { lengths: &[2], steps: 2, width: 1, heads: 1 };
    for level in Level::all() {
        let (mut shares, mut mixed) = ([f32::NAN; 4], [f32::NAN; 2]);
        let given = [&[1e4, -1e4][..], &[1e4, 0.0], &[3.0, 5.0]];
        forward(level, shape, given, &mut Scratch::default(), &mut shares, &mut mixed);
        assert_eq!(mixed, [3.0, 5.0], "{level:?}");
    }
}

#[test]
fn a_window_does_not_see_the_others() {
    fn shape(lengths: &[u32]) -> Shape<'_> {
        Shape { lengths, steps: 7, width: 24, heads: 3 }
    }
    let len = 7 * 24;
    let [query, key, value] = [1, 2, 3].map(|seed| numbers(3 * len, seed));
    for level in Level::all() {
        let run = |shape: Shape<'_>, given: [&[f32]; 3]| {
            let mut mixed = vec![0.0; shape.numbers()];
            forward(level, shape, given, &mut Scratch::default(), &mut vec![0.0; shape.shares()], &mut mixed);
            mixed
        };
        let together = run(shape(&[7, 3, 5]), [&query, &key, &value]);
        for (window, length) in [7, 3, 5].into_iter().enumerate() {
            let place = window * len..(window + 1) * len;
            let alone = [&query, &key, &value].map(|all| &all[place.clone()]);
            assert_eq!(run(shape(&[length]), alone), together[place]);
        }
    }
}
