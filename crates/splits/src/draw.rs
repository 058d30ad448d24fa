//! Seeded draws. Shuffles are our own, so that a fold does not change when a library changes its algorithm.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// 64-bit FNV-1a (Fowler, Noll, Vo).
pub(crate) fn fnv1a(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for part in parts {
        part.bytes().for_each(&mut eat);
        eat(0xff); // never part of UTF-8: ["ab", "c"] and ["a", "bc"] differ
    }
    hash
}

/// A generator for one purpose: draws for one fold or side do not move when another draws more.
pub(crate) fn generator(seed: u64, purpose: &[&str]) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed ^ fnv1a(purpose))
}

/// A number in `0..bound` (`bound` > 0), by the high half of a widening product; the bias is under `bound` / 2^64.
pub(crate) fn below(rng: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// Fisher–Yates (Knuth, TAOCP vol. 2, algorithm P).
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut Xoshiro256PlusPlus) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_pinned() {
        let mut items: Vec<u8> = (0..10).collect();
        shuffle(&mut items, &mut generator(1, &["test"]));
        let mut sorted = items.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<u8>>());
        assert_eq!(items, PINNED, "folds of every recipe change with this: raise the minor version and say so");
    }

    const PINNED: [u8; 10] = [4, 9, 8, 6, 5, 2, 3, 7, 1, 0];

    #[test]
    fn purposes_are_told_apart() {
        assert_ne!(fnv1a(&["ab", "c"]), fnv1a(&["a", "bc"]));
        assert_eq!(fnv1a(&[]), 0xcbf2_9ce4_8422_2325);
    }

    #[test]
    fn every_place_is_reached() {
        let mut rng = generator(2, &["test"]);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[below(&mut rng, 5)] += 1;
        }
        assert!(seen.iter().all(|&n| (900..1100).contains(&n)), "{seen:?}");
    }
}
