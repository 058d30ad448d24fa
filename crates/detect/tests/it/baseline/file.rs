//! Files of baselines: what is written is read again, and nothing else is.

use std::fs;

use proptest::prelude::*;
use stakeout_detect::DetectError;
use stakeout_detect::baseline::{Baseline, Baselines, Method, Origin, Rows, Scratch, Settings, Skipped};

use super::{Normal, fit};

fn some() -> Baselines {
    let mut normal = Normal::new(6);
    let columns = ["cpu", "rx", "tx"].map(Into::into).to_vec();
    let mut all = Baselines::new(Settings::default(), Origin::Table { host: None }, columns, Some(1440.0));
    for (host, method) in [("pi-3", Method::Diagonal), ("hôte-日本", Method::Robust), ("q\"\n", Method::Shrunk)] {
        let settings = Settings { method, budget: 0.01, ..Settings::default() };
        all.insert(Some(host), fit(&normal.vectors(500, 3, 0.0), 3, &settings)).unwrap();
    }
    all.insert(Some("new"), fit(&normal.vectors(5, 3, 0.0), 3, &Settings::default())).unwrap();
    all.insert(Some("short"), fit(&normal.vectors(60, 3, 0.0), 3, &Settings::default())).unwrap();
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
    let learnt = fit(&Normal::new(1).vectors(100, 1, 0.0), 1, &Settings::default());
    all.insert(None, learnt).unwrap();
    assert_eq!(all.score("whoever", Some(&[0.0f32]), &mut Scratch::default()).skipped, None);
    assert_eq!(all.false_alarms_per_day("whoever"), None);
}

#[test]
fn a_host_cannot_pass_for_all_hosts_nor_fill_the_screen() {
    let mut all = Baselines::new(Settings::default(), Origin::Table { host: None }, vec!["x".into()], None);
    let learnt = fit(&Normal::new(1).vectors(100, 1, 0.0), 1, &Settings::default());
    let error = all.insert(Some("*"), learnt.clone()).unwrap_err().to_string();
    assert!(error.contains("stands for all hosts together"), "{error}");
    let error = all.insert(Some(&"\u{1b}[2Jx".repeat(2_000_000)), learnt).unwrap_err().to_string();
    assert!(error.contains("10000000 bytes") && error.len() < 200 && !error.contains('\u{1b}'), "{error}");
    assert_eq!(all.hosts().len(), 0);
    assert_eq!(all.score("whoever", Some(&[0.0f32]), &mut Scratch::default()).skipped, Some(Skipped::UnknownHost));
}

#[test]
fn what_a_hostile_file_says_is_shown_in_part() {
    let field = format!("\u{1b}[2J\u{202e}{}", "x".repeat(10_000_000));
    let text = serde_json::to_string(&some()).unwrap();
    let field = serde_json::to_string(&field).unwrap();
    let error = refused(&text.replacen("\"settings\"", &format!("{field}:1,\"settings\""), 1)).to_string();
    assert!(error.contains("unknown field") && error.len() < 600, "{}", error.len());
    assert!(!error.contains('\u{1b}') && !error.contains('\u{202e}'), "{error}");
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    let mut all = some();
    all.vectors_per_day = Some(f64::INFINITY);
    let error = all.save(&path).unwrap_err().to_string();
    assert!(error.contains("vectors_per_day") && !path.exists(), "{error}");
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
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever was learnt from, what is written is read again bit for bit, and scores to the last bit alike.
    #[test]
    fn saving_and_loading_is_the_identity(
        n in 0usize..260, d in 1usize..6, seed in 0u64..1000, which in 0usize..4, scale in -12i32..12, budget in 1u32..40,
        holes in 0usize..9, half in prop::option::of(20u32..80), still in any::<bool>(), probe in prop::collection::vec(-1e3f64..1e3, 6),
    ) {
        let mut normal = Normal::new(seed);
        let size = 10f64.powi(scale);
        let mut values: Vec<f64> = normal.vectors(n, d, 0.0).into_iter().map(|value| f64::from(value) * size).collect();
        if holes > 0 {
            values.iter_mut().step_by(holes + 1).for_each(|value| *value = f64::NAN);
        }
        if still {
            values.iter_mut().step_by(d).for_each(|value| *value = 0.1);
        }
        let settings = Settings {
            method: Method::ALL[which], budget: f64::from(budget) / 100.0, half_life: half.map(f64::from), ..Settings::default()
        };
        let baseline = Baseline::fit(&Rows::new(&values, d, &[]).unwrap(), &settings).unwrap();
        let columns = (0..d).map(|i| format!("x{i}")).collect();
        let mut all = Baselines::new(settings, Origin::Table { host: Some("h".into()) }, columns, Some(1440.0));
        all.insert(Some("a"), baseline.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        all.save(&path).unwrap();
        let loaded = Baselines::load(&path).unwrap();
        prop_assert_eq!(&loaded, &all);
        let again = loaded.get("a").unwrap();
        let vector: Vec<f64> = probe[..d].iter().map(|value| value * size).collect();
        let (a, b) = (baseline.score(&vector, &mut Scratch::default()), again.score(&vector, &mut Scratch::default()));
        prop_assert_eq!((a, baseline.p_value(&a).to_bits()), (b, again.p_value(&b).to_bits()));
    }

    /// Farther in one dimension is never nearer, and never more usual.
    #[test]
    fn farther_in_one_dimension_is_never_nearer(
        seed in 0u64..200, which in 0usize..3, at in 0usize..4, from in prop::collection::vec(-6f64..6.0, 4), more in 0f64..50.0,
    ) {
        let values = Normal::new(seed).vectors(300, 4, 0.0);
        // Not of a full covariance: there, what lies far alone may lie near together with others.
        let settings = Settings { method: Method::ALL[which], budget: 0.05, ..Settings::default() };
        let baseline = fit(&values, 4, &settings);
        let mut scratch = Scratch::default();
        let mut vector: Vec<f64> = from.iter().enumerate().map(|(d, t)| 10.0 * d as f64 + t * (d as f64 + 1.0)).collect();
        let near = baseline.score(&vector, &mut scratch);
        let squares = baseline.squared_z(&vector);
        // Away from the centre, whichever side that is.
        let outward = vector[at] + if from[at] > 0.0 { more } else { -more };
        vector[at] = outward;
        if baseline.squared_z(&vector)[at] >= squares[at] {
            let far = baseline.score(&vector, &mut scratch);
            prop_assert!(far.z >= near.z && baseline.p_value(&far) <= baseline.p_value(&near), "{near:?} {far:?}");
            prop_assert!(far.is_outlier || !near.is_outlier);
        }
    }
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
