//! Stored predictions to metrics and intervals: pure functions, so that a number can be computed again years later
//! from `predictions.parquet` alone.
//!
//! Why a crate: nothing here sees a feature, a model or a store, and whoever has predictions of another tool can use
//! it alone.
//!
//! Invariants:
//! * the unit of independence is the episode, the host or the held-out group, never the window;
//! * macro F1 is over a class set fixed before resampling; undefined is `None`, never NaN;
//! * same predictions, same plan, same bytes: for any order of rows and any number of threads.
//!
//! ```
//! use stakeout_core::{ClassList, Side};
//! use stakeout_eval::{Plan, Prediction, Predictions, TrainSide, metrics};
//!
//! let classes = ClassList::try_from(vec!["clean".to_owned(), "armed".to_owned()])?;
//! let mut predictions = Predictions::new(classes);
//! for (episode, label, p) in [("E1", 0, 0.9), ("E2", 1, 0.2), ("E3", 1, 0.6)] {
//!     predictions.push(&Prediction {
//!         side: Side::Test, fold: "host", seed: 1, episode, host: "pi-3", sample: "dropper", profile: "loader",
//!         t0_ns: 0, t_onset_ns: None, observed_seconds: 10.0, label, probabilities: &[p, 1.0 - p],
//!     })?;
//! }
//! let train = TrainSide { windows: vec![70, 30], episodes: 10, hosts: 4 };
//! let metrics = metrics(&predictions, &train, &Plan::default())?;
//! assert_eq!(metrics.test.accuracy.point, Some(2.0 / 3.0));
//! assert_eq!(metrics.test.accuracy.n_units, 3);
//! assert_eq!(metrics.notes[0], "one host was tested: no claim about other devices can be made");
//! # Ok::<(), stakeout_eval::EvalError>(())
//! ```

#[cfg(feature = "tables")]
pub mod columns;
mod error;
mod names;
mod predictions;
#[cfg(feature = "tables")]
mod tables;

pub mod bootstrap;
mod cells;
mod estimate;

pub mod calibrate;
pub mod probabilities;

mod compare;

mod evaluation;
mod metrics;
pub mod render;
mod summary;

pub use bootstrap::Plan;
pub use cells::{ClusterCounts, JointCounts};
pub use compare::{Comparison, compare};
pub use error::EvalError;
pub use estimate::{Estimate, HOSTS_FOR_INTERVAL, Unit, UnitScores};
pub use evaluation::{ClassScores, ConfusionTable, Constant, Evaluation, Group, ModelScores};
pub use metrics::{Metrics, Sides, TrainSide, metrics};
pub use names::Names;
pub use predictions::{Prediction, Predictions};
pub use probabilities::{CalibrationErrors, Parts, ProbabilityScores, ReliabilityBin};
pub use render::Provenance;
pub use summary::{CAVEAT, FoldScore, Primary, Run, SeedScore, Summary, summary};
