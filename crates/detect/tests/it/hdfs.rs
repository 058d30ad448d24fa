//! Public logs: sessions of the Hadoop file system as sequences of log keys.

use stakeout_detect::sequence::{
    Columns, Config, Evaluation, Mode, Names, Scratch, SequenceModel, Sequences, Threshold, Vocabulary, distinct,
    evaluate, fit, folds, read_parquet,
};

use crate::data;

fn columns(name: &str, value: &str) -> Columns {
    Columns {
        sequence: "keys".to_owned(),
        label: "anomalous".to_owned(),
        only: vec![(name.to_owned(), value.to_owned())],
        ..Columns::default()
    }
}

fn judged(model: &SequenceModel, data: &Sequences) -> Evaluation {
    let mut out = Vec::new();
    model.predict_all(data, &mut Scratch::default(), &mut out);
    let judged: Vec<_> = out.iter().map(|p| (p.score, p.probability, p.label)).collect();
    let truth: Vec<bool> = data.iter().map(|row| row.1 == Some(true)).collect();
    evaluate(&judged, &truth, 200, 1).unwrap()
}

#[test]
fn hdfs_100k_is_told_apart_as_well_as_its_copies_allow() {
    let Some(path) = data("hdfs_log_keys/hdfs100k_sessions.parquet") else { return };
    let mut vocabulary = Vocabulary::default();
    let train = read_parquet(&path, &columns("split", "train"), Names::Grow(&mut vocabulary)).unwrap();
    let test = read_parquet(&path, &columns("split", "test"), Names::Known(&vocabulary)).unwrap();
    assert_eq!((train.len(), test.len(), vocabulary.len()), (6352, 1588, 19));
    let config = Config { threshold: Threshold::BestF1, ..Config::default() };
    let model = fit(&train, vocabulary, &config).unwrap().model;
    let found = judged(&model, &test);
    println!("{found:?}");
    // Plain sets of 3-grams of normal sessions: F1 .674, AUROC .763.
    assert!(found.f1.point.unwrap() >= 0.674 && found.auroc.point.unwrap() >= 0.763, "{found:?}");
    assert!(found.ece.point.unwrap() < 0.02, "{found:?}");

    // What no detector of key sequences can do: 26 of the 57 are the same sequence as a normal training session.
    let usual = distinct(&train);
    let known = test.iter().filter(|(actions, label)| {
        let place = usual.sequences.binary_search(actions);
        *label == Some(true) && place.is_ok_and(|place| usual.normal[place] > 0)
    });
    assert_eq!(known.count(), 26);

    // Copies get one answer. The best that answers by sequence could be, were they chosen by these very labels.
    let tested = distinct(&test);
    let mut order: Vec<usize> = (0..tested.sequences.len()).collect();
    let share = |i: usize| tested.anomalous[i] as f64 / (tested.anomalous[i] + tested.normal[i]) as f64;
    order.sort_by(|&a, &b| share(b).total_cmp(&share(a)));
    let (mut hits, mut called, mut most) = (0, 0, 0.0f64);
    for i in order {
        hits += tested.anomalous[i];
        called += tested.anomalous[i] + tested.normal[i];
        most = most.max(2.0 * hits as f64 / (57 + called) as f64);
    }
    println!("F1 {:.4}, at most {most:.4} by sequence", found.f1.point.unwrap());
    assert!(found.f1.point.unwrap() > 0.95 * most);
}

#[test]
fn hdfs_anomalies_are_found_after_normal_sessions_alone() {
    let Some(path) = data("hdfs_log_keys/sessions.parquet") else { return };
    let mut vocabulary = Vocabulary::default();
    let normal = read_parquet(&path, &columns("file", "hdfs_train"), Names::Grow(&mut vocabulary)).unwrap();
    let all = distinct(&normal);
    let fold = folds(&vec![0; all.sequences.len()], 5, 1);
    let (mut alarms, mut recalls) = (0.0, Vec::new());
    for own in 0..5 {
        let (mut train, mut test) = (Sequences::default(), Sequences::default());
        for (actions, label) in normal.iter() {
            let held_out = fold[all.sequences.binary_search(&actions).unwrap()] == own;
            if held_out { &mut test } else { &mut train }.push(actions.iter().copied(), label);
        }
        let config = Config { mode: Mode::OneClass, threshold: Threshold::FalseAlarms(0.01), ..Config::default() };
        let model = fit(&train, vocabulary.clone(), &config).unwrap().model;
        let abnormal = columns("file", "hdfs_test_abnormal");
        let abnormal = read_parquet(&path, &abnormal, Names::Known(model.vocabulary())).unwrap();
        alarms += judged(&model, &test).false_positive_rate.point.unwrap() * test.len() as f64;
        recalls.push(judged(&model, &abnormal).recall.point.unwrap());
    }
    let alarms = alarms / normal.len() as f64;
    println!("false positives {alarms}, recalls {recalls:?}");
    assert!(alarms <= 0.01 && recalls.iter().all(|recall| *recall > 0.95), "{alarms} {recalls:?}");
}
