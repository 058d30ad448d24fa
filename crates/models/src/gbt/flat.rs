//! Shallow trees laid out for scoring one window at a time.
//!
//! Every tree is filled up to one depth, so that the children of cell `i` are `2i` and `2i + 1` and a walk is as many equal
//! steps whichever way it goes: nothing is mispredicted, and walks through several trees wait for the cache together. Each
//! row adds its trees in their order: the same bits as [`super::forest::Forest::predict`].

use super::forest::Forest;
use super::objective;
use crate::trees::node::Node;

/// Walks side by side.
const WALKS: usize = 8;
/// Cells a node of the trees, at most: a full tree has half a cell a node.
const AIR: usize = 64;
/// Set in a cell's column where missing values go left.
const MISSING_LEFT: u32 = 1 << 31;

/// A split: larger values go to the right.
#[derive(Debug, Clone, Copy)]
struct Cell {
    threshold: f32,
    column: u32,
}

impl Cell {
    /// Everything goes left.
    const PASS: Self = Self { threshold: f32::INFINITY, column: MISSING_LEFT };
}

/// The trees of a forest, filled up.
pub(super) struct Flat {
    depth: usize,
    /// `1 << depth` a tree, the first of which is not used.
    cells: Vec<Cell>,
    /// As many, from left to right.
    values: Vec<f32>,
    base: Vec<f32>,
    features: usize,
}

impl Flat {
    /// `None` where a tree is deeper than eight splits, or few are nearly as deep as the deepest: filled up they would be
    /// mostly air, and a small file would ask for much memory.
    pub(super) fn of(forest: &Forest) -> Option<Self> {
        let depth = [3, 6, 8].into_iter().find(|depth| forest.trees().all(|tree| depth_of(tree) <= *depth))?;
        let room = forest.trees().count() << depth;
        if room > AIR * forest.trees().map(<[Node]>::len).sum::<usize>() {
            return None;
        }
        let (cells, values) = (vec![Cell::PASS; room], vec![0.0; room]);
        let mut flat = Self { depth, cells, values, base: forest.base().to_vec(), features: forest.features() };
        for (at, tree) in forest.trees().enumerate() {
            flat.fill(tree, 0, at << depth, 1);
        }
        Some(flat)
    }

    /// Writes the part of a tree below `node` to the part below a cell, or its value to all leaves there.
    fn fill(&mut self, tree: &[Node], node: usize, start: usize, cell: usize) {
        let node = &tree[node];
        if node.is_leaf() {
            // the first and the last leaf below the cell: leftmost and rightmost steps down to the bottom
            let steps = self.depth - cell.ilog2() as usize;
            let bottom = 1 << self.depth;
            let [first, last] = [cell << steps, ((cell + 1) << steps) - 1].map(|leaf| leaf - bottom);
            self.values[start + first..=start + last].fill(node.value);
            return;
        }
        let flag = if node.missing_left() { MISSING_LEFT } else { 0 };
        self.cells[start + cell] = Cell { threshold: node.threshold(), column: node.column() as u32 | flag };
        for side in 0..2 {
            self.fill(tree, node.left() + side, start, 2 * cell + side);
        }
    }

    /// Class probabilities of rows of raw values (rows × features) into `out` (rows × classes).
    pub(super) fn predict(&self, values: &[f32], out: &mut [f32]) {
        for (row, out) in values.chunks_exact(self.features).zip(out.chunks_exact_mut(self.base.len())) {
            out.copy_from_slice(&self.base);
            match (self.depth, row.iter().any(|value| value.is_nan())) {
                (3, false) => self.add::<8, false>(row, out),
                (3, true) => self.add::<8, true>(row, out),
                (6, false) => self.add::<64, false>(row, out),
                (6, true) => self.add::<64, true>(row, out),
                (_, false) => self.add::<256, false>(row, out),
                (_, true) => self.add::<256, true>(row, out),
            }
            objective::softmax(out);
        }
    }

