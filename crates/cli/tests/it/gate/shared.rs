//! Recipes that do not keep what they promise: what stands on two sides is refused.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use stakeout_core::{Device, SampleIndex};
use stakeout_evidence::{Asked, Bundle, Outcome, Policy, Snapshot, Verdict, judge};
use stakeout_splits::{Fold, FoldParts, RecipeEntry, RecipeRegistry, Separates, Split, SplitError};
use stakeout_trainer::{Dataset, Existing, Experiment, Quiet, Reading, Request, RunDir, WindowCache};

use crate::harness::{path, stakeout, stderr, store};

/// A recipe that promises something and tests what `tested` says.
struct Broken {
    name: &'static str,
    promise: Separates,
    tested: fn(&SampleIndex, usize) -> bool,
}

impl Split for Broken {
    fn name(&self) -> &'static str {
        self.name
    }

    fn separates(&self) -> Separates {
        self.promise
    }

    fn folds(&self, index: &SampleIndex, _seed: u64) -> Result<Vec<Fold>, SplitError> {
        let (test, train) = (0..index.len()).partition(|&row| (self.tested)(index, row));
        let parts = FoldParts {
            name: "broken".into(),
            held_out: vec!["what it likes".into()],
            train,
            validation: Vec::new(),
            test,
            dropped: Vec::new(),
            notes: Vec::new(),
            test_by: self.promise,
            validation_by: self.promise,
        };
        Ok(vec![Fold::new(index.len(), parts)?])
    }
}

const EVERY_FIFTH: fn(&SampleIndex, usize) -> bool = |_, row| row % 5 == 0;
const LAST_HOST: fn(&SampleIndex, usize) -> bool =
    |index, row| index.hosts[index.episode_of(row).host as usize] == "h3";

const EPISODES: Broken = Broken { name: "acme/episodes", promise: Separates::Episodes, tested: EVERY_FIFTH };
const TIME: Broken = Broken { name: "acme/time", promise: Separates::Time, tested: EVERY_FIFTH };
const HOSTS: Broken = Broken { name: "acme/hosts", promise: Separates::Hosts, tested: LAST_HOST };

type Configure = fn(&serde_json::Value) -> Result<Box<dyn Split>, SplitError>;

/// Trains with a recipe and judges the run, with its store or without.
fn judged(recipe: &Broken, store: &Path) -> [Bundle; 2] {
    let (models, mut recipes) = (stakeout_models::builtin(), RecipeRegistry::builtin());
    let broken: [(&'static str, Configure); 3] = [
        (EPISODES.name, |_| Ok(Box::new(EPISODES))),
        (TIME.name, |_| Ok(Box::new(TIME))),
        (HOSTS.name, |_| Ok(Box::new(HOSTS))),
    ];
    for (name, configure) in broken {
        recipes.add(RecipeEntry { name, about: "breaks its promise", defaults: "", configure }).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let overrides = ["model.gbt.rounds=12", "intervals.resamples=200"].map(String::from);
    let mut experiment = Experiment::read(None, &overrides).unwrap();
    experiment.recipe = recipe.name.into();
    let model = models.get("gbt").unwrap();
    let stop = AtomicBool::new(false);
    let reading = Reading::of(&experiment, stakeout_features::Inputs::BOTH, &WindowCache::NONE);
    let dataset = Dataset::open(store, &reading, &Quiet, &stop).unwrap();
    let request = Request { dataset: &dataset, store: Some(store), experiment: &experiment, model, recipe };
    let run = folder.path().join("run");
    let dir = RunDir::open(&run, Existing::Refuse).unwrap();
    request.train(&request.folds().unwrap(), &dir, &Quiet, &stop).unwrap();

    let files = Snapshot::take(&run, &folder.path().join("copy")).unwrap();
    let policy = Policy::parse(super::LENIENT, "x").unwrap();
    [Some(store), None].map(|store| {
        let asked = Asked {
            policy: &policy,
            store,
            fit_again: false,
            incumbent: None,
            models: &models,
            recipes: &recipes,
            device: Device::default(),
            progress: &Quiet,
            cancel: &stop,
        };
        judge(&files, &asked).unwrap()
    })
}

fn assert_shared(bundles: &[Bundle; 2], found: &str) {
    let [made_again, on_trust] = bundles;
    assert_eq!(made_again.verdict, Verdict::Refused);
    let shared = made_again.checks.iter().find(|check| check.name == "shared content").unwrap();
    assert_eq!(shared.outcome, Outcome::Refused);
    assert!(shared.found.contains(found), "{shared:?}");
    assert!(on_trust.verdict <= Verdict::Candidate);
}

#[test]
fn sequences_shared_by_two_sides_are_refused() {
    assert_shared(&judged(&EPISODES, store()), "test episodes stand on the train side too");
}

#[test]
fn a_test_side_that_is_not_later_than_what_was_trained_on_is_refused() {
    assert_shared(&judged(&TIME, store()), "windows of the train side end after the test side begins");
}

/// A table of four hosts with two episodes each; the last host has the rows of the first.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mapping = "name = \"copied\"\nhost = \"{host}\"\nsample = \"s-{host}\"\nprofile = \"p\"\n\
        [labels]\ncolumn = \"bad\"\nclasses = [\"benign\", \"bad\"]\nmap = { 0 = \"benign\", 1 = \"bad\" }\n\
        [episode]\nkey = [\"host\", \"run\"]\n[time]\ncolumn = \"t\"\nunit = \"s\"\norigin = \"episode\"\n\
        [window]\nseconds = 10\nstride_seconds = 5\nsteps = 10\n\
        [[channels]]\ncolumns = [\"a\", \"b\"]\nsource = \"guest\"\nkind = \"level\"\nunit = \"share\"\ndeployable = true\n";
    std::fs::write(folder.path().join("m.toml"), mapping).unwrap();
    let mut table = String::from("host,run,t,a,b,bad\n");
    for host in 0..4u32 {
        for run in 0..2 {
            for t in 0..120 {
                let seed = (host % 3) * 1000 + run * 500 + t;
                let [a, b] = [seed * 7919 % 997, seed * 104_729 % 991].map(|drawn| f64::from(drawn) / 1000.0);
                let _ = writeln!(table, "h{host},{run},{t},{a},{b},{}", u32::from(t > 60));
            }
        }
    }
    std::fs::write(folder.path().join("t.csv"), table).unwrap();
    let [mapping, table, store] = ["m.toml", "t.csv", "store"].map(|name| folder.path().join(name));
    let made = stakeout(["import", "table", "--quiet", "--mapping", path(&mapping), path(&table), path(&store)]);
    assert!(made.status.success(), "{}", stderr(&made));
    folder
}

#[test]
fn sequences_copied_under_another_name_are_refused() {
    let folder = copied();
    assert_shared(&judged(&HOSTS, &folder.path().join("store")), "identical");
}
