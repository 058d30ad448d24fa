//! The outlier baseline: how far a vector lies from a host's normal ones, and how often a normal one lies so far.
//!
//! A [`Baseline`] learns the normal vectors of one host (or agent): their centre and spread by one of four [`Method`]s,
//! and from vectors that were held out what distance a normal one exceeds how often. [`Baselines`] is one of them a host,
//! as stored in a file.
//!
//! The score is `z`, the root of the mean squared z over the dimensions. It is near 1 for normal vectors of any dimension
//! and its standard deviation is 1/√(2d): a threshold of 3 on it never fires in high dimension. The threshold here comes
//! from a budget of false alarms instead: from held-out vectors with a finite-sample guarantee where there are enough, else
//! from a distribution that knows the dimension and the number of vectors, marked as such.
//!
//! ```
//! use stakeout_detect::baseline::{Baseline, Rows, Scratch, Settings};
//!
//! // 4000 normal vectors of 2 numbers.
//! let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
//! let normal: Vec<f64> = (0..8000).map(noise).collect();
//! let settings = Settings { budget: 0.01, ..Settings::default() };
//! let baseline = Baseline::fit(&Rows::new(&normal, 2, &[])?, &settings)?;
//! let mut scratch = Scratch::default();
//! assert!(!baseline.score(&[0.5, 0.4], &mut scratch).is_outlier);
//! let score = baseline.score(&[0.5, 9.0], &mut scratch);
//! assert!(score.is_outlier && score.dims_flagged == 1 && baseline.p_value(&score) < 0.01);
//! # Ok::<(), stakeout_detect::DetectError>(())
//! ```

mod blocks;
mod calibrated;
mod clump;
mod file;
mod fit;
mod learn;
mod moments;
mod order;
mod parametric;
mod rows;
mod score;
mod settings;
mod shape;
mod shrunk;
#[cfg(feature = "tables")]
mod table;
mod tail;

pub use calibrated::{Calibrated, Refusal};
pub use file::{Baselines, MAX_BYTES, Origin, VERSION};
pub use fit::Baseline;
pub use moments::Moments;
pub use rows::{Number, Rows};
pub use score::{Score, Skipped};
pub use settings::{Method, Settings, ThresholdFrom};
pub use shape::Scratch;
#[cfg(feature = "tables")]
pub use table::{HostVectors, TableSpec, Vectors, read_table};

/// Below so many vectors a baseline says nothing.
pub const MIN_BASELINE_SAMPLES: usize = 30;

/// No variance is taken to be smaller.
pub const VARIANCE_FLOOR: f64 = 1e-6;

/// From this squared z on a dimension is flagged: three standard deviations.
pub const FLAGGED: f64 = 9.0;
