//! Confusion counts in the two shapes that a bootstrap draws from, and the scores of one such matrix.
//!
//! A bootstrap never looks at rows: macro F1 and accuracy depend on a resample through its confusion counts only.

use std::ops::AddAssign;

use crate::EvalError;

/// The cells of a confusion matrix that occur at all, and which classes count.
///
/// The classes scored are those of these cells: labels and predictions of the whole sample, fixed before anything is
/// resampled. A resample cannot bring in another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cells {
    classes: usize,
    /// (truth, predicted) of each cell that occurs, ascending.
    pairs: Vec<(u16, u16)>,
    /// A class that was never trained counts 0, whatever happened to be called so.
    trained: Vec<bool>,
}

/// The scores of one matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    /// Mean F1 over the scored classes with TP + FP + FN > 0; `None` when there is none.
    pub(crate) macro_f1: Option<f64>,
    /// Share of the diagonal; `None` for an empty matrix.
    pub(crate) accuracy: Option<f64>,
}

/// Counts per class: true positives, occurrences, predictions.
pub(crate) type Outcomes = Vec<[u64; 3]>;

impl Cells {
    pub(crate) fn new(classes: usize, pairs: Vec<(u16, u16)>, trained: Option<&[bool]>) -> Self {
        Self { classes, pairs, trained: trained.map_or_else(|| vec![true; classes], <[bool]>::to_vec) }
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Sums the counts of the cells into outcomes per class.
    pub(crate) fn outcomes(&self, counts: &[u64], outcomes: &mut Outcomes) {
        outcomes.clear();
        outcomes.resize(self.classes, [0; 3]);
        for (&(truth, predicted), &count) in self.pairs.iter().zip(counts) {
            outcomes[usize::from(truth)][1] += count;
            outcomes[usize::from(predicted)][2] += count;
            if truth == predicted {
                outcomes[usize::from(truth)][0] += count;
            }
        }
    }

    /// F1 of a class, `2 TP / (2 TP + FP + FN)`, 0 for a class that was never trained; `None` where it does not occur.
    pub(crate) fn f1(&self, class: usize, [hits, truth, predicted]: [u64; 3]) -> Option<f64> {
        let hits = if self.trained[class] { hits } else { 0 };
        (truth + predicted > 0).then(|| 2.0 * hits as f64 / (truth + predicted) as f64)
    }

    pub(crate) fn scores(&self, outcomes: &Outcomes) -> Scores {
        let (mut sum, mut seen, mut hits, mut total) = (0.0, 0u32, 0, 0);
        for (class, &counts) in outcomes.iter().enumerate() {
            hits += counts[0];
            total += counts[1];
            if let Some(f1) = self.f1(class, counts) {
                sum += f1;
                seen += 1;
            }
        }
        Scores {
            macro_f1: (seen > 0).then(|| sum / f64::from(seen)),
            accuracy: (total > 0).then(|| hits as f64 / total as f64),
        }
    }

    /// The classes that occur in any cell.
    pub(crate) fn scored(&self) -> Vec<bool> {
        let mut scored = vec![false; self.classes];
        for &(truth, predicted) in &self.pairs {
            scored[usize::from(truth)] = true;
            scored[usize::from(predicted)] = true;
        }
        scored
    }
}

/// Cells of a tile. Sixteen 16-bit sums stay in two vector registers of any CPU while the drawn clusters are added.
const TILE: usize = 16;

const NARROW_MAX: u32 = u16::MAX as u32;

/// Counts tile-major: for each tile of cells, one row a cluster. Narrow ones halve what the sum has to read; large
/// clusters (a host with a hundred thousand windows) need the wide ones.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tiles {
    Narrow(Vec<[u16; TILE]>),
    Wide(Vec<[u32; TILE]>),
}

