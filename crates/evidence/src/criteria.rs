//! Figures of the test side against the bounds of a policy. Pure functions of stored predictions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stakeout_core::{Side, text::printable};
use stakeout_eval::{Comparison, Estimate, Metrics, Prediction, Predictions, TrainSide, Unit};
use stakeout_splits::Ledger;
use stakeout_trainer::Latency;

use crate::EvidenceError;
use crate::check::Outcome;
use crate::policy::{AtLeast, AtMost, By, Coverage, Gain, Policy, Recall, WorstCell};

/// One figure with its bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// What is asked.
    pub name: String,
    /// The figure; `None` where it is not defined.
    pub value: Option<f64>,
    /// Lower end of its interval.
    pub lo: Option<f64>,
    /// Upper end of its interval.
    pub hi: Option<f64>,
    /// What was resampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// How many independent units there are.
    pub n_units: usize,
    /// What is allowed, as text: `<= 0.08`.
    pub bound: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it speaks of, or why it was not met.
    pub found: String,
    /// The way forward, where it was not met.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// The model that is deployed now, on the windows of the candidate's test side.
pub struct Incumbent {
    /// Its address.
    pub id: String,
    /// What it says of those windows.
    pub predictions: Predictions,
    /// What favours it in the comparison, as a sentence: it was trained on some of them, say.
    pub favour: Option<String>,
}

/// What a run is compared with beside its own test side.
#[derive(Default)]
pub struct Beside<'a> {
    /// The current model; the reason why there is nothing to compare with.
    pub incumbent: Option<Result<&'a Incumbent, String>>,
    /// Measured latency.
    pub latency: Option<Latency>,
    /// The coverage table.
    pub ledger: Option<&'a Ledger>,
}

/// All criteria of a policy on the test side of `predictions`.
///
/// # Errors
/// [`EvidenceError::Eval`] when predictions and training side do not fit together.
pub fn criteria(
    predictions: &Predictions,
    train: &TrainSide,
    policy: &Policy,
    beside: &Beside<'_>,
) -> Result<Vec<Criterion>, EvidenceError> {
    let metrics = stakeout_eval::metrics(predictions, train, &policy.intervals)?;
    let mut criteria = Vec::new();
    let errors = metrics.test.calibration.as_ref().map(|scores| &scores.ece);
    let unit = metrics.test.accuracy;
    let calibration = "fit a map on the validation side (--set calibration=temperature), or train on more episodes";
    criteria.push(at_most(
        "calibration error",
        errors.map_or(undefined(unit), |errors| errors.equal_width),
        policy.calibration_error,
        calibration,
    ));
    if let Some(bound) = policy.debiased_calibration_error {
        let figure = errors.map_or(undefined(unit), |errors| errors.debiased);
        criteria.push(at_most("debiased calibration error", figure, bound, calibration));
    }
    criteria.push(at_least("accuracy", metrics.test.accuracy, policy.accuracy));
    if let Some(bound) = policy.macro_f1 {
        criteria.push(at_least("macro F1", metrics.test.macro_f1, bound));
    }
    criteria.push(over_constant(predictions, train, &metrics, policy)?);
    criteria.push(recall(&metrics, &policy.recall));
    if let Some(gain) = policy.gain_over_incumbent {
        criteria.push(over_incumbent(predictions, gain, beside, policy)?);
    }
    if let Some(worst) = policy.worst_cell {
        criteria.push(worst_cell(predictions, worst, beside, policy)?);
    }
    if let Some(bound) = policy.latency {
        criteria.push(latency(bound.p99_ms, beside.latency));
    }
    for asked in &policy.coverage {
        criteria.push(coverage(predictions, asked, beside.ledger));
    }
    Ok(criteria)
}

fn undefined(like: Estimate) -> Estimate {
    Estimate { point: None, lo: None, hi: None, ..like }
}

