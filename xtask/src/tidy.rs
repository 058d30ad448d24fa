//! `cargo xtask tidy`: the invariants of docs/architecture.md, as absences that a machine can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{cargo, root};

/// Which workspace crates each crate may depend on (normal dependencies). What is not here is a breach.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("stakeout-core", &[]),
    ("stakeout-kernels", &[]),
    ("stakeout-telemetry", &["stakeout-core"]),
    ("stakeout-features", &["stakeout-core"]),
    ("stakeout-splits", &["stakeout-core"]),
    ("stakeout-models", &["stakeout-core", "stakeout-kernels"]),
    ("stakeout-eval", &["stakeout-core"]),
    ("stakeout-detect", &["stakeout-core"]),
    ("stakeout-testkit", &["stakeout-core", "stakeout-splits"]),
    ("stakeout-datasets", &[]),
    (
        "stakeout-trainer",
        &["stakeout-core", "stakeout-telemetry", "stakeout-features", "stakeout-splits", "stakeout-eval"],
    ),
    (
        "stakeout-evidence",
        &[
            "stakeout-core",
            "stakeout-telemetry",
            "stakeout-splits",
            "stakeout-eval",
            "stakeout-detect",
            "stakeout-trainer",
        ],
    ),
    (
        "stakeout-cli",
        &[
            "stakeout-core",
            "stakeout-telemetry",
            "stakeout-features",
            "stakeout-splits",
            "stakeout-models",
            "stakeout-eval",
            "stakeout-detect",
            "stakeout-trainer",
            "stakeout-evidence",
            "stakeout-datasets",
        ],
    ),
    (
        "stakeout-benches",
        &[
            "stakeout-core",
            "stakeout-telemetry",
            "stakeout-features",
            "stakeout-splits",
            "stakeout-kernels",
            "stakeout-models",
            "stakeout-eval",
            "stakeout-detect",
            "stakeout-trainer",
            "stakeout-evidence",
            "stakeout-testkit",
        ],
    ),
    ("stakeout-net-steps", &["stakeout-core", "stakeout-features", "stakeout-models"]),
    // What an outsider is meant to need.
    ("acme-research", &["stakeout-core", "stakeout-telemetry", "stakeout-splits", "stakeout-models", "stakeout-cli"]),
    ("xtask", &[]),
];

/// Members that stand for a repository of somebody else's: they inherit nothing.
const OUTSIDE: &str = "examples/";

/// Which crates may name a heavy library as a direct dependency.
const HEAVY: &[(&str, &[&str])] = &[
    ("burn", &["stakeout-models"]),
    ("burn-ndarray", &["stakeout-models"]),
    ("polars", &["stakeout-telemetry", "stakeout-eval", "stakeout-detect", "stakeout-benches"]),
    ("clap", &["stakeout-cli"]),
    ("indicatif", &["stakeout-cli"]),
    ("anyhow", &["stakeout-cli", "stakeout-benches"]),
    ("criterion", &["stakeout-benches"]),
];

