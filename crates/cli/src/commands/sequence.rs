//! `stakeout sequence train|score|eval|drift`.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use stakeout_core::files::open_lock;
use stakeout_core::text::printable;
use stakeout_detect::drift::{Baseline, Finding, Monitor, Observation, Rules};
use stakeout_detect::sequence::{
    Classes, Columns, Config, Evaluation, Figure, Fitted, Judged, Mode, Names, Prediction, Scratch, SequenceModel,
    Sequences, Threshold, Vocabulary, distinct, evaluate, fit, folds, read_jsonl, read_parquet, simulate,
};

use super::export::check_target;
use crate::args::{Sequence, SequenceData, SequenceDrift, SequenceEval, SequenceScore, SequenceTrain};
use crate::{Context, Exit, output};

/// Sequences that are made up where no data are given.
const SAMPLES: usize = 5000;
/// Sequences that are written to stdout in one piece.
const CHUNK: usize = 4096;

pub(crate) fn run(command: &Sequence, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Sequence::Train(args) => match &args.update {
            Some(model) => update(args, model, context),
            None => train(args, context),
        },
        Sequence::Score(args) => score(args, context),
        Sequence::Eval(args) => eval(args, context),
        Sequence::Drift(args) => drift(args, context),
    }
}

fn config(args: &SequenceTrain) -> anyhow::Result<Config> {
    let default = Config::default();
    let threshold = match (args.threshold.as_deref(), args.far) {
        (None, Some(share)) => Threshold::FalseAlarms(share),
        (None, None) => default.threshold,
        (Some("best-f1"), _) => Threshold::BestF1,
        (Some(number), _) => match number.parse() {
            Ok(number) => Threshold::At(number),
            Err(_) => bail!("--threshold {}: a probability, as 0.3, or best-f1", printable(number, 40)),
        },
    };
    let mode = args.mode.map_or(default.mode, |mode| match mode {
        crate::args::SequenceMode::Auto => Mode::Auto,
        crate::args::SequenceMode::OneClass => Mode::OneClass,
        crate::args::SequenceMode::TwoClass => Mode::TwoClass,
    });
    let config = Config {
        n: args.n.unwrap_or(default.n),
        threshold,
        mode,
        folds: args.folds.unwrap_or(default.folds),
        epochs: args.epochs.unwrap_or(default.epochs),
        prior: args.prior.unwrap_or(default.prior),
        seed: args.seed,
    };
    config.check()?;
    Ok(config)
}

/// Labelled sequences of a file.
fn read(path: &Path, args: &SequenceData, names: Names<'_>) -> anyhow::Result<Sequences> {
    if path.extension().is_some_and(|extension| extension == "parquet") {
        let mut columns = Columns::default();
        columns.sequence.clone_from(&args.sequence_column);
        columns.label.clone_from(&args.label_column);
        columns.time.clone_from(&args.time_column);
        for only in &args.only {
            let Some((column, value)) = only.split_once('=') else {
                bail!("--where {}: give COLUMN=VALUE", printable(only, 60));
            };
            columns.only.push((column.to_owned(), value.to_owned()));
        }
        return Ok(read_parquet(path, &columns, names)?);
    }
    for (word, given) in [("--where", !args.only.is_empty()), ("--time-column", args.time_column.is_some())] {
        if given {
            bail!("{word} is for parquet tables: {} is read as JSON Lines", path.display());
        }
    }
    Ok(read_jsonl(path, names)?)
}

