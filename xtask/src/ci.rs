//! `cargo xtask ci`: everything that gates a change, with the minutes that each step took.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::{cargo, root, tidy};

/// The test command that the README gives.
pub(crate) const TEST: &str = "cargo test --workspace";

/// A name for the report and what to run; true when it passed.
type Step = (&'static str, fn() -> bool);

/// Runs all steps in order and stops at the first that fails.
pub(crate) fn run() -> ExitCode {
    let mut took: Vec<(&str, Duration)> = Vec::new();
    let steps: [Step; 6] = [
        ("fmt", || command(cargo().args(["fmt", "--all", "--check"]))),
        ("tidy", || tidy::run() == ExitCode::SUCCESS),
        ("clippy", || {
            command(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
        }),
        ("test", readme_test_command),
        ("doc", || {
            command(cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))
        }),
        ("benches compiled", || command(cargo().args(["test", "--workspace", "--benches", "--no-run", "--locked"]))),
    ];
    for (name, step) in steps {
        println!("== {name}");
        let start = Instant::now();
        let passed = step();
        took.push((name, start.elapsed()));
        if !passed {
            report(&took);
            eprintln!("error: {name} failed");
            return ExitCode::FAILURE;
        }
    }
    report(&took);
    ExitCode::SUCCESS
}

fn report(took: &[(&str, Duration)]) {
    println!("== minutes a step");
    for (name, duration) in took {
        println!("{name:18} {:5.1}", duration.as_secs_f64() / 60.0);
    }
    let total: Duration = took.iter().map(|(_, duration)| *duration).sum();
    println!("{:18} {:5.1}", "all", total.as_secs_f64() / 60.0);
}

/// Runs what the README tells a newcomer to run, after checking that it still tells so.
fn readme_test_command() -> bool {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    if !readme.lines().any(|line| line.trim() == TEST) {
        eprintln!("error: README.md no longer has the line `{TEST}`");
        return false;
    }
    let mut words = TEST.split(' ').skip(1).collect::<Vec<_>>();
    words.push("--locked");
    command(cargo().args(words))
}

fn command(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("error: running {}: {error}", command.get_program().display());
            false
        }
    }
}
