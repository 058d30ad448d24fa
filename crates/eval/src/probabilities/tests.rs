//! Figures against a slow twin, and what must hold of them.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

/// Rows with their own storage.
#[derive(Debug, Clone, Default)]
struct Rows {
    classes: usize,
    probabilities: Vec<f32>,
    truth: Vec<u16>,
    episode: Vec<u32>,
    cluster: Vec<u32>,
}

impl Rows {
    fn cases(&self) -> Cases<'_> {
        Cases {
            classes: self.classes,
            probabilities: &self.probabilities,
            truth: &self.truth,
            episode: &self.episode,
            cluster: &self.cluster,
            unit: Unit::Episode,
        }
    }

    fn push(&mut self, p: &[f32], truth: u16, episode: u32, cluster: u32) {
        self.probabilities.extend_from_slice(p);
        self.truth.push(truth);
        self.episode.push(episode);
        self.cluster.push(cluster);
    }

    fn reordered(&self, order: &[usize]) -> Self {
        let mut out = Self { classes: self.classes, ..Self::default() };
        for &row in order {
            out.push(self.cases().row(row), self.truth[row], self.episode[row], self.cluster[row]);
        }
        out
    }

    fn scores(&self, resamples: usize) -> ProbabilityScores {
        probability_scores(&self.cases(), &Plan { resamples, ..Plan::default() }).unwrap().unwrap()
    }
}

/// Counts over 16 as probabilities, certainties among them; episode e belongs to cluster e / 2.
fn rows() -> impl Strategy<Value = Rows> {
    (2usize..5).prop_flat_map(|classes| {
        let row = (prop::collection::vec(0u8..16, classes), 0..classes as u16, 0u32..12);
        prop::collection::vec(row, 1..60).prop_map(move |rows| {
            let mut out = Rows { classes, ..Rows::default() };
            for (counts, truth, episode) in rows {
                let sum: f32 = counts.iter().map(|n| f32::from(*n)).sum();
                let even = 1.0 / classes as f32;
                let p: Vec<f32> = counts.iter().map(|n| if sum > 0.0 { f32::from(*n) / sum } else { even }).collect();
                out.push(&p, truth, episode, episode / 2);
            }
            out
        })
    })
}

/// Weighted mean of `value` over the rows of a side that `keep` takes, with the weight of the mean.
fn mean(rows: &Rows, keep: impl Fn(usize) -> bool, value: impl Fn(usize) -> f64) -> (f64, f64) {
    let (mut sum, mut total) = (0.0, 0.0);
    for row in (0..rows.truth.len()).filter(|row| keep(*row)) {
        let weight = 1.0 / rows.episode.iter().filter(|e| **e == rows.episode[row]).count() as f64;
        sum += weight * value(row);
        total += weight;
    }
    (if total > 0.0 { sum / total } else { 0.0 }, total)
}

/// All figures straight from their definitions, with a pass over the rows for each.
fn slow(rows: &Rows) -> [Option<f64>; FIGURES] {
    slow_fixed(rows, rows)
}

