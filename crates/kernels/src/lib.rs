//! Pure numeric loops: slices in, slices out.
//!
//! They live apart from the models so that they are compiled with optimisation even in a development build, can be
//! tested against slow twins without a heavy dependency, and are the only place where vector code may go.
//!
//! Invariants: no allocation in a loop that runs per node or per row; no threads (the caller cuts the work, so a result
//! cannot depend on their number); a sum is taken in an order that depends on its input, and
//! in some layers on the instruction set, alone.
//!
//! ```
//! use stakeout_kernels::bins::{self, MISSING};
//! let edges = bins::quantile_edges([1.0, 2.0, 2.0, 4.0].map(|v| (v, 1.0)), 255);
//! assert_eq!(edges, [1.5, 3.0]);
//! assert_eq!([0.0, 2.0, 9.0, f32::NAN].map(|v| bins::bin(&edges, v)), [0, 1, 2, MISSING]);
//! ```
//!
//! Histogram gradient boosting, in the order in which a tree is grown:
//! * [`bins`]: values to at most 255 quantile bins and one for missing values;
//! * [`quantise`]: derivatives of the loss as whole numbers;
//! * [`histogram`]: their sums per bin;
//! * [`split`]: the best cut of a histogram;
//! * [`partition`]: the rows of a node to its two children.
//!
//! Classification trees take [`gini`] in place of histogram and split. Rows of numbers as they are: [`dense`].
//!
//! MiniRocket: [`rocket`], convolutions and shares of their outputs.
//!
//! Nets, in vector code: [`simd`] (the instruction sets of this machine), [`product`] (small matrices), then
//! whole layers, forwards and for the gradient: [`conv`] (over the steps of windows), [`batch_norm`] and [`layer_norm`],
//! [`linear`] (dense layers), [`attention`] and [`encoder`] (the layers of a transformer), [`gru`] and [`lstm`] (over
//! [`recurrent`]); [`adamw`] moves their weights.

mod activation;
pub mod adamw;
pub mod attention;
pub mod batch_norm;
pub mod bins;
mod columns;
pub mod conv;
pub mod counting;
pub mod dense;
pub mod encoder;
pub mod gini;
pub mod gru;
pub mod histogram;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod partition;
pub mod product;
pub mod quantise;
pub mod recurrent;
pub mod rocket;
pub mod simd;
pub mod split;
#[cfg(test)]
mod twin;
