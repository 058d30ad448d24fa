use proptest::prelude::*;

use super::*;

/// Rows held in memory.
struct Table {
    width: usize,
    values: Vec<f32>,
}

impl Design for Table {
    fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    fn width(&self) -> usize {
        self.width
    }

    fn read(&mut self, rows: Range<usize>, into: &mut [f32]) -> Result<(), ModelError> {
        into.copy_from_slice(&self.values[rows.start * self.width..rows.end * self.width]);
        Ok(())
    }
}

/// A small regression: rows × inputs, rows × targets, weights.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    inputs: usize,
    width: usize,
    values: Vec<f32>,
    targets: Vec<f64>,
    weights: Vec<f64>,
}

impl Case {
    fn fit(&self, side: Side, alphas: &[f64]) -> Ridge {
        let mut table = Table { width: self.inputs, values: self.values.clone() };
        let problem = Problem { targets: &self.targets, weights: &self.weights, alphas };
        fit_on(side, &mut table, &problem, &mut |_| Ok(())).unwrap()
    }

    /// Deviation of each input over all rows; 1 where it is 0.
    fn deviations(&self) -> Vec<f64> {
        let total: f64 = self.weights.iter().sum();
        let column =
            |j: usize| (0..self.rows).map(move |i| (f64::from(self.values[i * self.inputs + j]), self.weights[i]));
        (0..self.inputs)
            .map(|j| {
                let mean = column(j).map(|(x, w)| w * x).sum::<f64>() / total;
                let variance = column(j).map(|(x, w)| w * (x - mean).powi(2)).sum::<f64>() / total;
                if variance > 1e-12 { variance.sqrt() } else { f64::INFINITY }
            })
            .collect()
    }

    /// The slow twin: normal equations with the intercept as a column of ones, solved by elimination, for inputs divided
    /// by `deviations`, without row `without`. Returns per target the coefficients, the intercept behind them.
    fn slow(&self, alpha: f64, deviations: &[f64], without: Option<usize>) -> Vec<Vec<f64>> {
        let p = self.inputs;
        let row = |i: usize| -> Vec<f64> {
            let inputs = (0..p).map(|j| f64::from(self.values[i * p + j]) / deviations[j]);
            inputs.chain([1.0]).collect()
        };
        let mut normal = vec![vec![0.0; p + 1]; p + 1];
        let mut right = vec![vec![0.0; p + 1]; self.width];
        for i in (0..self.rows).filter(|i| Some(*i) != without) {
            let x = row(i);
            for a in 0..=p {
                for b in 0..=p {
                    normal[a][b] += self.weights[i] * x[a] * x[b];
                }
                for (target, right) in right.iter_mut().enumerate() {
                    right[a] += self.weights[i] * x[a] * self.targets[i * self.width + target];
                }
            }
        }
        for (a, row) in normal.iter_mut().enumerate().take(p) {
            row[a] += alpha;
        }
        right.iter().map(|right| eliminate(normal.clone(), right.clone())).collect()
    }

    fn predict(&self, fitted: &[f64], deviations: &[f64], row: usize) -> f64 {
        let x = &self.values[row * self.inputs..][..self.inputs];
        let inputs = x.iter().zip(deviations).zip(fitted).map(|((x, d), c)| f64::from(*x) / d * c);
        inputs.sum::<f64>() + fitted[self.inputs]
    }
}

/// Gauss with the largest pivot of each column.
fn eliminate(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap();
        a.swap(k, pivot);
        b.swap(k, pivot);
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            let (above, below) = a.split_at_mut(i);
            for (value, pivot) in below[0].iter_mut().zip(&above[k]).skip(k) {
                *value -= factor * pivot;
            }
            b[i] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        for j in k + 1..n {
            b[k] -= a[k][j] * b[j];
        }
        b[k] /= a[k][k];
    }
    b
}

/// Some inputs never change and some rows are equal.
fn cases() -> impl Strategy<Value = Case> {
    (2usize..14, 1usize..12, 1usize..4).prop_flat_map(|(rows, inputs, width)| {
        let values = prop::collection::vec((0i32..=20).prop_map(|i| i as f32 / 20.0), rows * inputs);
        let targets = prop::collection::vec((-8i32..=8).prop_map(|i| f64::from(i) / 4.0), rows * width);
        let weights = prop::collection::vec((1u32..=40).prop_map(|i| f64::from(i) / 20.0), rows);
        (values, targets, weights, any::<bool>(), any::<bool>()).prop_map(
            move |(mut values, targets, weights, constant, equal)| {
                if constant {
                    values.iter_mut().step_by(inputs).for_each(|value| *value = 0.3);
                }
                if equal {
                    values.copy_within(..inputs, inputs);
                }
                Case { rows, inputs, width, values, targets, weights }
            },
        )
    })
}

const ALPHAS: [f64; 4] = [0.05, 1.0, 20.0, 400.0];

