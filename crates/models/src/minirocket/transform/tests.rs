use proptest::prelude::*;
use stakeout_core::{Batch, InputKind};
use stakeout_kernels::rocket::POSITIONS;

use super::*;
use crate::draw::stream;

fn batch(channels: usize, steps: usize, values: Vec<f32>, lengths: Vec<u32>) -> Batch {
    let mut batch = Batch::new(InputKind::Tensor, Geometry { channels, steps, features: 0, classes: 2 });
    (batch.values, batch.lengths) = (values, lengths);
    batch
}

fn pair(step: usize, features: usize) -> Dilation {
    Dilation { step, features, inside: true }
}

fn apply(transform: &Transform, series: &Series, window: usize) -> Vec<f32> {
    let mut out = vec![9.0; transform.width()];
    transform.apply(series, window, &mut Convolver::default(), &mut out);
    out
}

/// A transform on one window's own steps, as it is defined: nine taps a step, one loop a feature, in double precision.
fn slow(transform: &Transform, own: &[Vec<f32>]) -> Vec<f64> {
    let length = own[0].len();
    let (mut features, mut combination) = (Vec::new(), 0);
    for (index, one) in transform.dilations.iter().enumerate() {
        for (kernel, taps) in POSITIONS.iter().enumerate() {
            let mut outputs = Vec::new();
            for t in 0..length as i64 {
                let at = |tap: i64| t + (tap - 4) * one.step as i64;
                let fits = (0..length as i64).contains(&at(0)) && (0..length as i64).contains(&at(8));
                let mut output = 0.0;
                for tap in (0..9).filter(|tap| (0..length as i64).contains(&at(*tap))) {
                    let weight = if taps.contains(&(tap as u8)) { 2.0 } else { -1.0 };
                    let list = &transform.channels[combination];
                    output += weight * list.iter().map(|c| f64::from(own[*c as usize][at(tap) as usize])).sum::<f64>();
                }
                outputs.push((output, fits));
            }
            let whole = !one.inside || (index + kernel) % 2 == 0 || !outputs.iter().any(|(_, fits)| *fits);
            outputs.retain(|(_, fits)| whole || *fits);
            for _ in 0..one.features {
                let bias = f64::from(transform.biases[features.len()]);
                let above = outputs.iter().filter(|(output, _)| *output > bias).count();
                features.push(above as f64 / outputs.len().max(1) as f64);
            }
            combination += 1;
        }
    }
    features
}

proptest! {
    /// Values are multiples of 1/8 and biases lie between them, so that both compute exactly.
    #[test]
    fn as_it_is_defined(
        (channels, steps, values) in (1usize..5, 1usize..40).prop_flat_map(|(channels, steps)| {
            let value = (-40i32..=40).prop_map(|i| i as f32 / 8.0);
            (Just(channels), Just(steps), prop::collection::vec(value, channels * steps))
        }),
        cut in 0usize..40,
        seed in any::<u64>(),
    ) {
        let length = steps.saturating_sub(cut);
        let dilations = vec![pair(1, 2), pair(3, 1), Dilation { inside: false, ..pair(2, 1) }];
        let mut transform = Transform::draw(dilations, channels, Vec::new(), &mut stream(seed, []));
        for (i, bias) in transform.biases.iter_mut().enumerate() {
            *bias = (i % 23) as f32 / 2.0 - 5.5 + 0.0625;
        }
        let own: Vec<Vec<f32>> = values.chunks(steps).map(|channel| channel[..length].to_vec()).collect();
        let series = Series::new(batch(channels, steps, values, vec![length as u32])).unwrap();
        let got: Vec<f64> = apply(&transform, &series, 0).into_iter().map(f64::from).collect();
        for (got, expected) in got.iter().zip(slow(&transform, &own)) {
            prop_assert!((got - expected).abs() < 1e-6, "{} is {}", got, expected);
        }
    }
}

/// Printed by sktime 1.2 (`_transform_multi`) for the same channels, dilations and biases.
#[test]
fn as_sktime_computes_it() {
    let (channels, steps) = (3, 30);
    let value = |i: usize| ((i * 37 + i * i * 11) % 101) as f32 / 16.0 - 3.0;
    let series = Series::new(batch(channels, steps, (0..90).map(value).collect(), vec![30])).unwrap();
    let mut transform = Transform::draw(vec![pair(1, 2), pair(2, 1), pair(3, 1)], 3, Vec::new(), &mut stream(1, []));
    for (i, list) in transform.channels.iter_mut().enumerate() {
        *list = (0..3).filter(|channel| (1 + i % 7) >> channel & 1 == 1).collect();
    }
    for (i, bias) in transform.biases.iter_mut().enumerate() {
        *bias = (i % 41) as f32 / 4.0 - 5.0 + 0.03;
    }
    let got = apply(&transform, &series, 0);
    let sum: f64 = got.iter().map(|share| f64::from(*share)).sum();
    assert!((sum - 168.416_452).abs() < 1e-4, "{sum}");
    let spots = [
        (0, 0.633_333_3),
        (1, 0.6),
        (3, 0.727_272_75),
        (40, 0.366_666_67),
        (90, 0.545_454_56),
        (150, 0.363_636_37),
        (168, 0.357_142_87),
        (200, 0.214_285_72),
        (252, 0.666_666_7),
        (290, 0.7),
        (335, 0.5),
    ];
    for (at, expected) in spots {
        assert!((got[at] - expected).abs() < 1e-6, "feature {at}: {} is {expected}", got[at]);
    }
}

