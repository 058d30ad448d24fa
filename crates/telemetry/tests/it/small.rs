//! A small healthy store, and tools to damage it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stakeout_core::Source;
use stakeout_telemetry::store::{INDEX_FILE, episode_folder};
use stakeout_telemetry::{
    Compression, Corpus, EpisodeMeta, Examined, IndexRecord, Keep, Store, StoreWriter, examine, meta,
};

pub(crate) const S: i64 = 1_000_000_000;
/// Start of the first episode.
pub(crate) const T0: i64 = 1_700_000_000 * S;
/// Length of an episode.
pub(crate) const LENGTH: i64 = 40 * S;

pub(crate) struct Small {
    /// Removed with the value.
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

/// The id of the n-th episode.
pub(crate) fn id(n: i64) -> String {
    meta::ulid_from(((T0 + n * 100 * S) / 1_000_000) as u64, "built-in", &format!("run-{n}"))
}

fn write_episode(writer: &StoreWriter, n: i64, compression: Compression) {
    let start = T0 + n * 100 * S;
    let meta = EpisodeMeta::new(id(n), format!("run-{n}"), (start, start + LENGTH)).on("host-1").of("sleep", "benign");
    let mut episode = writer.episode(n as u64, meta, compression).unwrap();
    for (at, phase) in [(0, "clean"), (10 * S, "armed"), (20 * S, "infecting"), (30 * S, "infected_running")] {
        episode.label(at, start + at, phase).unwrap();
    }
    for (at, event) in [(0, "boot"), (20 * S, "exploit_fire"), (30 * S, "session_open")] {
        episode.event(at, start + at, event).unwrap();
    }
    for source in [Source::Proc, Source::Qmp, Source::Guest, Source::Netflow] {
        let width = writer.corpus().channels_of(source).count();
        for k in 0..80 {
            let values: Vec<f64> = (0..width).map(|c| (k * 7 + c) as f64 * 0.5).collect();
            episode.row(source, k as i64 * S / 2, start + k as i64 * S / 2, &values).unwrap();
        }
    }
    episode.finish(start + LENGTH).unwrap();
}

impl Small {
    pub(crate) fn with(episodes: i64, compression: Compression) -> Self {
        Self::of(&Corpus::built_in(), episodes, compression)
    }

    pub(crate) fn of(corpus: &Corpus, episodes: i64, compression: Compression) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let writer = StoreWriter::create(&path, corpus).unwrap();
        for n in 0..episodes {
            write_episode(&writer, n, compression);
        }
        assert_eq!(writer.finish().unwrap(), episodes as u64);
        Self { _folder: folder, path }
    }

    /// One plain episode.
    pub(crate) fn new() -> Self {
        Self::with(1, Compression::Plain)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        episode_folder(&self.path, &id(0)).join(name)
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.file(name)).unwrap().lines().map(str::to_owned).collect()
    }

    /// Changes the lines of a file and lets the index agree with what it is now.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<String>)) {
        let mut lines = self.lines(name);
        change(&mut lines);
        let text = if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" };
        fs::write(self.file(name), text).unwrap();
        self.index_again();
    }

    /// Replaces a text in each line of a file.
    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        self.edit(name, |lines| {
            assert!(lines.iter().any(|line| line.contains(from)), "{name} has no {from}");
            for line in lines {
                *line = line.replace(from, to);
            }
        });
    }

    /// Adds to the times of each line of a file.
    pub(crate) fn shift(&self, name: &str, by: i64) {
        self.edit(name, |lines| {
            for line in lines {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                let was = row["t_wall_ns"].as_i64().unwrap();
                *line = line.replace(&format!("\"t_wall_ns\":{was}"), &format!("\"t_wall_ns\":{}", was + by));
            }
        });
    }

    pub(crate) fn records(&self) -> Vec<IndexRecord> {
        let text = fs::read_to_string(self.path.join(INDEX_FILE)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn write_records(&self, records: &[IndexRecord]) {
        let lines = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n");
        fs::write(self.path.join(INDEX_FILE), lines.collect::<String>()).unwrap();
    }

    /// Lets the index agree with the files that it names.
    pub(crate) fn index_again(&self) {
        let mut records = self.records();
        for record in &mut records {
            for file in &mut record.files {
                let path = episode_folder(&self.path, &record.episode_id).join(&file.name);
                let bytes = fs::read(path).unwrap();
                file.size = bytes.len() as u64;
                file.sha256 = hex(&Sha256::digest(&bytes));
            }
        }
        self.write_records(&records);
    }

    pub(crate) fn examine(&self) -> Vec<Examined> {
        examine_all(&self.path, Keep::Nothing)
    }
}

pub(crate) fn examine_all(path: &Path, keep: Keep<'_>) -> Vec<Examined> {
    let store = Store::open(path).unwrap();
    store.entries().iter().map(|entry| examine(&store, entry, keep).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}
