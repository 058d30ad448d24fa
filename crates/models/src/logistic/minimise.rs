//! The loop: L-BFGS (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4; argmin's) with the line search of
//! Moré and Thuente (ACM TOMS 20, 1994), restarted every epoch.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient, State as _, TerminationReason};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use stakeout_core::{EpochRecord, FitContext, InputKind, Labelled, ModelError};

use super::LogisticConfig;
use super::objective::{Objective, Value};
use super::standard::Standard;
use crate::bytes::Reader;
use crate::trees::binned::each_block;
use crate::weighted::Weighted;

/// Steps of an epoch, over which L-BFGS remembers.
const STEPS: usize = 25;
/// Pairs of differences that it remembers.
const MEMORY: usize = 10;
/// Norm of the gradient at which the objective, a mean over rows, is at its minimum.
const GRADIENT: f64 = 1e-6;
/// Share of the objective that an epoch must gain for another to follow.
const GAIN: f64 = 1e-9;

const MAGIC: [u8; 4] = *b"SLOS";
const FORMAT: u32 = 1;

/// The scaling of the inputs and the parameters at the minimum.
pub(super) fn fit(
    config: &LogisticConfig,
    train: Labelled<'_>,
    cx: &mut FitContext<'_>,
) -> Result<(Standard, Vec<f64>), ModelError> {
    train.check()?;
    let classes = train.windows.schema().geometry().classes;
    let Weighted { rows, labels, weights } = Weighted::of(&train)?;
    let standard = Standard::of(train.windows, &rows, &weights)?;
    let width = standard.width();
    let mut values = vec![0.0; rows.len() * width];
    let mut out = values.chunks_exact_mut(width);
    each_block(train.windows, InputKind::Summary, &rows, |_, block| {
        let raw = block.chunks_exact(train.windows.schema().geometry().features);
        raw.zip(&mut out).for_each(|(raw, out)| standard.apply(raw, out));
    })?;
    let objective = Objective { rows: &values, width, labels: &labels, weights: &weights, classes, l2: config.l2 };

    let mut parameters = vec![0.0; objective.parameters()];
    let mut value = objective.evaluate(&parameters);
    let settings = serde_json::to_string(config).expect("settings serialise");
    // the loss of no model and the first slopes tell data apart
    let digest = value.gradient.iter().fold(value.loss.to_bits(), |d, g| d.rotate_left(7) ^ g.to_bits());
    let name = format!("{settings} rows {} inputs {width} classes {classes} data {digest:016x}", labels.len());
    let mut epoch = 0;
    if let Some(state) = cx.observer.load_state()? {
        (epoch, parameters) = read_state(&state, &name, objective.parameters())?;
        value = objective.evaluate(&parameters);
    }

    let epochs = config.max_steps.div_ceil(STEPS);
    while epoch < epochs {
        if cx.observer.cancelled() {
            cx.observer.save_state(&write_state(&name, epoch, &parameters))?;
            return Err(ModelError::Cancelled);
        }
        let steps = STEPS.min(config.max_steps - epoch * STEPS);
        let converged = descend(&objective, steps, &mut parameters)?;
        let before = std::mem::replace(&mut value, objective.evaluate(&parameters)).objective;
        epoch += 1;
        cx.observer.epoch(&EpochRecord {
            epoch,
            train_loss: value.loss,
            validation_loss: None,
            validation_macro_f1: None,
            learning_rate: 1.0,
        })?;
        let is_done = converged || before - value.objective <= GAIN * before.abs();
        cx.observer.progress(if is_done { epochs } else { epoch } as u64, epochs as u64);
        if is_done {
            return Ok((standard, parameters));
        }
        cx.observer.save_state(&write_state(&name, epoch, &parameters))?;
    }
    cx.observer.note(&format!(
        "stopped after {} steps with a gradient of {:.1e}: for the very minimum, raise max_steps",
        config.max_steps,
        value.gradient.iter().map(|g| g * g).sum::<f64>().sqrt()
    ));
    Ok((standard, parameters))
}

/// Goes down up to `steps` steps from the parameters; true where there is nothing left to go.
fn descend(objective: &Objective<'_>, steps: usize, parameters: &mut Vec<f64>) -> Result<bool, ModelError> {
    let foreign = |source: Error| ModelError::Foreign { context: "minimising the loss".into(), source: source.into() };
    let search = MoreThuenteLineSearch::new();
    let solver = LBFGS::new(search, MEMORY).with_tolerance_grad(GRADIENT).map_err(foreign)?;
    let problem = Remembering { objective, last: RefCell::default() };
    let start = parameters.clone();
    // a line search that finds no lower point ends the run with the best one so far: that is as far as double precision
    // goes, and no error
    let result = Executor::new(problem, solver)
        .configure(|state| state.param(start).max_iters(steps as u64))
        .ctrlc(false)
        .timer(false)
        .run()
        .map_err(foreign)?;
    if let Some(best) = result.state.get_best_param() {
        parameters.clone_from(best);
    }
    Ok(matches!(result.state.get_termination_reason(), Some(TerminationReason::SolverConverged)))
}

/// The objective, which gives cost and gradient at once, for a solver that asks for one after the other.
struct Remembering<'a> {
    objective: &'a Objective<'a>,
    last: RefCell<Option<(Vec<f64>, Value)>>,
}

impl Remembering<'_> {
    fn at<T>(&self, parameters: &[f64], take: impl FnOnce(&Value) -> T) -> T {
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(at, _)| at != parameters) {
            *last = Some((parameters.to_vec(), self.objective.evaluate(parameters)));
        }
        take(&last.as_ref().expect("just filled").1)
    }
}

impl CostFunction for Remembering<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.at(parameters, |value| value.objective))
    }
}

impl Gradient for Remembering<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.at(parameters, |value| value.gradient.clone()))
    }
}

fn write_state(name: &str, epoch: usize, parameters: &[f64]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((name.len() as u32).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend((epoch as u32).to_le_bytes());
    bytes.extend(parameters.iter().flat_map(|p| p.to_le_bytes()));
    bytes
}

fn read_state(bytes: &[u8], name: &str, count: usize) -> Result<(usize, Vec<f64>), ModelError> {
    let mut reader = Reader::new(bytes);
    reader.expect(MAGIC, FORMAT)?;
    let length = reader.u32()? as usize;
    if reader.take(length, 1)? != name.as_bytes() {
        return Err(ModelError::Weights("the saved state is of another fit: start again without it".into()));
    }
    let epoch = reader.u32()? as usize;
    let stored = reader.take(count, 8)?.chunks_exact(8);
    let parameters: Vec<f64> = stored.map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect();
    reader.end()?;
    match parameters.iter().find(|p| !p.is_finite()) {
        Some(odd) => Err(ModelError::Weights(format!("coefficient {odd} in the saved state"))),
        None => Ok((epoch, parameters)),
    }
}