fn train(args: &SequenceTrain, context: &Context) -> anyhow::Result<Exit> {
    let config = config(args)?;
    check_target(&args.out, args.force)?;
    if args.batch_size.is_some() {
        context
            .progress
            .say("note: --batch-size changes nothing: sequences are counted, not stepped through in batches");
    }
    let mut vocabulary = Vocabulary::default();
    let (data, simulated) = match &args.data {
        Some(path) => (read(path, &args.columns, Names::Grow(&mut vocabulary))?, false),
        None => {
            let (data, names) = simulate(args.num_samples.unwrap_or(SAMPLES), config.seed)?;
            vocabulary = names;
            (data, true)
        }
    };
    let (data, kept) = hold_out(data, args.hold_out, config.seed)?;
    let Fitted { mut model, held_out, mut remarks } = fit(&data, vocabulary, &config)?;
    if simulated {
        model.mark_simulated();
    }
    let (judged, truth) = expanded(&held_out, model.threshold());
    let crossed = Comparison::new(&model, &judged, &truth, args.resamples, config.seed)?;
    let tested = match &kept {
        Some(kept) => Some(Comparison::of(&model, kept, args.resamples, config.seed)?),
        None => None,
    };
    if model.classes() == Classes::One {
        remarks.push(format!(
            "one class: a probability is the most that the p-value allows at a prior of {}",
            config.prior
        ));
    }
    model.save(&args.out)?;
    let training = model.training();
    if context.json {
        output::json(&json!({
            "model": args.out, "simulated": simulated, "classes": model.classes(), "config": config,
            "threshold": model.threshold(), "training": training, "actions": model.vocabulary().len(),
            "cross_fitted": crossed.json(), "held_out": tested.as_ref().map(Comparison::json), "remarks": remarks,
        }))?;
        return Ok(Exit::Ok);
    }
    if simulated {
        output::line(stakeout_eval::render::SIMULATED)?;
    }
    output::line(&format!(
        "learnt from {} normal and {} anomalous sessions: {} different sequences of {} actions",
        training.normal,
        training.anomalous,
        training.distinct,
        model.vocabulary().len()
    ))?;
    for remark in &remarks {
        output::line(&output::clean(remark))?;
    }
    output::line(&format!(
        "\ntraining sessions, each judged by a model that saw no copy of it ({} folds by different sequence)",
        config.folds
    ))?;
    crossed.print()?;
    if let Some(tested) = &tested {
        output::line("\nsessions held out by different sequence")?;
        tested.print()?;
    }
    output::line(&format!("\nwrote {}", output::clean(&args.out.display().to_string())))?;
    Ok(Exit::Ok)
}

/// Takes a share of the different sequences out, with all their copies.
fn hold_out(data: Sequences, share: Option<f64>, seed: u64) -> anyhow::Result<(Sequences, Option<Sequences>)> {
    const PARTS: usize = 100;
    let Some(share) = share else { return Ok((data, None)) };
    if !(share > 0.0 && share < 1.0) {
        bail!("--hold-out {share}: a share inside (0, 1), as 0.2");
    }
    let all = distinct(&data);
    let kinds: Vec<usize> = all.anomalous.iter().map(|n| usize::from(*n > 0)).collect();
    let part = folds(&kinds, PARTS, seed);
    let (mut train, mut kept) = (Sequences::default(), Sequences::default());
    for (actions, label) in data.iter() {
        // A sequence without a label is in none of them.
        let Ok(place) = all.sequences.binary_search(&actions) else { continue };
        let out = (part[place] as f64) < share * PARTS as f64;
        if out { &mut kept } else { &mut train }.push(actions.iter().copied(), label);
    }
    Ok((train, Some(kept)))
}

fn update(args: &SequenceTrain, from: &Path, context: &Context) -> anyhow::Result<Exit> {
    let Some(path) = &args.data else { bail!("--update needs DATA: the sequences to add") };
    if from != args.out {
        check_target(&args.out, args.force)?;
    }
    // Read, changed and written back by one process at a time: none overwrites what another has added.
    let held = if from == args.out { Some(lock(from)?) } else { None };
    let mut model = SequenceModel::load(from)?;
    let mut names = Vocabulary::default();
    let data = read(path, &args.columns, Names::Grow(&mut names))?;
    let before = model.vocabulary().len();
    let added = model.update(&data, &names)?;
    model.save(&args.out)?;
    drop(held);
    let left_out = data.len() as u64 - added;
    let new = model.vocabulary().len() - before;
    if context.json {
        output::json(&json!({
            "model": args.out, "added": added, "left_out": left_out, "new_actions": new, "training": model.training(),
        }))?;
    } else {
        output::line(&format!(
            "added {added} sequences with {new} new actions; {left_out} were left out (no label, or anomalous for a \
             model of one class)\nthe language models have moved; the head, its calibration and the threshold are those \
             of the fit\nwrote {}",
            output::clean(&args.out.display().to_string())
        ))?;
    }
    Ok(Exit::Ok)
}

/// Waits until no other process changes a model in place; held until it is dropped. The file `<model>.lock` stays.
fn lock(model: &Path) -> anyhow::Result<std::fs::File> {
    let mut path = model.as_os_str().to_owned();
    path.push(".lock");
    let path = Path::new(&path);
    let context = || format!("locking {}", path.display());
    // A model that is not there gets no lock beside it.
    std::fs::symlink_metadata(model).with_context(|| format!("reading {}", model.display()))?;
    let file = open_lock(path).with_context(context)?;
    file.lock().with_context(context)?;
    Ok(file)
}

fn load(path: &Path, threshold: Option<f64>) -> anyhow::Result<SequenceModel> {
    let mut model = SequenceModel::load(path)?;
    if let Some(threshold) = threshold {
        model.set_threshold(threshold)?;
    }
    Ok(model)
}

