//! Detectors from outside: files, processes, figures.

mod reliability;
