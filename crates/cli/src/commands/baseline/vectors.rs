//! Where vectors come from: the windows of a store, or the rows of a table.

use std::collections::BTreeMap;

use anyhow::bail;
use stakeout_core::View;
use stakeout_detect::baseline::{Baselines, HostVectors, Origin, Settings, TableSpec, read_table};
use stakeout_telemetry::WindowKeys;
use stakeout_trainer::summaries::{State, Summaries};
use stakeout_trainer::{Reading, WindowCache};

use super::fit;
use crate::args::{BaselineTrain, TableOptions};
use crate::{Context, interrupt, output};

const DAY_NS: f64 = 86_400e9;

/// The vectors of a host that are learnt from, in time order, with the lengths of their stretches.
pub(super) struct Normal<T> {
    pub(super) values: Vec<T>,
    pub(super) segments: Vec<usize>,
}

impl<T> Default for Normal<T> {
    fn default() -> Self {
        Self { values: Vec::new(), segments: Vec::new() }
    }
}

/// Baselines, and what became of what was read.
pub(super) struct Learnt {
    pub(super) baselines: Baselines,
    /// Older vectors that were left out, by host.
    pub(super) forgotten: BTreeMap<String, usize>,
    pub(super) simulated: bool,
}

impl<T> Normal<T> {
    /// Leaves out the oldest vectors above a number; how many.
    fn keep_newest(&mut self, newest: usize, width: usize) -> usize {
        let surplus = (self.values.len() / width).saturating_sub(newest);
        self.values.drain(..surplus * width);
        let mut rest = surplus;
        for segment in &mut self.segments {
            let cut = rest.min(*segment);
            *segment -= cut;
            rest -= cut;
        }
        self.segments.retain(|&segment| segment > 0);
        surplus
    }
}

/// Reads and learns.
pub(super) fn learn(args: &BaselineTrain, settings: &Settings, context: &Context) -> anyhow::Result<Learnt> {
    if args.data.is_dir() { learn_store(args, settings, context) } else { learn_table(args, settings) }
}

fn learn_store(args: &BaselineTrain, settings: &Settings, context: &Context) -> anyhow::Result<Learnt> {
    no_table_options(&args.table)?;
    if !args.ignore.is_empty() || args.seconds.is_some() {
        bail!("--ignore and --seconds are for tables, {} is a store", args.data.display());
    }
    let keys = WindowKeys::default();
    let inputs = stakeout_features::Inputs { summary: true, tensor: false };
    let reading = Reading {
        view: args.view.parse::<View>()?,
        window: &keys,
        inputs,
        degraded: args.degraded,
        cache: &WindowCache::NONE,
    };
    let summaries = Summaries::open(&args.data, &reading)?;
    let width = summaries.schema.geometry().features;
    let mut hosts: BTreeMap<String, Normal<f32>> = BTreeMap::new();
    let mut forgotten: BTreeMap<String, usize> = BTreeMap::new();
    let account = summaries.each(args.degraded, &*context.progress, interrupt::flag(), |windows| {
        let host = if args.pool { "*" } else { &windows.episode.host };
        let normal = hosts.entry(host.to_owned()).or_default();
        let mut open = false;
        for (values, state) in windows.values.chunks_exact(width).zip(windows.states) {
            let learn = args.all || matches!(state, State::Calibration | State::Class(0));
            if learn {
                normal.values.extend_from_slice(values);
                match normal.segments.last_mut().filter(|_| open) {
                    Some(segment) => *segment += 1,
                    None => normal.segments.push(1),
                }
            }
            open = learn;
        }
        // Cut back now and then, so that memory does not grow with the store.
        if normal.values.len() / width > args.newest.saturating_mul(2) {
            *forgotten.entry(host.to_owned()).or_default() += normal.keep_newest(args.newest, width);
        }
        Ok(())
    })?;
    left_out(&account);
    for (host, normal) in &mut hosts {
        let surplus = normal.keep_newest(args.newest, width);
        if surplus > 0 {
            *forgotten.entry(host.clone()).or_default() += surplus;
        }
    }
    hosts.retain(|_, normal| !normal.values.is_empty());
    let simulated = summaries.simulated();
    let columns = summaries.schema.feature_names();
    let per_day = DAY_NS / summaries.schema.window.stride_ns as f64;
    let origin = Origin::Store { schema: Box::new(summaries.schema), simulated };
    let mut baselines = Baselines::new(settings.clone(), origin, columns, Some(per_day));
    fit(&mut baselines, &hosts, settings, args.pool)?;
    Ok(Learnt { baselines, forgotten, simulated })
}

