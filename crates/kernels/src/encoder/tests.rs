use super::*;
use crate::twin::{self, close, exact, gradient, numbers};

/// Inputs, then weights, then the masks if there are any.
fn attend_twin(shape: Shape<'_>, args: &[Vec<f64>]) -> Vec<f64> {
    let x = &args[0];
    let read = twin::layer_norm(x, &args[1], &args[2], f64::from(EPSILON));
    let [query, key, value] = [3, 5, 7].map(|at| twin::dense(&read, &args[at], &args[at + 1]));
    let mixed = twin::attention(shape, &query, &key, &value);
    let out = twin::dense(&mixed, &args[9], &args[10]);
    masked_sum(x, &out, args.get(11))
}

fn feed_twin(args: &[Vec<f64>]) -> Vec<f64> {
    let x = &args[0];
    let read = twin::layer_norm(x, &args[1], &args[2], f64::from(EPSILON));
    let mut inner: Vec<f64> = twin::dense(&read, &args[3], &args[4]).into_iter().map(|x| x.max(0.0)).collect();
    if let Some(mask) = args.get(7) {
        inner.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask);
    }
    masked_sum(x, &twin::dense(&inner, &args[5], &args[6]), args.get(8))
}

fn masked_sum(x: &[f64], part: &[f64], mask: Option<&Vec<f64>>) -> Vec<f64> {
    let kept = |at: usize| mask.map_or(1.0, |mask| mask[at]);
    x.iter().zip(part).enumerate().map(|(at, (x, part))| x + kept(at) * part).collect()
}

fn mask(len: usize) -> Vec<f32> {
    (0..len).map(|at| if at % 5 == 2 { 0.0 } else { 1.25 }).collect()
}

#[test]
fn attention_and_its_gradients_follow_the_formula() {
    for (lengths, steps, width, heads) in [(&[1][..], 1, 4, 1), (&[3], 3, 6, 2), (&[4, 0, 2], 4, 18, 3)] {
        let shape = Shape { lengths, steps, width, heads };
        let len = lengths.len() * steps * width;
        for dropped in [false, true] {
            let sizes = [len, width, width].into_iter().chain([width * width, width].into_iter().cycle().take(8));
            let mut given: Vec<Vec<f32>> = sizes.zip(1..).map(|(size, seed)| numbers(size, seed)).collect();
            if dropped {
                given.push(mask(len));
            }
            let args: Vec<Vec<f64>> = given.iter().map(|values| exact(values)).collect();
            let dy = numbers(len, 99);
            let weights: [&[f32]; 10] = std::array::from_fn(|at| &given[at + 1][..]);
            let mask = dropped.then(|| &given[11][..]);
            for level in Level::all() {
                let what = |part: usize| format!("{part} of {shape:?}, dropped: {dropped}, {level:?}");
                let (mut seen, mut scratch) = (Attended::default(), Scratch::default());
                let mut y = vec![f32::NAN; len];
                attend(level, shape, weights, &given[0], mask, &mut seen, &mut scratch, &mut y);
                close(&y, &attend_twin(shape, &args), 3e-5, &what(99));
                let mut gradients: Vec<Vec<f32>> = given[..11].iter().map(|x| vec![f32::NAN; x.len()]).collect();
                let [dx, by_weights @ ..] = &mut gradients[..] else { panic!("eleven") };
                let by_weights: Vec<&mut [f32]> = by_weights.iter_mut().map(|x| &mut x[..]).collect();
                let by_weights = by_weights.try_into().unwrap();
                attend_backward(level, shape, weights, &seen, &dy, mask, &mut scratch, by_weights, dx);
                for (by, got) in gradients.iter().enumerate() {
                    let expected = gradient(|args| attend_twin(shape, args), &args, by, &dy);
                    close(got, &expected, 3e-4, &what(by));
                }
            }
        }
    }
}

#[test]
fn dense_layers_and_their_gradients_follow_the_formula() {
    for (rows, width, inner) in [(1, 3, 1), (5, 4, 7), (3, 18, 33)] {
        for dropped in [false, true] {
            let sizes = [rows * width, width, width, width * inner, inner, inner * width, width];
            let mut given: Vec<Vec<f32>> = sizes.into_iter().zip(1..).map(|(size, seed)| numbers(size, seed)).collect();
            if dropped {
                given.extend([mask(rows * inner), mask(rows * width)]);
            }
            let args: Vec<Vec<f64>> = given.iter().map(|values| exact(values)).collect();
            let dy = numbers(rows * width, 99);
            let weights: [&[f32]; 6] = std::array::from_fn(|at| &given[at + 1][..]);
            let masks = dropped.then(|| Masks { inner: &given[7], out: &given[8] });
            for level in Level::all() {
                let what = |part: usize| format!("{part} of {rows} rows of {width}, {inner} inside, {level:?}");
                let (mut seen, mut scratch) = (Fed::default(), Scratch::default());
                let mut y = vec![f32::NAN; rows * width];
                feed(level, weights, &given[0], masks, &mut seen, &mut scratch, &mut y);
                close(&y, &feed_twin(&args), 3e-5, &what(99));
                let mut gradients: Vec<Vec<f32>> = given[..7].iter().map(|x| vec![f32::NAN; x.len()]).collect();
                let [dx, by_weights @ ..] = &mut gradients[..] else { panic!("seven") };
                let by_weights: Vec<&mut [f32]> = by_weights.iter_mut().map(|x| &mut x[..]).collect();
                let by_weights = by_weights.try_into().unwrap();
                feed_backward(level, weights, &seen, &dy, masks, &mut scratch, by_weights, dx);
                for (by, got) in gradients.iter().enumerate() {
                    close(got, &gradient(feed_twin, &args, by, &dy), 3e-4, &what(by));
                }
            }
        }
    }
}
