//! `stakeout import table`.

use std::path::Path;

use anyhow::{Context as _, bail};
use stakeout_telemetry::Seconds;
use stakeout_telemetry::import::{ImportOptions, Mapping, import_table};

use super::replace;
use crate::args::ImportTable;
use crate::{Context, Exit, output};

pub(crate) fn run(args: &ImportTable, context: &Context) -> anyhow::Result<Exit> {
    if args.list {
        return list(context);
    }
    let (Some(named), Some((store, sources))) = (&args.mapping, args.paths.split_last()) else {
        bail!("name a mapping, the tables and the store: stakeout import table --mapping M.toml SRC... STORE");
    };
    let mut mapping = mapping(named)?;
    if let Some(seconds) = args.offset_seconds {
        mapping.time.offset_seconds = Seconds::from_f64(seconds)?;
    }
    let progress = &*context.progress;
    progress.stage("importing", "rows", 0);
    let report = replace::store(store, args.force, |store| {
        Ok(import_table(&mapping, sources, store, ImportOptions::default(), &|at| {
            progress.advance(at.rows_done, at.rows, &format!("table {}/{}", at.table, at.tables));
        })?)
    })?;
    if context.json {
        output::json(&report)?;
    } else {
        output::line(report.to_string().trim_end())?;
        output::line(&format!("store     {}", output::clean(&store.display().to_string())))?;
        if !report.findings.is_empty() {
            output::line("remedy    --offset-seconds S moves the rows without a mapping of your own")?;
        }
    }
    Ok(if report.findings.is_empty() { Exit::Ok } else { Exit::Finding })
}

/// A mapping file, or an embedded mapping by name.
fn mapping(named: &str) -> anyhow::Result<Mapping> {
    const CAP: u64 = 1 << 20;
    let path = Path::new(named);
    if !path.exists() {
        let Some(text) = stakeout_datasets::mapping(named) else {
            let known: Vec<&str> = stakeout_datasets::mappings().iter().map(|(name, _)| *name).collect();
            bail!("mapping {named}: there is no such file, and the built-in ones are {}", known.join(", "));
        };
        return Ok(Mapping::parse(Path::new(&format!("{named}.toml")), text)?);
    }
    let metadata = std::fs::metadata(path).with_context(|| format!("reading {named}"))?;
    if !metadata.is_file() || metadata.len() > CAP {
        bail!("mapping {named}: it is not a regular file of at most 1 MiB");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {named}"))?;
    Ok(Mapping::parse(path, &text)?)
}

fn list(context: &Context) -> anyhow::Result<Exit> {
    let names: Vec<&str> = stakeout_datasets::mappings().iter().map(|(name, _)| *name).collect();
    if context.json {
        output::json(&names)?;
    } else {
        output::line(&names.join("\n"))?;
    }
    Ok(Exit::Ok)
}
