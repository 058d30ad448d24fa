use std::sync::atomic::{AtomicUsize, Ordering};

use stakeout_eval::Sides;

use super::*;
use crate::bundle::Lineage;
use crate::policy::{FORMAT, Policy};
use crate::snapshot::FILES;

fn by(at: i64) -> Signature {
    Signature { who: "analyst".into(), at, why: "because".into() }
}

/// A stage that holds a run of made-up bytes, with a judgement of it.
fn staged(registry: &Registry, content: &str, verdict: Verdict) -> (Stage, Bundle) {
    let stage = registry.stage().unwrap();
    fs::create_dir_all(stage.entry()).unwrap();
    for name in FILES {
        fs::write(stage.entry().join(name), format!("{name} {content}")).unwrap();
    }
    let read = digests(&stage.entry()).unwrap();
    let lineage = Lineage {
        model: "gbt".into(),
        recipe: "host".into(),
        fold: "h".into(),
        held_out: vec!["h".into()],
        view: "realistic".into(),
        seed: 1,
        selection: "settings as they were given".into(),
        corpus: "c".into(),
        simulated: false,
        data_digest: "d".into(),
        schema_hash: "s".into(),
        code_version: "0".into(),
    };
    let mut bundle = Bundle {
        format: FORMAT,
        judged_by: "0".into(),
        id: address(&read),
        verdict,
        lineage,
        read,
        store: None,
        incumbent: None,
        policy: Policy::default(),
        n_windows: Sides { train: 1, validation: 0, test: 1 },
        n_test: (1, 1),
        checks: Vec::new(),
        criteria: Vec::new(),
        limits: Vec::new(),
        digest: String::new(),
    };
    bundle.digest = bundle.own_digest();
    (stage, bundle)
}

fn promote(registry: &Registry, content: &str) -> String {
    let (stage, bundle) = staged(registry, content, Verdict::Deployable);
    assert!(registry.promote(&stage, &bundle, None, "run", &by(1)).unwrap());
    bundle.id
}

fn new() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::create(&folder.path().join("models")).unwrap();
    (folder, registry)
}

#[test]
fn a_model_is_filed_deployed_and_rolled_back() {
    let (_folder, registry) = new();
    assert_eq!(registry.current().unwrap(), None);
    let (stage, bundle) = staged(&registry, "a", Verdict::Candidate);
    registry.file(&stage, &bundle, "run", &by(1)).unwrap();
    drop(stage);
    assert_eq!(registry.find(&bundle.id[..8]).unwrap().state, State::Candidate);

    let a = promote(&registry, "a");
    assert_eq!(a, bundle.id);
    assert!(!registry.path().join(CANDIDATES).join(&a).exists(), "a deployed model is no candidate");
    let b = promote(&registry, "b");
    let states: Vec<(State, String)> = registry.entries().unwrap().into_iter().map(|e| (e.state, e.id)).collect();
    assert_eq!(states, [(State::Current, b.clone()), (State::Earlier, a.clone())]);
    registry.find(&a).unwrap().verify().unwrap();

    assert_eq!(registry.rollback(None, &by(9)).unwrap(), a);
    assert_eq!(registry.current().unwrap().unwrap().0, a);
    assert!(registry.rollback(None, &by(9)).is_err());
    let actions: Vec<Action> = read_log(&registry).unwrap().into_iter().map(|record| record.action).collect();
    assert_eq!(actions, [Action::Filed, Action::Promoted, Action::Promoted, Action::RolledBack]);

    // What is current is not deployed twice.
    let (stage, bundle) = staged(&registry, "a", Verdict::Deployable);
    assert!(!registry.promote(&stage, &bundle, None, "run", &by(1)).unwrap());
    assert_eq!(registry.pointer().unwrap().revision, 3);
}

