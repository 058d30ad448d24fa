//! `stakeout predict`.

use std::io::{BufWriter, Write, stdout};

use stakeout_trainer::TrainError;
use stakeout_trainer::score::StoredModel;

use crate::args::Predict;
use crate::{Context, Exit, interrupt};

pub(crate) fn run(args: &Predict, context: &Context) -> anyhow::Result<Exit> {
    // Without a store there is a stream: the command line says so.
    let Some(store) = &args.store else { return super::predict_stream::run(args, context) };
    let stored = StoredModel::open(&args.run, &context.models, args.device.parse()?)?;
    if stored.header.simulated {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    let mut out = BufWriter::new(stdout().lock());
    let account = stored.predict(store, &*context.progress, interrupt::flag(), |prediction| {
        let line = serde_json::to_string(prediction).map_err(|error| failed(error.into()))?;
        writeln!(out, "{line}").map_err(failed)
    })?;
    out.flush().map_err(failed)?;
    if account.episodes_left_out > 0 {
        let verdicts: Vec<String> = account.episodes.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
        crate::output::say(&format!(
            "warning: {} episodes were left out ({}); `stakeout validate` says why",
            account.episodes_left_out,
            verdicts.join(", ")
        ));
    }
    context.progress.say(&format!("{} windows of {} rows", account.windows_cut, account.rows_read));
    Ok(Exit::Ok)
}

/// Why standard output could not be written to. A closed pipe ends the output, as for any filter.
pub(super) fn failed(error: std::io::Error) -> TrainError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    stakeout_core::CoreError::io("writing", "standard output".as_ref(), error).into()
}