/// Confusion counts per cluster (an episode, a host): what a clustered bootstrap sums with random weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterCounts {
    pub(crate) cells: Cells,
    clusters: usize,
    tiles: Tiles,
    /// So many rows can be added before a sum could overflow.
    safe_rows: usize,
    totals: Vec<u64>,
}

impl ClusterCounts {
    /// Counts (truth, predicted) pairs per cluster. Clusters are ordered by their key, so that the order of rows does
    /// not matter. `trained` says for each class whether the model ever saw it in training; `None` = all.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] when lengths differ, a class is out of range or there are 2³² rows or more.
    pub fn new(
        classes: usize,
        trained: Option<&[bool]>,
        clusters: &[u32],
        truth: &[u16],
        predicted: &[u16],
    ) -> Result<Self, EvalError> {
        let rows = clusters.len();
        if truth.len() != rows || predicted.len() != rows || trained.is_some_and(|t| t.len() != classes) {
            return Err(EvalError::invalid("confusion counts", "one cluster, label and prediction a row is needed"));
        }
        if truth.iter().chain(predicted).any(|class| usize::from(*class) >= classes) || u32::try_from(rows).is_err() {
            return Err(EvalError::invalid("confusion counts", format!("classes below {classes}, rows below 2^32")));
        }
        let mut keys = clusters.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let mut place = vec![usize::MAX; classes * classes];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            place[usize::from(truth) * classes + usize::from(predicted)] = 0;
        }
        let mut pairs = Vec::new();
        for (cell, place) in place.iter_mut().enumerate().filter(|(_, place)| **place == 0) {
            *place = pairs.len();
            pairs.push(((cell / classes) as u16, (cell % classes) as u16));
        }
        let mut tiles = vec![[0u32; TILE]; pairs.len().div_ceil(TILE) * keys.len()];
        let mut totals = vec![0u64; pairs.len()];
        for ((cluster, &truth), &predicted) in clusters.iter().zip(truth).zip(predicted) {
            let cluster = keys.partition_point(|key| key < cluster);
            let cell = place[usize::from(truth) * classes + usize::from(predicted)];
            tiles[cell / TILE * keys.len() + cluster][cell % TILE] += 1;
            totals[cell] += 1;
        }
        let largest = tiles.iter().flatten().copied().max().unwrap_or(0).max(1);
        let (tiles, room) = if largest <= NARROW_MAX {
            (Tiles::Narrow(tiles.iter().map(|row| row.map(|count| count as u16)).collect()), NARROW_MAX)
        } else {
            (Tiles::Wide(tiles), u32::MAX)
        };
        let safe_rows = (room / largest) as usize;
        Ok(Self { cells: Cells::new(classes, pairs, trained), clusters: keys.len(), tiles, safe_rows, totals })
    }

    /// Number of clusters.
    pub fn clusters(&self) -> usize {
        self.clusters
    }

    /// Counts of the occurring cells over all clusters.
    pub(crate) fn totals(&self) -> &[u64] {
        &self.totals
    }

    /// Sums the counts of the drawn clusters, cell by cell.
    pub(crate) fn sum(&self, drawn: &[u32], into: &mut [u64]) {
        match &self.tiles {
            Tiles::Narrow(tiles) => sum_tiles(tiles, self.clusters, self.safe_rows, drawn, into),
            Tiles::Wide(tiles) => sum_tiles(tiles, self.clusters, self.safe_rows, drawn, into),
        }
    }
}

fn sum_tiles<T: Copy + Default + AddAssign + Into<u64>>(
    tiles: &[[T; TILE]],
    clusters: usize,
    safe_rows: usize,
    drawn: &[u32],
    into: &mut [u64],
) {
    into.fill(0);
    for (tile, into) in tiles.chunks_exact(clusters.max(1)).zip(into.chunks_mut(TILE)) {
        for drawn in drawn.chunks(safe_rows) {
            let mut sums = [T::default(); TILE];
            for &cluster in drawn {
                for (sum, count) in sums.iter_mut().zip(tile[cluster as usize]) {
                    *sum += count;
                }
            }
            for (into, sum) in into.iter_mut().zip(sums) {
                *into += sum.into();
            }
        }
    }
}