/// As [`slow`], with the bins of equal weight and the classes that count fixed on another sample.
fn slow_fixed(rows: &Rows, fixed: &Rows) -> [Option<f64>; FIGURES] {
    let cases = rows.cases();
    let n = rows.truth.len();
    let p = |row: usize, class: usize| f64::from(cases.row(row)[class]);
    let y = |row: usize, class: usize| f64::from(u8::from(usize::from(rows.truth[row]) == class));
    let called = |row: usize| usize::from(stakeout_core::confusion::argmax(cases.row(row)));
    let confidence = |row: usize| p(row, called(row));
    let hit = |row: usize| y(row, called(row));
    let total = mean(rows, |_| true, |_| 1.0).1;
    // the share of less confident weight, equals half
    let confident = |row: usize| fixed.cases().row(row).iter().map(|p| f64::from(*p)).fold(0.0, f64::max);
    let whole = mean(fixed, |_| true, |_| 1.0).1;
    let middles: Vec<f64> = (0..n)
        .map(|row| {
            let below = mean(fixed, |other| confident(other) < confidence(row), |_| 1.0).1;
            let equal = mean(fixed, |other| confident(other) == confidence(row), |_| 1.0).1;
            (below + equal / 2.0) / whole
        })
        .collect();
    let middle = |row: usize| middles[row];
    let width = |p: f64| ((p * 15.0).floor() as usize).min(14);
    let mass = |row: usize| ((middle(row) * 15.0 + 1e-9) as usize).min(14);
    let group = |row: usize| (called(row), ((middle(row) * 5.0 + 1e-9) as usize).min(4));

    let brier = mean(rows, |_| true, |row| (0..rows.classes).map(|k| (p(row, k) - y(row, k)).powi(2)).sum()).0;
    let log = mean(rows, |_| true, |row| -p(row, usize::from(rows.truth[row])).max(f64::from(f32::EPSILON)).ln()).0;
    let (mut rel, mut res, mut inside) = (0.0, 0.0, 0.0);
    let (mut log_rel, mut uncertainty, mut entropy) = (0.0, 0.0, 0.0);
    for k in 0..rows.classes {
        let base = mean(rows, |_| true, |row| y(row, k)).0;
        uncertainty += base * (1.0 - base);
        entropy -= if base > 0.0 { base * base.ln() } else { 0.0 };
        for cell in (0..rows.classes).flat_map(|class| (0..5).map(move |part| (class, part))) {
            let within = |row: usize| group(row) == cell;
            let (saw, weight) = mean(rows, within, |row| y(row, k));
            let said = mean(rows, within, |row| p(row, k)).0;
            let share = weight / total;
            rel += share * (said - saw).powi(2);
            res += share * (saw - base).powi(2);
            // within-group variance of the forecasts and their covariance with what happened (Stephenson et al. 2008)
            let variance = mean(rows, within, |row| (p(row, k) - said).powi(2)).0;
            let covariance = mean(rows, within, |row| (p(row, k) - said) * (y(row, k) - saw)).0;
            inside += share * (2.0 * covariance - variance);
            if saw > 0.0 {
                log_rel += share * saw * (saw / said.max(f64::from(f32::EPSILON))).ln();
            }
        }
    }
    let gap = |keep: &dyn Fn(usize) -> bool, said: &dyn Fn(usize) -> f64, saw: &dyn Fn(usize) -> f64| {
        let (said, weight) = mean(rows, keep, said);
        (said - mean(rows, keep, saw).0).abs() * weight / total
    };
    let equal_width = (0..15).map(|bin| gap(&|row| width(confidence(row)) == bin, &confidence, &hit)).sum();
    let equal_mass = (0..15).map(|bin| gap(&|row| mass(row) == bin, &confidence, &hit)).sum();
    let occurs = |k: usize, row: usize| {
        usize::from(fixed.truth[row]) == k || usize::from(stakeout_core::confusion::argmax(fixed.cases().row(row))) == k
    };
    let scored: Vec<usize> = (0..rows.classes).filter(|k| (0..fixed.truth.len()).any(|row| occurs(*k, row))).collect();
    let of_class = |k: usize| -> f64 {
        (0..15).map(|bin| gap(&|row| width(p(row, k)) == bin, &|row| p(row, k), &|row| y(row, k))).sum()
    };
    let classwise = scored.iter().map(|k| of_class(*k)).sum::<f64>() / scored.len() as f64;
    // pairs of different clusters, one by one
    let (mut squared, mut weights) = (0.0, 0.0);
    for bin in 0..15 {
        let (mut over, mut under) = (0.0, 0.0);
        let units = rows.cluster.iter().max().map_or(0, |most| most + 1);
        for (g, h) in (0..units).flat_map(|g| (0..units).map(move |h| (g, h))).filter(|(g, h)| g != h) {
            let of = |cluster: u32| {
                let keep = |row: usize| rows.cluster[row] == cluster && mass(row) == bin;
                let (gap, weight) = mean(rows, keep, |row| confidence(row) - hit(row));
                (gap * weight, weight)
            };
            let ((a, v), (b, w)) = (of(g), of(h));
            over += a * b;
            under += v * w;
        }
        if under > 1e-12 {
            let weight = mean(rows, |row| mass(row) == bin, |_| 1.0).1;
            squared += weight * over / under;
            weights += weight;
        }
    }
    [
        Some(brier),
        Some(rel),
        Some(res + inside),
        Some(uncertainty),
        Some(log),
        Some(log_rel),
        Some(log_rel + entropy - log),
        Some(entropy),
        Some(equal_width),
        Some(equal_mass),
        Some(classwise),
        (weights > 0.0).then(|| squared / weights),
    ]
}

