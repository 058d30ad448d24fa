//! Making room for a new store: nothing is replaced unasked, and nothing but a store is ever removed.

use std::path::Path;

use anyhow::{Context as _, bail};
use stakeout_telemetry::store::{EPISODES_FOLDER, INDEX_FILE};

/// With `force`, removes the store at `path`. Without, a store that is there is an error.
pub(crate) fn prepare(path: &Path, force: bool) -> anyhow::Result<()> {
    if !path.exists() || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    let store = path.join(INDEX_FILE).is_file() || path.join(EPISODES_FOLDER).is_dir();
    match (store, force) {
        (true, true) => std::fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display())),
        (true, false) => bail!("{} is there already: replace it with --force, or choose another place", path.display()),
        (false, _) => bail!("{} is there and is no store: choose another place", path.display()),
    }
}
