//! What is wrong with the plain design, each shown and shown mended.

use stakeout_detect::reliability::{Evidence, Reliability, ReliabilityStore, Verdict, Weighting};

fn after(hits: u32, false_alarms: u32, weighting: Weighting) -> Reliability {
    let mut store = ReliabilityStore::default();
    (0..hits).for_each(|_| store.record("gru", None, Verdict::Hit).unwrap());
    (0..false_alarms).for_each(|_| store.record("gru", None, Verdict::FalseAlarm).unwrap());
    Reliability::new(Evidence::undecayed(&store), store.prior(), weighting).unwrap()
}

fn adjusted(hits: u32, false_alarms: u32, weighting: Weighting) -> f64 {
    after(hits, false_alarms, weighting).adjust(0.6, "gru", None).unwrap()
}

#[test]
fn fault_no_history_multiplies_by_1_but_a_confirmed_hit_by_two_thirds() {
    let plain = Weighting::PosteriorMean;
    assert_eq!(adjusted(0, 0, plain), 0.6);
    assert!((adjusted(1, 0, plain) - 0.6 * 2.0 / 3.0).abs() < 1e-12, "the plain design punishes a hit");
    for mended in [Weighting::LogOdds, Weighting::LowerBound { level: 0.05 }] {
        assert_eq!(adjusted(0, 0, mended), 0.6);
        assert!(adjusted(1, 0, mended) >= 0.6 && adjusted(0, 1, mended) < 0.6);
    }
    assert!((adjusted(1, 0, Weighting::LogOdds) - 0.75).abs() < 1e-12, "odds 1.5 times 2");
}

#[test]
fn fault_a_multiplier_never_exceeds_1() {
    for hits in [1, 10, 1000] {
        assert!(adjusted(hits, 0, Weighting::PosteriorMean) < 0.6, "the plain design never raises a score");
        assert!(adjusted(hits, 0, Weighting::LogOdds) > 0.7);
    }
    assert!(adjusted(10, 0, Weighting::LowerBound { level: 0.05 }) > 0.7);
}

#[test]
fn fault_a_bound_against_the_fleets_bound_would_raise_a_coin() {
    // Right half of the time on 200 alerts: known well, and worth nothing over Beta(1, 1).
    let known = after(100, 100, Weighting::LowerBound { level: 0.05 });
    let (coin, unknown) = (known.standing("gru", None).lo, known.standing("new", None).lo);
    let odds = |p: f64| (p / (1.0 - p)).ln();
    assert!(odds(coin) - odds(unknown) > 2.0, "the difference of two bounds rewards being known");
    assert_eq!(known.shift("gru", None), 0.0);
}
