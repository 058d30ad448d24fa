//! What is acknowledged is kept, and what is kept can be explained and taken back.

use std::fs;

use stakeout_detect::DetectError;
use stakeout_detect::reliability::{
    By, Change, Evidence, OnDoubt, Paths, Reliability, ReliabilityStore, Weighting, faded, from_bytes, history, read,
    save, update,
};

use super::{by, counters, force, on, said, tell};

fn place(folder: &tempfile::TempDir) -> Paths {
    Paths::beside(&folder.path().join("deep/er/c.json"))
}

#[test]
fn a_change_is_in_the_store_and_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    let why = Some("ticket 7\nsecond line".to_owned());
    let told = update(
        &paths,
        on(Some("web-1"), &["b", "a", "a"], &["c"]),
        &By { who: "ana".into(), why: why.clone(), t_wall_ns: 5 },
        OnDoubt::Refuse,
    );
    assert_eq!(told.unwrap().record.seq, 1);
    assert_eq!((counters(&paths, "a"), counters(&paths, "b"), counters(&paths, "c")), ((3, 1), (2, 1), (1, 2)));
    let text = fs::read_to_string(&paths.store).unwrap();
    let (a, b, c) = (text.find("\"a\"").unwrap(), text.find("\"b\"").unwrap(), text.find("\"c\"").unwrap());
    assert!(a < b && b < c, "sorted: {text}");
    let records = history(&paths).unwrap();
    assert_eq!((records.len(), records[0].who.as_str(), &records[0].why, records[0].t_wall_ns), (1, "ana", &why, 5));
    let current = read(&paths).unwrap();
    assert_eq!((current.store.detectors()["a"].hosts()["web-1"].alpha(), current.notes), (3, vec![]));
}

#[test]
fn changes_are_taken_back_from_the_last_one_on() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    let mut stores = vec![ReliabilityStore::default()];
    for change in [said(&["a"], &[]), on(Some("h"), &["b"], &["a"]), Change::RefitPrior, said(&[], &["b"])] {
        stores.push(tell(&paths, change).unwrap().store);
    }
    for before in stores.iter().rev().skip(1) {
        let back = tell(&paths, Change::Undo).unwrap();
        assert_eq!((&back.store, &read(&paths).unwrap().store), (before, before));
        assert!(back.undone.is_some());
    }
    assert!(matches!(tell(&paths, Change::Undo), Err(DetectError::Invalid { what: "undo", .. })));
    tell(&paths, said(&["z"], &[])).unwrap();
    assert_eq!(counters(&paths, "z"), (2, 1));
    assert_eq!(history(&paths).unwrap().len(), 9, "nothing is erased");
}

#[test]
fn the_prior_changes_by_a_refit_alone_and_every_refit_has_its_own_revision() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    for i in 0..6u32 {
        let id = format!("d{i}");
        let (hits, misses) = (vec![id.as_str(); 9], vec![id.as_str(); i as usize]);
        tell(&paths, said(&hits, &misses)).unwrap();
        assert_eq!(read(&paths).unwrap().store.prior().revision, 0);
    }
    let first = tell(&paths, Change::RefitPrior).unwrap().store.prior();
    assert_eq!((first.revision, first.left_out.len()), (1, 6));
    assert!(first.fleet.mean() > 0.6);
    let told = tell(&paths, said(&[], &["d0"; 50])).unwrap();
    assert_eq!(told.store.prior(), first);
    tell(&paths, Change::Undo).unwrap();
    assert_eq!(tell(&paths, Change::Undo).unwrap().store.prior().revision, 0);
    assert_eq!(tell(&paths, Change::RefitPrior).unwrap().store.prior().revision, 2, "a revision is never given twice");
    fs::remove_file(&paths.store).unwrap();
    assert_eq!(read(&paths).unwrap().store.prior().fleet, first.fleet, "the journal holds the prior");
}

