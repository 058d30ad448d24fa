//! What feedback says of a detector's next alert: a shift of its log-odds against a detector without a history.

use std::collections::BTreeMap;

use statrs::function::beta::checked_beta_reg;

use super::counters::Counters;
use super::prior::{BetaPrior, FleetPrior};
use super::store::ReliabilityStore;
use crate::DetectError;

/// Level of the lower credible bound where none is asked for.
pub const DEFAULT_LEVEL: f64 = 0.05;

/// Larger parameters are not put into the incomplete beta function, whose continued fraction needs about their root in steps.
const LARGEST_PARAMETER: f64 = 1e4;
/// Log-odds beyond which a probability is 0 or 1 to a float.
const LARGEST_LOG_ODDS: f64 = 700.0;

/// Hits and false alarms, possibly faded with age: not whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Confirmed hits.
    pub hits: f64,
    /// False alarms.
    pub false_alarms: f64,
}

impl Tally {
    pub(super) fn add(&mut self, said: Counters, weight: f64) {
        self.hits += weight * said.hits() as f64;
        self.false_alarms += weight * said.false_alarms() as f64;
    }
}

/// What is known of one detector at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetectorEvidence {
    /// In all.
    pub total: Tally,
    /// On each host.
    pub hosts: BTreeMap<String, Tally>,
}

/// What is known of every detector at one time: the store's whole counters, or those faded by a half-life.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence(pub BTreeMap<String, DetectorEvidence>);

impl Evidence {
    /// The whole, undecayed counters of a store.
    pub fn undecayed(store: &ReliabilityStore) -> Self {
        let mut evidence = Self::default();
        for (id, entry) in store.detectors() {
            evidence.add_entry(id, entry, 1.0);
        }
        evidence
    }

    pub(super) fn add(&mut self, detector: &str, host: Option<&str>, said: Counters, weight: f64) {
        if !self.0.contains_key(detector) {
            self.0.insert(detector.to_owned(), DetectorEvidence::default());
        }
        let Some(known) = self.0.get_mut(detector) else { return };
        known.total.add(said, weight);
        if let Some(host) = host {
            known.hosts.entry(host.to_owned()).or_default().add(said, weight);
        }
    }

    pub(super) fn add_entry(&mut self, detector: &str, entry: &super::store::Entry, weight: f64) {
        let known = self.0.entry(detector.to_owned()).or_default();
        known.total.add(entry.total(), weight);
        for (host, said) in entry.hosts() {
            known.hosts.entry(host.clone()).or_default().add(*said, weight);
        }
    }
}

/// How feedback moves a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weighting {
    /// Its log-odds are shifted by `logit E[π | feedback] − logit E[π]`, π being the precision of the detector. A classifier
    /// that was calibrated at one base rate is moved to another by exactly such a shift (Saerens, Latinne and Decaestecker
    /// 2002, equation 4; Elkan 2001, theorem 2).
    LogOdds,
    /// As [`Weighting::LogOdds`], but a rise counts only as far as the lower credible bound of π at this level proves it over
    /// the fleet's mean. A fall counts in full. Never above `LogOdds`.
    ///
    /// The bound is compared with the fleet's *mean*: against the fleet's own bound, a detector that is right half of the
    /// time on a hundred alerts would be raised, for being well known alone.
    LowerBound {
        /// Above 0, below 0.5.
        level: f64,
    },
    /// The plain design: the probability times α / (α + β), times 1 without a history. The first hit then *lowers* a score
    /// by a third, and none is ever raised.
    PosteriorMean,
}

/// Feedback made usable: evidence, the prior that it is measured against, and what it does to a probability.
///
/// ```
/// use stakeout_detect::reliability::{Evidence, Reliability, ReliabilityStore, Verdict, Weighting};
/// let mut store = ReliabilityStore::default();
/// for _ in 0..3 {
///     store.record("gru", None, Verdict::Hit)?;
/// }
/// let known = Reliability::new(Evidence::undecayed(&store), store.prior(), Weighting::LogOdds)?;
/// assert_eq!(known.shift("never-heard-of", None), 0.0);
/// assert_eq!(known.shift("gru", None), 4f64.ln()); // (1 + 3) / 1 against 1 / 1
/// assert!((known.adjust(0.5, "gru", None)? - 0.8).abs() < 1e-12);
/// # Ok::<(), stakeout_detect::DetectError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    evidence: Evidence,
    prior: FleetPrior,
    weighting: Weighting,
}

