//! The rows of the training side that count.

use stakeout_core::{Labelled, ModelError};

/// The rows with a positive weight: a row of weight 0 is as good as absent.
pub(crate) struct Weighted {
    pub(crate) rows: Vec<usize>,
    pub(crate) labels: Vec<u16>,
    pub(crate) weights: Vec<f32>,
}

impl Weighted {
    /// The rows of `data` that count.
    ///
    /// # Errors
    /// [`ModelError::Data`] when there is none, or more than 32 bits can number.
    pub(crate) fn of(data: &Labelled<'_>) -> Result<Self, ModelError> {
        let rows: Vec<usize> = (0..data.labels.len()).filter(|row| data.weights[*row] > 0.0).collect();
        if rows.is_empty() {
            return Err(ModelError::Data("every window has weight 0".into()));
        }
        if u32::try_from(rows.len()).is_err() {
            return Err(ModelError::Data(format!("{} windows; at most {} can be numbered", rows.len(), u32::MAX)));
        }
        let labels = rows.iter().map(|row| data.labels[*row]).collect();
        let weights = rows.iter().map(|row| data.weights[*row]).collect();
        Ok(Self { rows, labels, weights })
    }
}
