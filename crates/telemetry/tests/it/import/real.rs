use stakeout_core::Source;
use stakeout_telemetry::{Corpus, ReasonCode};

use super::*;

/// A file of the public corpora, or a printed reason why there is none.
fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("STAKEOUT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = root.join(path);
    if !path.is_file() {
        println!("skipped: {} is not here (set STAKEOUT_DATA)", path.display());
        return None;
    }
    Some(path)
}

fn mapping(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mappings");
    fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap()
}

fn count(store: &Store, is: impl Fn(&Value) -> bool) -> usize {
    store.episodes().iter().filter(|meta| is(meta)).count()
}

#[test]
fn rhode() {
    let Some(table) = data("rhode2017_machine_activity/activity.parquet") else { return };
    let bench = Bench::new();
    let (store, report) = bench.import(&mapping("rhode2017_machine_activity"), &[table]).unwrap();
    assert_eq!((report.episodes, report.rows_read, report.rows_used), (118, 34_122, 34_122));
    assert_eq!(count(&store, |meta| meta["given"] == "train"), 60);
    assert_eq!(count(&store, |meta| meta["given"] == "test"), 58);
    assert_eq!(count(&store, |meta| meta["profile"] == "malicious"), 59);
    let first = store.episode("val_10_000");
    let rows = store.lines(&first, "telemetry-guest.jsonl");
    assert_eq!((int(&rows[0], "rx_bytes"), int(&rows[1], "t_mono_ns")), (1_634_486, 1_546_000_000));
    assert_eq!(store.named(&first, "labels.jsonl", "phase"), [("malicious".into(), 0.0)]);
    let corpus = Corpus::read(&store.path).unwrap();
    assert_eq!((corpus.channels.len(), corpus.window.length_ns, corpus.window.max_per_episode), (10, 4_000_000_000, 1));
}

#[test]
fn smd() {
    let Some(table) = data("smd_subset/smd.parquet") else { return };
    let bench = Bench::new();
    let (store, report) = bench.import(&mapping("smd_subset"), &[table]).unwrap();
    assert_eq!((report.episodes, report.rows_read, report.rows_used), (16, 379_134, 379_134));
    assert_eq!(report.labels[2], ("unlabelled".into(), 189_565));
    servers(&store, 8, 38);
    let first = store.episodes().remove(0);
    let row = store.text(&format!("episodes/{}/telemetry-guest.jsonl", first["episode_id"].as_str().unwrap()));
    assert!(row.lines().next().unwrap().contains("\"m00\":0.061728"), "a 32-bit value keeps its short form");
}

#[test]
fn asd() {
    let Some(table) = data("asd_servers/asd.parquet") else { return };
    let bench = Bench::new();
    let (store, report) = bench.import(&mapping("asd_servers"), &[table]).unwrap();
    assert_eq!((report.episodes, report.rows_read, report.rows_used), (24, 154_171, 154_171));
    assert_eq!(report.labels.iter().map(|(_, rows)| rows).take(2).sum::<u64>(), 12 * 4_320);
    servers(&store, 12, 19);
}

/// Each host has a calibration part without labels, and after it a labelled part that starts on the window grid.
fn servers(store: &Store, hosts: usize, channels: usize) {
    let corpus = Corpus::read(&store.path).unwrap();
    assert_eq!((corpus.channels.len(), corpus.window.clock.name()), (channels, "index"));
    let episodes = store.episodes();
    let mut by_host: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for meta in &episodes {
        by_host.entry(meta["host"].as_str().unwrap()).or_default().push(meta);
    }
    assert_eq!(by_host.len(), hosts);
    for parts in by_host.values() {
        assert_eq!(parts.len(), 2);
        assert!(parts[0]["calibration"] == true && parts[1]["calibration"] == false);
        assert!(int(parts[0], "ended_at_wall") <= int(parts[1], "started_at_wall"));
        assert_eq!(int(parts[1], "started_at_wall") % corpus.window.stride_ns, 0);
        assert_eq!(store.named(parts[0], "labels.jsonl", "phase"), [("unlabelled".into(), 0.0)]);
    }
}

