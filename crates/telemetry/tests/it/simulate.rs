//! The simulated lab from outside: bytes that repeat, faults that are what the ground truth says, rows as described.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use stakeout_core::channels::BUILT_IN;
use stakeout_core::{ChannelKind, ChannelSpec, Source, Trace};
use stakeout_telemetry::simulate::{FAULTS_FILE, Fault, FaultRecord, SimConfig, SimReport, simulate};
use stakeout_telemetry::{Examined, Keep, ReasonCode, Store, ValidateOptions, Verdict, examine, validate};

fn store(folder: &tempfile::TempDir, config: &SimConfig) -> (PathBuf, SimReport) {
    let path = folder.path().join("store");
    let report = simulate(&path, config, &|_, _| {}).unwrap();
    (path, report)
}

/// Path inside the store to content, for every file but the lock.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != ".lock" {
                found.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(path).unwrap());
            }
        }
    }
    found
}

fn traces(path: &Path) -> Vec<Trace> {
    let channels: Vec<ChannelSpec> = BUILT_IN.iter().map(ChannelSpec::from).collect();
    let store = Store::open(path).unwrap();
    let examined = |entry| examine(&store, entry, Keep::Trace(&channels)).unwrap().trace.unwrap();
    store.entries().iter().map(examined).collect()
}

#[test]
fn the_same_configuration_gives_the_same_bytes_on_one_thread_and_on_four() {
    let config = SimConfig { episodes: 20, hosts: 3, episode_seconds: 20, faults: Some(0.5), ..SimConfig::default() };
    let run = |threads, config: &SimConfig| {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (path, _) = pool.install(|| store(&folder, config));
        files(&path)
    };
    let one = run(1, &config);
    assert!(one == run(4, &config));
    let other = run(4, &SimConfig { seed: 2, ..config });
    assert!(one.keys().collect::<Vec<_>>() != other.keys().collect::<Vec<_>>());
}

#[test]
fn a_validator_tells_every_fault_and_objects_to_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = SimConfig { episodes: 200, hosts: 4, episode_seconds: 20, faults: Some(0.3), ..SimConfig::default() };
    let (path, report) = store(&folder, &config);

    let text = fs::read_to_string(path.join(FAULTS_FILE)).unwrap();
    let truth: Vec<FaultRecord> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(truth, report.faults);
    for fault in Fault::ALL {
        assert_eq!(truth.iter().filter(|record| record.fault == fault).count(), 6, "{}", fault.name());
    }
    let truth: BTreeMap<&str, &FaultRecord> = truth.iter().map(|record| (&*record.episode_id, record)).collect();
    assert_eq!(truth.len(), 60);

    let mut all: Vec<Examined> = Vec::new();
    let sweep = Store::open(&path).unwrap();
    validate(&sweep, &ValidateOptions::default(), &|_, _, _| {}, &mut |examined| {
        all.push(examined);
        Ok(())
    })
    .unwrap();
    let (unsafe_ids, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|examined| examined.has(ReasonCode::UnsafeId));
    assert_eq!(unsafe_ids.len(), 6);
    assert!(unsafe_ids.iter().all(|examined| examined.verdict == Verdict::Errored));
    assert_eq!(all.len(), 200);
    for examined in &all {
        let injected = truth.get(&*examined.id).copied();
        let reasons = &examined.reasons;
        assert_eq!(Fault::diagnosed(examined), injected.map(|record| record.fault), "{}: {reasons:?}", examined.id);
        let Some(record) = injected else {
            assert_eq!(examined.verdict, Verdict::Accepted, "{}: {reasons:?}", examined.id);
            continue;
        };
        assert!(examined.verdict >= Verdict::Rejected, "{}: {reasons:?}", examined.id);
        if record.fault != Fault::PathTraversal {
            let place = reasons.iter().find(|reason| reason.code == record.fault.reason()).unwrap();
            // An event that did not happen shows where a label claims that it did.
            let shows = if record.fault == Fault::UnjustifiedLabel { "labels.jsonl" } else { &*record.file };
            assert_eq!(place.file.as_deref(), Some(shows), "{record:?}");
        }
        // Only what happened after the files were received may show in their hashes.
        assert_eq!(examined.has(ReasonCode::HashMismatch), record.fault == Fault::BitFlip, "{record:?}");
        assert!(!examined.has(ReasonCode::SizeMismatch) && !examined.has(ReasonCode::RowCountMismatch), "{record:?}");
    }
}