fn points(scores: &ProbabilityScores) -> [Option<f64>; FIGURES] {
    let ProbabilityScores { brier, log_loss, ece, .. } = scores;
    let parts =
        |parts: &Parts| [&parts.score, &parts.reliability, &parts.resolution, &parts.uncertainty].map(|e| e.point);
    let [a, b, c, d] = parts(brier);
    let [e, f, g, h] = parts(log_loss);
    let [i, j, k, l] = [&ece.equal_width, &ece.equal_mass, &ece.classwise, &ece.debiased_squared].map(|e| e.point);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn figures_follow_their_definitions(rows in rows()) {
        let (quick, slow) = (points(&rows.scores(1)), slow(&rows));
        for (figure, (quick, slow)) in quick.iter().zip(slow).enumerate() {
            prop_assert_eq!(quick.is_some(), slow.is_some(), "figure {}", figure);
            let (quick, slow) = (quick.unwrap_or(0.0), slow.unwrap_or(0.0));
            prop_assert!((quick - slow).abs() < 1e-9, "figure {figure}: {quick} not {slow}");
        }
    }

    #[test]
    fn the_parts_of_a_score_sum_up(rows in rows()) {
        let scores = rows.scores(1);
        for parts in [&scores.brier, &scores.log_loss] {
            let [score, reliability, resolution, uncertainty] =
                [&parts.score, &parts.reliability, &parts.resolution, &parts.uncertainty].map(|e| e.point.unwrap());
            prop_assert!((reliability - resolution + uncertainty - score).abs() < 1e-12);
            prop_assert!(reliability >= -1e-12 && uncertainty >= -1e-12);
        }
    }

    #[test]
    fn nothing_depends_on_the_order_of_rows(rows in rows(), turn in 0usize..60) {
        let mut order: Vec<usize> = (0..rows.truth.len()).collect();
        let turn = turn % order.len();
        order.rotate_left(turn);
        order[turn..].reverse();
        let (one, other) = (rows.scores(70), rows.reordered(&order).scores(70));
        // bit for bit
        prop_assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&other).unwrap());
    }

    #[test]
    fn bins_hold_every_row_once(rows in rows()) {
        let bins = rows.scores(20).reliability;
        prop_assert_eq!(bins.iter().map(|bin| bin.n_windows).sum::<usize>(), rows.truth.len());
        prop_assert!((bins.iter().map(|bin| bin.weight).sum::<f64>() - 1.0).abs() < 1e-12);
        for bin in bins {
            let inside = bin.from - 1e-6 <= bin.confidence && bin.confidence <= bin.to + 1e-6;
            prop_assert!(inside, "{bin:?}");
            prop_assert!(bin.accuracy.lo <= bin.accuracy.point || bin.accuracy.lo.is_none());
        }
    }
}

/// A slow twin of the whole resampling: copies the rows of each drawn cluster, as a cluster of its own.
#[test]
fn a_resample_is_a_sample_of_copied_clusters() {
    let rows = stream(3, 16, 4, 1.0);
    let weights = episode_weights(&rows.episode);
    let cases = rows.cases();
    let order = cases.order();
    let layout = Layout::new(&cases, &order, &weights);
    let sums = ClusterSums::new(&cases, &order, &weights, &layout);
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut times = vec![[0.0; LANES]; sums.clusters()];
    for lane in 0..LANES {
        (0..times.len()).for_each(|_| times[(generator.next_u64() % 16) as usize][lane] += 1.0);
    }
    let mut quick = vec![[0.0; LANES]; layout.slots];
    sums.sum(&times, &mut quick);
    for lane in 0..LANES {
        let (mut copied, mut unit) = (Rows { classes: 3, ..Rows::default() }, 0);
        for (cluster, times) in times.iter().enumerate() {
            for _ in 0..times[lane] as usize {
                for row in (0..rows.truth.len()).filter(|row| rows.cluster[*row] as usize == cluster) {
                    copied.push(cases.row(row), rows.truth[row], unit, unit);
                }
                unit += 1;
            }
        }
        let of_copies = slow_fixed(&copied, &rows);
        let total: Vec<f64> = quick.iter().map(|lanes| lanes[lane]).collect();
        for (figure, (quick, slow)) in figures(&layout, &total).into_iter().zip(of_copies).enumerate() {
            let (quick, slow) = (quick.unwrap(), slow.unwrap());
            assert!((quick - slow).abs() < 1e-9, "figure {figure} of lane {lane}: {quick} not {slow}");
        }
    }
}

