//! The loop over trees that know nothing of each other: forests, extremely randomised trees, and a single tree.

use rayon::prelude::*;
use serde_json::Value;
use stakeout_core::{EpochRecord, FitContext, InputKind, Labelled, ModelError};

use super::binned::{Binned, Edges, Spans};
use super::class_forest::ClassForest;
use super::grow::{ClassTree, Ground, Shape};
use crate::bytes::Reader;
use crate::draw::{below, choose, stream};
use crate::weighted::Weighted;

/// Trees grown side by side before the next look at the observer: an epoch of the history.
const BATCH: usize = 16;
/// Rows that are scored as one piece: losses are summed piece by piece in order, whatever the number of threads.
const PIECE: usize = 4096;
/// The least probability that enters the reported loss, so that it stays finite where a pure leaf is wrong.
const FLOOR: f64 = 1e-7;

const MAGIC: [u8; 4] = *b"SCLS";
const FORMAT: u32 = 1;

/// The rows that each tree is grown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// As many as there are, or `at_most`, drawn with replacement (bootstrap).
    Drawn { at_most: usize },
    /// All, or `at_most` drawn without replacement.
    All { at_most: usize },
}

/// What is to be grown.
pub(crate) struct Plan {
    pub(crate) input: InputKind,
    pub(crate) trees: usize,
    pub(crate) rows: Rows,
    pub(crate) max_bins: usize,
    pub(crate) shape: Shape,
    /// Text of the settings: a saved state of others is refused.
    pub(crate) settings: Value,
}

/// Purposes of random draws.
const SKETCH: u64 = 0;
const ROWS: u64 = 1;
const SPLITS: u64 = 2;

