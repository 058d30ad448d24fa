//! Sums a cluster: what a clustered bootstrap adds up with random multiplicities.

use stakeout_core::calibration::LEAST;

use super::Cases;
use super::layout::Layout;
use crate::bootstrap::LANES;

/// The sums of [`Layout`], a sparse row a cluster.
pub(super) struct ClusterSums {
    slots: usize,
    /// The values of cluster g are those from `start[g]` to `start[g + 1]`.
    start: Vec<usize>,
    slot: Vec<u32>,
    value: Vec<f64>,
}

impl ClusterSums {
    /// Adds up rows; `order` brings those of a cluster together.
    pub(super) fn new(cases: &Cases<'_>, order: &[usize], weights: &[f64], layout: &Layout) -> Self {
        let mut out = Self { slots: layout.slots, start: vec![0], slot: Vec::new(), value: Vec::new() };
        let mut desk = Desk { sums: vec![0.0; layout.slots], touched: Vec::new(), marked: vec![false; layout.slots] };
        for cluster in order.chunk_by(|&a, &b| cases.cluster[a] == cases.cluster[b]) {
            for &row in cluster {
                desk.add_row(cases, row, weights[row], layout);
            }
            desk.close_unit(layout);
            desk.touched.sort_unstable();
            for &slot in &desk.touched {
                out.slot.push(slot as u32);
                out.value.push(desk.sums[slot]);
                desk.sums[slot] = 0.0;
                desk.marked[slot] = false;
            }
            desk.touched.clear();
            out.start.push(out.slot.len());
        }
        out
    }

    pub(super) fn clusters(&self) -> usize {
        self.start.len() - 1
    }

    /// How many clusters have something at a slot.
    pub(super) fn holding(&self, slot: usize) -> usize {
        self.slot.iter().filter(|own| **own as usize == slot).count()
    }

    /// Each cluster once.
    pub(super) fn whole(&self) -> Vec<f64> {
        let mut once = [0.0; LANES];
        once[0] = 1.0;
        let mut into = vec![[0.0; LANES]; self.slots];
        self.sum(&vec![once; self.clusters()], &mut into);
        into.iter().map(|lanes| lanes[0]).collect()
    }

    /// Each cluster as many times as told, in the order of clusters; several resamples in one pass, since there is more
    /// to read than a cache holds.
    pub(super) fn sum(&self, times: &[[f64; LANES]], into: &mut [[f64; LANES]]) {
        into.fill([0.0; LANES]);
        for (cluster, times) in times.iter().enumerate() {
            let own = self.start[cluster]..self.start[cluster + 1];
            for (slot, value) in self.slot[own.clone()].iter().zip(&self.value[own]) {
                for (into, times) in into[*slot as usize].iter_mut().zip(times) {
                    *into += times * value;
                }
            }
        }
    }
}

/// The sums of the cluster at hand.
struct Desk {
    sums: Vec<f64>,
    touched: Vec<usize>,
    marked: Vec<bool>,
}

impl Desk {
    fn add(&mut self, slot: usize, value: f64) {
        self.sums[slot] += value;
        if !self.marked[slot] {
            self.marked[slot] = true;
            self.touched.push(slot);
        }
    }

    fn add_row(&mut self, cases: &Cases<'_>, row: usize, weight: f64, layout: &Layout) {
        let (p, truth) = (cases.row(row), usize::from(cases.truth[row]));
        let called = usize::from(layout.called[row]);
        let (confidence, hit) = (f64::from(p[called]), if called == truth { 1.0 } else { 0.0 });
        let happened = |class: usize| if class == truth { 1.0 } else { 0.0 };
        let brier: f64 = p.iter().enumerate().map(|(k, p)| (f64::from(*p) - happened(k)).powi(2)).sum();
        self.add(0, weight);
        self.add(1, weight * brier);
        self.add(2, -weight * f64::from(p[truth].max(LEAST)).ln());

        let slot = layout.width.of(layout.width_of[row]);
        self.add(slot, weight);
        self.add(slot + 1, weight * confidence);
        self.add(slot + 2, weight * hit);
        let slot = layout.mass.of(layout.mass_of[row]);
        self.add(slot + 1, weight);
        self.add(slot + 2, weight * (confidence - hit));
        let group = layout.group.of(layout.group_of[row]);
        self.add(group, weight);
        for (class, p) in p.iter().enumerate() {
            let probability = weight * f64::from(*p);
            self.add(group + 1 + class, probability);
            if let Some(slot) = layout.class_of(class, *p) {
                self.add(slot, probability - weight * happened(class));
            }
        }
        self.add(group + 1 + layout.classes + truth, weight);
    }

    /// What is known of a unit only once it is complete: that it is one, and the squares of its sums.
    fn close_unit(&mut self, layout: &Layout) {
        for (_, slot) in layout.mass.used() {
            let (weight, gap) = (self.sums[slot + 1], self.sums[slot + 2]);
            if weight > 0.0 {
                self.add(slot, 1.0);
                self.add(slot + 3, gap * gap);
                self.add(slot + 4, weight * weight);
            }
        }
    }
}
