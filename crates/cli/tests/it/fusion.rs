//! Two trained models of different inputs, an outlier baseline, a classifier of action sequences, an analyst's feedback and
//! a detector of somebody else's, on the windows of a store: one verdict each, with the part of everybody.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use stakeout_core::{Batch, Checkpoint, CheckpointHeader, Device, InputKind, Windows};
use stakeout_detect::DetectError;
use stakeout_detect::baseline::Baselines;
use stakeout_detect::fusion::{
    BaselineDetector, Detector, Fusion, ModelDetector, Observation, Outcome, Said, Scratch, SequenceDetector, Verdict,
    look,
};
use stakeout_detect::reliability::{Evidence, Reliability, ReliabilityStore, Weighting, try_load};
use stakeout_detect::sequence::SequenceModel;
use stakeout_features::Inputs;
use stakeout_features::scale::Scaled;
use stakeout_trainer::score::StoredModel;
use stakeout_trainer::{Dataset, Experiment, Quiet, Reading, WindowCache, rundir};

use crate::harness::{QUICK_GBT, QUICK_GRU, path, stakeout, stderr, store};

/// A detector of another crate: whoever scans the network.
struct Scans {
    id: String,
}

impl Detector for Scans {
    fn id(&self) -> &str {
        &self.id
    }

    fn look(&self, observation: &Observation<'_>, _scratch: &mut Scratch) -> Result<Said, DetectError> {
        let actions = observation.actions.ok_or_else(|| DetectError::Data("the sensor is not there".into()))?;
        let scans = actions.iter().filter(|action| **action == "net.scan").count();
        Ok(Said::Probability(if scans > 0 { 0.97 } else { 0.01 }))
    }
}

/// What there is of one window of the store.
struct Case {
    host: String,
    label: u16,
    episode: String,
    t0_ns: i64,
    summary: Batch,
    tensor: Batch,
    vector: Vec<f32>,
}

impl Case {
    fn windows(&self) -> [(&str, &Batch); 2] {
        [("gbt", &self.summary), ("gru", &self.tensor)]
    }
}

struct Site {
    detectors: Vec<Box<dyn Detector>>,
    cases: Vec<Case>,
}

fn run(words: &[&str]) {
    let output = stakeout(words.iter().copied().chain(["--quiet"]));
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
}

/// Trains everything with the program itself, and opens what it wrote.
fn site(folder: &Path) -> Site {
    let at = |name: &str| folder.join(name);
    let data = path(store());
    let mut headers: Vec<CheckpointHeader> = Vec::new();
    let mut detectors: Vec<Box<dyn Detector>> = Vec::new();
    let longer = [&QUICK_GRU[..], &["--set", "train.epochs=20", "--set", "model.gru.hidden=16"]].concat();
    for (kind, quick) in [("gbt", &QUICK_GBT[..]), ("gru", &longer)] {
        let out = at(kind);
        let words = ["train", "--model", kind, "--split", "host", "--store", data, "--out", path(&out)];
        // Probabilities that mean what they say: classes as often as they are.
        let honest = ["--set", "calibration=temperature", "--set", "class_weights=none"];
        run(&[&words[..], quick, &honest].concat());
        let file = rundir::checkpoint(&out).unwrap();
        let (header, model) = Checkpoint::load(&file, &stakeout_models::builtin(), Device::Flex).unwrap();
        let benign = header.schema.classes.names().iter().position(|name| name == "clean").unwrap();
        let detector = ModelDetector::new(kind, model, header.calibration.clone(), benign as u16).unwrap();
        detectors.push(Box::new(detector));
        headers.push(header);
    }
    let baseline = at("baseline.json");
    run(&["baseline", "train", data, "--out", path(&baseline), "--threshold", "parametric"]);
    let baselines = Baselines::load(&baseline).unwrap();
    detectors.push(Box::new(BaselineDetector::new("baseline", baselines).unwrap()));
    let sequence = at("sequence.json");
    run(&["sequence", "train", "--num-samples", "3000", "--out", path(&sequence), "--resamples", "10"]);
    let sequence = SequenceModel::load(&sequence).unwrap();
    detectors.push(Box::new(SequenceDetector::new("sequence", sequence).unwrap()));
    detectors.push(Box::new(Scans { id: "acme/scans".into() }));

    let experiment = Experiment::default();
    let reading = Reading::of(&experiment, Inputs::BOTH, &WindowCache::NONE);
    let dataset = Dataset::open(store(), &reading, &Quiet, &AtomicBool::new(false)).unwrap();
    let index = &dataset.index;
    let hosts: Vec<u32> = (0..index.len()).map(|row| index.episode_of(row).host).collect();
    let gathered = |windows: &dyn Windows, kind: InputKind, row: usize| {
        let mut batch = Batch::new(kind, dataset.schema.geometry());
        windows.gather(&[row], &mut batch).unwrap();
        batch
    };
    let scaled: Vec<Scaled<'_>> = headers
        .iter()
        .map(|header| Scaled::new(&dataset.windows, &header.scaler, &index.hosts, &hosts).unwrap())
        .collect();
    let case = |row: usize| Case {
        host: index.hosts[hosts[row] as usize].clone(),
        label: index.windows[row].label,
        episode: index.episode_of(row).id.clone(),
        t0_ns: index.windows[row].t0_ns,
        summary: gathered(&scaled[0], headers[0].input, row),
        tensor: gathered(&scaled[1], headers[1].input, row),
        vector: gathered(&dataset.windows, InputKind::Summary, row).row(0).to_vec(),
    };
    assert_eq!((headers[0].input, headers[1].input), (InputKind::Summary, InputKind::Tensor));
    Site { detectors, cases: (0..index.len()).map(case).collect() }
}

