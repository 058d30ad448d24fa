use std::collections::BTreeMap;

use ndarray::{Array2, Array3};
use proptest::prelude::*;
use stakeout_core::{
    Batch, ChannelKind, ChannelSpec, InputKind, Moments, Scaler, Schema, Source, Statistic, View, WindowSpec,
    WindowTable, Windows, class,
};
use stakeout_features::{Scaled, fit_moments};

const STEPS: usize = 3;

fn schema() -> Schema {
    let channel = |name: &str| ChannelSpec {
        name: name.into(),
        source: Source::Guest,
        field: name.into(),
        kind: ChannelKind::Level,
        unit: "u".into(),
        deployable: true,
        about: String::new(),
    };
    let window = WindowSpec {
        length_ns: 3,
        stride_ns: 1,
        steps: STEPS as u32,
        statistics: vec![Statistic::Mean, Statistic::Std],
        ..WindowSpec::default()
    };
    stakeout_features::schema([channel("a"), channel("b")], View::Oracle, window, class::built_in()).expect("valid")
}

/// A table whose summary (4 features) and tensor (2 × 3) are cut from `values`, ten a row.
fn table(values: &[f32], lengths: Vec<u32>) -> WindowTable {
    let n = lengths.len();
    let summary = Array2::from_shape_fn((n, 4), |(w, f)| values[w * 10 + f]);
    let tensor = Array3::from_shape_fn((n, 2, STEPS), |(w, c, s)| values[w * 10 + 4 + c * STEPS + s]);
    WindowTable::new(schema(), Some(summary), Some(tensor), lengths).expect("a table of its schema")
}

fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<u32>)> {
    (0..12usize).prop_flat_map(|n| {
        let value = prop_oneof![5 => (0u32..1 << 20).prop_map(|i| -10.0 + i as f32 * (20.0 / 1_048_576.0)), 1 => Just(f32::NAN), 1 => Just(1e9f32), 1 => Just(3.0f32)];
        (prop::collection::vec(value, n * 10), prop::collection::vec(0..=STEPS as u32, n))
    })
}

/// Observed values per moment, in row order.
fn columns(table: &WindowTable, rows: &[usize], kind: InputKind) -> Vec<Vec<f64>> {
    let mut batch = Batch::new(kind, schema().geometry());
    table.gather(rows, &mut batch).expect("rows in range");
    let run = if kind == InputKind::Summary { 1 } else { STEPS };
    let mut columns = vec![Vec::new(); batch.row_len() / run];
    for row in 0..batch.rows() {
        for (cell, &value) in batch.row(row).iter().enumerate() {
            let own = kind == InputKind::Summary || cell % run < batch.lengths[row] as usize;
            if own && !value.is_nan() {
                columns[cell / run].push(f64::from(value));
            }
        }
    }
    columns
}

proptest! {
    #[test]
    fn moments_are_mean_and_deviation_of_what_was_observed((values, lengths) in rows(), tensor: bool) {
        let kind = if tensor { InputKind::Tensor } else { InputKind::Summary };
        let table = table(&values, lengths);
        let all: Vec<usize> = (0..table.len()).collect();
        let moments = fit_moments(&table, &all, kind).expect("in memory");
        for (i, column) in columns(&table, &all, kind).iter().enumerate() {
            let n = column.len() as f64;
            let mean = if column.is_empty() { 0.0 } else { column.iter().sum::<f64>() / n };
            let deviation = (column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            prop_assert!((f64::from(moments.mean[i]) - mean).abs() <= 1e-6 * (mean.abs() + 1.0));
            let constant = column.iter().all(|v| *v == column[0]);
            let expected = if constant { 1.0 } else { deviation };
            prop_assert!((f64::from(moments.deviation[i]) - expected).abs() <= 1e-5 * (expected + 1.0));
            prop_assert!(moments.deviation[i] > 0.0);
        }
    }

    #[test]
    fn scaled_rows_have_mean_0_and_deviation_1((values, lengths) in rows(), tensor: bool) {
        let kind = if tensor { InputKind::Tensor } else { InputKind::Summary };
        let table = table(&values, lengths);
        let all: Vec<usize> = (0..table.len()).collect();
        let scaler = Scaler::Global(fit_moments(&table, &all, kind).expect("in memory"));
        let scaled = Scaled::new(&table, &scaler, &[], &[]).expect("one set of moments");
        let again = fit_moments(&scaled, &all, kind).expect("in memory");
        for (i, column) in columns(&table, &all, kind).iter().enumerate() {
            prop_assert!(again.mean[i].abs() < 1e-3, "{again:?}");
            prop_assert!((again.deviation[i] - 1.0).abs() < 1e-3, "{column:?} {again:?}");
        }
        let (mut before, mut after) = (Batch::new(kind, schema().geometry()), Batch::new(kind, schema().geometry()));
        table.gather(&all, &mut before).expect("rows in range");
        scaled.gather(&all, &mut after).expect("rows in range");
        prop_assert_eq!(before.lengths, after.lengths);
        for (was, is) in before.values.iter().zip(&after.values) {
            prop_assert_eq!(was.is_nan(), is.is_nan());
        }
    }
}

fn two_hosts() -> (WindowTable, Vec<String>) {
    let values: Vec<f32> = (0..20u8).map(f32::from).collect();
    (table(&values, vec![3, 3]), vec!["first".into(), "second".into()])
}

#[test]
fn each_host_has_its_own_moments() {
    let (table, hosts) = two_hosts();
    let moments = |mean: f32, deviation: f32| Moments { mean: vec![mean; 4], deviation: vec![deviation; 4] };
    let by_host = BTreeMap::from([("first".to_owned(), moments(1.0, 1.0)), ("second".to_owned(), moments(0.0, 10.0))]);
    let scaler = Scaler::HostClean(by_host);
    let scaled = Scaled::new(&table, &scaler, &hosts, &[0, 1]).expect("both hosts are known");
    let mut batch = Batch::new(InputKind::Summary, schema().geometry());
    scaled.gather(&[1, 0], &mut batch).expect("rows in range");
    assert_eq!(batch.values, [1.0, 1.1, 1.2, 1.3, -1.0, 0.0, 1.0, 2.0]);
}

#[test]
fn an_unknown_host_is_named_with_the_remedy() {
    let (table, hosts) = two_hosts();
    let scaler = Scaler::HostClean(BTreeMap::from([("first".to_owned(), Moments::default())]));
    assert!(Scaled::new(&table, &scaler, &hosts, &[0, 0]).is_ok());
    let error = Scaled::new(&table, &scaler, &hosts, &[0, 1]).err().expect("no moments of it").to_string();
    assert!(error.contains("`second`") && error.contains("scaler = \"global\""), "{error}");
    assert!(Scaled::new(&table, &scaler, &hosts, &[0, 2]).is_err());
    assert!(Scaled::new(&table, &scaler, &hosts, &[0]).is_err());
}

#[test]
fn moments_of_another_input_are_refused() {
    let (table, _) = two_hosts();
    let scaler = Scaler::Global(fit_moments(&table, &[0, 1], InputKind::Tensor).expect("in memory"));
    let scaled = Scaled::new(&table, &scaler, &[], &[]).expect("one set of moments");
    let mut batch = Batch::new(InputKind::Summary, schema().geometry());
    let error = scaled.gather(&[0], &mut batch).expect_err("two moments for four features").to_string();
    assert!(error.contains("summary"), "{error}");
}
