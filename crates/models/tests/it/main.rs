//! The models behind their public interface.

mod contract;
mod gbt;
mod golden;
