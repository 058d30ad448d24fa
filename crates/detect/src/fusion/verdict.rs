//! From what detectors said to one verdict.

use serde::{Deserialize, Serialize};

use super::Said;
use crate::DetectError;
use crate::reliability::Reliability;

/// How the probabilities of several detectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The largest. Detectors watch different things, and one that sees nothing of an attack says nothing against it; the
    /// price is up to as many times the false alarms as there are detectors.
    #[default]
    Loudest,
    /// The mean of the log-odds (the logarithmic opinion pool with equal weights: Genest and Zidek, Statistical Science
    /// 1986, section 3): for detectors that watch the same thing.
    Pool,
}

/// How verdicts are reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fusion {
    /// How probabilities become one.
    pub rule: Rule,
    /// From this probability on there is an alert.
    pub threshold: f64,
    /// Share of normal observations that may be called unlike anything seen, over all baselines together.
    pub far: f64,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { rule: Rule::default(), threshold: 0.5, far: 0.001 }
    }
}

/// What is made of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The probability reaches the threshold.
    Alert,
    /// Unlike anything seen: no alert, and no claim that all is well either, for the detectors have learnt nothing of
    /// what lies here.
    Unlike,
    /// Detectors looked and found nothing.
    Quiet,
    /// No detector said anything.
    Blind,
}

/// One detector's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contribution {
    /// Its name.
    pub detector: String,
    /// What it said.
    pub said: Said,
    /// What feedback adds to the log-odds of its probability; 0 for what is none.
    pub shift: f64,
    /// Its probability after feedback.
    pub adjusted: Option<f64>,
}

/// One verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What is made of it.
    pub outcome: Outcome,
    /// The probability of all detectors that gave one; `None` where none did.
    pub probability: Option<f64>,
    /// The p-value of all baselines that gave one, for their number (Bonferroni); `None` where none did.
    pub p_value: Option<f64>,
    /// Every detector's part, in the order in which they were asked.
    pub evidence: Vec<Contribution>,
}

impl Fusion {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a threshold or a share that is not above 0 and at most 1.
    pub fn check(&self) -> Result<(), DetectError> {
        for (what, value) in [("alert threshold", self.threshold), ("share of false `unlike`", self.far)] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(DetectError::Invalid { what, why: format!("{value} is not above 0 and at most 1") });
            }
        }
        Ok(())
    }

    /// The verdict on what detectors said of one observation of a host.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for settings out of range, and for a probability or p-value that is none.
    pub fn verdict(
        &self,
        host: Option<&str>,
        said: &[(&str, Said)],
        reliability: &Reliability,
    ) -> Result<Verdict, DetectError> {
        self.check()?;
        let mut evidence = Vec::with_capacity(said.len());
        for (detector, said) in said {
            let (shift, adjusted) = match said {
                Said::Probability(p) => {
                    (reliability.shift(detector, host), Some(reliability.adjust(*p, detector, host)?))
                }
                Said::PValue(p) if !(0.0..=1.0).contains(p) => {
                    let why = format!("{p} of detector `{detector}` is not between 0 and 1");
                    return Err(DetectError::Invalid { what: "p-value", why });
                }
                Said::PValue(_) | Said::Nothing(_) => (0.0, None),
            };
            evidence.push(Contribution { detector: (*detector).to_owned(), said: said.clone(), shift, adjusted });
        }
        let probability = self.probability(&evidence);
        let p_value = p_value(&evidence);
        let outcome = match (probability, p_value) {
            (Some(p), _) if p >= self.threshold => Outcome::Alert,
            (_, Some(p)) if p <= self.far => Outcome::Unlike,
            (None, None) => Outcome::Blind,
            _ => Outcome::Quiet,
        };
        Ok(Verdict { outcome, probability, p_value, evidence })
    }

    fn probability(&self, evidence: &[Contribution]) -> Option<f64> {
        let mut adjusted: Vec<f64> = evidence.iter().filter_map(|part| part.adjusted).collect();
        adjusted.sort_by(f64::total_cmp); // a sum that does not depend on the order of the detectors
        let loudest = *adjusted.last()?;
        Some(match self.rule {
            Rule::Loudest => loudest,
            Rule::Pool => {
                let log_odds = |p: f64| (p / (1.0 - p)).ln().clamp(-LARGEST, LARGEST);
                let mean = adjusted.iter().map(|p| log_odds(*p)).sum::<f64>() / adjusted.len() as f64;
                1.0 / (1.0 + (-mean).exp())
            }
        })
    }
}

/// Log-odds that a pool takes at most from one detector: nobody is so sure that no other can be heard.
const LARGEST: f64 = 30.0;

