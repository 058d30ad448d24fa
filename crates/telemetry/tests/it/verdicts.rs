//! Every reason code, triggered by real files.

use std::collections::BTreeSet;
use std::fs;

use stakeout_core::{ClassList, Source};
use stakeout_telemetry::ReasonCode as R;
use stakeout_telemetry::store::{INDEX_FILE, META_FILE, episode_folder};
use stakeout_telemetry::{Compression, Corpus, FileRecord, Verdict};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::small::{LENGTH, S, Small, T0, id};

const GUEST: &str = "telemetry-guest.jsonl";
const PROC: &str = "telemetry-proc.jsonl";
const FLOWS: &str = "netflow.jsonl";
const LABELS: &str = "labels.jsonl";
const EVENTS: &str = "events.jsonl";

struct Case {
    /// The reasons that it must lead to, and no others.
    codes: &'static [R],
    /// The file and the line that the first of them must name.
    place: (Option<&'static str>, Option<u64>),
    damage: fn(&Small),
}

fn case(
    codes: &'static [R],
    file: impl Into<Option<&'static str>>,
    line: impl Into<Option<u64>>,
    damage: fn(&Small),
) -> Case {
    Case { codes, place: (file.into(), line.into()), damage }
}

/// Puts raw bytes after the first line of a file, and lets the index agree.
fn insert(small: &Small, name: &str, bytes: &[u8]) {
    let text = fs::read(small.file(name)).unwrap();
    let at = text.iter().position(|b| *b == b'\n').unwrap() + 1;
    fs::write(small.file(name), [&text[..at], bytes, &text[at..]].concat()).unwrap();
    small.index_again();
}

fn rename_id(small: &Small, id: &str) {
    let mut records = small.records();
    records[0].episode_id = id.into();
    small.write_records(&records);
}

fn remove_listed(small: &Small, name: &str) {
    fs::remove_file(small.file(name)).unwrap();
    let mut records = small.records();
    records[0].files.retain(|file| file.name != name);
    small.write_records(&records);
}

fn name_file(small: &Small, name: &str) {
    let mut records = small.records();
    records[0].files.push(FileRecord { name: name.into(), sha256: String::new(), size: 0 });
    small.write_records(&records);
}

/// A counter that agrees with a file whose number of lines changed.
fn count(small: &Small, source: &str, rows: usize) {
    small.replace(META_FILE, &format!("\"{source}\": 80"), &format!("\"{source}\": {rows}"));
}

fn cases() -> Vec<Case> {
    vec![
        case(&[R::UnsafeId], INDEX_FILE, 1, |s| {
            rename_id(s, "../../../../etc");
            fs::remove_dir_all(episode_folder(&s.path, &id(0))).unwrap();
        }),
        case(&[R::UnsafeId], "episodes", None, |s| {
            fs::rename(episode_folder(&s.path, &id(0)), s.path.join("episodes/notes")).unwrap();
            s.write_records(&[]);
        }),
        case(&[R::UnsafeFileName], None, None, |s| name_file(s, "../../corpus.toml")),
        case(&[R::UnsafeFileName], None, None, |s| name_file(s, "/etc/passwd")),
        case(&[R::UnsafeFileName], None, None, |s| name_file(s, GUEST)),
        case(&[R::IndexUnreadable], INDEX_FILE, 1, |s| {
            fs::write(s.path.join(INDEX_FILE), "{\"episode_id\":7}\n").unwrap();
            fs::remove_dir_all(episode_folder(&s.path, &id(0))).unwrap();
        }),
        case(&[R::FolderMissing], None, 1, |s| fs::remove_dir_all(episode_folder(&s.path, &id(0))).unwrap()),
        case(&[R::MetaMissing], META_FILE, None, |s| remove_listed(s, META_FILE)),
        case(&[R::MetaInvalid], META_FILE, 5, |s| s.replace(META_FILE, "\"host-1\"", "\"a\\u001b[2J\"")),
        case(&[R::MetaInvalid], META_FILE, 5, |s| s.replace(META_FILE, "\"host-1\"", "17")),
        case(&[R::MetaInvalid], META_FILE, 2, |s| {
            s.replace(META_FILE, "\"schema_version\": 1", "\"schema_version\": 2");
        }),
        #[cfg(unix)]
        case(&[R::NotRegularFile], GUEST, None, |s| {
            let outside = s.path.join("elsewhere.jsonl");
            fs::rename(s.file(GUEST), &outside).unwrap();
            std::os::unix::fs::symlink(&outside, s.file(GUEST)).unwrap();
        }),
        #[cfg(unix)]
        case(&[R::NotRegularFile], GUEST, None, |s| {
            fs::remove_file(s.file(GUEST)).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(s.file(GUEST)).status().unwrap().success());
        }),
        #[cfg(unix)]
        case(&[R::NotRegularFile], None, None, |s| {
            let folder = episode_folder(&s.path, &id(0));
            fs::rename(&folder, s.path.join("moved")).unwrap();
            std::os::unix::fs::symlink(s.path.join("moved"), &folder).unwrap();
        }),
        case(&[R::FileTooLarge], META_FILE, None, |s| {
            s.edit(META_FILE, |lines| lines.resize(1 << 18, "          ".into()));
        }),
        case(&[R::LineTooLong], GUEST, 2, |s| {
            insert(s, GUEST, &[vec![b' '; 2 << 20], b"\n".to_vec()].concat());
            count(s, "guest", 81);
        }),
        case(&[R::BadCompression, R::LabelUnjustified], "events.jsonl.zst", None, |s| {
            fs::write(s.file("events.jsonl.zst"), "this is not zstd").unwrap();
            remove_listed(s, EVENTS);
            name_file(s, "events.jsonl.zst");
            s.index_again();
        }),
        case(&[R::TruncatedLine], GUEST, 80, |s| {
            let text = fs::read(s.file(GUEST)).unwrap();
            fs::write(s.file(GUEST), &text[..text.len() - 9]).unwrap();
            s.index_again();
        }),
        case(&[R::NotUtf8], GUEST, 2, |s| {
            insert(s, GUEST, b"{\"t_mono_ns\":1,\"\xff\xfe\":3}\n");
            count(s, "guest", 81);
        }),
        case(&[R::BadJson], EVENTS, 2, |s| {
            insert(s, EVENTS, b"\n");
            s.replace(META_FILE, "\"events\": 3", "\"events\": 4");
        }),
        case(&[R::DuplicateKey], GUEST, 1, |s| {
            s.edit(GUEST, |lines| lines[0] = lines[0].replace("\"ctxt\":", "\"intr\":1,\"ctxt\":"));
        }),
        case(&[R::MissingKey], LABELS, 1, |s| s.edit(LABELS, |l| l[0] = l[0].replace("phase", "phases"))),
        case(&[R::WrongType], GUEST, 3, |s| s.edit(GUEST, |l| l[2] = l[2].replace("\"guest\"", "7"))),
        case(&[R::NotFinite], GUEST, 4, |s| {
            s.edit(GUEST, |l| l[3] = l[3].replace("\"load1\":", "\"load1\":NaN,\"x\":"));
        }),
        case(&[R::BadTimestamp], GUEST, 5, |s| {
            s.edit(GUEST, |l| l[4] = l[4].replace("\"t_wall_ns\":", "\"t_wall_ns\":-"));
        }),
        case(&[R::DuplicateEpisode], None, 1, |s| {
            let records = s.records();
            s.write_records(&[records.clone(), records].concat());
        }),
        case(&[R::NotInIndex], None, None, |s| s.write_records(&[])),
        case(&[R::FileMissing], PROC, None, |s| fs::remove_file(s.file(PROC)).unwrap()),
        case(&[R::FileNotInIndex], PROC, None, |s| {
            let mut records = s.records();
            records[0].files.retain(|file| file.name != PROC);
            s.write_records(&records);
        }),
        case(&[R::FileTwice, R::FileNotInIndex], "labels.jsonl.zst", None, |s| {
            fs::write(s.file("labels.jsonl.zst"), "").unwrap();
        }),
        case(&[R::SizeMismatch], GUEST, None, |s| {
            let text = fs::read_to_string(s.file(GUEST)).unwrap();
            fs::write(s.file(GUEST), text.replacen(",\"ctxt\":", ", \"ctxt\":", 1)).unwrap();
        }),
        case(&[R::HashMismatch], GUEST, None, |s| {
            let text = fs::read_to_string(s.file(GUEST)).unwrap();
            fs::write(s.file(GUEST), text.replacen("\"load1\":3", "\"load1\":2", 1)).unwrap();
        }),
        case(&[R::IdMismatch], META_FILE, None, |s| s.replace(META_FILE, &id(0), &id(1))),
        case(&[R::ClockMismatch], META_FILE, None, |s| s.replace(META_FILE, "\"wall\"", "\"index\"")),
        case(&[R::SourceMissing], GUEST, None, |s| {
            remove_listed(s, GUEST);
            s.replace(META_FILE, "\"guest\": 80,", "");
        }),
        case(&[R::SourceEmpty], FLOWS, None, |s| {
            s.edit(FLOWS, Vec::clear);
            count(s, "netflow", 0);
        }),
        case(&[R::TooFewRows], GUEST, None, |s| {
            s.edit(GUEST, |lines| lines.truncate(9));
            count(s, "guest", 9);
        }),
        case(&[R::WrongSource], GUEST, 6, |s| s.edit(GUEST, |l| l[5] = l[5].replace("\"guest\"", "\"qmp\""))),
        case(&[R::WrongAvailability], GUEST, 7, |s| s.edit(GUEST, |l| l[6] = l[6].replace("true", "false"))),
        case(&[R::WallClockRegress, R::MonoClockRegress], GUEST, 9, |s| s.edit(GUEST, |lines| lines.swap(7, 8))),
        case(&[R::WallClockRegress], GUEST, 9, |s| s.edit(GUEST, |l| l[8] = l[7].clone())),
        case(&[R::MonoClockRegress], GUEST, 9, |s| {
            s.edit(GUEST, |l| l[8] = l[8].replace("\"t_mono_ns\":4000000000", "\"t_mono_ns\":0"));
        }),
        case(&[R::ClockBootRelative, R::TooFewRows], GUEST, None, |s| s.shift(GUEST, -T0 + 500 * S)),
        case(&[R::ClockOffset, R::TooFewRows], FLOWS, None, |s| s.shift(FLOWS, -3600 * S)),
        case(&[R::ClockOffset, R::LabelUnjustified], EVENTS, None, |s| s.shift(EVENTS, 3600 * S)),
        case(&[R::ClockOffset], FLOWS, None, |s| {
            s.shift(FLOWS, 3600 * S);
            let (was, is) = (T0 + LENGTH, T0 + LENGTH + 3600 * S);
            s.replace(META_FILE, &was.to_string(), &is.to_string());
        }),
        case(&[R::ClockOffset, R::LabelUnjustified], EVENTS, None, |s| {
            s.shift(EVENTS, 3600 * S);
            let (was, is) = (T0 + LENGTH, T0 + LENGTH + 3600 * S);
            s.replace(META_FILE, &was.to_string(), &is.to_string());
        }),
        case(&[R::OutsideSpan], GUEST, None, |s| s.shift(GUEST, 17 * S)),
        case(&[R::LabelTimeRegress], LABELS, 2, |s| {
            s.edit(LABELS, |l| l[1] = l[1].replace(&(T0 + 10 * S).to_string(), &(T0 - S).to_string()));
        }),
        case(&[R::LabelPhaseRegress], LABELS, 4, |s| {
            s.edit(LABELS, |l| l[3] = l[3].replace("infected_running", "clean"));
        }),
        case(&[R::LabelUnknownClass], LABELS, 2, |s| s.edit(LABELS, |l| l[1] = l[1].replace("armed", "Armed"))),
        case(&[R::LabelUnjustified], LABELS, 3, |s| s.replace(EVENTS, "exploit_fire", "exploit_fail")),
        case(&[R::LabelUnjustified], LABELS, 3, |s| {
            s.edit(EVENTS, |l| l[1] = l[1].replace(&(T0 + 20 * S).to_string(), &(T0 + 22 * S).to_string()));
        }),
        case(&[R::RowCountMismatch], PROC, None, |s| s.edit(PROC, |lines| lines.truncate(79))),
        case(&[R::OptionalSourceMissing], PROC, None, |s| {
            remove_listed(s, PROC);
            s.replace(META_FILE, "\"proc\": 80,", "");
        }),
        case(&[R::OptionalTooFewRows], PROC, None, |s| {
            s.edit(PROC, |lines| lines.truncate(9));
            count(s, "proc", 9);
        }),
        case(&[R::LabelsMissing], LABELS, None, |s| {
            remove_listed(s, LABELS);
            s.replace(META_FILE, "\"labels\": 4,", "");
        }),
        case(&[R::ChannelMissing], GUEST, None, |s| {
            s.edit(GUEST, |lines| {
                for line in lines {
                    let at = line.find(",\"tcp_established\"").unwrap();
                    line.replace_range(at.., "}");
                }
            });
        }),
        case(&[R::UnknownField], GUEST, 10, |s| {
            s.edit(GUEST, |l| l[9] = l[9].replace("\"ctxt\":", "\"humidity\":1,\"ctxt\":"));
        }),
        case(&[R::UnexpectedFile], "core.dump", None, |s| fs::write(s.file("core.dump"), "x").unwrap()),
    ]
}

