//! Probabilities on the terminal: a compact block under the scores, and the whole account with its reliability table.

use super::table::{Table, count, estimate, number, units, wrap};
use crate::evaluation::Evaluation;
use crate::{Estimate, Parts, ProbabilityScores};

/// Columns of the bar of a reliability bin.
const BAR: usize = 20;

/// Brier score, log loss and debiased calibration error beside those of the training side's class frequencies.
pub(super) fn block(out: &mut String, model: &str, evaluation: &Evaluation) {
    let Some(own) = &evaluation.test.calibration else { return };
    let mut table = Table::new(&["probabilities", "Brier", "log loss", "ECE, debiased"]);
    let mut add = |name: String, it: &ProbabilityScores| {
        table.row([name, estimate(&it.brier.score), estimate(&it.log_loss.score), estimate(&it.ece.debiased)]);
    };
    if let Some(constant) = &evaluation.constant.calibration {
        add("class frequencies".into(), constant);
    }
    add(model.to_owned(), own);
    table.write(out);
    let by = units(&own.brier.score);
    wrap(out, "  ", &format!("an episode weighs 1; by {by}; the reliability table: `stakeout eval RUN` or --verbose"));
}

/// Every figure of the probabilities with its parts, and the reliability table.
pub fn probabilities(scores: &ProbabilityScores) -> String {
    let mut out = String::new();
    let by = units(&scores.brier.score);
    let ProbabilityScores { brier, log_loss, ece, reliability } = scores;

    let mut table = Table::new(&[&format!("probabilities, by {by}"), "Brier", "log loss"]);
    let part = |of: fn(&Parts) -> &Estimate| [estimate(of(brier)), estimate(of(log_loss))];
    for (name, of) in [
        ("score", (|parts| &parts.score) as fn(&Parts) -> &Estimate),
        ("= reliability", |parts| &parts.reliability),
        ("- resolution", |parts| &parts.resolution),
        ("+ uncertainty", |parts| &parts.uncertainty),
    ] {
        let [brier, log_loss] = part(of);
        table.row([name.to_owned(), brier, log_loss]);
    }
    table.write(&mut out);

    let mut table = Table::new(&["calibration error", ""]);
    for (name, figure) in [
        ("equal width", &ece.equal_width),
        ("equal weight", &ece.equal_mass),
        ("classwise", &ece.classwise),
        ("debiased", &ece.debiased),
    ] {
        table.row([name.to_owned(), estimate(figure)]);
    }
    table.write(&mut out);

    let mut table =
        Table::new(&["confidence", "mean", "accuracy", "weight", "windows", "episodes", "| accuracy, o mean"]);
    for bin in reliability {
        table.row([
            format!("{:.2} to {:.2}", bin.from, bin.to),
            number(Some(bin.confidence)),
            estimate(&bin.accuracy),
            format!("{:.1} %", 100.0 * bin.weight),
            count(bin.n_windows),
            count(bin.n_episodes),
            bar(bin.accuracy.point.unwrap_or(0.0), bin.confidence),
        ]);
    }
    table.write(&mut out);
    out
}

/// Accuracy and mean confidence on a line from 0 to 1; `*` where both fall together.
fn bar(accuracy: f64, confidence: f64) -> String {
    let place = |share: f64| ((share * BAR as f64) as usize).min(BAR - 1);
    let (saw, said) = (place(accuracy), place(confidence));
    let at = |column| match (column == saw, column == said) {
        (true, true) => '*',
        (true, false) => '|',
        (false, true) => 'o',
        (false, false) => '.',
    };
    (0..BAR).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_both() {
        assert_eq!(bar(0.0, 1.0), "|..................o");
        assert_eq!(bar(0.5, 0.52), "..........*.........");
    }
}
