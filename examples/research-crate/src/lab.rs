//! Our lab's recorder: it writes episodes with a channel of its own, `guest.open_files`, into a store.
//!
//! The channel is a section of `corpus.toml` and a field of the rows; there is no code for it. What is written here is
//! made up, so that the example needs no lab. **A score on it says nothing about real malware.**

use std::path::Path;

use stakeout_core::Source;
use stakeout_telemetry::{Compression, Corpus, EpisodeMeta, StoreWriter, TelemetryError, meta};

/// The description of our corpus, channels included.
pub const CORPUS: &str = include_str!("../corpus.toml");

const SECOND: i64 = 1_000_000_000;
/// 2026-01-01 00:00 UTC.
const START: i64 = 1_767_225_600 * SECOND;
/// Length of an episode; the program starts after a third of it.
const LENGTH: i64 = 60;
const ONSET: i64 = 20;
const HOSTS: i64 = 5;

/// Program, profile, and what it adds to each channel once it runs: tasks, bytes a second, open files.
const PROGRAMS: [(&str, &str, [f64; 3]); 8] = [
    ("backup", "benign", [0.3, 4000.0, 15.0]),
    ("browser", "benign", [0.5, 9000.0, 10.0]),
    ("locker-a", "encrypter", [1.0, 200.0, 160.0]),
    ("locker-b", "encrypter", [1.5, 100.0, 120.0]),
    ("stealer-a", "stealer", [0.4, 20_000.0, 90.0]),
    ("stealer-b", "stealer", [0.2, 15_000.0, 110.0]),
    ("miner-a", "miner", [3.0, 500.0, 2.0]),
    ("miner-b", "miner", [2.5, 700.0, 1.0]),
];

/// Writes a store of 40 episodes, each program once on each of five hosts, and returns how many there are. The same
/// seed gives the same bytes.
///
/// # Errors
/// When the folder is not empty or cannot be written.
pub fn record(store: &Path, seed: u64) -> Result<u64, TelemetryError> {
    let corpus = Corpus::parse(Path::new("corpus.toml"), CORPUS)?;
    let writer = StoreWriter::create(store, &corpus)?;
    for (sequence, (host, program)) in (0..HOSTS).flat_map(|host| PROGRAMS.map(|program| (host, program))).enumerate() {
        let (sample, profile, adds) = program;
        let start = START + sequence as i64 * 100 * SECOND;
        let key = format!("host-{host}/{sample}");
        let id = meta::ulid_from((start / 1_000_000) as u64, &corpus.name, &key);
        let meta = EpisodeMeta::new(id, key, (start, start + LENGTH * SECOND));
        let meta = meta.on(format!("host-{host}")).of(sample, profile);
        let mut episode = writer.episode(sequence as u64, meta, Compression::Plain)?;
        episode.label(0, start, "benign")?;
        if profile != "benign" {
            episode.label(ONSET * SECOND, start + ONSET * SECOND, "malicious")?;
        }
        let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ sequence as u64);
        for second in 0..LENGTH {
            let (t, runs) = (second * SECOND, f64::from(u8::from(second >= ONSET)));
            // Hosts differ in size: what is much on one is little on another.
            let size = 1.0 + host as f64 * 0.4;
            let mut value = |base: f64, add: f64| size * base * (0.7 + 0.6 * noise.next()) + runs * add * noise.next();
            let [load, bytes, files] = adds;
            // The values of a source, in the order of its channels in corpus.toml.
            episode.row(Source::Guest, t, start + t, &[value(0.4, load), value(40.0, files).round()])?;
            episode.row(Source::Netflow, t, start + t, &[value(1000.0, bytes).round()])?;
        }
        episode.finish(start + LENGTH * SECOND)?;
    }
    writer.finish()
}

/// `SplitMix64` (Steele, Lea and Flood 2014): seeded by us, so that nothing else moves it.
struct Noise(u64);

impl Noise {
    /// A number in `[0, 1)`.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