#[test]
fn nothing_but_what_the_gate_accepted_is_filed_and_nothing_but_what_it_allowed_is_deployed() {
    let (_folder, registry) = new();
    let (stage, bundle) = staged(&registry, "a", Verdict::Refused);
    assert!(registry.file(&stage, &bundle, "run", &by(1)).is_err());
    assert!(registry.promote(&stage, &bundle, None, "run", &by(1)).is_err());
    let (stage, bundle) = staged(&registry, "a", Verdict::Candidate);
    assert!(registry.promote(&stage, &bundle, None, "run", &by(1)).is_err());
    assert!(registry.entries().unwrap().is_empty());
}

#[test]
fn who_was_judged_against_another_model_is_not_deployed() {
    let (_folder, registry) = new();
    let (stage, bundle) = staged(&registry, "a", Verdict::Deployable);
    let seen = registry.pointer().unwrap().revision;
    promote(&registry, "b");
    let error = registry.promote(&stage, &bundle, Some(seen), "run", &by(1)).unwrap_err();
    assert!(matches!(error, EvidenceError::Overtaken), "{error}");
    assert!(registry.promote(&stage, &bundle, None, "run", &by(1)).unwrap());
}

#[test]
fn promotions_at_once_are_done_one_by_one_and_none_is_lost() {
    const EACH: usize = 6;
    let (_folder, registry) = new();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    promote(&registry, &next.fetch_add(1, Ordering::Relaxed).to_string());
                }
            });
        }
        // A reader beside them never sees half a registry.
        scope.spawn(|| {
            while next.load(Ordering::Relaxed) < 4 * EACH {
                if let Some((id, path)) = registry.current().unwrap() {
                    assert!(entry::is_whole(&path, &id));
                }
            }
        });
    });
    let pointer = registry.pointer().unwrap();
    assert_eq!(pointer.revision, 4 * EACH as u64);
    let mut ids: Vec<&str> = pointer.history.iter().map(|step| step.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4 * EACH);
    assert_eq!(read_log(&registry).unwrap().len(), 4 * EACH);
    let left = fs::read_dir(registry.path()).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(files::TEMPORARY_PREFIX)));
}

#[test]
fn a_process_killed_after_the_pointer_is_written_down_by_the_next_one() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    let log = fs::read(registry.path().join(AUDIT)).unwrap();
    let b = promote(&registry, "b");
    fs::write(registry.path().join(AUDIT), &log).unwrap(); // as if killed before its line
    assert_eq!(registry.current().unwrap().unwrap().0, b);
    assert_eq!(registry.rollback(None, &by(7)).unwrap(), a);
    let records = read_log(&registry).unwrap();
    let seen: Vec<(Action, bool, u64)> = records.iter().map(|r| (r.action, r.recovered, r.revision)).collect();
    assert_eq!(seen, [(Action::Promoted, false, 1), (Action::Promoted, true, 2), (Action::RolledBack, false, 3)]);
}

#[test]
fn a_process_killed_before_the_pointer_leaves_the_old_model_deployed() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    let (stage, bundle) = staged(&registry, "b", Verdict::Deployable);
    entry::put(&stage, &registry.path().join(CURRENT).join(&bundle.id), &bundle).unwrap(); // as if killed here
    drop(stage);
    // What a killed process staged is removed by the next one that stages, and what a live one did is not.
    let dead = registry.path().join(".tmp-dead");
    fs::create_dir_all(dead.join("entry")).unwrap();
    let live = registry.stage().unwrap();
    let other = registry.stage().unwrap();
    assert!(!dead.exists() && live.path().exists() && other.path().exists());
    assert_eq!(registry.current().unwrap().unwrap().0, a);
    assert!(registry.rollback(Some(&bundle.id), &by(1)).is_err(), "it was never deployed");
    assert_eq!(promote(&registry, "b"), bundle.id);
}