    /// Adds all trees of `N` cells to the margins of a row, in which values may be missing.
    fn add<const N: usize, const MISSING: bool>(&self, row: &[f32], out: &mut [f32]) {
        let free = objective::classes_of_outputs(out.len());
        let out = &mut out[free];
        let mut class = 0;
        let mut add = |value: f32| {
            out[class] += value;
            class = if class + 1 == out.len() { 0 } else { class + 1 };
        };
        let (trees, values) = (self.cells.as_chunks::<N>().0, self.values.as_chunks::<N>().0);
        let groups = trees.chunks_exact(WALKS).zip(values.chunks_exact(WALKS));
        for (trees, values) in groups {
            let leaves = walk::<N, WALKS, MISSING>(std::array::from_fn(|i| &trees[i]), row);
            leaves.into_iter().zip(values).for_each(|(leaf, values)| add(values[leaf]));
        }
        let rest = trees.len() - trees.len() % WALKS;
        for (tree, values) in trees[rest..].iter().zip(&values[rest..]) {
            let [leaf] = walk::<N, 1, MISSING>([tree], row);
            add(values[leaf]);
        }
    }
}

/// Positions of the leaves that a row ends in.
#[inline]
#[allow(clippy::needless_bitwise_bool)] // a branch would cost more than the comparison it saves
fn walk<const N: usize, const W: usize, const MISSING: bool>(trees: [&[Cell; N]; W], row: &[f32]) -> [usize; W] {
    let mut at = [1; W];
    for _ in 0..N.ilog2() {
        for (at, tree) in at.iter_mut().zip(trees) {
            let cell = tree[*at % N];
            let value = row[(cell.column & !MISSING_LEFT) as usize];
            let absent = MISSING && value.is_nan() & (cell.column & MISSING_LEFT == 0);
            *at = 2 * *at + usize::from((value > cell.threshold) | absent);
        }
    }
    // N is a power of two, and all walks have come to the row of cells behind the last one
    at.map(|at| at % N)
}

/// Most splits between the root and a leaf. Children stand behind their parents.
fn depth_of(tree: &[Node]) -> usize {
    let mut depths = vec![0; tree.len()];
    for (at, node) in tree.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
        depths[node.left()] = depths[at] + 1;
        depths[node.left() + 1] = depths[at] + 1;
    }
    depths.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FEATURES: usize = 5;

    /// A tree from a list of draws: each one splits the node that it names, where that is a leaf and not too deep.
    fn tree(draws: &[(prop::sample::Index, u32, i32, bool)], most: usize) -> Vec<Node> {
        let mut nodes = vec![Node::leaf(0.5)];
        let mut depths = vec![0];
        for (pick, column, threshold, missing_left) in draws {
            let at = pick.index(nodes.len());
            if nodes[at].is_leaf() && depths[at] < most {
                let left = nodes.len();
                nodes[at].split(*column, *threshold as f32, *missing_left, left);
                for side in 0..2 {
                    nodes.push(Node::leaf((left + side) as f32 * 0.01 - 0.1));
                    depths.push(depths[at] + 1);
                }
            }
        }
        nodes
    }

    fn draws() -> impl Strategy<Value = Vec<(prop::sample::Index, u32, i32, bool)>> {
        prop::collection::vec((any::<prop::sample::Index>(), 0..FEATURES as u32, -3i32..3, any::<bool>()), 0..60)
    }

    proptest! {
        #[test]
        fn as_the_forest(
            rounds in prop::collection::vec((draws(), draws(), draws()), 0..9),
            two in any::<bool>(),
            most in prop_oneof![Just(0usize), Just(3), Just(6), Just(8), Just(20)],
            rows in prop::collection::vec(prop_oneof![6 => (-4i32..4).prop_map(|v| v as f32), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)], 7 * FEATURES),
        ) {
            let mut forest = Forest::new(FEATURES, if two { vec![0.0, 0.3] } else { vec![0.0, 0.3, -0.2] });
            for (a, b, c) in &rounds {
                for draws in [a, b, c].into_iter().take(if two { 1 } else { 3 }) {
                    forest.push(&tree(draws, most));
                }
            }
            let Some(flat) = Flat::of(&forest) else {
                prop_assert!(forest.trees().any(|tree| depth_of(tree) > 8));
                return Ok(());
            };
            let mut expected = vec![0.0; 7 * forest.classes()];
            forest.predict(&rows, &mut expected);
            let mut out = vec![9.0; expected.len()];
            flat.predict(&rows, &mut out);
            prop_assert_eq!(out, expected);
        }
    }
}
