//! Tests of the public functions: the bootstrap against row-by-row twins, metrics, reports, tables.

mod bootstrap;
mod metrics;
mod render;
mod summary;
#[cfg(feature = "tables")]
mod tables;
mod world;
