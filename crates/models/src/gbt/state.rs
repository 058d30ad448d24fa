//! The state of an interrupted fit: the forest so far and what chose its best round.
//!
//! Random numbers are drawn from the seed and the round, and margins are the sum of the trees, so that nothing else
//! needs to be kept.

use stakeout_core::ModelError;

use super::forest::Forest;
use crate::bytes::Reader;

const MAGIC: [u8; 4] = *b"SGBS";
const FORMAT: u32 = 1;

/// The round with the least validation loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    pub(super) round: u32,
    pub(super) loss: f64,
}

/// What an interrupted fit goes on from.
pub(super) struct State {
    /// Text that names the fit: a state of another one is refused.
    pub(super) fit: String,
    pub(super) best: Option<Best>,
    pub(super) forest: Forest,
}

impl State {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let best = self.best.unwrap_or(Best { round: 0, loss: f64::INFINITY });
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend((self.fit.len() as u32).to_le_bytes());
        bytes.extend(self.fit.as_bytes());
        bytes.extend(best.round.to_le_bytes());
        bytes.extend(best.loss.to_le_bytes());
        bytes.extend(self.forest.to_bytes());
        bytes
    }

    /// Reads a state of the fit that `fit` names.
    pub(super) fn from_bytes(bytes: &[u8], fit: &str, features: usize, classes: usize) -> Result<Self, ModelError> {
        let mut reader = Reader::new(bytes);
        reader.expect(MAGIC, FORMAT)?;
        let length = reader.u32()? as usize;
        if reader.take(length, 1)? != fit.as_bytes() {
            return Err(ModelError::Weights("the saved state is of another fit: start again without it".into()));
        }
        let (round, loss) = (reader.u32()?, f64::from_bits(reader.u64()?));
        let forest = Forest::from_bytes(reader.rest(), features, classes)?;
        if loss.is_nan() || round as usize > forest.rounds() {
            return Err(ModelError::Weights(format!("best round {round} of {}, loss {loss}", forest.rounds())));
        }
        Ok(Self { fit: fit.into(), best: (round > 0).then_some(Best { round, loss }), forest })
    }
}