fn p_value(evidence: &[Contribution]) -> Option<f64> {
    let values = || {
        evidence.iter().filter_map(|part| match part.said {
            Said::PValue(p) => Some(p),
            _ => None,
        })
    };
    values().reduce(f64::min).map(|least| (least * values().count() as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reliability::{self, ReliabilityStore, Weighting};

    fn feedback(history: &[(&str, u32, u32)]) -> Reliability {
        let mut store = ReliabilityStore::default();
        for (id, hits, alarms) in history {
            (0..*hits).for_each(|_| store.record(id, None, reliability::Verdict::Hit).unwrap());
            (0..*alarms).for_each(|_| store.record(id, None, reliability::Verdict::FalseAlarm).unwrap());
        }
        Reliability::new(reliability::Evidence::undecayed(&store), store.prior(), Weighting::LogOdds).unwrap()
    }

    const IDS: [&str; 4] = ["gru", "gbt", "sequence", "mlp"];

    fn said(percent: &[u32]) -> Vec<(&'static str, Said)> {
        percent.iter().zip(IDS).map(|(p, id)| (id, Said::Probability(f64::from(*p) / 100.0))).collect()
    }

    #[test]
    fn an_alert_is_never_hidden_by_being_unlike_anything_seen() {
        let fusion = Fusion::default();
        let strange = |p: f64| [("gru", Said::Probability(p)), ("baseline", Said::PValue(1e-9))];
        let verdict = fusion.verdict(None, &strange(0.9), &feedback(&[])).unwrap();
        assert_eq!((verdict.outcome, verdict.p_value), (Outcome::Alert, Some(1e-9)));
        assert_eq!(fusion.verdict(None, &strange(0.1), &feedback(&[])).unwrap().outcome, Outcome::Unlike);
        let usual = [("gru", Said::Probability(0.1)), ("baseline", Said::PValue(0.4))];
        assert_eq!(fusion.verdict(None, &usual, &feedback(&[])).unwrap().outcome, Outcome::Quiet);
    }

    #[test]
    fn silence_of_all_is_no_all_clear() {
        let fusion = Fusion::default();
        let silent = |id| (id, Said::Nothing("there is no window".into()));
        assert_eq!(fusion.verdict(None, &[], &feedback(&[])).unwrap().outcome, Outcome::Blind);
        let verdict = fusion.verdict(None, &[silent("gru"), silent("baseline")], &feedback(&[])).unwrap();
        assert_eq!((verdict.outcome, verdict.evidence.len()), (Outcome::Blind, 2));
        let one = fusion.verdict(None, &[silent("gru"), ("mlp", Said::Probability(0.2))], &feedback(&[])).unwrap();
        assert_eq!((one.outcome, one.probability), (Outcome::Quiet, Some(0.2)));
    }

    #[test]
    fn feedback_moves_an_alert_over_the_threshold_and_back() {
        let fusion = Fusion::default();
        let weak = [("gru", Said::Probability(0.3))];
        let outcome = |history: &[(&str, u32, u32)]| fusion.verdict(None, &weak, &feedback(history)).unwrap().outcome;
        assert_eq!(outcome(&[]), Outcome::Quiet);
        assert_eq!(outcome(&[("gru", 5, 0)]), Outcome::Alert);
        assert_eq!(outcome(&[("gru", 5, 9)]), Outcome::Quiet);
        assert_eq!(outcome(&[("other", 50, 0)]), Outcome::Quiet);
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            for said in [Said::Probability(bad), Said::PValue(bad)] {
                assert!(Fusion::default().verdict(None, &[("gru", said)], &feedback(&[])).is_err(), "{bad}");
            }
            let fusion = Fusion { threshold: bad, ..Fusion::default() };
            assert!(fusion.verdict(None, &[], &feedback(&[])).is_err(), "{bad}");
        }
    }

    /// With p-values uniform, as they are on normal observations, at most the asked share is called unlike, however many
    /// baselines look.
    #[test]
    fn normal_observations_are_rarely_unlike_however_many_baselines_look() {
        let fusion = Fusion { far: 0.05, ..Fusion::default() };
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for baselines in 1..=4 {
            let draws = 4000;
            let unlike = (0..draws).filter(|_| {
                let said: Vec<_> = IDS[..baselines].iter().map(|id| (*id, Said::PValue(uniform()))).collect();
                fusion.verdict(None, &said, &feedback(&[])).unwrap().outcome == Outcome::Unlike
            });
            let share = unlike.count() as f64 / f64::from(draws);
            let deviation = (0.05 * 0.95 / f64::from(draws)).sqrt();
            assert!(share < 0.05 + 4.0 * deviation && share > 0.03, "{baselines}: {share}");
        }
    }

    proptest! {
        #[test]
        fn louder_is_never_quieter_and_the_order_does_not_matter(
            percent in prop::collection::vec(0u32..=100, 1..=4), more in 0u32..=100, which in 0usize..4, pool in any::<bool>(),
            hits in 0u32..30, alarms in 0u32..30,
        ) {
            let fusion = Fusion { rule: if pool { Rule::Pool } else { Rule::Loudest }, ..Fusion::default() };
            let which = which % percent.len();
            let history = [(IDS[which], hits, alarms)];
            let verdict = |percent: &[u32], history: &[(&str, u32, u32)]| {
                fusion.verdict(None, &said(percent), &feedback(history)).unwrap()
            };
            let before = verdict(&percent, &history);
            let probability = before.probability.unwrap();
            prop_assert!((0.0..=1.0).contains(&probability));
            let mut louder = percent.clone();
            louder[which] = louder[which].max(more);
            prop_assert!(verdict(&louder, &history).probability.unwrap() >= probability);
            prop_assert!(verdict(&percent, &[(IDS[which], hits + 1, alarms)]).probability.unwrap() >= probability - 1e-12);
            prop_assert!(verdict(&percent, &[(IDS[which], hits, alarms + 1)]).probability.unwrap() <= probability + 1e-12);
            let mut turned = said(&percent);
            turned.reverse();
            let turned = fusion.verdict(None, &turned, &feedback(&history)).unwrap();
            prop_assert_eq!(turned.probability, before.probability);
            if !pool {
                let plain = verdict(&percent, &[]).probability.unwrap();
                prop_assert_eq!(plain, f64::from(*percent.iter().max().unwrap()) / 100.0);
            }
        }
    }
}
