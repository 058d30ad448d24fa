//! The store on disk: one JSON file with a version, written whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use stakeout_core::CoreError;
use stakeout_core::files;

use super::counters::{Counters, Raw};
use super::journal::Position;
use super::prior::{BetaPrior, FleetPrior};
use super::store::{Entry, LONGEST_NAME, ReliabilityStore, is_blank};
use crate::DetectError;

/// The version of the file that is read and written.
pub const VERSION: u64 = 1;

/// The largest file that is read or written, in bytes.
pub const LARGEST_FILE: u64 = 16 << 20;

/// Reads a store: every rule of the format is checked.
///
/// # Errors
/// [`DetectError::Io`] (absent: `NotFound`), [`DetectError::TooLarge`], [`DetectError::Version`],
/// [`DetectError::Parse`], [`DetectError::ZeroCounter`], [`DetectError::BlankId`].
pub fn try_load(path: &Path) -> Result<ReliabilityStore, DetectError> {
    Ok(read(path)?.0)
}

/// Reads a store; where it cannot be read, says why and starts cold. An absent file is a cold start without a reason.
/// The file is left as it is.
pub fn load(path: &Path) -> (ReliabilityStore, Option<DetectError>) {
    match try_load(path) {
        Ok(store) => (store, None),
        Err(error) if is_absent(&error) => (ReliabilityStore::default(), None),
        Err(error) => (ReliabilityStore::default(), Some(error)),
    }
}

/// Writes a store through a temporary file: after a crash there is the old one or the new one. A store that is kept by
/// [`update`](super::update()) is written by that alone, so that its journal stays with it.
///
/// # Errors
/// [`DetectError::Io`], and [`DetectError::TooLarge`] for a store that could not be read again; the old file stays.
pub fn save(store: &ReliabilityStore, path: &Path) -> Result<(), DetectError> {
    write(path, &to_bytes(store, None, path)?)
}

/// Reads a store from bytes that stand for the file `path`.
///
/// # Errors
/// As [`try_load`], but for I/O.
pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<ReliabilityStore, DetectError> {
    Ok(parse(bytes, path)?.0)
}

pub(super) fn read(path: &Path) -> Result<(ReliabilityStore, Option<Position>), DetectError> {
    let failed = |source| DetectError::io("reading", path, source);
    let size = files::open_regular(path).and_then(|file| file.metadata()).map_err(failed)?.len();
    if size > LARGEST_FILE {
        return Err(DetectError::TooLarge { path: path.display().to_string(), size, cap: LARGEST_FILE });
    }
    parse(&files::read_regular(path, LARGEST_FILE).map_err(failed)?, path)
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), DetectError> {
    files::write_atomic(path, bytes).map_err(|error| match error {
        CoreError::Io { source, .. } => DetectError::io("writing", path, source),
        other => DetectError::io("writing", path, io::Error::other(other)),
    })
}

/// The bytes of the file. Refused where they could not be read again.
pub(super) fn to_bytes(
    store: &ReliabilityStore,
    position: Option<Position>,
    path: &Path,
) -> Result<Vec<u8>, DetectError> {
    let file =
        FileOut { version: VERSION, journal: position, prior: store.prior.as_ref(), detectors: &store.detectors };
    let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| DetectError::io("writing", path, error.into()))?;
    bytes.push(b'\n');
    let size = bytes.len() as u64;
    if size > LARGEST_FILE {
        return Err(DetectError::TooLarge { path: path.display().to_string(), size, cap: LARGEST_FILE });
    }
    Ok(bytes)
}

pub(super) fn is_absent(error: &DetectError) -> bool {
    matches!(error, DetectError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

#[derive(Serialize)]
struct FileOut<'a> {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prior: Option<&'a FleetPrior>,
    detectors: &'a BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Head {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIn {
    version: u64,
    journal: Option<Position>,
    prior: Option<PriorIn>,
    detectors: Unique<EntryIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryIn {
    alpha: u64,
    beta: u64,
    #[serde(default)]
    hosts: Unique<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorIn {
    revision: u64,
    fleet: BetaPrior,
    host_strength: f64,
    #[serde(default)]
    left_out: Unique<BetaPrior>,
}

/// A map in which no name stands twice: JSON libraries differ in which of the two they take.
struct Unique<V>(BTreeMap<String, V>);

impl<V> Default for Unique<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Names<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name.len() > LONGEST_NAME {
                        let size = name.len();
                        return Err(A::Error::custom(format!(
                            "a name of {size} bytes, at most {LONGEST_NAME} are read"
                        )));
                    }
                    if all.contains_key(&name) {
                        return Err(A::Error::custom(format!("`{name}` stands twice")));
                    }
                    all.insert(name, map.next_value()?);
                }
                Ok(Unique(all))
            }
        }
        deserializer.deserialize_map(Names(std::marker::PhantomData))
    }
}

fn parse(bytes: &[u8], path: &Path) -> Result<(ReliabilityStore, Option<Position>), DetectError> {
    let shown = || path.display().to_string();
    let broken = |line: Option<u64>, why: String| DetectError::Parse { path: shown(), line, why };
    let of_json = |error: &serde_json::Error| {
        let why = format!("{error}; this is not a whole calibration store");
        broken(Some(error.line() as u64).filter(|line| *line > 0), why)
    };
    // A newer file may hold anything: its version speaks before whatever else is wrong with it.
    let whole = serde_json::from_slice::<FileIn>(bytes);
    let version = match &whole {
        Ok(file) => file.version,
        Err(error) => serde_json::from_slice::<Head>(bytes).map_err(|_| of_json(error))?.version,
    };
    if version != VERSION {
        return Err(DetectError::Version { path: shown(), found: version, known: VERSION });
    }
    let file = whole.map_err(|error| of_json(&error))?;
    let mut store = ReliabilityStore::default();
    for (id, entry) in file.detectors.0 {
        if is_blank(&id) || entry.hosts.0.keys().any(|host| is_blank(host)) {
            return Err(DetectError::BlankId { path: shown() });
        }
        let counters = |name: &dyn Fn() -> String, raw: Raw| {
            let zero = |counter| DetectError::ZeroCounter { path: shown(), id: name(), counter };
            Counters::try_from(raw).map_err(|_| zero(raw.zero().unwrap_or_default()))
        };
        let total = counters(&|| id.clone(), Raw { alpha: entry.alpha, beta: entry.beta })?;
        let mut hosts = BTreeMap::new();
        for (host, raw) in entry.hosts.0 {
            let said = counters(&|| format!("{id} on {host}"), raw)?;
            hosts.insert(host, said);
        }
        let entry = Entry::new(total, hosts).map_err(|why| broken(None, format!("`{id}`: {why}")))?;
        store.detectors.insert(id, entry);
    }
    if let Some(prior) = file.prior {
        let PriorIn { revision, fleet, host_strength, left_out } = prior;
        let prior = FleetPrior { revision, fleet, host_strength, left_out: left_out.0 };
        prior.check().map_err(|why| broken(None, why))?;
        store.prior = Some(prior);
    }
    Ok((store, file.journal))
}