/// Everything that is said of one detector, on one host or in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The feedback that counts, as it is weighed: on a host, its own; else all.
    pub tally: Tally,
    /// Parameters of the posterior of the precision.
    pub posterior: BetaPrior,
    /// What a detector without a history is given.
    pub expected: f64,
    /// Lower end of the 90 % credible interval of the precision.
    pub lo: f64,
    /// Upper end of it.
    pub hi: f64,
    /// What is added to the log-odds of a score; under [`Weighting::PosteriorMean`], the log of what it is multiplied by.
    pub shift: f64,
}

impl Reliability {
    /// Puts evidence and prior together.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a level that is not above 0 and below 0.5.
    pub fn new(evidence: Evidence, prior: FleetPrior, weighting: Weighting) -> Result<Self, DetectError> {
        if let Weighting::LowerBound { level } = weighting
            && !(level > 0.0 && level < 0.5)
        {
            let why = format!("{level} is not above 0 and below 0.5");
            return Err(DetectError::Invalid { what: "level of the lower credible bound", why });
        }
        Ok(Self { evidence, prior, weighting })
    }

    /// The feedback that it was made from.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What is added to the log-odds of an alert of this detector (on this host): 0 without a history; at a fixed prior and
    /// time a further hit never lowers it and a further false alarm never raises it, whichever host they were on.
    ///
    /// Under [`Weighting::PosteriorMean`] it is the logarithm of the multiplier, which is another thing.
    pub fn shift(&self, detector: &str, host: Option<&str>) -> f64 {
        let prior = self.prior.of(detector);
        let Some(known) = self.evidence.0.get(detector) else { return 0.0 };
        match self.weighting {
            Weighting::LogOdds => self.mean_shift(prior, known, host),
            Weighting::LowerBound { level } => {
                let mean = self.mean_shift(prior, known, host);
                if mean <= 0.0 {
                    return mean;
                }
                let bound = log_odds_quantile(self.posterior(prior, known, host), level);
                mean.min((bound - (prior.alpha / prior.beta).ln()).max(0.0))
            }
            Weighting::PosteriorMean => {
                let Tally { hits, false_alarms } = known.total;
                if hits + false_alarms == 0.0 { 0.0 } else { ((1.0 + hits) / (2.0 + hits + false_alarms)).ln() }
            }
        }
    }

    /// The probability after feedback.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for what is no probability.
    pub fn adjust(&self, probability: f64, detector: &str, host: Option<&str>) -> Result<f64, DetectError> {
        if !(0.0..=1.0).contains(&probability) {
            let why = format!("{probability} is not between 0 and 1");
            return Err(DetectError::Invalid { what: "probability", why });
        }
        let shift = self.shift(detector, host);
        Ok(match self.weighting {
            Weighting::PosteriorMean => probability * shift.exp(),
            _ if shift == 0.0 => probability,
            _ => sigmoid(logit(probability) + shift),
        })
    }

    /// What is said of a detector.
    pub fn standing(&self, detector: &str, host: Option<&str>) -> Standing {
        let prior = self.prior.of(detector);
        let nothing = DetectorEvidence::default();
        let known = self.evidence.0.get(detector).unwrap_or(&nothing);
        let posterior = self.posterior(prior, known, host);
        let tally = match host {
            Some(host) => known.hosts.get(host).copied().unwrap_or_default(),
            None => known.total,
        };
        Standing {
            tally,
            posterior,
            expected: prior.mean(),
            lo: sigmoid(log_odds_quantile(posterior, 0.05)),
            hi: sigmoid(log_odds_quantile(posterior, 0.95)),
            shift: self.shift(detector, host),
        }
    }

