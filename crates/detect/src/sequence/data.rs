//! Sequences of one data set, interned and flat.

/// Sequences of action ids with their labels, one after the other in one piece of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    ids: Vec<u32>,
    /// Where each sequence ends in `ids`.
    ends: Vec<usize>,
    labels: Vec<Option<bool>>,
    /// When each came; empty as long as none has a time.
    times: Vec<Option<i64>>,
}

impl Sequences {
    /// Adds a sequence; `label` says whether it is anomalous, `None` that nobody knows.
    pub fn push(&mut self, actions: impl IntoIterator<Item = u32>, label: Option<bool>) {
        self.push_at(actions, label, None);
    }

    /// Adds a sequence that came at `t_wall_ns` (Unix nanoseconds); `None`: nobody knows.
    pub fn push_at(&mut self, actions: impl IntoIterator<Item = u32>, label: Option<bool>, t_wall_ns: Option<i64>) {
        self.ids.extend(actions);
        if t_wall_ns.is_some() {
            self.times.resize(self.ends.len(), None);
            self.times.push(t_wall_ns);
        }
        self.ends.push(self.ids.len());
        self.labels.push(label);
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many actions there are in all sequences.
    pub fn actions(&self) -> usize {
        self.ids.len()
    }

    /// The actions of a sequence.
    ///
    /// # Panics
    /// When there is no such sequence.
    pub fn get(&self, row: usize) -> &[u32] {
        let from = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.ids[from..self.ends[row]]
    }

    /// The label of a sequence.
    ///
    /// # Panics
    /// When there is no such sequence.
    pub fn label(&self, row: usize) -> Option<bool> {
        self.labels[row]
    }

    /// When a sequence came, in Unix nanoseconds; `None` where nobody knows.
    pub fn t_wall_ns(&self, row: usize) -> Option<i64> {
        self.times.get(row).copied().flatten()
    }

    /// Each sequence with its label.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u32], Option<bool>)> {
        (0..self.len()).map(|row| (self.get(row), self.labels[row]))
    }

    /// The same actions under other ids.
    pub(super) fn renamed(&self, id: impl Fn(u32) -> u32) -> Self {
        Self {
            ids: self.ids.iter().map(|&own| id(own)).collect(),
            ends: self.ends.clone(),
            labels: self.labels.clone(),
            times: self.times.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_come_back_as_they_went_in() {
        let mut sequences = Sequences::default();
        sequences.push([3, 4], Some(false));
        sequences.push([], None);
        sequences.push([5], Some(true));
        let rows: Vec<_> = sequences.iter().collect();
        assert_eq!(rows, [(&[3, 4][..], Some(false)), (&[][..], None), (&[5][..], Some(true))]);
        assert_eq!((sequences.len(), sequences.actions(), sequences.renamed(|id| id + 1).get(2)), (3, 3, &[6][..]));
        assert_eq!((sequences.t_wall_ns(0), sequences.t_wall_ns(9)), (None, None));
        sequences.push_at([3], None, Some(-5));
        sequences.push([3], None);
        assert_eq!([2, 3, 4].map(|row| sequences.t_wall_ns(row)), [None, Some(-5), None]);
        assert_eq!(sequences.renamed(|id| id).t_wall_ns(3), Some(-5));
    }
}
