//! How far the action frequencies of one window are from those of another, in nats.
//!
//! Counts become probabilities with half a count more in each cell (the estimate under Jeffreys' prior; Krichevsky and
//! Trofimov 1981), so that an action that only one window has keeps every figure finite.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Counts of both windows as probabilities; the shorter one is filled up with cells of 0.
fn shares(recent: &[u64], baseline: &[u64]) -> Vec<(f64, f64)> {
    let cells = recent.len().max(baseline.len());
    let of = |counts: &[u64]| -> Vec<f64> {
        let total: f64 = counts.iter().map(|count| *count as f64).sum::<f64>() + 0.5 * cells as f64;
        (0..cells).map(|i| (counts.get(i).map_or(0.0, |count| *count as f64) + 0.5) / total).collect()
    };
    of(recent).into_iter().zip(of(baseline)).collect()
}

/// Relative entropy `Σ p ln (p / q)` of the recent frequencies p to those of the baseline q (Kullback and Leibler 1951,
/// equation 2.4); 0 without cells.
pub fn kl(recent: &[u64], baseline: &[u64]) -> f64 {
    shares(recent, baseline).into_iter().map(|(p, q)| p * (p / q).ln()).sum()
}

/// Population stability index `Σ (p − q) ln (p / q)` (Siddiqi 2006, chapter 9): the divergence of Jeffreys (1946), the
/// relative entropies in both directions added up. By custom below 0.1 nothing has changed and above 0.25 much has.
pub fn psi(recent: &[u64], baseline: &[u64]) -> f64 {
    shares(recent, baseline).into_iter().map(|(p, q)| (p - q) * (p / q).ln()).sum()
}

/// Jensen–Shannon divergence `½ KL(p, m) + ½ KL(q, m)`, `m = (p + q) / 2` (Lin 1991, equation 3.5 with equal weights);
/// at most ln 2.
pub fn js(recent: &[u64], baseline: &[u64]) -> f64 {
    let half = |p: f64, q: f64| 0.5 * p * (2.0 * p / (p + q)).ln();
    shares(recent, baseline).into_iter().map(|(p, q)| half(p, q) + half(q, p)).sum()
}

/// The PSI that two windows of independent actions from one source stay below with probability `1 − level`: the quantile
/// of a chi-squared distribution with `cells − 1` degrees of freedom times `1 / n + 1 / m` (Yurdakul and Naranjo 2020,
/// section 3). Actions of one sequence are not independent: it is a lower bound on what noise does. Infinite where a
/// window is empty.
pub fn psi_of_noise(cells: usize, n: u64, m: u64, level: f64) -> f64 {
    if n == 0 || m == 0 {
        return f64::INFINITY;
    }
    let Ok(chi) = ChiSquared::new(cells.saturating_sub(1).max(1) as f64) else { return f64::INFINITY };
    chi.inverse_cdf(1.0 - level) * (1.0 / n as f64 + 1.0 / m as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// p and q one by one, from their definition.
    fn slow(recent: &[u64], baseline: &[u64], term: impl Fn(f64, f64) -> f64) -> f64 {
        let cells = recent.len().max(baseline.len());
        let share = |counts: &[u64], i: usize| {
            let at = |i: usize| if i < counts.len() { counts[i] as f64 } else { 0.0 } + 0.5;
            at(i) / (0..cells).map(at).sum::<f64>()
        };
        (0..cells).map(|i| term(share(recent, i), share(baseline, i))).sum()
    }

    proptest! {
        #[test]
        fn divergences_are_their_definitions(
            recent in prop::collection::vec(0u64..50, 0..8), baseline in prop::collection::vec(0u64..50, 0..8),
        ) {
            let (a, b) = (&recent[..], &baseline[..]);
            let entropy_gap = |p: f64, q: f64| {
                // H(m) − ½ H(p) − ½ H(q), cell by cell
                let h = |x: f64| -x * x.ln();
                h(f64::midpoint(p, q)) - f64::midpoint(h(p), h(q))
            };
            prop_assert!((kl(a, b) - slow(a, b, |p, q| p * p.ln() - p * q.ln())).abs() < 1e-9);
            prop_assert!((psi(a, b) - (kl(a, b) + kl(b, a))).abs() < 1e-9);
            prop_assert!((js(a, b) - slow(a, b, entropy_gap)).abs() < 1e-9);
            prop_assert!(kl(a, b) > -1e-12 && js(a, b) > -1e-12 && js(a, b) <= std::f64::consts::LN_2);
            prop_assert!((js(a, b) - js(b, a)).abs() < 1e-12);
            prop_assert!(kl(a, a).abs() < 1e-12 && psi(b, b).abs() < 1e-12);
        }
    }

    #[test]
    fn the_psi_of_noise_is_passed_as_seldom_as_it_says() {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut window = |n: u64| {
            let mut counts = vec![0u64; 8];
            (0..n).for_each(|_| counts[(generator.next_u64() >> 61) as usize] += 1);
            counts
        };
        let bound = psi_of_noise(8, 400, 1000, 0.05);
        let passed = (0..2000).filter(|_| psi(&window(400), &window(1000)) > bound).count();
        assert!((60..150).contains(&passed), "{passed} of 2000, 100 expected");
        assert_eq!(psi_of_noise(8, 0, 10, 0.05), f64::INFINITY);
        assert!(psi_of_noise(0, 5, 5, 0.05).is_finite());
    }
}
