use proptest::prelude::*;

use super::*;

/// Numbers between -1 and 1 from a seed.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| draw()).collect()
}

/// The slow twin, in double precision.
fn slow(
    size: Size,
    a: Strided<'_>,
    (b, b_row): (&[f32], usize),
    (c, c_row): (&[f32], usize),
    start: Start,
) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..size.rows {
        for j in 0..size.columns {
            let held = f64::from(match start {
                Start::Zero => 0.0,
                Start::Held => c[i * c_row + j],
                Start::Rows(from, from_row) => from[i * from_row + j],
            });
            let product = |k: usize| f64::from(a.values[i * a.row + k * a.column]) * f64::from(b[k * b_row + j]);
            out.push(held + (0..size.inner).map(product).sum::<f64>());
        }
    }
    out
}

fn check(size: Size, [a_gap, b_gap, c_gap]: [usize; 3], turned: bool, start: Start<'_>, seed: u64) {
    let Size { rows, columns, inner } = size;
    let a_width = if turned { rows } else { inner } + a_gap;
    let a_values = numbers(seed, if turned { inner } else { rows } * a_width);
    let a = Strided::rows(&a_values, a_width);
    let a = if turned { a.transposed() } else { a };
    let (b_row, c_row) = (columns + b_gap, columns + c_gap);
    // b ends with its last number: nothing behind it may be read
    let b = numbers(seed + 1, (inner * b_row).saturating_sub(b_gap));
    let before = numbers(seed + 2, rows * c_row);
    let expected = slow(size, a, (&b, b_row), (&before, c_row), start);
    for level in Level::all() {
        let mut c = before.clone();
        multiply(level, size, a, (&b, b_row), (&mut c, c_row), start);
        for (i, (c, before)) in c.chunks(c_row.max(1)).zip(before.chunks(c_row.max(1))).enumerate() {
            for (j, got) in c[..columns].iter().enumerate() {
                let expected = expected[i * columns + j];
                let limit = 1e-6 * (inner as f64 + 1.0).sqrt() * 4.0;
                assert!(
                    (f64::from(*got) - expected).abs() <= limit,
                    "{size:?} {level:?} at {i}, {j}: {got} for {expected}"
                );
            }
            assert_eq!(c[columns..], before[columns..], "between the rows of {size:?}");
        }
    }
}

#[test]
fn every_height_and_width_of_a_tile() {
    for rows in 0..=14 {
        for columns in (0..=34).chain([63, 64, 65, 96, 101, 127, 128, 129, 192]) {
            check(Size { rows, columns, inner: 5 }, [0; 3], rows % 2 == 0, Start::Held, 7);
        }
    }
}

#[test]
fn long_sums_are_made_in_slabs() {
    for inner in [0, 1, 95, 96, 97, 192, 193, 700] {
        let from = numbers(5, 7 * 40);
        for start in [Start::Zero, Start::Held, Start::Rows(&from, 40), Start::Rows(&from, 0)] {
            check(Size { rows: 7, columns: 37, inner }, [1, 2, 3], false, start, 3);
        }
    }
}

proptest! {
    #[test]
    fn as_the_slow_product(
        (rows, columns, inner) in (0usize..40, 0usize..140, 0usize..120),
        gaps in prop::array::uniform3(0usize..5), turned: bool, held in 0usize..3, seed in 0u64..1000,
    ) {
        let from = numbers(seed + 3, rows * columns);
        let start = [Start::Zero, Start::Held, Start::Rows(&from, columns)][held];
        check(Size { rows, columns, inner }, gaps, turned, start, seed);
    }

    #[test]
    fn a_number_does_not_depend_on_the_others(
        (rows, columns, inner) in (1usize..30, 1usize..140, 0usize..200), pick in (0usize..1000, 0usize..1000), seed in 0u64..1000,
    ) {
        let (a, b) = (numbers(seed, rows * inner), numbers(seed + 1, inner * columns));
        let (i, j) = (pick.0 % rows, pick.1 % columns);
        for level in Level::all() {
            let mut c = vec![0.0; rows * columns];
            multiply(level, Size { rows, columns, inner }, Strided::rows(&a, inner), (&b, columns), (&mut c, columns), Start::Zero);
            let column: Vec<f32> = b.chunks(columns).map(|row| row[j]).collect();
            let mut alone = [0.0];
            let own = Strided::rows(&a[i * inner..(i + 1) * inner], inner);
            multiply(level, Size { rows: 1, columns: 1, inner }, own, (&column, 1), (&mut alone, 1), Start::Zero);
            prop_assert_eq!(alone[0].to_bits(), c[i * columns + j].to_bits());
        }
    }

    #[test]
    fn transposed_twice_is_the_same((rows, columns) in (0usize..40, 0usize..40)) {
        let values = numbers(1, rows * columns);
        let (mut once, mut twice) = (values.clone(), values.clone());
        transpose(&values, [rows, columns], &mut once);
        prop_assert!((0..rows * columns).all(|at| once[at % columns * rows + at / columns] == values[at]));
        transpose(&once, [columns, rows], &mut twice);
        prop_assert_eq!(twice, &values[..]);
        let mut apart = vec![7.0; columns * (rows + 3)];
        transpose_rows(&values, [rows, columns], (&mut apart, rows + 3));
        for (row, expected) in apart.chunks(rows + 3).zip(once.chunks(rows.max(1))) {
            prop_assert_eq!(&row[..rows], expected);
            prop_assert_eq!(&row[rows..], &[7.0; 3]);
        }
    }
}

#[test]
fn a_matrix_that_is_too_short_is_refused() {
    let size = Size { rows: 2, columns: 3, inner: 4 };
    let run = |a: usize, b: usize, c: usize, c_row: usize| {
        let (a, b, mut c) = (vec![0.0; a], vec![0.0; b], vec![0.0; c]);
        std::panic::catch_unwind(move || {
            multiply(Level::best(), size, Strided::rows(&a, 4), (&b, 3), (&mut c, c_row), Start::Zero);
        })
        .is_ok()
    };
    assert!(run(8, 12, 6, 3) && run(8, 12, 8, 5));
    assert!(
        !run(7, 12, 6, 3) && !run(8, 11, 6, 3) && !run(8, 12, 5, 3) && !run(8, 12, 9, 2) && !run(8, 12, 6, usize::MAX)
    );
}
