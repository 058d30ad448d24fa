//! Binomial draws for a chain in which every draw has another number of trials: what counts is the set-up.

use rand::Rng;
use rand_distr::{Binomial, Distribution};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Below this mean, inversion is quicker, and the rejection below is not made for it.
const MEAN_FOR_REJECTION: f64 = 10.0;

/// Number of successes in `n` trials, each with probability `p` in [0, 1].
///
/// Large means use transformed rejection with squeeze, algorithm BTRS of Hörmann (1993), "The generation of binomial
/// random variates", J. Stat. Comput. Simul. 46. It is exact, and six draws in seven cost two uniforms, a square root
/// and two divisions.
pub(super) fn binomial(stream: &mut Xoshiro256PlusPlus, n: u64, p: f64) -> u64 {
    let rare = p.min(1.0 - p);
    let successes = if n as f64 * rare < MEAN_FOR_REJECTION {
        Binomial::new(n, rare).expect("the rarer outcome has a probability in [0, 0.5]").sample(stream)
    } else {
        transformed_rejection(stream, n as f64, rare) as u64
    };
    if p > 0.5 { n - successes } else { successes }
}

/// BTRS, with the names of the paper. `n p >= 10`, `p <= 0.5`.
fn transformed_rejection(stream: &mut Xoshiro256PlusPlus, n: f64, p: f64) -> f64 {
    let deviation = (n * p * (1.0 - p)).sqrt();
    let b = 1.15 + 2.53 * deviation;
    let a = -0.0873 + 0.0248 * b + 0.01 * p;
    let c = n * p + 0.5;
    let v_r = 0.92 - 4.2 / b;
    loop {
        let u = uniform(stream) - 0.5;
        let v = uniform(stream);
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + c).floor();
        if !(0.0..=n).contains(&k) {
            continue;
        }
        if us >= 0.07 && v <= v_r {
            return k;
        }
        let alpha = (2.83 + 5.1 / b) * deviation;
        let odds = p / (1.0 - p);
        let m = ((n + 1.0) * p).floor();
        let log_v = (v * alpha / (a / (us * us) + b)).ln();
        // ln of the probability of k over that of the mode m
        let bound = (m + 0.5) * ((m + 1.0) / (odds * (n - m + 1.0))).ln()
            + (n + 1.0) * ((n - m + 1.0) / (n - k + 1.0)).ln()
            + (k + 0.5) * (odds * (n - k + 1.0) / (k + 1.0)).ln()
            + (stirling_tail(m) + stirling_tail(n - m) - stirling_tail(k) - stirling_tail(n - k));
        if log_v <= bound {
            return k;
        }
    }
}

/// A uniform number in [0, 1) with 53 bits.
fn uniform(stream: &mut Xoshiro256PlusPlus) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// What Stirling's formula misses: `ln k! − ((k + ½) ln(k + 1) − (k + 1) + ½ ln 2π)`.
fn stirling_tail(k: f64) -> f64 {
    let x = k + 1.0;
    if k < 10.0 {
        let factorial: f64 = (1..=k as u32).map(f64::from).product();
        return factorial.ln() - (k + 0.5) * x.ln() + x - 0.5 * std::f64::consts::TAU.ln();
    }
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / (x * x)) / (x * x)) / x
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Probability of each number of successes, from the mode outwards by the ratio of neighbours, then normalised.
    fn probabilities(n: usize, p: f64) -> Vec<f64> {
        let mode = ((n + 1) as f64 * p) as usize;
        let mut weights = vec![0.0; n + 1];
        weights[mode] = 1.0;
        for k in mode..n {
            weights[k + 1] = weights[k] * (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
        }
        for k in (0..mode).rev() {
            weights[k] = weights[k + 1] * (k + 1) as f64 / (n - k) as f64 * (1.0 - p) / p;
        }
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    #[test]
    fn draws_follow_the_binomial_distribution() {
        const DRAWS: usize = 200_000;
        let mut stream = Xoshiro256PlusPlus::seed_from_u64(3);
        for (n, p) in
            [(12, 0.3), (25, 0.4), (20, 0.5), (40, 0.25), (40, 0.8), (1000, 0.0101), (1000, 0.5), (90_000, 0.93)]
        {
            let mut seen = vec![0usize; n + 1];
            for _ in 0..DRAWS {
                seen[binomial(&mut stream, n as u64, p) as usize] += 1;
            }
            // Pearson's chi-square over the values that are expected ten times or more, the others in one cell.
            let (mut chi_square, mut cells) = (0.0f64, 0.0f64);
            let (mut rest_seen, mut rest_expected) = (0.0f64, 0.0f64);
            for (seen, probability) in seen.iter().zip(probabilities(n, p)) {
                let (seen, expected) = (*seen as f64, probability * DRAWS as f64);
                if expected >= 10.0 {
                    chi_square += (seen - expected).powi(2) / expected;
                    cells += 1.0;
                } else {
                    rest_seen += seen;
                    rest_expected += expected;
                }
            }
            if rest_expected > 0.0 {
                chi_square += (rest_seen - rest_expected).powi(2) / rest_expected;
            }
            // Mean and variance of chi-square: its degrees of freedom and twice them.
            assert!(
                chi_square < cells + 4.0 * (2.0 * cells).sqrt(),
                "n {n}, p {p}: chi-square {chi_square} over {cells} cells"
            );
        }
    }

    #[test]
    fn certain_outcomes_are_certain() {
        let mut stream = Xoshiro256PlusPlus::seed_from_u64(1);
        assert_eq!(binomial(&mut stream, 1000, 0.0), 0);
        assert_eq!(binomial(&mut stream, 1000, 1.0), 1000);
        assert_eq!(binomial(&mut stream, 0, 0.3), 0);
    }

    #[test]
    fn both_branches_of_the_stirling_tail_agree() {
        let series = |k: f64| {
            let x = k + 1.0;
            (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / (x * x)) / (x * x)) / x
        };
        assert!((stirling_tail(9.0) - series(9.0)).abs() < 1e-9);
        // k = 0: 1 − ½ ln 2π
        assert!((stirling_tail(0.0) - (1.0 - 0.5 * std::f64::consts::TAU.ln())).abs() < 1e-15);
    }
}