#[test]
fn an_import_adds_the_evidence_of_a_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    tell(&paths, said(&["id"], &["id"])).unwrap();
    let text = r#"{"version":1,"detectors":{"id":{"alpha":3,"beta":1},"new":{"alpha":1,"beta":9}}}"#;
    let import = || Change::Import {
        from: "other.json".into(),
        digest: "d1".into(),
        store: from_bytes(text.as_bytes(), "other.json".as_ref()).unwrap(),
    };
    tell(&paths, import()).unwrap();
    assert_eq!((counters(&paths, "id"), counters(&paths, "new")), ((4, 2), (1, 9)));
    let again = tell(&paths, import()).unwrap_err();
    assert!(again.to_string().contains("record 2") && again.to_string().contains("--force"), "{again}");
    tell(&paths, Change::Undo).unwrap();
    tell(&paths, import()).unwrap();
    force(&paths, import());
    assert_eq!(counters(&paths, "new"), (1, 17));
}

#[test]
fn a_plain_store_is_adopted_and_a_lost_cache_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::beside(&folder.path().join("c.json"));
    fs::write(&paths.store, r#"{"version":1,"detectors":{"id":{"alpha":2,"beta":1}}}"#).unwrap();
    assert_eq!(read(&paths).unwrap().notes, Vec::<String>::new());
    tell(&paths, said(&["id"], &[])).unwrap();
    assert_eq!(counters(&paths, "id"), (3, 1));
    // A cleaner of caches passes by.
    fs::remove_file(&paths.store).unwrap();
    assert_eq!(read(&paths).unwrap().store.detectors()["id"].total().alpha(), 3);
    let told = tell(&paths, said(&["id"], &[])).unwrap();
    assert!(told.notes[0].contains("counted again"), "{:?}", told.notes);
    assert_eq!(counters(&paths, "id"), (4, 1));
    // And one of journals.
    fs::remove_file(&paths.journal).unwrap();
    let told = tell(&paths, said(&["id"], &[])).unwrap();
    assert!(told.notes[0].contains("is gone"), "{:?}", told.notes);
    assert_eq!((counters(&paths, "id"), read(&paths).unwrap().notes), ((5, 1), vec![]));
    tell(&paths, Change::Undo).unwrap();
    assert!(tell(&paths, Change::Undo).is_err(), "what was adopted is not taken back");
    assert_eq!(counters(&paths, "id"), (4, 1));
}

#[test]
fn a_store_that_another_program_wrote_is_taken_over_by_force_alone() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    tell(&paths, said(&["id"], &[])).unwrap();
    // The plain writer keeps the counters and knows nothing of a journal.
    let same = read(&paths).unwrap().store;
    save(&same, &paths.store).unwrap();
    tell(&paths, said(&["id"], &[])).unwrap();
    assert_eq!(counters(&paths, "id"), (3, 1), "it said the same: nothing is in doubt");

    fs::write(&paths.store, r#"{"version":1,"detectors":{"id":{"alpha":9,"beta":1}}}"#).unwrap();
    assert_eq!(read(&paths).unwrap().notes.len(), 1);
    let refused = tell(&paths, said(&["id"], &[])).unwrap_err();
    assert!(refused.to_string().contains("another program"), "{refused}");
    assert_eq!(counters(&paths, "id"), (9, 1));
    force(&paths, said(&["id"], &[]));
    assert_eq!((counters(&paths, "id"), read(&paths).unwrap().notes), ((10, 1), vec![]));

    // Counters edited in place, the rest left: noticed when somebody looks.
    let edited = fs::read_to_string(&paths.store).unwrap().replace("\"alpha\": 10", "\"alpha\": 70");
    fs::write(&paths.store, edited).unwrap();
    assert!(read(&paths).unwrap().notes[0].contains("do not say the same"));
    assert!(matches!(tell(&paths, Change::Undo), Err(DetectError::Data(_))));
}

