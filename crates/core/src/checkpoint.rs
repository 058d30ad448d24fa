//! The checkpoint container: one file that holds a fitted model and everything needed to refuse the wrong data.
//!
//! Layout, all integers little endian: 8 bytes magic `STAKEOUT`, `u32` format version, `u64` header length, `u64`
//! weight length, header (JSON), weights, 32 bytes BLAKE3 of all bytes before. There is no time and no path in it, so
//! that the same training gives the same bytes.

use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    BaseModel, Calibration, CoreError, Device, InputKind, LoadContext, ModelError, ModelKind, ModelRegistry, Scaler,
    Schema, SchemaHash, files,
};

const MAGIC: [u8; 8] = *b"STAKEOUT";
/// The format version that this code writes.
pub const FORMAT: u32 = 1;
const PREFIX: u64 = 28;
const DIGEST: u64 = 32;
const MAX_HEADER: u64 = 256 << 20;

/// Where a model comes from and what it may be fed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointHeader {
    /// Kind of model.
    pub kind: ModelKind,
    /// Its hyper-parameters, complete.
    pub config: serde_json::Value,
    /// What it is fed: summary or tensor.
    pub input: InputKind,
    /// What its input means.
    pub schema: Schema,
    /// Hash of `schema`.
    pub schema_hash: SchemaHash,
    /// How its input is scaled.
    pub scaler: Scaler,
    /// What its probabilities go through before anybody sees them; absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The recipe that held data out.
    pub recipe: String,
    /// The held-out groups of the test side, by name; empty for a model refitted on all rows.
    pub held_out: Vec<String>,
    /// Whether a test side was scored: false for a model refitted on all rows.
    pub tested: bool,
    /// The seed.
    pub seed: u64,
    /// Whether the training data was simulated.
    pub simulated: bool,
    /// Version of the code that wrote it.
    pub code_version: String,
}

/// A fitted model with its header, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Where the model comes from and what it may be fed.
    pub header: CheckpointHeader,
    /// The bytes of [`BaseModel::weights`].
    pub weights: Vec<u8>,
}

impl Checkpoint {
    /// Writes the file through a temporary one.
    ///
    /// # Errors
    /// [`CoreError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), CoreError> {
        files::write_atomic(path, &self.to_bytes(path)?)
    }

    fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, CoreError> {
        let header = serde_json::to_vec(&self.header).map_err(|e| refused(path, format!("its header: {e}")))?;
        let mut bytes = Vec::with_capacity(header.len() + self.weights.len() + (PREFIX + DIGEST) as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(self.weights.len() as u64).to_le_bytes());
        bytes.write_all(&header).and_then(|()| bytes.write_all(&self.weights)).expect("a vector takes all bytes");
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// Reads a file: lengths are checked against the file before anything is allocated, then the digest.
    ///
    /// # Errors
    /// [`CoreError::Io`], or [`CoreError::Checkpoint`] with what is wrong and what to do.
    pub fn read(path: &Path) -> Result<Self, CoreError> {
        let io = |source| CoreError::io("reading", path, source);
        let mut file = files::open_regular(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let size = metadata.len();
        if size < PREFIX + DIGEST {
            return Err(refused(path, format!("it is {size} bytes long, too short to be one")));
        }
        let mut prefix = [0u8; PREFIX as usize];
        file.read_exact(&mut prefix).map_err(io)?;
        if prefix[..8] != MAGIC {
            return Err(refused(path, "it does not start as one; is this the `checkpoint.stk` of a run?"));
        }
        let word = |at: usize| u64::from_le_bytes(prefix[at..at + 8].try_into().expect("eight bytes"));
        let version = u32::from_le_bytes(prefix[8..12].try_into().expect("four bytes"));
        match version {
            FORMAT => {}
            0 => return Err(refused(path, "format version 0 was never written: the file is damaged")),
            newer => {
                return Err(refused(
                    path,
                    format!("format version {newer} is newer than this program's {FORMAT}: use a newer stakeout"),
                ));
            }
        }
        let (header_length, weight_length) = (word(12), word(20));
        let expected = header_length.checked_add(weight_length).and_then(|n| n.checked_add(PREFIX + DIGEST));
        if header_length > MAX_HEADER || expected != Some(size) {
            return Err(refused(
                path,
                format!(
                    "it is {size} bytes long, but announces a header of {header_length} and weights of \
                     {weight_length} bytes: it was cut short or damaged, train again or copy it again"
                ),
            ));
        }
        let mut body = vec![0u8; (header_length + weight_length) as usize];
        file.read_exact(&mut body).map_err(io)?;
        let mut digest = [0u8; DIGEST as usize];
        file.read_exact(&mut digest).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&prefix).update(&body);
        if *hasher.finalize().as_bytes() != digest {
            return Err(refused(path, "its digest does not match its content: a byte was changed, copy it again"));
        }
        let weights = body.split_off(header_length as usize);
        let header: CheckpointHeader =
            serde_json::from_slice(&body).map_err(|e| refused(path, format!("its header: {e}")))?;
        header.schema.check()?;
        if header.schema.hash() != header.schema_hash {
            return Err(refused(path, "its schema and its schema hash disagree"));
        }
        if let Some(map) = &header.calibration {
            map.check_classes(header.schema.classes.len())?;
        }
        Ok(Self { header, weights })
    }

    /// Reads a file and rebuilds its model with the registry's loader.
    ///
    /// # Errors
    /// As [`Checkpoint::read`]; [`CoreError::Invalid`] for a kind that the registry does not know;
    /// [`ModelError::Weights`] when weights and configuration disagree.
    pub fn load(
        path: &Path,
        registry: &ModelRegistry,
        device: Device,
    ) -> Result<(CheckpointHeader, Box<dyn BaseModel>), ModelError> {
        let Self { header, weights } = Self::read(path)?;
        let model = (registry.get(header.kind.as_str())?.load)(&LoadContext {
            config: &header.config,
            geometry: header.schema.geometry(),
            weights: &weights,
            device,
        })?;
        Ok((header, model))
    }
}