#[test]
fn padding_and_what_it_holds_do_not_count() {
    let dilations = vec![pair(1, 3), pair(2, 2)];
    let transform = Transform::draw(dilations, 2, vec![Gap { channel: 1, most: 0.5 }], &mut stream(3, []));
    let own = [[1.0, -2.0, 0.5], [f32::NAN, 4.0, 1.0]];
    let rows = |padding: &[f32]| own.iter().flat_map(|own| own.iter().chain(padding).copied()).collect::<Vec<_>>();
    let plain = Series::new(batch(2, 3, rows(&[]), vec![3])).unwrap();
    let padded = Series::new(batch(2, 6, rows(&[9.0, f32::NAN, f32::INFINITY]), vec![3])).unwrap();
    let features = apply(&transform, &plain, 0);
    assert_eq!(features, apply(&transform, &padded, 0));
    assert_eq!(features.last(), Some(&(1.0 / 3.0)), "the share missing of channel 1");
    let lost = Series::new(batch(2, 3, vec![1.0, 2.0, 3.0, f32::NAN, f32::NAN, f32::NAN], vec![3])).unwrap();
    assert_eq!(apply(&transform, &lost, 0).last(), Some(&0.5), "no more than in training");
}

#[test]
fn biases_are_quantiles_of_outputs() {
    let series =
        || Series::new(batch(1, 20, (0..20).map(|i| ((i * i * 37 + i) % 101) as f32 / 7.0).collect(), vec![20]));
    let mut transform = Transform::draw(vec![pair(1, 50)], 1, Vec::new(), &mut stream(1, []));
    transform.take_biases(series).unwrap();
    let mut convolver = Convolver::default();
    let series = series().unwrap();
    convolver.load([series.channel(0, 0)], 20, 1);
    let mut outputs = convolver.convolve(0).to_vec();
    outputs.sort_by(f32::total_cmp);
    // the golden ratio gives 0.618, 0.236, ...
    let expected = |q: f64| {
        let place = q * 19.0;
        let (below, above) = (outputs[place as usize], outputs[place as usize + 1]);
        f64::from(below) + f64::from(above - below) * place.fract()
    };
    for (bias, q) in transform.biases.iter().zip([0.618_034, 0.236_068, 0.854_102]) {
        assert!((f64::from(*bias) - expected(q)).abs() < 1e-3, "{bias} is {}", expected(q));
    }
    // and so their shares spread over the unit interval
    let shares = apply(&transform, &series, 0);
    let mean = shares[..50].iter().sum::<f32>() / 50.0;
    assert!((mean - 0.5).abs() < 0.1, "{mean}");
}

#[test]
fn quantiles_as_numpy_interpolates() {
    assert_eq!(at_quantile(&[1.0, 2.0, 4.0], 0.0), 1.0);
    assert_eq!(at_quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
    assert_eq!(at_quantile(&[1.0, 2.0, 4.0], 1.0), 4.0);
    assert_eq!(at_quantile(&[], 0.5), 0.0);
}

#[test]
fn channels_are_drawn_evenly_and_few_are_commoner_than_many() {
    let dilations = vec![pair(1, 1); 30];
    let transform = Transform::draw(dilations, 20, Vec::new(), &mut stream(5, []));
    let mut counts = [0usize; 20];
    let mut sizes = [0usize; 10];
    for list in &transform.channels {
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
        sizes[list.len()] += 1;
        for channel in list {
            counts[*channel as usize] += 1;
        }
    }
    assert_eq!(sizes[0], 0);
    assert!(sizes[1] > sizes[3] && sizes[3] > sizes[9] && sizes[9] > 0, "{sizes:?}");
    let mean = counts.iter().sum::<usize>() / 20;
    assert!(counts.iter().all(|count| count.abs_diff(mean) < mean / 3), "{counts:?}");
    let one = Transform::draw(vec![pair(1, 1)], 1, Vec::new(), &mut stream(5, []));
    assert!(one.channels.iter().all(|list| *list == [0]));
}

#[test]
fn bytes_round_trip_and_every_lie_is_refused() {
    let geometry = Geometry { channels: 3, steps: 10, features: 0, classes: 2 };
    let transform = Transform::draw(
        vec![pair(1, 1)],
        3,
        [0, 2].map(|channel| Gap { channel, most: 0.25 }).to_vec(),
        &mut stream(2, []),
    );
    let mut good = Vec::new();
    transform.write(&mut good);
    let read = |bytes: &[u8], geometry| Transform::read(&mut Reader::new(bytes), geometry);
    assert_eq!(read(&good, geometry).unwrap(), transform);
    assert!(read(&good, Geometry { channels: 2, ..geometry }).is_err(), "fewer channels");
    // number of dilations, then dilation, features and inside, then the first list
    let bias = good.len() - 4;
    let lies: [(&str, usize, [u8; 4]); 9] = [
        ("more dilations than bytes", 0, u32::MAX.to_le_bytes()),
        ("no dilation", 0, 0u32.to_le_bytes()),
        ("dilation 0", 4, 0u32.to_le_bytes()),
        ("a dilation beyond the window", 4, 11u32.to_le_bytes()),
        ("more features than bytes", 8, u32::MAX.to_le_bytes()),
        ("neither inside nor not", 12, 2u32.to_le_bytes()),
        ("more channels than bytes", 16, u32::MAX.to_le_bytes()),
        ("a channel that is not there", 20, 3u32.to_le_bytes()),
        ("a bias that is no number", bias, f32::NAN.to_le_bytes()),
    ];
    for (what, at, lie) in lies {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&lie);
        assert!(read(&bytes, geometry).is_err(), "{what}");
    }
}