proptest! {
    #[test]
    fn as_the_normal_equations(case in cases(), choice in 0usize..4) {
        let deviations = case.deviations();
        let slow = case.slow(ALPHAS[choice], &deviations, None);
        for side in [Side::Inputs, Side::Rows] {
            let fitted = case.fit(side, &ALPHAS[choice..=choice]);
            for (target, slow) in slow.iter().enumerate() {
                for input in 0..case.inputs {
                    let expected = slow[input] / deviations[input];
                    let got = f64::from(fitted.coefficients[target * case.inputs + input]);
                    prop_assert!((got - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{side:?}: {got} is {expected}");
                }
                let (got, expected) = (fitted.intercepts[target], slow[case.inputs]);
                prop_assert!((got - expected).abs() < 1e-4, "{side:?}: intercept {got} is {expected}");
            }
        }
    }

    #[test]
    fn held_out_rows_as_fits_without_them(case in cases()) {
        let deviations = case.deviations();
        let mut errors = Vec::new();
        let mut slow = Vec::new();
        for alpha in ALPHAS {
            let mut predictions = Vec::new();
            for row in 0..case.rows {
                for fitted in case.slow(alpha, &deviations, Some(row)) {
                    predictions.push(case.predict(&fitted, &deviations, row));
                }
            }
            let weights = case.weights.iter().flat_map(|weight| vec![*weight; case.width]);
            let apart = predictions.iter().zip(&case.targets).zip(weights).map(|((a, b), w)| w * (a - b).powi(2));
            errors.push(apart.sum::<f64>());
            slow.push(predictions);
        }
        for side in [Side::Inputs, Side::Rows] {
            let fitted = case.fit(side, &ALPHAS);
            let choice = ALPHAS.iter().position(|alpha| *alpha == fitted.alpha).unwrap();
            let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
            prop_assert!(errors[choice] <= least * (1.0 + 1e-7) + 1e-9, "{side:?}: {} of {errors:?}", errors[choice]);
            for (got, expected) in fitted.held_out.iter().zip(&slow[choice]) {
                prop_assert!((got - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{side:?}: {got} is {expected}");
            }
        }
    }

    #[test]
    fn a_weight_is_a_number_of_copies(case in cases(), copies in prop::collection::vec(1usize..4, 14)) {
        let mut weighted = case.clone();
        let mut copied = Case { rows: 0, values: Vec::new(), targets: Vec::new(), weights: Vec::new(), ..case };
        for (row, copies) in copies.iter().enumerate().take(weighted.rows) {
            weighted.weights[row] = *copies as f64;
            for _ in 0..*copies {
                copied.rows += 1;
                copied.values.extend(&weighted.values[row * copied.inputs..][..copied.inputs]);
                copied.targets.extend(&weighted.targets[row * copied.width..][..copied.width]);
                copied.weights.push(1.0);
            }
        }
        for side in [Side::Inputs, Side::Rows] {
            let [a, b] = [&weighted, &copied].map(|case| case.fit(side, &[0.5]));
            for (a, b) in a.coefficients.iter().zip(&b.coefficients) {
                prop_assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{side:?}: {a} is {b}");
            }
            for (a, b) in a.intercepts.iter().zip(&b.intercepts) {
                prop_assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{side:?}: {a} is {b}");
            }
        }
    }
}

/// More rows than a chunk and more inputs than a tile or a block, on one thread and on three.
#[test]
fn both_sides_agree_beyond_one_chunk_and_threads_do_not_show() {
    let (rows, inputs) = (1100, 600);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> = (0..rows * inputs).map(|_| draw()).collect();
    let targets = values.chunks(inputs).map(|x| f64::from(x[0] - x[1] + 0.5 * x[599])).collect();
    let weights = (0..rows).map(|_| f64::from(draw()) + 0.5).collect();
    let case = Case { rows, inputs, width: 1, values, targets, weights };
    let [a, b] = [Side::Inputs, Side::Rows].map(|side| case.fit(side, &ALPHAS));
    assert_eq!(a.alpha, b.alpha);
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart(&a.held_out, &b.held_out) < 1e-8, "{}", apart(&a.held_out, &b.held_out));
    assert!(apart(&a.intercepts, &b.intercepts) < 1e-4);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| case.fit(Side::Inputs, &ALPHAS)) == a, "{threads} threads");
        assert!(pool.install(|| case.fit(Side::Rows, &ALPHAS)) == b, "{threads} threads");
    }
}

#[test]
fn one_row_and_targets_without_a_difference_are_fitted() {
    for side in [Side::Inputs, Side::Rows] {
        let one = Case { rows: 1, inputs: 2, width: 1, values: vec![0.1, 0.2], targets: vec![1.0], weights: vec![1.0] };
        let fitted = one.fit(side, &ALPHAS);
        assert_eq!((fitted.coefficients, fitted.intercepts), (vec![0.0; 2], vec![1.0]));
        assert!(fitted.held_out[0].is_finite());
        let values = vec![0.1, 0.2, 0.5, 0.1, 0.4, 0.4];
        let same = Case { rows: 3, inputs: 2, width: 1, values, targets: vec![-1.0; 3], weights: vec![1.0; 3] };
        let fitted = same.fit(side, &ALPHAS);
        assert_eq!((fitted.alpha, fitted.intercepts), (400.0, vec![-1.0]));
        assert_eq!(fitted.held_out, [-1.0; 3]);
    }
}

#[test]
fn a_tick_stops_the_fit() {
    let mut table = Table { width: 2, values: vec![0.0, 1.0, 1.0, 0.0] };
    let problem = Problem { targets: &[1.0, -1.0], weights: &[1.0, 1.0], alphas: &ALPHAS };
    let stopped = fit(&mut table, &problem, &mut |_| Err(ModelError::Cancelled));
    assert!(matches!(stopped, Err(ModelError::Cancelled)));
}
