//! One entry of the cache: two files of windows, one of keys, and what describes them.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stakeout_core::{EpisodeRef, SampleIndex, Schema, files};
use stakeout_features::{Inputs, StoredWindows, StoredWriter, Written};

use super::{HeldWindows, Locked, keys};
use crate::dataset::CalibrationWindows;
use crate::{Account, TrainError};

const LABELLED: &str = "labelled.windows";
const CALIBRATION: &str = "calibration.windows";
const KEYS: &str = "keys";
const ABOUT: &str = "about.json";
/// Largest description that is read: 76,660 episodes take about 20 MB.
const ABOUT_CAP: u64 = 1 << 30;

/// What an entry holds.
pub(crate) struct Contents {
    pub(crate) windows: HeldWindows,
    pub(crate) calibration: CalibrationWindows,
    pub(crate) index: SampleIndex,
    pub(crate) account: Account,
}

/// `about.json`.
#[derive(Serialize, Deserialize)]
struct About {
    key: String,
    labelled: (usize, String),
    calibration: (usize, String),
    keys_blake3: String,
    hosts: Vec<String>,
    samples: Vec<String>,
    profiles: Vec<String>,
    episodes: Vec<EpisodeRef>,
    window_ns: i64,
    /// The host of each calibration window: so many windows of this one, then so many of that.
    calibration_hosts: Vec<(usize, String)>,
    account: Account,
}

/// Reads an entry; `None` where there is none.
///
/// # Errors
/// Why it cannot be used, as a sentence.
pub(crate) fn read(folder: &Path, key: &str, schema: &Schema, inputs: Inputs) -> Result<Option<Contents>, String> {
    let place = folder.join(key);
    if !place.join(ABOUT).exists() {
        return Ok(None);
    }
    let about = files::read_regular(&place.join(ABOUT), ABOUT_CAP).map_err(|error| said(ABOUT, &error))?;
    let about: About = serde_json::from_slice(&about).map_err(|error| format!("{ABOUT}: {error}"))?;
    if about.key != key {
        return Err(format!("{ABOUT} is of another entry"));
    }
    let windows = |name: &str, (len, blake3): (usize, String)| {
        let written = Written { len, blake3 };
        StoredWindows::open(&place.join(name), schema.clone(), inputs, &written).map_err(|error| {
            let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            format!("{error}{why}")
        })
    };
    let n = about.labelled.0;
    let labelled = windows(LABELLED, about.labelled)?;
    let n_calibration = about.calibration.0;
    // the size of this file bounds the number of windows, before as many hosts are named
    let calibration = windows(CALIBRATION, about.calibration)?;
    let hosts: Vec<String> = spread(&about.calibration_hosts, n_calibration)
        .ok_or_else(|| format!("{ABOUT} names no host for some calibration windows"))?;

    let file = files::open_regular(&place.join(KEYS)).map_err(|error| said(KEYS, &error))?;
    if file.metadata().map_err(|error| said(KEYS, &error))?.len() != n as u64 * keys::SIZE as u64 {
        return Err(format!("{KEYS} has another size than {n} windows make"));
    }
    let mut hash = blake3::Hasher::new();
    hash.update_reader(&file).map_err(|error| said(KEYS, &error))?;
    if hash.finalize().to_hex().as_str() != about.keys_blake3 {
        return Err(format!("{KEYS}: its bytes are not those that were written"));
    }
    let file = files::open_regular(&place.join(KEYS)).map_err(|error| said(KEYS, &error))?;
    let classes = schema.classes.names().to_vec();
    let keys = keys::read(&mut BufReader::new(file), n, about.episodes.len(), classes.len())
        .map_err(|error| said(KEYS, &error))?;
    let outside = |episode: &EpisodeRef| {
        episode.host as usize >= about.hosts.len()
            || episode.sample as usize >= about.samples.len()
            || episode.profile as usize >= about.profiles.len()
    };
    if about.episodes.iter().any(outside) {
        return Err(format!("{ABOUT}: an episode of an unknown host, sample or profile"));
    }
    Ok(Some(Contents {
        windows: HeldWindows::Disk(labelled),
        calibration: CalibrationWindows { windows: HeldWindows::Disk(calibration), hosts },
        index: SampleIndex {
            classes,
            hosts: about.hosts,
            samples: about.samples,
            profiles: about.profiles,
            episodes: about.episodes,
            windows: keys,
            window_ns: about.window_ns,
        },
        account: about.account,
    }))
}

