//! How well labelled sequences are told apart: figures with bootstrap intervals, the constant answer beside them.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::Serialize;

use crate::DetectError;

/// Bins of the calibration error.
const BINS: usize = 15;
/// Resamples of one generator stream.
const CHUNK: usize = 64;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// On the sessions as they are; `None` where it is not defined.
    pub point: Option<f64>,
    /// Lower end; `None` where no resample defines the figure.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
}

/// Figures of one answer on a set of sessions. The anomalous class is the positive one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Sessions.
    pub sessions: usize,
    /// Anomalous sessions.
    pub anomalous: usize,
    /// 2 TP / (2 TP + FP + FN).
    pub f1: Figure,
    /// TP / (TP + FP).
    pub precision: Figure,
    /// TP / (TP + FN).
    pub recall: Figure,
    /// FP / (FP + TN).
    pub false_positive_rate: Figure,
    /// Share of sessions called right.
    pub accuracy: Figure,
    /// Chance that an anomalous session has a higher probability than a normal one, a tie counting half (Mann and Whitney
    /// 1947): what is acted on. Scores whose order training does not bear out have one probability.
    pub auroc: Figure,
    /// The same of the score, whose order is finer.
    pub auroc_of_score: Figure,
    /// Mean of (p − y)² (Brier 1950; of one class, 0 to 1).
    pub brier: Figure,
    /// Expected calibration error of the probability that the session is what the larger probability says: 15 bins of
    /// equal width (Guo et al. 2017). On few sessions noise alone makes it positive.
    pub ece: Figure,
}

const FIGURES: usize = 9;

/// One session as it was judged.
#[derive(Debug, Clone, Copy)]
struct Session {
    score: f64,
    probability: f64,
    called: bool,
    anomalous: bool,
}

/// Figures of judged sessions, each with a percentile interval over `resamples` resampled sets of sessions (Efron and
/// Tibshirani 1993, chapter 13). `judged` gives score, probability and call of each session, `truth` what it was. Same
/// sessions in the same order, same seed: same figures, for any number of threads.
///
/// # Errors
/// [`DetectError::Data`] without sessions, [`DetectError::Invalid`] for a probability outside [0, 1], a score that is
/// not a number or lengths that differ.
pub fn evaluate(
    judged: &[(f64, f64, bool)],
    truth: &[bool],
    resamples: usize,
    seed: u64,
) -> Result<Evaluation, DetectError> {
    let refuse = |why: String| Err(DetectError::Invalid { what: "judged sessions", why });
    if judged.is_empty() {
        return Err(DetectError::Data("no labelled sessions: there is nothing to evaluate".to_owned()));
    }
    if judged.len() != truth.len() {
        return refuse(format!("{} judgements of {} sessions", judged.len(), truth.len()));
    }
    if let Some((score, p, _)) = judged.iter().find(|(score, p, _)| score.is_nan() || !(0.0..=1.0).contains(p)) {
        return refuse(format!("score {score}, probability {p}"));
    }
    let sessions: Vec<Session> = (judged.iter().zip(truth))
        .map(|(&(score, probability, called), &anomalous)| Session { score, probability, called, anomalous })
        .collect();
    let by_probability = order(&sessions, |session| session.probability);
    let by_score = order(&sessions, |session| session.score);
    let orders = [&by_probability, &by_score];
    let point = figures(&sessions, orders, &vec![1; sessions.len()]);

    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let streams: Vec<(Xoshiro256PlusPlus, usize)> = (0..resamples.div_ceil(CHUNK))
        .map(|i| {
            let stream = generator.clone();
            generator.jump();
            (stream, CHUNK.min(resamples - i * CHUNK))
        })
        .collect();
    let drawn: Vec<[Option<f64>; FIGURES]> = streams
        .into_par_iter()
        .map(|(mut stream, resamples)| {
            let mut times = vec![0u32; sessions.len()];
            (0..resamples)
                .map(|_| {
                    times.fill(0);
                    for _ in 0..sessions.len() {
                        let at = (u128::from(stream.next_u64()) * sessions.len() as u128) >> 64;
                        times[at as usize] += 1;
                    }
                    figures(&sessions, orders, &times)
                })
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
        .concat();
    let figure = |i: usize| {
        let mut values: Vec<f64> = drawn.iter().filter_map(|figures| figures[i]).collect();
        values.sort_unstable_by(f64::total_cmp);
        Figure { point: point[i], lo: quantile(&values, 0.025), hi: quantile(&values, 0.975) }
    };
    Ok(Evaluation {
        sessions: sessions.len(),
        anomalous: truth.iter().filter(|anomalous| **anomalous).count(),
        f1: figure(0),
        precision: figure(1),
        recall: figure(2),
        false_positive_rate: figure(3),
        accuracy: figure(4),
        auroc: figure(5),
        auroc_of_score: figure(6),
        brier: figure(7),
        ece: figure(8),
    })
}

/// Type 7 of Hyndman and Fan 1996.
fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let at = p * sorted.len().checked_sub(1)? as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + part * (sorted[above] - sorted[below]))
}

