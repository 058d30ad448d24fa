//! From vectors to centre and spread, and from these to the scores of other vectors.

use std::borrow::Cow;

use super::clump;
use super::rows::{Number, Rows};
use super::score::Skipped;
use super::settings::{Method, Settings};
use super::shape::{Scorer, Scratch, Shape};
use crate::DetectError;

/// z, flagged and seen dimensions of a vector of the right width.
pub(super) fn z<T: Number>(
    scorer: &Scorer,
    vector: &[T],
    scratch: &mut Scratch,
) -> Result<(f64, usize, usize), Skipped> {
    let distance = scorer.distance(vector, scratch);
    // An infinite value is flagged in every dimension that is looked at, so that others need not be searched.
    if distance.flagged > 0 && scorer.has_infinite(vector) {
        return Err(Skipped::Infinite);
    }
    if distance.seen == 0 || distance.seen * 2 < scorer.used {
        return Err(Skipped::Unobserved { seen: distance.seen, of: scorer.used });
    }
    // A finite value whose square is not lies as far as can be said.
    let z = (distance.squared / distance.seen as f64).sqrt().min(f64::MAX);
    Ok((z, distance.flagged, distance.seen))
}

/// Learns centre and spread. Where outliers are expected and the method cannot withstand them, vectors that lie apart by
/// median and MAD are left out first. Returns the number of vectors learnt from, too.
pub(super) fn learn<T: Number>(rows: &Rows<'_, T>, settings: &Settings) -> Result<(Shape, Scorer, u64), DetectError> {
    let own = |error: &'static str| DetectError::Data(error.into());
    let kept = clean(rows, settings)?;
    let rows = Rows::new(&kept, rows.width(), &[])?;
    let shape = Shape::fit(&rows, settings.method, settings.half_life)?;
    let scorer = shape.scorer().map_err(own)?;
    Ok((shape, scorer, rows.len() as u64))
}

fn clean<'a, T: Number>(rows: &Rows<'a, T>, settings: &Settings) -> Result<Cow<'a, [T]>, DetectError> {
    let share = settings.contamination();
    if share > 0.0 && matches!(settings.method, Method::Diagonal | Method::Shrunk) {
        let scorer = Shape::fit(rows, Method::Robust, settings.half_life)?.scorer();
        let scorer = scorer.map_err(|error| DetectError::Data(error.into()))?;
        let mut scratch = Scratch::default();
        let scores: Vec<f64> = rows.iter().map(|row| z(&scorer, row, &mut scratch).map_or(0.0, |(z, ..)| z)).collect();
        if let Some((cut, _)) = clump::above(&scores, share) {
            let kept = rows.iter().zip(&scores).filter(|(_, score)| **score <= cut);
            return Ok(Cow::Owned(kept.flat_map(|(row, _)| row).copied().collect()));
        }
    }
    Ok(Cow::Borrowed(rows.values()))
}

/// The scores of rows in order, and how many of each given stretch have one.
pub(super) fn scores_by<T: Number>(scorer: &Scorer, rows: &Rows<'_, T>, stretches: &[usize]) -> (Vec<f64>, Vec<usize>) {
    let mut scratch = Scratch::default();
    let (mut scores, mut lengths, mut start) = (Vec::with_capacity(rows.len()), Vec::new(), 0);
    for &stretch in stretches {
        let before = scores.len();
        let own = (start..start + stretch).filter_map(|row| z(scorer, rows.row(row), &mut scratch).ok());
        scores.extend(own.map(|(z, ..)| z));
        lengths.push(scores.len() - before);
        start += stretch;
    }
    (scores, lengths)
}

/// Leaves out a clump of scores far above the rest; how many there were comes last.
pub(super) fn without_clump(scores: Vec<f64>, lengths: Vec<usize>, share: f64) -> (Vec<f64>, Vec<usize>, usize) {
    let Some((cut, left_out)) = (share > 0.0).then(|| clump::above(&scores, share)).flatten() else {
        return (scores, lengths, 0);
    };
    let mut rest = scores.as_slice();
    let lengths = lengths.into_iter().map(|length| {
        let (own, after) = rest.split_at(length);
        rest = after;
        own.iter().filter(|score| **score <= cut).count()
    });
    let lengths = lengths.collect();
    (scores.into_iter().filter(|score| *score <= cut).collect(), lengths, left_out)
}
