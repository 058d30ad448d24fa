//! Seeded draws: one stream of random numbers a purpose, so that a fit goes on from anywhere without a stored generator.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator for a purpose that `words` name. Streams of different words are unrelated.
pub(crate) fn stream<const N: usize>(seed: u64, words: [u64; N]) -> Xoshiro256PlusPlus {
    let mixed =
        words.iter().fold(seed, |seed, word| Xoshiro256PlusPlus::seed_from_u64(seed ^ word.rotate_left(32)).next_u64());
    Xoshiro256PlusPlus::seed_from_u64(mixed)
}

/// Uniform in `[0, 1)`.
pub(crate) fn uniform(generator: &mut impl Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Uniform in `0..n`, by the upper half of a product (Lemire 2019, without the rejection: its bias is below n / 2⁶⁴).
pub(crate) fn below(generator: &mut impl Rng, n: usize) -> usize {
    ((u128::from(generator.next_u64()) * n as u128) >> 64) as usize
}

/// A share of `n`, at least 1.
pub(crate) fn share(n: usize, share: f64) -> usize {
    ((n as f64 * share).round() as usize).clamp(1, n)
}

/// `count` of `0..n`, ascending, each set equally likely (selection sampling: Knuth, TAOCP 2, 3.4.2, algorithm S).
pub(crate) fn choose(n: usize, count: usize, generator: &mut impl Rng) -> Vec<u32> {
    if count == n {
        return (0..n as u32).collect();
    }
    let mut chosen = Vec::with_capacity(count);
    for i in 0..n {
        if uniform(generator) * ((n - i) as f64) < (count - chosen.len()) as f64 {
            chosen.push(i as u32);
        }
    }
    chosen
}

/// `0..n` without `chosen`, which ascends.
pub(crate) fn complement(n: usize, chosen: &[u32]) -> Vec<u32> {
    let mut rest = Vec::with_capacity(n - chosen.len());
    let mut from = 0;
    for border in chosen.iter().copied().chain([n as u32]) {
        rest.extend(from..border);
        from = border + 1;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_chosen_equally_often() {
        let mut counts = [0u32; 10];
        for round in 0..10_000 {
            let chosen = choose(10, 3, &mut stream(1, [round]));
            assert_eq!(chosen.len(), 3);
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            let mut all: Vec<u32> = complement(10, &chosen);
            assert_eq!(all.len(), 7);
            all.extend(&chosen);
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..10));
            for row in chosen {
                counts[row as usize] += 1;
            }
        }
        // 3,000 expected, standard deviation 46
        assert!(counts.iter().all(|count| count.abs_diff(3000) < 230), "{counts:?}");
    }

    #[test]
    fn numbers_below_are_uniform() {
        let mut generator = stream(3, []);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut generator, 7)] += 1;
        }
        // 10,000 expected, standard deviation 93
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 470), "{counts:?}");
    }
}
