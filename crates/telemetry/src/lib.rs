//! Folders of raw telemetry to validated episodes and traces.
//!
//! A store is a folder of episodes; an episode is a folder of JSON Lines files, one a source. Everything here
//! streams: memory does not grow with the corpus, and a bad episode is a verdict with reasons, never a stop.
//!
//! Invariants:
//! * the canonical clock is `t_wall_ns`, in integer nanoseconds;
//! * no row disappears in silence: rows read = rows used + rows dropped, by reason;
//! * names from a store never become a path before they were checked;
//! * an episode that the index names was whole when the index named it.
//!
//! ```
//! use stakeout_telemetry::Corpus;
//! let corpus = Corpus::built_in();
//! assert_eq!((corpus.channels.len(), corpus.classes.len()), (46, 5));
//! ```

pub mod corpus;
mod error;
pub mod seconds;

pub mod meta;
pub mod store;
pub mod write;

pub mod reader;
pub mod rows;

pub mod reason;

pub mod examine;
pub mod validate;

#[cfg(feature = "tables")]
pub mod import;
pub mod simulate;

pub use corpus::{Calibration, Corpus, LabelOrder, SourceRule, WindowKeys};
pub use error::TelemetryError;
pub use examine::{Examined, Keep, Reason, RowCounts, examine};
pub use meta::{EpisodeMeta, RowCounters};
pub use reason::{ReasonCode, Verdict};
pub use seconds::Seconds;
pub use store::{Entry, FileRecord, IndexRecord, Store, Stream};
pub use validate::{Summary, ValidateOptions, validate};
pub use write::{Compression, EpisodeWriter, StoreWriter};
