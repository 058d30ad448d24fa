//! The keys of labelled windows as a file: 30 bytes each, little endian.

use std::io::{Error, ErrorKind, Read, Write};

use stakeout_core::WindowKey;

/// Bytes of a key: episode, start, label, digest.
pub(super) const SIZE: usize = 4 + 8 + 2 + 16;

pub(super) fn write(out: &mut dyn Write, keys: &[WindowKey]) -> std::io::Result<()> {
    keys.iter().try_for_each(|key| {
        out.write_all(&key.episode.to_le_bytes())?;
        out.write_all(&key.t0_ns.to_le_bytes())?;
        out.write_all(&key.label.to_le_bytes())?;
        out.write_all(&key.digest.to_le_bytes())
    })
}

/// Reads `count` keys of windows of so many episodes and classes.
pub(super) fn read(
    from: &mut dyn Read,
    count: usize,
    episodes: usize,
    classes: usize,
) -> std::io::Result<Vec<WindowKey>> {
    let mut keys = Vec::new();
    let mut bytes = [0; SIZE];
    for _ in 0..count {
        from.read_exact(&mut bytes)?;
        let mut rest = &bytes[..];
        let key = WindowKey {
            episode: u32::from_le_bytes(take(&mut rest)),
            t0_ns: i64::from_le_bytes(take(&mut rest)),
            label: u16::from_le_bytes(take(&mut rest)),
            digest: u128::from_le_bytes(take(&mut rest)),
        };
        if key.episode as usize >= episodes || usize::from(key.label) >= classes {
            return Err(Error::new(ErrorKind::InvalidData, "a window of an unknown episode or class"));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("a key has the size of its parts");
    *rest = tail;
    *head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_foreign_ones_are_refused() {
        let keys: Vec<WindowKey> = (0..5u32)
            .map(|i| WindowKey {
                episode: i % 3,
                t0_ns: i64::from(i) - 2,
                label: (i % 2) as u16,
                digest: u128::MAX - u128::from(i),
            })
            .collect();
        let mut bytes = Vec::new();
        write(&mut bytes, &keys).unwrap();
        assert_eq!(bytes.len(), 5 * SIZE);
        assert_eq!(read(&mut &bytes[..], 5, 3, 2).unwrap(), keys);
        assert!(read(&mut &bytes[..], 6, 3, 2).is_err());
        assert!(read(&mut &bytes[..], 5, 2, 2).is_err());
        assert!(read(&mut &bytes[..], 5, 3, 1).is_err());
    }
}
