//! What the files of a run say about each other. A forger who edits all of them alike passes here; [`crate::proof`]
//! is for that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stakeout_core::{Side, text::printable};
use stakeout_eval::{Plan, Predictions, TrainSide};
use stakeout_splits::{RecipeRegistry, Separates};
use stakeout_trainer::ScalerChoice;
use stakeout_trainer::score::StoredRun;

use crate::EvidenceError;
use crate::check::Check;
use crate::differences::{compare, compare_members};

/// How far a figure may be from the one that comes out again: what another processor's rounding can do.
pub(crate) const SAME_FIGURE: f64 = 1e-9;
/// How far the probabilities of a window may be from summing up to 1.
const SUM: f64 = 1e-3;
/// Largest ledger that is walked through.
const MOST_CELLS: u128 = 20_000_000;
const TRAIN_AGAIN: &str = "train the run again; files of a run are never edited";

/// The files of a run, parsed.
pub(crate) struct Evidence {
    pub(crate) run: StoredRun,
    pub(crate) predictions: Predictions,
    /// `metrics.json` as it stands.
    pub(crate) metrics: Value,
}

/// All checks that need nothing but the run.
pub(crate) fn checks(evidence: &Evidence, recipes: &RecipeRegistry) -> Result<Vec<Check>, EvidenceError> {
    let separates = recipe(evidence, recipes)?;
    Ok(vec![
        one_run(evidence),
        tested(evidence),
        windows(evidence),
        apart(evidence, separates),
        metrics(evidence),
        ledger(evidence),
    ])
}

/// What the run's recipe promises to hold apart.
pub(crate) fn recipe(evidence: &Evidence, recipes: &RecipeRegistry) -> Result<Separates, EvidenceError> {
    let experiment = &evidence.run.experiment;
    Ok(recipes.configure(&experiment.recipe, &Value::Object(experiment.split.clone()))?.separates())
}

/// Checkpoint, settings, result and predictions speak of the same model, data, fold and seed.
fn one_run(evidence: &Evidence) -> Check {
    const NAME: &str = "one run";
    let Evidence { run, predictions, .. } = evidence;
    let (header, result, experiment) = (&run.header, &run.result, &run.experiment);
    let Some(info) = &experiment.run else {
        return Check::refused(
            NAME,
            "experiment.toml has no [run] section: nothing says what it was made from",
            TRAIN_AGAIN,
        );
    };
    let mut wrong = Vec::new();
    let mut agree = |what: &str, said: &[(&str, String)]| {
        if said.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            let said: Vec<String> =
                said.iter().map(|(who, value)| format!("{who} says {}", printable(value, 40))).collect();
            wrong.push(format!("{what}: {}", said.join(", ")));
        }
    };
    let (c, e, m) = ("the checkpoint", "experiment.toml", "metrics.json");
    let text = |value: &str| value.to_owned();
    agree("model", &[(c, header.kind.to_string()), (e, text(&info.model)), (m, text(&result.origin.model))]);
    agree("recipe", &[(c, text(&header.recipe)), (e, text(&experiment.recipe)), (m, text(&result.origin.recipe))]);
    agree(
        "schema",
        &[(c, text(header.schema_hash.as_str())), (e, text(&info.schema_hash)), (m, text(&result.origin.schema_hash))],
    );
    agree("data", &[(e, text(&info.data_digest)), (m, text(&result.origin.data_digest))]);
    agree(
        "code version",
        &[(c, text(&header.code_version)), (e, text(&info.code_version)), (m, text(&result.origin.code_version))],
    );
    agree("seed", &[(c, header.seed.to_string()), (m, result.seed.to_string())]);
    agree("held out", &[(c, header.held_out.join(", ")), (m, result.held_out.join(", "))]);
    agree("simulated", &[(c, header.simulated.to_string()), (m, result.origin.simulated.to_string())]);
    agree(
        "view",
        &[(c, header.schema.view.to_string()), (e, experiment.view.to_string()), (m, text(&result.origin.view))],
    );
    let scaler = if experiment.scaler == ScalerChoice::None { "none" } else { experiment.scaler.name() };
    agree("scaler", &[(c, text(header.scaler.name())), (e, text(scaler))]);
    let classes = |list: &[String]| list.join(", ");
    agree(
        "classes",
        &[(c, classes(header.schema.classes.names())), ("predictions.parquet", classes(predictions.classes().names()))],
    );
    if let Some(fold) = &info.fold {
        agree("fold", &[(e, text(fold)), (m, text(&result.fold))]);
    }
    if !experiment.seed.list().contains(&result.seed) {
        wrong.push(format!("seed: experiment.toml does not have {}", result.seed));
    }
    let config = experiment.model.get(header.kind.as_str()).cloned().unwrap_or(Value::Null);
    let settings = compare(&header.config, &config, SAME_FIGURE);
    if !settings.differences.is_empty() {
        wrong.push(format!("settings of experiment.toml against the checkpoint's: {}", settings.sentence()));
    }
    if header.calibration != result.calibration {
        wrong.push("calibration map: the checkpoint's is not the one of metrics.json".into());
    }
    if header.calibration.is_some() && experiment.calibration.method().is_none() {
        wrong.push("calibration map: the checkpoint has one, and experiment.toml asks for none".into());
    }
    let stranger = (0..predictions.len())
        .map(|row| predictions.row(row))
        .find(|row| row.seed != result.seed || row.fold != result.fold);
    if let Some(row) = stranger {
        wrong.push(format!(
            "predictions.parquet holds fold {} with seed {}, the run is fold {} with seed {}",
            printable(row.fold, 40),
            row.seed,
            printable(&result.fold, 40),
            result.seed
        ));
    }
    Check::of(
        NAME,
        &wrong,
        "checkpoint, settings, metrics and predictions speak of one model, data, fold and seed",
        TRAIN_AGAIN,
    )
}

