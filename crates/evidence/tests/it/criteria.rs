//! Each criterion, against slow twins and at its edges.

use proptest::prelude::*;
use stakeout_core::Side;
use stakeout_eval::{Prediction, Predictions};
use stakeout_evidence::{Beside, Incumbent, Outcome};

use crate::world::{Window, judge, judge_beside, met, named, predictions, regular};

fn good(_: usize, label: u16, _: usize) -> f32 {
    0.04 + 0.92 * f32::from(label)
}

fn incumbent(of: &Predictions) -> Incumbent {
    Incumbent { id: "f".repeat(64), predictions: of.clone(), favour: None }
}

fn with(incumbent: &Incumbent) -> Beside<'_> {
    Beside { incumbent: Some(Ok(incumbent)), ..Beside::default() }
}

#[test]
fn a_good_detector_meets_the_default_policy() {
    let criteria = judge(&predictions(&regular(12, 4, good)), "");
    assert!(met(&criteria), "{criteria:#?}");
    assert_eq!(criteria.len(), 4);
}

#[test]
fn an_end_of_an_interval_that_is_not_there_is_no_end_that_holds() {
    let one = predictions(&regular(1, 4, good));
    let criteria =
        judge(&one, "[accuracy]\nmin = 0.5\nby = \"lower\"\n[debiased_calibration_error]\nmax = 0.9\nby = \"upper\"");
    for name in ["accuracy", "gain over constant", "debiased"] {
        let found = named(&criteria, name);
        assert_eq!(found.outcome, Outcome::Refused, "{found:?}");
        assert!(
            found.found.contains("no interval: it takes 2 episodes, tested were 1")
                || found.found.contains("not defined"),
            "{found:?}"
        );
    }
    assert_eq!(named(&criteria, "calibration error").outcome, Outcome::Met);
}

/// Half way between figure and end: met by the one, refused by the other.
#[test]
fn the_end_of_the_interval_is_what_is_held_where_it_is_asked_for() {
    const ALL: &str = "[macro_f1]\nmin = 0.0\n[debiased_calibration_error]\nmax = 1.0\nby = \"upper\"";
    // Every third episode is mostly wrong, so that episodes differ.
    let windows =
        regular(
            12,
            4,
            |episode, label, i| {
                if episode % 3 == 0 && i < 7 { 0.9 - 0.8 * f32::from(label) } else { good(episode, label, i) }
            },
        );
    let predictions = predictions(&windows);
    let all = judge(&predictions, ALL);
    for (section, name, key, end) in [
        ("accuracy", "accuracy", "min", "lower"),
        ("macro_f1", "macro F1", "min", "lower"),
        ("calibration_error", "calibration error", "max", "upper"),
        ("debiased_calibration_error", "debiased", "max", "upper"),
    ] {
        let figure = named(&all, name);
        let (value, end_at) = (figure.value.unwrap(), if end == "lower" { figure.lo } else { figure.hi }.unwrap());
        assert!((value - end_at).abs() > 0.01 && (end == "lower") == (end_at < value), "{figure:?}");
        let bound = 0.5 * (value + end_at);
        for (by, outcome) in [("point", Outcome::Met), (end, Outcome::Refused)] {
            let found = judge(&predictions, &format!("[{section}]\n{key} = {bound:?}\nby = \"{by}\""));
            assert_eq!(named(&found, name).outcome, outcome, "{section} by {by}");
        }
    }
}

#[test]
fn a_latency_that_is_too_long_or_was_not_measured_is_refused() {
    let windows = predictions(&regular(12, 4, good));
    let asked = |p99_ms: Option<f64>| {
        let latency = p99_ms.map(|p99_ms| stakeout_trainer::Latency { median_ms: 0.5, p99_ms, windows: 50 });
        let found = judge_beside(&windows, "[latency]\np99_ms = 2.0", &Beside { latency, ..Beside::default() });
        named(&found, "latency").outcome
    };
    assert_eq!(
        [Some(2.0), Some(2.001), Some(f64::NAN), None].map(asked),
        [Outcome::Met, Outcome::Refused, Outcome::Refused, Outcome::Refused]
    );
}

#[test]
fn nothing_is_met_by_nothing() {
    let criteria = judge(&predictions(&[]), "[macro_f1]\nmin = 0.0\n[[coverage]]\nphase = \"attack\"");
    assert!(criteria.iter().all(|criterion| criterion.outcome == Outcome::Refused), "{criteria:#?}");
}