/// Counts of (truth, predicted by a, predicted by b) over the rows of two models: what a paired row bootstrap draws
/// from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JointCounts {
    pub(crate) classes: usize,
    /// Occurring triples, ascending, and their counts.
    pub(crate) triples: Vec<[u16; 3]>,
    pub(crate) counts: Vec<u64>,
}

impl JointCounts {
    /// Counts the triples of all rows.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] when lengths differ or a class is out of range.
    pub fn new(classes: usize, truth: &[u16], a: &[u16], b: &[u16]) -> Result<Self, EvalError> {
        if truth.len() != a.len() || truth.len() != b.len() {
            return Err(EvalError::invalid("joint counts", "two predictions a label are needed"));
        }
        if truth.iter().chain(a).chain(b).any(|class| usize::from(*class) >= classes) {
            return Err(EvalError::invalid("joint counts", format!("classes must be below {classes}")));
        }
        let mut rows: Vec<[u16; 3]> = truth.iter().zip(a).zip(b).map(|((&t, &a), &b)| [t, a, b]).collect();
        rows.sort_unstable();
        let (mut triples, mut counts) = (Vec::new(), Vec::new());
        for run in rows.chunk_by(|x, y| x == y) {
            triples.push(run[0]);
            counts.push(run.len() as u64);
        }
        Ok(Self { classes, triples, counts })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (u32, u16, u16);

    fn rows() -> impl Strategy<Value = (usize, Vec<Row>)> {
        (1usize..=8).prop_flat_map(|classes| {
            let class = 0..classes as u16;
            (Just(classes), prop::collection::vec((0u32..9, class.clone(), class), 0..60))
        })
    }

    fn counts(classes: usize, trained: &[bool], rows: &[Row]) -> ClusterCounts {
        let clusters: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let truth: Vec<u16> = rows.iter().map(|row| row.1).collect();
        let predicted: Vec<u16> = rows.iter().map(|row| row.2).collect();
        ClusterCounts::new(classes, Some(trained), &clusters, &truth, &predicted).unwrap()
    }

    /// Macro F1 straight from its definition, by one pass over the rows a class.
    fn slow_macro_f1(classes: usize, trained: &[bool], rows: &[Row]) -> Option<f64> {
        let mut f1s = Vec::new();
        for class in 0..classes as u16 {
            let tp = rows.iter().filter(|row| row.1 == class && row.2 == class).count() as f64;
            let wrong = rows.iter().filter(|row| (row.1 == class) != (row.2 == class)).count() as f64;
            if tp + wrong > 0.0 {
                f1s.push(if trained[usize::from(class)] { 2.0 * tp / (2.0 * tp + wrong) } else { 0.0 });
            }
        }
        (!f1s.is_empty()).then(|| f1s.iter().sum::<f64>() / f1s.len() as f64)
    }

    proptest! {
        #[test]
        fn scores_follow_the_definition((classes, rows) in rows(), untrained in 0usize..8) {
            let trained: Vec<bool> = (0..classes).map(|class| class != untrained).collect();
            let counts = counts(classes, &trained, &rows);
            let mut outcomes = Outcomes::new();
            counts.cells.outcomes(counts.totals(), &mut outcomes);
            let scores = counts.cells.scores(&outcomes);
            let slow = slow_macro_f1(classes, &trained, &rows);
            prop_assert_eq!(scores.macro_f1.is_some(), slow.is_some());
            prop_assert!((scores.macro_f1.unwrap_or(0.0) - slow.unwrap_or(0.0)).abs() < 1e-12);
            let hits = rows.iter().filter(|row| row.1 == row.2).count();
            prop_assert_eq!(scores.accuracy, (!rows.is_empty()).then(|| hits as f64 / rows.len() as f64));
        }

        #[test]
        fn scores_are_those_of_the_shared_confusion_matrix((classes, rows) in rows()) {
            let counts = counts(classes, &vec![true; classes], &rows);
            let mut outcomes = Outcomes::new();
            counts.cells.outcomes(counts.totals(), &mut outcomes);
            let mut confusion = stakeout_core::Confusion::new(classes);
            for row in &rows {
                confusion.add(row.1, row.2);
            }
            prop_assert_eq!(counts.cells.scores(&outcomes).macro_f1, confusion.macro_f1());
        }

        #[test]
        fn a_sum_of_clusters_is_a_count_of_their_rows(
            (classes, rows) in rows(),
            draws in prop::collection::vec(0usize..100, 0..30),
            safe_rows in 1usize..5,
        ) {
            let trained = vec![true; classes];
            let mut whole = counts(classes, &trained, &rows);
            prop_assume!(whole.clusters() > 0);
            // A small block length takes the path that keeps the narrow sums from overflowing.
            whole.safe_rows = safe_rows;
            let drawn: Vec<u32> = draws.iter().map(|draw| (draw % whole.clusters()) as u32).collect();
            let mut keys: Vec<u32> = rows.iter().map(|row| row.0).collect();
            keys.sort_unstable();
            keys.dedup();
            let mut sums = vec![7; whole.cells.len()];
            whole.sum(&drawn, &mut sums);
            for (sum, pair) in sums.iter().zip(&whole.cells.pairs) {
                let of = |cluster: &u32| {
                    rows.iter().filter(|row| row.0 == keys[*cluster as usize] && (row.1, row.2) == *pair).count() as u64
                };
                prop_assert_eq!(*sum, drawn.iter().map(of).sum::<u64>());
            }
        }

        #[test]
        fn the_order_of_rows_does_not_matter((classes, rows) in rows()) {
            let trained = vec![true; classes];
            let mut turned = rows.clone();
            turned.reverse();
            prop_assert_eq!(counts(classes, &trained, &rows), counts(classes, &trained, &turned));
        }
    }

    #[test]
    fn large_clusters_are_counted_too() {
        // One cell of one cluster is above 16 bits: the wide tiles are taken.
        let big = 70_000;
        let mut clusters = vec![0; big];
        clusters.extend([1, 1]);
        let zeros = vec![0; big + 2];
        let whole = ClusterCounts::new(2, None, &clusters, &zeros, &zeros).unwrap();
        let mut sums = [0];
        whole.sum(&[0, 1, 0], &mut sums);
        assert_eq!(sums, [2 * big as u64 + 2]);
        assert!(matches!(whole.tiles, Tiles::Wide(_)));
    }

    #[test]
    fn narrow_sums_do_not_overflow() {
        // 100 rows a cluster, 2,000 clusters: 200,000 hits in one cell.
        let clusters: Vec<u32> = (0..200_000).map(|row| row / 100).collect();
        let zeros = vec![0; clusters.len()];
        let whole = ClusterCounts::new(2, None, &clusters, &zeros, &zeros).unwrap();
        let all: Vec<u32> = (0..2000).collect();
        let mut sums = [0];
        whole.sum(&all, &mut sums);
        assert_eq!(sums, [200_000]);
        assert!(matches!(whole.tiles, Tiles::Narrow(_)));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        assert!(ClusterCounts::new(2, None, &[0], &[2], &[0]).is_err());
        assert!(ClusterCounts::new(2, None, &[0, 1], &[0], &[0]).is_err());
        assert!(ClusterCounts::new(2, Some(&[true]), &[0], &[0], &[0]).is_err());
        assert!(JointCounts::new(2, &[0], &[0], &[2]).is_err());
        assert!(JointCounts::new(2, &[0], &[0], &[]).is_err());
    }
}
