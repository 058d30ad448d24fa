//! Stores on disk: healthy, damaged and hostile, imported and simulated.

#[cfg(feature = "tables")]
mod import;
mod simulate;
mod small;
mod sweep;
mod trace;
mod verdicts;
mod writer;
