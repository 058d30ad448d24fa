use proptest::prelude::*;

use super::*;
use crate::recurrent::Order;
use crate::recurrent::tests::{Case, Read, Subject, gate, logistic};

const SUBJECT: Subject = Subject {
    weights: |inputs, h| vec![inputs * 3 * h, h * 3 * h, 3 * h, 3 * h],
    forward: |level, case, keep, tape| forward(level, weights(case), &case.sequences(), keep, tape),
    backward: |level, case, read, tape| {
        let mut out: Vec<Vec<f32>> =
            case.weights.iter().chain([&case.values]).map(|w| vec![f32::NAN; w.len()]).collect();
        let [input, hidden, input_bias, hidden_bias, values] = out.get_disjoint_mut([0, 1, 2, 3, 4]).unwrap();
        let gradients = Gradients { input, hidden, input_bias, hidden_bias, values: Some(values) };
        backward(level, weights(case), &case.sequences(), read, tape, gradients);
        out
    },
    step: |weights, h, x, kept| {
        let sum = |of: &[f64], matrix: usize, which: usize, unit: usize| {
            gate(of, &weights[matrix], h, 3, which, unit) + weights[matrix + 2][which * h + unit]
        };
        let unit = |j: usize| {
            let r = logistic(sum(x, 0, 0, j) + sum(&kept[0], 1, 0, j));
            let z = logistic(sum(x, 0, 1, j) + sum(&kept[0], 1, 1, j));
            let n = (sum(x, 0, 2, j) + r * sum(&kept[0], 1, 2, j)).tanh();
            n + z * (kept[0][j] - n)
        };
        vec![(0..h).map(unit).collect(), vec![]]
    },
};

fn weights(case: &Case) -> Weights<'_> {
    let [input, hidden, input_bias, hidden_bias] = [0, 1, 2, 3].map(|i| &case.weights[i][..]);
    Weights { input, hidden, input_bias, hidden_bias, width: case.width }
}

#[test]
fn as_the_slow_twin_on_odd_sizes() {
    SUBJECT.check_odd_sizes();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn as_the_slow_twin(
        sizes in (1usize..20, 1usize..9, 1usize..40, 0usize..40, 1usize..70), back: bool, ends: bool, seed in 0u64..1000,
    ) {
        let (rows, steps, inputs, constant, width) = sizes;
        let order = if back { Order::Backwards } else { Order::Forwards };
        let case = SUBJECT.case([rows, steps, inputs, constant.min(inputs), width], order, seed);
        SUBJECT.check(&case, if ends { Read::Ends } else { Read::Series });
    }

    #[test]
    fn a_row_depends_on_no_other(rows in 1usize..20, steps in 1usize..9, width in 1usize..40, back: bool, seed in 0u64..1000) {
        let order = if back { Order::Backwards } else { Order::Forwards };
        SUBJECT.check_rows_are_independent([rows, steps, 6, 3, width], order, seed);
    }
}

#[test]
fn a_batch_without_rows_is_nothing() {
    SUBJECT.check(&SUBJECT.case([0, 3, 4, 2, 5], Order::Forwards, 1), Read::Ends);
}
