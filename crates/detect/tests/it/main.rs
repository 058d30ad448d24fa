//! Detectors from outside: files, processes, figures.

mod baseline;
#[cfg(feature = "tables")]
mod hdfs;
mod reliability;
mod sequence;

/// A file of the public data, or a printed reason why there is none.
#[cfg(feature = "tables")]
fn data(path: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("STAKEOUT_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        std::path::PathBuf::from,
    );
    let path = root.join(path);
    if !path.is_file() {
        println!("skipped: {} is not here (set STAKEOUT_DATA)", path.display());
        return None;
    }
    Some(path)
}
