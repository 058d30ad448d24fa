//! Files of baselines: what is written is read again, and nothing else is.

use std::fs;

use proptest::prelude::*;
use stakeout_detect::DetectError;
use stakeout_detect::baseline::{Baselines, Method, Origin, Scratch, Settings, Skipped};

use super::{Normal, fit};

fn some() -> Baselines {
    let mut normal = Normal::new(6);
    let columns = ["cpu", "rx", "tx"].map(Into::into).to_vec();
    let mut all = Baselines::new(Settings::default(), Origin::Table { host: None }, columns, Some(1440.0));
    for (host, method) in [("pi-3", Method::Diagonal), ("hôte-日本", Method::Robust), ("q\"\n", Method::Shrunk)] {
        let settings = Settings { method, budget: 0.01, ..Settings::default() };
        all.insert(Some(host), fit(&normal.vectors(500, 3, 0.0), 3, &settings));
    }
    all.insert(Some("new"), fit(&normal.vectors(5, 3, 0.0), 3, &Settings::default()));
    all.insert(Some("short"), fit(&normal.vectors(60, 3, 0.0), 3, &Settings::default()));
    all
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    let all = some();
    all.save(&path).unwrap();
    let loaded = Baselines::load(&path).unwrap();
    assert_eq!(loaded, all);
    let first = fs::read(&path).unwrap();
    loaded.save(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    let mut scratch = Scratch::default();
    let vector = [1.0f32, 12.0, 19.0];
    for (host, _) in all.hosts() {
        assert_eq!(all.score(host, Some(&vector), &mut scratch), loaded.score(host, Some(&vector), &mut scratch));
    }
    assert_eq!(all.score::<f32>("pi-3", None, &mut scratch).skipped, Some(Skipped::Missing));
    assert_eq!(all.score("pi-4", Some(&vector), &mut scratch).skipped, Some(Skipped::UnknownHost));
    assert_eq!(all.score("new", Some(&vector), &mut scratch).skipped, Some(Skipped::TooFew { seen: 5 }));
    let alarms = all.false_alarms_per_day("pi-3").unwrap();
    assert!(alarms > 0.9 * 14.4 - 6.0 && alarms <= 14.4, "{alarms}");
    assert_eq!(all.false_alarms_per_day("new"), None);
}

#[test]
fn one_baseline_of_all_hosts_speaks_for_each() {
    let mut all = Baselines::new(Settings::default(), Origin::Table { host: None }, vec!["x".into()], None);
    all.insert(None, fit(&Normal::new(1).vectors(100, 1, 0.0), 1, &Settings::default()));
    assert_eq!(all.score("whoever", Some(&[0.0f32]), &mut Scratch::default()).skipped, None);
    assert_eq!(all.false_alarms_per_day("whoever"), None);
}

fn refused(text: &str) -> DetectError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    fs::write(&path, text).unwrap();
    let error = Baselines::load(&path).unwrap_err();
    assert!(error.to_string().contains("b.json"), "{error}");
    error
}

#[test]
fn other_versions_and_other_files_are_named() {
    let text = serde_json::to_string(&some()).unwrap();
    let newer = refused(&text.replacen("\"version\":1", "\"version\":2", 1));
    assert!(matches!(newer, DetectError::Version { found: 2, known: 1, .. }));
    assert!(newer.to_string().contains("newer"));
    assert!(refused(&text.replacen("\"version\":1", "\"version\":0", 1)).to_string().contains("older"));
    // A newer file may have fields that are unknown here: its version is what is named.
    assert!(matches!(
        refused(r#"{"format":"stakeout-baseline","version":7,"novelty":[]}"#),
        DetectError::Version { found: 7, .. }
    ));
    for (text, what) in [
        ("", "EOF"),
        ("{}", "no file of baselines"),
        ("[1, 2]", "invalid"),
        (r#"{"format":"stakeout-baseline"}"#, "no version"),
        (r#"{"format":"other","version":1}"#, "no file of baselines"),
        (r#"{"format":"stakeout-baseline","version":-1}"#, "invalid value"),
        ("\u{0}\u{1}", "expected"),
    ] {
        let error = refused(text).to_string();
        assert!(error.contains(what), "{text}: {error}");
        assert!(error.contains("stakeout baseline train"), "the remedy: {error}");
    }
}

#[test]
fn damaged_numbers_are_refused() {
    let value = serde_json::to_value(some()).unwrap();
    let change = |pointer: &str, to: serde_json::Value| {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = to;
        refused(&value.to_string())
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    change("/hosts/pi-3/fitted/shape/variance/0", json("0.0"));
    change("/hosts/pi-3/fitted/shape/variance/0", json("null"));
    change("/hosts/pi-3/fitted/shape/centre", json("[1.0]"));
    change("/hosts/pi-3/fitted/shape/cap/1", json("-1.0"));
    change("/hosts/pi-3/fitted/budget", json("0.0"));
    change("/hosts/pi-3/fitted/budget", json("0.000001"));
    change("/hosts/pi-3/fitted/calibration/conformal/tail/scores/0", json("1e300"));
    change("/hosts/pi-3/fitted/calibration/conformal/tail/above/0", json("-0.5"));
    change("/hosts/pi-3/fitted/calibration/conformal/tail/scores", json("[]"));
    change("/hosts/short/fitted/calibration/parametric/distribution/scale", json("0.0"));
    change("/hosts/pi-3/n", json("12"));
    change("/columns", json("[]"));
    change("/columns", json(r#"["only"]"#));
    change("/vectors_per_day", json("-3"));
    change("/settings/budget", json("2.0"));
    change("/origin", json(r#"{"cloud":{}}"#));
    let mut extra = value.clone();
    extra.as_object_mut().unwrap().insert("extra".into(), json("1"));
    assert!(refused(&extra.to_string()).to_string().contains("extra"));
}

#[test]
fn what_is_no_readable_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Baselines::load(&folder.path().join("absent.json")).unwrap_err();
    assert!(matches!(absent, DetectError::Io { .. }) && absent.to_string().contains("absent.json"));
    assert!(Baselines::load(folder.path()).is_err());
    let huge = folder.path().join("huge.json");
    fs::File::create(&huge).unwrap().set_len(stakeout_detect::baseline::MAX_BYTES + 1).unwrap();
    assert!(matches!(Baselines::load(&huge).unwrap_err(), DetectError::TooLarge { .. }));
    let error = some().save(&folder.path().join("no/such/folder.json")).unwrap_err();
    assert!(matches!(error, DetectError::Io { action: "writing", .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a byte becomes, a file is read or refused: no panic, and what is read scores.
    #[test]
    fn a_changed_or_cut_file_never_panics(at in 0usize..1_000_000, byte in any::<u8>(), cut in any::<bool>()) {
        static TEXT: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| serde_json::to_vec(&some()).unwrap());
        let mut bytes = TEXT.clone();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        fs::write(&path, &bytes).unwrap();
        match Baselines::load(&path) {
            Ok(read) => {
                for (host, _) in read.hosts() {
                    let score = read.score(host, Some(&[1.0f32, 2.0, 3.0]), &mut Scratch::default());
                    prop_assert!(score.z.is_finite());
                }
            }
            Err(error) => prop_assert!(!cut || error.to_string().contains("b.json")),
        }
    }
}
