use polars::prelude::{IntoColumn, NamedFrom, Series, df};
use serde_json::json;
use stakeout_telemetry::ReasonCode;

use super::*;

const RUNS: &str = r#"
name = "runs"
host = "vm"
sample = "{run}"
profile = { template = "{bad}", map = { 0 = "benign", 1 = "worm" } }

[labels]
column = "bad"
classes = ["clean", "infected"]
map = { 0 = "clean", 1 = "infected" }

[episode]
key = ["run"]

[time]
column = "t"
unit = "s"
origin = "episode"

[given]
column = "part"
train = ["a"]
test = ["b"]

[window]
seconds = 4

[[channels]]
columns = ["cpu"]
source = "guest"
kind = "level"
unit = "share"
deployable = true

[[channels]]
columns = ["sent"]
name = "guest.net_{column}"
source = "guest"
kind = "counter"
unit = "byte"
deployable = true
"#;

fn runs() -> DataFrame {
    df!(
        "run" => ["r1", "r1", "r2", "r1", "r2"],
        "t" => [0.0, 1.546, 0.25, 1.0, 2.0],
        "bad" => [1i64, 1, 0, 1, 0],
        "part" => ["a", "a", "b", "a", "b"],
        "cpu" => [0.1f32, 0.25, 0.5, 1.0, f32::NAN],
        "sent" => [Some(9_007_199_254_740_991i64), Some(2), None, Some(3), Some(4)],
    )
    .unwrap()
}

#[test]
fn rows_become_episodes() {
    let bench = Bench::new();
    let (store, report) = bench.import(RUNS, &[bench.parquet("runs.parquet", runs())]).unwrap();
    assert_eq!((report.episodes, report.rows_read, report.rows_used, report.rows_written), (2, 5, 5, 5));
    assert_eq!((report.values_missing, report.rows_reordered), (2, 1));
    assert_eq!(report.labels, [("clean".into(), 2), ("infected".into(), 3), ("unlabelled".into(), 0)]);
    assert!(report.synthetic_start && report.findings.is_empty());

    let episodes = store.episodes();
    let (r1, r2) = (&episodes[0], &episodes[1]);
    assert_eq!(
        (&r1["source_key"], &r1["host"], &r1["sample"], &r1["profile"]),
        (&json!("r1"), &json!("vm"), &json!("r1"), &json!("worm"))
    );
    assert_eq!((&r1["given"], &r2["given"], &r1["clock"]), (&json!("train"), &json!("test"), &json!("index")));
    let base = 946_684_800_000_000_000i64;
    assert_eq!((int(r1, "started_at_wall"), int(r1, "ended_at_wall")), (base, base + 1_546_000_001));
    assert_eq!(int(r2, "started_at_wall"), base + 3_600_000_000_000);

    let id = r1["episode_id"].as_str().unwrap();
    let head = |mono: i64| {
        let wall = base + mono;
        format!(r#"{{"t_mono_ns":{mono},"t_wall_ns":{wall},"source":"guest","available_in_deployment":true,"#)
    };
    let expected = format!(
        "{}\"cpu\":0.1,\"sent\":9007199254740991}}\n{}\"cpu\":1,\"sent\":3}}\n{}\"cpu\":0.25,\"sent\":2}}\n",
        head(0),
        head(1_000_000_000),
        head(1_546_000_000)
    );
    assert_eq!(store.text(&format!("episodes/{id}/telemetry-guest.jsonl")), expected);
    assert_eq!(store.named(r1, "labels.jsonl", "phase"), [("infected".into(), 0.0)]);
    let corpus = store.text("corpus.toml");
    for words in ["name = \"runs\"", "\"guest.net_sent\"", "clock = \"index\"", "seconds = 4"] {
        assert!(corpus.contains(words), "{words} in {corpus}");
    }
}

#[test]
fn csv_and_parquet_make_the_same_store() {
    let bench = Bench::new();
    let (parquet, _) = bench.import(RUNS, &[bench.parquet("runs.parquet", runs())]).unwrap();
    let (csv, report) = bench.import(RUNS, &[bench.csv("runs.csv", runs())]).unwrap();
    assert_eq!(report.rows_used, 5);
    assert_eq!(parquet.bytes(), csv.bytes());
}

#[test]
fn the_number_of_threads_does_not_show() {
    let bench = Bench::new();
    let n = 300i64;
    let frame = df!(
        "run" => (0..n).map(|i| format!("r{}", i % 60)).collect::<Vec<_>>(),
        "t" => (0..n).map(|i| (i / 60) as f64).collect::<Vec<_>>(),
        "bad" => (0..n).map(|i| (i % 60) % 2).collect::<Vec<_>>(),
        "part" => vec!["a"; n as usize],
        "cpu" => (0..n).map(|i| 1.0 / (i + 1) as f64).collect::<Vec<_>>(),
        "sent" => (0..n).collect::<Vec<_>>(),
    );
    let table = bench.parquet("runs.parquet", frame.unwrap());
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let bench = &bench;
        let table = table.clone();
        let mapping = Mapping::parse(Path::new("m.toml"), RUNS).unwrap();
        let path = bench.path(&format!("threads-{threads}"));
        let report =
            pool.install(|| import_table(&mapping, &[table], &path, ImportOptions::default(), &|_| ())).unwrap();
        (bytes(&path), report)
    };
    assert_eq!(with(1), with(4));
}

