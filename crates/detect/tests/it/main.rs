//! Detectors from outside: files, processes, figures.

mod baseline;
#[cfg(feature = "tables")]
mod hdfs;
mod reliability;
mod sequence;
