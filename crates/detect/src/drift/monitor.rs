//! The rules together, on a stream of sequences.

use serde::{Deserialize, Serialize};

use super::divergence::{js, kl, psi, psi_of_noise};
use super::page_hinkley::PageHinkley;
use super::rates::{burst, more_often};
use crate::DetectError;

/// Ids of actions beyond this are one: a baseline stays small whatever it is shown.
const MOST_IDS: usize = 1 << 21;

/// When a rule speaks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Sequences of a window, 1 to 10 million.
    pub window: usize,
    /// The least PSI of action frequencies that counts as a change; what noise makes is never one.
    pub psi: f64,
    /// Probability of a false alarm of each test of a window, inside (0, 1).
    pub level: f64,
    /// The rise of the mean score that is overlooked.
    pub delta: f64,
    /// The sum of rises beyond it that is an alarm.
    pub lambda: f64,
}

impl Default for Rules {
    /// 200 sequences, PSI 0.25, level 0.001, δ = 0.05, λ = 25 (for scores with a spread of about 1).
    fn default() -> Self {
        Self { window: 200, psi: 0.25, level: 0.001, delta: 0.05, lambda: 25.0 }
    }
}

/// One sequence as a detector saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation<'a> {
    /// Ids of its actions.
    pub actions: &'a [u32],
    /// Whether it is one that seldom comes, by the caller's measure: the same for baseline and stream.
    pub rare: bool,
    /// The detector's score.
    pub score: f64,
    /// When it came, in seconds; `None` where there is no clock.
    pub seconds: Option<f64>,
}

/// What a stretch of sequences looked like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// How often each action occurred, by id.
    actions: Vec<u64>,
    sequences: u64,
    rare: u64,
    /// How many came at a known moment, the first and the last of these moments.
    clocked: u64,
    span: Option<(f64, f64)>,
}

impl Baseline {
    /// Adds a sequence.
    pub fn add(&mut self, seen: &Observation<'_>) {
        for &action in seen.actions {
            let at = (action as usize).min(MOST_IDS);
            if self.actions.len() <= at {
                self.actions.resize(at + 1, 0);
            }
            self.actions[at] = self.actions[at].saturating_add(1);
        }
        self.sequences = self.sequences.saturating_add(1);
        self.rare = self.rare.saturating_add(u64::from(seen.rare));
        if let Some(at) = seen.seconds.filter(|at| at.is_finite()) {
            let (first, last) = self.span.unwrap_or((at, at));
            self.span = Some((first.min(at), last.max(at)));
            self.clocked = self.clocked.saturating_add(1);
        }
    }

    /// How many sequences it holds.
    pub fn sequences(&self) -> u64 {
        self.sequences
    }

    /// Seconds from the first sequence to the last, where there is a clock.
    pub fn seconds(&self) -> Option<f64> {
        self.span.map(|(first, last)| last - first)
    }

    fn actions(&self) -> u64 {
        self.actions.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// What is not as it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Other actions than in the baseline, or in another mixture.
    Frequencies {
        /// Population stability index.
        psi: f64,
        /// Relative entropy to the baseline.
        kl: f64,
        /// Jensen–Shannon divergence.
        js: f64,
        /// The PSI that noise stays below.
        noise: f64,
    },
    /// More rare sequences than in the baseline.
    Rarity {
        /// Share in the window.
        share: f64,
        /// Share in the baseline.
        baseline: f64,
        /// Probability of so many by chance.
        p_value: f64,
    },
    /// More sequences a second than in the baseline.
    Burst {
        /// Sequences a second in the window.
        rate: f64,
        /// Sequences a second in the baseline.
        baseline: f64,
        /// Probability of such a crowd by chance.
        p_value: f64,
    },
    /// The mean of the scores has risen.
    Score {
        /// The sum of rises when the alarm was given.
        rise: f64,
    },
}

/// Reads sequences and says what has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    baseline: Baseline,
    rules: Rules,
    window: Baseline,
    scores: PageHinkley,
}

