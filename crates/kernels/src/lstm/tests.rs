use proptest::prelude::*;

use super::*;
use crate::recurrent::Order;
use crate::recurrent::tests::{Case, Read, Subject, gate, logistic};

const SUBJECT: Subject = Subject {
    weights: |inputs, h| vec![inputs * 4 * h, h * 4 * h, 4 * h],
    forward: |level, case, keep, tape| forward(level, weights(case), &case.sequences(), keep, tape),
    backward: |level, case, read, tape| {
        let mut out: Vec<Vec<f32>> =
            case.weights.iter().chain([&case.values]).map(|w| vec![f32::NAN; w.len()]).collect();
        let [input, hidden, bias, values] = out.get_disjoint_mut([0, 1, 2, 3]).unwrap();
        let gradients = Gradients { input, hidden, bias, values: Some(values) };
        backward(level, weights(case), &case.sequences(), read, tape, gradients);
        out
    },
    step: |weights, h, x, kept| {
        let sum = |which: usize, j: usize| {
            gate(x, &weights[0], h, 4, which, j)
                + gate(&kept[0], &weights[1], h, 4, which, j)
                + weights[2][which * h + j]
        };
        let memory: Vec<f64> =
            (0..h).map(|j| logistic(sum(1, j)) * kept[1][j] + logistic(sum(0, j)) * sum(2, j).tanh()).collect();
        let state = memory.iter().enumerate().map(|(j, memory)| logistic(sum(3, j)) * memory.tanh());
        vec![state.collect(), memory]
    },
};

fn weights(case: &Case) -> Weights<'_> {
    let [input, hidden, bias] = [0, 1, 2].map(|i| &case.weights[i][..]);
    Weights { input, hidden, bias, width: case.width }
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
