//! The sweep over a store: one verdict an episode, in order, in bounded memory.
//!
//! Episodes are examined in chunks by as many threads as there are; verdicts leave in the order of the store whatever
//! the threads do. A bad episode is a verdict; only a store that can no longer be read at all ends the sweep.

#[cfg(feature = "tables")]
mod table;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::{Examined, Keep, ReasonCode, RowCounts, Store, TelemetryError, Verdict, examine};

#[cfg(feature = "tables")]
pub use table::VerdictTable;

/// Episodes examined between two reports of progress, a thread.
const CHUNK: usize = 32;

/// How a store is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValidateOptions {
    /// Threads; 0 = those of the current rayon pool.
    pub threads: usize,
}

/// What a sweep adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Episodes by verdict, in the order of [`Verdict::ALL`].
    pub verdicts: [u64; 4],
    /// Episodes by reason.
    pub reasons: BTreeMap<ReasonCode, u64>,
    /// What became of all rows.
    pub rows: RowCounts,
    /// Bytes read from disk.
    pub bytes: u64,
}

impl Summary {
    /// Episodes with a verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// Adds an episode.
    pub fn add(&mut self, examined: &Examined) {
        self.verdicts[examined.verdict as usize] += 1;
        let mut last = None;
        for reason in &examined.reasons {
            if last.replace(reason.code) != Some(reason.code) {
                *self.reasons.entry(reason.code).or_default() += 1;
            }
        }
        self.rows.add(&examined.rows);
        self.bytes += examined.bytes;
    }
}

/// Examines every entry of a store. `sink` gets each result in the order of [`Store::entries`]; `progress` gets the
/// number of entries done, their bytes, and the number of all entries.
///
/// # Errors
/// What `sink` returns, or when the store's index can no longer be read.
///
/// # Panics
/// When the operating system starts no thread.
pub fn validate(
    store: &Store,
    options: &ValidateOptions,
    progress: &dyn Fn(u64, u64, u64),
    sink: &mut dyn FnMut(Examined) -> Result<(), TelemetryError>,
) -> Result<Summary, TelemetryError> {
    let own = (options.threads > 0).then(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads);
        pool.build().expect("the operating system starts threads")
    });
    let threads = own.as_ref().map_or_else(rayon::current_num_threads, rayon::ThreadPool::current_num_threads);
    let mut summary = Summary::default();
    let (mut done, all) = (0, store.entries().len() as u64);
    progress(0, 0, all);
    for chunk in store.entries().chunks(CHUNK * threads) {
        let sweep = || -> Vec<Result<Examined, TelemetryError>> {
            chunk.par_iter().with_max_len(1).map(|entry| examine(store, entry, Keep::Nothing)).collect()
        };
        let examined = match &own {
            Some(pool) => pool.install(sweep),
            None => sweep(),
        };
        for examined in examined {
            let examined = examined?;
            summary.add(&examined);
            sink(examined)?;
        }
        done += chunk.len() as u64;
        progress(done, summary.bytes, all);
    }
    Ok(summary)
}