#[test]
fn each_damage_has_its_reasons_and_no_others() {
    let mut wrong = Vec::new();
    for (i, case) in cases().iter().enumerate() {
        let small = Small::new();
        (case.damage)(&small);
        let all = small.examine();
        let [examined] = &all[..] else { panic!("case {i}: {} entries", all.len()) };
        let found: BTreeSet<R> = examined.reasons.iter().map(|reason| reason.code).collect();
        let expected: BTreeSet<R> = case.codes.iter().copied().collect();
        let told: Vec<String> = examined.reasons.iter().map(ToString::to_string).collect();
        if found != expected {
            wrong.push(format!("case {i} {:?}: {told:#?}", case.codes));
            continue;
        }
        let first = examined.reasons.iter().find(|reason| reason.code == case.codes[0]).unwrap();
        if (first.file.as_deref(), first.line) != case.place {
            wrong.push(format!("case {i} {:?} at {:?}: {told:#?}", case.codes, case.place));
        }
        assert_eq!(Some(examined.verdict), case.codes.iter().map(|code| code.verdict()).max());
        let dropped: u64 = examined.rows.dropped.values().sum();
        assert_eq!(examined.rows.read, examined.rows.used + dropped, "case {i}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_case() {
    let mut covered: BTreeSet<R> = cases().iter().flat_map(|case| case.codes).copied().collect();
    // Needs a file system that refuses to read, or a corpus without rules (below).
    covered.extend([R::Unreadable, R::LabelsUnchecked]);
    let all: BTreeSet<R> = R::ALL.iter().copied().collect();
    assert_eq!(all.difference(&covered).collect::<Vec<_>>(), Vec::<&R>::new());
}

#[test]
fn any_damage_to_any_file_is_a_verdict_that_counts_every_row() {
    let small = Small::new();
    let files = prop::sample::select(vec![META_FILE, GUEST, PROC, FLOWS, LABELS, EVENTS]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) });
    let tried = runner.run(&(files, edits), |(file, edits)| {
        let healthy = fs::read(small.file(file)).unwrap();
        let mut bytes = healthy.clone();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        fs::write(small.file(file), &bytes).unwrap();
        let examined = small.examine().remove(0);
        fs::write(small.file(file), &healthy).unwrap();
        let dropped: u64 = examined.rows.dropped.values().sum();
        prop_assert_eq!(examined.rows.read, examined.rows.used + dropped);
        if bytes != healthy {
            prop_assert!(examined.has(R::HashMismatch) || examined.has(R::SizeMismatch));
            prop_assert!(examined.verdict >= Verdict::Rejected);
        }
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn a_healthy_store_is_accepted_plain_and_packed() {
    for compression in [Compression::Plain, Compression::Zstd] {
        for examined in Small::with(3, compression).examine() {
            assert_eq!((examined.verdict, &examined.reasons[..]), (Verdict::Accepted, &[][..]));
            assert_eq!((examined.rows.read, examined.rows.used), (4 * 80 + 7, 4 * 80 + 7));
        }
    }
}

#[test]
fn without_label_rules_the_report_says_so() {
    let mut corpus = Corpus::built_in();
    corpus.label_rules.clear();
    let all = Small::of(&corpus, 1, Compression::Plain).examine();
    assert_eq!(all[0].verdict, Verdict::Accepted);
    assert!(all[0].reasons[0].to_string().contains("labels: unjustified"));
}

#[test]
fn an_offset_is_told_in_seconds() {
    let small = Small::new();
    small.shift(FLOWS, -3600 * S);
    let all = small.examine();
    assert!(all[0].reasons.iter().any(|reason| reason.text.contains("-3600 s")), "{:#?}", all[0].reasons);
}

#[test]
fn a_path_traversal_opens_nothing_and_leaves_its_folder_unindexed() {
    let small = Small::with(2, Compression::Plain);
    let mut records = small.records();
    records[0].episode_id = format!("../episodes/{}", id(0));
    small.write_records(&records);
    let verdicts: Vec<_> = small.examine().into_iter().map(|e| (e.verdict, e.bytes > 0)).collect();
    assert_eq!(verdicts, [(Verdict::Rejected, true), (Verdict::Accepted, true), (Verdict::Errored, false)]);
}

#[test]
fn a_huge_line_and_a_bomb_take_no_memory() {
    let small = Small::new();
    // A sparse gigabyte of zeros behind the rows: one line without an end.
    fs::OpenOptions::new().write(true).open(small.file(PROC)).unwrap().set_len(1 << 30).unwrap();
    let mut encoder =
        zstd::stream::write::Encoder::new(fs::File::create(small.file("netflow.jsonl.zst")).unwrap(), 1).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 300 << 20), &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(small.file(FLOWS)).unwrap();
    let all = small.examine();
    assert_eq!(all[0].verdict, Verdict::Errored);
    let find = |code, file: &str| all[0].reasons.iter().any(|r| r.code == code && r.file.as_deref() == Some(file));
    assert!(find(R::LineTooLong, PROC) && find(R::FileTooLarge, "netflow.jsonl.zst"), "{:#?}", all[0].reasons);
}

#[test]
fn classes_of_any_order_may_go_back() {
    let mut corpus = Corpus::built_in();
    corpus.classes =
        ClassList::try_from(["clean", "armed", "infecting", "infected_running", "x"].map(String::from).to_vec())
            .unwrap();
    corpus.label_order = stakeout_telemetry::LabelOrder::Any;
    corpus.label_rules.clear();
    let small = Small::of(&corpus, 1, Compression::Plain);
    small.edit(LABELS, |lines| lines[3] = lines[3].replace("infected_running", "clean"));
    assert_eq!(small.examine()[0].verdict, Verdict::Accepted);
    assert!(corpus.sources[&Source::Guest].required);
}