fn score(args: &SequenceScore, context: &Context) -> anyhow::Result<Exit> {
    let model = load(&args.model, args.threshold)?;
    let data = read(&args.data, &args.columns, Names::Known(model.vocabulary()))?;
    if model.training().simulated {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    let mut scratch = Scratch::default();
    let mut text = String::new();
    for row in 0..data.len() {
        let said = model.predict(data.get(row), &mut scratch);
        let Prediction { label, score, probability, confidence, p_value, features } = said;
        let mut line = json!({
            "row": row, "label": u8::from(label), "score": score, "probability": probability,
            "confidence": confidence, "features": features,
        });
        if let Some(p_value) = p_value {
            line["p_value"] = p_value.into();
        }
        text.push_str(&line.to_string());
        if row % CHUNK == CHUNK - 1 || row + 1 == data.len() {
            output::line(&text)?;
            text.clear();
        } else {
            text.push('\n');
        }
    }
    Ok(Exit::Ok)
}

fn eval(args: &SequenceEval, context: &Context) -> anyhow::Result<Exit> {
    let model = load(&args.model, args.threshold)?;
    let data = read(&args.data, &args.columns, Names::Known(model.vocabulary()))?;
    let comparison = Comparison::of(&model, &data, args.resamples, args.seed)
        .with_context(|| format!("evaluating on {}", args.data.display()))?;
    if context.json {
        output::json(&json!({
            "model": args.model, "data": args.data, "simulated": model.training().simulated,
            "threshold": model.threshold(), "resamples": args.resamples, "figures": comparison.json(),
        }))?;
        return Ok(Exit::Ok);
    }
    if model.training().simulated {
        output::line(stakeout_eval::render::SIMULATED)?;
    }
    comparison.print()?;
    output::line(&format!(
        "called anomalous from a probability of {:.4} on; intervals: 95 %, {} resamples of sessions",
        model.threshold(),
        args.resamples
    ))?;
    Ok(Exit::Ok)
}

/// Each held-out session as it was judged, copies written out.
fn expanded(held_out: &[Judged], threshold: f64) -> (Vec<(f64, f64, bool)>, Vec<bool>) {
    let (mut judged, mut truth) = (Vec::new(), Vec::new());
    for one in held_out {
        for (copies, anomalous) in [(one.normal, false), (one.anomalous, true)] {
            for _ in 0..copies {
                judged.push((one.score, one.probability, one.probability >= threshold));
                truth.push(anomalous);
            }
        }
    }
    (judged, truth)
}

/// The figures of the constant answer and of a model on the same sessions.
struct Comparison {
    constant: Evaluation,
    model: Evaluation,
}

impl Comparison {
    fn new(
        model: &SequenceModel,
        judged: &[(f64, f64, bool)],
        truth: &[bool],
        resamples: usize,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let training = model.training();
        let all = (training.normal + training.anomalous).max(1);
        let share = training.anomalous as f64 / all as f64;
        let constant = vec![(0.0, share, share > 0.5); judged.len()];
        Ok(Self {
            constant: evaluate(&constant, truth, resamples, seed)?,
            model: evaluate(judged, truth, resamples, seed)?,
        })
    }

    fn of(model: &SequenceModel, data: &Sequences, resamples: usize, seed: u64) -> anyhow::Result<Self> {
        let mut said = Vec::new();
        model.predict_all(data, &mut Scratch::default(), &mut said);
        let labelled: Vec<usize> = (0..data.len()).filter(|&row| data.label(row).is_some()).collect();
        let judged: Vec<_> = labelled.iter().map(|&i| (said[i].score, said[i].probability, said[i].label)).collect();
        let truth: Vec<bool> = labelled.iter().map(|&row| data.label(row) == Some(true)).collect();
        Self::new(model, &judged, &truth, resamples, seed)
    }

    fn json(&self) -> Value {
        json!({ "constant": self.constant, "model": self.model })
    }

    fn print(&self) -> anyhow::Result<()> {
        let shown = |figure: &Figure| match (figure.point, figure.lo.zip(figure.hi)) {
            (Some(point), Some((lo, hi))) => format!("{point:.4} [{lo:.4}, {hi:.4}]"),
            (Some(point), None) => format!("{point:.4}"),
            (None, _) => "-".to_owned(),
        };
        let row = |name: &str, of: fn(&Evaluation) -> &Figure| {
            vec![name.to_owned(), shown(of(&self.constant)), shown(of(&self.model))]
        };
        let rows = [
            row("F1 of the anomalous", |e| &e.f1),
            row("precision", |e| &e.precision),
            row("recall", |e| &e.recall),
            row("false-positive rate", |e| &e.false_positive_rate),
            row("accuracy", |e| &e.accuracy),
            row("AUROC", |e| &e.auroc),
            row("AUROC of the score", |e| &e.auroc_of_score),
            row("Brier score", |e| &e.brier),
            row("calibration error", |e| &e.ece),
        ];
        let sessions = format!("{} sessions, {} anomalous", self.model.sessions, self.model.anomalous);
        output::line(&output::table(&[&sessions, "constant", "model"], &rows))?;
        Ok(())
    }
}

fn drift(args: &SequenceDrift, context: &Context) -> anyhow::Result<Exit> {
    let model = load(&args.model, None)?;
    let mut scratch = Scratch::default();
    let before = read(&args.baseline, &args.columns, Names::Known(model.vocabulary()))?;
    let after = read(&args.data, &args.columns, Names::Known(model.vocabulary()))?;
    for (path, data) in [(&args.baseline, &before), (&args.data, &after)] {
        anyhow::ensure!(
            !data.is_empty(),
            "{}: there are no sessions: a source that is silent is not one without drift",
            path.display()
        );
    }
    let mut said = Vec::new();
    model.predict_all(&before, &mut scratch, &mut said);
    // Rare is what the baseline itself has in one of a hundred; scores are told in its own spread.
    let mut surprises: Vec<f64> = said.iter().map(|said| said.features.surprise).collect();
    surprises.sort_unstable_by(f64::total_cmp);
    let rare = surprises.get((surprises.len() * 99) / 100).copied().unwrap_or(f64::INFINITY);
    let n = said.len().max(1) as f64;
    let mean = said.iter().map(|said| said.score).sum::<f64>() / n;
    let spread = (said.iter().map(|said| (said.score - mean).powi(2)).sum::<f64>() / n).sqrt().max(1e-9);
    let seen = |actions, said: &Prediction, t_wall_ns: Option<i64>| Observation {
        actions,
        rare: said.features.surprise > rare,
        score: (said.score - mean) / spread,
        seconds: t_wall_ns.map(|t| t as f64 / 1e9),
    };
    let mut baseline = Baseline::default();
    for (row, said) in said.iter().enumerate() {
        baseline.add(&seen(before.get(row), said, before.t_wall_ns(row)));
    }
    let rules = Rules { window: args.window, level: args.level, ..Rules::default() };
    let mut monitor = Monitor::new(baseline, rules)?;
    let mut found: Vec<(usize, Finding)> = Vec::new();
    for (row, (actions, _)) in after.iter().enumerate() {
        let said = model.predict(actions, &mut scratch);
        let found_now = monitor.observe(&seen(actions, &said, after.t_wall_ns(row)));
        found.extend(found_now.into_iter().map(|finding| (row, finding)));
    }
    let windows = after.len() / args.window;
    if model.training().simulated {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    if context.json {
        let findings: Vec<Value> =
            found.iter().map(|(row, finding)| json!({ "row": row, "finding": finding })).collect();
        output::json(&json!({ "baseline": before.len(), "sequences": after.len(), "windows": windows,
            "rules": rules, "findings": findings }))?;
    } else {
        let rows: Vec<Vec<String>> = found.iter().map(|(row, finding)| vec![row.to_string(), told(finding)]).collect();
        if !rows.is_empty() {
            output::line(&output::table(&["at row", "what has changed"], &rows))?;
        }
        output::line(&format!(
            "{} findings in {windows} windows of {} sequences against {} of the baseline",
            found.len(),
            args.window,
            before.len()
        ))?;
        if after.len() % args.window > 0 {
            output::line(&format!(
                "the last {} sequences fill no window: only their score was looked at",
                after.len() % args.window
            ))?;
        }
    }
    Ok(if found.is_empty() { Exit::Ok } else { Exit::Finding })
}

fn told(finding: &Finding) -> String {
    match finding {
        Finding::Frequencies { psi, kl, js, noise } => {
            format!("actions: PSI {psi:.3} (noise stays below {noise:.3}), KL {kl:.3}, JS {js:.3}")
        }
        Finding::Rarity { share, baseline, p_value } => {
            format!("rare sequences: {share:.3} of the window, {baseline:.3} of the baseline (p = {p_value:.1e})")
        }
        Finding::Burst { rate, baseline, p_value } => {
            format!("{rate:.3} sequences a second, {baseline:.3} in the baseline (p = {p_value:.1e})")
        }
        Finding::Score { rise } => {
            format!("the mean score has risen (Page-Hinkley {rise:.1}, in spreads of the baseline)")
        }
    }
}