#[test]
fn a_class_without_a_test_window_was_not_recalled() {
    let all_clean = predictions(&regular(12, 0, good));
    let criteria = judge(&all_clean, "");
    assert!(named(&criteria, "recall").found.contains("attack was never tested"));
    assert_eq!(named(&judge(&all_clean, "[recall]\nclasses = [\"clean\"]"), "recall").outcome, Outcome::Met);
    let unknown = judge(&all_clean, "[recall]\nclasses = [\"claen\"]");
    assert!(named(&unknown, "recall").found.contains("there is no class claen"));
}

#[test]
fn the_current_model_is_beaten_kept_or_not_there() {
    const POLICY: &str = "[gain_over_incumbent]\nabove = 0.0";
    let better = predictions(&regular(12, 4, good));
    let worse = predictions(&regular(
        12,
        4,
        |_, label, i| if i % 4 == 3 { 0.9 - 0.8 * f32::from(label) } else { good(0, label, i) },
    ));
    let name = "gain over current model";
    assert_eq!(named(&judge(&better, POLICY), name).outcome, Outcome::NotJudged);
    let (of_worse, of_better) = (incumbent(&worse), incumbent(&better));
    assert_eq!(named(&judge_beside(&better, POLICY, &with(&of_worse)), name).outcome, Outcome::Met);
    assert_eq!(named(&judge_beside(&worse, POLICY, &with(&of_better)), name).outcome, Outcome::Refused);
    assert_eq!(
        named(&judge_beside(&better, POLICY, &with(&of_better)), name).outcome,
        Outcome::Refused,
        "an equal one is no gain"
    );
    let lenient = "[gain_over_incumbent]\nabove = -0.01";
    assert_eq!(named(&judge_beside(&better, lenient, &with(&of_better)), name).outcome, Outcome::Met);
    let gone = Beside { incumbent: Some(Err("it was tested on other windows".into())), ..Beside::default() };
    let found = judge_beside(&better, POLICY, &gone);
    assert_eq!(named(&found, name).outcome, Outcome::Refused);
    assert!(named(&found, name).found.contains("other windows") && named(&found, name).remedy.contains("--store"));
}

#[test]
fn the_worst_cell_is_named_whatever_the_mean_says() {
    const POLICY: &str = "[worst_cell]\nmargin = 0.1\nmin_windows = 10\nmin_episodes = 3";
    let base = regular(36, 4, |_, label, i| if i % 2 == 0 { good(0, label, i) } else { 0.5 });
    // Better everywhere, but blind to attacks of p1 on h2.
    let blind = |episode: usize| episode % 3 == 2 && episode % 2 == 1;
    let next =
        regular(36, 4, |episode, label, i| if label == 1 && blind(episode) { 0.1 } else { good(episode, label, i) });
    let old = incumbent(&predictions(&base));
    let criteria =
        judge_beside(&predictions(&next), &format!("{POLICY}\n[gain_over_incumbent]\nabove = 0.0"), &with(&old));
    assert_eq!(named(&criteria, "gain over current").outcome, Outcome::Met, "{criteria:#?}");
    let worst = named(&criteria, "worst cell");
    assert_eq!(worst.outcome, Outcome::Refused);
    assert!(worst.found.contains("p1 / h2 / attack, the worst of 12 cells"), "{worst:?}");
    let same = incumbent(&predictions(&next));
    assert_eq!(named(&judge_beside(&predictions(&next), POLICY, &with(&same)), "worst cell").outcome, Outcome::Met);
    let few =
        judge_beside(&predictions(&regular(2, 4, good)), POLICY, &with(&incumbent(&predictions(&regular(2, 4, good)))));
    assert!(named(&few, "worst cell").found.contains("no cell has"));
}

#[test]
fn cells_that_were_not_tested_are_named() {
    let windows = regular(12, 4, good);
    let one = judge(
        &predictions(&windows),
        "[[coverage]]\nprofile = \"p1\"\nphase = \"attack\"\nmin_windows = 24\nmin_episodes = 6",
    );
    assert_eq!(named(&one, "coverage of p1 / any / attack").outcome, Outcome::Met);
    let more = judge(&predictions(&windows), "[[coverage]]\nprofile = \"p1\"\nphase = \"attack\"\nmin_windows = 25");
    assert!(named(&more, "coverage").found.contains("p1 / any / attack has 24 of 6"), "{more:#?}");
    let absent = judge(&predictions(&windows), "[[coverage]]\nprofile = \"p9\"");
    assert!(named(&absent, "coverage").found.contains("p9 / any / any has 0 of 0"));
    assert_eq!([&more, &absent].map(|found| named(found, "coverage").outcome), [Outcome::Refused, Outcome::Refused]);
}

