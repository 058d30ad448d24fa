//! The gate: a run's files, a policy and, where it is given, the run's store to a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use stakeout_core::{Checkpoint, Device, ModelRegistry, Side};
use stakeout_eval::{Predictions, Sides};
use stakeout_splits::{RecipeRegistry, Separates};
use stakeout_trainer::rundir::{self, CHECKPOINT, METRICS, PREDICTIONS};
use stakeout_trainer::score::{StoredModel, StoredRun};
use stakeout_trainer::{Keep, Progress, TrainError, WindowCache};

use crate::bundle::{Bundle, Limit, Lineage, Verdict, limit};
use crate::check::{Check, Outcome};
use crate::criteria::{Beside, Incumbent, criteria, with_probabilities};
use crate::integrity::{self, Evidence};
use crate::policy::{Cap, FORMAT, Policy};
use crate::snapshot::{self, FileRead, Snapshot};
use crate::{EvidenceError, proof, selection};

/// What a run is judged with.
pub struct Asked<'a> {
    /// What it must show.
    pub policy: &'a Policy,
    /// Its own store; without it the verdict is a candidate at most.
    pub store: Option<&'a Path>,
    /// Whether its model is fitted again, beside what the policy says.
    pub fit_again: bool,
    /// The folder of the model that is deployed now, with its address.
    pub incumbent: Option<(String, &'a Path)>,
    /// All models.
    pub models: &'a ModelRegistry,
    /// All recipes.
    pub recipes: &'a RecipeRegistry,
    /// Where nets compute.
    pub device: Device,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
    /// Raised to stop.
    pub cancel: &'a AtomicBool,
}

/// Judges a run. That it is refused is a verdict, not an error.
///
/// # Errors
/// When a file of the run cannot be read at all, or `store` is not the run's store.
pub fn judge(files: &Snapshot, asked: &Asked<'_>) -> Result<Bundle, EvidenceError> {
    let path = files.path();
    let evidence = Evidence {
        run: StoredRun::open(path, asked.models, asked.device).map_err(|error| files.blame("", error.into()))?,
        predictions: Predictions::read_parquet(&path.join(PREDICTIONS))
            .map_err(|error| files.blame(PREDICTIONS, error.into()))?,
        metrics: rundir::read_json(&path.join(METRICS)).map_err(|error| files.blame(METRICS, error.into()))?,
    };
    let policy = asked.policy;
    let mut checks = integrity::checks(&evidence, asked.recipes)?;
    checks.push(selection::check(&evidence.run));
    let store = prove(path, &evidence, asked, &mut checks)?;

    // A figure is computed as soon as there is something to compute it from: a refusal shows what is behind it. Rows that
    // stand twice or are no probabilities are nothing.
    let refused = |name: &str| checks.iter().any(|check| check.name == name && check.outcome == Outcome::Refused);
    let train = &evidence.run.result.train;
    let fits = train.windows.len() == evidence.predictions.classes().len()
        && integrity::is_countable(train)
        && !refused("windows");
    let (criteria, incumbent) = if fits {
        let (incumbent, read) = incumbent(&evidence, asked)?.unzip();
        let latency = policy.latency.map(|_| evidence.run.latency()).transpose()?;
        let beside = Beside {
            incumbent: incumbent.as_ref().map(|found| found.as_ref().map_err(Clone::clone)),
            latency,
            ledger: evidence.run.result.ledger.as_ref().filter(|_| !refused("ledger")),
        };
        (criteria(&evidence.predictions, train, policy, &beside)?, read)
    } else {
        (Vec::new(), None)
    };
    let (n_windows, n_test) = counts(&evidence);
    Ok(Bundle {
        format: FORMAT,
        judged_by: env!("CARGO_PKG_VERSION").into(),
        id: files.id(),
        verdict: Verdict::Refused,
        lineage: lineage(&evidence.run),
        read: files.files().to_vec(),
        limits: limits(policy, store.is_some(), simulated(&evidence), n_test.1, &evidence, asked)?,
        store,
        incumbent,
        policy: policy.clone(),
        n_windows,
        n_test,
        checks,
        criteria,
        digest: String::new(),
    }
    .close())
}

