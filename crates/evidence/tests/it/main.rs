//! Criteria on stored predictions: each known way to look good, and that it does not.

mod criteria;
mod faults;
mod world;