/// Windows of at most 6 episodes, 2 hosts and 2 profiles.
fn windows() -> impl Strategy<Value = Vec<Window>> {
    proptest::collection::vec((0usize..6, 0u16..2, 0u32..=20), 1..60).prop_map(|drawn| {
        drawn
            .into_iter()
            .map(|(episode, label, p)| Window {
                episode,
                host: episode % 2,
                profile: episode / 3,
                label,
                p: p as f32 / 20.0,
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Figures come out of a loop over windows, and a bound holds exactly where the figure does.
    #[test]
    fn figures_and_verdicts_are_those_of_a_loop(windows in windows(), bound in 0u32..=20) {
        let bound = f64::from(bound) / 20.0;
        let called = |window: &Window| u16::from(window.p > 0.5);
        let right = windows.iter().filter(|window| called(window) == window.label).count();
        let accuracy = right as f64 / windows.len() as f64;
        let recall = |class: u16| {
            let of: Vec<&Window> = windows.iter().filter(|window| window.label == class).collect();
            let hits = of.iter().filter(|window| called(window) == class).count();
            (!of.is_empty()).then(|| hits as f64 / of.len() as f64)
        };
        let criteria = judge(&predictions(&windows), &format!(
            "[intervals]\nresamples = 500\nlevel = 0.95\nseed = 0\n[accuracy]\nmin = {bound:?}\n[recall]\nabove = {bound:?}\n\
             [calibration_error]\nmax = {bound:?}"
        ));
        let found = named(&criteria, "accuracy");
        prop_assert!((found.value.unwrap() - accuracy).abs() < 1e-12);
        prop_assert_eq!(found.outcome == Outcome::Met, found.value.unwrap() >= bound);
        let found = named(&criteria, "recall");
        let each = [recall(0), recall(1)];
        prop_assert_eq!(found.value, each.iter().flatten().copied().reduce(f64::min));
        prop_assert_eq!(found.outcome == Outcome::Met, each.iter().all(|recall| recall.is_some_and(|recall| recall > bound)));

        let mut of_episode = [0.0f64; 6];
        windows.iter().for_each(|window| of_episode[window.episode] += 1.0);
        let (mut total, mut bins) = (0.0, [[0.0f64; 2]; 15]);
        for window in &windows {
            let weight = 1.0 / of_episode[window.episode];
            let confidence = f64::from(window.p.max(1.0 - window.p));
            let bin = ((confidence * 15.0) as usize).min(14);
            bins[bin][0] += weight * confidence;
            bins[bin][1] += if called(window) == window.label { weight } else { 0.0 };
            total += weight;
        }
        let ece = bins.iter().map(|[confidence, right]| (confidence - right).abs()).sum::<f64>() / total;
        let found = named(&criteria, "calibration error");
        prop_assert!((found.value.unwrap() - ece).abs() < 1e-9, "{:?} against {}", found.value, ece);
        prop_assert_eq!(found.outcome == Outcome::Met, found.value.unwrap() <= bound);
    }

    /// A criterion is the same for any order of the windows, and a gain's interval holds its figure's sign: against
    /// itself a model gains nothing.
    #[test]
    fn order_changes_nothing_and_nobody_beats_themselves(windows in windows(), turn in 0usize..60) {
        const POLICY: &str = "[intervals]\nresamples = 500\nlevel = 0.9\nseed = 3\n[gain_over_incumbent]\nabove = 0.0\n[macro_f1]\nmin = 0.5\nby = \"lower\"";
        let all = predictions(&windows);
        let mut turned = Predictions::new(all.classes().clone());
        let rows = all.rows_of(Side::Test);
        for &row in rows.iter().skip(turn % rows.len()).chain(&rows[..turn % rows.len()]) {
            let row: Prediction<'_> = all.row(row);
            turned.push(&row).unwrap();
        }
        let own = incumbent(&all);
        let first = judge_beside(&all, POLICY, &with(&own));
        prop_assert_eq!(&first, &judge_beside(&turned, POLICY, &with(&own)));
        let gain = named(&first, "gain over current");
        prop_assert_eq!(gain.value, Some(0.0));
        prop_assert_eq!(gain.outcome, Outcome::Refused);
    }
}