/// Makes the run again from its store, and says which store that was.
fn prove(
    path: &Path,
    evidence: &Evidence,
    asked: &Asked<'_>,
    checks: &mut Vec<Check>,
) -> Result<Option<String>, EvidenceError> {
    let fit_again = asked.fit_again || asked.policy.fit_again;
    let untested = checks.iter().any(|check| check.name == "tested" && check.outcome == Outcome::Refused);
    let Some(store) = asked.store.filter(|_| !untested) else {
        let why = if untested { "no side was tested" } else { "predictions taken on trust: no --store was given" };
        checks.push(Check::not_judged("scored again", why));
        return Ok(None);
    };
    // A corpus that memory does not hold is cut into a folder of this judgement's own: windows that lie about are nobody's.
    let beside = path.parent().unwrap_or(path);
    let scratch = tempfile::tempdir_in(beside).map_err(|e| EvidenceError::io("making a folder in", beside, e))?;
    let cache = WindowCache { folder: Some(scratch.path().to_owned()), keep: Keep::Large };
    let audit = match evidence.run.audit(store, asked.models, asked.recipes, &cache, asked.progress, asked.cancel) {
        Ok(audit) => audit,
        Err(TrainError::Core(error @ stakeout_core::CoreError::SchemaMismatch(_))) => {
            checks.push(Check::refused("schema", error.to_string(), "train the run again on this store"));
            return Ok(None);
        }
        Err(TrainError::Split(error)) => {
            checks.push(Check::refused(
                "fold drawn again",
                format!("the recipe cannot hold this store out: {error}"),
                "train with a recipe that holds this data out",
            ));
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    checks.extend(proof::checks(evidence, &audit, &audit.make_again()?));
    if fit_again {
        let again = audit.fit_again(asked.progress, asked.cancel)?;
        checks.push(proof::fitted_again(&Checkpoint::read(&path.join(CHECKPOINT))?, &again));
    }
    Ok(Some(audit.dataset.digest))
}

fn simulated(evidence: &Evidence) -> bool {
    evidence.run.header.simulated || evidence.run.result.origin.simulated
}

/// What keeps the verdict down.
fn limits(
    policy: &Policy,
    proven: bool,
    simulated: bool,
    hosts: usize,
    evidence: &Evidence,
    asked: &Asked<'_>,
) -> Result<Vec<Limit>, EvidenceError> {
    let mut limits = Vec::new();
    if !proven {
        let (why, remedy) = match asked.store {
            None => ("predictions taken on trust", "give the run's own store: gate RUN --store STORE"),
            Some(_) => ("nothing was scored again", "see what was refused"),
        };
        limits.extend(limit(policy.caps.on_trust, why, remedy));
    }
    if simulated {
        let why = "the data is simulated: it says nothing about real malware";
        limits.extend(limit(policy.caps.simulated, why, "train on recorded data"));
    }
    if hosts < 2 {
        let why = format!("{hosts} host on the test side: no claim about other devices can be made");
        let remedy = "hold out two hosts or more (split.test_share), or a recipe that does";
        limits.extend(limit(policy.caps.few_hosts, why, remedy));
    }
    if policy.fit_again && !proven {
        limits.extend(limit(
            Cap::Candidate,
            "the model was not fitted again, which the policy asks for",
            "give --store",
        ));
    }
    if integrity::recipe(evidence, asked.recipes)? == Separates::Unstated {
        let why = "the recipe does not promise to hold anything apart";
        limits.extend(limit(Cap::Candidate, why, "use a recipe that separates hosts, samples, episodes or time"));
    }
    Ok(limits)
}

fn lineage(run: &StoredRun) -> Lineage {
    let StoredRun { result, header, .. } = run;
    Lineage {
        model: header.kind.to_string(),
        recipe: header.recipe.clone(),
        fold: result.fold.clone(),
        held_out: result.held_out.clone(),
        view: header.schema.view.to_string(),
        seed: header.seed,
        selection: result.origin.selection.clone(),
        corpus: result.origin.corpus.clone(),
        simulated: header.simulated || result.origin.simulated,
        data_digest: result.origin.data_digest.clone(),
        schema_hash: header.schema_hash.as_str().to_owned(),
        code_version: header.code_version.clone(),
    }
}

/// Windows a side; test episodes and hosts.
fn counts(evidence: &Evidence) -> (Sides, (usize, usize)) {
    let predictions = &evidence.predictions;
    let test = predictions.rows_of(Side::Test);
    let distinct = |of: fn(&stakeout_eval::Prediction<'_>) -> String| {
        test.iter().map(|&row| of(&predictions.row(row))).collect::<BTreeSet<_>>().len()
    };
    let sides = Sides {
        train: evidence.run.result.train.windows.iter().fold(0u64, |sum, n| sum.saturating_add(*n)) as usize,
        validation: predictions.rows_of(Side::Validation).len(),
        test: test.len(),
    };
    (sides, (distinct(|row| row.episode.to_owned()), distinct(|row| row.host.to_owned())))
}

type Compared = (Result<Incumbent, String>, (String, Vec<FileRead>));

/// What the current model says of the candidate's test windows: as stored where it was tested on the same ones, else
/// scored from the store.
fn incumbent(evidence: &Evidence, asked: &Asked<'_>) -> Result<Option<Compared>, EvidenceError> {
    let Some((id, path)) = asked.incumbent.as_ref().filter(|_| asked.policy.needs_incumbent()) else { return Ok(None) };
    let read = snapshot::digests(path)?;
    if snapshot::address(&read) != *id {
        let why = "the current model's files are not what was promoted: its bytes were changed in place".to_owned();
        return Ok(Some((Err(why), (id.clone(), read))));
    }
    let stored = Predictions::read_parquet(&path.join(PREDICTIONS))?;
    let mut said: BTreeMap<(String, i64), Vec<f32>> = BTreeMap::new();
    for row in stored.rows_of(Side::Test).into_iter().map(|row| stored.row(row)) {
        said.insert((row.episode.to_owned(), row.t0_ns), row.probabilities.to_vec());
    }
    let predictions = &evidence.predictions;
    let test = predictions.rows_of(Side::Test);
    let lacks = |said: &BTreeMap<(String, i64), Vec<f32>>| {
        let key = |row: usize| (predictions.row(row).episode.to_owned(), predictions.row(row).t0_ns);
        test.iter().filter(|&&row| !said.contains_key(&key(row))).count()
    };
    if stored.classes() != predictions.classes() {
        return Ok(Some((Err("the current model has other classes".into()), (id.clone(), read))));
    }
    let mut favour = None;
    if lacks(&said) > 0 {
        let Some(store) = asked.store else {
            let why = "the current model was tested on other windows".to_owned();
            return Ok(Some((Err(why), (id.clone(), read))));
        };
        said.clear();
        let model = StoredModel::open(path, asked.models, asked.device)?;
        let scored = model.predict(store, asked.progress, asked.cancel, |window| {
            said.insert((window.episode.to_owned(), window.t0_ns), window.probabilities.values().to_vec());
            Ok(())
        });
        if let Err(TrainError::Core(error)) = scored {
            return Ok(Some((Err(format!("the current model cannot score this store: {error}")), (id.clone(), read))));
        }
        scored?;
        favour = seen(&StoredRun::open(path, asked.models, asked.device)?, predictions, &test);
    }
    let missing = lacks(&said);
    if missing > 0 {
        return Ok(Some((
            Err(format!("the current model has no score of {missing} test windows")),
            (id.clone(), read),
        )));
    }
    let predictions = with_probabilities(predictions, |row, into| {
        into.copy_from_slice(&said[&(row.episode.to_owned(), row.t0_ns)]);
    })?;
    Ok(Some((Ok(Incumbent { id: id.clone(), predictions, favour }), (id.clone(), read))))
}

/// What of the candidate's test side the current model was trained on.
fn seen(run: &StoredRun, predictions: &Predictions, test: &[usize]) -> Option<String> {
    let trained = &run.result.trained_on;
    let hosts: BTreeSet<&str> = test.iter().map(|&row| predictions.row(row).host).collect();
    let samples: BTreeSet<&str> = test.iter().map(|&row| predictions.row(row).sample).collect();
    let of =
        |names: &BTreeSet<&str>, known: &BTreeSet<String>| names.iter().filter(|name| known.contains(**name)).count();
    let (hosts, samples) = (of(&hosts, &trained.hosts), of(&samples, &trained.samples));
    (hosts + samples > 0)
        .then(|| format!("it was trained on {hosts} of these hosts and {samples} of these samples, which favours it"))
}
