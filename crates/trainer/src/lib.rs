//! Store, estimator and recipe to a run on disk.
//!
//! This is where telemetry, features, splits and eval meet; a model is only ever a `&dyn Estimator`. Data flows one
//! way: [`Dataset::open`] reads, validates and cuts a store; [`Request::train`] holds data out, fits, scores and writes.
//!
//! Invariants:
//! * the test side chooses nothing: scaler, class weights, epochs and calibration maps see the training side (and
//!   validation) alone, and calibration stretches are in no side;
//! * a run directory is locked while it is written, its `metrics.json` is written last, and every file but the
//!   growing `history.jsonl` appears whole or not at all;
//! * the same settings, data and seed give the same bytes in every file but `timing.json`.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use stakeout_trainer::{Dataset, Experiment, Quiet, Reading, WindowCache};
//! let experiment = Experiment::default();
//! let reading = Reading::of(&experiment, stakeout_features::Inputs::BOTH, &WindowCache::NONE);
//! let dataset = Dataset::open("stores/sim".as_ref(), &reading, &Quiet, &AtomicBool::new(false))?;
//! println!("{} windows of {} hosts", dataset.index.len(), dataset.index.hosts.len());
//! # Ok::<(), stakeout_trainer::TrainError>(())
//! ```

mod account;
pub mod audit;
pub mod cache;
pub mod cases;
pub mod config;
pub mod dataset;
mod error;
mod fit;
pub mod grid;
pub mod live;
pub mod observe;
pub mod run;
pub mod rundir;
pub mod score;
pub mod summaries;
pub mod tune;

pub use account::Account;
pub use audit::{Audit, Latency, MadeAgain};
pub use cache::{HeldWindows, Keep, WindowCache};
pub use cases::{Cases, cases};
pub use config::{
    CalibrationChoice, ClassWeights, Experiment, GridKeys, GridRecord, Places, RunInfo, ScalerChoice, Seeds,
};
pub use dataset::{Dataset, Reading};
pub use error::TrainError;
pub use grid::{Grid, GridDir, GridOutcome, GridResult};
pub use observe::{Progress, Quiet};
pub use run::{CellResult, Origin, Outcome, Request, RunSummary, TrainedOn};
pub use rundir::{Existing, RunDir};