/// The sessions in ascending order of a value, equal ones together.
fn order(sessions: &[Session], value: impl Fn(&Session) -> f64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sessions.len()).collect();
    order.sort_by(|&a, &b| value(&sessions[a]).total_cmp(&value(&sessions[b]))); // stable
    let tied = order.chunk_by(|&a, &b| value(&sessions[a]) == value(&sessions[b]));
    tied.map(<[usize]>::to_vec).collect()
}

/// Pairs of an anomalous and a normal session that are in the right order, equal ones counting half.
fn won(sessions: &[Session], order: &[Vec<usize>], times: &[u32]) -> f64 {
    let (mut won, mut below) = (0.0, 0.0);
    for tied in order {
        let mut here = [0.0; 2];
        tied.iter().for_each(|&i| here[usize::from(sessions[i].anomalous)] += f64::from(times[i]));
        won += here[1] * (below + here[0] / 2.0);
        below += here[0];
    }
    won
}

/// The figures of sessions, each taken as many times as told; `orders` is theirs by probability and by score.
fn figures(sessions: &[Session], orders: [&Vec<Vec<usize>>; 2], times: &[u32]) -> [Option<f64>; FIGURES] {
    let (mut tp, mut fp, mut fn_, mut tn) = (0.0, 0.0, 0.0, 0.0);
    let mut brier = 0.0;
    let mut bins = [[0.0; 3]; BINS];
    for (session, &times) in sessions.iter().zip(times) {
        let w = f64::from(times);
        match (session.called, session.anomalous) {
            (true, true) => tp += w,
            (true, false) => fp += w,
            (false, true) => fn_ += w,
            (false, false) => tn += w,
        }
        let (p, y) = (session.probability, if session.anomalous { 1.0 } else { 0.0 });
        brier += w * (p - y) * (p - y);
        let sure = p.max(1.0 - p);
        let bin = &mut bins[((sure * BINS as f64) as usize).min(BINS - 1)];
        bin[0] += w;
        bin[1] += w * sure;
        bin[2] += if (p >= 0.5) == session.anomalous { w } else { 0.0 };
    }
    let (positive, negative) = (tp + fn_, fp + tn);
    let n = positive + negative;
    let share = |a: f64, b: f64| (b > 0.0).then(|| a / b);
    let ece = bins.iter().map(|[_, sure, hits]| (sure - hits).abs()).sum::<f64>();
    let [auroc, auroc_of_score] = orders.map(|order| share(won(sessions, order, times), positive * negative));
    [
        share(2.0 * tp, 2.0 * tp + fp + fn_),
        share(tp, tp + fp),
        share(tp, positive),
        share(fp, negative),
        share(tp + tn, n),
        auroc,
        auroc_of_score,
        share(brier, n),
        share(ece, n),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn figures_are_their_definitions(
            rows in prop::collection::vec((-4i32..5, 0u32..=20, any::<bool>(), any::<bool>()), 1..40)
        ) {
            let judged: Vec<(f64, f64, bool)> =
                rows.iter().map(|r| (f64::from(r.0), f64::from(r.1) / 20.0, r.2)).collect();
            let truth: Vec<bool> = rows.iter().map(|r| r.3).collect();
            let found = evaluate(&judged, &truth, 0, 1).unwrap();
            let n = rows.len() as f64;
            let count = |called: bool, anomalous: bool| {
                rows.iter().filter(|r| r.2 == called && r.3 == anomalous).count() as f64
            };
            let (tp, fp, missed, tn) = (count(true, true), count(true, false), count(false, true), count(false, false));
            let same = |figure: Figure, slow: f64| match figure.point {
                Some(point) => (point - slow).abs() < 1e-9,
                None => slow.is_nan(),
            };
            prop_assert!(same(found.f1, 2.0 * tp / (2.0 * tp + fp + missed)));
            prop_assert!(same(found.precision, tp / (tp + fp)) && same(found.recall, tp / (tp + missed)));
            prop_assert!(same(found.false_positive_rate, fp / (fp + tn)) && same(found.accuracy, (tp + tn) / n));
            let (mut won, mut pairs) = ([0.0; 2], 0.0);
            for a in rows.iter().filter(|r| r.3) {
                for b in rows.iter().filter(|r| !r.3) {
                    pairs += 1.0;
                    won[0] += f64::from(i32::from(a.1 > b.1) + i32::from(a.1 >= b.1)) / 2.0;
                    won[1] += f64::from(i32::from(a.0 > b.0) + i32::from(a.0 >= b.0)) / 2.0;
                }
            }
            prop_assert!(same(found.auroc, won[0] / pairs) && same(found.auroc_of_score, won[1] / pairs));
            let mut ece = 0.0;
            for bin in 0..BINS {
                let inside = |p: f64| ((p.max(1.0 - p) * 15.0).floor() as usize).min(14) == bin;
                let gap: f64 = judged.iter().zip(&truth).filter(|(j, _)| inside(j.1))
                    .map(|(j, y)| j.1.max(1.0 - j.1) - if (j.1 >= 0.5) == *y { 1.0 } else { 0.0 }).sum();
                ece += gap.abs() / n;
            }
            prop_assert!(same(found.ece, ece));
        }
    }

    #[test]
    fn intervals_hold_the_point_and_do_not_depend_on_threads() {
        let judged: Vec<(f64, f64, bool)> =
            (0..300).map(|i| (f64::from(i % 37), f64::from(i % 37) / 40.0, i % 37 > 20)).collect();
        let truth: Vec<bool> = (0..300).map(|i| (i * 7) % 37 > 18 || i % 37 > 30).collect();
        let found = evaluate(&judged, &truth, 300, 5).unwrap();
        for figure in [found.f1, found.auroc, found.accuracy, found.recall, found.brier] {
            let Figure { point: Some(point), lo: Some(lo), hi: Some(hi) } = figure else { panic!("{figure:?}") };
            assert!(lo < point && point < hi && hi - lo < 0.3, "{figure:?}");
        }
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| evaluate(&judged, &truth, 300, 5).unwrap()), found);
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        assert!(evaluate(&[], &[], 10, 1).is_err());
        assert!(evaluate(&[(0.0, f64::NAN, true)], &[true], 10, 1).is_err());
        assert!(evaluate(&[(f64::NAN, 0.5, true)], &[true], 10, 1).is_err());
        assert!(evaluate(&[(0.0, 0.5, true)], &[], 10, 1).is_err());
        let alone = evaluate(&[(0.0, 0.5, true)], &[true], 10, 1).unwrap();
        assert_eq!((alone.auroc.point, alone.false_positive_rate.lo, alone.recall.point), (None, None, Some(1.0)));
    }

    /// The plain design prints |accuracy − precision| and calls it an ECE.
    #[test]
    fn known_fault_ece_faked() {
        // Every session is called normal with a probability of 0.45 of being anomalous; none is.
        let judged = vec![(0.0, 0.45, false); 200];
        let mut truth = vec![false; 200];
        let found = evaluate(&judged, &truth, 50, 1).unwrap();
        let fake = |e: &Evaluation| (e.accuracy.point.unwrap() - e.precision.point.unwrap_or(1.0)).abs();
        assert_eq!(fake(&found), 0.0, "the fault: perfect, it says");
        assert!((found.ece.point.unwrap() - 0.45).abs() < 1e-9, "mended: the gap is there");
        // And the other way round: rare anomalies, half the calls wrong, probabilities that mean what they say.
        let judged: Vec<_> = (0..200).map(|i| if i < 20 { (1.0, 0.5, true) } else { (0.0, 0.0, false) }).collect();
        (0..10).for_each(|i| truth[i] = true);
        let found = evaluate(&judged, &truth, 50, 1).unwrap();
        assert!(fake(&found) > 0.4 && found.ece.point.unwrap() < 1e-9, "{found:?}");
    }
}