fn learn_table(args: &BaselineTrain, settings: &Settings) -> anyhow::Result<Learnt> {
    if args.seconds.is_some_and(|seconds| !(1e-9..=1e12).contains(&seconds)) {
        bail!("--seconds: a number of seconds from 1e-9 to 1e12 is needed");
    }
    let spec = TableSpec { ignore: args.ignore.clone(), ..spec(&args.table)? };
    let table = read_table(&args.data, &spec)?;
    let width = table.columns.len();
    if width == 0 {
        bail!("{}: there is no vector to learn from", args.data.display());
    }
    let mut hosts: BTreeMap<String, Normal<f64>> = BTreeMap::new();
    let mut forgotten = BTreeMap::new();
    for (host, vectors) in &table.hosts {
        let key = if args.pool { "*" } else { host };
        let normal = hosts.entry(key.to_owned()).or_default();
        let learn = |at: usize| args.all || vectors.labels[at] != Some(true);
        check_widths(args, vectors, width, learn)?;
        normal.values.extend(vectors.concat(learn));
        let n = (0..vectors.len()).filter(|&at| learn(at) && !vectors.vector(at).is_empty()).count();
        normal.segments.push(n);
    }
    hosts.retain(|_, normal| !normal.values.is_empty());
    for (host, normal) in &mut hosts {
        forgotten.insert(host.clone(), normal.keep_newest(args.newest, width));
    }
    let per_day = args.seconds.map(|seconds| DAY_NS / 1e9 / seconds);
    let origin = Origin::Table { host: args.table.host.clone() };
    let mut baselines = Baselines::new(settings.clone(), origin, table.columns, per_day);
    fit(&mut baselines, &hosts, settings, args.pool)?;
    Ok(Learnt { baselines, forgotten, simulated: false })
}

/// Lists of other lengths cannot be learnt from; a missing one is passed over.
fn check_widths(
    args: &BaselineTrain,
    vectors: &HostVectors,
    width: usize,
    learn: impl Fn(usize) -> bool,
) -> anyhow::Result<()> {
    let other = |&at: &usize| ![0, width].contains(&vectors.vector(at).len());
    match (0..vectors.len()).filter(|&at| learn(at)).find(other) {
        None => Ok(()),
        Some(at) => bail!(
            "{}: row {} has a vector of {} numbers, others have {width}",
            args.data.display(),
            vectors.rows[at] + 1,
            vectors.vector(at).len()
        ),
    }
}

/// The columns of a table as the options name them.
pub(super) fn spec(options: &TableOptions) -> anyhow::Result<TableSpec> {
    let mut only = Vec::new();
    for condition in &options.only {
        let Some((column, value)) = condition.split_once('=').filter(|(column, _)| !column.is_empty()) else {
            bail!("--where: `{}` is not COLUMN=VALUE", output::clean(condition));
        };
        only.push((column.to_owned(), value.to_owned()));
    }
    Ok(TableSpec { host: options.host.clone(), label: options.label.clone(), only, ..TableSpec::default() })
}

/// A store has hosts and labels of its own.
pub(super) fn no_table_options(options: &TableOptions) -> anyhow::Result<()> {
    if options.host.is_some() || options.label.is_some() || !options.only.is_empty() {
        bail!("--host, --label and --where are for tables: a store has hosts and labels of its own");
    }
    Ok(())
}

/// Warns of episodes that were not read.
pub(super) fn left_out(account: &stakeout_trainer::Account) {
    if account.episodes_left_out > 0 {
        let verdicts: Vec<String> = account.episodes.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
        output::say(&format!(
            "warning: {} episodes were left out ({}); `stakeout validate` says why",
            account.episodes_left_out,
            verdicts.join(", ")
        ));
    }
}