fn refused(path: &Path, why: impl Into<String>) -> CoreError {
    CoreError::Checkpoint { path: path.display().to_string(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelSpec, View, WindowSpec, channels, class};

    fn example() -> Checkpoint {
        let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
        let schema = Schema::new(all, View::Realistic, WindowSpec::default(), class::built_in(), 1).unwrap();
        Checkpoint {
            header: CheckpointHeader {
                kind: ModelKind::new("constant").unwrap(),
                config: serde_json::json!({}),
                input: InputKind::Summary,
                schema_hash: schema.hash(),
                schema,
                scaler: Scaler::None,
                calibration: None,
                recipe: "host".into(),
                held_out: vec!["host-1".into()],
                tested: true,
                seed: 1,
                simulated: true,
                code_version: "0.1.0".into(),
            },
            weights: (0..200).collect(),
        }
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.stk");
        example().write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), example());
    }

    #[test]
    fn a_calibration_map_travels_along_and_one_of_other_classes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.stk");
        let mut checkpoint = example();
        let plain = checkpoint.to_bytes(&path).unwrap();
        assert!(!String::from_utf8_lossy(&plain).contains("calibration\":"), "no map, no word of it: older files");
        checkpoint.header.calibration = Some(Calibration::Temperature { t: 1.7 });
        checkpoint.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
        checkpoint.header.calibration =
            Some(Calibration::Dirichlet { weights: vec![vec![1.0, 0.0], vec![0.0, 1.0]], bias: vec![0.0; 2] });
        checkpoint.write(&path).unwrap();
        let message = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(message.contains("2 classes but 5 classes is needed"), "{message}");
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.stk");
        let bytes = example().to_bytes(&path).unwrap();
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Checkpoint::read(&path).is_err(), "byte {i}");
        }
        for length in (0..bytes.len()).step_by(97) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Checkpoint::read(&path).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_newer_format_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.stk");
        let mut bytes = example().to_bytes(&path).unwrap();
        bytes[8] = 2;
        std::fs::write(&path, &bytes).unwrap();
        let message = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(message.contains("format version 2 is newer than this program's 1"), "{message}");
    }
}
