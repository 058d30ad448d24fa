//! Figures of one vector of sums.

use stakeout_core::calibration::LEAST;

use super::layout::Layout;
use crate::bootstrap::Plan;
use crate::{Estimate, Unit};

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Brier,
    BrierReliability,
    BrierResolution,
    BrierUncertainty,
    LogLoss,
    LogReliability,
    LogResolution,
    LogUncertainty,
    EqualWidth,
    EqualMass,
    Classwise,
    DebiasedSquared,
}

pub(super) const FIGURES: usize = 12;

impl Figure {
    /// The figure with the interval of its resampled values.
    pub(super) fn estimate(self, point: Option<f64>, values: &[f64], unit: Unit, n: usize, plan: &Plan) -> Estimate {
        let (Some(at), false) = (point, matches!(self, Self::Brier | Self::LogLoss)) else {
            return Estimate::new(point, values, unit, n, plan);
        };
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let may_be_negative = matches!(self, Self::BrierResolution | Self::LogResolution | Self::DebiasedSquared);
        let floor = if may_be_negative { f64::NEG_INFINITY } else { 0.0 };
        let moved: Vec<f64> = values.iter().map(|value| (value - mean + at).max(floor)).collect();
        Estimate::new(point, &moved, unit, n, plan)
    }
}

/// All figures, in the order of [`Figure`]; `None` where one is not defined.
pub(super) fn figures(layout: &Layout, sums: &[f64]) -> [Option<f64>; FIGURES] {
    let total = sums[0];
    if total <= 0.0 {
        return [None; FIGURES];
    }
    let (brier, log_loss) = (sums[1] / total, sums[2] / total);
    let [brier_parts, log_parts] = parts(layout, sums);
    let width: f64 = layout.width.used().map(|(_, slot)| (sums[slot + 1] - sums[slot + 2]).abs()).sum();
    let mass: f64 = layout.mass.used().map(|(_, slot)| sums[slot + 2].abs()).sum();
    let classwise: f64 = layout.class.used().map(|(_, slot)| sums[slot].abs()).sum();
    let resolution = |parts: [f64; 2], score: f64| parts[0] + parts[1] - score;
    [
        Some(brier),
        Some(brier_parts[0]),
        Some(resolution(brier_parts, brier)),
        Some(brier_parts[1]),
        Some(log_loss),
        Some(log_parts[0]),
        Some(resolution(log_parts, log_loss)),
        Some(log_parts[1]),
        Some(width / total),
        Some(mass / total),
        Some(classwise / total / layout.scored as f64),
        debiased(layout, sums),
    ]
}

/// `[reliability, uncertainty]` of the Brier score and of the log loss over the groups.
fn parts(layout: &Layout, sums: &[f64]) -> [[f64; 2]; 2] {
    let classes = layout.classes;
    let least = f64::from(LEAST);
    let (mut square, mut divergence) = (0.0, 0.0);
    let mut happened = vec![0.0; classes];
    for (_, slot) in layout.group.used() {
        let weight = sums[slot];
        if weight <= 0.0 {
            continue;
        }
        let (said, saw) = sums[slot + 1..=slot + 2 * classes].split_at(classes);
        for ((said, saw), happened) in said.iter().zip(saw).zip(&mut happened) {
            let (p, y) = (said / weight, saw / weight);
            square += weight * (p - y).powi(2);
            if y > 0.0 {
                divergence += weight * y * (y / p.max(least)).ln();
            }
            *happened += saw;
        }
    }
    let total = sums[0];
    let frequencies = happened.iter().map(|n| n / total);
    let brier = frequencies.clone().map(|y| y * (1.0 - y)).sum();
    let entropy = frequencies.filter(|y| *y > 0.0).map(|y| -y * y.ln()).sum();
    [[square / total, brier], [divergence / total, entropy]]
}

/// Mean over the bins that hold two units or more, by weight, of the mean product of the gaps of two different units.
fn debiased(layout: &Layout, sums: &[f64]) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for (_, slot) in layout.mass.used() {
        let [units, weight, gap, squares, weights] = [0, 1, 2, 3, 4].map(|part| sums[slot + part]);
        let pairs = weight * weight - weights;
        if units >= 2.0 && pairs > 0.0 {
            sum += weight * (gap * gap - squares) / pairs;
            total += weight;
        }
    }
    (total > 0.0).then(|| sum / total)
}
