//! Which dilations a fit uses, and how its features are shared out among them (Dempster et al., KDD 2021, section 3.2).

use stakeout_kernels::rocket::{KERNELS, TAPS, reach};

/// A dilation and the number of features that each kernel computes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dilation {
    /// Steps between two taps.
    pub(super) step: usize,
    pub(super) features: usize,
    /// Whether every second kernel counts only outputs for which it lies within the series.
    pub(super) inside: bool,
}

/// Dilations 2^0, ..., 2^e on a logarithmic grid of at most `most` points, where 2^e is the largest with which a kernel
/// fits a series of `longest` steps; 1 alone for a series shorter than a kernel. Points that fall on the same whole
/// number share their features. Together `features / 84` features a kernel, at least one.
///
/// Where kernels do not fit into more than a tenth of the series, all outputs count: a feature that is computed in one way
/// on long series and in another on short ones misleads more than an end of a series does.
pub(super) fn dilations(lengths: &[usize], features: usize, most: usize) -> Vec<Dilation> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let each = (features / KERNELS).max(1);
    let points = each.min(most);
    let largest = longest.saturating_sub(1) as f64 / (TAPS - 1) as f64;
    let exponent = largest.log2().max(0.0);
    let mut found: Vec<Dilation> = Vec::new();
    for point in 0..points {
        let part = if points == 1 { 0.0 } else { point as f64 / (points - 1) as f64 };
        // a hair more, so that a whole number is not missed by rounding
        let step = ((exponent * part).exp2() * (1.0 + 1e-12)) as usize;
        match found.last_mut().filter(|last| last.step == step) {
            Some(last) => last.features += 1,
            None => {
                let too_short = lengths.iter().filter(|length| **length <= 2 * reach(step)).count();
                found.push(Dilation { step, features: 1, inside: 10 * too_short <= lengths.len() });
            }
        }
    }
    for one in &mut found {
        one.features = one.features * each / points;
    }
    let given: usize = found.iter().map(|one| one.features).sum();
    let n = found.len();
    for extra in 0..each - given {
        found[extra % n].features += 1;
    }
    found
}

/// The features that a fit on `rows` windows computes: those asked for, or fewer where both sides of the matrix of
/// windows × features would exceed `limit`, because a fit costs the third power of the smaller side. A multiple of 84.
pub(super) fn affordable(asked: usize, rows: usize, limit: usize) -> usize {
    let features = if rows <= limit { asked } else { asked.min(limit) };
    (features / KERNELS).max(1) * KERNELS
}

/// The low-discrepancy sequence of quantiles that biases are taken at: multiples of the golden ratio, modulo 1.
pub(super) fn quantile(feature: usize) -> f64 {
    ((feature + 1) as f64 * f64::midpoint(5f64.sqrt(), 1.0)).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(longest: usize, features: usize, most: usize) -> Vec<(usize, usize)> {
        dilations(&[longest], features, most).iter().map(|one| (one.step, one.features)).collect()
    }

    /// Printed by the authors' code for the same arguments.
    #[test]
    fn as_the_authors_share_them_out() {
        assert_eq!(pairs(24, 10_000, 32), [(1, 79), (2, 40)]);
        assert_eq!(pairs(29, 10_000, 32), [(1, 67), (2, 38), (3, 14)]);
        let long = [34, 19, 15, 8, 12, 4, 8, 7, 3, 3, 3, 3].into_iter().zip(1..).map(|(n, d)| (d, n));
        assert_eq!(pairs(100, 10_000, 32), long.collect::<Vec<_>>());
        assert_eq!(pairs(150, 500, 32), [(1, 1), (2, 1), (4, 1), (8, 1), (18, 1)]);
    }

    #[test]
    fn a_short_series_has_dilation_one_alone() {
        for longest in [0, 1, 5, 9, 16] {
            assert_eq!(pairs(longest, 10_000, 32), [(1, 119)], "{longest} steps");
        }
        assert_eq!(pairs(17, 168, 32), [(1, 1), (2, 1)]);
        assert_eq!(pairs(17, 5, 32), [(1, 1)]);
    }

    #[test]
    fn every_feature_is_given_out() {
        for longest in [9, 20, 33, 150, 5000] {
            for features in [84, 200, 1000, 4032, 9996, 50_000] {
                let given: usize = dilations(&[longest], features, 32).iter().map(|one| one.features).sum();
                assert_eq!(given, features / 84);
            }
        }
    }

    #[test]
    fn outputs_at_the_ends_count_where_a_tenth_is_too_short() {
        let inside =
            |lengths: &[usize]| dilations(lengths, 10_000, 32).iter().map(|one| one.inside).collect::<Vec<_>>();
        assert_eq!(inside(&[20; 10]), [true, true]);
        assert_eq!(inside(&[20, 20, 20, 20, 20, 20, 20, 20, 20, 16]), [true, true]);
        assert_eq!(inside(&[20, 20, 20, 20, 20, 20, 20, 20, 16, 9]), [true, false]);
        assert_eq!(inside(&[8; 10]), [false]);
        assert_eq!(inside(&[9; 10]), [true]);
    }

    #[test]
    fn features_are_cut_where_both_sides_are_large() {
        assert_eq!(affordable(10_000, 3000, 3024), 9996);
        assert_eq!(affordable(10_000, 5000, 3024), 3024);
        assert_eq!(affordable(500, 50_000, 3024), 420);
        assert_eq!(affordable(10_000, 50_000, 10), 84);
    }
}
