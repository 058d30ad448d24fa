//! The fallback where held-out vectors are too few for a guarantee: a distribution with the right mean and spread.

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::gamma_ur;

use super::Method;

/// Held-out scores that spread wider than this many independent dimensions are taken to spread like so many.
const LEAST_FREEDOM: f64 = 0.2;

/// From so many denominator degrees of freedom on F is χ² / freedom, to four digits.
const AS_CHI: f64 = 10_000.0;

/// `z²` is distributed as `scale` · F(`freedom`, `noise`).
///
/// For independent normal dimensions whose mean and variance come from `n` vectors, each squared z is
/// (1 + 1/n) F(1, n − 1); the mean of `d` of them is matched in its two moments. With ν = n − 1 the coefficient of
/// variation of one is 2 (ν − 1) / (ν − 4), and a sum of `g` has that of F(g, ν₂) where
/// ν₂ = (g + 2 + 12 / (ν − 4)) (ν − 4) / 3; for g = 1 this is ν, and for n → ∞ it is `χ²_g` / g. An estimate by median and MAD
/// knows as much as a sample of 0.37 n (Rousseeuw and Croux 1993, table 1), one trimmed by 10 % at each end as one of
/// 0.64 n; their centres as one of 2/π n and 0.92 n.
///
/// Real dimensions depend on each other and have heavier tails: `g` becomes the number of independent dimensions that
/// would spread as much (as in Box 1954, theorem 3.1), and the scale moves, until median and upper quantile are those of
/// scores that were held out. Quantiles, not moments: one freak among thousands would else decide both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parametric {
    scale: f64,
    freedom: f64,
    noise: f64,
}

/// Mean of z² and its squared coefficient of variation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) variation: f64,
}

/// What held-out scores say of z².
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observed {
    pub(super) median: f64,
    /// The quantile at `level`, as a multiple of the median.
    pub(super) ratio: f64,
    pub(super) level: f64,
}

/// Effective sample sizes of scale and centre, and from them ν.
fn freedom(method: Method, n: f64) -> (f64, f64) {
    let (scale, centre) = match method {
        Method::Diagonal | Method::Shrunk => (1.0, 1.0),
        Method::Robust => (0.37, std::f64::consts::FRAC_2_PI),
        Method::Trimmed => (0.64, 0.92),
    };
    // Variances exist above ν = 4.
    ((scale * n - 1.0).max(4.5), centre * n)
}

/// What theory says of `d` independent normal dimensions.
pub(super) fn theory(method: Method, n: f64, d: usize) -> Spread {
    let (v, centre) = freedom(method, n);
    Spread { mean: (1.0 + 1.0 / centre) * v / (v - 2.0), variation: 2.0 * (v - 1.0) / (v - 4.0) / d.max(1) as f64 }
}

/// Of scores that were held out; the upper quantile has ten of them above it, and lies between 90 % and 99 %. `None` below
/// ten scores, or where half of them are 0.
pub(super) fn observed(mut squares: Vec<f64>) -> Option<Observed> {
    if squares.len() < 10 {
        return None;
    }
    squares.sort_by(f64::total_cmp);
    let n = squares.len() as f64;
    let level = (1.0 - 10.0 / n).clamp(0.9, 0.99);
    let median = squares[squares.len() / 2];
    let ratio = squares[(level * n) as usize] / median;
    (median > 0.0 && ratio.is_finite()).then_some(Observed { median, ratio, level })
}

impl Parametric {
    /// By theory; with held-out scores, not narrower and not nearer than they are.
    pub(super) fn new(method: Method, n: f64, d: usize, observed: Option<Observed>) -> Self {
        let theory = theory(method, n, d);
        let (v, _) = freedom(method, n);
        let one = 2.0 * (v - 1.0) / (v - 4.0);
        // Mean `mean`, and spread like `g` independent dimensions.
        let like = |g: f64, mean: f64| {
            let noise = ((g + 2.0 + 12.0 / (v - 4.0)) * (v - 4.0) / 3.0).max(4.5);
            Self { scale: mean * (noise - 2.0) / noise, freedom: g, noise }
        };
        let by_theory = like(one / theory.variation, theory.mean);
        let Some(observed) = observed else { return by_theory };
        let ratio = |own: &Self| (own.threshold(1.0 - observed.level) / own.threshold(0.5)).powi(2);
        let mut own = by_theory;
        if ratio(&by_theory) < observed.ratio {
            // The ratio falls as g grows: halve the way in the logarithm.
            let (mut low, mut high) = (LEAST_FREEDOM.ln(), by_theory.freedom.ln());
            for _ in 0..40 {
                let middle = f64::midpoint(low, high);
                if ratio(&like(middle.exp(), 1.0)) > observed.ratio { low = middle } else { high = middle }
            }
            own = like(low.exp(), theory.mean);
        }
        let median = own.threshold(0.5).powi(2);
        // A shrunk covariance has no simple theory: what was held out says where its distances lie.
        let (at_least, wanted) = (by_theory.threshold(0.5).powi(2), observed.median);
        let wanted = if method == Method::Shrunk { wanted } else { wanted.max(at_least) };
        own.scale *= wanted / median;
        own
    }

    /// P(z' ≥ z) under the distribution.
    pub(super) fn p_value(&self, z: f64) -> f64 {
        let x = z * z / self.scale;
        if x.is_nan() || x <= 0.0 {
            1.0
        } else if x.is_infinite() {
            0.0
        } else if self.noise > AS_CHI {
            gamma_ur(self.freedom / 2.0, self.freedom * x / 2.0)
        } else {
            beta_reg(self.noise / 2.0, self.freedom / 2.0, self.noise / (self.freedom * x + self.noise))
        }
    }

