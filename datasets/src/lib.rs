//! Import mappings that travel with the binary, so that an installed `stakeout` can read the public corpora that it is
//! documented with.
//!
//! A mapping is text; `stakeout_telemetry::import` gives it meaning. This crate depends on nothing, so that anything
//! may depend on it.
//!
//! ```
//! let text = stakeout_datasets::mapping("smd_subset").expect("it is embedded");
//! assert!(text.contains("[episode]"));
//! assert!(stakeout_datasets::mapping("no such corpus").is_none());
//! ```

/// Name and text of every embedded mapping, ordered by name.
static MAPPINGS: [(&str, &str); 6] = [
    ("asd_servers", include_str!("../mappings/asd_servers.toml")),
    ("hiper_ransomware_hpc", include_str!("../mappings/hiper_ransomware_hpc.toml")),
    ("rhode2017_machine_activity", include_str!("../mappings/rhode2017_machine_activity.toml")),
    ("smd_subset", include_str!("../mappings/smd_subset.toml")),
    ("tsc", include_str!("../mappings/tsc.toml")),
    ("westermo_flows", include_str!("../mappings/westermo_flows.toml")),
];

/// The text of one embedded mapping.
pub fn mapping(name: &str) -> Option<&'static str> {
    MAPPINGS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Name and text of every embedded mapping, ordered by name.
pub fn mappings() -> &'static [(&'static str, &'static str)] {
    &MAPPINGS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded_under_its_own_name() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let embedded: Vec<String> = mappings().iter().map(|(name, _)| format!("{name}.toml")).collect();
        assert_eq!(files, embedded);
    }
}
