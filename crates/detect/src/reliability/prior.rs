//! The fleet's prior: what is expected of a detector of which nothing is known yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::fit::{self, Group};
use super::posterior::host_weight;
use super::store::ReliabilityStore;

/// Fewer detectors than this say nothing about a fleet.
pub const FEWEST_DETECTORS: usize = 5;

/// Host strength before any fit: a host's own ten alerts weigh as much as all that was seen elsewhere.
pub const HOST_STRENGTH: f64 = 10.0;

/// Candidates of the host strength: 1 to 1000, equal steps of the logarithm.
const STRENGTH_STEPS: usize = 49;
/// Natural log of the last candidate.
const LOG_LARGEST_STRENGTH: f64 = 6.907_755_278_982_137;
/// Standard deviation of the logarithm of the host strength around [`HOST_STRENGTH`] before any feedback.
const LOG_STRENGTH_SD: f64 = 1.5;
/// Fewer host cells than this say nothing about how hosts differ.
const FEWEST_CELLS: usize = 5;

/// Parameters of a Beta distribution over the precision of a detector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BetaPrior {
    /// Pseudo-hits, above 0.
    pub alpha: f64,
    /// Pseudo-false-alarms, above 0.
    pub beta: f64,
}

impl BetaPrior {
    /// Beta(1, 1): every precision is as likely as any other.
    pub const UNIFORM: Self = Self { alpha: 1.0, beta: 1.0 };

    /// α / (α + β).
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }
}

/// The prior of every detector, fitted to all others: a detector's own history is never part of what it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetPrior {
    /// Counts the fits; 0 = never fitted.
    pub revision: u64,
    /// Fitted to all detectors: for those that have come since.
    pub fleet: BetaPrior,
    /// How many alerts on a host itself weigh as much as everything seen elsewhere.
    pub host_strength: f64,
    /// Fitted to all but this detector.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, BetaPrior>,
}

impl Default for FleetPrior {
    fn default() -> Self {
        Self { revision: 0, fleet: BetaPrior::UNIFORM, host_strength: HOST_STRENGTH, left_out: BTreeMap::new() }
    }
}

impl FleetPrior {
    /// The prior that a detector is compared with.
    pub fn of(&self, detector: &str) -> BetaPrior {
        self.left_out.get(detector).copied().unwrap_or(self.fleet)
    }

    /// Empirical Bayes, leaving one detector out: hits of a detector are beta-binomial given its alerts (Skellam 1948), and α
    /// and β maximise the likelihood of all other detectors times a wide log-normal around Beta(1, 1), without which five
    /// equal detectors would make an infinitely sure prior (Gelman et al. 2013, section 5.3). Under
    /// [`FEWEST_DETECTORS`] detectors with a history it is Beta(1, 1).
    ///
    /// Counts are whole and undecayed: this is about how detectors differ, not about when.
    pub fn fit(store: &ReliabilityStore, revision: u64) -> Self {
        let known = || store.detectors().iter().filter(|(_, entry)| !entry.total().is_neutral());
        let mut prior = Self { revision, ..Self::default() };
        if known().count() < FEWEST_DETECTORS {
            return prior;
        }
        let mut groups: BTreeMap<(u64, u64), f64> = BTreeMap::new();
        known().for_each(|(_, entry)| *groups.entry(pair(entry.total())).or_default() += 1.0);
        let groups: Vec<Group> = groups
            .into_iter()
            .map(|((hits, misses), detectors)| Group { hits: hits as f64, misses: misses as f64, detectors })
            .collect();
        let all = fit::fit(&groups);
        let without = fit::leave_one_out(&groups, all);
        prior.fleet = all;
        for (id, entry) in known() {
            let (hits, misses) = pair(entry.total());
            // Groups are sorted as the pairs are; numbers too large for a float to tell apart share the first place.
            let at = groups.partition_point(|group| (group.hits, group.misses) < (hits as f64, misses as f64));
            prior.left_out.insert(id.clone(), without[at]);
        }
        prior.host_strength = host_strength(store, &prior);
        prior
    }

    /// The rule that is broken, if one is.
    pub(super) fn check(&self) -> Result<(), String> {
        let sound = |value: f64| value.is_finite() && (fit::SMALLEST..=fit::LARGEST).contains(&value);
        let named = self.left_out.iter().map(|(id, prior)| (id.as_str(), prior));
        for (id, prior) in std::iter::once(("the fleet", &self.fleet)).chain(named) {
            if !sound(prior.alpha) || !sound(prior.beta) {
                let (least, most) = (fit::SMALLEST, fit::LARGEST);
                return Err(format!("the prior of {id} is not between {least} and {most}"));
            }
        }
        if !sound(self.host_strength) {
            return Err(format!("host_strength = {} is out of range", self.host_strength));
        }
        Ok(())
    }
}

fn pair(counters: Counters) -> (u64, u64) {
    (counters.hits(), counters.false_alarms())
}