fn criterion(name: &str, figure: Estimate, bound: String, met: bool, remedy: &str) -> Criterion {
    Criterion {
        name: name.to_owned(),
        value: figure.point,
        lo: figure.lo,
        hi: figure.hi,
        unit: Some(figure.unit),
        n_units: figure.n_units,
        bound,
        outcome: if met { Outcome::Met } else { Outcome::Refused },
        found: String::new(),
        remedy: if met { String::new() } else { remedy.to_owned() },
    }
}

/// The end of an interval that a bound speaks of.
fn end(figure: &Estimate, by: By) -> Option<f64> {
    match by {
        By::Point => figure.point,
        By::Lower => figure.lo,
        By::Upper => figure.hi,
    }
}

/// Why a figure that a bound speaks of is not there.
fn absence(figure: &Estimate, by: By) -> String {
    match (figure.point, by) {
        (None, _) => "it is not defined: there is nothing to compute it from".into(),
        (_, By::Point) => String::new(),
        _ => format!(
            "there is no interval: it takes {} {}s, tested were {}",
            figure.unit.for_interval(),
            figure.unit,
            figure.n_units
        ),
    }
}

fn at_most(name: &str, figure: Estimate, bound: AtMost, remedy: &str) -> Criterion {
    let held = end(&figure, bound.by);
    let text = format!("{}<= {}", if bound.by == By::Upper { "upper end " } else { "" }, bound.max);
    let mut out = criterion(name, figure, text, held.is_some_and(|value| value <= bound.max), remedy);
    match held {
        None => out.found = absence(&figure, bound.by),
        Some(value) if out.outcome == Outcome::Refused => out.found = format!("{value:.4} is more than {}", bound.max),
        Some(_) => {}
    }
    out
}

fn at_least(name: &str, figure: Estimate, bound: AtLeast) -> Criterion {
    let held = end(&figure, bound.by);
    let text = format!("{}>= {}", if bound.by == By::Lower { "lower end " } else { "" }, bound.min);
    let remedy =
        "another model, view or more training data; settings are chosen inside the training side (stakeout tune)";
    let mut out = criterion(name, figure, text, held.is_some_and(|value| value >= bound.min), remedy);
    match held {
        None => out.found = absence(&figure, bound.by),
        Some(value) if out.outcome == Outcome::Refused => out.found = format!("{value:.4} is less than {}", bound.min),
        Some(_) => {}
    }
    out
}

fn above(name: &str, figure: Estimate, bound: f64, remedy: &str) -> Criterion {
    let met = figure.lo.is_some_and(|lo| lo > bound);
    let mut out = criterion(name, figure, format!("lower end > {bound}"), met, remedy);
    match figure.lo {
        None => out.found = absence(&figure, By::Lower),
        Some(lo) if !met => out.found = format!("the lower end {lo:.4} is not above {bound}"),
        Some(_) => {}
    }
    out
}

/// The paired gain over the constant predictor: the majority of the training side, and, where it is another class and
/// the harder one to beat, of the test side, which a forged training side cannot talk away.
fn over_constant(
    predictions: &Predictions,
    train: &TrainSide,
    metrics: &Metrics,
    policy: &Policy,
) -> Result<Criterion, EvidenceError> {
    let classes = predictions.classes().names();
    let most = metrics.test.per_class.iter().map(|class| class.support).max().filter(|most| *most > 0);
    let of_test = most.and_then(|most| metrics.test.per_class.iter().position(|class| class.support == most));
    let mut constants: Vec<u16> = train.majority().into_iter().chain(of_test.map(|class| class as u16)).collect();
    constants.dedup();
    let mut worst: Option<(u16, Comparison)> = None;
    for class in constants {
        let constant = with_probabilities(predictions, |_, into| into[usize::from(class)] = 1.0)?;
        let compared = stakeout_eval::compare(&constant, predictions, &policy.intervals)?;
        let least =
            |compared: &Comparison| compared.macro_f1.lo.or(compared.macro_f1.point).unwrap_or(f64::NEG_INFINITY);
        if worst.as_ref().is_none_or(|(_, held)| least(&compared) < least(held)) {
            worst = Some((class, compared));
        }
    }
    let Some((class, compared)) = worst else {
        let mut out =
            above("gain over constant", undefined(metrics.test.macro_f1), policy.gain_over_constant.above, "");
        out.found = "there is no window to predict".into();
        return Ok(out);
    };
    let remedy = "a model that is no better than always saying one class detects nothing: other channels, more training \
                  data, or more test episodes for a narrower interval";
    let mut out = above("gain over constant", compared.macro_f1, policy.gain_over_constant.above, remedy);
    let figure = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
    let said = format!(
        "macro F1 {} against {} of always {}",
        figure(compared.b),
        figure(compared.a),
        printable(&classes[usize::from(class)], 40)
    );
    out.found = if out.found.is_empty() { said } else { format!("{}; {said}", out.found) };
    Ok(out)
}