const SERIES: &str = r#"
name = "series-{table}"
host = "archive"
sample = "{part}-{case}"
profile = "{label}"
[labels]
column = "label"
classes = "from-data"
[episode]
key = ["part", "case"]
each_row = true
[time]
unit = "index"
step_seconds = 1
[given]
column = "part"
train = ["train"]
test = ["test"]
[window]
seconds = "longest"
max_per_episode = 1
partial = "mask"
[[channels]]
columns = "ch*"
source = "guest"
kind = "level"
unit = "value"
deployable = true
"#;

fn list(name: &str, rows: &[&[f64]]) -> polars::prelude::Column {
    let series: Vec<Series> = rows.iter().map(|row| Series::new("".into(), *row)).collect();
    Series::new(name.into(), series).into_column()
}

#[test]
fn list_columns_become_one_episode_a_row() {
    let bench = Bench::new();
    let mut frame =
        df!("part" => ["train", "test", "test"], "case" => [0i32, 0, 1], "label" => ["b", "a", "b"]).unwrap();
    frame.with_column(list("ch0", &[&[1.0, 2.0, 3.0], &[4.0], &[]])).unwrap();
    frame.with_column(list("ch1", &[&[1.5, 2.5, f64::INFINITY], &[4.5], &[]])).unwrap();
    let (store, report) = bench.import(SERIES, &[bench.parquet("toy.parquet", frame)]).unwrap();
    assert_eq!((report.corpus.as_str(), report.episodes, report.rows_read, report.rows_used), ("series-toy", 2, 3, 2));
    assert_eq!((report.rows_written, report.values_infinite), (4, 1));
    assert_eq!(report.dropped[0].reason, "all lists of the row are empty");
    assert!(report.dropped[0].first.ends_with("toy.parquet, row 3"), "{}", report.dropped[0].first);
    let corpus = store.text("corpus.toml");
    for words in ["classes = [\"a\", \"b\"]", "seconds = 3", "stride_seconds = 3", "steps = 3", "partial = \"mask\""] {
        assert!(corpus.contains(words), "{words} in {corpus}");
    }
    let first = store.episode("train/0");
    let rows = store.lines(&first, "telemetry-guest.jsonl");
    assert_eq!((&rows[2]["ch0"], &rows[2]["ch1"]), (&json!(3), &json!(null)));
    assert_eq!(int(&first, "ended_at_wall") - int(&first, "started_at_wall"), 3_000_000_000);
    assert_eq!(int(&first, "started_at_wall") % 3_000_000_000, 0);
}

const METRICS: &str = r#"
name = "metrics"
host = "{host}"
sample = "none"
profile = "server"
[labels]
column = "label"
classes = ["normal", "anomalous"]
map = { 0 = "normal", 1 = "anomalous" }
unlabelled = ["-1", "null"]
[episode]
key = ["host", "part"]
[time]
column = "step"
unit = "index"
step_seconds = 60
timeline = "host"
[calibration]
column = "part"
values = ["train"]
[window]
seconds = 1200
stride_seconds = 600
[[channels]]
columns = "m00..m01"
source = "guest"
kind = "level"
unit = "share"
deployable = true
"#;

#[test]
fn numbered_rows_keep_train_before_test_on_every_host() {
    let bench = Bench::new();
    let frame = df!(
        "host" => ["a", "a", "a", "a", "b", "b"],
        "part" => ["train", "train", "test", "test", "train", "test"],
        "step" => [7i32, 8, 0, 1, 0, 0],
        "label" => [Some(-1i8), None, Some(0), Some(1), Some(-1), Some(1)],
        "m00" => [0.1f32, 0.2, 0.3, 0.4, 0.5, 0.6],
        "m01" => [1i64, 2, 3, 4, 5, 6],
    );
    let (store, report) = bench.import(METRICS, &[bench.parquet("m.parquet", frame.unwrap())]).unwrap();
    assert_eq!(report.labels, [("normal".into(), 1), ("anomalous".into(), 2), ("unlabelled".into(), 3)]);
    let episodes = store.episodes();
    let starts: Vec<i64> = episodes.iter().map(|meta| int(meta, "started_at_wall")).collect();
    assert_eq!(starts[0], starts[2]);
    assert!(starts[1] == starts[3] && starts[1] == starts[0] + 3_600_000_000_000);
    let calibration: Vec<&Value> = episodes.iter().map(|meta| &meta["calibration"]).collect();
    assert_eq!(calibration, [&json!(true), &json!(false), &json!(true), &json!(false)]);
    assert_eq!(store.named(&episodes[0], "labels.jsonl", "phase"), [("unlabelled".into(), 0.0)]);
    assert_eq!(
        store.named(&episodes[1], "labels.jsonl", "phase"),
        [("normal".into(), 0.0), ("anomalous".into(), 60.0)]
    );
    assert!(store.text("corpus.toml").contains("declared = true"));
}

