//! The models behind their public interface.

mod classical;
mod contract;
mod gbt;
mod golden;
mod minirocket;
