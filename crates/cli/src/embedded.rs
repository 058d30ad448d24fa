//! The embedded default store: simulated once into the user's cache, under a lock.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use stakeout_telemetry::simulate::{SimConfig, simulate};
use stakeout_telemetry::store::{EPISODES_FOLDER, INDEX_FILE};
use stakeout_trainer::Progress;

use crate::folders;

/// The store to read: the given one, or the embedded default.
pub(crate) fn store_or_default(store: Option<&Path>, progress: &dyn Progress) -> anyhow::Result<PathBuf> {
    match store {
        Some(store) => Ok(store.to_owned()),
        None => default_store(progress),
    }
}

/// The embedded default: `$XDG_CACHE_HOME/stakeout/default-<digest>`; the digest is of the settings and the code
/// version, so that a newer program never reads an older one's data.
fn default_store(progress: &dyn Progress) -> anyhow::Result<PathBuf> {
    let config = SimConfig::embedded_default();
    let settings = serde_json::to_string(&config)? + env!("CARGO_PKG_VERSION");
    let digest = blake3::hash(settings.as_bytes()).to_hex();
    let cache =
        folders::cache().ok_or_else(|| anyhow!("no cache folder: set XDG_CACHE_HOME or HOME, or give --store"))?;
    std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let store = cache.join(format!("default-{}", &digest[..8]));
    if is_whole(&store, &config) {
        return Ok(store);
    }
    let lock_path = cache.join("default.lock");
    let lock =
        stakeout_core::files::open_lock(&lock_path).with_context(|| format!("locking {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("locking {}", lock_path.display()))?;
    // Another process may have made it while this one waited.
    if is_whole(&store, &config) {
        return Ok(store);
    }
    let partial = cache.join(format!("default-{}.partial", &digest[..8]));
    for damaged in [&partial, &store] {
        if damaged.exists() {
            std::fs::remove_dir_all(damaged).with_context(|| format!("removing {}", damaged.display()))?;
        }
    }
    progress.stage("simulating the default store", "episodes", config.episodes as u64);
    simulate(&partial, &config, &|done, total| progress.advance(done as u64, total as u64, ""))?;
    std::fs::rename(&partial, &store).with_context(|| format!("moving {} into place", store.display()))?;
    Ok(store)
}

/// Whether the cached store has every episode: somebody may have cleaned half of the cache.
fn is_whole(store: &Path, config: &SimConfig) -> bool {
    let indexed = std::fs::read_to_string(store.join(INDEX_FILE)).map_or(0, |text| text.lines().count());
    let folders = std::fs::read_dir(store.join(EPISODES_FOLDER)).map_or(0, Iterator::count);
    indexed == config.episodes && folders == config.episodes
}
