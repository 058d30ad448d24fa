//! Whether the days have changed: rules beside a detector, each a known test with its formula, none of them learnt.
//!
//! A [`Baseline`] holds what a quiet stretch looked like. A [`Monitor`] then reads one sequence after the other and says
//! at the end of each window of sequences what is not as it was: other actions (PSI, KL, JS), more rare sequences,
//! more sequences a second; and at once when the mean of the scores has risen (Page–Hinkley).
//!
//! ```
//! use stakeout_detect::drift::{Baseline, Finding, Monitor, Observation, Rules};
//!
//! let mut baseline = Baseline::default();
//! let seen = |actions| Observation { actions, rare: false, score: 0.0, seconds: None };
//! (0..500).for_each(|i| baseline.add(&seen(if i % 2 == 0 { &[3, 4] } else { &[4, 5] })));
//! let mut monitor = Monitor::new(baseline, Rules { window: 100, ..Rules::default() })?;
//! let found: Vec<Finding> = (0..100).flat_map(|_| monitor.observe(&seen(&[9, 9]))).collect();
//! assert!(matches!(found[0], Finding::Frequencies { psi, .. } if psi > 1.0));
//! # Ok::<(), stakeout_detect::DetectError>(())
//! ```

pub mod divergence;
mod monitor;
mod page_hinkley;
pub mod rates;

pub use monitor::{Baseline, Finding, Monitor, Observation, Rules};
pub use page_hinkley::PageHinkley;