#[test]
fn hiper() {
    let Some(table) = data("hiper_ransomware_hpc/hpc.parquet") else { return };
    let bench = Bench::new();
    let (store, report) = bench.import(&mapping("hiper_ransomware_hpc"), &[table]).unwrap();
    assert_eq!((report.episodes, report.rows_read, report.rows_used), (366, 18_300, 18_300));
    assert_eq!(report.labels[1], ("ransomware".into(), 9_150));
    let first = store.episodes().remove(0);
    assert_eq!(int(&first, "ended_at_wall") - int(&first, "started_at_wall"), 50_000_000_000);
    assert!(Corpus::read(&store.path).unwrap().available(Source::Perf));
}

#[test]
fn tsc() {
    for (set, cases, train, channels, longest, classes) in [
        ("BasicMotions", 80, 40, 6, 100, 4),
        ("GunPoint", 200, 50, 1, 150, 2),
        ("ItalyPowerDemand", 1096, 67, 1, 24, 2),
        ("JapaneseVowels", 640, 270, 12, 29, 9),
    ] {
        let Some(table) = data(&format!("tsc/{set}.parquet")) else { return };
        let bench = Bench::new();
        let (store, report) = bench.import(&mapping("tsc"), &[table]).unwrap();
        assert_eq!((report.corpus.as_str(), report.episodes), (format!("tsc-{set}").as_str(), cases));
        assert_eq!((report.rows_read, report.rows_used), (cases, cases));
        assert_eq!(count(&store, |meta| meta["given"] == "train"), train);
        assert_eq!(count(&store, |meta| meta["given"] == "test"), cases as usize - train);
        let corpus = Corpus::read(&store.path).unwrap();
        assert_eq!((corpus.channels.len(), corpus.classes.len(), corpus.window.steps), (channels, classes, longest));
        assert!(store.episodes().iter().all(|meta| int(meta, "started_at_wall") % corpus.window.stride_ns == 0));
    }
}

#[test]
fn westermo_flags_the_hour_and_the_remedy_clears_it() {
    let Some(table) = data("westermo_flows/flows_reduced.parquet") else { return };
    let bench = Bench::new();
    let text = mapping("westermo_flows");
    let (store, report) = bench.import(&text, std::slice::from_ref(&table)).unwrap();
    assert_eq!((report.episodes, report.rows_read, report.rows_used), (3, 48_657, 48_657));
    assert_eq!(report.labels.len(), 9);
    assert_eq!(report.labels[2], ("BAD-SSH".into(), 16_014));
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    for (finding, against) in findings.iter().zip(["column startDate", "events.txt"]) {
        assert!(finding.starts_with(&format!("clock disagreement: 3600 s: {against}")), "{finding}");
        assert!(finding.ends_with("set time.offset_seconds = 3600"), "{finding}");
    }
    // every event but those past the end of a capture, at the time that the log gives
    assert_eq!(count(&store, |meta| int(&meta["rows"], "events") >= 191), 3);
    assert_eq!(store.verdicts.reasons.get(&ReasonCode::ClockOffset), Some(&3), "{:?}", store.verdicts.reasons);

    let (store, report) = bench.import(&text.replace("offset_seconds = 0", "offset_seconds = 3600"), &[table]).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.rows_used, 48_657);
    // the first staged attack: labelled within two seconds of what the log says
    let left = store.episode("left");
    let onset = |file, key, name: &str| store.named(&left, file, key).into_iter().find(|(is, _)| is == name).unwrap().1;
    let (label, event) = (onset("labels.jsonl", "phase", "BAD-MITM"), onset("events.jsonl", "event", "BAD-MITM-START"));
    assert!((label - event).abs() < 2.0, "{label} {event}");
}
