//! Little-endian bytes of stored weights, read without trusting a single length in them.

use stakeout_core::ModelError;

/// Reads from the front of a buffer; every read past its end is an error, before anything is allocated.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` items of `size` bytes each.
    pub(crate) fn take(&mut self, count: usize, size: usize) -> Result<&'a [u8], ModelError> {
        match count.checked_mul(size).and_then(|length| self.rest.split_at_checked(length)) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(ModelError::Weights(format!(
                "{count} items of {size} bytes are announced where {} bytes are left",
                self.rest.len()
            ))),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        Ok(self.take(1, N)?.try_into().expect("as many bytes as asked for"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ModelError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ModelError> {
        self.array().map(u64::from_le_bytes)
    }

    /// `count` numbers.
    pub(crate) fn f32s(&mut self, count: usize) -> Result<Vec<f32>, ModelError> {
        let bytes = self.take(count, 4)?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect())
    }

    /// Refuses a magic number or a version that is not the expected one.
    pub(crate) fn expect(&mut self, magic: [u8; 4], version: u32) -> Result<(), ModelError> {
        if self.array()? != magic {
            return Err(ModelError::Weights("they do not start as this model's do".into()));
        }
        match self.u32()? {
            found if found == version => Ok(()),
            found => Err(ModelError::Weights(format!(
                "format {found} where this program reads {version}: use the version that wrote them, or train again"
            ))),
        }
    }

    /// All bytes that are left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes that nobody asked for.
    pub(crate) fn end(self) -> Result<(), ModelError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ModelError::Weights(format!("{} bytes are left over", self.rest.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_before_use() {
        let mut reader = Reader::new(&[1, 0, 0, 0, 9]);
        assert_eq!(reader.u32().unwrap(), 1);
        assert!(reader.f32s(usize::MAX).is_err());
        assert!(reader.u64().is_err());
        assert!(reader.end().is_err());
    }
}
