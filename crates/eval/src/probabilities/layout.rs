//! Which sums are kept: the bins, classes and groups that occur, fixed on the whole sample, and their places in one
//! vector of sums.

use stakeout_core::confusion::argmax;

use super::{BINS, Cases};

/// Parts of the confidence in which forecasts of one called class are similar.
pub(super) const PARTS: usize = 5;

/// Cells of one family that occur, and where their neighbouring sums begin.
pub(super) struct Family {
    /// First sum of each cell; `None` for one that does not occur.
    place: Vec<Option<usize>>,
}

impl Family {
    fn new(used: &[bool], width: usize, next: &mut usize) -> Self {
        let place = used.iter().map(|&used| {
            let at = *next;
            *next += if used { width } else { 0 };
            used.then_some(at)
        });
        Self { place: place.collect() }
    }

    /// The first sum of a cell.
    ///
    /// # Panics
    /// When the cell does not occur.
    pub(super) fn of(&self, cell: usize) -> usize {
        self.place[cell].expect("a cell that some row is in")
    }

    /// The cells that occur with their first sums, ascending.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, usize)> {
        self.place.iter().enumerate().filter_map(|(cell, place)| Some((cell, (*place)?)))
    }
}

/// The sums of a set of rows: total weight, weighted Brier score and log loss, then the families.
pub(super) struct Layout {
    pub(super) classes: usize,
    /// Bins of equal width: weight, confidence, hits.
    pub(super) width: Family,
    /// Bins of equal weight: units, weight, gap (confidence less hits), squares of the units' gaps and of their weights.
    pub(super) mass: Family,
    /// Class × bin of its probability: gap (probability less occurrences).
    pub(super) class: Family,
    /// Called class × part of the confidence: weight, then each class's probability, then its occurrences.
    pub(super) group: Family,
    /// Classes that occur or are called.
    pub(super) scored: usize,
    /// Number of sums.
    pub(super) slots: usize,
    /// The class that each row is called.
    pub(super) called: Vec<u16>,
    /// The bin of each row.
    pub(super) width_of: Vec<usize>,
    pub(super) mass_of: Vec<usize>,
    pub(super) group_of: Vec<usize>,
}

impl Layout {
    pub(super) fn new(cases: &Cases<'_>, order: &[usize], weights: &[f64]) -> Self {
        let (n, classes) = (cases.truth.len(), cases.classes);
        let called: Vec<u16> = (0..n).map(|row| argmax(cases.row(row))).collect();
        let confidence: Vec<f32> = (0..n).map(|row| cases.row(row)[usize::from(called[row])]).collect();
        let middle = middles(&confidence, order, weights);
        // What lies on an edge belongs above it, whatever rounding says.
        let share = |row: usize, parts: usize| ((middle[row] * parts as f64 + 1e-9) as usize).min(parts - 1);
        let width_of: Vec<usize> = confidence.iter().map(|p| bin(*p)).collect();
        let mass_of: Vec<usize> = (0..n).map(|row| share(row, BINS)).collect();
        let group_of: Vec<usize> = (0..n).map(|row| usize::from(called[row]) * PARTS + share(row, PARTS)).collect();

        let mut scores = vec![false; classes];
        for class in cases.truth.iter().chain(&called) {
            scores[usize::from(*class)] = true;
        }
        let mut by_class = vec![false; classes * BINS];
        for row in 0..n {
            for (class, p) in cases.row(row).iter().enumerate().filter(|(class, _)| scores[*class]) {
                by_class[class * BINS + bin(*p)] = true;
            }
        }
        let marks = |cells: usize, of: &[usize]| {
            let mut used = vec![false; cells];
            of.iter().for_each(|&cell| used[cell] = true);
            used
        };
        let mut slots = 3;
        Self {
            classes,
            width: Family::new(&marks(BINS, &width_of), 3, &mut slots),
            mass: Family::new(&marks(BINS, &mass_of), 5, &mut slots),
            class: Family::new(&by_class, 1, &mut slots),
            group: Family::new(&marks(classes * PARTS, &group_of), 1 + 2 * classes, &mut slots),
            scored: scores.iter().filter(|scored| **scored).count(),
            slots,
            called,
            width_of,
            mass_of,
            group_of,
        }
    }

    /// The cell of a class and its probability, where the class counts.
    pub(super) fn class_of(&self, class: usize, p: f32) -> Option<usize> {
        self.class.place[class * BINS + bin(p)]
    }
}

/// The bin of equal width: `[i / 15, (i + 1) / 15)`, the last one with 1 in it.
pub(super) fn bin(p: f32) -> usize {
    ((f64::from(p) * BINS as f64) as usize).min(BINS - 1)
}

/// For each row, the share of the weight that is less confident, its equals counting half: inside (0, 1), the same for
/// equal confidences.
fn middles(confidence: &[f32], order: &[usize], weights: &[f64]) -> Vec<f64> {
    let mut sorted = order.to_vec();
    sorted.sort_by(|&a, &b| confidence[a].total_cmp(&confidence[b])); // stable: rows of one confidence keep the order
    let total: f64 = sorted.iter().map(|&row| weights[row]).sum();
    let mut middle = vec![0.0; confidence.len()];
    let mut below = 0.0;
    for equal in sorted.chunk_by(|&a, &b| confidence[a] == confidence[b]) {
        let weight: f64 = equal.iter().map(|&row| weights[row]).sum();
        for &row in equal {
            middle[row] = (below + weight / 2.0) / total;
        }
        below += weight;
    }
    middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_falls_in_the_last_bin() {
        assert_eq!((bin(1.0), bin(1.0f32.next_down()), bin(0.0)), (BINS - 1, BINS - 1, 0));
        assert_eq!(bin(1.5), BINS - 1, "a row that is no distribution breaks nothing");
        for i in 0..BINS {
            let edge = i as f32 / BINS as f32;
            let (own, below) = (bin(edge + 1e-6), bin(edge - 1e-6));
            assert_eq!((own, below), (i, i.saturating_sub(1)), "{edge}");
        }
    }

    #[test]
    fn equals_share_a_middle() {
        let middle = middles(&[0.5, 0.9, 0.5, 0.2], &[3, 2, 1, 0], &[1.0, 2.0, 1.0, 4.0]);
        assert_eq!(middle, [5.0 / 8.0, 7.0 / 8.0, 5.0 / 8.0, 2.0 / 8.0]);
    }
}
