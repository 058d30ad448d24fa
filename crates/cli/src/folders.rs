//! Where files of the user lie: what can be made again, and what cannot.

use std::path::PathBuf;

/// Files that can be made again: `$XDG_CACHE_HOME/stakeout`, else the platform's place.
pub(crate) fn cache() -> Option<PathBuf> {
    let place: &[&str] = if cfg!(target_os = "macos") { &["Library", "Caches"] } else { &[".cache"] };
    folder("XDG_CACHE_HOME", place)
}

/// What was said and done, and must outlive a cleaner of caches: `$XDG_STATE_HOME/stakeout`, else the platform's place.
pub(crate) fn state() -> Option<PathBuf> {
    let macos = ["Library", "Application Support"];
    let place: &[&str] = if cfg!(target_os = "macos") { &macos } else { &[".local", "state"] };
    folder("XDG_STATE_HOME", place)
}

/// A relative path in a variable is ignored, as the XDG base directory specification says.
fn folder(variable: &str, below_home: &[&str]) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| below_home.iter().fold(home, |path, name| path.join(name)));
    let windows = || if cfg!(windows) { absolute("LOCALAPPDATA") } else { None };
    Some(absolute(variable).or_else(windows).or_else(home)?.join("stakeout"))
}