fn tested(evidence: &Evidence) -> Check {
    const NAME: &str = "tested";
    let StoredRun { experiment, result, header, .. } = &evidence.run;
    if header.tested && result.tested && result.metrics.is_some() && !experiment.refit_all {
        return Check::met(NAME, "a test side was held out");
    }
    Check::refused(
        NAME,
        "the model was fitted on all rows (--refit-all) and tested on none: no score says how good it is",
        "gate the run of the recipe that holds data out; what was never tested cannot be judged",
    )
}

/// Rows are what they claim to be: probabilities, of windows that stand once and on one side.
fn windows(evidence: &Evidence) -> Check {
    const NAME: &str = "windows";
    let predictions = &evidence.predictions;
    let mut wrong = Vec::new();
    let test = predictions.rows_of(Side::Test).len();
    if test == 0 {
        wrong.push("the test side is empty".to_owned());
    }
    let off: Vec<(usize, f64)> = (0..predictions.len())
        .map(|row| (row, predictions.probabilities(row).iter().map(|p| f64::from(*p)).sum::<f64>()))
        .filter(|(_, sum)| (sum - 1.0).abs() > SUM)
        .collect();
    if let Some((row, sum)) = off.first() {
        let at = predictions.row(*row);
        wrong.push(format!(
            "in {} of {} windows the probabilities do not sum up to 1 (first: {} at {} ns, {sum:.3}): a score or a \
             confidence is not a probability",
            off.len(),
            predictions.len(),
            printable(at.episode, 40),
            at.t0_ns
        ));
    }
    let mut seen: BTreeMap<(&str, i64), Side> = BTreeMap::new();
    let (mut twice, mut of_train) = (0usize, 0usize);
    for row in (0..predictions.len()).map(|row| predictions.row(row)) {
        twice += usize::from(seen.insert((row.episode, row.t0_ns), row.side).is_some());
        of_train += usize::from(row.side == Side::Train);
    }
    if twice > 0 {
        wrong.push(format!("{twice} windows stand twice: a window that is easy counts as often as it is copied"));
    }
    if of_train > 0 {
        wrong.push(format!("{of_train} windows are of the training side"));
    }
    let mut place: BTreeMap<&str, (&str, &str, &str)> = BTreeMap::new();
    let moved = (0..predictions.len()).map(|row| predictions.row(row)).find(|row| {
        let of = (row.host, row.sample, row.profile);
        *place.entry(row.episode).or_insert(of) != of
    });
    if let Some(row) = moved {
        wrong.push(format!("episode {} stands with two hosts, samples or profiles", printable(row.episode, 40)));
    }
    Check::of(NAME, &wrong, format!("{test} test windows, each once, each with probabilities"), TRAIN_AGAIN)
}

/// The test side shares nothing that the recipe promises to hold apart.
fn apart(evidence: &Evidence, separates: Separates) -> Check {
    const NAME: &str = "sides apart";
    let Evidence { run, predictions, .. } = evidence;
    let trained = &run.result.trained_on;
    let names = |side: Side, of: fn(&stakeout_eval::Prediction<'_>) -> String| -> BTreeSet<String> {
        predictions.rows_of(side).into_iter().map(|row| of(&predictions.row(row))).collect()
    };
    let host = |row: &stakeout_eval::Prediction<'_>| row.host.to_owned();
    let sample = |row: &stakeout_eval::Prediction<'_>| row.sample.to_owned();
    let episode = |row: &stakeout_eval::Prediction<'_>| row.episode.to_owned();
    let mut wrong = Vec::new();
    let mut meet = |what: &str, test: &BTreeSet<String>, other: &BTreeSet<String>, side: &str| {
        let shared: Vec<&String> = test.intersection(other).collect();
        if let Some(first) = shared.first() {
            wrong.push(format!(
                "{} test {what} stand on the {side} side too (first: {})",
                shared.len(),
                printable(first, 40)
            ));
        }
    };
    let what = match separates {
        Separates::Hosts => {
            meet("hosts", &names(Side::Test, host), &trained.hosts, "training");
            meet("hosts", &names(Side::Test, host), &names(Side::Validation, host), "validation");
            "no test host was trained on"
        }
        Separates::Samples => {
            meet("samples", &names(Side::Test, sample), &trained.samples, "training");
            meet("samples", &names(Side::Test, sample), &names(Side::Validation, sample), "validation");
            "no test sample was trained on"
        }
        Separates::Episodes | Separates::Given => "no episode stands on two sides",
        Separates::Time => "no window stands on two sides",
        // `Unstated`, and promises that this crate does not know.
        _ => return Check::not_judged(NAME, "the recipe does not say what it holds apart"),
    };
    if separates != Separates::Time {
        meet("episodes", &names(Side::Test, episode), &names(Side::Validation, episode), "validation");
    }
    Check::of(NAME, &wrong, what, "hold data out with a recipe that keeps its promise, and train again")
}

