//! Scalers: moments fitted on one side, applied to every batch.

use std::fmt::Display;

use stakeout_core::batch::check_gather;
use stakeout_core::{Batch, CoreError, InputKind, Moments, Scaler, Schema, Windows};

/// Rows that are gathered at a time: enough to be quick, little enough to stay in memory.
const CHUNK: usize = 1024;

/// Mean and deviation of the given rows: one per feature of a summary, one per channel of a tensor (over its steps,
/// padding left out). Missing values are left out. A deviation of no more than rounding noise (a millionth of the mean)
/// becomes 1, the mean of a column without a value 0.
///
/// Streams in chunks, two passes, sums in row order: the same rows give the same moments.
///
/// # Errors
/// Those of [`Windows::gather`].
pub fn fit_moments(windows: &dyn Windows, rows: &[usize], kind: InputKind) -> Result<Moments, CoreError> {
    let width = moments_len(windows.schema(), kind);
    let mut batch = Batch::new(kind, windows.schema().geometry());
    let (mut n, mut sums) = (vec![0u64; width], vec![0.0; width]);
    for chunk in rows.chunks(CHUNK) {
        windows.gather(chunk, &mut batch)?;
        each_value(&batch, |column, value| {
            n[column] += 1;
            sums[column] += value;
        });
    }
    let mean: Vec<f64> = sums.iter().zip(&n).map(|(sum, &n)| if n == 0 { 0.0 } else { sum / n as f64 }).collect();
    let mut squares = vec![0.0; width];
    for chunk in rows.chunks(CHUNK) {
        windows.gather(chunk, &mut batch)?;
        each_value(&batch, |column, value| squares[column] += (value - mean[column]).powi(2));
    }
    let deviation = (squares.iter().zip(&n).zip(&mean))
        .map(|((square, &n), mean)| {
            let deviation = (square / n as f64).sqrt() as f32;
            // Written so that the NaN of an empty column falls to 1 too.
            if deviation.is_normal() && f64::from(deviation) > 1e-6 * mean.abs() { deviation } else { 1.0 }
        })
        .collect();
    Ok(Moments { mean: mean.into_iter().map(|mean| mean as f32).collect(), deviation })
}

/// How many moments a kind of input has.
pub fn moments_len(schema: &Schema, kind: InputKind) -> usize {
    match kind {
        InputKind::Summary => schema.geometry().features,
        InputKind::Tensor => schema.channels.len(),
    }
}

/// Values per moment within a row: a channel of a tensor shares one over its steps.
fn run_len(batch: &Batch) -> usize {
    match batch.kind() {
        InputKind::Summary => 1,
        InputKind::Tensor => batch.geometry().steps,
    }
}

fn each_value(batch: &Batch, mut visit: impl FnMut(usize, f64)) {
    let run = run_len(batch);
    for row in 0..batch.rows() {
        let own = if batch.kind() == InputKind::Tensor { batch.lengths[row] as usize } else { run };
        for (column, series) in batch.row(row).chunks_exact(run).enumerate() {
            for &value in series[..own].iter().filter(|value| value.is_finite()) {
                visit(column, f64::from(value));
            }
        }
    }
}

/// A window source seen through a scaler. A missing value stays missing.
pub struct Scaled<'a> {
    inner: &'a dyn Windows,
    /// The distinct moments, and which of them each row uses; no moments: raw values.
    moments: Vec<&'a Moments>,
    moments_of_row: Vec<u32>,
}

impl<'a> Scaled<'a> {
    /// Applies `scaler` to `inner`; `host_of_row[row]` is a position in `hosts`, as in
    /// [`SampleIndex`](stakeout_core::SampleIndex).
    ///
    /// # Errors
    /// [`CoreError::Shape`] when `host_of_row` has another length than `inner`; [`CoreError::Invalid`] naming the host
    /// when a host-clean scaler has no moments for it.
    pub fn new(
        inner: &'a dyn Windows,
        scaler: &'a Scaler,
        hosts: &[String],
        host_of_row: &[u32],
    ) -> Result<Self, CoreError> {
        let (moments, moments_of_row) = match scaler {
            Scaler::None => (Vec::new(), Vec::new()),
            Scaler::Global(moments) => (vec![moments], vec![0; inner.len()]),
            Scaler::HostClean(by_host) => {
                if host_of_row.len() != inner.len() {
                    return Err(shape("list of hosts", host_of_row.len(), inner.len()));
                }
                let mut used: Vec<Option<u32>> = vec![None; hosts.len()];
                let mut moments = Vec::new();
                let mut of_row = Vec::with_capacity(inner.len());
                for &host in host_of_row {
                    let Some(name) = hosts.get(host as usize) else {
                        return Err(shape("host", host, format!("less than {}", hosts.len())));
                    };
                    let slot = if let Some(slot) = used[host as usize] {
                        slot
                    } else {
                        moments.push(by_host.get(name).ok_or_else(|| no_moments(name))?);
                        *used[host as usize].insert(moments.len() as u32 - 1)
                    };
                    of_row.push(slot);
                }
                (moments, of_row)
            }
        };
        Ok(Self { inner, moments, moments_of_row })
    }
}

fn shape(what: &'static str, got: impl Display, expected: impl Display) -> CoreError {
    CoreError::Shape { what, got: got.to_string(), expected: expected.to_string() }
}

fn no_moments(host: &str) -> CoreError {
    CoreError::invalid(
        "host",
        host,
        "the host-clean scaler has no calibration stretch of it: record one, declare one in the corpus, or use \
         `scaler = \"global\"`",
    )
}

impl Windows for Scaled<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn schema(&self) -> &Schema {
        self.inner.schema()
    }

    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
        check_gather(self.len(), self.schema(), rows, into)?;
        self.inner.gather(rows, into)?;
        if self.moments.is_empty() {
            return Ok(());
        }
        let (run, width) = (run_len(into), into.row_len());
        for &moments in &self.moments {
            check_moments(moments, self.schema(), into.kind())?;
        }
        for (&row, values) in rows.iter().zip(into.values.chunks_exact_mut(width)) {
            standardise(self.moments[self.moments_of_row[row] as usize], run, values);
        }
        Ok(())
    }
}

/// Checks that moments are those of a kind of input.
///
/// # Errors
/// [`CoreError::Shape`].
pub fn check_moments(moments: &Moments, schema: &Schema, kind: InputKind) -> Result<(), CoreError> {
    let needed = moments_len(schema, kind);
    if moments.mean.len() == needed && moments.deviation.len() == needed {
        return Ok(());
    }
    Err(shape("scaler", moments.mean.len(), format!("{needed} moments of the {kind} input")))
}

/// Centres and scales every row of a batch by the same moments, which [`check_moments`] has seen. A missing value stays
/// missing.
pub fn apply(moments: &Moments, batch: &mut Batch) {
    let (run, width) = (run_len(batch), batch.row_len());
    for values in batch.values.chunks_exact_mut(width) {
        standardise(moments, run, values);
    }
}

fn standardise(moments: &Moments, run: usize, values: &mut [f32]) {
    let pairs = moments.mean.iter().zip(&moments.deviation);
    for (series, (mean, deviation)) in values.chunks_exact_mut(run).zip(pairs) {
        for value in series {
            *value = (*value - mean) / deviation;
        }
    }
}
