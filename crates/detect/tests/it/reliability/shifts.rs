//! Properties of the shift and of the counters.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use stakeout_detect::reliability::{Evidence, Reliability, ReliabilityStore, Verdict, Weighting, from_bytes};

const WEIGHTINGS: [Weighting; 3] =
    [Weighting::LogOdds, Weighting::LowerBound { level: 0.05 }, Weighting::LowerBound { level: 0.3 }];

/// What logarithms may be off by, and what the search for a quantile may.
fn rounding(weighting: Weighting) -> f64 {
    if weighting == Weighting::LogOdds { 1e-12 } else { 1e-9 }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    /// Hits and false alarms on host `a`, on host `b`, on no host.
    cells: [(u64, u64); 3],
    /// Twentieths.
    prior: (u32, u32),
    host_strength: u32,
}

impl Case {
    fn reliability(self, weighting: Weighting) -> Reliability {
        let [a, b, none] = self.cells;
        let cell = |(hits, misses): (u64, u64)| json!({ "alpha": hits + 1, "beta": misses + 1 });
        let total = cell((a.0 + b.0 + none.0, a.1 + b.1 + none.1));
        let (alpha, beta) = (f64::from(self.prior.0) / 20.0, f64::from(self.prior.1) / 20.0);
        let store = json!({
            "version": 1,
            "prior": { "revision": 1, "fleet": { "alpha": alpha, "beta": beta }, "host_strength": self.host_strength },
            "detectors": { "d": { "alpha": total["alpha"], "beta": total["beta"], "hosts": { "a": cell(a), "b": cell(b) } } },
        });
        let store = from_bytes(store.to_string().as_bytes(), Path::new("case")).unwrap();
        Reliability::new(Evidence::undecayed(&store), store.prior(), weighting).unwrap()
    }
}

fn case() -> impl Strategy<Value = Case> {
    let count = prop_oneof![0..3u64, 0..100u64, 0..1_000_000_000u64];
    let cell = (count.clone(), count);
    let cells = [cell.clone(), cell.clone(), cell];
    (cells, (1..400u32, 1..400u32), 1..1000u32).prop_map(|(cells, prior, host_strength)| Case {
        cells,
        prior,
        host_strength,
    })
}

proptest! {
    #[test]
    fn a_hit_never_lowers_and_a_false_alarm_never_raises(case in case(), place in 0..3usize, probability in 1..1000u32) {
        let probability = f64::from(probability) / 1000.0;
        let mut hit = case;
        hit.cells[place].0 += 1;
        let mut miss = case;
        miss.cells[place].1 += 1;
        for weighting in WEIGHTINGS {
            let rounding = rounding(weighting);
            let (before, hit, miss) = (case.reliability(weighting), hit.reliability(weighting), miss.reliability(weighting));
            for host in [None, Some("a"), Some("b"), Some("never seen")] {
                let shift = |known: &Reliability| known.shift("d", host);
                prop_assert!(shift(&hit) >= shift(&before) - rounding, "{weighting:?} {host:?}: {} {}", shift(&before), shift(&hit));
                prop_assert!(shift(&miss) <= shift(&before) + rounding, "{weighting:?} {host:?}: {} {}", shift(&before), shift(&miss));
                let to = |known: &Reliability| known.adjust(probability, "d", host).unwrap();
                prop_assert!(to(&miss) <= to(&before) + rounding && to(&before) <= to(&hit) + rounding);
            }
        }
    }

    #[test]
    fn no_history_moves_nothing(prior in (1..400u32, 1..400u32), host_strength in 1..1000u32, p in 0..=1000u32) {
        let case = Case { cells: [(0, 0); 3], prior, host_strength };
        let p = f64::from(p) / 1000.0;
        for weighting in WEIGHTINGS.into_iter().chain([Weighting::PosteriorMean]) {
            let known = case.reliability(weighting);
            for (id, host) in [("d", None), ("d", Some("a")), ("other", None), ("other", Some("a"))] {
                prop_assert_eq!(known.shift(id, host), 0.0);
                prop_assert_eq!(known.adjust(p, id, host).unwrap(), p);
            }
        }
    }

    #[test]
    fn the_bound_never_rises_above_the_mean(case in case()) {
        let (mean, bound) = (case.reliability(Weighting::LogOdds), case.reliability(Weighting::LowerBound { level: 0.05 }));
        for host in [None, Some("a")] {
            prop_assert!(bound.shift("d", host) <= mean.shift("d", host));
        }
    }

    /// The distribution function of a Beta with whole parameters is a binomial tail, summed term by term.
    #[test]
    fn credible_bounds_are_those_of_a_binomial_tail(hits in 0..60u64, misses in 0..60u64) {
        let case = Case { cells: [(0, 0), (0, 0), (hits, misses)], prior: (20, 20), host_strength: 10 };
        let standing = case.reliability(Weighting::LogOdds).standing("d", None);
        for (x, level) in [(standing.lo, 0.05), (standing.hi, 0.95)] {
            let n = hits + misses + 1;
            let term = |j: u64| {
                let choose: f64 = (0..j).map(|i| ((n - i) as f64 / (j - i) as f64).ln()).sum();
                (choose + j as f64 * x.ln() + (n - j) as f64 * (1.0 - x).ln()).exp()
            };
            let below: f64 = (hits + 1..=n).map(term).sum();
            prop_assert!((below - level).abs() < 1e-9, "{below} {level}");
        }
    }

    #[test]
    fn merging_is_counting_one_after_the_other(
        said in proptest::collection::vec((0..4u8, 0..3u8, any::<bool>()), 0..60), cut in 0..60usize,
    ) {
        let mut all = ReliabilityStore::default();
        let mut parts = [ReliabilityStore::default(), ReliabilityStore::default()];
        for (i, (detector, host, hit)) in said.iter().enumerate() {
            let verdict = if *hit { Verdict::Hit } else { Verdict::FalseAlarm };
            let host = (*host > 0).then(|| format!("h{host}"));
            let part = &mut parts[usize::from(i >= cut)];
            for store in [&mut all, part] {
                store.record(&format!("d{detector}"), host.as_deref(), verdict).unwrap();
            }
        }
        let [first, second] = parts;
        let (mut one, mut other) = (first.clone(), second.clone());
        one.merge(&second);
        other.merge(&first);
        prop_assert_eq!(&one, &all);
        prop_assert_eq!(&other, &all);
    }
}

