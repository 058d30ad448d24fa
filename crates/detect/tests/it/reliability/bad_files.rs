//! Files that are damaged, foreign, too large, newer, links; names that are blank, huge, odd.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use stakeout_detect::DetectError;
use stakeout_detect::reliability::{
    Counters, LARGEST_FILE, LONGEST_NAME, OnDoubt, Paths, ReliabilityStore, Verdict, from_bytes, load, save, try_load,
    update,
};

use super::{by, counters, force, on, said, tell};

fn parse(text: &str) -> Result<ReliabilityStore, DetectError> {
    from_bytes(text.as_bytes(), Path::new("calibration.json"))
}

#[test]
fn the_plain_shape_is_read() {
    let store = parse(r#"{"version":1,"detectors":{"id":{"alpha":2,"beta":1}}}"#).unwrap();
    assert_eq!(store.detectors()["id"].total(), Counters::after(1, 0));
}

#[test]
fn every_way_to_be_wrong_has_its_error() {
    type Is = fn(&DetectError) -> bool;
    let parse_error: Is = |error| matches!(error, DetectError::Parse { .. });
    let cases: [(&str, Is, &str); 16] = [
        ("", parse_error, "not a whole calibration store"),
        ("{", parse_error, ":1"),
        ("\u{0}\u{1}", parse_error, ""),
        ("[]", parse_error, ""),
        (r#"{"detectors":{}}"#, parse_error, "version"),
        (r#"{"version":1}"#, parse_error, "detectors"),
        (r#"{"version":2,"whatever":[]}"#, |e| matches!(e, DetectError::Version { found: 2, .. }), "newer"),
        (r#"{"version":0,"detectors":{}}"#, |e| matches!(e, DetectError::Version { found: 0, .. }), "older"),
        (
            r#"{"version":1,"detectors":{"id":{"alpha":0,"beta":1}}}"#,
            |e| matches!(e, DetectError::ZeroCounter { counter: "alpha", .. }),
            "`id` has alpha = 0",
        ),
        (
            r#"{"version":1,"detectors":{"id":{"alpha":9,"beta":9,"hosts":{"h":{"alpha":1,"beta":0}}}}}"#,
            |e| matches!(e, DetectError::ZeroCounter { counter: "beta", .. }),
            "id on h",
        ),
        (
            r#"{"version":1,"detectors":{" \t":{"alpha":1,"beta":1}}}"#,
            |e| matches!(e, DetectError::BlankId { .. }),
            "blank",
        ),
        (r#"{"version":1,"detectors":{"id":{"alpha":-1,"beta":1}}}"#, parse_error, ":1"),
        (r#"{"version":1,"detectors":{"id":{"alpha":1.5,"beta":1}}}"#, parse_error, ""),
        (r#"{"version":1,"detectors":{"id":{"alpha":2,"betta":1}}}"#, parse_error, "betta"),
        (
            r#"{"version":1,"detectors":{"id":{"alpha":2,"beta":1},"id":{"alpha":1,"beta":2}}}"#,
            parse_error,
            "stands twice",
        ),
        (
            r#"{"version":1,"prior":{"revision":1,"fleet":{"alpha":0,"beta":1},"host_strength":10},"detectors":{}}"#,
            parse_error,
            "prior of the fleet",
        ),
    ];
    for (text, is, needle) in cases {
        let error = parse(text).unwrap_err();
        assert!(is(&error) && error.to_string().contains(needle), "{text}: {error:?}");
    }
    let more = r#"{"version":1,"detectors":{"id":{"alpha":2,"beta":1,"hosts":{"h":{"alpha":3,"beta":1}}}}}"#;
    assert!(parse(more).unwrap_err().to_string().contains("more on its hosts"));
}

#[test]
fn a_damaged_file_is_a_cold_start_with_a_warning_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    assert!(matches!(load(&path), (store, None) if store == ReliabilityStore::default()));
    fs::write(&path, "{\"version\":1,").unwrap();
    assert!(matches!(load(&path), (store, Some(DetectError::Parse { .. })) if store.detectors().is_empty()));
    let paths = Paths::beside(&path);
    let refused = tell(&paths, said(&["a"], &[])).unwrap_err();
    assert!(refused.to_string().contains("--force"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"version\":1,");
    let forced = force(&paths, said(&["a"], &[]));
    assert!(forced.notes[0].contains("set aside"), "{:?}", forced.notes);
    assert_eq!(counters(&paths, "a"), (2, 1));
    assert_eq!(fs::read_to_string(folder.path().join("c.json.damaged-1")).unwrap(), "{\"version\":1,");
    fs::write(&path, "again").unwrap();
    force(&paths, said(&["a"], &[]));
    assert_eq!(fs::read_to_string(folder.path().join("c.json.damaged-2")).unwrap(), "again");
    assert_eq!(counters(&paths, "a"), (3, 1), "the journal knew");
}

#[test]
fn a_file_cut_anywhere_is_refused_and_comes_back_from_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    tell(&paths, on(Some("h"), &["a", "b"], &["a"])).unwrap();
    let whole = fs::read(&paths.store).unwrap();
    // All but the last two bytes: a closing brace and a line end.
    for cut in 0..whole.len() - 2 {
        assert!(from_bytes(&whole[..cut], &paths.store).is_err(), "cut at {cut}");
    }
    fs::write(&paths.store, &whole[..whole.len() / 2]).unwrap();
    assert!(tell(&paths, said(&["a"], &[])).is_err());
    force(&paths, said(&["a"], &[]));
    assert_eq!((counters(&paths, "a"), counters(&paths, "b")), ((3, 2), (2, 1)));
}

#[test]
fn a_file_that_is_too_large_is_not_read_and_none_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    fs::File::create(&path).unwrap().set_len(LARGEST_FILE + 1).unwrap();
    assert!(matches!(try_load(&path), Err(DetectError::TooLarge { cap: LARGEST_FILE, .. })));
    let mut store = ReliabilityStore::default();
    let long = "x".repeat(LONGEST_NAME - 8);
    for i in 0..17_000 {
        store.record(&format!("{long}{i:08}"), None, Verdict::Hit).unwrap();
    }
    let small = folder.path().join("small.json");
    save(&ReliabilityStore::default(), &small).unwrap();
    let before = fs::read(&small).unwrap();
    assert!(matches!(save(&store, &small), Err(DetectError::TooLarge { .. })));
    assert_eq!(fs::read(&small).unwrap(), before);
}

#[test]
fn a_change_whose_line_could_not_be_read_again_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    let id = "x".repeat(LONGEST_NAME);
    let many = vec![id.as_str(); 33 * 1024];
    assert!(matches!(tell(&paths, said(&many, &[])), Err(DetectError::TooLarge { .. })));
    assert!(!paths.store.exists() && !paths.journal.exists());
}

#[test]
fn names_that_are_blank_or_huge_are_refused_and_odd_ones_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    let huge = "x".repeat(10 << 20);
    for name in ["", " ", "\u{7}\n", "\u{200b}\u{202e} \u{feff}", &huge] {
        for change in [said(&[name], &[]), on(Some(name), &["a"], &[])] {
            let error = tell(&paths, change).unwrap_err();
            assert!(matches!(error, DetectError::Invalid { .. }) && error.to_string().len() < 200, "{error}");
        }
    }
    assert!(!paths.store.exists() && !paths.journal.exists());
    let in_file = format!(r#"{{"version":1,"detectors":{{"{huge}":{{"alpha":1,"beta":1}}}}}}"#);
    let error = parse(&in_file).unwrap_err();
    assert!(error.to_string().contains("10485760 bytes") && error.to_string().len() < 400);
    let odd = ["détecteur-日本", "\u{1b}[2Jred", "a\"b\\c", "\u{202e}gnp.exe", "🦀"];
    tell(&paths, said(&odd, &[])).unwrap();
    fs::remove_file(&paths.store).unwrap();
    tell(&paths, said(&odd, &[])).unwrap();
    assert!(odd.iter().all(|id| counters(&paths, id) == (3, 1)), "through file and journal");
}

#[test]
fn a_damaged_journal_is_named_with_its_line_and_set_aside_by_force_alone() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    for _ in 0..3 {
        tell(&paths, said(&["a"], &[])).unwrap();
    }
    let whole = fs::read_to_string(&paths.journal).unwrap();
    let damaged = whole.replacen("\"tp\"", "\"tq\"", 1);
    fs::write(&paths.journal, &damaged).unwrap();
    // The damage lies before what the store rests on: counting goes on, taking back does not.
    tell(&paths, said(&["a"], &[])).unwrap();
    let error = update(&paths, stakeout_detect::reliability::Change::Undo, &by(1), OnDoubt::Refuse).unwrap_err();
    assert!(matches!(error, DetectError::Parse { line: Some(2), .. }), "{error:?}");
    fs::remove_file(&paths.store).unwrap();
    assert!(tell(&paths, said(&["a"], &[])).is_err());
    let forced = force(&paths, said(&["a"], &[]));
    assert_eq!(counters(&paths, "a"), (5, 1), "one of four records cannot be read: {:?}", forced.notes);
    assert!(forced.notes.iter().any(|note| note.contains("1 lines cannot")), "{:?}", forced.notes);
    assert!(folder.path().join("c.json.journal.jsonl.damaged-1").exists());
}

#[test]
fn numbers_at_their_end_overflow_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    let most = u64::MAX;
    let header = "{\"version\":1,\"journal\":\"stakeout calibrate\"}\n";
    let prior = format!(r#"{{"revision":{most},"fleet":{{"alpha":1.0,"beta":1.0}},"host_strength":10.0}}"#);
    let records = format!(
        "{{\"seq\":{most},\"t_wall_ns\":{most},\"who\":\"a\",\"what\":{{\"refit-prior\":{{\"prior\":{prior}}}}}}}\n"
    );
    fs::write(&paths.journal, format!("{header}{records}")).unwrap();
    tell(&paths, stakeout_detect::reliability::Change::RefitPrior).unwrap();
    for (start, end) in [(most, most), (most, 10), (0, most), (10, 10), (3, 9)] {
        let at = format!(r#"{{"record":{most},"start":{start},"end":{end}}}"#);
        let text = format!(r#"{{"version":1,"journal":{at},"prior":{prior},"detectors":{{}}}}"#);
        fs::write(&paths.store, text).unwrap();
        let _ = stakeout_detect::reliability::read(&paths);
        let _ = tell(&paths, said(&["a"], &[]));
        force(&paths, said(&["a"], &[]));
    }
}

#[test]
fn a_foreign_file_where_the_journal_would_be_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    let header = "{\"version\":1,\"journal\":\"stakeout calibrate\"}\n";
    for foreign in ["years of work, and no line end", "{\"version\":1,\"journal\":\"another\"", "\u{feff}"] {
        fs::write(&paths.journal, foreign).unwrap();
        for _ in 0..2 {
            assert!(
                matches!(tell(&paths, said(&["a"], &[])), Err(DetectError::Parse { line: Some(1), .. })),
                "{foreign}"
            );
            assert_eq!(fs::read_to_string(&paths.journal).unwrap(), foreign);
        }
        force(&paths, said(&["a"], &[]));
        let aside = folder.path().join("c.json.journal.jsonl.damaged-1");
        assert_eq!(fs::read_to_string(&aside).unwrap(), foreign);
        [&aside, &paths.store, &paths.journal].into_iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    // A writer that was killed in its first line said nothing.
    for cut in 0..header.len() {
        fs::write(&paths.journal, &header[..cut]).unwrap();
        tell(&paths, said(&["a"], &[])).unwrap();
        assert_eq!(counters(&paths, "a"), (2, 1), "cut at {cut}");
        [&paths.store, &paths.journal].into_iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn a_newer_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    fs::write(&paths.journal, "{\"version\":2,\"journal\":\"stakeout calibrate\"}\n").unwrap();
    assert!(matches!(tell(&paths, said(&["a"], &[])), Err(DetectError::Version { found: 2, .. })));
    assert!(!paths.store.exists());
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    for name in ["c.json", "c.json.journal.jsonl", "c.json.journal.jsonl.lock"] {
        let link = folder.path().join(name);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        let paths = Paths::beside(&folder.path().join("c.json"));
        for doubt in [OnDoubt::Refuse, OnDoubt::Force] {
            let error = update(&paths, said(&["a"], &[]), &by(1), doubt).unwrap_err();
            assert!(matches!(error, DetectError::Io { .. }), "{name}: {error:?}");
        }
        fs::remove_file(link).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
}

proptest! {
    #[test]
    fn what_is_saved_is_loaded(
        said in proptest::collection::vec(("\\PC{1,6}x", proptest::option::of("\\PC{0,4}h"), any::<bool>()), 0..40), refit in any::<bool>(),
    ) {
        let mut store = ReliabilityStore::default();
        for (id, host, hit) in &said {
            let verdict = if *hit { Verdict::Hit } else { Verdict::FalseAlarm };
            store.record(id, host.as_deref(), verdict).unwrap();
        }
        if refit {
            store.refit_prior(7);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        save(&store, &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let loaded = try_load(&path).unwrap();
        prop_assert_eq!(&loaded, &store);
        save(&loaded, &path).unwrap();
        prop_assert_eq!(fs::read(&path).unwrap(), bytes);
        let ids: Vec<&String> = loaded.detectors().keys().collect();
        prop_assert!(ids.is_sorted());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damage_anywhere_is_an_error_or_another_store_never_a_panic(at in 0..4000usize, byte in any::<u8>(), cut in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::beside(&folder.path().join("c.json"));
        tell(&paths, on(Some("h"), &["a", "b", "c", "d", "e"], &["a"])).unwrap();
        tell(&paths, stakeout_detect::reliability::Change::RefitPrior).unwrap();
        for path in [&paths.store, &paths.journal] {
            let mut bytes = fs::read(path).unwrap();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            fs::write(path, &bytes).unwrap();
            let _ = stakeout_detect::reliability::read(&paths);
            let _ = tell(&paths, said(&["a"], &[]));
            let _ = update(&paths, stakeout_detect::reliability::Change::Undo, &by(1), OnDoubt::Refuse);
        }
        let after = force(&paths, said(&["a"], &[]));
        prop_assert!(after.store.detectors().contains_key("a"));
        prop_assert_eq!(try_load(&paths.store).unwrap(), after.store);
    }
}
