//! `meta.json`: who was observed, what was run, when.

use serde::{Deserialize, Serialize};
use stakeout_core::text::printable;
use stakeout_core::{Clock, EpisodeInfo, Side};
use ulid::Ulid;

use crate::TelemetryError;
use crate::store::Stream;

/// The version of the episode layout that this crate writes and reads.
pub const SCHEMA_VERSION: u32 = 1;

/// Rows per file, as the recorder counted them. `None` = it did not count, or there is no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // one counter a file, named as the file's stream is
pub struct RowCounters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netflow: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perf: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

impl RowCounters {
    /// The counter of one file.
    pub fn of(&mut self, stream: Stream) -> &mut Option<u64> {
        use stakeout_core::Source;
        match stream {
            Stream::Rows(Source::Proc) => &mut self.proc,
            Stream::Rows(Source::Qmp) => &mut self.qmp,
            Stream::Rows(Source::Guest) => &mut self.guest,
            Stream::Rows(Source::Netflow) => &mut self.netflow,
            Stream::Rows(Source::Perf) => &mut self.perf,
            Stream::Labels => &mut self.labels,
            Stream::Events => &mut self.events,
        }
    }
}

/// The content of `meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeMeta {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The episode's ULID, also the name of its folder.
    pub episode_id: String,
    /// What the recorder calls the episode.
    pub source_key: String,
    /// The device that was observed.
    pub host: String,
    /// What identifies the device beyond its name (may be empty).
    #[serde(default)]
    pub host_fingerprint: String,
    /// The program that was run.
    pub sample: String,
    /// Its sha256 in lower-case hex, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_sha256: Option<String>,
    /// The behaviour family of the sample.
    pub profile: String,
    /// The side that the corpus itself assigns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Side>,
    /// Whether the whole episode is a calibration stretch of its host.
    #[serde(default)]
    pub calibration: bool,
    /// The clock of `t_wall_ns`.
    #[serde(default)]
    pub clock: Clock,
    /// Start of the observed span in `t_wall_ns`.
    pub started_at_wall: i64,
    /// End of the observed span in `t_wall_ns`, exclusive.
    pub ended_at_wall: i64,
    /// Rows per file.
    #[serde(default)]
    pub rows: RowCounters,
}

impl EpisodeMeta {
    /// An episode with its id, its recorder's key and its observed span in `t_wall_ns`; the rest is unknown.
    pub fn new(episode_id: impl Into<String>, source_key: impl Into<String>, span: (i64, i64)) -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            schema_version: SCHEMA_VERSION,
            episode_id: episode_id.into(),
            source_key: source_key.into(),
            host: unknown(),
            host_fingerprint: String::new(),
            sample: unknown(),
            sample_sha256: None,
            profile: unknown(),
            given: None,
            calibration: false,
            clock: Clock::Wall,
            started_at_wall: span.0,
            ended_at_wall: span.1,
            rows: RowCounters::default(),
        }
    }

    /// The same episode on this host.
    #[must_use]
    pub fn on(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The same episode of this sample and its profile.
    #[must_use]
    pub fn of(mut self, sample: impl Into<String>, profile: impl Into<String>) -> Self {
        self.sample = sample.into();
        self.profile = profile.into();
        self
    }

    /// Checks version, id, names, hash and times.
    ///
    /// # Errors
    /// [`TelemetryError::Invalid`] naming the field and its rule.
    pub fn check(&self) -> Result<(), TelemetryError> {
        if self.schema_version != SCHEMA_VERSION {
            let side = if self.schema_version > SCHEMA_VERSION { "newer" } else { "older" };
            let why = format!("it is {side} than the version {SCHEMA_VERSION} that this program reads");
            return Err(TelemetryError::invalid("schema_version", &self.schema_version.to_string(), why));
        }
        check_id(&self.episode_id)?;
        check_name("source_key", &self.source_key)?;
        check_name("host", &self.host)?;
        check_name("sample", &self.sample)?;
        check_name("profile", &self.profile)?;
        if !self.host_fingerprint.is_empty() {
            check_name("host_fingerprint", &self.host_fingerprint)?;
        }
        if let Some(hash) = &self.sample_sha256
            && (hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        {
            return Err(TelemetryError::invalid("sample_sha256", hash, "it is 64 lower-case hex digits"));
        }
        if self.started_at_wall < 0 || self.started_at_wall >= self.ended_at_wall {
            let span = format!("{} .. {}", self.started_at_wall, self.ended_at_wall);
            return Err(TelemetryError::invalid(
                "observed span",
                &span,
                "it needs 0 <= started_at_wall < ended_at_wall",
            ));
        }
        Ok(())
    }

    /// The facts that a trace carries.
    pub fn info(&self) -> EpisodeInfo {
        EpisodeInfo {
            id: self.episode_id.clone(),
            host: self.host.clone(),
            sample: self.sample.clone(),
            sample_sha256: self.sample_sha256.clone(),
            profile: self.profile.clone(),
            given: self.given,
            calibration: self.calibration,
            span: (self.started_at_wall, self.ended_at_wall),
        }
    }
}

/// Checks a name that a corpus chooses: 1 to 200 bytes that a terminal shows as they are.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), TelemetryError> {
    if name.is_empty() || name.len() > 200 || printable(name, 200) != name {
        return Err(TelemetryError::invalid(what, name, "use 1 to 200 bytes of visible characters"));
    }
    Ok(())
}

