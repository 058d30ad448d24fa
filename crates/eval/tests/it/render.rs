//! Reports: what they look like, that they fit, and that a name cannot steer them.

use proptest::prelude::*;
use stakeout_eval::render::{GridEntry, GridReport, GridRow};
use stakeout_eval::{
    Estimate, Plan, Prediction, Predictions, Provenance, Run, TrainSide, Unit, metrics, render, summary,
};

use crate::world::{Case, class_list, folds, predictions};

fn provenance(simulated: bool) -> Provenance {
    Provenance {
        model: "gru".into(),
        recipe: "host".into(),
        view: "realistic".into(),
        scaler: "global".into(),
        seed: 1,
        schema_hash: "5f2c9a".repeat(10),
        held_out: (0..6).map(|host| format!("pi-{host}")).collect(),
        data: "fleet, digest 3b1f90c2".into(),
        selection: "epoch with the best validation macro F1, ties by validation loss".into(),
        simulated,
    }
}

fn train() -> TrainSide {
    TrainSide { windows: vec![6000, 3000, 100, 0], episodes: 910, hosts: 8 }
}

const LEDGER: &str = "untested: wiper on pi-3 (dormant)\ntoo few: cryptominer on pi-1 (infecting): 3 windows\n";

#[test]
fn report_of_one_run() {
    let it = predictions(&Case { seed: 1, hosts: 6, episodes: 90 });
    let metrics = metrics(&it, &train(), &Plan::default()).unwrap();
    insta::assert_snapshot!(render::report(&metrics, &provenance(true), LEDGER));
}

#[test]
fn report_of_one_host() {
    let it = predictions(&Case { seed: 2, hosts: 1, episodes: 12 });
    let metrics = metrics(&it, &train(), &Plan::default()).unwrap();
    let provenance = Provenance { held_out: vec!["pi-0".into()], ..provenance(false) };
    insta::assert_snapshot!(render::report(&metrics, &provenance, ""));
}

#[test]
fn report_of_many_folds() {
    let train = train();
    let seeds = [(1, folds(1, 6)), (2, folds(2, 6))];
    let run = |seed, held_out, predictions| Run { held_out, seed, predictions, train: &train };
    let runs: Vec<Run<'_>> = seeds
        .iter()
        .flat_map(|(seed, folds)| folds.iter().map(|(name, predictions)| run(*seed, name.as_str(), predictions)))
        .collect();
    let got = summary(&runs, Unit::Host, &Plan::default()).unwrap();
    insta::assert_snapshot!(render::summary(&got, &provenance(false), LEDGER));
}

fn grid(names: [&str; 3], groups: &[&str]) -> GridReport {
    let estimate = |point: f64, n_units: usize| Estimate {
        point: Some(point),
        lo: Some(point - 0.05),
        hi: Some(point + 0.05),
        unit: Unit::Episode,
        n_units,
    };
    let scored =
        |point, seconds| GridEntry::Scored { macro_f1: estimate(point, 80), accuracy: estimate(point, 80), seconds };
    let row = |name: &str, entry: &dyn Fn(usize) -> GridEntry| GridRow {
        name: name.into(),
        entries: (0..groups.len()).map(entry).collect(),
    };
    GridReport {
        simulated: true,
        provenance: vec![("recipe".into(), "host".into()), ("seed".into(), "1".into())],
        held_out: vec!["pi-0".into(), "pi-1".into()],
        bootstrap: Some(Plan::default()),
        groups: groups.iter().map(ToString::to_string).collect(),
        rows: vec![
            row(names[0], &|_| scored(0.087, None)),
            row(names[1], &|i| if i == 1 { GridEntry::Failed } else { scored(0.657, Some((3.21, i == 2))) }),
            row(names[2], &|i| if i == 2 { GridEntry::Untested } else { scored(0.69, Some((12_345.6, false))) }),
        ],
        notes: vec!["gbt-realistic-host-clean failed: no calibration window for pi-3".into()],
    }
}

#[test]
fn report_of_a_grid() {
    let groups = ["realistic, global", "realistic, host-clean", "oracle, global"];
    insta::assert_snapshot!(render::grid(&grid(["constant", "gbt", "gru"], &groups)));
}

