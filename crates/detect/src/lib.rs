//! What trained models need around them in the field, learnt from an analyst's word or from normal days alone.
//!
//! Everything here is a value that is updated, scored and stored; a model is only ever a `dyn BaseModel`, and nothing knows a
//! store of telemetry or, without the feature `tables`, a table library, so that a live process can carry it.
mod error;
#[cfg(feature = "tables")]
mod packed;

pub mod baseline;
pub mod drift;
pub mod fusion;
pub mod ranking;
pub mod reliability;
pub mod sequence;

pub use error::DetectError;