fn recall(metrics: &Metrics, asked: &Recall) -> Criterion {
    let mut wrong = Vec::new();
    let mut least: Option<f64> = None;
    let known: BTreeSet<&str> = metrics.classes.iter().map(String::as_str).collect();
    for class in asked.classes.iter().filter(|class| !known.contains(class.as_str())) {
        wrong.push(format!("there is no class {}", printable(class, 40)));
    }
    let wanted = |name: &String| asked.classes.is_empty() || asked.classes.contains(name);
    for class in metrics.test.per_class.iter().filter(|class| wanted(&class.class)) {
        let name = printable(&class.class, 40);
        match class.recall {
            None => wrong.push(format!("{name} was never tested: it has no test window")),
            Some(recall) => {
                least = Some(least.map_or(recall, |least| least.min(recall)));
                if recall <= asked.above {
                    wrong.push(format!("of {} windows of {name} it found {:.1} %", class.support, 100.0 * recall));
                }
            }
        }
    }
    Criterion {
        name: "recall of every class".into(),
        value: least,
        lo: None,
        hi: None,
        unit: None,
        n_units: 0,
        bound: format!("> {}", asked.above),
        outcome: if wrong.is_empty() { Outcome::Met } else { Outcome::Refused },
        found: wrong.join("; "),
        remedy: if wrong.is_empty() {
            String::new()
        } else {
            "hold out hosts or episodes that have every class, train on more of them, or name the classes that count in \
             [recall] classes"
                .into()
        },
    }
}

/// A criterion without a current model to be held against.
fn no_incumbent(name: &str, bound: String, why: &str, refused: bool) -> Criterion {
    Criterion {
        name: name.to_owned(),
        value: None,
        lo: None,
        hi: None,
        unit: None,
        n_units: 0,
        bound,
        outcome: if refused { Outcome::Refused } else { Outcome::NotJudged },
        found: why.to_owned(),
        remedy: if refused {
            "give --store, so that the current model can score the same windows".into()
        } else {
            String::new()
        },
    }
}

fn over_incumbent(
    predictions: &Predictions,
    gain: Gain,
    beside: &Beside<'_>,
    policy: &Policy,
) -> Result<Criterion, EvidenceError> {
    const NAME: &str = "gain over current model";
    let bound = format!("lower end > {}", gain.above);
    let incumbent = match &beside.incumbent {
        None => return Ok(no_incumbent(NAME, bound, "there is no current model", false)),
        Some(Err(why)) => return Ok(no_incumbent(NAME, bound, why, true)),
        Some(Ok(incumbent)) => incumbent,
    };
    let compared = stakeout_eval::compare(&incumbent.predictions, predictions, &policy.intervals)?;
    let mut out =
        above(NAME, compared.macro_f1, gain.above, "keep the current model, or allow a loss with a negative `above`");
    let said = format!("against {}{}", &incumbent.id[..12.min(incumbent.id.len())], favour(incumbent));
    out.found = if out.found.is_empty() { said } else { format!("{}; {said}", out.found) };
    Ok(out)
}

fn favour(incumbent: &Incumbent) -> String {
    incumbent.favour.as_ref().map_or_else(String::new, |favour| format!("; {favour}"))
}

