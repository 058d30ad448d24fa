//! The words of Stakeout, one meaning each, and nothing that computes.
//!
//! Every other crate speaks in these types, so that siblings (`telemetry`, `features`, `splits`, `models`, `eval`)
//! never import each other and a research crate can add a channel, a model or a recipe without touching the workspace.
//!
//! Invariants:
//! * no implicit data, no clock, no random numbers, no threads;
//! * a [`Schema`] is ordered and complete: its hash changes when two channels swap places;
//! * a [`Checkpoint`] is read only after its lengths and its digest were checked.
//!
//! ```
//! use stakeout_core::{ChannelSpec, Schema, View, WindowSpec, class, channels};
//! let schema = Schema::new(channels::BUILT_IN.iter().map(ChannelSpec::from), View::Realistic, WindowSpec::default(), class::built_in(), 1)?;
//! assert_eq!((schema.channels.len(), schema.geometry().features), (29, 145));
//! # Ok::<(), stakeout_core::CoreError>(())
//! ```

pub mod batch;
pub mod calibration;
pub mod channel;
pub mod channels;
pub mod checkpoint;
pub mod class;
pub mod confusion;
mod error;
pub mod export;
pub mod files;
pub mod index;
pub mod model;
pub mod registry;
pub mod scaler;
pub mod schema;
pub mod text;
pub mod trace;
pub mod window;

pub use batch::{Batch, InputKind, Subset, WindowTable, Windows};
pub use calibration::Calibration;
pub use channel::{ChannelKind, ChannelSpec, Source};
pub use checkpoint::{Checkpoint, CheckpointHeader};
pub use class::ClassList;
pub use confusion::Confusion;
pub use error::CoreError;
pub use export::{ExportContext, ExportFormat};
pub use index::{EpisodeRef, SampleIndex, Side, WindowKey};
pub use model::{
    Attribution, BaseModel, Device, EpochRecord, Estimator, FitContext, FitObserver, Labelled, ModelError, ModelKind,
    Scores, Scratch, Silent,
};
pub use registry::{LoadContext, ModelEntry, ModelRegistry};
pub use scaler::{Moments, Scaler};
pub use schema::{Geometry, Schema, SchemaHash};
pub use trace::{EpisodeInfo, LabelPoint, SourceRows, Trace};
pub use window::{Clock, Partial, Statistic, View, WindowSpec};