#[test]
fn counters_at_the_largest_number_stay_and_shifts_stay_finite() {
    let full = u64::MAX;
    for (alpha, beta) in [(full, full), (full, 1), (1, full), (full, 7)] {
        let text = json!({ "version": 1, "detectors": { "d": { "alpha": alpha, "beta": beta } } }).to_string();
        let mut store = from_bytes(text.as_bytes(), Path::new("case")).unwrap();
        let before = store.clone();
        store.record("d", Some("h"), Verdict::Hit).unwrap();
        store.record("d", Some("h"), Verdict::FalseAlarm).unwrap();
        let (now, then) = (store.detectors()["d"].total(), before.detectors()["d"].total());
        assert_eq!((now.alpha(), now.beta()), (then.alpha().saturating_add(1), then.beta().saturating_add(1)));
        for weighting in WEIGHTINGS.into_iter().chain([Weighting::PosteriorMean]) {
            let known = Reliability::new(Evidence::undecayed(&store), store.prior(), weighting).unwrap();
            for host in [None, Some("h"), Some("other")] {
                let standing = known.standing("d", host);
                assert!(standing.shift.is_finite() && standing.lo <= standing.hi, "{alpha} {beta} {standing:?}");
                assert!((0.0..=1.0).contains(&known.adjust(0.5, "d", host).unwrap()));
            }
        }
    }
}

#[test]
fn what_is_no_probability_or_no_level_is_refused() {
    let known = |weighting| Reliability::new(Evidence::default(), ReliabilityStore::default().prior(), weighting);
    for level in [0.0, 0.5, -1.0, f64::NAN] {
        assert!(known(Weighting::LowerBound { level }).is_err(), "{level}");
    }
    let known = known(Weighting::LogOdds).unwrap();
    for probability in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(known.adjust(probability, "d", None).is_err(), "{probability}");
    }
    assert_eq!((known.adjust(0.0, "d", None).unwrap(), known.adjust(1.0, "d", None).unwrap()), (0.0, 1.0));
}

#[test]
fn what_was_seen_on_other_hosts_is_borrowed_and_fades_before_the_hosts_own() {
    let case = |cells| Case { cells, prior: (20, 20), host_strength: 10 }.reliability(Weighting::LogOdds);
    let elsewhere = case([(0, 0), (50, 0), (0, 0)]);
    assert!(
        elsewhere.shift("d", Some("a")) > 2.0 && elsewhere.shift("d", Some("a")) == elsewhere.shift("d", Some("new"))
    );
    // Fifty hits elsewhere weigh at most what ten alerts here do: twenty false alarms here outweigh them.
    let both = case([(0, 20), (50, 0), (0, 0)]);
    assert!(both.shift("d", Some("a")) < 0.0 && both.shift("d", Some("b")) > 1.0 && both.shift("d", None) > 0.5);
}
