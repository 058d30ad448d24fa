//! What a window holds, as 128 bits: the duplicate check compares content without seeing a feature.

use stakeout_core::SourceRows;

/// Raw rows of an episode, ready to be digested window by window.
pub(crate) struct Content<'a> {
    sources: Vec<SourceContent<'a>>,
}

struct SourceContent<'a> {
    rows: &'a SourceRows,
    /// Little-endian `f64`, with one pattern for everything that is not observed and one zero.
    bytes: Vec<u8>,
    /// Observed values before each row.
    observed_before: Vec<u32>,
}

impl<'a> Content<'a> {
    pub(crate) fn new(sources: &'a [SourceRows]) -> Self {
        let sources = sources
            .iter()
            .map(|rows| {
                let mut bytes = Vec::with_capacity(rows.values.len() * 8);
                for &value in &rows.values {
                    // Adding zero turns -0 into +0.
                    let value = if value.is_finite() { value + 0.0 } else { f64::NAN };
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
                let mut observed_before = vec![0];
                let mut observed = 0;
                for row in rows.values.chunks_exact(rows.channels.len().max(1)) {
                    observed += row.iter().filter(|value| value.is_finite()).count() as u32;
                    observed_before.push(observed);
                }
                SourceContent { rows, bytes, observed_before }
            })
            .collect();
        Self { sources }
    }

    /// Number of observed values in `[from_ns, to_ns)` and their digest: 128 bits of BLAKE3 over every source's
    /// channels, number of rows and raw values. Times take no part; without an observed value the digest is 0.
    pub(crate) fn digest(&self, from_ns: i64, to_ns: i64) -> (u32, u128) {
        let mut hasher = blake3::Hasher::new();
        let mut observed = 0;
        for SourceContent { rows, bytes, observed_before } in &self.sources {
            let width = rows.channels.len();
            let lo = rows.t_wall_ns.partition_point(|t| *t < from_ns);
            let hi = rows.t_wall_ns.partition_point(|t| *t < to_ns).max(lo);
            if lo == hi || width == 0 {
                continue;
            }
            observed += observed_before[hi] - observed_before[lo];
            hasher.update(&(width as u64).to_le_bytes());
            for &channel in &rows.channels {
                hasher.update(&(channel as u64).to_le_bytes());
            }
            hasher.update(&((hi - lo) as u64).to_le_bytes());
            hasher.update(&bytes[lo * width * 8..hi * width * 8]);
        }
        if observed == 0 {
            return (0, 0);
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        (observed, u128::from_le_bytes(first))
    }
}
