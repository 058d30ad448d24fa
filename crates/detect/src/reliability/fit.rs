//! Maximum of the beta-binomial likelihood in two parameters, and the same with one detector left out.

use statrs::function::gamma::{digamma, ln_gamma};

use super::prior::BetaPrior;

/// Parameters stay inside these bounds.
pub(super) const SMALLEST: f64 = 0.01;
/// See [`SMALLEST`].
pub(super) const LARGEST: f64 = 10_000.0;

/// Standard deviation of ln α and ln β around 0 before any feedback: 95 % of the prior lies within a factor of 50 of 1.
const LOG_SD: f64 = 2.0;
/// Beyond as many different pairs of counts, a detector is left out by one Newton step instead of a fit of its own.
const EXACT_GROUPS: usize = 256;
const STEPS: usize = 100;

/// Detectors with the same counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub(super) hits: f64,
    pub(super) misses: f64,
    pub(super) detectors: f64,
}

/// ln B(α + hits, β + misses) − ln B(α, β): the log-likelihood of an ordered sequence of so many hits and misses.
pub(super) fn log_likelihood(prior: BetaPrior, hits: f64, misses: f64) -> f64 {
    let rise = |from: f64, by: f64| if by == 0.0 { 0.0 } else { ln_gamma(from + by) - ln_gamma(from) };
    rise(prior.alpha, hits) + rise(prior.beta, misses) - rise(prior.alpha + prior.beta, hits + misses)
}

/// Value, gradient and Hessian (u u, u v, v v) in u = ln α, v = ln β.
#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    value: f64,
    slope: [f64; 2],
    bend: [f64; 3],
}

impl Shape {
    fn of(group: &Group, at: [f64; 2]) -> Self {
        let (a, b) = (at[0].exp(), at[1].exp());
        let (k, m, n) = (group.hits, group.misses, group.hits + group.misses);
        let first = |from: f64, by: f64| if by == 0.0 { 0.0 } else { digamma(from + by) - digamma(from) };
        let second = |from: f64, by: f64| if by == 0.0 { 0.0 } else { trigamma(from + by) - trigamma(from) };
        let (all, all2) = (first(a + b, n), second(a + b, n));
        let (la, lb) = (a * (first(a, k) - all), b * (first(b, m) - all));
        let w = group.detectors;
        Self {
            value: w * log_likelihood(BetaPrior { alpha: a, beta: b }, k, m),
            slope: [w * la, w * lb],
            bend: [
                w * (la + a * a * (second(a, k) - all2)),
                -w * a * b * all2,
                w * (lb + b * b * (second(b, m) - all2)),
            ],
        }
    }

    /// The log-normal around Beta(1, 1).
    fn prior(at: [f64; 2]) -> Self {
        let p = 1.0 / (LOG_SD * LOG_SD);
        Self { value: -0.5 * p * (at[0] * at[0] + at[1] * at[1]), slope: [-p * at[0], -p * at[1]], bend: [-p, 0.0, -p] }
    }

    fn plus(self, other: Self, sign: f64) -> Self {
        Self {
            value: self.value + sign * other.value,
            slope: [0, 1].map(|i| self.slope[i] + sign * other.slope[i]),
            bend: [0, 1, 2].map(|i| self.bend[i] + sign * other.bend[i]),
        }
    }

    fn total(groups: &[Group], at: [f64; 2]) -> Self {
        groups.iter().fold(Self::prior(at), |sum, group| sum.plus(Self::of(group, at), 1.0))
    }

    /// The step to the top of the parabola, damped; none where it has no top.
    fn step(self, damping: f64) -> Option<[f64; 2]> {
        let (p, q, r) = (damping - self.bend[0], -self.bend[1], damping - self.bend[2]);
        let det = p * r - q * q;
        let [g, h] = self.slope;
        (p > 0.0 && det > 1e-12 * p * r.abs()).then(|| [(r * g - q * h) / det, (p * h - q * g) / det])
    }
}

/// The most probable α and β, by damped Newton steps from Beta(1, 1).
pub(super) fn fit(groups: &[Group]) -> BetaPrior {
    beta(climb(groups, [0.0, 0.0]))
}

/// For each group, the fit to all detectors but one of it.
pub(super) fn leave_one_out(groups: &[Group], all: BetaPrior) -> Vec<BetaPrior> {
    let top = [all.alpha.ln(), all.beta.ln()];
    if groups.len() <= EXACT_GROUPS {
        let mut rest = groups.to_vec();
        let exact = |i: usize| {
            rest[i].detectors -= 1.0;
            let without = climb(&rest, top);
            rest[i].detectors += 1.0;
            beta(without)
        };
        return (0..groups.len()).map(exact).collect();
    }
    let whole = Shape::total(groups, top);
    groups.iter().map(|group| newton_without(group, whole, top)).collect()
}

/// One Newton step from the common top, without one detector of `group` (Giordano et al. 2019): off by the order of one
/// over the number of detectors squared.
fn newton_without(group: &Group, whole: Shape, top: [f64; 2]) -> BetaPrior {
    let rest = whole.plus(Shape::of(&Group { detectors: 1.0, ..*group }, top), -1.0);
    let step = rest.step(0.0).unwrap_or([0.0, 0.0]).map(|by| by.clamp(-1.0, 1.0));
    beta([top[0] + step[0], top[1] + step[1]])
}

