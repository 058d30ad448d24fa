//! The boosting loop.

use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use stakeout_core::{EpochRecord, FitContext, Labelled, ModelError};
use stakeout_kernels::histogram::{LANES, Line};
use stakeout_kernels::quantise::{Gradient, Packed, Units};
use stakeout_kernels::split::Rule;

use super::coded::Coded;
use super::forest::Forest;
use super::grow::{Grower, Sample, Workspace};
use super::objective::{self, Scored};
use super::state::{Best, State};
use super::tree::Tree;
use super::{GbtConfig, INPUT, MIN_VALIDATION_WINDOWS, root};
use crate::draw::{choose, complement, share, stream};
use crate::trees::binned::{Binned, Edges};
use crate::weighted::Weighted;

/// Fits a forest: up to the best round where a validation side chooses it, else up to the last.
pub(super) fn boost(config: &GbtConfig, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Forest, ModelError> {
    train.check()?;
    let geometry = train.windows.schema().geometry();
    let (seed, features, classes) = (cx.seed, geometry.features, geometry.classes);
    let weighted = Weighted::of(&train)?;
    let edges = Edges::of(train.windows, INPUT, &weighted.rows, &weighted.weights, config.max_bins, |n, sample| {
        choose(n, sample, &mut generator(seed, 0, Draw::Sketch))
    })?;
    let base = objective::base_margins(&weighted.labels, &weighted.weights, classes);
    let mut training = Side::new(&train, weighted, &edges, &base)?;
    let mut validation = match cx.validation.filter(|_| config.early_stopping_rounds > 0) {
        Some(validation) => {
            validation.check()?;
            let weighted = Weighted::of(&validation)?;
            let enough = weighted.rows.len() >= MIN_VALIDATION_WINDOWS;
            enough.then(|| Side::new(&validation, weighted, &edges, &base)).transpose()?
        }
        None => None,
    };

    let fit = name(config, seed, &training, features, classes);
    let mut state = match cx.observer.load_state()? {
        Some(bytes) => State::from_bytes(&bytes, &fit, features, classes)?,
        None => State { fit, best: None, forest: Forest::new(features, base) },
    };
    for (tree, output) in state.forest.trees().zip((0..objective::outputs(classes)).cycle()) {
        let tree = Tree::from_nodes(tree, &edges).ok_or_else(|| {
            ModelError::Weights("the saved state is of a fit on other data: start again without it".into())
        })?;
        training.add(&tree, output);
        if let Some(side) = &mut validation {
            side.add(&tree, output);
        }
    }

    let coded = Coded::of(&training.binned, &edges);
    let grower = Grower {
        binned: &training.binned,
        coded: &coded,
        edges: &edges,
        rule: Rule { lambda: config.lambda, min_child_weight: config.min_child_weight, min_gain: config.min_gain },
        max_depth: config.max_depth,
        learning_rate: config.learning_rate,
    };
    let mut desks: Vec<Desk> = training.scored.margins.iter().map(|_| Desk::default()).collect();
    let mut lines = Vec::new();
    training.scored.score();
    let mut save_at = next_save(state.forest.rounds());
    loop {
        let round = state.forest.rounds();
        let is_stale = state.best.is_some_and(|best| round - best.round as usize >= config.early_stopping_rounds);
        if round >= config.rounds || is_stale {
            break;
        }
        if cx.observer.cancelled() {
            cx.observer.save_state(&state.to_bytes())?;
            return Err(ModelError::Cancelled);
        }

        let trees = grow_round(config, seed, round, &grower, &mut training.scored, &mut desks, &mut lines);
        for (output, tree) in trees.iter().enumerate() {
            if let Some(side) = &mut validation {
                side.add(tree, output);
            }
            state.forest.push(&tree.nodes);
        }
        let train_loss = training.scored.score();
        let validation_loss = validation.as_mut().map(|side| side.scored.score());
        let round = round + 1;
        if let Some(loss) = validation_loss
            && state.best.is_none_or(|best| loss < best.loss)
        {
            state.best = Some(Best { round: round as u32, loss });
        }
        cx.observer.epoch(&EpochRecord {
            epoch: round,
            train_loss,
            validation_loss,
            validation_macro_f1: validation.as_ref().and_then(|side| side.scored.macro_f1()),
            learning_rate: config.learning_rate,
        })?;
        cx.observer.progress(round as u64, config.rounds as u64);
        if round == save_at {
            cx.observer.save_state(&state.to_bytes())?;
            save_at = next_save(round);
        }
    }
    let rounds = state.forest.rounds();
    match state.best {
        Some(best) => {
            cx.observer.note(&format!("kept round {} of {rounds}: validation loss {:.4}", best.round, best.loss));
            state.forest.truncate(best.round as usize);
        }
        None if config.early_stopping_rounds > 0 => cx.observer.note(&match cx.validation {
            None => format!("kept the last round ({rounds}): no validation side chose one"),
            Some(_) => format!(
                "kept the last round ({rounds}): fewer than {MIN_VALIDATION_WINDOWS} validation windows are too few to \
                 choose one"
            ),
        }),
        None => {}
    }
    Ok(state.forest)
}

/// Rounds are further apart the more there is to write, so that all states together are a few times the last one.
fn next_save(round: usize) -> usize {
    round + (round / 4).max(10)
}

/// One side of the fold, binned and scored.
struct Side {
    binned: Binned,
    scored: Scored,
}

impl Side {
    fn new(data: &Labelled<'_>, weighted: Weighted, edges: &Edges, base: &[f32]) -> Result<Self, ModelError> {
        let binned = Binned::of(data.windows, INPUT, &weighted.rows, edges)?;
        Ok(Self { binned, scored: Scored::new(weighted.labels, weighted.weights, base) })
    }

    fn add(&mut self, tree: &Tree, output: usize) {
        tree.add_to(&self.binned, 0..self.binned.rows() as u32, &mut self.scored.margins[output]);
    }
}

/// Working memory of one output.
#[derive(Default)]
struct Desk {
    gradients: Vec<Gradient>,
    packed: Vec<Packed>,
    units: Option<Units>,
    root: Vec<Line>,
    work: Workspace,
}

/// One tree an output, on the same rows and each on its own columns; their values are added to the margins of all rows.
fn grow_round(
    config: &GbtConfig,
    seed: u64,
    round: usize,
    grower: &Grower<'_>,
    scored: &mut Scored,
    desks: &mut [Desk],
    lines: &mut Vec<Line>,
) -> Vec<Tree> {
    let Scored { labels, weights, margins, probabilities, .. } = scored;
    let (n, width, classes) = (labels.len(), grower.edges.0.len(), probabilities.len() / labels.len());
    let rows = choose(n, share(n, config.subsample), &mut generator(seed, round, Draw::Rows));
    let others = complement(n, &rows);
    let first = objective::classes_of_outputs(classes).start;
    desks.par_iter_mut().enumerate().with_max_len(1).for_each(|(output, desk)| {
        let class = output + first;
        desk.gradients.clear();
        desk.gradients.extend(
            probabilities
                .iter()
                .skip(class)
                .step_by(classes)
                .zip(&*labels)
                .zip(&*weights)
                .map(|((p, label), weight)| objective::gradient(*p, usize::from(*label) == class, *weight, classes)),
        );
        let units = Units::of(rows.iter().map(|row| desk.gradients[*row as usize]));
        let mut dither = generator(seed, round, Draw::Rounding(output as u32));
        desk.packed.resize(n, 0);
        for row in &rows {
            desk.packed[*row as usize] = units.round(desk.gradients[*row as usize], dither.next_u64());
        }
        desk.units = Some(units);
        desk.root = desk.work.histograms();
    });
    for desks in desks.chunks_mut(LANES) {
        let (packed, mut roots): (Vec<&[Packed]>, Vec<&mut Vec<Line>>) =
            desks.iter_mut().map(|desk| (&desk.packed[..], &mut desk.root)).unzip();
        root::lines(&packed, &rows, lines);
        root::histograms(grower.binned, grower.coded, &rows, lines, &mut roots);
    }
    margins
        .par_iter_mut()
        .zip(desks)
        .enumerate()
        .with_max_len(1)
        .map(|(output, (margins, desk))| {
            let draw = Draw::Columns(output as u32);
            let columns = choose(width, share(width, config.colsample), &mut generator(seed, round, draw));
            let Desk { gradients, packed, units, root, work } = desk;
            let units = units.expect("each desk was given units above");
            let sample = Sample { gradients, packed, units, rows: &rows, columns: &columns };
            let tree = grower.grow(&sample, std::mem::take(root), work, margins);
            tree.add_to(grower.binned, others.iter().copied(), margins);
            tree
        })
        .collect()
}

/// What a state belongs to. Other data of the same size show by thresholds that are no bin edges.
fn name(config: &GbtConfig, seed: u64, training: &Side, features: usize, classes: usize) -> String {
    let settings = serde_json::to_string(config).expect("settings serialise");
    format!("{settings} seed {seed} rows {} inputs {features} classes {classes}", training.binned.rows())
}

/// What random numbers are drawn for: each purpose and round has a stream of its own, so that a fit goes on from any
/// round without a stored generator.
#[derive(Clone, Copy)]
enum Draw {
    Sketch,
    Rows,
    Columns(u32),
    Rounding(u32),
}

fn generator(seed: u64, round: usize, draw: Draw) -> Xoshiro256PlusPlus {
    let purpose = match draw {
        Draw::Sketch => 0,
        Draw::Rows => 1,
        Draw::Columns(output) => 2 + u64::from(output),
        Draw::Rounding(output) => 1 << 32 | u64::from(output),
    };
    stream(seed, [round as u64, purpose])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ() {
        let first = |seed, round, draw| generator(seed, round, draw).next_u64();
        let draws = [
            first(1, 0, Draw::Rows),
            first(2, 0, Draw::Rows),
            first(1, 1, Draw::Rows),
            first(1, 0, Draw::Columns(0)),
            first(1, 0, Draw::Columns(1)),
            first(1, 0, Draw::Rounding(0)),
            first(1, 0, Draw::Sketch),
        ];
        for (i, a) in draws.iter().enumerate() {
            assert!(draws[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn all_states_together_are_a_few_times_the_last() {
        let saves = std::iter::successors(Some(next_save(0)), |round| Some(next_save(*round)));
        let saves: Vec<usize> = saves.take_while(|round| *round <= 500).collect();
        assert_eq!(saves[..3], [10, 20, 30]);
        assert!(saves.iter().sum::<usize>() < 5 * 500);
        assert!(saves.windows(2).all(|pair| pair[1] - pair[0] <= pair[1] / 5 + 10));
    }
}