/// Every figure of `metrics.json` comes out of the stored predictions again. Its sentences are no figures: they say what
/// the figures say, in the words of the program that wrote them.
fn metrics(evidence: &Evidence) -> Check {
    const NAME: &str = "metrics";
    let Evidence { run, predictions, metrics } = evidence;
    if !is_countable(&run.result.train) {
        return Check::refused(NAME, "the training side has more windows than can be counted", TRAIN_AGAIN);
    }
    let intervals = &run.experiment.intervals;
    let plan = Plan { resamples: intervals.resamples, level: intervals.level, seed: run.result.seed };
    let mut again = match stakeout_eval::metrics(predictions, &run.result.train, &plan) {
        Ok(again) => serde_json::to_value(again).unwrap_or(Value::Null),
        Err(error) => return Check::refused(NAME, format!("they cannot be computed again: {error}"), TRAIN_AGAIN),
    };
    if let Value::Object(members) = &mut again {
        members.remove("notes");
    }
    let compared = compare_members(&again, metrics, SAME_FIGURE);
    let met = format!("{} figures of metrics.json come out of predictions.parquet again", compared.leaves);
    Check::of_compared(NAME, &compared, met, TRAIN_AGAIN)
}

/// Whether the windows of a training side can be added up: a file may say anything.
pub(crate) fn is_countable(train: &TrainSide) -> bool {
    train.windows.iter().try_fold(0u64, |sum, n| sum.checked_add(*n)).is_some()
}

/// The ledger counts the windows that were scored, and the training side that is named.
fn ledger(evidence: &Evidence) -> Check {
    const NAME: &str = "ledger";
    let Evidence { run, predictions, .. } = evidence;
    let Some(ledger) = &run.result.ledger else {
        return Check::refused(NAME, "metrics.json has no ledger: nothing says what was tested", TRAIN_AGAIN);
    };
    let cells = [ledger.profiles(), ledger.hosts(), ledger.phases()].map(|names| names.len() as u128);
    if cells.iter().product::<u128>() > MOST_CELLS {
        return Check::refused(NAME, format!("it has more than {MOST_CELLS} cells"), TRAIN_AGAIN);
    }
    let mut counted: BTreeMap<(&str, &str, &str), (u64, BTreeSet<&str>)> = BTreeMap::new();
    let classes = predictions.classes().names();
    for row in predictions.rows_of(Side::Test).into_iter().map(|row| predictions.row(row)) {
        let cell = counted.entry((row.profile, row.host, &classes[usize::from(row.label)])).or_default();
        cell.0 += 1;
        cell.1.insert(row.episode);
    }
    let (mut wrong, mut train, mut cells) = (Vec::new(), BTreeMap::<&str, u64>::new(), 0usize);
    for cell in ledger.cells() {
        let (windows, episodes) =
            counted.remove(&(cell.profile, cell.host, cell.phase)).map_or((0, 0), |(n, of)| (n, of.len() as u64));
        cells += usize::from(windows > 0);
        let sum = train.entry(cell.phase).or_default();
        *sum = sum.saturating_add(cell.train.windows);
        if (cell.test.windows, cell.test.episodes) != (windows, episodes) && wrong.len() < 3 {
            let [profile, host, phase] = [cell.profile, cell.host, cell.phase].map(|name| printable(name, 24));
            wrong.push(format!(
                "{profile} on {host} in {phase} has {} test windows of {} episodes in the ledger, {windows} of {episodes} in \
                 the predictions",
                cell.test.windows, cell.test.episodes
            ));
        }
    }
    if !counted.is_empty() {
        wrong.push(format!("{} cells of the predictions are not in the ledger", counted.len()));
    }
    let said = &run.result.train.windows;
    let of_ledger: Vec<u64> = classes.iter().map(|class| train.get(class.as_str()).copied().unwrap_or(0)).collect();
    let merged = run.result.metrics.as_ref().is_none_or(|metrics| metrics.n_windows.validation == 0);
    // Validation rows that choose nothing are trained on, and stay on the validation side of the ledger.
    let fits = said.len() == of_ledger.len()
        && said.iter().zip(&of_ledger).all(|(said, of)| said == of || (merged && said > of));
    if !fits {
        wrong.push(format!("the training side is {said:?} windows a class, its ledger says {of_ledger:?}"));
    }
    Check::of(NAME, &wrong, format!("{cells} tested cells hold what was scored"), TRAIN_AGAIN)
}