/// Levenberg's rule: the damping grows until a step climbs.
fn climb(groups: &[Group], from: [f64; 2]) -> [f64; 2] {
    let (low, high) = (SMALLEST.ln(), LARGEST.ln());
    let mut at = from;
    let mut here = Shape::total(groups, at);
    let mut damping = 0.0;
    for _ in 0..STEPS {
        let Some(step) = here.step(damping) else {
            damping = f64::max(1e-3, damping * 10.0);
            continue;
        };
        // Past a factor of e² the parabola is not to be believed.
        let next = [0, 1].map(|i| (at[i] + step[i].clamp(-2.0, 2.0)).clamp(low, high));
        let moved = (next[0] - at[0]).abs().max((next[1] - at[1]).abs());
        if moved < 1e-12 {
            break;
        }
        let there = Shape::total(groups, next);
        if there.value >= here.value {
            (at, here) = (next, there);
            damping = if damping > 1e-6 { damping / 10.0 } else { 0.0 };
        } else {
            damping = f64::max(1e-3, damping * 10.0);
            // Nothing higher within what a float can tell.
            if moved < 1e-9 {
                break;
            }
        }
    }
    at
}

fn beta(at: [f64; 2]) -> BetaPrior {
    let inside = |log: f64| log.exp().clamp(SMALLEST, LARGEST);
    BetaPrior { alpha: inside(at[0]), beta: inside(at[1]) }
}

/// ψ′(x) for x > 0: recurrence up to 10, then the asymptotic series (Abramowitz and Stegun 1964, 6.4.6 and 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 10.0 {
        below += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = y * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y * (1.0 / 30.0 - y * 5.0 / 66.0))));
    below + 1.0 / x + 0.5 * y + series / x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The likelihood as a product of Pólya's urn, one draw after the other.
    fn urn(prior: BetaPrior, hits: u32, misses: u32) -> f64 {
        let rise = |from: f64, by: u32| (0..by).map(|i| (from + f64::from(i)).ln()).sum::<f64>();
        rise(prior.alpha, hits) + rise(prior.beta, misses) - rise(prior.alpha + prior.beta, hits + misses)
    }

    fn value(groups: &[Group], at: [f64; 2]) -> f64 {
        Shape::total(groups, at).value
    }

    fn groups() -> impl Strategy<Value = Vec<Group>> {
        let group = (0..60u32, 0..60u32, 1..4u32).prop_map(|(hits, misses, detectors)| Group {
            hits: f64::from(hits),
            misses: f64::from(misses),
            detectors: f64::from(detectors),
        });
        proptest::collection::vec(group, 5..20)
    }

    #[test]
    fn trigamma_agrees_with_known_values() {
        let pi = std::f64::consts::PI;
        assert!((trigamma(1.0) - pi * pi / 6.0).abs() < 1e-12);
        assert!((trigamma(0.5) - pi * pi / 2.0).abs() < 1e-12);
        assert!((trigamma(0.01) - 10_001.621_213_528_3).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn the_likelihood_is_that_of_an_urn(a in 1..500u32, b in 1..500u32, hits in 0..80u32, misses in 0..80u32) {
            let prior = BetaPrior { alpha: f64::from(a) / 20.0, beta: f64::from(b) / 20.0 };
            let (ours, slow) = (log_likelihood(prior, f64::from(hits), f64::from(misses)), urn(prior, hits, misses));
            prop_assert!((ours - slow).abs() < 1e-9 * (1.0 + slow.abs()), "{ours} {slow}");
        }

        #[test]
        fn slopes_and_bends_are_those_of_the_value(groups in groups(), u in -20..20i32, v in -20..20i32) {
            let at = [f64::from(u) / 10.0, f64::from(v) / 10.0];
            let shape = Shape::total(&groups, at);
            let h = 1e-5;
            let moved = |i: usize, by: f64| { let mut to = at; to[i] += by; to };
            for i in 0..2 {
                let slope = (value(&groups, moved(i, h)) - value(&groups, moved(i, -h))) / (2.0 * h);
                prop_assert!((slope - shape.slope[i]).abs() < 1e-4 * (1.0 + slope.abs()), "{slope} {:?}", shape.slope);
                for j in 0..2 {
                    let up = Shape::total(&groups, moved(j, h)).slope[i];
                    let down = Shape::total(&groups, moved(j, -h)).slope[i];
                    let bend = (up - down) / (2.0 * h);
                    prop_assert!((bend - shape.bend[i + j]).abs() < 1e-4 * (1.0 + bend.abs()), "{bend} {:?}", shape.bend);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn nothing_on_a_grid_is_more_probable_than_the_fit(groups in groups()) {
            let found = fit(&groups);
            let best = value(&groups, [found.alpha.ln(), found.beta.ln()]);
            for u in -20..=45 {
                for v in -20..=45 {
                    let there = value(&groups, [f64::from(u) / 5.0, f64::from(v) / 5.0]);
                    prop_assert!(there <= best + 1e-9, "{there} > {best} at {u}, {v}; found {found:?}");
                }
            }
        }

        #[test]
        fn one_newton_step_is_near_the_fit_of_its_own(seed in 0..1000u64) {
            // As many detectors as the short way is taken for.
            let groups: Vec<Group> = (0..300u64).map(|i| {
                let n = 1 + (i * 7 + seed) % 40;
                Group { hits: (n * (i % 11) / 11) as f64, misses: (n - n * (i % 11) / 11) as f64, detectors: 1.0 }
            }).collect();
            let all = fit(&groups);
            let quick = leave_one_out(&groups, all);
            let mut rest = groups.clone();
            for i in (0..300).step_by(60) {
                rest[i].detectors = 0.0;
                let exact = fit(&rest);
                rest[i].detectors = 1.0;
                prop_assert!((quick[i].alpha / exact.alpha - 1.0).abs() < 2e-3, "{:?} {exact:?}", quick[i]);
                prop_assert!((quick[i].beta / exact.beta - 1.0).abs() < 2e-3, "{:?} {exact:?}", quick[i]);
            }
        }
    }
}
