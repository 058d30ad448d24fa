//! Runs on disk to verdicts: what may be deployed, and what is.
//!
//! The gate ([`judge()`]) believes no figure that it can compute again: scores come out of the stored predictions, and,
//! where the run's store is given, predictions out of the checkpoint, the fold out of the recipe, scaler and map out of
//! the sides that may fit them. What it accepts goes into a [`Registry`] on disk under the address of its content.
//!
//! Invariants:
//! * a run is judged, digested and filed from one private copy of its files ([`Snapshot`]);
//! * a refusal names figure, bound and the way forward; that a run is refused is a verdict, not an error;
//! * a registry changes in one rename: what is current is whole, before and after, whoever is killed or writes beside.
//!
//! ```
//! use stakeout_evidence::Policy;
//! let policy = Policy::parse("[accuracy]\nmin = 0.9\nby = \"lower\"", "gate.toml")?;
//! assert_eq!((policy.accuracy.min, policy.calibration_error.max), (0.9, 0.08));
//! # Ok::<(), stakeout_evidence::EvidenceError>(())
//! ```

mod error;

pub mod policy;
mod snapshot;

mod check;
mod differences;
mod integrity;
mod proof;
mod selection;

pub mod criteria;

mod bundle;
mod judge;
mod render;

pub mod registry;

pub use bundle::{Bundle, Limit, Lineage, Verdict};
pub use check::{Check, Outcome};
pub use criteria::{Beside, Criterion, Incumbent};
pub use error::EvidenceError;
pub use judge::{Asked, judge};
pub use policy::Policy;
pub use proof::SAME_PROBABILITY;
pub use registry::Registry;
pub use render::render;
pub use snapshot::{FILES, FileRead, Snapshot, address, digests};
