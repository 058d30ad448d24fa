//! `stakeout predict --stdin`.

use std::cell::Cell;
use std::io::{Write, stdin, stdout};

use anyhow::Context as _;
use stakeout_telemetry::reader::{Limits, StreamLines};
use stakeout_telemetry::{Corpus, Seconds};
use stakeout_trainer::live::{Clean, Dropped, LiveCounts, LiveModel, LiveOptions, LivePrediction};

use super::predict::failed;
use crate::args::Predict;
use crate::output::say;
use crate::{Context, Exit};

/// Lines that are reported one by one; after them, only when their number has doubled.
const REPORTED: u64 = 20;

pub(crate) fn run(args: &Predict, context: &Context) -> anyhow::Result<Exit> {
    let corpus = args.corpus.as_deref().map(Corpus::read).transpose()?;
    let options = LiveOptions {
        patience_ns: Seconds::from_f64(args.patience).context("--patience")?.ns(),
        corpus: corpus.as_ref(),
        clean: match (&args.host, &args.calibration) {
            (Some(host), _) => Clean::Host(host),
            (None, Some(file)) => Clean::File(file),
            (None, None) => Clean::Absent,
        },
    };
    let mut model = LiveModel::open(&args.run, &context.models, args.device.parse()?, &options)?;
    if model.header.simulated {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    let (mut out, mut text) = (stdout().lock(), Vec::new());
    let windows = Cell::new(0u64);
    let mut emit = |prediction: &LivePrediction<'_>| {
        windows.set(windows.get() + 1);
        text.clear();
        serde_json::to_writer(&mut text, prediction).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        out.write_all(&text).and_then(|()| out.flush()).map_err(failed)
    };
    let (mut buffer, mut dropped, mut told) = (Vec::new(), 0u64, false);
    let mut lines = StreamLines::new(stdin().lock(), Limits::default().line, &mut buffer);
    let broken = loop {
        match lines.next_line() {
            Ok(Some(line)) => {
                let number = line.number;
                if let Some(why) = model.line(line, &mut emit)? {
                    dropped += 1;
                    report(dropped, number, &why);
                }
                // while there is time to mend the source: the end of a live stream may never come
                if !told && windows.get() > 0 {
                    told = true;
                    absent(&model);
                }
            }
            Ok(None) => break None,
            Err(problem) => break Some(problem),
        }
    };
    model.finish(&mut emit)?;
    if !told {
        absent(&model);
    }
    account(&model, context);
    let blind = windows.get() > 0 && model.absent().len() == model.header.schema.channels.len();
    match broken {
        Some(problem) => Err(anyhow::Error::new(std::io::Error::other(problem.text)).context("reading standard input")),
        None => Ok(if dropped > 0 || blind { Exit::Finding } else { Exit::Ok }),
    }
}

fn report(dropped: u64, line: u64, why: &Dropped) {
    if dropped <= REPORTED || dropped.is_power_of_two() {
        say(&format!("line {line}: dropped, {}: {}", why.reason, crate::output::clean(&why.text)));
    }
    if dropped == REPORTED {
        say("further lines are counted, and reported when their number has doubled");
    }
}

/// Which of the model's channels have not come so far.
fn absent(model: &LiveModel) {
    let (absent, all) = (model.absent(), model.header.schema.channels.len());
    if absent.is_empty() || model.counts().lines == 0 {
        return;
    }
    let names = absent[..absent.len().min(5)].join(", ");
    let more = if absent.len() > 5 { ", ..." } else { "" };
    say(&format!(
        "warning: {} of the model's {all} channels have not come, and are missing: {names}{more}",
        absent.len()
    ));
    if absent.len() == all {
        say("nothing of what the model looks at is there: are these the rows of its corpus, with its names of fields?");
    }
}

/// What became of the lines.
fn account(model: &LiveModel, context: &Context) {
    let LiveCounts { lines, dropped, not_asked, late, restarts, counter_resets, windows } = model.counts();
    if !dropped.is_empty() {
        let total: u64 = dropped.values().sum();
        let by_reason: Vec<String> = dropped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        say(&format!("warning: {total} of {lines} lines were dropped ({})", by_reason.join(", ")));
    }
    if late > 0 {
        say(&format!("warning: {late} rows came after their window was out; a longer --patience waits for them"));
    }
    if restarts > 0 {
        say(&format!("warning: the clock of the rows moved {restarts} times; windows started anew there"));
    }
    let idle =
        if not_asked > 0 { format!(", {not_asked} of sources that the model does not look at") } else { String::new() };
    let resets = if counter_resets > 0 { format!(", {counter_resets} counters fell") } else { String::new() };
    context.progress.say(&format!("{windows} windows of {lines} lines{idle}{resets}"));
}
