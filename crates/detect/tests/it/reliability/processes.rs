//! Many processes on one store, and processes that are killed: this test binary runs itself again as the worker.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use stakeout_detect::reliability::{Paths, history, read, try_load};

use super::{on, tell};

const STORE: &str = "STAKEOUT_TEST_RELIABILITY_STORE";
const UPDATES: &str = "STAKEOUT_TEST_RELIABILITY_UPDATES";
const NAME: &str = "STAKEOUT_TEST_RELIABILITY_NAME";

/// The worker: does nothing unless a test below started it.
#[test]
fn worker() {
    let (Ok(store), Ok(updates), Ok(name)) = (std::env::var(STORE), std::env::var(UPDATES), std::env::var(NAME)) else {
        return;
    };
    let paths = Paths::beside(Path::new(&store));
    for i in 0..updates.parse().unwrap() {
        let (hit, miss): (&[&str], &[&str]) =
            if i % 2 == 0 { (&["shared", &name], &[]) } else { (&[], &["shared", &name]) };
        tell(&paths, on(Some(&name), hit, miss)).unwrap();
        println!("\nack {i}");
    }
}

fn start(store: &Path, updates: usize, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reliability::processes::worker", "--nocapture", "--test-threads=1"])
        .env(STORE, store)
        .env(UPDATES, updates.to_string())
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `STAKEOUT_TEST_PROCESSES=100 STAKEOUT_TEST_UPDATES=100` runs the full count.
#[test]
fn concurrent_processes_lose_no_update() {
    let (processes, updates) = (number("STAKEOUT_TEST_PROCESSES", 12), number("STAKEOUT_TEST_UPDATES", 12));
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("c.json");
    let workers: Vec<Child> = (0..processes).map(|i| start(&store, updates, &format!("w{i}"))).collect();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let current = read(&Paths::beside(&store)).unwrap();
    let (hits, misses) = ((updates.div_ceil(2)) as u64, (updates / 2) as u64);
    let n = processes as u64;
    let shared = current.store.detectors()["shared"].total();
    println!(
        "{processes} processes x {updates} updates: {} hits, {} false alarms",
        shared.hits(),
        shared.false_alarms()
    );
    assert_eq!((shared.hits(), shared.false_alarms()), (n * hits, n * misses));
    for i in 0..processes {
        let own = current.store.detectors()[&format!("w{i}")].total();
        assert_eq!((own.hits(), own.false_alarms()), (hits, misses), "w{i}");
    }
    assert_eq!(current.notes, Vec::<String>::new(), "the journal adds up to the store");
    let records = history(&Paths::beside(&store)).unwrap();
    assert_eq!(records.len(), processes * updates);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "store, journal, lock: {left:?}");
}

#[cfg(unix)]
#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("c.json");
    let mut acknowledged = 0;
    let rounds = number("STAKEOUT_TEST_KILLS", 15);
    for round in 0..rounds {
        let mut worker = start(&store, 100_000, "w");
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // Killed right after the nth word, wherever it is by then; what it still said is counted after its death.
        while seen <= round % 7 {
            seen += usize::from(lines.next().unwrap().unwrap().starts_with("ack "));
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        acknowledged += seen + lines.map_while(Result::ok).filter(|line| line.starts_with("ack ")).count();
        let shared = try_load(&store).unwrap().detectors()["shared"].total();
        let kept = (shared.hits() + shared.false_alarms()) as usize;
        assert!(kept >= acknowledged, "round {round}: {kept} kept of {acknowledged} acknowledged");
        assert!(kept <= acknowledged + round + 1, "round {round}: {kept} kept of {acknowledged} acknowledged");
        assert!(read(&Paths::beside(&store)).unwrap().notes.is_empty());
    }
    println!("{rounds} kills: {acknowledged} acknowledged, all kept");
}
