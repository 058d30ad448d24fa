//! Samples of one clock in the layout that the kernel reads: eight columns side by side.

/// Columns that are processed together: eight `f32` fill an AVX register, eight `f64` an AVX-512 one.
pub const LANES: usize = 8;

/// Samples of some columns that share one clock. Columns are kept in groups of [`LANES`], one group after the other,
/// so that every group is a dense stream; the last group is padded with zeros.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    columns: usize,
    t_ns: Vec<i64>,
    values: Vec<[f32; LANES]>,
}

impl Samples {
    /// Empties the samples and makes room for `columns` columns at the given times (nanoseconds, ascending). Every
    /// value starts as NaN: not observed.
    pub fn reset(&mut self, columns: usize, t_ns: impl IntoIterator<Item = i64>) {
        self.columns = columns;
        self.t_ns.clear();
        self.t_ns.extend(t_ns);
        self.values.clear();
        self.values.resize(columns.div_ceil(LANES) * self.t_ns.len(), [f32::NAN; LANES]);
        let padding = columns % LANES;
        if padding > 0 {
            let last = self.values.len() - self.t_ns.len();
            for row in &mut self.values[last..] {
                row[padding..].fill(0.0);
            }
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.t_ns.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Times of the rows.
    pub fn t_ns(&self) -> &[i64] {
        &self.t_ns
    }

    /// The values of one column, in row order. An infinity counts as not observed.
    ///
    /// # Panics
    /// When `column` is out of range.
    pub fn column_mut(&mut self, column: usize) -> impl Iterator<Item = &mut f32> {
        assert!(column < self.columns, "no column {column}");
        let rows = self.rows();
        let group = column / LANES * rows;
        self.values[group..group + rows].iter_mut().map(move |row| &mut row[column % LANES])
    }

    /// Replaces everything by whole columns.
    ///
    /// # Panics
    /// When a column has another length than the times.
    pub fn fill(&mut self, t_ns: impl IntoIterator<Item = i64>, columns: &[&[f32]]) {
        self.columns = columns.len();
        self.t_ns.clear();
        self.t_ns.extend(t_ns);
        let rows = self.rows();
        assert!(columns.iter().all(|column| column.len() == rows), "every column has one value a row");
        self.values.clear();
        self.values.reserve(columns.len().div_ceil(LANES) * rows);
        let zeros = if columns.len().is_multiple_of(LANES) { Vec::new() } else { vec![0.0; rows] };
        for group in columns.chunks(LANES) {
            let lane = |l: usize| group.get(l).map_or(zeros.as_slice(), |column| &column[..rows]);
            let [a, b, c, d, e, f, g, h] = std::array::from_fn(lane);
            self.values.extend((0..rows).map(|r| [a[r], b[r], c[r], d[r], e[r], f[r], g[r], h[r]]));
        }
    }

    /// The column groups, each rows × [`LANES`].
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[[f32; LANES]]> {
        (0..self.columns.div_ceil(LANES)).map(|g| &self.values[g * self.rows()..(g + 1) * self.rows()])
    }
}