/// Episodes of windows that share their forecast nearly; labels follow the forecast where `known` is 1, and are drawn
/// from the softmax of its logarithms divided by `known` otherwise.
fn stream(seed: u64, episodes: u32, windows: usize, known: f64) -> Rows {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut unit = || (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut rows = Rows { classes: 3, ..Rows::default() };
    for episode in 0..episodes {
        let centre: Vec<f64> = (0..3).map(|_| 3.0 * unit()).collect();
        for _ in 0..windows {
            let z: Vec<f64> = centre.iter().map(|z| z + 0.3 * unit()).collect();
            let softmax = |factor: f64| {
                let sum: f64 = z.iter().map(|z| (factor * z).exp()).sum();
                z.iter().map(|z| (factor * z).exp() / sum).collect::<Vec<f64>>()
            };
            let (truth, said) = (softmax(1.0 / known), softmax(1.0));
            let (mut left, mut label) = (unit(), 0);
            for (class, p) in truth.iter().enumerate() {
                label = class;
                left -= p;
                if left < 0.0 {
                    break;
                }
            }
            let p: Vec<f32> = said.iter().map(|p| *p as f32).collect();
            rows.push(&p, label as u16, episode, episode);
        }
    }
    rows
}

#[test]
fn a_perfectly_calibrated_stream_has_a_debiased_error_of_about_nothing() {
    const STREAMS: u64 = 40;
    let (mut sum, mut squares, mut inside) = (0.0, 0.0, 0);
    for seed in 0..STREAMS {
        let scores = stream(seed, 60, 5, 1.0).scores(300);
        let squared = scores.ece.debiased_squared;
        let point = squared.point.unwrap();
        sum += point;
        squares += point * point;
        inside += u32::from(squared.lo.unwrap() <= 0.0 && 0.0 <= squared.hi.unwrap());
        // The plain error of the same rows is far from 0: that is what the noise of 60 episodes makes of it.
        assert!(scores.ece.equal_mass.point.unwrap() > 0.04, "{:?}", scores.ece.equal_mass);
    }
    let mean = sum / STREAMS as f64;
    let error = (squares / STREAMS as f64 / STREAMS as f64).sqrt();
    assert!(mean.abs() < 3.0 * error, "mean {mean} with a standard error of {error}");
    assert!(inside >= 34, "{inside} of {STREAMS} intervals hold 0");
}

#[test]
fn an_overconfident_stream_is_found_out_and_its_temperature_mends_it() {
    let rows = stream(11, 300, 5, 3.0);
    let before = rows.scores(300);
    assert!(before.ece.debiased_squared.lo.unwrap() > 0.0, "{:?}", before.ece);
    let weights = episode_weights(&rows.episode);
    let sample = crate::calibrate::Sample::new(3, &rows.probabilities, &rows.truth, &weights).unwrap();
    for method in
        [crate::calibrate::Method::Temperature, crate::calibrate::Method::Isotonic, crate::calibrate::Method::Dirichlet]
    {
        let map = crate::calibrate::fit(method, &sample).unwrap();
        let mut other = stream(12, 300, 5, 3.0);
        other.probabilities.chunks_exact_mut(3).for_each(|row| map.apply(row));
        let after = other.scores(300);
        assert!(after.log_loss.score.point < before.log_loss.score.point, "{method:?}");
        assert!(after.ece.debiased.point.unwrap() < before.ece.debiased.point.unwrap() / 2.0, "{method:?}: {after:?}");
    }
}

#[test]
fn figures_by_hand() {
    let mut rows = Rows { classes: 2, ..Rows::default() };
    // certain and right, certain and wrong, in one episode of two windows; half sure and right in one of one
    rows.push(&[1.0, 0.0], 0, 0, 0);
    rows.push(&[1.0, 0.0], 1, 0, 0);
    rows.push(&[0.5, 0.5], 0, 1, 1);
    let scores = rows.scores(50);
    let point = |estimate: &Estimate| estimate.point.unwrap();
    assert_eq!(point(&scores.brier.score), 0.75);
    let worst = -f64::from(f32::EPSILON).ln();
    assert!((point(&scores.log_loss.score) - f64::midpoint(0.5 * worst, 2.0f64.ln())).abs() < 1e-12);
    assert_eq!(point(&scores.ece.equal_width), 0.5);
    let [half, sure] = &scores.reliability[..] else { panic!("two bins: {:?}", scores.reliability) };
    assert_eq!((half.confidence, half.accuracy.point, half.n_windows, half.n_episodes), (0.5, Some(1.0), 1, 1));
    assert_eq!((sure.confidence, sure.accuracy.point, sure.n_windows, sure.n_episodes), (1.0, Some(0.5), 2, 1));
    assert_eq!((sure.to, sure.weight), (1.0, 0.5), "certainty falls in the last bin");
    assert_eq!(scores.ece.debiased.point, None, "no bin holds two episodes");
    assert_eq!(sure.accuracy.lo, None, "one episode has no interval");
}

#[test]
fn a_constant_has_one_bin_and_is_as_calibrated_as_its_frequency() {
    let mut rows = Rows { classes: 2, ..Rows::default() };
    for episode in 0..10 {
        rows.push(&[0.7, 0.3], u16::from(episode >= 7), episode, episode);
    }
    let scores = rows.scores(50);
    assert_eq!(scores.reliability.len(), 1);
    assert!(scores.ece.equal_width.point.unwrap() < 1e-7 && scores.ece.equal_mass.point.unwrap() < 1e-7);
    assert!((scores.brier.score.point.unwrap() - 0.42).abs() < 1e-7);
    assert!(scores.brier.resolution.point.unwrap().abs() < 1e-7, "it tells nothing apart");
}
