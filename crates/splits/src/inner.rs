//! Folds inside the training side: settings are chosen there, by groups, and the test side is not asked.

use std::collections::BTreeMap;

use stakeout_core::SampleIndex;

use crate::draw::{generator, shuffle};
use crate::groups::{Groups, Unit, check_index};
use crate::{Dropped, Fold, FoldParts, SplitError, file_name};

/// Grouped k-fold cross-validation over `rows`, stratified by label. Each fold tests one part and trains on the others;
/// the validation side is empty, rows outside `rows` are dropped. Every group is tested exactly once.
///
/// Groups are dealt out largest first, in seeded order among equals, each to the part where the labels stay most even
/// (least sum of squared class shares; the rule of scikit-learn's `StratifiedGroupKFold`).
///
/// # Errors
/// [`SplitError::Unsplittable`] when k < 2 or `rows` has fewer than `k` groups; [`SplitError::Index`] when a row is out
/// of range.
pub fn inner_folds(
    index: &SampleIndex,
    rows: &[usize],
    unit: Unit,
    k: usize,
    seed: u64,
) -> Result<Vec<Fold>, SplitError> {
    check_index(index)?;
    if let Some(row) = rows.iter().find(|row| **row >= index.len()) {
        return Err(SplitError::Index(format!("row {row} of an inner fold is out of range")));
    }
    let groups = Groups::of(index, unit);
    let mut sizes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut total = vec![0usize; index.classes.len()];
    for &row in rows {
        let label = usize::from(index.windows[row].label);
        sizes.entry(groups.of_row(index, row)).or_insert_with(|| vec![0; total.len()])[label] += 1;
        total[label] += 1;
    }
    if k < 2 || sizes.len() < k {
        let why = format!(
            "{} {}s cannot make {k} inner folds: k must lie between 2 and that number",
            sizes.len(),
            unit.name()
        );
        return Err(SplitError::Unsplittable { recipe: format!("inner {}", unit.name()), why });
    }
    let part_of = deal(sizes.into_iter().collect(), &total, k, seed);

    let mut outside = vec![true; index.len()];
    for &row in rows {
        outside[row] = false;
    }
    let outside: Vec<usize> = (0..index.len()).filter(|&row| outside[row]).collect();
    let fold = |part: usize| {
        let (test, train) = rows.iter().partition(|&&row| part_of[&groups.of_row(index, row)] == part);
        let held: Vec<usize> = part_of.iter().filter(|(_, of)| **of == part).map(|(group, _)| *group).collect();
        let held_out = groups.names_of(&held);
        let parts = FoldParts {
            name: file_name(&held_out),
            held_out,
            train,
            validation: Vec::new(),
            test,
            dropped: vec![Dropped { reason: "outside the side that is cut".into(), rows: outside.clone() }],
            notes: Vec::new(),
            test_by: unit.separates(),
            validation_by: unit.separates(),
        };
        Fold::new(index.len(), parts)
    };
    (0..k).map(fold).collect()
}

/// The part of each group. No part stays empty while there are groups enough: an empty one costs least.
fn deal(mut groups: Vec<(usize, Vec<usize>)>, total: &[usize], k: usize, seed: u64) -> BTreeMap<usize, usize> {
    shuffle(&mut groups, &mut generator(seed, &["inner"]));
    groups.sort_by_key(|(_, labels)| std::cmp::Reverse(labels.iter().sum::<usize>()));
    let mut parts = vec![vec![0usize; total.len()]; k];
    let mut part_of = BTreeMap::new();
    for (group, labels) in groups {
        // (p + g)² - p² = g (2 p + g), in shares of the class.
        let cost = |part: &[usize]| -> f64 {
            let shares = part.iter().zip(&labels).zip(total).filter(|(_, total)| **total > 0);
            shares.map(|((&p, &g), &total)| g as f64 * (2 * p + g) as f64 / (total as f64).powi(2)).sum()
        };
        let size = |part: &[usize]| part.iter().sum::<usize>();
        let best = (0..k)
            .min_by(|&a, &b| cost(&parts[a]).total_cmp(&cost(&parts[b])).then(size(&parts[a]).cmp(&size(&parts[b]))))
            .unwrap_or(0);
        for (part, label) in parts[best].iter_mut().zip(&labels) {
            *part += label;
        }
        part_of.insert(group, best);
    }
    part_of
}