fn said(what: &str, error: &std::io::Error) -> String {
    format!("{what}: {error}")
}

/// Each name as often as it stands for; `None` where that is not `total` times in all.
fn spread(runs: &[(usize, String)], total: usize) -> Option<Vec<String>> {
    let counted = runs.iter().try_fold(0usize, |sum, (n, _)| sum.checked_add(*n))?;
    (counted == total).then(|| runs.iter().flat_map(|(n, host)| std::iter::repeat_n(host.clone(), *n)).collect())
}

/// An entry that is being written, beside its place.
pub(crate) struct Staged {
    locked: Locked,
    place: PathBuf,
    key: String,
    pub(crate) labelled: StoredWriter,
    pub(crate) calibration: StoredWriter,
}

impl Staged {
    pub(crate) fn new(locked: Locked, key: &str, schema: &Schema, inputs: Inputs) -> Result<Self, TrainError> {
        let place = locked.folder.join(format!("{}{key}", files::TEMPORARY_PREFIX));
        fs::create_dir(&place).map_err(|e| TrainError::io("making", &place, e))?;
        let labelled = StoredWriter::create(&place.join(LABELLED), schema, inputs)?;
        let calibration = StoredWriter::create(&place.join(CALIBRATION), schema, inputs)?;
        Ok(Self { locked, place, key: key.to_owned(), labelled, calibration })
    }

    /// Describes the entry and moves it to its place.
    pub(crate) fn finish(
        self,
        index: &SampleIndex,
        calibration_hosts: &[String],
        account: &Account,
    ) -> Result<(), TrainError> {
        let Self { locked, place, key, labelled, calibration } = self;
        let [labelled, calibration] = [labelled.finish()?, calibration.finish()?];
        let mut bytes = Vec::with_capacity(index.windows.len() * keys::SIZE);
        keys::write(&mut bytes, &index.windows).map_err(|e| TrainError::io("writing", &place, e))?;
        files::write_atomic(&place.join(KEYS), &bytes)?;
        let about = About {
            key: key.clone(),
            labelled: (labelled.len, labelled.blake3),
            calibration: (calibration.len, calibration.blake3),
            keys_blake3: blake3::hash(&bytes).to_hex().to_string(),
            hosts: index.hosts.clone(),
            samples: index.samples.clone(),
            profiles: index.profiles.clone(),
            episodes: index.episodes.clone(),
            window_ns: index.window_ns,
            calibration_hosts: calibration_hosts
                .chunk_by(|a, b| a == b)
                .map(|run| (run.len(), run[0].clone()))
                .collect(),
            account: account.clone(),
        };
        crate::rundir::write_json(&place.join(ABOUT), &about)?;
        let home = locked.folder.join(&key);
        if home.exists() {
            fs::remove_dir_all(&home).map_err(|e| TrainError::io("removing", &home, e))?; // one that could not be read
        }
        fs::rename(&place, &home).map_err(|e| TrainError::io("moving into place", &home, e))?;
        let folder = fs::File::open(&locked.folder).and_then(|folder| folder.sync_all());
        folder.map_err(|e| TrainError::io("syncing", &locked.folder, e))
    }

    /// Removes what was written so far.
    pub(crate) fn abandon(self) {
        let _ = fs::remove_dir_all(&self.place); // the next process that writes here removes it too
    }
}
