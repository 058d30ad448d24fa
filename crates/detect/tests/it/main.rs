//! Detectors from outside: files, processes, figures.

mod baseline;
mod reliability;
