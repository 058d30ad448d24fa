//! Importing tables: tiny ones made here, hostile ones, and the public corpora where they are at hand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use polars::prelude::{CsvWriter, DataFrame, ParquetWriter, SerWriter};
use serde_json::Value;
use stakeout_telemetry::import::{ImportOptions, ImportReport, Mapping, import_table};
use stakeout_telemetry::{Summary, TelemetryError, ValidateOptions, Verdict, validate};
use tempfile::TempDir;

mod hostile;
mod real;
mod synthetic;

/// A folder for tables and the stores made of them.
struct Bench {
    folder: TempDir,
    made: std::cell::Cell<u32>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), made: std::cell::Cell::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn parquet(&self, name: &str, mut frame: DataFrame) -> PathBuf {
        let path = self.path(name);
        ParquetWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
        path
    }

    fn csv(&self, name: &str, mut frame: DataFrame) -> PathBuf {
        let path = self.path(name);
        CsvWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
        path
    }

    fn import(&self, mapping: &str, sources: &[PathBuf]) -> Result<(Store, ImportReport), TelemetryError> {
        self.import_with(mapping, sources, ImportOptions::default())
    }

    fn import_with(
        &self,
        mapping: &str,
        sources: &[PathBuf],
        options: ImportOptions,
    ) -> Result<(Store, ImportReport), TelemetryError> {
        self.made.set(self.made.get() + 1);
        let store = self.path(&format!("store-{}", self.made.get()));
        let mapping = Mapping::parse(Path::new("mapping.toml"), mapping)?;
        let report = import_table(&mapping, sources, &store, options, &|_| ())?;
        assert_eq!(report.rows_read, report.rows_used + report.rows_dropped(), "every row is accounted for");
        let verdicts = validate(
            &stakeout_telemetry::Store::open(&store)?,
            &ValidateOptions::default(),
            &|_, _, _| (),
            &mut |_| Ok(()),
        )?;
        if report.findings.is_empty() {
            assert_eq!(verdicts.of(Verdict::Accepted), report.episodes, "{:?}", verdicts.reasons);
        }
        assert_eq!(report.labels.iter().map(|(_, rows)| rows).sum::<u64>(), report.rows_used);
        Ok((Store { path: store, verdicts }, report))
    }
}

/// A store, read the slow and obvious way.
struct Store {
    path: PathBuf,
    verdicts: Summary,
}

impl Store {
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// The `meta.json` of every episode, in the order of the index.
    fn episodes(&self) -> Vec<Value> {
        let index = self.text("index.jsonl");
        let ids = index.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["episode_id"].clone());
        ids.map(|id| serde_json::from_str(&self.text(&format!("episodes/{}/meta.json", id.as_str().unwrap()))).unwrap())
            .collect()
    }

    /// The episode with this key.
    fn episode(&self, key: &str) -> Value {
        self.episodes().into_iter().find(|meta| meta["source_key"] == key).expect("the episode is there")
    }

    fn lines(&self, episode: &Value, file: &str) -> Vec<Value> {
        let text = self.text(&format!("episodes/{}/{file}", episode["episode_id"].as_str().unwrap()));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `phase` (or `event`) and seconds since the start of the episode.
    fn named(&self, episode: &Value, file: &str, key: &str) -> Vec<(String, f64)> {
        let start = int(episode, "started_at_wall");
        let at = |line: &Value| (int(line, "t_wall_ns") - start) as f64 / 1e9;
        self.lines(episode, file).iter().map(|line| (line[key].as_str().unwrap().to_owned(), at(line))).collect()
    }

    /// Every file and its bytes.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        bytes(&self.path)
    }
}

fn bytes(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, into);
            } else {
                into.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(store, store, &mut files);
    files
}

fn int(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// An error with everything under it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
