//! Which products a convolution is made of.
//!
//! `m` neighbouring outputs of a filter with `r` taps depend on `m + r - 1` inputs, and can be had with as many products
//! instead of `m · r`: outputs and taps are the coefficients of polynomials, which are multiplied by their values at
//! `m + r - 1` points (Toom 1963; Cook 1966). Transposed, the scheme computes the sliding sums of a filter (Winograd, "Arithmetic
//! Complexity of Computations", 1980, chapter 5; for nets: Lavin and Gray, CVPR 2016, section 4). The sums around it, on
//! inputs, taps and outputs, are cheap because a product here is one of matrices, channels by filters.
//!
//! The points are 0, ±1, ±2, ±1/2 and infinity: a pair of opposite points shares its sums. More of them would cost
//! digits: in single precision eight points lose about two bits against plain sums.

/// Points at most.
pub(super) const MOST: usize = 8;
/// Pairs of opposite points at most.
pub(super) const PAIRS: usize = (MOST - 2) / 2;

/// One of each pair of opposite points, in order of use.
const POINTS: [f64; PAIRS] = [1.0, 2.0, 0.5];

/// How the outputs of a row are cut into tiles, and the taps into blocks.
///
/// Tile `i` begins at output `i · outputs` and is made of inputs from `i · outputs - before` on. A block of taps begins
/// where the one before it does, and `outputs` taps later: what it adds to tile `i` it finds in the inputs of a later tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Products a tile and block: 1, 4, 6 or 8. With 1, plain products of one input and one tap.
    pub(super) points: usize,
    /// Outputs of a tile.
    pub(super) outputs: usize,
    /// Taps of the last block at most; the others have `outputs` of them.
    pub(super) taps: usize,
    /// Blocks of taps.
    pub(super) blocks: usize,
    /// Tiles whose outputs count.
    pub(super) tiles: usize,
    /// Steps before its own that the first tap in use sees.
    pub(super) before: usize,
    /// Taps that never meet a step, before those in use.
    pub(super) skipped: usize,
    /// Taps in use.
    pub(super) used: usize,
}

impl Plan {
    /// The cheapest plan for a filter of `kernel` taps over `steps` steps, `(kernel - 1) / 2` of which lie before its own.
    ///
    /// # Panics
    /// When either is 0.
    pub(super) fn new(steps: usize, kernel: usize) -> Self {
        assert!(steps > 0 && kernel > 0, "a filter has a tap, a window a step");
        let before = (kernel - 1) / 2;
        let after = kernel - 1 - before;
        // a tap further away than the window is long meets padding alone
        let skipped = before.saturating_sub(steps - 1);
        let used = kernel - skipped - after.saturating_sub(steps - 1);
        let before = before - skipped;
        let mut best = Self { points: 1, outputs: 1, taps: 1, blocks: used, tiles: steps, before, skipped, used };
        for points in [4, 6, 8] {
            for outputs in 2..points {
                let taps = points + 1 - outputs;
                let blocks = 1 + used.saturating_sub(taps).div_ceil(outputs);
                if blocks > 1 && taps < outputs {
                    continue;
                }
                let tiles = steps.div_ceil(outputs);
                let plan = Self { points, outputs, taps, blocks, tiles, before, skipped, used };
                if plan.cost() < best.cost() {
                    best = plan;
                }
            }
        }
        best
    }

    /// Tiles of a row: blocks behind the first one reach into tiles of inputs whose outputs do not count.
    pub(super) fn row(&self) -> usize {
        self.tiles + self.blocks - 1
    }

    /// Products a row and pair of channels, and the sums around them, which weigh an eighth of one at 64 channels.
    fn cost(&self) -> usize {
        self.points * self.row() * (8 * self.blocks + usize::from(self.points > 1))
    }

    /// The taps in use of a block, counted from the first tap in use.
    pub(super) fn block(&self, block: usize) -> std::ops::Range<usize> {
        let from = block * self.outputs;
        from..if block + 1 == self.blocks { self.used } else { from + self.outputs }
    }
}