/// Recall in each cell profile × host × phase less the current model's, and the worst of them.
fn worst_cell(
    predictions: &Predictions,
    asked: WorstCell,
    beside: &Beside<'_>,
    policy: &Policy,
) -> Result<Criterion, EvidenceError> {
    const NAME: &str = "worst cell";
    let bound = format!("{}>= {}", if asked.by == By::Lower { "lower end " } else { "" }, -asked.margin);
    let incumbent = match &beside.incumbent {
        None => return Ok(no_incumbent(NAME, bound, "there is no current model", false)),
        Some(Err(why)) => return Ok(no_incumbent(NAME, bound, why, true)),
        Some(Ok(incumbent)) => incumbent,
    };
    let (ours, theirs) = (by_cell(predictions), by_cell(&incumbent.predictions));
    let (mut small, mut worst): (usize, Option<(f64, Estimate, String)>) = (0, None);
    let mut wrong = Vec::new();
    for (cell, rows) in &ours {
        let episodes: BTreeSet<&str> = rows.iter().map(|&row| predictions.row(row).episode).collect();
        if rows.len() < asked.min_windows || episodes.len() < asked.min_episodes {
            small += 1;
            continue;
        }
        let name = [cell.0, cell.1, &predictions.classes().names()[usize::from(cell.2)]]
            .map(|name| printable(name, 24))
            .join(" / ");
        let Some(others) = theirs.get(cell) else {
            wrong.push(format!("the current model has no {name}"));
            continue;
        };
        let [a, b] = [(&incumbent.predictions, others), (predictions, rows)].map(|(of, rows)| only(of, rows));
        let accuracy = stakeout_eval::compare(&a?, &b?, &policy.intervals)?.accuracy;
        let held = end(&accuracy, asked.by).unwrap_or(f64::NEG_INFINITY);
        if worst.as_ref().is_none_or(|(least, ..)| held < *least) {
            worst = Some((held, accuracy, name));
        }
    }
    let Some((held, figure, name)) = worst else {
        let why = format!("no cell has {} windows of {} episodes", asked.min_windows, asked.min_episodes);
        return Ok(no_incumbent(NAME, bound, &why, true));
    };
    let met = held >= -asked.margin && wrong.is_empty();
    let mut out = criterion(NAME, figure, bound, met, "look at that cell: what it gained elsewhere it lost there");
    let compared = ours.len() - small;
    wrong.insert(
        0,
        format!("{name}, the worst of {compared} cells; {small} are too small to compare{}", favour(incumbent)),
    );
    out.found = wrong.join("; ");
    Ok(out)
}

fn latency(bound: f64, measured: Option<Latency>) -> Criterion {
    let met = measured.is_some_and(|latency| latency.p99_ms <= bound);
    Criterion {
        name: "latency".into(),
        value: measured.map(|latency| latency.p99_ms),
        lo: None,
        hi: None,
        unit: None,
        n_units: measured.map_or(0, |latency| latency.windows),
        bound: format!("p99 <= {bound} ms"),
        outcome: if met { Outcome::Met } else { Outcome::Refused },
        found: measured.map_or("it was not measured".into(), |latency| {
            format!(
                "median {:.3} ms, p99 {:.3} ms over {} windows on this machine",
                latency.median_ms, latency.p99_ms, latency.windows
            )
        }),
        remedy: if met { String::new() } else { "a smaller model, or a faster machine with nothing else on it".into() },
    }
}

/// Cells that are named in a refusal.
const SHOWN: usize = 5;

/// The cell that a window counts for; `None` where it is not asked for.
fn key<'a>(wanted: &[Option<&'a str>; 3], names: [&'a str; 3]) -> Option<[&'a str; 3]> {
    let mut key = [""; 3];
    for i in 0..3 {
        match wanted[i] {
            None => {}
            Some("each") => key[i] = names[i],
            Some(name) if name == names[i] => key[i] = name,
            Some(_) => return None,
        }
    }
    Some(key)
}

