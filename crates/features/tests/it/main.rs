//! Traces to windows, against a slow and obvious twin.

mod cut;
mod digest;
mod generate;
mod hostile;
mod live;
mod pins;
mod scale;
mod twin;
