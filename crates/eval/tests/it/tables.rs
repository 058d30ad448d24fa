//! Predictions on disk.

use std::path::PathBuf;

use polars::prelude::*;
use stakeout_eval::{EvalError, Predictions};

use crate::world::{Case, class_list, predictions};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictions.parquet");
    (folder, path)
}

#[test]
fn a_round_trip_keeps_everything_and_repeats_byte_for_byte() {
    let (folder, path) = folder();
    for it in [predictions(&Case { seed: 1, hosts: 5, episodes: 40 }), Predictions::new(class_list())] {
        it.write_parquet(&path).unwrap();
        let back = Predictions::read_parquet(&path).unwrap();
        assert_eq!(back.len(), it.len());
        assert!((0..it.len()).all(|row| back.row(row) == it.row(row)));
        let bytes = std::fs::read(&path).unwrap();
        back.write_parquet(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_panic() {
    let (_folder, path) = folder();
    predictions(&Case { seed: 2, hosts: 3, episodes: 12 }).write_parquet(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(Predictions::read_parquet(&path).is_err(), "cut at {cut}");
    }
    // A flipped byte may go unseen in a number, but whatever is read keeps the rules of the type.
    for at in (0..whole.len()).step_by(53) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(read) = Predictions::read_parquet(&path) {
            assert!((0..read.len()).all(|row| read.probabilities(row).iter().all(|p| p.is_finite() && *p >= 0.0)));
        }
    }
    std::fs::write(&path, vec![b'P'; 4096]).unwrap();
    assert!(matches!(Predictions::read_parquet(&path), Err(EvalError::Table { .. })));
}

fn write(path: &std::path::Path, change: impl Fn(&mut DataFrame)) {
    predictions(&Case { seed: 3, hosts: 2, episodes: 5 }).write_parquet(path).unwrap();
    let mut frame = ParquetReader::new(std::fs::File::open(path).unwrap()).finish().unwrap();
    change(&mut frame);
    ParquetWriter::new(std::fs::File::create(path).unwrap()).finish(&mut frame).unwrap();
}

#[test]
fn a_well_formed_table_that_breaks_a_rule_is_refused_with_the_reason() {
    type Values = fn(usize) -> Series;
    let cases: [(&str, Values, &str); 6] = [
        ("x\u{1b}[2J", |n| Series::new("".into(), vec![1i64; n]), "`x[2J` is unknown"),
        ("p_clean", |n| Series::new("".into(), vec![f32::NAN; n]), "probability NaN"),
        ("p_clean", |n| Series::new("".into(), vec![0.5f64; n]), "reading"),
        ("label", |n| Series::new("".into(), vec!["nope"; n]), "label `nope`"),
        ("side", |n| Series::new("".into(), vec!["left"; n]), "side `left`"),
        ("t0_ns", |n| Series::new("".into(), vec![None::<i64>; n]), "`t0_ns` has no value"),
    ];
    let (_folder, path) = folder();
    for (name, values, expected) in cases {
        write(&path, |frame| {
            let column = values(frame.height()).with_name(name.into());
            frame.with_column(column.into_column()).unwrap();
        });
        let error = Predictions::read_parquet(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} lacks {expected}");
    }
    write(&path, |frame| {
        frame.drop_in_place("episode").unwrap();
    });
    let error = Predictions::read_parquet(&path).unwrap_err().to_string();
    assert!(error.contains("no column `episode`"), "{error}");
}

#[test]
fn only_regular_files_are_read() {
    let (folder, path) = folder();
    assert!(matches!(Predictions::read_parquet(folder.path()), Err(EvalError::File { .. })));
    assert!(matches!(Predictions::read_parquet(&path), Err(EvalError::Core(_))));
}
