//! `stakeout export`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use stakeout_core::{BaseModel, Checkpoint, CheckpointHeader, Device, ExportContext, ExportFormat, files};
use stakeout_trainer::rundir::{self, CASES_SUFFIX};

use super::what;
use crate::args::Export;
use crate::{Context, Exit, interrupt, output};

pub(crate) fn run(args: &Export, context: &Context) -> anyhow::Result<Exit> {
    let format: ExportFormat = args.to.parse()?;
    let checkpoint = checkpoint(&args.from)?;
    let (header, model) = Checkpoint::load(&checkpoint, &context.models, Device::default())?;
    let out = args.out.clone().unwrap_or_else(|| default_name(&args.from, format));
    let cases_out = suffixed(&out, CASES_SUFFIX);
    for file in [Some(&out), args.cases.map(|_| &cases_out)].into_iter().flatten() {
        check_target(file, args.force)?;
    }
    if header.simulated {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    let cx = ExportContext::new(&header, args.host.as_deref())?;
    let Some(bytes) = model.export(format, &cx)? else { bail!(no_such_form(&*model, format, &cx)) };
    let cases = match args.cases {
        Some(count) => {
            let store = store(args, context)?;
            let (progress, cancel) = (&*context.progress, interrupt::flag());
            Some(stakeout_trainer::cases(&store, &*model, &cx, count as usize, progress, cancel)?)
        }
        None => None,
    };
    files::write_atomic(&out, &bytes)?;
    if let Some(cases) = &cases {
        files::write_atomic(&cases_out, &serde_json::to_vec(cases)?)?;
    }
    if context.json {
        output::json(&serde_json::json!({
            "file": out, "format": format, "bytes": bytes.len(), "model": header.kind, "input": header.input,
            "classes": header.schema.classes, "schema_hash": header.schema_hash, "host": args.host,
            "cases": cases.as_ref().map(|cases| serde_json::json!({ "file": cases_out, "count": cases.probabilities.len() })),
        }))?;
    } else {
        let path = |path: &Path| output::clean(&path.display().to_string());
        output::line(&format!("{}: {format}, {} bytes", path(&out), bytes.len()))?;
        output::line(&contents(&header, format))?;
        if let Some(cases) = &cases {
            output::line(&format!("{}: {} test vectors", path(&cases_out), cases.probabilities.len()))?;
        }
    }
    Ok(Exit::Ok)
}

/// Refuses a place where a file must not be written: one that is taken unless `force` is given, and in any case one
/// that is no regular file (a link, a device) or belongs to a run.
pub(super) fn check_target(file: &Path, force: bool) -> anyhow::Result<()> {
    let Ok(there) = file.symlink_metadata() else { return Ok(()) };
    if !there.is_file() {
        bail!("{} is there and is no regular file: choose another place", file.display());
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let own = [rundir::CHECKPOINT, rundir::EXPERIMENT, rundir::PREDICTIONS, rundir::METRICS, rundir::SUMMARY];
    if folder.join(rundir::EXPERIMENT).exists() && own.iter().any(|name| file.ends_with(name)) {
        bail!("{} is a part of a run: choose another place", file.display());
    }
    if !force {
        bail!("{} is there already: replace it with --force, or choose another place", file.display());
    }
    Ok(())
}

/// The checkpoint that a path names: a file, or the one of a run.
pub(crate) fn checkpoint(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(if path.is_dir() { rundir::checkpoint(path)? } else { path.to_owned() })
}

fn default_name(from: &Path, format: ExportFormat) -> PathBuf {
    if from.is_dir() {
        return from.join(format.file_name());
    }
    let extension = format.file_name().split_once('.').map_or("", |(_, extension)| extension);
    from.with_extension(extension)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The store that the test vectors come from.
fn store(args: &Export, context: &Context) -> anyhow::Result<PathBuf> {
    if let Some(store) = &args.store {
        return Ok(store.clone());
    }
    if !args.from.is_dir() {
        bail!("a checkpoint alone does not say which store it is of: give --store");
    }
    let own = rundir::read_experiment(&args.from)?.run.and_then(|run| run.store);
    Ok(what::store(own.as_deref(), context)?.1)
}

fn no_such_form(model: &dyn BaseModel, format: ExportFormat, cx: &ExportContext<'_>) -> String {
    let has = |other: &ExportFormat| model.export(*other, cx).is_ok_and(|bytes| bytes.is_some());
    let others: Vec<&str> = ExportFormat::ALL.iter().filter(|other| has(other)).map(|other| other.name()).collect();
    let others = match others.as_slice() {
        [] => "nor in any other format".to_owned(),
        others => format!("but as {}", others.join(", ")),
    };
    format!(
        "the model {} cannot be written as {format}, {others}; docs/interchange.md lists what each has",
        model.kind()
    )
}

/// One line on what the file takes and gives.
fn contents(header: &CheckpointHeader, format: ExportFormat) -> String {
    let geometry = header.schema.geometry();
    let classes = header.schema.classes.len();
    match (format, header.input) {
        (ExportFormat::Onnx, stakeout_core::InputKind::Tensor) => format!(
            "inputs: values float [windows, {}, {}] raw with NaN, lengths int64 [windows]; output: probabilities float [windows, {classes}]",
            geometry.channels, geometry.steps
        ),
        (ExportFormat::Onnx, stakeout_core::InputKind::Summary) => format!(
            "input: values float [windows, {}] raw with NaN; output: probabilities float [windows, {classes}]",
            geometry.features
        ),
        (ExportFormat::XgBoost, _) => format!("{} named features, raw with NaN; {classes} classes", geometry.features),
        _ => "weights by name, the configuration in the metadata".to_owned(),
    }
}