const FLOWS: &str = r#"
name = "flows"
host = "{tap}"
sample = "campaign"
profile = "network"
[labels]
column = "label"
classes = ["normal", "scan"]
[episode]
key = ["tap"]
[time]
column = "start"
unit = "s"
[audit.events]
file = "log.txt"
line = "[{epoch}] [{tag}]{text}"
onset_suffix = "-START"
[aggregate]
bucket_seconds = 1
[window]
seconds = 10
[[channels]]
name = "netflow.flows"
aggregate = "count"
source = "netflow"
kind = "delta"
unit = "flow"
deployable = true
[[channels]]
columns = ["bytes"]
aggregate = "sum"
source = "netflow"
kind = "delta"
unit = "byte"
deployable = true
[[channels]]
columns = ["to"]
aggregate = "distinct"
source = "netflow"
kind = "delta"
unit = "address"
deployable = true
[[channels]]
columns = ["rate"]
aggregate = "mean"
source = "netflow"
kind = "level"
unit = "share"
deployable = true
"#;

/// Ten minutes of two flows a second on one tap, a scan in the last ten seconds of each minute.
fn flows() -> DataFrame {
    let t: Vec<f64> = (0..1200).map(|i| 1_600_000_000.25 + f64::from(i) / 2.0).collect();
    let scan = |i: &i32| i % 120 >= 100;
    df!(
        "tap" => vec!["left"; 1200],
        "start" => t,
        "label" => (0..1200).map(|i| if scan(&i) { "scan" } else { "normal" }).collect::<Vec<_>>(),
        "bytes" => (0..1200).map(|i| (i % 3 != 0).then_some(10i64)).collect::<Vec<_>>(),
        "to" => (0..1200).map(|i| if scan(&i) { format!("10.0.0.{i}") } else { "10.0.0.1".into() }).collect::<Vec<_>>(),
        "rate" => (0..1200).map(|i| f64::from(i % 2)).collect::<Vec<_>>(),
    )
    .unwrap()
}

fn log(behind_s: i64) -> String {
    let onset = |minute: i64| {
        let t = 1_600_000_050 + 60 * minute + behind_s;
        format!("[{t}.100] [scan-START] begins\n[{}.900] [scan-END]\n", t + 9)
    };
    (0..10).map(onset).collect()
}

#[test]
fn events_become_buckets() {
    let bench = Bench::new();
    fs::write(bench.path("log.txt"), log(0)).unwrap();
    let (store, report) = bench.import(FLOWS, &[bench.parquet("flows.parquet", flows())]).unwrap();
    assert_eq!((report.rows_used, report.rows_written, report.findings.len()), (1200, 600, 0));
    let episode = store.episode("left");
    let rows = store.lines(&episode, "netflow.jsonl");
    assert_eq!(int(&rows[0], "t_wall_ns"), 1_600_000_000_000_000_000);
    assert_eq!(
        (&rows[0]["flows"], &rows[0]["bytes"], &rows[0]["to"], &rows[0]["rate"]),
        (&json!(2), &json!(10), &json!(1), &json!(0.5))
    );
    assert_eq!((&rows[1]["bytes"], &rows[55]["to"]), (&json!(10), &json!(2)));
    let labels = store.named(&episode, "labels.jsonl", "phase");
    assert_eq!(labels[..3], [("normal".into(), 0.0), ("scan".into(), 50.0), ("normal".into(), 60.0)]);
    assert_eq!(labels.len(), 20);
    let events = store.named(&episode, "events.jsonl", "event");
    assert_eq!((events.len(), &events[0]), (20, &("scan-START".into(), 50.1)));
    assert!(store.text("corpus.toml").contains("netflow_ms = 1000"));
}

