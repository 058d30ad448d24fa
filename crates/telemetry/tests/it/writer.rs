//! The writer: whole episodes or nothing, the same bytes for any number of threads.

use std::fs;
use std::io::Write;

use rayon::prelude::*;
use stakeout_core::Source;
use stakeout_telemetry::store::INDEX_FILE;
use stakeout_telemetry::{Compression, Corpus, EpisodeMeta, Store, StoreWriter, Verdict};

use crate::small::{LENGTH, S, Small, T0, id};

fn meta(n: i64) -> EpisodeMeta {
    let start = T0 + n * 100 * S;
    EpisodeMeta::new(id(n), format!("run-{n}"), (start, start + LENGTH)).on("host-1").of("sleep", "benign")
}

#[test]
fn the_index_follows_the_sequence_whatever_the_threads_do() {
    let write = |threads: usize| {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreWriter::create(folder.path(), &Corpus::built_in()).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            (0..200i64).into_par_iter().for_each(|n| {
                let mut episode = store.episode(n as u64, meta(n), Compression::Plain).unwrap();
                episode.row(Source::Guest, 0, T0 + n * 100 * S, &[f64::from(n as i32); 19]).unwrap();
                if n % 7 != 3 {
                    episode.finish(T0).unwrap();
                }
            });
        });
        assert_eq!(store.finish().unwrap(), 200 - 29);
        assert_eq!(fs::read_dir(folder.path().join("episodes")).unwrap().count(), 200 - 29);
        fs::read_to_string(folder.path().join(INDEX_FILE)).unwrap()
    };
    let one = write(1);
    assert_eq!(one.lines().count(), 171);
    assert_eq!(write(4), one);
}

#[test]
fn what_the_validator_would_object_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreWriter::create(folder.path(), &Corpus::built_in()).unwrap();
    let mut episode = store.episode(0, meta(0), Compression::Plain).unwrap();
    let row = [0.0; 19];
    episode.row(Source::Guest, 5, T0, &row).unwrap();
    assert!(episode.row(Source::Guest, 5, T0, &row).is_err());
    assert!(episode.row(Source::Guest, 4, T0 + 1, &row).is_err());
    assert!(episode.row(Source::Guest, 5, -1, &row).is_err());
    assert!(episode.row(Source::Guest, 5, T0 + 1, &row[1..]).is_err());
    assert!(episode.row(Source::Perf, 5, T0, &row).is_err());
    assert!(episode.label(0, T0, "dorment").is_err());
    assert!(episode.event(0, T0, "").is_err());
    assert!(store.episode(1, meta(0), Compression::Plain).is_err());
    let mut infinite = row;
    infinite[3] = f64::INFINITY;
    assert!(episode.row(Source::Guest, 6, T0 + 2, &infinite).is_err());
}

#[test]
fn a_refused_row_leaves_no_half_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreWriter::create(folder.path(), &Corpus::built_in()).unwrap();
    let mut episode = store.episode(0, meta(0), Compression::Plain).unwrap();
    let mut row = [1.0; 19];
    row[7] = f64::NEG_INFINITY;
    assert!(episode.row(Source::Guest, 0, T0, &row).is_err());
    assert!(episode.row(Source::Guest, 0, T0, &row[..4]).is_err());
    row[7] = f64::NAN;
    episode.row(Source::Guest, 0, T0, &row).unwrap();
    episode.finish(T0).unwrap();
    store.finish().unwrap();
    let text = fs::read_to_string(folder.path().join("episodes").join(id(0)).join("telemetry-guest.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with(&format!("{{\"t_mono_ns\":0,\"t_wall_ns\":{T0},\"source\":\"guest\"")), "{text}");
}

#[test]
fn a_folder_in_use_is_not_written_over() {
    let small = Small::new();
    let corpus = Corpus::built_in();
    assert!(StoreWriter::create(&small.path, &corpus).unwrap_err().to_string().contains("not empty"));
    let writer = StoreWriter::append(&small.path, &corpus).unwrap();
    assert!(StoreWriter::append(&small.path, &corpus).unwrap_err().to_string().contains("another process"));
    assert!(writer.episode(0, meta(0), Compression::Plain).unwrap_err().to_string().contains("there already"));
    drop(writer);
    let other = Corpus { name: "other".into(), ..corpus };
    assert!(StoreWriter::append(&small.path, &other).unwrap_err().to_string().contains("another corpus"));
}

#[test]
fn after_a_crash_a_writer_goes_on() {
    let small = Small::new();
    // What a killed writer leaves: a partial folder, a renamed episode that the index does not name, half a line.
    fs::create_dir(small.path.join("episodes/.partial-X")).unwrap();
    let mut index = fs::OpenOptions::new().append(true).open(small.path.join(INDEX_FILE)).unwrap();
    index.write_all(b"{\"episode_id\":\"01").unwrap();
    let store = Store::open(&small.path).unwrap();
    assert_eq!((store.leftovers(), store.entries().len()), (1, 2));
    let verdicts: Vec<Verdict> = small.examine().iter().map(|examined| examined.verdict).collect();
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Errored]);

    let writer = StoreWriter::append(&small.path, &Corpus::built_in()).unwrap();
    writer.episode(0, meta(1), Compression::Zstd).unwrap().finish(T0).unwrap();
    assert_eq!(writer.finish().unwrap(), 1);
    let store = Store::open(&small.path).unwrap();
    assert_eq!((store.leftovers(), store.entries().len()), (0, 2));
    assert_eq!(small.records().len(), 2);
}