impl Monitor {
    /// A monitor against a baseline.
    ///
    /// # Errors
    /// [`DetectError::Data`] for an empty baseline, [`DetectError::Invalid`] for a rule out of range.
    pub fn new(baseline: Baseline, rules: Rules) -> Result<Self, DetectError> {
        if baseline.sequences == 0 {
            return Err(DetectError::Data("the baseline of drift holds no sequence".to_owned()));
        }
        let refuse = |what, why| Err(DetectError::Invalid { what, why });
        if !(1..=10_000_000).contains(&rules.window) {
            return refuse("window", format!("{} sequences: 1 to 10,000,000", rules.window));
        }
        if !(rules.psi.is_finite() && rules.psi >= 0.0) {
            return refuse("psi", format!("{}: it is finite and not negative", rules.psi));
        }
        if !(rules.level > 0.0 && rules.level < 1.0) {
            return refuse("level", format!("{}: it is a probability inside (0, 1)", rules.level));
        }
        let scores = PageHinkley::new(rules.delta, rules.lambda)?;
        Ok(Self { baseline, rules, window: Baseline::default(), scores })
    }

    /// Takes the next sequence; what is found with it: of the score at once, of the window when it is full.
    pub fn observe(&mut self, seen: &Observation<'_>) -> Vec<Finding> {
        self.window.add(seen);
        let mut found: Vec<Finding> =
            self.scores.observe(seen.score).map(|rise| Finding::Score { rise }).into_iter().collect();
        if self.window.sequences >= self.rules.window as u64 {
            found.extend(self.judge());
            self.window = Baseline::default();
        }
        found
    }

    /// Judges the sequences of the window so far, however few, and keeps them.
    pub fn judge(&self) -> Vec<Finding> {
        let (recent, usual) = (&self.window, &self.baseline);
        let mut found = Vec::new();
        let cells: Vec<usize> = (0..recent.actions.len().max(usual.actions.len()))
            .filter(|&action| held(recent, action) || held(usual, action))
            .collect();
        let counts =
            |of: &Baseline| -> Vec<u64> { cells.iter().map(|&i| of.actions.get(i).copied().unwrap_or(0)).collect() };
        let (p, q) = (counts(recent), counts(usual));
        let noise = psi_of_noise(cells.len(), recent.actions(), usual.actions(), self.rules.level);
        let far = psi(&p, &q);
        if far > self.rules.psi.max(noise) {
            found.push(Finding::Frequencies { psi: far, kl: kl(&p, &q), js: js(&p, &q), noise });
        }
        let share = |of: &Baseline| of.rare as f64 / of.sequences as f64;
        if let Some(p_value) = more_often(usual.rare, usual.sequences, recent.rare, recent.sequences)
            && p_value < self.rules.level
        {
            found.push(Finding::Rarity { share: share(recent), baseline: share(usual), p_value });
        }
        if let (Some(before), Some(seconds)) = (usual.seconds(), recent.seconds())
            // The first sequence of a stretch opens its clock; those without a moment are in no rate.
            && let Some(p_value) = burst(usual.clocked - 1, before, recent.clocked - 1, seconds)
            && p_value < self.rules.level
        {
            let rate = |of: &Baseline, seconds: f64| (of.clocked - 1) as f64 / seconds;
            found.push(Finding::Burst { rate: rate(recent, seconds), baseline: rate(usual, before), p_value });
        }
        found
    }
}