#[test]
fn the_whole_account_of_probabilities() {
    let plain = predictions(&Case { seed: 1, hosts: 6, episodes: 90 });
    let mut it = Predictions::new(class_list());
    for row in 0..plain.len() {
        // Five degrees of certainty that say nothing about being right.
        let mut probabilities = plain.row(row).probabilities.to_vec();
        stakeout_core::Calibration::Temperature { t: 0.3 + 0.3 * (row % 5) as f64 }.apply(&mut probabilities);
        it.push(&Prediction { probabilities: &probabilities, ..plain.row(row) }).unwrap();
    }
    let metrics = metrics(&it, &train(), &Plan::default()).unwrap();
    let text = render::probabilities(metrics.test.calibration.as_ref().unwrap());
    assert_printable(&text);
    insta::assert_snapshot!(text);
}

fn assert_printable(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        let steers = |c: char| {
            c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.chars().any(steers), "{line:?}");
    }
}

/// Two rows whose names are all the given ones.
fn named(host: &str, profile: &str) -> Predictions {
    let mut out = Predictions::new(class_list());
    for (i, label) in [0u16, 1].into_iter().enumerate() {
        out.push(&Prediction {
            side: stakeout_core::Side::Test,
            fold: host,
            seed: 1,
            episode: &format!("{i}"),
            host,
            sample: host,
            profile,
            t0_ns: 0,
            t_onset_ns: None,
            observed_seconds: 1.0,
            label,
            probabilities: &[0.25; 4],
        })
        .unwrap();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_name_widens_or_steers_a_report(host in "\\\\PC*|.{0,300}", profile in any::<String>(), ledger in any::<String>()) {
        let it = named(&host, &profile);
        let train = train();
        let provenance = Provenance { held_out: vec![host.clone(); 9], selection: profile.clone(), ..provenance(true) };
        let plan = Plan { resamples: 20, ..Plan::default() };
        assert_printable(&render::report(&metrics(&it, &train, &plan).unwrap(), &provenance, &ledger));
        let run = Run { held_out: &host, seed: 1, predictions: &it, train: &train };
        assert_printable(&render::summary(&summary(&[run], Unit::Host, &plan).unwrap(), &provenance, &ledger));
        let mut of_grid = grid([&host, &profile, "gru"], &[&host, &profile, &ledger]);
        of_grid.provenance.push((host.clone(), profile.clone()));
        of_grid.notes.push(ledger);
        of_grid.rows[1].entries.pop();
        assert_printable(&render::grid(&of_grid));
    }
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}pi\r\n\u{2066}";
    assert_printable(&render::report(
        &metrics(&named(hostile, hostile), &train(), &Plan::default()).unwrap(),
        &provenance(false),
        hostile,
    ));
}

#[test]
fn many_classes_with_large_counts_fit() {
    let names: Vec<String> = (0..120).map(|i| format!("a-class-with-quite-a-long-name-{i}")).collect();
    let mut it = Predictions::new(stakeout_core::ClassList::try_from(names).unwrap());
    let flat = named("h", "p");
    for label in 0..120u16 {
        let mut probabilities = [0.0f32; 120];
        probabilities[usize::from(119 - label)] = 1.0;
        it.push(&Prediction { label, probabilities: &probabilities, ..flat.row(0) }).unwrap();
    }
    let train = TrainSide { windows: vec![0; 120], episodes: 0, hosts: 0 };
    let mut got = metrics(&it, &train, &Plan { resamples: 10, ..Plan::default() }).unwrap();
    got.confusion.counts.iter_mut().flatten().for_each(|n| *n = 123_456_789);
    for class in &mut got.test.per_class {
        (class.support, class.predicted) = (20_000_000, 20_000_000);
    }
    assert_printable(&render::report(&got, &provenance(true), ""));
    let mut calibration = got.test.calibration.unwrap();
    for bin in &mut calibration.reliability {
        (bin.n_windows, bin.n_episodes) = (20_000_000, 100_000);
    }
    assert_printable(&render::probabilities(&calibration));
}