#[test]
fn an_hour_between_rows_and_event_log_is_found_and_mended() {
    let bench = Bench::new();
    let sources = [bench.path("log.txt"), bench.parquet("flows.parquet", flows())];
    fs::write(&sources[0], log(3_600)).unwrap();
    let (store, report) = bench.import(FLOWS, &sources).unwrap();
    let finding = report.findings[0].to_string();
    assert_eq!(
        finding,
        "clock disagreement: 3600 s: log.txt against the rows, 10 of 10 instants on host left; to move the rows, set \
         time.offset_seconds = 3600"
    );
    assert!(report.to_string().contains("FINDING   clock disagreement"));
    assert!(store.verdicts.reasons.contains_key(&ReasonCode::ClockOffset), "{:?}", store.verdicts.reasons);
    let mended = FLOWS.replace("unit = \"s\"", "unit = \"s\"\noffset_seconds = 3600");
    let (store, report) = bench.import(&mended, &sources).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(int(&store.episode("left"), "started_at_wall"), 1_600_003_600_000_000_000);
    // over-corrected by an hour: the remedy takes the present offset into account
    let wrong = FLOWS.replace("unit = \"s\"", "unit = \"s\"\noffset_seconds = 7200");
    let (_, report) = bench.import(&wrong, &sources).unwrap();
    assert!(report.findings[0].to_string().contains("-3600 s") && report.findings[0].to_string().ends_with("= 3600"));
}

#[test]
fn clocks_that_nothing_brings_together_are_a_finding_too() {
    let bench = Bench::new();
    let lines: Vec<String> = (0..10i64)
        .map(|i| {
            format!(
                "[{}] [scan-START] x
",
                1_600_000_000 + i * i * 977
            )
        })
        .collect();
    let text = lines.concat();
    fs::write(bench.path("log.txt"), text).unwrap();
    let (_, report) = bench.import(FLOWS, &[bench.parquet("flows.parquet", flows())]).unwrap();
    assert!(
        report.findings[0].to_string().starts_with("clocks without a constant difference"),
        "{:?}",
        report.findings
    );
}

#[test]
fn without_its_event_log_an_import_says_what_it_did_not_check() {
    let bench = Bench::new();
    let (store, report) = bench.import(FLOWS, &[bench.parquet("flows.parquet", flows())]).unwrap();
    assert!(report.notes[0].contains("log.txt") && report.findings.is_empty());
    assert!(store.episode("left")["rows"].get("events").is_none());
}

#[test]
fn a_date_column_tells_the_time_and_another_column_checks_it() {
    let bench = Bench::new();
    let frame = df!(
        "run" => ["a", "a", "a"],
        "when" => ["2023-03-10 10:29:34.081", "2023-03-10 10:29:35", "2023-03-10 10:29:36"],
        "epoch" => [1_678_440_574_081i64, 1_678_440_575_000, 1_678_440_576_000],
        "what" => [Some("start"), None, Some("stop")],
        "label" => ["x", "y", "y"],
        "v" => [true, false, true],
    );
    let mapping = r#"
name = "dated"
host = "h"
sample = "{run}"
profile = "p"
[labels]
column = "label"
classes = ["x", "y"]
[episode]
key = ["run"]
[time]
column = "when"
unit = "date"
format = "%F %T%.f"
[event]
column = "what"
[audit]
column = "epoch"
unit = "ms"
[window]
seconds = 1
[[channels]]
columns = "v"
source = "perf"
kind = "level"
unit = "flag"
deployable = false
"#;
    let table = bench.parquet("dated.parquet", frame.unwrap());
    let (store, report) = bench.import(mapping, &[table]).unwrap();
    let episode = store.episode("a");
    assert_eq!(int(&episode, "started_at_wall"), 1_678_444_174_081_000_000);
    assert_eq!(store.named(&episode, "events.jsonl", "event"), [("start".into(), 0.0), ("stop".into(), 1.919)]);
    assert_eq!(store.named(&episode, "labels.jsonl", "phase"), [("x".into(), 0.0), ("y".into(), 0.919)]);
    assert_eq!(store.lines(&episode, "telemetry-perf.jsonl")[0]["v"], json!(1));
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].to_string().starts_with("clock disagreement: -3600 s: column epoch"));
}

#[test]
fn several_tables_make_one_store() {
    let bench = Bench::new();
    let part = |run: &str| {
        df!("run" => [run, run], "t" => [0.0, 1.0], "bad" => [0i64, 0], "part" => ["a", "a"], "cpu" => [0.5, 0.5], "sent" => [1i64, 2])
            .unwrap()
    };
    let tables = [bench.parquet("one.parquet", part("r1")), bench.csv("two.csv", part("r2"))];
    let (store, report) = bench.import(RUNS, &tables).unwrap();
    assert_eq!((report.tables, report.episodes, report.rows_used), (2, 2, 4));
    let keys: Vec<Value> = store.episodes().into_iter().map(|meta| meta["source_key"].clone()).collect();
    assert_eq!(keys, ["r1", "r2"]);
}
