use proptest::prelude::*;
use stakeout_core::{Schema, Statistic, Trace};
use stakeout_features::{CutScratch, Inputs, cut};

use crate::{generate, twin};

/// `|d| / (|reference| + 1)`, with NaN only beside NaN.
fn far(got: f32, expected: f64, noise: f64) -> bool {
    let expected_f32 = expected as f32;
    if expected_f32.is_nan() || got.is_nan() {
        return expected_f32.is_nan() != got.is_nan();
    }
    got != expected_f32 && (f64::from(got) - expected).abs() > 1e-4 * (expected.abs() + 1.0) + noise
}

fn check(schema: &Schema, trace: &Trace, scratch: &mut CutScratch) -> Result<(), TestCaseError> {
    let expected = twin::cut(trace, schema);
    let got = cut(trace, schema, Inputs::BOTH, scratch).expect("a sound trace");
    prop_assert_eq!(&got.t0_ns, &expected.t0_ns);
    prop_assert_eq!(&got.lengths, &expected.lengths);
    prop_assert_eq!(&got.labels, &expected.labels);
    prop_assert_eq!(&got.observed, &expected.observed);
    prop_assert_eq!(got.summary.len(), expected.summary.len());
    prop_assert_eq!(got.tensor.len(), expected.tensor.len());
    for (i, (&got, &reference)) in got.summary.iter().zip(&expected.summary).enumerate() {
        let (window, feature) = (i / schema.geometry().features, i % schema.geometry().features);
        let statistic = schema.window.statistics[feature / schema.channels.len()];
        let exact = matches!(statistic, Statistic::Min | Statistic::Max | Statistic::Last);
        let same = got == reference as f32 || (got.is_nan() && reference.is_nan());
        let wrong = if exact { !same } else { far(got, reference, expected.noise[i]) };
        let name = &schema.feature_names()[feature];
        prop_assert!(!wrong, "window {} {}: {} instead of {}", window, name, got, reference);
    }
    for (i, (&got, &expected)) in got.tensor.iter().zip(&expected.tensor).enumerate() {
        prop_assert!(!far(got, expected, 0.0), "tensor cell {}: {} instead of {}", i, got, expected);
    }
    let counts = got.counts;
    prop_assert_eq!(counts.rows_used, expected.rows_used);
    prop_assert_eq!(counts.rows_outside_span, expected.rows_outside_span);
    prop_assert_eq!(counts.rows_read, counts.rows_used + counts.rows_outside_span + counts.rows_outside_windows);
    prop_assert_eq!(counts.rows_read as usize, trace.sources.iter().map(|s| s.t_wall_ns.len()).sum::<usize>());
    let unlabelled = got.labels.iter().filter(|label| label.is_none()).count() as u64;
    prop_assert_eq!(unlabelled, counts.windows_before_first_label + counts.windows_unlabelled);
    prop_assert_eq!(counts.windows_empty as usize, got.observed.iter().filter(|n| **n == 0).count());
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_the_twin((schema, trace) in generate::schema().prop_flat_map(generate::trace)) {
        let mut scratch = CutScratch::default();
        check(&schema, &trace, &mut scratch)?;
    }

    #[test]
    fn inputs_and_used_scratch_change_nothing(
        (schema, trace) in generate::schema().prop_flat_map(generate::trace),
        (other, before) in generate::schema().prop_flat_map(generate::trace),
    ) {
        let mut used = CutScratch::default();
        cut(&before, &other, Inputs::BOTH, &mut used).expect("a sound trace");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let both = cut(&trace, &schema, Inputs::BOTH, &mut CutScratch::default()).expect("a sound trace");
        let summary = cut(&trace, &schema, Inputs { summary: true, tensor: false }, &mut used).expect("a sound trace");
        let tensor = cut(&trace, &schema, Inputs { summary: false, tensor: true }, &mut used).expect("a sound trace");
        prop_assert_eq!(bits(&summary.summary), bits(&both.summary));
        prop_assert_eq!(bits(&tensor.tensor), bits(&both.tensor));
        prop_assert!(summary.tensor.is_empty() && tensor.summary.is_empty());
    }

    #[test]
    fn labels_take_no_part_in_the_cut((schema, mut trace) in generate::schema().prop_flat_map(generate::trace)) {
        let with = cut(&trace, &schema, Inputs::default(), &mut CutScratch::default()).expect("a sound trace");
        trace.labels.clear();
        let without = cut(&trace, &schema, Inputs::default(), &mut CutScratch::default()).expect("a sound trace");
        prop_assert_eq!((with.t0_ns, with.digests), (without.t0_ns, without.digests));
    }
}