    /// The z whose p-value is the budget, by bisection to the last bit or so.
    pub(super) fn threshold(&self, budget: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        while self.p_value(high) > budget && high < 1e150 {
            (low, high) = (high, 2.0 * high);
        }
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if self.p_value(middle) > budget { low = middle } else { high = middle }
        }
        high
    }

    /// What is wrong with stored numbers.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let good = |value: f64| value.is_finite() && value > 0.0;
        if good(self.scale) && good(self.freedom) && good(self.noise) {
            Ok(())
        } else {
            Err("the fallback distribution has a parameter that is not positive and finite")
        }
    }

    /// Name for people: `0.98 · F(46.0, 512.0)`.
    pub(super) fn describe(&self) -> String {
        if self.noise > AS_CHI {
            format!("{:.4} · χ²({:.3}) / {:.3}", self.scale, self.freedom, self.freedom)
        } else {
            format!("{:.4} · F({:.3}, {:.1})", self.scale, self.freedom, self.noise)
        }
    }
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ChiSquared, ContinuousCDF, FisherSnedecor};

    use super::*;

    #[test]
    fn one_dimension_is_the_t_test_of_a_new_value() {
        // z² of a new value against mean and variance of n others is (1 + 1/n) F(1, n - 1), exactly.
        let own = Parametric::new(Method::Diagonal, 30.0, 1, None);
        let exact = FisherSnedecor::new(1.0, 29.0).unwrap();
        for z in [0.5, 1.0, 2.0, 3.5] {
            let expected = exact.sf(z * z / (1.0 + 1.0 / 30.0));
            assert!((own.p_value(z) / expected - 1.0).abs() < 1e-9, "{z}");
        }
        let threshold = own.threshold(0.01);
        assert!((own.p_value(threshold) / 0.01 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn many_vectors_give_chi_squared() {
        let own = Parametric::new(Method::Diagonal, 1e7, 46, None);
        let exact = ChiSquared::new(46.0).unwrap();
        for z in [0.8f64, 1.0, 1.2, 1.4] {
            assert!((own.p_value(z) / exact.sf(46.0 * z * z) - 1.0).abs() < 1e-3, "{z}");
        }
        assert!(own.describe().contains("χ²(46.000)"));
    }

    #[test]
    fn f_meets_chi_squared_where_one_takes_over() {
        for g in [1.0, 20.0, 384.0] {
            let below = Parametric { scale: 1.0, freedom: g, noise: AS_CHI * 0.999 };
            let above = Parametric { scale: 1.0, freedom: g, noise: AS_CHI * 1.001 };
            let (a, b) = (below.threshold(0.001), above.threshold(0.001));
            assert!((a / b - 1.0).abs() < 5e-3, "{g}: {a} {b}");
        }
    }

    #[test]
    fn few_vectors_and_few_dimensions_push_the_threshold_out() {
        let at = |n: f64, d: usize| Parametric::new(Method::Diagonal, n, d, None).threshold(0.001);
        assert!(at(30.0, 46) > at(100.0, 46) && at(100.0, 46) > at(1e5, 46));
        assert!(at(1e5, 1) > at(1e5, 46) && at(1e5, 46) > at(1e5, 384));
        assert!((at(1e7, 384) - (429.0f64 / 384.0).sqrt()).abs() < 0.2);
        assert!(Parametric::new(Method::Robust, 100.0, 46, None).threshold(0.001) > at(100.0, 46));
        let wide = Observed { median: 1.5, ratio: 8.0, level: 0.99 };
        assert!(Parametric::new(Method::Diagonal, 100.0, 46, Some(wide)).threshold(0.001) > 3.0);
        assert_eq!(observed(vec![1.0]), None);
        assert_eq!(observed(vec![0.0; 50]), None);
    }

    #[test]
    fn held_out_scores_set_median_and_upper_quantile() {
        // z² like a χ² of 5 dimensions at scale 2, where theory expects 46.
        let exact = ChiSquared::new(5.0).unwrap();
        let squares = |n: u32| (0..n).map(move |i| 2.0 * exact.inverse_cdf((f64::from(i) + 0.5) / f64::from(n)) / 5.0);
        let own = Parametric::new(Method::Diagonal, 1e6, 46, observed(squares(5000).collect()));
        for p in [0.5, 0.01, 0.001] {
            let expected = (2.0 * exact.inverse_cdf(1.0 - p) / 5.0).sqrt();
            assert!((own.threshold(p) / expected - 1.0).abs() < 0.01, "{p}");
        }
        // Ten freaks among thousands move the tail by a little, not by their size.
        let freaks = squares(5000).chain([1e9; 10]).collect();
        let freak = Parametric::new(Method::Diagonal, 1e6, 46, observed(freaks));
        assert!(freak.threshold(0.001) < 1.1 * own.threshold(0.001));
    }

    #[test]
    fn absurd_numbers_give_a_p_value_still() {
        let own = Parametric::new(Method::Diagonal, 30.0, 46, Some(Observed { median: 1e-3, ratio: 1e9, level: 0.9 }));
        for z in [0.0, 1e-300, 1.0, 1e200, f64::MAX] {
            assert!((0.0..=1.0).contains(&own.p_value(z)));
        }
        assert!(own.check().is_ok() && own.threshold(0.001).is_finite());
    }
}
