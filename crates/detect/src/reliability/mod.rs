//! The reliability store: how often each detector was right, as an analyst said, and what that says of its next alert.
//!
//! An alert's calibrated probability is shifted in log-odds by what feedback says of its detector, relative to a detector
//! without a history ([`Reliability`]). Feedback is counted in a small JSON file that several processes share, next to a
//! journal of who said what, when and why ([`update()`]).
//!
//! Invariants:
//! * without a history nothing moves; at a fixed prior and time a hit never lowers and a false alarm never raises;
//! * the counters on the disk are whole and undecayed; a half-life is applied when they are read;
//! * the prior changes by a refit alone, and no detector takes part in its own;
//! * a change that was acknowledged is on the disk; a damaged file is renamed, never overwritten.
//!
//! ```
//! use stakeout_detect::reliability::{By, Change, OnDoubt, Paths, try_load, update};
//! let folder = tempfile::tempdir()?;
//! let paths = Paths::beside(&folder.path().join("calibration.json"));
//! let by = By { who: "ana".into(), why: Some("ticket 12".into()), t_wall_ns: 1_790_000_000_000_000_000 };
//! let change = Change::Feedback { hits: vec!["gru".into()], false_alarms: vec![], host: None };
//! update(&paths, change, &by, OnDoubt::Refuse)?;
//! assert_eq!(try_load(&paths.store)?.detectors()["gru"].total().alpha(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod counters;
mod file;
mod fit;
mod fold;
mod ground;
mod journal;
mod posterior;
mod prior;
mod reading;
mod store;
mod update;

pub use counters::Counters;
pub use file::{LARGEST_FILE, VERSION, from_bytes, load, save, try_load};
pub use ground::Paths;
pub use journal::{JOURNAL_VERSION, Record, What};
pub use posterior::{DEFAULT_LEVEL, DetectorEvidence, Evidence, Reliability, Standing, Tally, Weighting};
pub use prior::{BetaPrior, FEWEST_DETECTORS, FleetPrior, HOST_STRENGTH};
pub use reading::{Current, faded, history, read};
pub use store::{Entry, LONGEST_NAME, ReliabilityStore, Verdict, check_name};
pub use update::{By, Change, LONGEST_REASON, OnDoubt, Updated, update};
