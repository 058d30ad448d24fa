//! Sequences of actions: which ones are like those of normal days, and which are not.
//!
//! Two smoothed n-gram language models (one where no anomaly is known) and four plain measurements of a sequence feed a
//! head whose score is calibrated on sequences that nothing was fitted on.
//!
//! * actions are names or ids, interned once ([`Vocabulary`]); [`Sequences`] are flat;
//! * sequences are counted between a start and an end mark ([`Counts`]), smoothed by interpolated Kneser-Ney, and walked
//!   as a flat table of contexts: a sequence costs one look an action and no allocation;
//! * copies of a sequence are never parted ([`fit()`]);
//! * counts add up: updating as sequences come and merging machines gives the counts of all of them at once.
//!
//! ```
//! use stakeout_detect::sequence::{Config, Scratch, Threshold, fit, simulate};
//!
//! let (data, vocabulary) = simulate(400, 7)?;
//! let fitted = fit(&data, vocabulary, &Config { threshold: Threshold::FalseAlarms(0.02), ..Config::default() })?;
//! let mut scratch = Scratch::default();
//! let odd = fitted.model.predict_names(["net.scan", "net.scan", "never.seen"], &mut scratch);
//! assert!(odd.label && odd.probability > 0.5 && odd.features.rarity > 0.5);
//! # Ok::<(), stakeout_detect::DetectError>(())
//! ```

mod vocabulary;
pub use vocabulary::{END, FIRST, MAX_ACTION_BYTES, MAX_ACTIONS, START, UNKNOWN, Vocabulary};

mod data;
pub use data::Sequences;

mod jsonl;
pub use jsonl::{Names, read_jsonl};
#[cfg(feature = "tables")]
mod table;
#[cfg(feature = "tables")]
pub use table::{Columns, read_parquet};
mod simulate;
pub use simulate::simulate;

mod counts;
pub use counts::{Counts, MAX_N};

mod automaton;
mod kneser_ney;

mod features;
pub use features::{FEATURE_NAMES, Features, Scratch};

mod calibrate;
pub use calibrate::Meaning;
mod head;
pub use head::Head;

mod config;
pub use config::{Config, ENOUGH, FEWEST, Mode, Threshold};
mod distinct;
pub use distinct::{Distinct, distinct, folds};
mod fit;
pub use fit::{Fitted, Judged, fit};

mod file;
pub use file::{MODEL_CAP, VERSION};
mod model;
pub use model::{Classes, Prediction, SequenceModel, Training};

mod evaluate;
pub use evaluate::{Evaluation, Figure, evaluate};
