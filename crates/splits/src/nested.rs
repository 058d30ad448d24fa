//! Folds for choosing settings inside the training side, cut by what the outer fold holds out: whoever is judged on
//! unseen hosts chooses on hosts unseen there.

use stakeout_core::SampleIndex;

use crate::checks::{Checks, Twins, finish};
use crate::groups::{Unit, check_index};
use crate::instant::instant;
use crate::{Dropped, Duplicates, Fold, FoldParts, Separates, SplitError, inner_folds, validation};

/// Share of the groups left to train on that validate, as in the recipes.
const VALIDATION_SHARE: f64 = 0.2;
const OUTSIDE: &str = "outside the side that is cut";

/// At most `k` folds of `rows`, each with a training, a validation (where there are groups enough) and a test side.
///
/// `by` is what the outer fold's test side does not share ([`Fold::test_by`]). Hosts, samples or episodes are dealt out
/// as by [`inner_folds`]: every row is tested once. Where there are fewer groups than folds, there are fewer folds; where
/// there is one group alone, the next smaller unit is held out, and a note says so. Over time every fold trains before it
/// validates before it tests, with a gap of one window, on `k` later stretches of equal size. Windows whose content
/// stands on a later side are dropped and counted.
///
/// # Errors
/// [`SplitError::Unsplittable`] when two folds cannot be made; [`SplitError::Index`] when a row is out of range.
pub fn nested_folds(
    index: &SampleIndex,
    rows: &[usize],
    by: Separates,
    k: usize,
    seed: u64,
) -> Result<Vec<Fold>, SplitError> {
    check_index(index)?;
    if let Some(row) = rows.iter().find(|row| **row >= index.len()) {
        return Err(SplitError::Index(format!("row {row} of an inner fold is out of range")));
    }
    let ladder: &[Unit] = match by {
        Separates::Time => return over_time(index, rows, k),
        Separates::Hosts => &[Unit::Host, Unit::Sample, Unit::Episode],
        Separates::Samples | Separates::Given => &[Unit::Sample, Unit::Episode],
        Separates::Episodes | Separates::Unstated => &[Unit::Episode],
    };
    for &unit in ladder {
        for k in (2..=k).rev() {
            match inner_folds(index, rows, unit, k, seed) {
                Ok(folds) => {
                    let note = (unit != ladder[0]).then(|| {
                        format!(
                            "inner folds hold out {}s, because the training side has one {} alone",
                            unit.name(),
                            ladder[0].name()
                        )
                    });
                    return folds.iter().map(|fold| with_validation(index, fold, unit, seed, note.clone())).collect();
                }
                Err(SplitError::Unsplittable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let why = "the training side cannot make two inner folds: it has one episode alone, or one fold was asked for";
    Err(SplitError::Unsplittable { recipe: "inner".into(), why: why.into() })
}

/// The same fold with a validation side cut from its training side.
fn with_validation(
    index: &SampleIndex,
    fold: &Fold,
    unit: Unit,
    seed: u64,
    note: Option<String>,
) -> Result<Fold, SplitError> {
    let cut = validation::cut(index, fold.train().to_vec(), unit, VALIDATION_SHARE, seed, &["nested", fold.name()]);
    let parts = FoldParts {
        name: fold.name().to_owned(),
        held_out: fold.held_out().to_vec(),
        train: cut.train,
        validation: cut.validation,
        test: fold.test().to_vec(),
        dropped: fold.dropped().to_vec(),
        notes: note.into_iter().chain(cut.notes).collect(),
        test_by: fold.test_by(),
        validation_by: cut.by,
    };
    complete(index, parts)
}

fn complete(index: &SampleIndex, parts: FoldParts) -> Result<Fold, SplitError> {
    finish(index, &Duplicates::of(index)?, Checks { duplicates: Twins::Drop, ..Checks::default() }, parts)
}

/// Rolling origin (Tashman 2000): fold `i` of `k` trains on the first `i + 1` of `k + 2` stretches, validates on the
/// next and tests on the one after it.
fn over_time(index: &SampleIndex, rows: &[usize], k: usize) -> Result<Vec<Fold>, SplitError> {
    let mut starts: Vec<i64> = rows.iter().map(|&row| index.windows[row].t0_ns).collect();
    starts.sort_unstable();
    let unsplittable = |why: String| SplitError::Unsplittable { recipe: "inner time".into(), why };
    if k < 2 || starts.len() < k + 2 {
        return Err(unsplittable(format!("{} windows cannot make {k} inner folds over time", starts.len())));
    }
    let start_of = |stretch: usize| starts.get(stretch * starts.len() / (k + 2)).copied();
    let mut inside = vec![false; index.len()];
    for &row in rows {
        inside[row] = true;
    }
    let reach = 2 * i128::from(index.window_ns);
    let before = |t0_ns: i64, from_ns: i64| i128::from(t0_ns) + reach <= i128::from(from_ns);
    let fold = |i: usize| {
        let (validates, tests) = (start_of(i + 1).unwrap_or(i64::MAX), start_of(i + 2).unwrap_or(i64::MAX));
        let ends = start_of(i + 3).filter(|_| i + 3 < k + 2);
        let (mut sides, mut outside, mut later, mut purged) = ([const { Vec::new() }; 3], vec![], vec![], vec![]);
        for (row, window) in index.windows.iter().enumerate() {
            let t0 = window.t0_ns;
            let place = if !inside[row] {
                &mut outside
            } else if ends.is_some_and(|ends| t0 >= ends) {
                &mut later
            } else if t0 >= tests {
                &mut sides[2]
            } else if t0 >= validates && before(t0, tests) {
                &mut sides[1]
            } else if t0 < validates && before(t0, validates) {
                &mut sides[0]
            } else {
                &mut purged
            };
            place.push(row);
        }
        let [train, validation, test] = sides;
        if train.is_empty() || test.is_empty() {
            return Err(unsplittable(format!(
                "stretch {} of {} has no window left beside the gaps: use fewer inner folds",
                i + 1,
                k + 2
            )));
        }
        let held_out = vec![format!("t0 >= {}", instant(tests))];
        let parts = FoldParts {
            name: format!("stretch-{}", i + 3),
            held_out,
            train,
            validation,
            test,
            dropped: vec![
                Dropped { reason: OUTSIDE.into(), rows: outside },
                Dropped { reason: "later than the test side".into(), rows: later },
                Dropped { reason: "purged: too close to a later side".into(), rows: purged },
            ],
            notes: Vec::new(),
            test_by: Separates::Time,
            validation_by: Separates::Time,
        };
        complete(index, parts)
    };
    (0..k).map(fold).collect()
}