    /// `ln(odds of the posterior mean / odds of the prior mean)`, in the form that is exactly 0 without a history.
    fn mean_shift(&self, prior: BetaPrior, known: &DetectorEvidence, host: Option<&str>) -> f64 {
        let (here, elsewhere) = split(known, host);
        let weight = match host {
            Some(_) => host_weight(plus(prior, elsewhere), self.prior.host_strength),
            None => 1.0,
        };
        let rise = |own: f64, other: f64, prior: f64| ((other + own / weight) / prior).ln_1p();
        rise(here.hits, elsewhere.hits, prior.alpha) - rise(here.false_alarms, elsewhere.false_alarms, prior.beta)
    }

    /// The posterior of the precision. On a host it is what was seen elsewhere, prior included, at a weight, plus what was
    /// seen on the host at its full weight.
    fn posterior(&self, prior: BetaPrior, known: &DetectorEvidence, host: Option<&str>) -> BetaPrior {
        let (here, elsewhere) = split(known, host);
        let base = plus(prior, elsewhere);
        let weight = if host.is_some() { host_weight(base, self.prior.host_strength) } else { 1.0 };
        plus(BetaPrior { alpha: weight * base.alpha, beta: weight * base.beta }, here)
    }
}

/// `κ / (κ + s)`: what evidence of strength s from elsewhere keeps on a host, κ being the host strength. However much is
/// known elsewhere, it never weighs more than κ alerts on the host itself.
pub(super) fn host_weight(elsewhere: BetaPrior, host_strength: f64) -> f64 {
    host_strength / (host_strength + elsewhere.alpha + elsewhere.beta)
}

/// What was seen on the host, and what elsewhere; without a host, all is here.
fn split(known: &DetectorEvidence, host: Option<&str>) -> (Tally, Tally) {
    let Some(host) = host else { return (known.total, Tally::default()) };
    let here = known.hosts.get(host).copied().unwrap_or_default();
    let rest = |total: f64, here: f64| (total - here).max(0.0);
    let elsewhere = Tally {
        hits: rest(known.total.hits, here.hits),
        false_alarms: rest(known.total.false_alarms, here.false_alarms),
    };
    (here, elsewhere)
}

fn plus(prior: BetaPrior, tally: Tally) -> BetaPrior {
    BetaPrior { alpha: prior.alpha + tally.hits, beta: prior.beta + tally.false_alarms }
}

/// Log-odds of the quantile of a Beta distribution.
///
/// If π is Beta(α, β), its odds are G(α) / G(β) of two independent Gamma variables, and ln G(α) is ln α but for a spread of
/// 1 / √α. So what a parameter has beyond [`LARGEST_PARAMETER`] moves the quantile by a logarithm and no longer narrows it.
///
/// Bisection, not the library's Newton search: that one stops at an absolute error, which in the tails is larger than the
/// quantile, and never where its function is no number.
fn log_odds_quantile(of: BetaPrior, level: f64) -> f64 {
    let inside = |parameter: f64| parameter.clamp(f64::MIN_POSITIVE, LARGEST_PARAMETER);
    let (a, b) = (inside(of.alpha), inside(of.beta));
    let beyond = |parameter: f64| (parameter / LARGEST_PARAMETER).max(1.0).ln();
    // Each side of 1/2 asks the tail whose argument a float resolves.
    let below = |log_odds: f64| {
        let argument = sigmoid(-log_odds.abs());
        if log_odds < 0.0 {
            checked_beta_reg(a, b, argument).is_ok_and(|lower| lower < level)
        } else {
            checked_beta_reg(b, a, argument).is_ok_and(|upper| upper > 1.0 - level)
        }
    };
    let (mut low, mut high) = (-LARGEST_LOG_ODDS, LARGEST_LOG_ODDS);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if below(middle) { low = middle } else { high = middle }
    }
    0.5 * (low + high) + beyond(of.alpha) - beyond(of.beta)
}

fn logit(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
