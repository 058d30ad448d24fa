//! The rows of a node to its two children.

use crate::bins::MISSING;
use crate::split::Side;

/// Whether a row with this bin goes left.
#[inline]
pub fn goes_left(bin: u8, cut: u8, missing: Side) -> bool {
    if bin == MISSING { missing == Side::Left } else { bin <= cut }
}

/// Moves the rows that go left to the front, both sides in their old order, and returns how many they are.
/// `spare` is working memory.
///
/// # Panics
/// When `spare` is shorter than `rows` or a row is out of range of `column`.
pub fn partition(rows: &mut [u32], spare: &mut [u32], column: &[u8], cut: u8, missing: Side) -> usize {
    let (mut left, mut right) = (0, 0);
    for i in 0..rows.len() {
        let row = rows[i];
        let is_left = goes_left(column[row as usize], cut, missing);
        // both are written and one index moves: no branch to mispredict
        rows[left] = row;
        spare[right] = row;
        left += usize::from(is_left);
        right += usize::from(!is_left);
    }
    rows[left..].copy_from_slice(&spare[..right]);
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_two_filters(column in prop::collection::vec(any::<u8>(), 1..200), cut in any::<u8>(), left in any::<bool>()) {
            let missing = if left { Side::Left } else { Side::Right };
            let mut rows: Vec<u32> = (0..column.len() as u32).filter(|row| row % 3 != 0).collect();
            let expected: Vec<u32> = [true, false]
                .iter()
                .flat_map(|side| rows.clone().into_iter().filter(|r| goes_left(column[*r as usize], cut, missing) == *side))
                .collect();
            let mut spare = vec![0; rows.len()];
            let border = partition(&mut rows, &mut spare, &column, cut, missing);
            prop_assert_eq!(&rows, &expected);
            prop_assert_eq!(border, rows.iter().filter(|r| goes_left(column[**r as usize], cut, missing)).count());
        }
    }
}