#[test]
fn rows_are_lost_as_described_and_counters_only_grow() {
    let folder = tempfile::tempdir().unwrap();
    let config = SimConfig { episodes: 60, hosts: 6, episode_seconds: 60, ..SimConfig::default() };
    let (path, report) = store(&folder, &config);
    assert_eq!(report.hosts, ["host-01", "host-02", "host-03", "host-04", "host-05", "host-06"]);
    let (mut rows, mut expected, mut gaps, mut polled, mut restarts) = (0, 0, 0, 0, 0);
    for trace in traces(&path) {
        let restarted = trace.sources.iter().filter(|rows| {
            let columns = rows.channels.len();
            (0..columns).any(|column| {
                let series = || rows.values.iter().skip(column).step_by(columns);
                assert!(series().all(|value| value.is_finite() && *value >= 0.0));
                let counter = BUILT_IN[rows.channels[column]].kind == ChannelKind::Counter;
                counter && series().zip(series().skip(1)).any(|(a, b)| b < a)
            })
        });
        restarts += restarted.count();
        for source in trace.sources.iter().filter(|rows| rows.source != Source::Netflow) {
            rows += source.t_wall_ns.len();
            expected += if source.source == Source::Proc { 240 } else { 120 };
            let period = if source.source == Source::Proc { 250_000_000 } else { 500_000_000 };
            polled += 1;
            gaps += usize::from(source.t_wall_ns.windows(2).any(|pair| pair[1] - pair[0] > 3 * period));
        }
        assert_eq!(trace.sources.len(), 4);
    }
    // One row in a hundred, and in one source of five a gap of a second of sixty.
    let lost = 1.0 - rows as f64 / f64::from(expected);
    assert!((0.008..0.022).contains(&lost), "{lost} lost");
    // Lone losses seldom make a gap of three periods; gaps below that length are not seen in slow sources.
    assert!((polled / 20..polled / 3).contains(&gaps), "{gaps} gaps in {polled} sources");
    assert!(restarts <= 4, "{restarts} restarts in 60 episodes");
}

#[test]
fn every_source_counts_from_its_own_start_and_agrees_on_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let config = SimConfig { episodes: 4, hosts: 2, episode_seconds: 20, ..SimConfig::default() };
    let (path, _) = store(&folder, &config);
    let mono = |id: &str, source: Source| -> i64 {
        let file = path.join("episodes").join(id).join(source.file_name());
        let text = fs::read_to_string(file).unwrap();
        serde_json::from_str::<serde_json::Value>(text.lines().next().unwrap()).unwrap()["t_mono_ns"].as_i64().unwrap()
    };
    for trace in traces(&path) {
        let (start, end) = trace.episode.span;
        for rows in &trace.sources {
            assert!(*rows.t_wall_ns.first().unwrap() >= start && *rows.t_wall_ns.last().unwrap() < end);
            assert!(rows.t_wall_ns[0] - start < 2_500_000_000, "{}", rows.source);
        }
        let first: BTreeSet<i64> =
            [Source::Proc, Source::Guest].iter().map(|source| mono(&trace.episode.id, *source)).collect();
        assert!(first.len() == 2 && first.iter().all(|mono| *mono > 3_600_000_000_000));
        assert!([Source::Qmp, Source::Netflow].iter().all(|source| mono(&trace.episode.id, *source) < 2_500_000_000));
    }
}

#[test]
fn a_configuration_out_of_range_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let good = SimConfig::default;
    for (config, words) in [
        (SimConfig { episodes: 0, ..good() }, "episodes"),
        (SimConfig { hosts: 0, ..good() }, "hosts"),
        (SimConfig { episode_seconds: 5, ..good() }, "episode_seconds"),
        (SimConfig { faults: Some(1.5), ..good() }, "faults"),
        (SimConfig { faults: Some(f64::NAN), ..good() }, "faults"),
        (SimConfig { start_ns: 1_767_225_600_000_000_001, ..good() }, "start_ns"),
    ] {
        let error = simulate(&path, &config, &|_, _| {}).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!path.exists());
    }
}
