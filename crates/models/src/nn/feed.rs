//! Batches prepared ahead: while a step computes, a second thread gathers and augments the windows of the next ones, so
//! that a step waits for no disk.
//!
//! What is prepared depends on the step's number and its rows alone, never on when: the feed changes no result.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use stakeout_core::{Batch, InputKind, ModelError, Windows};

use super::augment::augment;
use super::config::TrainConfig;
use super::rng::{Purpose, generator};

/// Batches that wait at most; memory holds so many, the one in use and the one in the making.
const AHEAD: usize = 2;
/// Windows per shard of a training step at most, where a net does not say otherwise.
pub(super) const SHARD: usize = 32;

/// Where batches come from.
pub(super) struct Feed<'a> {
    pub(super) windows: &'a dyn Windows,
    pub(super) kind: InputKind,
    pub(super) config: &'a TrainConfig,
    /// Windows per shard at most.
    pub(super) shard: usize,
    pub(super) seed: u64,
}

/// The windows of a step.
pub(super) struct Step {
    /// Their rows among all windows.
    pub(super) rows: Vec<usize>,
    /// A batch a shard, in the order of the rows.
    pub(super) shards: Vec<Batch>,
}

/// The steps to come, in order.
pub(super) struct Steps(Receiver<Result<Step, ModelError>>);

impl Steps {
    /// The next step.
    ///
    /// # Errors
    /// Those of [`Windows::gather`].
    pub(super) fn next(&self) -> Result<Step, ModelError> {
        self.0.recv().unwrap_or_else(|_| Err(ModelError::Data("the thread that gathers batches has ended".into())))
    }
}

impl Feed<'_> {
    /// Runs `consume` while `steps` (number and rows of each) are prepared ahead of it.
    ///
    /// # Errors
    /// Those of `consume`, and [`ModelError::Foreign`] where no thread can be started.
    pub(super) fn run<R>(
        &self,
        steps: impl Iterator<Item = (u64, Vec<usize>)> + Send,
        consume: impl FnOnce(&Steps) -> Result<R, ModelError>,
    ) -> Result<R, ModelError> {
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            let work = move || {
                for (step, rows) in steps {
                    let prepared = self.prepare(step, &rows).map(|shards| Step { rows, shards });
                    let failed = prepared.is_err();
                    // A receiver that is gone was interrupted, stopped early or failed.
                    if sender.send(prepared).is_err() || failed {
                        return;
                    }
                }
            };
            thread::Builder::new().name("batches".into()).spawn_scoped(scope, work).map_err(|source| {
                ModelError::Foreign {
                    context: "starting the thread that gathers batches".into(),
                    source: Box::new(source),
                }
            })?;
            consume(&Steps(receiver))
        })
    }

    fn prepare(&self, step: u64, rows: &[usize]) -> Result<Vec<Batch>, ModelError> {
        let shards = even(rows, shards(rows.len(), self.shard)).enumerate();
        shards
            .map(|(shard, own)| {
                let mut batch = Batch::new(self.kind, self.windows.schema().geometry());
                self.windows.gather(own, &mut batch)?;
                let position = position(self.config, step, shard);
                augment(&mut batch, self.config, &mut generator(self.seed, Purpose::Augment, position));
                Ok(batch)
            })
            .collect()
    }
}

/// Shards of a batch: two at least where there are rows enough, so that there is something to do side by side.
fn shards(rows: usize, shard: usize) -> usize {
    rows.div_ceil(shard).max(rows.div_ceil(SHARD).min(2))
}

/// What names all that is random in a shard.
pub(super) fn position(config: &TrainConfig, step: u64, shard: usize) -> u64 {
    step * config.batch_size.div_ceil(SHARD) as u64 + shard as u64
}

/// Cuts a list into `parts` whose lengths differ by one at most. A normalisation by the batch must not meet a last batch
/// of one window.
pub(super) fn even(rows: &[usize], parts: usize) -> impl Iterator<Item = &[usize]> {
    (0..parts).map(move |part| &rows[part * rows.len() / parts..(part + 1) * rows.len() / parts])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use stakeout_core::{CoreError, Schema, batch::check_gather};
    use stakeout_testkit::data;

    use super::*;

    /// Counts what was gathered, and fails from a step on.
    struct Counted<'a> {
        inner: &'a dyn Windows,
        gathered: AtomicUsize,
        fails_after: usize,
    }

    impl Windows for Counted<'_> {
        fn len(&self) -> usize {
            self.inner.len()
        }

        fn schema(&self) -> &Schema {
            self.inner.schema()
        }

        fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
            if self.gathered.fetch_add(1, Ordering::SeqCst) >= self.fails_after {
                check_gather(0, self.schema(), &[0], into)?;
            }
            self.inner.gather(rows, into)
        }
    }

    fn run<R>(fails_after: usize, consume: impl FnOnce(&Steps, &Counted<'_>) -> R) -> R {
        let small = data::small_windows(1, 240, 3, 2, 5);
        let counted = Counted { inner: &small.windows, gathered: AtomicUsize::new(0), fails_after };
        let config = TrainConfig { jitter: 0.1, ..TrainConfig::default() };
        let feed = Feed { windows: &counted, kind: InputKind::Tensor, config: &config, shard: SHARD, seed: 7 };
        let rows: Vec<usize> = (0..small.windows.len()).collect();
        let steps = even(&rows, 6).map(<[usize]>::to_vec);
        feed.run((0..).zip(steps), |steps| Ok(consume(steps, &counted))).unwrap()
    }

    #[test]
    fn steps_come_in_order_and_the_same_each_time() {
        let all = || run(usize::MAX, |steps, _| (0..6).map(|_| steps.next().unwrap()).collect::<Vec<_>>());
        let first = all();
        let rows: Vec<usize> = first.iter().flat_map(|step| step.rows.iter().copied()).collect();
        assert!(rows.len() > 6 && rows.iter().enumerate().all(|(at, row)| at == *row));
        for step in &first {
            assert!(step.shards.iter().all(|batch| batch.rows() > 0 && batch.rows() <= SHARD));
            assert_eq!(step.shards.iter().map(Batch::rows).sum::<usize>(), step.rows.len());
        }
        let bits = |all: &[Step]| -> Vec<u32> {
            let batches = all.iter().flat_map(|step| &step.shards);
            batches.flat_map(|batch| batch.values.iter().map(|value| value.to_bits())).collect()
        };
        assert_eq!(bits(&first), bits(&all()));
    }

    #[test]
    fn an_error_arrives_in_its_place_and_ends_the_feed() {
        run(2, |steps, _| {
            let mut good = 0;
            while steps.next().is_ok() {
                good += 1;
            }
            assert!(good <= 2 && steps.next().is_err());
        });
    }

    /// A consumer that stops early is not waited for, and little was gathered for nothing.
    #[test]
    fn a_consumer_that_stops_ends_the_feed() {
        run(usize::MAX, |steps, counted| {
            steps.next().unwrap();
            assert!(counted.gathered.load(Ordering::SeqCst) <= (2 + AHEAD + 1) * shards(counted.len(), SHARD));
        });
    }
}