/// The numbers of a scheme with some points. With `x²` for `z`, the even and odd inputs of a tile are multiplied by the
/// coefficients of polynomials in `z`; see [`super::transform`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Scheme {
    /// Of each pair of points, its positive one.
    pub(super) points: [f32; PAIRS],
    /// The product of `z - a²` over all pairs: its coefficient of each power of `z`.
    pub(super) all: [f32; PAIRS + 1],
    /// The same over all pairs but one.
    pub(super) others: [[f32; PAIRS]; PAIRS],
    /// What the value of a filter is divided by: at 0, then at each pair.
    pub(super) divisors: [f32; PAIRS + 1],
}

impl Scheme {
    /// The scheme of so many points, of which infinity is one and 0 another.
    pub(super) fn new(points: usize) -> Self {
        let pairs = points.saturating_sub(2) / 2;
        let mut scheme = Self {
            points: POINTS.map(|a| a as f32),
            all: [0.0; PAIRS + 1],
            others: [[0.0; PAIRS]; PAIRS],
            divisors: [1.0; PAIRS + 1],
        };
        let all = product(POINTS[..pairs].iter());
        scheme.all = all.map(|x| x as f32);
        scheme.divisors[0] = all[0] as f32;
        for (pair, a) in POINTS[..pairs].iter().enumerate() {
            let others = product(POINTS[..pairs].iter().filter(|b| *b != a));
            let value: f64 = others.iter().rev().fold(0.0, |sum, c| sum.mul_add(a * a, *c));
            // the product of a - b over all other finite points b: a, 2a, and the pairs left
            scheme.divisors[pair + 1] = (2.0 * a * a * value) as f32;
            scheme.others[pair].copy_from_slice(&others[..PAIRS].iter().map(|x| *x as f32).collect::<Vec<_>>());
        }
        scheme
    }
}

/// The coefficients of the product of `z - a²`.
fn product<'a>(points: impl Iterator<Item = &'a f64>) -> [f64; PAIRS + 1] {
    let mut coefficients = [0.0; PAIRS + 1];
    coefficients[0] = 1.0;
    for a in points {
        for power in (0..=PAIRS).rev() {
            let lower = if power > 0 { coefficients[power - 1] } else { 0.0 };
            coefficients[power] = lower - a * a * coefficients[power];
        }
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_steps_of_five_taps_take_two_fifths_of_the_products() {
        let plan = Plan::new(20, 5);
        assert_eq!((plan.points, plan.outputs, plan.taps, plan.blocks, plan.tiles), (8, 4, 5, 1, 5));
        assert_eq!(Plan::new(20, 1).points, 1);
        let one = Plan::new(1, 5);
        assert_eq!((one.points, one.blocks, one.before, one.skipped, one.used), (1, 1, 0, 2, 1));
    }

    #[test]
    fn every_tap_that_meets_a_step_is_in_one_block() {
        for steps in 1..40 {
            for kernel in 1..=64 {
                let plan = Plan::new(steps, kernel);
                let mut next = 0;
                for block in 0..plan.blocks {
                    let taps = plan.block(block);
                    assert_eq!(taps.start, next, "{steps} {kernel} {plan:?}");
                    assert!(taps.len() <= plan.taps && !taps.is_empty(), "{steps} {kernel} {plan:?}");
                    next = taps.end;
                }
                assert_eq!(next, plan.used);
                assert!(plan.tiles * plan.outputs >= steps && plan.points == plan.outputs + plan.taps - 1);
                let reach = |tap: usize| tap as i64 - ((kernel - 1) / 2) as i64;
                for tap in 0..kernel {
                    let meets = reach(tap).unsigned_abs() < steps as u64;
                    assert_eq!(meets, (plan.skipped..plan.skipped + plan.used).contains(&tap));
                }
                assert_eq!(reach(plan.skipped), -(plan.before as i64));
            }
        }
    }
}
