//! The binary end to end: real processes, real files.

mod bad_input;
mod baseline;
mod calibrate;
mod calibration;
mod commands;
mod export;
mod fusion;
mod gate;
mod grid;
mod harness;
mod kept_windows;
mod resume;
mod sequence;
mod stream;
mod training;
mod tune;
mod typos;
