//! From traces to windows: what a model is fed, and nothing about who is held out or what is learned.
//!
//! A [`Trace`](stakeout_core::Trace) holds raw rows of several sources on one clock. [`cut()`] places windows on the
//! absolute grid of integer nanoseconds ([`grid`]), turns raw rows into series ([`series`]: a counter becomes a rate, a
//! bucketed amount becomes a rate with its silent zeros), and runs one pass of the window [`kernel`] for the summary and
//! the tensor. [`live`] cuts a stream of rows while it comes.
//!
//! Invariants:
//! * no label takes part in the cut: a window's label is looked up afterwards, at its centre;
//! * what was not observed is NaN, never zero; a counter reset is missing, never a negative rate;
//! * the same trace gives the same bytes on every instruction set;
//! * [`EXTRACTOR_VERSION`] is raised when the output changes for any input.
//!
//! ```
//! use stakeout_core::{ChannelSpec, EpisodeInfo, LabelPoint, Source, SourceRows, Trace, View, WindowSpec, channels, class};
//! use stakeout_features::{CutScratch, Inputs, cut, schema};
//!
//! let schema = schema(channels::BUILT_IN.iter().map(ChannelSpec::from), View::Realistic, WindowSpec::default(), class::built_in())?;
//! let load = schema.channels.iter().position(|c| c.name == "guest.load1").expect("a built-in channel");
//! let second = 1_000_000_000;
//! let trace = Trace {
//!     episode: EpisodeInfo { span: (0, 20 * second), ..EpisodeInfo::default() },
//!     labels: vec![LabelPoint { t_wall_ns: 0, class: Some(0) }],
//!     sources: vec![SourceRows {
//!         source: Source::Guest,
//!         bucket_ns: 0,
//!         channels: vec![load],
//!         t_wall_ns: (0..20).map(|i| i * second).collect(),
//!         values: (0..20).map(f64::from).collect(),
//!     }],
//! };
//! let cut = cut(&trace, &schema, Inputs::BOTH, &mut CutScratch::default())?;
//! assert_eq!(cut.t0_ns, [0, 5 * second, 10 * second]);
//! assert_eq!(cut.summary[load], 4.5); // the mean of the first window
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cut;
mod digest;
mod error;
pub mod grid;
pub mod kernel;
pub mod live;
pub mod samples;
pub mod scale;
mod schema;
pub mod series;
mod stored;

pub use cut::{Cut, CutCounts, CutScratch, Inputs, cut};
pub use error::FeatureError;
pub use grid::Grid;
pub use live::{Live, Pushed};
pub use samples::Samples;
pub use scale::{Scaled, fit_moments};
pub use schema::{EXTRACTOR_VERSION, schema};
pub use stored::{StoredWindows, StoredWriter, Written};