/// Cells that must have been tested. `each` stands for what occurs on any side of the ledger.
fn coverage(predictions: &Predictions, asked: &Coverage, ledger: Option<&Ledger>) -> Criterion {
    let classes = predictions.classes().names();
    // (profile, host, phase) with what is not asked for left empty → test windows and episodes
    let mut cells: BTreeMap<[&str; 3], (usize, BTreeSet<&str>)> = BTreeMap::new();
    let wanted = [asked.profile.as_deref(), asked.host.as_deref(), asked.phase.as_deref()];
    if !wanted.contains(&Some("each")) {
        cells.insert(wanted.map(|name| name.unwrap_or("")), (0, BTreeSet::new()));
    }
    for cell in ledger.into_iter().flat_map(Ledger::cells) {
        let seen = [cell.train, cell.validation, cell.test].iter().any(|side| side.windows > 0);
        if let Some(key) = key(&wanted, [cell.profile, cell.host, cell.phase]).filter(|_| seen) {
            cells.entry(key).or_default();
        }
    }
    for row in predictions.rows_of(Side::Test).into_iter().map(|row| predictions.row(row)) {
        if let Some(key) = key(&wanted, [row.profile, row.host, &classes[usize::from(row.label)]]) {
            let cell = cells.entry(key).or_default();
            cell.0 += 1;
            cell.1.insert(row.episode);
        }
    }
    let name_of = |key: &[&str; 3]| {
        key.map(|name| if name.is_empty() { "any".to_owned() } else { printable(name, 24) }).join(" / ")
    };
    let lacking: Vec<String> = cells
        .iter()
        .filter(|(_, (windows, episodes))| *windows < asked.min_windows || episodes.len() < asked.min_episodes)
        .map(|(key, (windows, episodes))| format!("{} has {windows} of {}", name_of(key), episodes.len()))
        .collect();
    let none = cells.is_empty();
    let met = lacking.is_empty() && !none;
    let more = if lacking.len() > SHOWN { format!(" and {} more", lacking.len() - SHOWN) } else { String::new() };
    let found = match (none, met) {
        (true, _) => "the ledger has no such cell".to_owned(),
        (_, true) => String::new(),
        _ => format!("{}{more}", lacking.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ")),
    };
    Criterion {
        name: format!("coverage of {}", name_of(&wanted.map(|name| name.unwrap_or("")))),
        value: Some((cells.len() - lacking.len()) as f64),
        lo: None,
        hi: None,
        unit: None,
        n_units: cells.len(),
        bound: format!(">= {} windows of {} episodes", asked.min_windows, asked.min_episodes),
        outcome: if met { Outcome::Met } else { Outcome::Refused },
        found,
        remedy: if met {
            String::new()
        } else {
            "hold out hosts or samples that have these cells, or collect more of them".into()
        },
    }
}

fn by_cell(predictions: &Predictions) -> BTreeMap<(&str, &str, u16), Vec<usize>> {
    let mut cells: BTreeMap<(&str, &str, u16), Vec<usize>> = BTreeMap::new();
    for row in predictions.rows_of(Side::Test) {
        let of = predictions.row(row);
        cells.entry((of.profile, of.host, of.label)).or_default().push(row);
    }
    cells
}

fn only(predictions: &Predictions, rows: &[usize]) -> Result<Predictions, EvidenceError> {
    let mut part = Predictions::new(predictions.classes().clone());
    for &row in rows {
        part.push(&predictions.row(row))?;
    }
    Ok(part)
}

/// The test rows with other probabilities; `say` fills a row of zeros.
pub(crate) fn with_probabilities(
    predictions: &Predictions,
    mut say: impl FnMut(&Prediction<'_>, &mut [f32]),
) -> Result<Predictions, EvidenceError> {
    let mut others = Predictions::new(predictions.classes().clone());
    let mut said = vec![0.0; predictions.classes().len()];
    for row in predictions.rows_of(Side::Test).into_iter().map(|row| predictions.row(row)) {
        said.fill(0.0);
        say(&row, &mut said);
        others.push(&Prediction { probabilities: &said, ..row })?;
    }
    Ok(others)
}
