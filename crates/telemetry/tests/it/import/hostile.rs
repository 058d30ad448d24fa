use polars::prelude::{DataFrame, df};

use super::*;

const SMALL: &str = r#"
name = "small"
host = "{host}"
sample = "s"
profile = "p"
[labels]
column = "label"
classes = ["clean", "infected"]
[episode]
key = ["run"]
[time]
column = "t"
unit = "s"
[window]
seconds = 2
[[channels]]
columns = "cpu"
source = "guest"
kind = "level"
unit = "share"
deployable = true
"#;

fn small() -> DataFrame {
    df!(
        "host" => ["h"; 4], "run" => ["r"; 4], "t" => [100.0, 101.0, 102.0, 103.0],
        "label" => ["clean", "clean", "infected", "clean"], "cpu" => [0.5, 0.25, 0.125, 0.0],
    )
    .unwrap()
}

fn with(column: polars::prelude::Column) -> DataFrame {
    let mut frame = small();
    frame.with_column(column).unwrap();
    frame
}

macro_rules! column {
    ($name:literal, $values:expr) => {{
        use polars::prelude::{IntoColumn, NamedFrom, Series};
        Series::new($name.into(), $values).into_column()
    }};
}

fn refused(frame: DataFrame) -> String {
    let bench = Bench::new();
    let table = bench.parquet("t.parquet", frame);
    let error = bench.import(SMALL, &[table]).err().expect("the table is refused");
    let left: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["t.parquet"], "no half store is left behind");
    chain(&error)
}

#[test]
fn what_a_table_lacks_is_named_with_file_column_and_remedy() {
    let cases: [(DataFrame, &[&str]); 8] = [
        (small().head(Some(0)), &["t.parquet", "has no rows"]),
        (small().drop("cpu").unwrap(), &["t.parquet", "column `cpu`", "no such column"]),
        (small().drop("label").unwrap(), &["column `label`", "no such column"]),
        (with(column!("cpu", ["a", "b", "c", "d"])), &["column `cpu`", "holds str", "needs numbers"]),
        (with(column!("t", ["a", "b", "c", "d"])), &["column `t`", "holds str", "unit = \"date\""]),
        (
            with(column!("label", ["clean", "odd\u{1b}[2J", "clean", "clean"])),
            &["column `label`, row 2", "`odd[2J`", "labels.map"],
        ),
        (with(column!("label", [Some("clean"), None, None, None])), &["column `label`, row 2", "`null`"]),
        (
            with(column!("host", ["h", "h", "g", "h"])),
            &["column `host`, row 3", "changes inside episode `r`", "episode.key"],
        ),
    ];
    for (frame, words) in cases {
        let error = refused(frame);
        for word in words {
            assert!(error.contains(word), "{word} in {error}");
        }
    }
}

#[test]
fn lists_where_numbers_should_be_name_the_way_out() {
    let mut frame = small().drop("cpu").unwrap();
    let lists: Vec<polars::prelude::Series> =
        (0..4).map(|_| column!("", [1.0, 2.0]).take_materialized_series()).collect();
    frame.with_column(column!("cpu", lists)).unwrap();
    let error = refused(frame);
    assert!(error.contains("column `cpu`") && error.contains("episode.each_row = true"), "{error}");
}

#[test]
fn a_slip_in_a_column_name_is_answered_with_the_nearest() {
    let bench = Bench::new();
    let table = bench.parquet("t.parquet", small());
    let error = bench.import(&SMALL.replace("column = \"label\"", "column = \"lable\""), &[table]).err().unwrap();
    assert!(chain(&error).contains("did you mean `label`?"), "{}", chain(&error));
}

#[test]
fn rows_without_a_usable_time_are_dropped_and_counted() {
    let bench = Bench::new();
    for (times, reason) in [
        (vec![Some(1.0), None, Some(2.0), Some(3.0)], "missing"),
        (vec![Some(1.0), Some(f64::NAN), Some(2.0), Some(3.0)], "missing"),
        (vec![Some(1.0), Some(f64::INFINITY), Some(2.0), Some(3.0)], "finite"),
        (vec![Some(1.0), Some(-1.0), Some(2.0), Some(3.0)], "negative"),
        (vec![Some(1.0), Some(1e300), Some(2.0), Some(3.0)], "2261"),
        (vec![Some(1.0), Some(1.0), Some(2.0), Some(3.0)], "same time"),
    ] {
        let table = bench.parquet("t.parquet", with(column!("t", times)));
        let (_, report) = bench.import(SMALL, &[table]).unwrap();
        assert_eq!((report.rows_read, report.rows_used, report.dropped.len()), (4, 3, 1));
        assert!(report.dropped[0].reason.contains(reason), "{}", report.dropped[0].reason);
        assert!(report.dropped[0].first.ends_with("t.parquet, row 2"), "{}", report.dropped[0].first);
    }
    for times in [[i64::MAX; 4], [-1; 4], [i64::MIN; 4]] {
        let table = bench.parquet("t.parquet", with(column!("t", times)));
        let error = chain(&bench.import(SMALL, &[table]).err().unwrap());
        assert!(error.contains("none of its rows can be used (4 rows: the time is"), "{error}");
    }
    let table = bench.parquet("t.parquet", with(column!("t", [u64::MAX, 1, 2, 3])));
    assert!(bench.import(SMALL, &[table]).unwrap().1.dropped[0].reason.contains("2261"));
}

