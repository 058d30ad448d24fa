//! A small L-BFGS for smooth, strictly convex functions (Nocedal and Wright 2006, algorithms 7.4 and 7.5).

use std::collections::VecDeque;

/// Remembered pairs of steps and gradient changes.
const MEMORY: usize = 10;
const ITERATIONS: usize = 500;
const HALVINGS: usize = 60;

/// Minimises `f` from `start` until its gradient is no longer than `small`. `f` returns its value and fills the
/// gradient.
pub(super) fn minimise(start: Vec<f64>, small: f64, f: impl Fn(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let mut at = start;
    let mut gradient = vec![0.0; at.len()];
    let mut value = f(&at, &mut gradient);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    let (mut next, mut next_gradient) = (at.clone(), gradient.clone());
    for _ in 0..ITERATIONS {
        if dot(&gradient, &gradient).sqrt() <= small {
            break;
        }
        let mut direction = two_loops(&gradient, &memory);
        let mut slope = dot(&gradient, &direction);
        if slope >= 0.0 {
            memory.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        // Without memory the length of a step is unknown: no longer than 1.
        let mut length = if memory.is_empty() { 1.0 / slope.abs().sqrt().max(1.0) } else { 1.0 };
        let mut fell = false;
        for _ in 0..HALVINGS {
            for ((next, at), d) in next.iter_mut().zip(&at).zip(&direction) {
                *next = at + length * d;
            }
            let reached = f(&next, &mut next_gradient);
            if reached <= value + 1e-4 * length * slope {
                value = reached;
                fell = true;
                break;
            }
            length /= 2.0;
        }
        if !fell {
            break; // as low as the rounding of the value lets it be seen
        }
        let step: Vec<f64> = next.iter().zip(&at).map(|(next, at)| next - at).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(next, g)| next - g).collect();
        if dot(&step, &change) > 0.0 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((step, change));
        }
        std::mem::swap(&mut at, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
    }
    at
}

/// `−H g` with the inverse curvature H that the remembered pairs give.
fn two_loops(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.to_vec();
    let mut shares = Vec::with_capacity(memory.len());
    for (step, change) in memory.iter().rev() {
        let share = dot(step, &q) / dot(step, change);
        add(&mut q, -share, change);
        shares.push(share);
    }
    if let Some((step, change)) = memory.back() {
        let scale = dot(step, change) / dot(change, change);
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((step, change), share) in memory.iter().zip(shares.iter().rev()) {
        let other = dot(change, &q) / dot(step, change);
        add(&mut q, share - other, step);
    }
    q.iter_mut().for_each(|q| *q = -*q);
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(into: &mut [f64], factor: f64, values: &[f64]) {
    for (into, value) in into.iter_mut().zip(values) {
        *into += factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ill_conditioned_valley_is_walked_to_its_bottom() {
        let bottom = [3.0, -2.0, 0.5, 10.0];
        let bend = [1.0, 1e4, 30.0, 0.1];
        let found = minimise(vec![0.0; 4], 1e-9, |x, gradient| {
            let mut value = 0.0;
            for i in 0..4 {
                let away = x[i] - bottom[i];
                // a quartic part, so that it is no plain quadratic
                gradient[i] = bend[i] * (away + away.powi(3));
                value += bend[i] * (away * away / 2.0 + away.powi(4) / 4.0);
            }
            value
        });
        for (found, bottom) in found.iter().zip(bottom) {
            assert!((found - bottom).abs() < 1e-6, "{found} not {bottom}");
        }
    }

    #[test]
    fn at_the_bottom_it_stays() {
        let found = minimise(vec![1.0, 2.0], 1e-9, |x, gradient| {
            gradient[0] = x[0] - 1.0;
            gradient[1] = x[1] - 2.0;
            f64::midpoint(gradient[0] * gradient[0], gradient[1] * gradient[1])
        });
        assert_eq!(found, [1.0, 2.0]);
    }
}