/// Checks that a text is a ULID in its canonical form: 26 upper-case Crockford base 32 digits.
///
/// # Errors
/// [`TelemetryError::Invalid`].
pub fn check_id(id: &str) -> Result<(), TelemetryError> {
    parse_id(id).map(|_| ())
}

/// As [`check_id`], and the ULID.
pub(crate) fn parse_id(id: &str) -> Result<Ulid, TelemetryError> {
    let ulid = Ulid::from_string(id).ok().filter(|ulid| ulid.to_string() == id);
    ulid.ok_or_else(|| TelemetryError::invalid("episode id", id, "it is a ULID of 26 upper-case base 32 digits"))
}

/// The ULID of an episode that comes from elsewhere: its start in milliseconds since 1970 (or on the corpus's own
/// clock) and the first 80 bits of BLAKE3 over corpus name and key, so that importing twice gives the same ids.
///
/// ```
/// use stakeout_telemetry::meta::ulid_from;
/// let id = ulid_from(1_700_000_000_000, "smd", "machine-1-1");
/// assert_eq!(id.len(), 26);
/// assert_eq!(id, ulid_from(1_700_000_000_000, "smd", "machine-1-1"));
/// ```
pub fn ulid_from(start_ms: u64, corpus: &str, key: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(corpus.len() as u64).to_le_bytes()).update(corpus.as_bytes()).update(key.as_bytes());
    let digest = hasher.finalize();
    let mut random = [0; 16];
    random[6..].copy_from_slice(&digest.as_bytes()[..10]);
    Ulid::from_parts(start_ms, u128::from_be_bytes(random)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> EpisodeMeta {
        let id = ulid_from(1_700_000_000_000, "test", "a");
        let meta = EpisodeMeta::new(id, "a", (1_700_000_000_000_000_000, 1_700_000_060_000_000_000));
        let rows = RowCounters { guest: Some(7), ..RowCounters::default() };
        EpisodeMeta { given: Some(Side::Test), rows, ..meta.on("host-1").of("sample-1", "benign") }
    }

    #[test]
    fn survives_json() {
        let there = meta();
        there.check().unwrap();
        let text = serde_json::to_string(&there).unwrap();
        assert_eq!(serde_json::from_str::<EpisodeMeta>(&text).unwrap(), there);
    }

    #[test]
    fn each_rule_is_kept() {
        type Change = fn(&mut EpisodeMeta);
        let broken: [(Change, &str); 9] = [
            (|m| m.schema_version = 2, "newer"),
            (|m| m.schema_version = 0, "older"),
            (|m| m.episode_id = "../../../../etc/passwd".into(), "episode id"),
            (|m| m.episode_id = m.episode_id.to_lowercase(), "episode id"),
            (|m| m.host = "a\u{1b}[2J".into(), "host"),
            (|m| m.sample = "x".repeat(201), "sample"),
            (|m| m.sample_sha256 = Some("ABC".into()), "sample_sha256"),
            (|m| m.started_at_wall = -1, "observed span"),
            (|m| m.ended_at_wall = m.started_at_wall, "observed span"),
        ];
        for (change, words) in broken {
            let mut meta = meta();
            change(&mut meta);
            let error = meta.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_differ_by_key() {
        let (a, b, c) = (ulid_from(1, "x", "k"), ulid_from(2, "x", "k"), ulid_from(1, "xk", ""));
        assert!(a < b && a != c);
        check_id(&a).unwrap();
    }
}