#[test]
fn infinite_values_become_missing_and_are_counted() {
    let bench = Bench::new();
    let cpu = [Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(f64::NAN), None];
    let table = bench.parquet("t.parquet", with(column!("cpu", cpu)));
    let (store, report) = bench.import(SMALL, &[table]).unwrap();
    assert_eq!((report.values_infinite, report.values_missing, report.rows_used), (2, 2, 4));
    let rows = store.lines(&store.episode("r"), "telemetry-guest.jsonl");
    assert!(rows.iter().all(|row| row["cpu"].is_null()));
}

#[test]
fn an_episode_in_two_tables_is_refused() {
    let bench = Bench::new();
    let tables = [bench.parquet("one.parquet", small()), bench.parquet("two.parquet", small())];
    let error = chain(&bench.import(SMALL, &tables).err().unwrap());
    for word in ["two.parquet", "one.parquet", "episode `r`", "episode.key"] {
        assert!(error.contains(word), "{word} in {error}");
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let bench = Bench::new();
    for (name, bytes, word) in [
        ("empty.parquet", &b""[..], "neither parquet"),
        ("magic.parquet", b"PAR1", "cannot be read"),
        ("short.parquet", b"PAR1\xff\xff\xff\xffPAR1", "cannot be read"),
        ("empty.csv", b"", "cannot be read"),
        ("binary.csv", b"host,run,t,label,cpu\nh,r,1,clean,\xff\xfe\n", ""),
        ("ragged.csv", b"host,run,t,label,cpu\nh,r,1,clean,0.5,extra,fields\n", ""),
        ("huge.csv", b"host,run,t,label,cpu\nh,r,1e999,clean,0.5\n", ""),
    ] {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        let error = chain(&bench.import(SMALL, &[path]).err().unwrap_or_else(|| panic!("{name} is refused")));
        assert!(error.contains(name) && error.contains(word), "{error}");
    }
    let folder = bench.import(SMALL, &[bench.folder.path().to_owned()]).err().unwrap();
    assert!(chain(&folder).contains("not a regular file"));
    let absent = bench.import(SMALL, &[bench.path("absent.parquet")]).err().unwrap();
    assert!(chain(&absent).contains("absent.parquet"));
    assert!(chain(&bench.import(SMALL, &[]).err().unwrap()).contains("at least one table"));
}

#[test]
fn the_cap_holds_for_packed_and_unpacked_size() {
    let bench = Bench::new();
    let n = 100_000;
    let frame = df!(
        "host" => vec!["h"; n], "run" => vec!["r"; n], "t" => (0..n as i64).collect::<Vec<_>>(),
        "label" => vec!["clean"; n], "cpu" => vec![0.5; n],
    );
    let table = bench.parquet("t.parquet", frame.unwrap());
    let packed = fs::metadata(&table).unwrap().len();
    assert!(packed < 2_000_000, "the test needs a table that packs well: {packed}");
    for (cap, word) in [(packed - 1, "the cap is"), (packed + 1, "unpacks to")] {
        let options = ImportOptions { max_table_bytes: cap, ..ImportOptions::default() };
        let error = chain(&bench.import_with(SMALL, std::slice::from_ref(&table), options).err().unwrap());
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_store_that_is_there_is_not_touched() {
    let bench = Bench::new();
    let table = bench.parquet("t.parquet", small());
    fs::create_dir(bench.path("store-1")).unwrap();
    fs::write(bench.path("store-1/precious"), b"x").unwrap();
    let error = chain(&bench.import(SMALL, std::slice::from_ref(&table)).err().unwrap());
    assert!(error.contains("not empty"), "{error}");
    assert_eq!(fs::read(bench.path("store-1/precious")).unwrap(), b"x");
    fs::create_dir(bench.path("store-2")).unwrap();
    bench.import(SMALL, &[table]).unwrap();
}

/// A bit in every third byte of a small table, flipped in turn: an import, or an error that names the file, never a
/// panic.
#[test]
fn damage_anywhere_in_a_table_never_panics() {
    let bench = Bench::new();
    let table = bench.parquet("t.parquet", small());
    let bytes = fs::read(&table).unwrap();
    let damaged = bench.path("d.parquet");
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut copy = bytes.clone();
        copy[at] ^= 1 << (at % 8);
        fs::write(&damaged, copy).unwrap();
        if let Err(error) = bench.import(SMALL, std::slice::from_ref(&damaged)) {
            assert!(chain(&error).contains("d.parquet"), "byte {at}: {}", chain(&error));
            refused += 1;
        }
    }
    assert!(refused * 12 > bytes.len(), "{refused} of {} flips were noticed", bytes.len());
    for cut in (0..bytes.len()).step_by(61) {
        fs::write(&damaged, &bytes[..cut]).unwrap();
        let error = bench.import(SMALL, std::slice::from_ref(&damaged)).err().expect("a cut table is refused");
        assert!(chain(&error).contains("d.parquet"));
    }
}