/// How much hosts of one detector differ: the strength that best foretells each host's feedback from the detector's
/// feedback elsewhere (leave-one-host-out predictive likelihood, on a grid).
fn host_strength(store: &ReliabilityStore, prior: &FleetPrior) -> f64 {
    let mut cells = Vec::new();
    for (id, entry) in store.detectors() {
        let base = prior.of(id);
        for cell in entry.hosts().values().filter(|cell| !cell.is_neutral()) {
            let hits = entry.total().hits().saturating_sub(cell.hits());
            let misses = entry.total().false_alarms().saturating_sub(cell.false_alarms());
            if hits > 0 || misses > 0 {
                let elsewhere = BetaPrior { alpha: base.alpha + hits as f64, beta: base.beta + misses as f64 };
                cells.push((elsewhere, cell.hits() as f64, cell.false_alarms() as f64));
            }
        }
    }
    if cells.len() < FEWEST_CELLS {
        return HOST_STRENGTH;
    }
    let likelihood = |log_strength: f64| {
        let strength = log_strength.exp();
        let far = (log_strength - HOST_STRENGTH.ln()) / LOG_STRENGTH_SD;
        let cells = cells.iter().map(|(elsewhere, hits, misses)| {
            let weight = host_weight(*elsewhere, strength);
            let here = BetaPrior { alpha: weight * elsewhere.alpha, beta: weight * elsewhere.beta };
            fit::log_likelihood(here, *hits, *misses)
        });
        cells.sum::<f64>() - 0.5 * far * far
    };
    let candidates = (0..STRENGTH_STEPS).map(|i| LOG_LARGEST_STRENGTH * i as f64 / (STRENGTH_STEPS - 1) as f64);
    let best =
        candidates.map(|log| (likelihood(log), log)).reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map_or(HOST_STRENGTH, |(_, log)| log.exp())
}

#[cfg(test)]
mod tests {
    use super::super::store::Verdict;
    use super::*;

    fn fleet(counts: &[(u64, u64)]) -> ReliabilityStore {
        let mut store = ReliabilityStore::default();
        for (i, (hits, misses)) in counts.iter().enumerate() {
            store.add(&format!("d{i}"), None, Counters::after(*hits, *misses));
        }
        store
    }

    #[test]
    fn fewer_than_five_detectors_get_the_uniform_prior() {
        let few = FleetPrior::fit(&fleet(&[(9, 1), (8, 2), (7, 3), (6, 4)]), 3);
        assert_eq!((few.fleet, few.of("d0"), few.revision), (BetaPrior::UNIFORM, BetaPrior::UNIFORM, 3));
        let enough = FleetPrior::fit(&fleet(&[(9, 1), (8, 2), (7, 3), (6, 4), (8, 1)]), 1);
        assert!(enough.fleet.mean() > 0.6, "{enough:?}");
    }

    #[test]
    fn a_detector_takes_no_part_in_its_own_prior() {
        let same = [(9, 1), (8, 2), (7, 3), (6, 4), (8, 1)];
        let with = |own: (u64, u64)| FleetPrior::fit(&fleet(&[&same[..], &[own]].concat()), 1);
        let (bad, good) = (with((0, 500)), with((500, 0)));
        let (a, b) = (bad.of("d5"), good.of("d5"));
        assert!((a.alpha - b.alpha).abs() < 1e-6 && (a.beta - b.beta).abs() < 1e-6, "{a:?} {b:?}");
        assert!(bad.fleet.mean() < good.fleet.mean());
        assert_ne!(bad.of("d0"), good.of("d0"));
    }

    #[test]
    fn hosts_that_agree_make_a_strong_host_prior_and_hosts_that_do_not_a_weak_one() {
        let strength = |precise: &dyn Fn(usize, usize) -> u64| {
            let mut store = ReliabilityStore::default();
            for d in 0..8 {
                for h in 0..6 {
                    let hits = precise(d, h);
                    store.add(&format!("d{d}"), Some(&format!("h{h}")), Counters::after(hits, 20 - hits));
                }
            }
            store.refit_prior(1);
            store.prior().host_strength
        };
        let (agree, differ) = (strength(&|d, _| 4 + 2 * d as u64), strength(&|d, h| [1, 19][(d + h) % 2]));
        assert!(agree > 30.0 && differ < 5.0, "{agree} {differ}");
    }

    #[test]
    fn counters_at_the_largest_number_are_fitted_without_harm() {
        let full = u64::MAX;
        let prior = FleetPrior::fit(&fleet(&[(full, full), (full, 0), (0, full), (1, 1), (full, full - 1)]), 1);
        assert_eq!(prior.check(), Ok(()));
        assert_eq!(prior.left_out.len(), 5);
        let mut store = ReliabilityStore::default();
        store.record("a", None, Verdict::Hit).unwrap();
        assert_eq!(store.prior().revision, 0);
    }
}