/// Grows the trees of a plan. The history's training loss is that of the rows which a tree has not seen, where it does
/// not see all (out of bag, Breiman 2001, section 3.1), else that of all rows.
pub(crate) fn fit(plan: &Plan, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<ClassForest, ModelError> {
    train.check()?;
    let geometry = train.windows.schema().geometry();
    let (seed, features, classes) = (cx.seed, geometry.row_len(plan.input), geometry.classes);
    let Weighted { rows, labels, weights } = Weighted::of(&train)?;
    let edges = Edges::of(train.windows, plan.input, &rows, &weights, plan.max_bins, |n, sample| {
        choose(n, sample, &mut stream(seed, [0, SKETCH]))
    })?;
    let spans = Spans::of(train.windows, plan.input, &rows, &edges)?;
    let binned = Binned::of(train.windows, plan.input, &rows, &edges)?;
    let prior = frequencies(&labels, &weights, classes);
    let ground =
        Ground { binned: &binned, edges: &edges, spans: &spans, labels: &labels, prior: &prior, shape: plan.shape };

    let name = name(plan, seed, &edges, &labels, &weights);
    let mut votes = Votes::new(labels.len(), classes);
    let mut forest = match cx.observer.load_state()? {
        Some(state) => read_state(&state, &name, features, classes)?,
        None => ClassForest::new(features, classes),
    };
    for (tree, (nodes, says)) in forest.trees().enumerate() {
        let own = ClassTree::from_nodes(nodes, says, &spans).ok_or_else(|| {
            ModelError::Weights("the saved state is of a fit on other data: start again without it".into())
        })?;
        votes.add(&own, &binned, &drawn(plan.rows, seed, tree, labels.len()).1);
    }

    let mut save_at = forest.len() + BATCH;
    while forest.len() < plan.trees {
        if cx.observer.cancelled() {
            cx.observer.save_state(&write_state(&name, &forest))?;
            return Err(ModelError::Cancelled);
        }
        let batch = forest.len()..plan.trees.min(forest.len() + BATCH);
        let grown: Vec<(ClassTree, Vec<u32>)> = batch
            .into_par_iter()
            .with_max_len(1)
            .map(|tree| {
                let (counts, voters) = drawn(plan.rows, seed, tree, labels.len());
                let seen: Vec<u32> = (0..labels.len() as u32).filter(|row| counts[*row as usize] > 0).collect();
                let own: Vec<f32> = counts.iter().zip(&weights).map(|(count, weight)| *count as f32 * weight).collect();
                (ground.grow(seen, &own, stream(seed, [tree as u64, SPLITS])), voters)
            })
            .collect();
        for (tree, voters) in &grown {
            votes.add(tree, &binned, voters);
            forest.push(tree);
        }
        cx.observer.epoch(&EpochRecord {
            epoch: forest.len().div_ceil(BATCH),
            train_loss: votes.loss(&labels, &weights, &prior),
            validation_loss: None,
            validation_macro_f1: None,
            learning_rate: 1.0,
        })?;
        cx.observer.progress(forest.len() as u64, plan.trees as u64);
        if forest.len() >= save_at && forest.len() < plan.trees {
            cx.observer.save_state(&write_state(&name, &forest))?;
            // further apart the more there is to write, so that all states together are a few times the last one
            save_at = forest.len() + (forest.len() / 2).max(BATCH);
        }
    }
    Ok(forest)
}

/// Weighted class frequencies with Laplace's rule of succession: one row is added to each class, so that a class without
/// a row keeps a small probability.
fn frequencies(labels: &[u16], weights: &[f32], classes: usize) -> Vec<f64> {
    let mut sums = vec![1.0; classes];
    for (label, weight) in labels.iter().zip(weights) {
        sums[usize::from(*label)] += f64::from(*weight);
    }
    let total: f64 = sums.iter().sum();
    sums.iter().map(|sum| sum / total).collect()
}

/// How often a tree sees each row, and the rows on which it is judged: those that it does not see, or all where it sees
/// all.
fn drawn(rows: Rows, seed: u64, tree: usize, n: usize) -> (Vec<u32>, Vec<u32>) {
    let mut generator = stream(seed, [tree as u64, ROWS]);
    let mut counts = vec![0u32; n];
    match rows {
        Rows::Drawn { at_most } => (0..n.min(at_most)).for_each(|_| counts[below(&mut generator, n)] += 1),
        Rows::All { at_most } => {
            choose(n, n.min(at_most), &mut generator).into_iter().for_each(|row| counts[row as usize] = 1);
        }
    }
    let unseen: Vec<u32> = (0..n as u32).filter(|row| counts[*row as usize] == 0).collect();
    let voters = if unseen.is_empty() { (0..n as u32).collect() } else { unseen };
    (counts, voters)
}

/// What the trees so far say about the training rows.
struct Votes {
    classes: usize,
    /// Rows × classes.
    sums: Vec<f32>,
    counts: Vec<u32>,
}

impl Votes {
    fn new(rows: usize, classes: usize) -> Self {
        Self { classes, sums: vec![0.0; rows * classes], counts: vec![0; rows] }
    }

    /// Adds what a tree says about some rows, which ascend.
    fn add(&mut self, tree: &ClassTree, binned: &Binned, voters: &[u32]) {
        let classes = self.classes;
        let pieces = self.sums.par_chunks_mut(PIECE * classes).zip(self.counts.par_chunks_mut(PIECE));
        pieces.enumerate().for_each(|(piece, (sums, counts))| {
            let from = (piece * PIECE) as u32;
            let own = voters.partition_point(|row| *row < from)
                ..voters.partition_point(|row| (*row as usize) < piece * PIECE + counts.len());
            for row in &voters[own] {
                let i = (row - from) as usize;
                let says = tree.vote(binned, *row, classes);
                sums[i * classes..][..classes].iter_mut().zip(says).for_each(|(sum, p)| *sum += p);
                counts[i] += 1;
            }
        });
    }

    /// Weighted mean log loss; a row without a vote gets the prior.
    fn loss(&self, labels: &[u16], weights: &[f32], prior: &[f64]) -> f64 {
        let pieces: Vec<[f64; 2]> = labels
            .par_chunks(PIECE)
            .enumerate()
            .map(|(piece, labels)| {
                labels.iter().enumerate().fold([0.0, 0.0], |[loss, total], (i, label)| {
                    let (row, class) = (piece * PIECE + i, usize::from(*label));
                    let p = match self.counts[row] {
                        0 => prior[class],
                        count => f64::from(self.sums[row * self.classes + class]) / f64::from(count),
                    };
                    let weight = f64::from(weights[row]);
                    [loss - weight * p.clamp(FLOOR, 1.0).ln(), total + weight]
                })
            })
            .collect();
        let [loss, total] = pieces.iter().fold([0.0, 0.0], |a, b| [a[0] + b[0], a[1] + b[1]]);
        loss / total
    }
}

/// What a state belongs to: settings, seed and a digest of the data.
fn name(plan: &Plan, seed: u64, edges: &Edges, labels: &[u16], weights: &[f32]) -> String {
    // FNV-1a over words: tells data apart that were mixed up, not data that were forged
    let mut digest = 0xcbf2_9ce4_8422_2325u64;
    let mut fold = |word: u32| digest = (digest ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3);
    for column in &edges.0 {
        fold(column.len() as u32);
        column.iter().for_each(|edge| fold(edge.to_bits()));
    }
    labels.iter().for_each(|label| fold(u32::from(*label)));
    weights.iter().for_each(|weight| fold(weight.to_bits()));
    format!("{} seed {seed} rows {} inputs {} data {digest:016x}", plan.settings, labels.len(), edges.0.len())
}

fn write_state(name: &str, forest: &ClassForest) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((name.len() as u32).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(forest.to_bytes());
    bytes
}

fn read_state(bytes: &[u8], name: &str, features: usize, classes: usize) -> Result<ClassForest, ModelError> {
    let mut reader = Reader::new(bytes);
    reader.expect(MAGIC, FORMAT)?;
    let length = reader.u32()? as usize;
    if reader.take(length, 1)? != name.as_bytes() {
        return Err(ModelError::Weights("the saved state is of another fit: start again without it".into()));
    }
    ClassForest::from_bytes(reader.rest(), features, classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_leaves_a_third_out() {
        let (counts, voters) = drawn(Rows::Drawn { at_most: usize::MAX }, 1, 0, 10_000);
        assert_eq!(counts.iter().sum::<u32>(), 10_000);
        // 10,000 / e = 3,679, standard deviation 31
        assert!(voters.len().abs_diff(3679) < 160, "{}", voters.len());
        assert!(voters.iter().all(|row| counts[*row as usize] == 0));
        assert_ne!(drawn(Rows::Drawn { at_most: usize::MAX }, 1, 1, 10_000).0, counts);
    }

    #[test]
    fn rows_are_capped() {
        assert_eq!(drawn(Rows::Drawn { at_most: 7 }, 1, 0, 100).0.iter().sum::<u32>(), 7);
        let (counts, voters) = drawn(Rows::All { at_most: 7 }, 1, 0, 100);
        assert_eq!((counts.iter().sum::<u32>(), voters.len()), (7, 93));
        assert_eq!(drawn(Rows::All { at_most: 100 }, 1, 0, 100), (vec![1; 100], (0..100).collect()));
    }

    #[test]
    fn no_class_is_impossible() {
        assert_eq!(frequencies(&[0, 0, 1], &[1.0, 1.0, 2.0], 3), [3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]);
    }
}
