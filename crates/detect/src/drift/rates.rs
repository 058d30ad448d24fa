//! Whether something has become more frequent: exact tests of two counts.

use statrs::distribution::{Binomial, DiscreteCDF, Hypergeometric};

/// Counts beyond this are not counted further: the distributions below are exact for what fits.
const MOST: u64 = 1 << 40;

/// Probability that a Poisson process that ran at one rate has its events so crowded: `count` or more of all
/// `count + before` events in the last `seconds` of `seconds + seconds_before`, a binomial tail (Przyborowski and
/// Wilenski 1940). `None` where a span is not positive and finite, or there is no event.
pub fn burst(before: u64, seconds_before: f64, count: u64, seconds: f64) -> Option<f64> {
    let good = |span: f64| span.is_finite() && span > 0.0;
    if !good(seconds_before) || !good(seconds) {
        return None;
    }
    let (before, count) = (before.min(MOST), count.min(MOST));
    let share = seconds / (seconds + seconds_before);
    let events = Binomial::new(share, before + count).ok().filter(|_| before + count > 0)?;
    Some(if count == 0 { 1.0 } else { events.sf(count - 1).clamp(0.0, 1.0) })
}

/// Probability that `marked` or more of the `n` of the second set are marked, when all marks of both sets were dealt out
/// blindly: the upper tail of a hypergeometric distribution (Fisher 1935, section 21.02). `None` for empty sets and for
/// more marks than members.
pub fn more_often(marked_before: u64, n_before: u64, marked: u64, n: u64) -> Option<f64> {
    if n == 0 || n_before == 0 || marked > n || marked_before > n_before || n_before > MOST || n > MOST {
        return None;
    }
    let dealt = Hypergeometric::new(n + n_before, marked + marked_before, n).ok()?;
    Some(if marked == 0 { 1.0 } else { dealt.sf(marked - 1).clamp(0.0, 1.0) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose(n: u64, k: u64) -> f64 {
        if k > n { 0.0 } else { (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product() }
    }

    proptest! {
        #[test]
        fn tails_are_sums_over_all_ways(a in 0u64..25, b in 0u64..25, more_a in 0u64..15, more_b in 0u64..15, part in 1u32..9) {
            let share = f64::from(part) / 10.0;
            if a + b > 0 {
                let all = a + b;
                let slow: f64 = (b..=all)
                    .map(|k| choose(all, k) * share.powi(k as i32) * (1.0 - share).powi((all - k) as i32))
                    .sum();
                let found = burst(a, 1.0 - share, b, share).unwrap();
                prop_assert!((found - slow).abs() < 1e-9, "{found} {slow}");
            }
            let (n_before, n) = (a + more_a, b + more_b);
            if n > 0 && n_before > 0 {
                let slow: f64 = (b..=n.min(a + b))
                    .map(|k| choose(n, k) * choose(n_before, a + b - k) / choose(n + n_before, a + b))
                    .sum();
                let found = more_often(a, n_before, b, n).unwrap();
                prop_assert!((found - slow).abs() < 1e-9, "{found} {slow}");
            }
        }
    }

    #[test]
    fn what_says_nothing_is_not_tested() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!((burst(5, bad, 5, 1.0), burst(5, 1.0, 5, bad)), (None, None));
        }
        assert_eq!((burst(0, 1.0, 0, 1.0), more_often(0, 0, 0, 5), more_often(0, 5, 6, 5)), (None, None, None));
        assert_eq!((burst(5, 1.0, 0, 1.0), more_often(3, 10, 0, 10)), (Some(1.0), Some(1.0)));
        assert!(burst(u64::MAX, 1e9, u64::MAX, 1.0).is_some_and(|p| p < 1e-6));
    }
}
