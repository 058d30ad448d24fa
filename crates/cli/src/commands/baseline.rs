//! `stakeout baseline train` and `stakeout baseline score`.

mod score;
mod vectors;

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::json;
use stakeout_detect::DetectError;
use stakeout_detect::baseline::{Baseline, Baselines, Number, Rows, Settings, ThresholdFrom};

pub(crate) use score::run as score;

use self::vectors::{Learnt, Normal};
use super::export::check_target;
use crate::args::BaselineTrain;
use crate::{Context, Exit, output};

/// Runs `baseline train`.
pub(crate) fn train(args: &BaselineTrain, context: &Context) -> anyhow::Result<Exit> {
    let settings = settings(args)?;
    check_target(&args.out, args.force)?;
    let learnt = vectors::learn(args, &settings, context)?;
    if learnt.simulated {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    if learnt.baselines.hosts().len() == 0 {
        bail!("{}: there is no normal vector to learn from; --all learns from every one", args.data.display());
    }
    learnt.baselines.save(&args.out)?;
    report(args, &learnt, context)?;
    Ok(Exit::Ok)
}

fn settings(args: &BaselineTrain) -> anyhow::Result<Settings> {
    let threshold = match args.threshold.as_str() {
        "auto" => ThresholdFrom::Auto,
        "conformal" => ThresholdFrom::Conformal,
        "parametric" => ThresholdFrom::Parametric,
        other => bail!("--threshold: `{other}` is unknown: use auto, conformal or parametric"),
    };
    let settings = Settings {
        method: args.method.parse()?,
        budget: args.far,
        half_life: args.half_life,
        threshold,
        block: args.block,
        contamination: args.contamination,
    };
    settings.check()?;
    if args.newest == 0 {
        bail!("--newest: at least one vector is learnt from");
    }
    Ok(settings)
}

/// Learns one baseline a host; an error names the host.
fn fit<T: Number>(
    baselines: &mut Baselines,
    hosts: &BTreeMap<String, Normal<T>>,
    settings: &Settings,
    pool: bool,
) -> anyhow::Result<()> {
    let width = baselines.columns.len();
    for (host, normal) in hosts {
        let named = |error: DetectError| {
            let host = if host.is_empty() { String::new() } else { format!("host {}: ", output::clean(host)) };
            DetectError::Data(format!("{host}{error}"))
        };
        let rows = Rows::new(&normal.values, width, &normal.segments).map_err(named)?;
        let baseline = Baseline::fit(&rows, settings).map_err(named)?;
        baselines.insert((!pool).then_some(host), baseline)?;
    }
    Ok(())
}

fn report(args: &BaselineTrain, learnt: &Learnt, context: &Context) -> anyhow::Result<()> {
    let baselines = &learnt.baselines;
    let dropped = |host: &str| learnt.forgotten.get(host).copied().unwrap_or(0);
    if context.json {
        let hosts: Vec<_> = baselines
            .hosts()
            .map(|(host, baseline)| {
                json!({
                    "host": host, "n": baseline.n(), "older_left_out": dropped(host),
                    "threshold": baseline.calibrated(),
                    "false_alarms_per_day": baselines.false_alarms_per_day(host),
                })
            })
            .collect();
        return output::json(&json!({
            "file": args.out, "settings": baselines.settings, "dimensions": baselines.columns.len(),
            "vectors_per_day": baselines.vectors_per_day, "simulated": learnt.simulated, "hosts": hosts,
        }));
    }
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (host, baseline) in baselines.hosts() {
        let name = if host.is_empty() { "(all rows)" } else { host };
        let Some(calibrated) = baseline.calibrated() else {
            rows.push([name, &baseline.n().to_string(), "-", "none", "-", "-", "-"].map(Into::into).to_vec());
            notes.push(format!("{name}: too few vectors, nothing will be said of it"));
            continue;
        };
        let optional = |value: Option<usize>| value.map_or("-".into(), |value| value.to_string());
        rows.push(vec![
            name.into(),
            baseline.n().to_string(),
            format!("{:.4}", calibrated.threshold),
            calibrated.kind.into(),
            optional(calibrated.blocks),
            optional(calibrated.block_length),
            baselines.false_alarms_per_day(host).map_or("-".into(), |alarms| format!("{alarms:.2}")),
        ]);
        if let Some(refused) = calibrated.refused {
            notes.push(format!(
                "{name}: no guarantee, {refused}{}; the threshold is that of z² ~ {}",
                calibrated.block_length.map_or(String::new(), |length| format!(" of {length} vectors")),
                calibrated.distribution.unwrap_or_default(),
            ));
        }
        if calibrated.left_out > 0 {
            let share = calibrated.left_out as f64 / calibrated.held_out.max(1) as f64;
            notes.push(format!(
                "{name}: {} of {} held-out vectors ({:.1} %) lie apart from all others and were left out; were they normal, \
                 as many alarms more are to be expected (--contamination 0 keeps them)",
                calibrated.left_out,
                calibrated.held_out,
                100.0 * share
            ));
        }
        if dropped(host) > 0 {
            notes.push(format!("{name}: {} older vectors were left out (--newest)", dropped(host)));
        }
    }
    let header = ["host", "n", "threshold", "from", "blocks", "of vectors", "false alarms/day"];
    output::line(&output::table(&header, &rows))?;
    for note in notes {
        output::line(&output::clean(&note))?;
    }
    let Settings { method, budget, .. } = &baselines.settings;
    output::line(&format!(
        "{}: {method}, {} dimensions, a budget of {budget} false alarms a normal vector",
        output::clean(&args.out.display().to_string()),
        baselines.columns.len(),
    ))?;
    Ok(())
}
