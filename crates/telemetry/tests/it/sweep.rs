//! Whole stores.

use std::cell::RefCell;
use std::fs;

use stakeout_telemetry::{Compression, Examined, Store, ValidateOptions, Verdict, validate};

use crate::small::{Small, id};

fn sweep(small: &Small, threads: usize) -> (Vec<Examined>, stakeout_telemetry::Summary) {
    let store = Store::open(&small.path).unwrap();
    let mut all = Vec::new();
    let steps = RefCell::new(Vec::new());
    let summary = validate(
        &store,
        &ValidateOptions { threads },
        &|done, _, of| steps.borrow_mut().push((done, of)),
        &mut |examined| {
            all.push(examined);
            Ok(())
        },
    )
    .unwrap();
    let steps = steps.into_inner();
    assert!(steps.is_sorted() && steps.last() == Some(&(all.len() as u64, all.len() as u64)));
    (all, summary)
}

#[test]
fn verdicts_are_the_same_and_in_order_for_any_number_of_threads() {
    let small = Small::with(36, Compression::Plain);
    for n in [3, 20, 35] {
        fs::remove_file(small.path.join("episodes").join(id(n)).join("netflow.jsonl")).unwrap();
    }
    fs::remove_dir_all(small.path.join("episodes").join(id(30))).unwrap();
    let (one, summary) = sweep(&small, 1);
    assert_eq!(summary.verdicts, [32, 0, 3, 1]);
    assert_eq!(summary.of(Verdict::Rejected), 3);
    assert!(one.iter().map(|examined| &examined.id).is_sorted());
    assert_eq!(sweep(&small, 2), (one.clone(), summary.clone()));
    assert_eq!(sweep(&small, 5), (one, summary));
}

#[test]
fn a_sink_that_fails_ends_the_sweep() {
    let small = Small::with(3, Compression::Plain);
    let store = Store::open(&small.path).unwrap();
    let mut calls = 0;
    let failed = validate(&store, &ValidateOptions::default(), &|_, _, _| {}, &mut |_| {
        calls += 1;
        Err(stakeout_telemetry::TelemetryError::store(&small.path, "disk full"))
    });
    assert!(failed.unwrap_err().to_string().contains("disk full"));
    assert_eq!(calls, 1);
}

#[test]
fn a_folder_that_is_no_store_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no store"), "{error}");
}

#[test]
fn a_digest_follows_corpus_and_index() {
    let (a, b) = (Small::with(2, Compression::Plain), Small::with(2, Compression::Plain));
    let digest = |small: &Small| Store::open(&small.path).unwrap().digest().unwrap();
    assert_eq!(digest(&a), digest(&b));
    b.write_records(&b.records()[..1]);
    assert_ne!(digest(&a), digest(&b));
}

#[cfg(feature = "tables")]
#[test]
fn the_table_has_one_row_an_entry() {
    use polars::prelude::*;
    use stakeout_telemetry::validate::VerdictTable;
    let small = Small::with(3, Compression::Plain);
    fs::remove_file(small.path.join("episodes").join(id(1)).join("netflow.jsonl")).unwrap();
    let (all, _) = sweep(&small, 1);
    let mut table = VerdictTable::new();
    for examined in &all {
        table.push(examined);
    }
    let path = small.path.join("validation.parquet");
    table.write(&path).unwrap();
    let frame = ParquetReader::new(fs::File::open(&path).unwrap()).finish().unwrap();
    assert_eq!(frame.shape(), (3, 8));
    let text = |column: &str, row: usize| frame.column(column).unwrap().str().unwrap().get(row).unwrap().to_owned();
    assert_eq!((text("episode_id", 1), text("verdict", 1)), (id(1), "rejected".into()));
    assert_eq!(text("reasons", 1), "file_missing");
    assert_eq!(text("reasons", 2), "");
    assert_eq!(frame.column("rows_read").unwrap().u64().unwrap().get(0), Some(327));
}