/// What an analyst said, by the program, of detectors.
fn feedback(folder: &Path, words: &[&str]) -> Reliability {
    let file = folder.join("calibration.json");
    if !words.is_empty() {
        run(&[&["calibrate", "--store", path(&file)], words].concat());
    }
    let store = if file.exists() { try_load(&file).unwrap() } else { ReliabilityStore::default() };
    Reliability::new(Evidence::undecayed(&store), store.prior(), Weighting::LogOdds).unwrap()
}

impl Site {
    fn verdict(&self, observation: &Observation<'_>, feedback: &Reliability) -> Verdict {
        let said = look(&self.detectors, observation, &mut Scratch::default());
        Fusion::default().verdict(observation.host, &said, feedback).unwrap()
    }
}

fn part<'a>(verdict: &'a Verdict, detector: &str) -> &'a stakeout_detect::fusion::Contribution {
    verdict.evidence.iter().find(|part| part.detector == detector).unwrap()
}

fn probability(verdict: &Verdict, detector: &str) -> f64 {
    match part(verdict, detector).said {
        Said::Probability(p) => p,
        ref other => panic!("{detector}: {other:?}"),
    }
}

#[test]
fn detectors_of_every_kind_come_to_one_verdict_and_keep_their_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let site = site(folder);
    let none = feedback(folder, &[]);
    let calm = ["timer.fire", "proc.spawn", "file.read", "file.write", "log.append", "proc.exit"];
    let names = ["gbt", "gru", "baseline", "sequence", "acme/scans"];

    // What the models say here is what `predict` says of the same windows.
    let stored = StoredModel::open(&folder.join("gbt"), &stakeout_models::builtin(), Device::Flex).unwrap();
    let mut said = BTreeMap::new();
    stored
        .predict(store(), &Quiet, &AtomicBool::new(false), |window| {
            said.insert((window.episode.to_owned(), window.t0_ns), 1.0 - f64::from(window.probabilities.values()[0]));
            Ok(())
        })
        .unwrap();

    let (mut alert, mut quiet, mut likely) = (None, None, None);
    for case in &site.cases {
        let windows = case.windows();
        let vectors = [("baseline", case.vector.as_slice())];
        let host = Some(case.host.as_str());
        let observation = Observation { host, windows: &windows, vectors: &vectors, actions: Some(&calm) };
        let verdict = site.verdict(&observation, &none);
        assert_eq!(verdict.evidence.iter().map(|part| part.detector.as_str()).collect::<Vec<_>>(), names);
        let p = probability(&verdict, "gbt");
        assert!((p - said[&(case.episode.clone(), case.t0_ns)]).abs() < 1e-6);
        let loudest = verdict.evidence.iter().filter_map(|part| part.adjusted).fold(0.0, f64::max);
        assert_eq!(verdict.probability, Some(loudest));
        match verdict.outcome {
            Outcome::Alert if case.label > 0 => alert = alert.or(Some((case, verdict))),
            Outcome::Quiet if case.label == 0 => quiet = quiet.or(Some((case, verdict))),
            _ => {}
        }
        if (0.3..0.45).contains(&p) && likely.is_none() {
            likely = Some(case);
        }
    }

    // An alert, with the part of each.
    let (_, verdict) = alert.unwrap();
    assert!(verdict.probability.unwrap() >= 0.5 && probability(&verdict, "sequence") < 0.5);
    assert!(probability(&verdict, "gbt").max(probability(&verdict, "gru")) >= 0.5);
    assert!(
        matches!(part(&verdict, "baseline").said, Said::PValue(_)) && part(&verdict, "baseline").adjusted.is_none()
    );
    let written = serde_json::to_value(&verdict).unwrap();
    assert_eq!((&written["outcome"], written["evidence"].as_array().unwrap().len()), (&"alert".into(), 5));
    assert!(written["evidence"][2]["said"]["p_value"].is_f64(), "{written}");

    // A quiet window; then the same with features as nobody has seen them: nobody is accused, and nothing is cleared.
    let (case, verdict) = quiet.unwrap();
    let far: Vec<f32> = case.vector.iter().map(|value| value * 1e3 + 1e3).collect();
    let windows = case.windows();
    let vectors = [("baseline", far.as_slice())];
    let host = Some(case.host.as_str());
    let strange = Observation { host, windows: &windows, vectors: &vectors, actions: Some(&calm) };
    let unlike = site.verdict(&strange, &none);
    assert_eq!((unlike.outcome, unlike.probability), (Outcome::Unlike, verdict.probability));
    assert!(unlike.p_value.unwrap() <= 0.001 && verdict.p_value.unwrap() > 0.001);
    // A session of an intruder on it: the alert is not hidden by being unlike.
    let session = ["net.scan", "net.scan", "net.scan", "auth.login", "file.read", "net.send", "net.send"];
    let intruder = site.verdict(&Observation { actions: Some(&session), ..strange }, &none);
    assert_eq!(intruder.outcome, Outcome::Alert);
    assert!(intruder.p_value.unwrap() <= 0.001 && probability(&intruder, "acme/scans") > 0.9);
    assert!(probability(&intruder, "sequence") > probability(&unlike, "sequence"));

    // Nobody says anything: that is no all-clear. Whoever fails is asked no less, and says why.
    let blind = site.verdict(&Observation::default(), &none);
    assert_eq!((blind.outcome, blind.probability, blind.p_value), (Outcome::Blind, None, None));
    let why = |detector: &str| match &part(&blind, detector).said {
        Said::Nothing(why) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        names.map(why),
        [
            "there is no window",
            "there is no window",
            "the host is not known",
            "there is no session",
            "failed: the sensor is not there",
        ]
    );

    // One model's word, weighed by what came of its alerts.
    let case = likely.expect("a window of which the booster is not sure");
    let windows = [("gbt", &case.summary)];
    let weak = Observation { host: Some(&case.host), windows: &windows, ..Observation::default() };
    let plain = site.verdict(&weak, &none);
    assert_eq!((plain.outcome, part(&plain, "gbt").shift), (Outcome::Quiet, 0.0));
    let trusted = feedback(folder, &["--tp", "gbt", "gbt", "gbt", "gbt", "gbt", "--why", "five of five"]);
    let raised = site.verdict(&weak, &trusted);
    assert_eq!((raised.outcome, &part(&raised, "gbt").said), (Outcome::Alert, &part(&plain, "gbt").said));
    assert!(part(&raised, "gbt").shift > 1.0 && part(&raised, "gru").shift == 0.0);
    let doubted = feedback(folder, &[&["--fp"][..], &["gbt"; 12]].concat());
    let lowered = site.verdict(&weak, &doubted);
    assert_eq!(lowered.outcome, Outcome::Quiet);
    assert!(lowered.probability < raised.probability);
}