/// Runs all checks and prints each breach with the file it is in.
pub(crate) fn run() -> ExitCode {
    let mut breaches = Vec::new();
    imports(&mut breaches);
    manifests(&mut breaches);
    sources(&mut breaches);
    links(&mut breaches);
    quoted_code(&mut breaches);
    floor_plan(&mut breaches);
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    if breaches.is_empty() {
        println!("tidy: nothing to mend");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Who imports whom, from the text of `cargo tree`.
fn imports(breaches: &mut Vec<String>) {
    for (package, allowed) in MAY_IMPORT {
        let output = cargo()
            .args(["tree", "--package", package, "--edges", "normal,build", "--depth", "1", "--prefix", "none"])
            .args(["--all-features", "--locked", "--format", "{p}"])
            .output();
        let text = match output {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(output) => {
                breaches.push(format!("cargo tree {package}: {}", String::from_utf8_lossy(&output.stderr).trim()));
                continue;
            }
            Err(error) => {
                breaches.push(format!("cargo tree: {error}"));
                return;
            }
        };
        for name in text.lines().skip(1).filter_map(|line| line.split(' ').next()) {
            let ours = name.starts_with("stakeout-") || name == "xtask";
            if ours && !allowed.contains(&name) {
                breaches.push(format!("{package} imports {name}, which its place in the floor plan forbids"));
            }
            if let Some((_, owners)) = HEAVY.iter().find(|(heavy, _)| *heavy == name)
                && !owners.contains(package)
            {
                breaches.push(format!("{package} depends on {name}; only {} may", owners.join(", ")));
            }
        }
    }
}

/// Every manifest inherits version, edition, licence and lints; every shared dependency says why it is there.
fn manifests(breaches: &mut Vec<String>) {
    let known: BTreeSet<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    for path in
        files("toml").into_iter().filter(|path| path.ends_with("Cargo.toml") && *path != root().join("Cargo.toml"))
    {
        let text = read(&path);
        let outside = show(&path).starts_with(OUTSIDE);
        if outside && text.contains("workspace = true") {
            breaches.push(format!("{}: an outsider has no workspace to inherit from", show(&path)));
        }
        for line in [
            "version.workspace = true",
            "edition.workspace = true",
            "license.workspace = true",
            "[lints]\nworkspace = true",
        ] {
            if !outside && !text.contains(line) {
                breaches.push(format!("{}: lacks `{}`", show(&path), line.replace('\n', " / ")));
            }
        }
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")).map(|rest| rest.trim_end_matches('"'));
        if !name.is_some_and(|name| known.contains(name)) {
            breaches.push(format!("{}: this package has no place in xtask's floor plan", show(&path)));
        }
    }
    let text = read(&root().join("Cargo.toml"));
    let section = text.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or("");
    for line in
        section.lines().filter(|line| line.contains(" = ") && !line.starts_with("stakeout-") && !line.starts_with('#'))
    {
        if !line.contains(" # ") {
            breaches.push(format!("Cargo.toml: `{line}` does not say why it is there"));
        }
    }
}

/// What must not stand in source files, and where the exceptions are.
fn sources(breaches: &mut Vec<String>) {
    for path in files("rs") {
        let text = read(&path);
        let place = show(&path);
        // The words are put together here so that this file does not find itself.
        for word in [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ign", "ore")] {
            if text.contains(word) {
                breaches.push(format!("{place}: has `{word}`"));
            }
        }
        if !place.starts_with("crates/kernels/") && text.contains(concat!("allow(unsafe", "_code)")) {
            breaches.push(format!("{place}: only kernels may allow unsafe code"));
        }
        let names_burn = text.lines().any(|line| {
            let line = line.trim_start();
            line.starts_with("use burn") || (!line.starts_with("//") && line.contains(concat!("bu", "rn::")))
        });
        if names_burn && !place.starts_with("crates/models/src/nn") {
            breaches.push(format!("{place}: burn is used only under crates/models/src/nn"));
        }
        let lines = text.lines().count();
        if lines > 600 {
            breaches.push(format!("{place}: {lines} lines; split it where the thought changes"));
        }
    }
}

/// Relative links in Markdown files resolve.
fn links(breaches: &mut Vec<String>) {
    for path in files("md") {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or("");
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let folder = path.parent().unwrap_or(Path::new("."));
            if !folder.join(target).exists() {
                breaches.push(format!("{}: the link to {target} leads nowhere", show(&path)));
            }
        }
    }
}

/// Code in Markdown that says whose it is (a fence with `file=PATH`) stands so in that file; a line that ends in `…`
/// leaves something out.
fn quoted_code(breaches: &mut Vec<String>) {
    for path in files("md") {
        let text = read(&path);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(source) = line.strip_prefix("```").and_then(|fence| fence.split_once(" file=")) else { continue };
            let code = read(&root().join(source.1));
            let mut rest = code.as_str();
            let quoted: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            for part in quoted.split(|line| line.ends_with('…')) {
                let part = part.join("\n");
                match rest.split_once(&part) {
                    Some((_, after)) => rest = after,
                    None => breaches.push(format!("{}: {} does not have:\n{part}", show(&path), source.1)),
                }
            }
        }
    }
}

/// docs/architecture.md names every crate.
fn floor_plan(breaches: &mut Vec<String>) {
    let text = read(&root().join("docs/architecture.md"));
    let folders = fs::read_dir(root().join("crates")).into_iter().flatten().flatten();
    for name in folders.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        if !text.contains(&format!("`{name}`")) {
            breaches.push(format!("docs/architecture.md does not name the crate `{name}`"));
        }
    }
}

/// All files of the checkout with an extension, sorted, build outputs and runs left out.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                if !matches!(&*name, "target" | "runs" | ".git") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn show(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