fn held(of: &Baseline, action: usize) -> bool {
    of.actions.get(action).is_some_and(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// A stream of sequences of three of eight actions from `first` on, one a second on average.
    struct Stream {
        dice: Xoshiro256PlusPlus,
        now: f64,
    }

    impl Stream {
        fn new() -> Self {
            Self { dice: Xoshiro256PlusPlus::seed_from_u64(8), now: 0.0 }
        }

        fn unit(&mut self) -> f64 {
            (self.dice.next_u64() >> 11) as f64 / (1u64 << 53) as f64
        }

        fn next(&mut self, first: u32, rare: f64, pace: f64, score: f64) -> ([u32; 3], bool, f64, f64) {
            self.now -= (1.0 - self.unit()).ln() / pace;
            let actions = [0; 3].map(|_| first + (self.unit() * 8.0) as u32);
            (actions, self.unit() < rare, score + self.unit(), self.now)
        }
    }

    fn run(stream: &mut Stream, monitor: &mut Monitor, n: usize, how: (u32, f64, f64, f64)) -> Vec<Finding> {
        let mut found = Vec::new();
        for _ in 0..n {
            let (actions, rare, score, now) = stream.next(how.0, how.1, how.2, how.3);
            found.extend(monitor.observe(&Observation { actions: &actions, rare, score, seconds: Some(now) }));
        }
        found
    }

    #[test]
    fn each_rule_finds_its_change_and_a_quiet_stream_has_none() {
        let mut stream = Stream::new();
        let mut baseline = Baseline::default();
        for _ in 0..2000 {
            let (actions, rare, score, now) = stream.next(3, 0.02, 1.0, 0.0);
            baseline.add(&Observation { actions: &actions, rare, score, seconds: Some(now) });
        }
        let fresh = Monitor::new(baseline, Rules::default()).unwrap();
        let quiet = run(&mut stream, &mut fresh.clone(), 20_000, (3, 0.02, 1.0, 0.0));
        assert!(quiet.len() <= 1, "300 tests at 0.001: {quiet:?}");
        let only = |found: Vec<Finding>, is: fn(&Finding) -> bool| {
            assert!(!found.is_empty() && found.iter().all(is), "{found:?}");
        };
        only(run(&mut stream, &mut fresh.clone(), 400, (6, 0.02, 1.0, 0.0)), |f| {
            matches!(f, Finding::Frequencies { .. })
        });
        only(run(&mut stream, &mut fresh.clone(), 400, (3, 0.2, 1.0, 0.0)), |f| matches!(f, Finding::Rarity { .. }));
        only(run(&mut stream, &mut fresh.clone(), 400, (3, 0.02, 3.0, 0.0)), |f| matches!(f, Finding::Burst { .. }));
        let mut monitor = fresh.clone();
        run(&mut stream, &mut monitor, 1000, (3, 0.02, 1.0, 0.0));
        only(run(&mut stream, &mut monitor, 400, (3, 0.02, 1.0, 1.0)), |f| matches!(f, Finding::Score { .. }));
    }

    /// Half of the baseline has no clock: its rate is that of the other half, and the same pace is no burst.
    #[test]
    fn what_has_no_clock_is_in_no_rate() {
        let mut stream = Stream::new();
        let mut baseline = Baseline::default();
        for i in 0..4000 {
            let (actions, rare, score, now) = stream.next(3, 0.02, 1.0, 0.0);
            let seconds = (i < 2000).then_some(now);
            baseline.add(&Observation { actions: &actions, rare, score, seconds });
        }
        let fresh = Monitor::new(baseline, Rules::default()).unwrap();
        let burst = |found: Vec<Finding>| found.iter().any(|f| matches!(f, Finding::Burst { .. }));
        assert!(!burst(run(&mut stream, &mut fresh.clone(), 2000, (3, 0.02, 1.0, 0.0))));
        // At half the pace of all, but twice that of those with a clock, it would have been missed.
        assert!(burst(run(&mut stream, &mut fresh.clone(), 400, (3, 0.02, 1.9, 0.0))));
    }

    #[test]
    fn odd_streams_are_survived() {
        let mut baseline = Baseline::default();
        let seen = |actions, score, seconds| Observation { actions, rare: false, score, seconds };
        assert!(Monitor::new(baseline.clone(), Rules::default()).is_err());
        baseline.add(&seen(&[u32::MAX, 0], f64::NAN, Some(f64::NAN)));
        baseline.add(&seen(&[], 0.0, Some(5.0)));
        for bad in [
            Rules { window: 0, ..Rules::default() },
            Rules { psi: f64::NAN, ..Rules::default() },
            Rules { level: 0.0, ..Rules::default() },
            Rules { lambda: -1.0, ..Rules::default() },
        ] {
            assert!(Monitor::new(baseline.clone(), bad).is_err());
        }
        let mut monitor = Monitor::new(baseline, Rules { window: 1, ..Rules::default() }).unwrap();
        for seconds in [None, Some(9.0), Some(-9.0), Some(f64::INFINITY)] {
            monitor.observe(&seen(&[], f64::INFINITY, seconds));
            monitor.observe(&seen(&[u32::MAX; 4], f64::NAN, seconds));
        }
    }

    #[test]
    fn a_baseline_is_a_plain_value() {
        let mut baseline = Baseline::default();
        baseline.add(&Observation { actions: &[3, 3, 4], rare: true, score: 0.0, seconds: Some(1.5) });
        let json = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&json).unwrap(), baseline);
        assert_eq!((baseline.sequences(), baseline.seconds(), baseline.actions()), (1, Some(0.0), 3));
    }
}
