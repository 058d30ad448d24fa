//! The row bootstrap as a multinomial draw over confusion cells.

use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::Confusion;

use super::binomial::binomial;
use super::{Differences, Plan, Resamples, score_draws, score_pairs};
use crate::EvalError;
use crate::cells::{Cells, JointCounts};

/// Resamples the rows behind a confusion matrix. `trained` says for each class whether the model ever saw it in
/// training; `None` = all.
///
/// Rows are windows, and windows overlap and share an episode: an interval from here is too narrow for them. It is
/// for independent rows and for showing by how much.
///
/// # Errors
/// [`EvalError::Invalid`] for a plan out of range or flags of another number of classes.
pub fn rows(confusion: &Confusion, trained: Option<&[bool]>, plan: &Plan) -> Result<Resamples, EvalError> {
    plan.check()?;
    let classes = confusion.classes();
    if trained.is_some_and(|trained| trained.len() != classes) {
        return Err(EvalError::invalid("trained classes", format!("one flag a class is needed, {classes} in all")));
    }
    let occurring = confusion.counts().iter().enumerate().filter(|(_, count)| **count > 0);
    let (pairs, counts): (Vec<_>, Vec<_>) =
        occurring.map(|(cell, count)| (((cell / classes) as u16, (cell % classes) as u16), *count)).unzip();
    if counts.is_empty() {
        return Ok(Resamples { left_out: vec![0; classes], ..Resamples::default() });
    }
    let cells = Cells::new(classes, pairs, trained);
    Ok(score_draws(plan, &cells, |stream, _, into| multinomial(stream, &counts, into)))
}

/// Resamples the rows that two models scored, for the difference b − a.
///
/// # Errors
/// [`EvalError::Invalid`] for a plan out of range.
pub fn paired_rows(joint: &JointCounts, plan: &Plan) -> Result<Differences, EvalError> {
    plan.check()?;
    if joint.counts.is_empty() {
        return Ok(Differences::default());
    }
    let (a, of_a) = marginal(joint, 1);
    let (b, of_b) = marginal(joint, 2);
    Ok(score_pairs(plan, [&a, &b], |stream, drawn, counts_a, counts_b| {
        counts_a.fill(0);
        counts_b.fill(0);
        drawn.clear();
        conditional_binomials(stream, &joint.counts, |cell, count| {
            counts_a[of_a[cell]] += count;
            counts_b[of_b[cell]] += count;
        });
    }))
}

/// The confusion cells of one of the two models and, for each triple, the cell that it falls into.
fn marginal(joint: &JointCounts, model: usize) -> (Cells, Vec<usize>) {
    let pair = |triple: &[u16; 3]| (triple[0], triple[model]);
    let mut pairs: Vec<(u16, u16)> = joint.triples.iter().map(pair).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let place = joint.triples.iter().map(|triple| pairs.partition_point(|p| *p < pair(triple))).collect();
    (Cells::new(joint.classes, pairs, None), place)
}

/// One draw of `sum(counts)` rows over cells with shares `counts / sum(counts)`; no count is zero.
fn multinomial(stream: &mut Xoshiro256PlusPlus, counts: &[u64], into: &mut [u64]) {
    conditional_binomials(stream, counts, |cell, count| into[cell] = count);
}

/// A multinomial as a chain of binomials: each cell takes its share of what the cells before it left
/// (Devroye 1986, chapter XI.1.4).
fn conditional_binomials(stream: &mut Xoshiro256PlusPlus, counts: &[u64], mut take: impl FnMut(usize, u64)) {
    let total: u64 = counts.iter().sum();
    let (mut open, mut rest) = (total, total);
    for (cell, &count) in counts.iter().enumerate() {
        let drawn = if count == rest { open } else { binomial(stream, open, count as f64 / rest as f64) };
        take(cell, drawn);
        open -= drawn;
        rest -= count;
    }
}
