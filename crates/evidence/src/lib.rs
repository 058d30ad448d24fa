//! Runs on disk to verdicts: what may be deployed, and what is.
