//! Votes of neighbours to probabilities, and how good they are.

use stakeout_core::confusion::argmax;

use super::nearest::Found;

/// Those who vote, and how votes are counted.
pub(super) struct Electorate<'a> {
    pub(super) labels: &'a [u16],
    pub(super) weights: &'a [f32],
    pub(super) classes: usize,
    /// Votes spread evenly over the classes.
    pub(super) smoothing: f64,
}

impl Electorate<'_> {
    /// Class probabilities from the neighbours of one window, nearest first. A neighbour's vote is its weight times the
    /// ratio of the nearest one's distance to its own; windows at distance 0 vote alone.
    pub(super) fn probabilities(&self, found: &[Found], out: &mut [f32]) {
        let nearest = f64::from(found[0].squared);
        let mut votes = vec![self.smoothing / self.classes as f64; self.classes];
        for Found { row, squared } in found {
            let squared = f64::from(*squared);
            let share = if squared == nearest { 1.0 } else { (nearest / squared).sqrt() };
            votes[usize::from(self.labels[*row as usize])] += share * f64::from(self.weights[*row as usize]);
        }
        let total: f64 = votes.iter().sum();
        out.iter_mut().zip(votes).for_each(|(out, votes)| *out = (votes / total) as f32);
    }
}

/// How good some probabilities are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Merit {
    /// Weight of the windows that are right.
    right: f64,
    /// Weighted sum of log losses.
    loss: f64,
}

impl Merit {
    /// More accurate, or as accurate with a lower loss.
    pub(super) fn beats(&self, other: &Self) -> bool {
        self.right > other.right || (self.right == other.right && self.loss < other.loss)
    }
}

/// Judges the first `k` of the `most` neighbours that were found for each window, whose labels and weights follow.
pub(super) fn judge(
    electorate: &Electorate<'_>,
    found: &[Found],
    most: usize,
    k: usize,
    labels: &[u16],
    weights: &[f32],
) -> Merit {
    let mut merit = Merit { right: 0.0, loss: 0.0 };
    let mut out = vec![0.0; electorate.classes];
    for ((found, label), weight) in found.chunks_exact(most).zip(labels).zip(weights) {
        // alone on the training side, a window has nobody to ask
        let found: Vec<Found> = found[..k].iter().copied().filter(|one| one.squared.is_finite()).collect();
        if found.is_empty() {
            continue;
        }
        electorate.probabilities(&found, &mut out);
        let weight = f64::from(*weight);
        merit.right += if argmax(&out) == *label { weight } else { 0.0 };
        merit.loss -= weight * f64::from(out[usize::from(*label)]).ln();
    }
    merit
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Electorate<'_> =
        Electorate { labels: &[0, 1, 1, 2], weights: &[1.0, 1.0, 3.0, 1.0], classes: 4, smoothing: 1.0 };

    fn found(squared: &[f32]) -> Vec<Found> {
        squared.iter().enumerate().map(|(row, squared)| Found { row: row as u32, squared: *squared }).collect()
    }

    #[test]
    fn votes_shrink_with_distance_and_grow_with_weight() {
        let mut out = [0.0; 4];
        // shares 1, 1/2, 1/3, 1/4: votes 1.25, 0.25 + 1/2 + 3/3, 0.25 + 1/4, 0.25
        ALL.probabilities(&found(&[1.0, 4.0, 9.0, 16.0]), &mut out);
        let total = 1.25 + 1.75 + 0.5 + 0.25;
        assert_eq!(out, [1.25, 1.75, 0.5, 0.25].map(|votes| (votes / total) as f32));
    }

    #[test]
    fn windows_at_distance_zero_vote_alone() {
        let mut out = [0.0; 4];
        ALL.probabilities(&found(&[0.0, 0.0, 1e-9]), &mut out);
        assert_eq!(out, [1.25, 1.25, 0.25, 0.25].map(|votes| (votes / 3.0) as f32));
    }

    #[test]
    fn accuracy_decides_then_loss() {
        let near = found(&[1.0, 1.0]);
        let one = judge(&ALL, &near, 2, 1, &[0], &[2.0]);
        assert_eq!((one.right, one.loss), (2.0, -2.0 * f64::from(0.625f32).ln()));
        let both = judge(&ALL, &near, 2, 2, &[0], &[2.0]);
        assert_eq!(both.right, 2.0, "the lower class among equals");
        assert!(one.beats(&both) && !both.beats(&one) && !one.beats(&one));
        assert!(one.beats(&judge(&ALL, &near, 2, 1, &[1], &[2.0])));
    }
}