#[test]
fn a_changed_byte_shows_and_is_not_gone_back_to() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    promote(&registry, "b");
    let file = registry.path().join(CURRENT).join(&a).join(FILES[0]);
    fs::write(&file, "other").unwrap();
    assert!(registry.find(&a).unwrap().verify().is_err());
    let error = registry.rollback(None, &by(1)).unwrap_err().to_string();
    assert!(error.contains("a byte was changed"), "{error}");
    // The same content, promoted again, takes the damaged entry's place.
    assert_eq!(promote(&registry, "a"), a);
    registry.find(&a).unwrap().verify().unwrap();
    fs::remove_file(&file).unwrap();
    assert!(registry.find(&a).unwrap().verify().is_err());
}

#[test]
fn an_edited_judgement_is_named_damaged() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    let path = registry.path().join(CURRENT).join(&a).join(BUNDLE);
    let text = fs::read_to_string(&path).unwrap();
    for bad in [
        text.replace("\"deployable\"", "\"candidate\""),
        text[..text.len() / 2].to_owned(),
        text.replacen("\"format\": 1", "\"format\": 2", 1),
    ] {
        fs::write(&path, bad).unwrap();
        assert!(registry.find(&a).unwrap().bundle.is_err());
    }
    fs::remove_file(&path).unwrap();
    assert!(registry.find(&a).unwrap().bundle.is_err());
}

#[test]
fn a_folder_of_something_else_a_damaged_pointer_and_a_log_that_is_none_are_refused_before_anything_changes() {
    let (folder, registry) = new();
    let foreign = folder.path().join("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "years").unwrap();
    assert!(Registry::create(&foreign).unwrap_err().to_string().contains("thesis.tex"));
    assert!(Registry::open(&foreign).is_err() && Registry::open(&folder.path().join("absent")).is_err());
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

    let a = promote(&registry, "a");
    let (stage, bundle) = staged(&registry, "b", Verdict::Deployable);
    let (log, aside) = (registry.path().join(AUDIT), registry.path().join(CURRENT).join("aside"));
    fs::rename(&log, &aside).unwrap();
    fs::create_dir(&log).unwrap();
    assert!(registry.promote(&stage, &bundle, None, "run", &by(1)).is_err());
    fs::remove_dir(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    assert_eq!(registry.current().unwrap().unwrap().0, a);

    let pointer = registry.path().join(CURRENT).join(POINTER);
    let good = fs::read(&pointer).unwrap();
    fs::write(&pointer, &good[..good.len() - 9]).unwrap();
    for error in [
        registry.promote(&stage, &bundle, None, "run", &by(1)).unwrap_err(),
        registry.rollback(None, &by(1)).unwrap_err(),
        registry.entries().unwrap_err(),
    ] {
        assert!(error.to_string().contains("damaged"), "{error}");
    }
    fs::write(&pointer, &good).unwrap();
    assert!(registry.promote(&stage, &bundle, None, "run", &by(1)).unwrap());
}

#[test]
fn an_address_is_named_by_enough_of_it() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    assert!(registry.find(&a[..3]).unwrap_err().to_string().contains("4 characters"));
    assert!(registry.find("zzzz").unwrap_err().to_string().contains("no model"));
    assert_eq!(registry.find(&a).unwrap().id, a);
}

#[test]
fn a_model_that_a_killed_process_left_in_both_folders_is_one_entry() {
    let (_folder, registry) = new();
    let (stage, bundle) = staged(&registry, "a", Verdict::Deployable);
    registry.file(&stage, &bundle, "run", &by(1)).unwrap();
    let (stage, _) = staged(&registry, "a", Verdict::Deployable);
    entry::put(&stage, &registry.path().join(CURRENT).join(&bundle.id), &bundle).unwrap(); // as if killed here
    drop(stage);
    let states: Vec<State> = registry.entries().unwrap().into_iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Candidate], "it was never deployed");
    assert_eq!(registry.find(&bundle.id).unwrap().id, bundle.id);
    assert_eq!(promote(&registry, "a"), bundle.id);
    assert_eq!(registry.find(&bundle.id).unwrap().state, State::Current);
}

