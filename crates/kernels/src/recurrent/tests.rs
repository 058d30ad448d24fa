//! What the tests of all recurrent layers share: slow twins over each row's own steps, and differences of their losses.

use super::*;

/// Numbers between -1 and 1 from a seed.
pub(crate) fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| draw()).collect()
}

/// A layer under test: its sizes, and its weights in the order of its gradients.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) rows: usize,
    pub(crate) steps: usize,
    pub(crate) inputs: usize,
    pub(crate) constant: usize,
    pub(crate) width: usize,
    pub(crate) order: Order,
    pub(crate) lengths: Vec<u32>,
    pub(crate) values: Vec<f32>,
    pub(crate) weights: Vec<Vec<f32>>,
}

/// What a loss is a weighted sum of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Read {
    Series,
    Ends,
}

/// From weights, width, input and what is kept (state first) to what is.
type Step = fn(&[Vec<f64>], usize, &[f64], &[Vec<f64>]) -> Vec<Vec<f64>>;

/// How a kind of layer is run in a test.
pub(crate) struct Subject {
    /// Lengths of its weights, from inputs and width.
    pub(crate) weights: fn(usize, usize) -> Vec<usize>,
    pub(crate) forward: fn(Level, &Case, Keep, &mut Tape),
    /// Gradients by the weights, then by the values.
    pub(crate) backward: fn(Level, &Case, ReadGradient<'_>, &mut Tape) -> Vec<Vec<f32>>,
    /// One step of one row in double precision.
    pub(crate) step: Step,
}

impl Case {
    pub(crate) fn sequences(&self) -> Sequences<'_> {
        Sequences {
            values: &self.values,
            lengths: &self.lengths,
            steps: self.steps,
            inputs: self.inputs,
            constant: self.constant,
            order: self.order,
        }
    }

    fn read(&self, read: Read, tape: &Tape) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.read_len(read)];
        match read {
            Read::Series => tape.series(&self.sequences(), &mut out),
            Read::Ends => tape.ends(&self.sequences(), &mut out),
        }
        out
    }

    fn read_len(&self, read: Read) -> usize {
        self.rows * self.width * if read == Read::Series { self.steps } else { 2 }
    }
}

impl Subject {
    pub(crate) fn case(&self, [rows, steps, inputs, constant, width]: [usize; 5], order: Order, seed: u64) -> Case {
        let lengths: Vec<u32> = match seed % 3 {
            0 => vec![steps as u32; rows],
            _ => numbers(seed + 9, rows).iter().map(|x| ((x + 1.0) * 0.5 * (steps as f32 + 1.0)) as u32).collect(),
        };
        let lengths: Vec<u32> = lengths.into_iter().map(|length| length.min(steps as u32)).collect();
        let mut values = numbers(seed, rows * steps * inputs);
        for (row, values) in values.chunks_mut((steps * inputs).max(1)).enumerate() {
            let first = values[..inputs].to_vec();
            for (step, values) in values.chunks_mut(inputs.max(1)).enumerate() {
                if step >= lengths[row] as usize {
                    values.fill(f32::NAN);
                } else {
                    values[inputs - constant..].copy_from_slice(&first[inputs - constant..]);
                }
            }
        }
        let scale = 1.0 / (width as f32).sqrt();
        let weights = (self.weights)(inputs, width).into_iter().enumerate();
        let weights =
            weights.map(|(i, n)| numbers(seed + 20 + i as u64, n).iter().map(|w| w * scale).collect()).collect();
        Case { rows, steps, inputs, constant, width, order, lengths, values, weights }
    }

    /// What is read off, in plain loops over own steps in double precision.
    fn slow(&self, case: &Case, values: &[f64], weights: &[Vec<f64>], read: Read) -> Vec<f64> {
        let (h, sequences) = (case.width, case.sequences());
        let mut out = Vec::new();
        for row in 0..case.rows {
            let mut kept = vec![vec![0.0; h]; 2];
            let mut series = vec![vec![0.0; h]; case.steps];
            for turn in 0..case.steps {
                let step = sequences.step(turn);
                if step < case.lengths[row] as usize {
                    let x = &values[(row * case.steps + step) * case.inputs..][..case.inputs];
                    kept = (self.step)(weights, h, x, &kept);
                }
                series[step].copy_from_slice(&kept[0]);
            }
            match read {
                Read::Series => out.extend(series.concat()),
                Read::Ends => {
                    out.extend_from_slice(&kept[0]);
                    let own = case.lengths[row] as usize;
                    out.extend(
                        (0..h).map(|unit| series[..own].iter().map(|s| s[unit]).sum::<f64>() / own.max(1) as f64),
                    );
                }
            }
        }
        out
    }

