//! Public data: the ODDS sets on the ten splits of their benchmark, and SMD's servers. Skipped where they are absent.

use std::fmt::Write as _;

use stakeout_detect::baseline::{Baseline, Method, Rows, Scratch, Settings, TableSpec, ThresholdFrom, read_table};
use stakeout_detect::ranking::{auroc, average_precision, best_f1};

use crate::data;

/// Diagonal Mahalanobis on each set: mean AUROC over the ten splits, fitted on the 60 %, outliers included.
const DIAGONAL: [(&str, f64); 9] = [
    ("arrhythmia", 0.7815),
    ("cardio", 0.9504),
    ("glass", 0.6693),
    ("ionosphere", 0.7964),
    ("letter", 0.5308),
    ("lympho", 0.9813),
    ("musk", 0.9999),
    ("optdigits", 0.5086),
    ("wbc", 0.9159),
];

fn fitted(values: &[f64], width: usize, method: Method) -> Baseline {
    // All training rows are learnt from: with a threshold from held-out rows it would be half of them.
    let settings = Settings { method, threshold: ThresholdFrom::Parametric, ..Settings::default() };
    Baseline::fit(&Rows::new(values, width, &[]).unwrap(), &settings).unwrap()
}

#[test]
fn odds() {
    let Some(splits) = data("odds/splits.parquet") else { return };
    let spec = TableSpec { host: Some("dataset".into()), ..TableSpec::default() };
    let splits = read_table(&splits, &spec).unwrap();
    assert_eq!(splits.columns[0], "row");
    let mut means = [0.0; 4];
    for (name, expected) in DIAGONAL {
        let table = data(&format!("odds/{name}.parquet")).unwrap();
        let table = read_table(&table, &TableSpec { label: Some("y".into()), ..TableSpec::default() }).unwrap();
        let (width, rows) = (table.columns.len(), &table.hosts[""]);
        let in_order = |at: usize| splits.hosts[name].vector(at)[0] == at as f64;
        assert!((0..rows.len()).all(in_order), "the splits are in the order of the rows");
        let mut line = format!("{name:10}");
        for (method, mean) in Method::ALL.into_iter().zip(&mut means) {
            let mut sum = 0.0;
            for split in 1..=10 {
                let test = |at: usize| splits.hosts[name].vector(at)[split] == 1.0;
                let baseline = fitted(&rows.concat(|at| !test(at)), width, method);
                let mut scratch = Scratch::default();
                let (scores, outlier): (Vec<f64>, Vec<bool>) = (0..rows.len())
                    .filter(|&at| test(at))
                    .map(|at| (baseline.score(rows.vector(at), &mut scratch).z, rows.labels[at] == Some(true)))
                    .unzip();
                sum += auroc(&scores, &outlier).unwrap() / 10.0;
            }
            write!(line, "  {method} {sum:.4}").unwrap();
            *mean += sum / 9.0;
            if method == Method::Diagonal {
                assert!((sum - expected).abs() <= 0.002, "{name}: {sum}, known {expected}");
            }
        }
        println!("{line}");
    }
    let [diagonal, robust, trimmed, shrunk] = means;
    println!("mean        diagonal {diagonal:.4}  robust {robust:.4}  trimmed {trimmed:.4}  shrunk {shrunk:.4}");
    let known = DIAGONAL.iter().map(|(_, auroc)| auroc).sum::<f64>() / 9.0;
    for (method, mean) in Method::ALL.into_iter().zip(means).skip(1) {
        assert!(mean > known && mean > diagonal, "{method}: {mean}, diagonal {diagonal}, known {known}");
    }
    assert!(shrunk > known + 0.03, "{shrunk}");
}

/// Fitted on each server's first half, scored on its second: point-wise, nothing adjusted.
#[test]
fn smd() {
    let Some(path) = data("smd_subset/smd.parquet") else { return };
    let read = |part: &str| {
        let spec = TableSpec {
            host: Some("host".into()),
            label: Some("label".into()),
            ignore: vec!["step".into()],
            only: vec![("part".into(), part.into())],
            columns: None,
        };
        read_table(&path, &spec).unwrap()
    };
    let (train, test) = (read("train"), read("test"));
    assert_eq!((train.columns.len(), train.hosts.len()), (38, 8));
    let mut means = Vec::new();
    for method in [Method::Diagonal, Method::Shrunk] {
        let mut sums = [0.0; 3];
        for (host, rows) in &train.hosts {
            let baseline = fitted(&rows.concat(|_| true), 38, method);
            let (rows, mut scratch) = (&test.hosts[host], Scratch::default());
            let scores: Vec<f64> = (0..rows.len()).map(|at| baseline.score(rows.vector(at), &mut scratch).z).collect();
            let outlier: Vec<bool> = rows.labels.iter().map(|label| *label == Some(true)).collect();
            let figures = [
                auroc(&scores, &outlier).unwrap(),
                average_precision(&scores, &outlier).unwrap(),
                best_f1(&scores, &outlier).unwrap().0,
            ];
            println!("{method} {host} {figures:.3?}");
            sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure / 8.0);
        }
        println!("{method} mean {sums:.4?}");
        means.push(sums);
    }
    // Known of the same rows: a diagonal Mahalanobis with another floor for dead columns.
    for (own, known) in means[0].into_iter().zip([0.800, 0.567, 0.602]) {
        assert!((own - known).abs() <= 0.003, "{own}, known {known}");
    }
    assert!(means[1][0] > means[0][0] + 0.02, "the covariance helps: {means:?}");
}