#[test]
fn a_process_that_died_between_journal_and_store_is_caught_up_with() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    tell(&paths, said(&["a"], &[])).unwrap();
    let before = fs::read(&paths.store).unwrap();
    tell(&paths, said(&["a"], &["b"])).unwrap();
    // As if the second had been killed before it replaced the file.
    fs::write(&paths.store, &before).unwrap();
    assert_eq!(read(&paths).unwrap().store.detectors()["a"].total().alpha(), 2, "not acknowledged, not read");
    let told = tell(&paths, said(&["a"], &[])).unwrap();
    assert!(told.notes[0].contains("1 changes of a process"), "{:?}", told.notes);
    assert_eq!((counters(&paths, "a"), counters(&paths, "b")), ((4, 1), (1, 2)));

    // Killed in the middle of the line: nothing was acknowledged, and nothing else is lost.
    let whole = fs::read(&paths.journal).unwrap();
    let store = fs::read(&paths.store).unwrap();
    for torn in [&b"{\"seq\":4,\"t_wa"[..], b"\0\0\0\0", b"{"] {
        fs::write(&paths.store, &store).unwrap();
        fs::write(&paths.journal, [&whole, torn].concat()).unwrap();
        assert_eq!(read(&paths).unwrap().notes, Vec::<String>::new());
        tell(&paths, said(&["a"], &[])).unwrap();
        assert_eq!((counters(&paths, "a"), read(&paths).unwrap().notes), ((5, 1), vec![]));
    }
    // Killed in the middle of the very first line.
    let other = tempfile::tempdir().unwrap();
    let paths = place(&other);
    fs::create_dir_all(paths.journal.parent().unwrap()).unwrap();
    fs::write(&paths.journal, "{\"versi").unwrap();
    tell(&paths, said(&["a"], &[])).unwrap();
    assert_eq!((counters(&paths, "a"), read(&paths).unwrap().notes), ((2, 1), vec![]));
}

#[test]
fn a_change_that_failed_is_taken_out_of_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths { store: folder.path().join("cache/c.json"), journal: folder.path().join("state/c.jsonl") };
    tell(&paths, said(&["a"], &[])).unwrap();
    let journal = fs::read(&paths.journal).unwrap();
    // The store's folder is in the way of itself: its temporary file cannot be made.
    let bytes = fs::read(&paths.store).unwrap();
    let folder_of_store = paths.store.parent().unwrap();
    fs::remove_dir_all(folder_of_store).unwrap();
    fs::write(folder_of_store, "a file").unwrap();
    assert!(matches!(tell(&paths, said(&["a"], &[])), Err(DetectError::Io { .. })));
    assert_eq!(fs::read(&paths.journal).unwrap(), journal);
    fs::remove_file(folder_of_store).unwrap();
    fs::create_dir(folder_of_store).unwrap();
    fs::write(&paths.store, bytes).unwrap();
    tell(&paths, said(&["a"], &[])).unwrap();
    assert_eq!(counters(&paths, "a"), (3, 1));
}

#[test]
fn a_half_life_is_applied_when_reading_and_counters_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let paths = place(&folder);
    let day = 24 * 60;
    update(&paths, on(Some("h"), &["a", "a"], &[]), &by(0), OnDoubt::Refuse).unwrap();
    update(&paths, said(&[], &["a"]), &by(10 * day), OnDoubt::Refuse).unwrap();
    update(&paths, said(&["a"], &[]), &by(10 * day), OnDoubt::Refuse).unwrap();
    update(&paths, Change::Undo, &by(10 * day), OnDoubt::Refuse).unwrap();
    let at = |days: u64| faded(&paths, 10.0, by(days * day).t_wall_ns).unwrap();
    let (current, evidence) = at(20);
    let a = &evidence.0["a"];
    assert_eq!((a.total.hits, a.total.false_alarms, a.hosts["h"].hits), (0.5, 0.5, 0.5));
    assert_eq!(current.store.detectors()["a"].total().alpha(), 3);
    assert_eq!(at(0).1.0["a"].total.false_alarms, 1.0, "what a fast clock wrote counts in full");
    let prior = current.store.prior();
    let shift =
        |evidence: Evidence| Reliability::new(evidence, prior.clone(), Weighting::LogOdds).unwrap().shift("a", None);
    assert!(shift(at(20).1).abs() < 1e-12 && shift(Evidence::undecayed(&current.store)) > 0.4);
    assert!(faded(&paths, 0.0, 0).is_err() && faded(&paths, f64::NAN, 0).is_err());
    // What is left of it has no ages.
    fs::remove_file(&paths.journal).unwrap();
    assert!(matches!(faded(&paths, 10.0, 0), Err(DetectError::Data(_))));
}