#[test]
fn a_reader_beside_promotions_meets_every_model_whole() {
    const MODELS: usize = 60;
    let (_folder, registry) = new();
    let ids: Vec<String> = (0..MODELS)
        .map(|i| {
            let (stage, bundle) = staged(&registry, &i.to_string(), Verdict::Deployable);
            registry.file(&stage, &bundle, "run", &by(1)).unwrap();
            bundle.id
        })
        .collect();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..MODELS {
                promote(&registry, &i.to_string());
                done.store(i + 1, Ordering::Relaxed);
            }
        });
        while done.load(Ordering::Relaxed) < MODELS {
            let entries = registry.entries().unwrap();
            assert_eq!(entries.len(), MODELS);
            for entry in entries {
                assert!(entry.bundle.is_ok(), "{:?}", entry.bundle);
            }
        }
    });
    let left = fs::read_dir(registry.path().join(CANDIDATES)).unwrap().count();
    assert_eq!((left, ids.len()), (0, registry.entries().unwrap().len()));
}

#[test]
fn a_reason_that_would_fill_the_registry_is_refused_before_anything_changes() {
    let (_folder, registry) = new();
    promote(&registry, "a");
    let b = promote(&registry, "b");
    let before = fs::read(registry.path().join(AUDIT)).unwrap();
    for (who, why) in [(String::from("a"), "x".repeat(LONGEST_TEXT + 1)), ("x".repeat(1 << 20), String::new())] {
        let signature = Signature { who, at: 1, why };
        let (stage, bundle) = staged(&registry, "c", Verdict::Deployable);
        for error in [
            registry.rollback(None, &signature).unwrap_err(),
            registry.note(&bundle, "run", &signature).unwrap_err(),
            registry.file(&stage, &bundle, "run", &signature).unwrap_err(),
            registry.promote(&stage, &bundle, None, "run", &signature).unwrap_err(),
        ] {
            assert!(error.to_string().contains("at most 4096 are kept"), "{error}");
        }
    }
    assert_eq!(registry.current().unwrap().unwrap().0, b);
    assert_eq!(fs::read(registry.path().join(AUDIT)).unwrap(), before);
}

#[test]
fn nobody_goes_back_to_whatever_an_empty_word_begins() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    let b = promote(&registry, "b");
    for prefix in ["", &a[..3]] {
        let error = registry.rollback(Some(prefix), &by(1)).unwrap_err().to_string();
        assert!(error.contains("4 characters"), "{error}");
    }
    assert_eq!(registry.current().unwrap().unwrap().0, b);
    assert_eq!(registry.rollback(Some(&a[..8]), &by(1)).unwrap(), a);
}

#[test]
fn a_folder_that_is_gone_is_missed_where_a_model_lay_in_it_and_not_where_none_did() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    fs::remove_dir(registry.path().join(CANDIDATES)).unwrap();
    assert_eq!(registry.find(&a).unwrap().state, State::Current);
    fs::remove_dir_all(registry.path().join(CURRENT).join(&a)).unwrap();
    let entries = registry.entries().unwrap();
    assert!(entries.len() == 1 && entries[0].state == State::Current && entries[0].bundle.is_err(), "{entries:?}");
    assert!(entries[0].verify().is_err());
}

#[test]
fn what_a_killed_write_left_beside_the_pointer_and_in_an_entry_is_swept_up() {
    let (_folder, registry) = new();
    let a = promote(&registry, "a");
    let current = registry.path().join(CURRENT);
    let left =
        [current.join(".tmp-1"), current.join(&a).join(".tmp-2"), registry.path().join(CANDIDATES).join(".tmp-3")];
    left.iter().for_each(|path| fs::write(path, "half").unwrap());
    let _stage = registry.stage().unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    registry.find(&a).unwrap().verify().unwrap();
}