    /// Values, and gradients against central differences of the slow twin's loss.
    pub(crate) fn check(&self, case: &Case, read: Read) {
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let weights: Vec<Vec<f64>> = case.weights.iter().map(|w| wide(w)).collect();
        let values: Vec<f64> = wide(&case.values);
        let expected = self.slow(case, &values, &weights, read);
        let by = numbers(77, case.read_len(read));
        let loss = |values: &[f64], weights: &[Vec<f64>]| -> f64 {
            self.slow(case, values, weights, read).iter().zip(&by).map(|(out, by)| out * f64::from(*by)).sum()
        };
        // some places of each weight and of the inputs, in all gates
        let pick = |n: usize| (0..n.min(24)).map(move |i| (i * 7919 + 3) % n);
        let slopes: Vec<Vec<(usize, f64)>> = (0..weights.len())
            .map(|which| {
                let slope = |at: usize| {
                    let [above, below] = [1e-5, -1e-5].map(|shift| {
                        let mut weights = weights.clone();
                        weights[which][at] += shift;
                        loss(&values, &weights)
                    });
                    (at, (above - below) / 2e-5)
                };
                pick(weights[which].len()).map(slope).collect()
            })
            .collect();
        let by_values = |at: usize| {
            let [above, below] = [1e-5, -1e-5].map(|shift| {
                let mut values = values.clone();
                values[at] += shift;
                loss(&values, &weights)
            });
            (at, (above - below) / 2e-5)
        };
        let own = |at: &usize| at / case.inputs % case.steps < case.lengths[at / case.inputs / case.steps] as usize;
        let by_values: Vec<(usize, f64)> = pick(values.len()).filter(own).map(by_values).collect();

        for level in Level::all() {
            let mut tape = Tape::default();
            (self.forward)(level, case, Keep::States, &mut tape);
            let states = case.read(read, &tape);
            (self.forward)(level, case, Keep::All, &mut tape);
            let got = case.read(read, &tape);
            assert_eq!(got, states, "what is kept does not matter");
            for (got, expected) in got.iter().zip(&expected) {
                assert!((f64::from(*got) - expected).abs() < 5e-6, "{got} for {expected} ({level:?})");
            }
            let by = match read {
                Read::Series => ReadGradient::Series(&by),
                Read::Ends => ReadGradient::Ends(&by),
            };
            let gradients = (self.backward)(level, case, by, &mut tape);
            for (which, (gradient, slopes)) in gradients.iter().zip(slopes.iter().chain([&by_values])).enumerate() {
                assert!(gradient.iter().all(|g| g.is_finite()), "gradient {which}");
                let size = gradient.iter().fold(1.0f32, |size, g| size.max(g.abs()));
                for (at, slope) in slopes {
                    let off = (f64::from(gradient[*at]) - slope).abs();
                    assert!(
                        off < 2e-5 * f64::from(size),
                        "gradient {which} at {at}: {} for {slope} ({level:?})",
                        gradient[*at]
                    );
                }
            }
            let by_values = &gradients[slopes.len()];
            assert!((0..by_values.len()).all(|at| own(&at) || by_values[at] == 0.0), "padding has no gradient");
        }
    }

    pub(crate) fn check_odd_sizes(&self) {
        let mut seed = 0;
        for rows in [1, 3, 9] {
            for steps in [1, 2, 5] {
                for (inputs, constant) in [(1, 0), (1, 1), (6, 3), (101, 0), (101, 50)] {
                    for width in [1, 5, 16, 19] {
                        seed += 1;
                        let order = if seed % 2 == 0 { Order::Forwards } else { Order::Backwards };
                        let read = if seed % 5 < 2 { Read::Series } else { Read::Ends };
                        self.check(&self.case([rows, steps, inputs, constant, width], order, seed), read);
                    }
                }
            }
        }
    }

    /// A batch in one piece and row by row, in a tape that held something else before.
    pub(crate) fn check_rows_are_independent(&self, sizes: [usize; 5], order: Order, seed: u64) {
        let case = self.case(sizes, order, seed);
        for level in Level::all() {
            let mut tape = Tape::default();
            (self.forward)(level, &case, Keep::States, &mut tape);
            let together = case.read(Read::Ends, &tape);
            for row in 0..case.rows {
                let width = case.steps * case.inputs;
                let values = case.values[row * width..(row + 1) * width].to_vec();
                let alone = Case { rows: 1, lengths: vec![case.lengths[row]], values, ..case.clone() };
                (self.forward)(level, &alone, Keep::All, &mut tape);
                let expected: Vec<u32> =
                    together[row * 2 * case.width..][..2 * case.width].iter().map(|x| x.to_bits()).collect();
                let got: Vec<u32> = alone.read(Read::Ends, &tape).iter().map(|x| x.to_bits()).collect();
                assert_eq!(got, expected, "row {row} ({level:?})");
            }
        }
    }
}

/// `x · w[.., gate] + b` in double precision, for one gate of `gates` side by side.
pub(crate) fn gate(x: &[f64], weights: &[f64], width: usize, gates: usize, gate: usize, unit: usize) -> f64 {
    x.iter().enumerate().map(|(i, x)| x * weights[i * gates * width + gate * width + unit]).sum()
}

pub(crate) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
