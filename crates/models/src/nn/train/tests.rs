use serde_json::json;
use stakeout_core::{BaseModel, Device, Estimator, FitObserver, Scores, Silent};

use super::*;
use crate::nn::estimator::NetEstimator;
use crate::nn::gru::GruConfig;
use crate::nn::toy::{Notebook, Toy};

type Gru = NetEstimator<GruConfig>;

/// Two shards a step, dropout and a short last batch: everything that could be out of step.
fn gru(epochs: usize) -> Gru {
    let train = json!({
        "epochs": epochs, "batch_size": 50, "batch_share": 1.0, "learning_rate": 0.02, "patience": 50,
        "jitter": 0.05, "scaling": 0.05, "channel_dropout": 0.02, "shift": 0.2,
    });
    Gru::from_config(&json!({"hidden": 8, "layers": 2, "dropout": 0.2, "train": train})).unwrap()
}

fn fit(gru: &Gru, device: Device, observer: &mut dyn FitObserver) -> Result<Box<dyn BaseModel>, ModelError> {
    let (train, validation) = (Toy::new(120, 1), Toy::new(45, 2));
    let mut cx = FitContext { validation: Some(validation.side()), seed: 11, device, observer };
    gru.fit(train.side(), &mut cx)
}

fn accuracy(scores: &Scores, labels: &[u16]) -> f64 {
    let hits = scores.rows().into_iter().zip(labels).filter(|(row, label)| argmax(row.as_slice().unwrap()) == **label);
    hits.count() as f64 / labels.len() as f64
}

#[test]
fn learns_a_tiny_set_by_heart() {
    let toy = Toy::new(24, 3);
    let settings = json!({"hidden": 16, "dropout": 0.0, "train": {"epochs": 60, "batch_size": 24, "batch_share": 1.0, "learning_rate": 0.02}});
    let gru = Gru::from_config(&settings).unwrap();
    let mut notebook = Notebook::default();
    let mut cx = FitContext { validation: None, seed: 1, device: Device::Flex, observer: &mut notebook };
    let model = gru.fit(toy.side(), &mut cx).unwrap();
    assert_eq!(accuracy(&model.predict(&toy.table).unwrap(), &toy.labels), 1.0);
    let losses: Vec<f64> = notebook.records.iter().map(|record| record.train_loss).collect();
    assert!(losses[0] > 0.9 && losses[59] < 0.1, "{losses:?}");
}

#[test]
fn what_it_learnt_holds_for_windows_it_never_saw() {
    let model = fit(&gru(12), Device::Flex, &mut Silent).unwrap();
    let unseen = Toy::new(150, 77);
    let accuracy = accuracy(&model.predict(&unseen.table).unwrap(), &unseen.labels);
    assert!(accuracy > 0.8, "{accuracy}");
}

#[test]
fn an_interrupted_fit_continues_bit_for_bit() {
    let mut whole = Notebook::default();
    let expected = fit(&gru(4), Device::Flex, &mut whole).unwrap().weights().unwrap();
    assert_eq!((whole.records.len(), whole.states.len()), (4, 4));

    // stopped in the first epoch, between epochs, in mid-epoch
    for stop in [0, 1, 3, 5] {
        let mut first = Notebook { stop_after: Some(stop), ..Notebook::default() };
        let error = fit(&gru(4), Device::Flex, &mut first).err().expect("it was interrupted");
        assert!(matches!(error, ModelError::Cancelled), "{error}");
        let mut second = Notebook { start: first.states.last().cloned(), ..Notebook::default() };
        assert!(second.start.is_some(), "a state is saved before stopping");
        let resumed = fit(&gru(4), Device::Flex, &mut second).unwrap();
        assert_eq!(resumed.weights().unwrap(), expected, "stopped after {stop} steps");
        let records: Vec<_> = first.records.iter().chain(&second.records).cloned().collect();
        assert_eq!(records, whole.records);
        assert_eq!(second.notes, whole.notes);
    }
    // killed after each epoch: no chance to save anything more; after the last, nothing is left to do
    for (epoch, state) in whole.states.iter().enumerate() {
        let mut rest = Notebook { start: Some(state.clone()), ..Notebook::default() };
        assert_eq!(fit(&gru(4), Device::Flex, &mut rest).unwrap().weights().unwrap(), expected);
        assert_eq!(rest.records, whole.records[epoch + 1..]);
    }
}

#[test]
fn the_state_of_another_fit_is_refused() {
    let mut notebook = Notebook::default();
    fit(&gru(1), Device::Flex, &mut notebook).unwrap();
    let start = notebook.states.pop();
    for (other, device) in [(gru(2), Device::Flex), (gru(1), Device::Ndarray)] {
        let mut notebook = Notebook { start: start.clone(), ..Notebook::default() };
        let error = fit(&other, device, &mut notebook).err().expect("another fit");
        assert!(error.to_string().contains("another fit"), "{error}");
    }
}

#[test]
fn neither_threads_nor_neighbours_change_a_byte() {
    for device in [Device::Flex, Device::Ndarray] {
        let weights = || fit(&gru(2), device, &mut Silent).unwrap().weights().unwrap();
        let expected = weights();
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(weights), expected, "{threads} threads");
        }
        let together: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let fits: Vec<_> = (0..2).map(|_| scope.spawn(weights)).collect();
            fits.into_iter().map(|fit| fit.join().unwrap()).collect()
        });
        assert_eq!(together, [expected.clone(), expected]);
    }
}

#[test]
fn another_seed_gives_another_net() {
    let toy = Toy::new(60, 1);
    let weights = |seed| {
        let mut cx = FitContext { validation: None, seed, device: Device::Flex, observer: &mut Silent };
        gru(1).fit(toy.side(), &mut cx).unwrap().weights().unwrap()
    };
    assert_ne!(weights(1), weights(2));
}

#[test]
fn patience_ends_a_fit_and_the_best_epoch_is_kept() {
    let settings = json!({"hidden": 8, "train": {"epochs": 200, "batch_size": 60, "batch_share": 1.0, "learning_rate": 0.05, "patience": 3}});
    let gru = Gru::from_config(&settings).unwrap();
    let mut notebook = Notebook::default();
    let model = fit(&gru, Device::Flex, &mut notebook).unwrap();
    let records = &notebook.records;
    assert!(records.len() < 200, "no early stop");
    let best = records.len() - 3;
    let key = |record: &EpochRecord| (record.validation_macro_f1.unwrap(), -record.validation_loss.unwrap());
    assert!(records.iter().all(|record| key(record) <= key(&records[best - 1])), "{records:?}");
    assert!(notebook.notes[0].starts_with(&format!("kept epoch {best} of {}", records.len())), "{:?}", notebook.notes);

    // the kept weights are those that scored it
    let validation = Toy::new(45, 2);
    let scores = model.predict(&validation.table).unwrap();
    let mut confusion = Confusion::new(3);
    for (row, label) in scores.rows().into_iter().zip(&validation.labels) {
        confusion.add(*label, argmax(row.as_slice().unwrap()));
    }
    assert_eq!(confusion.macro_f1(), records[best - 1].validation_macro_f1);
}

#[test]
fn few_validation_windows_choose_nothing_and_it_is_said() {
    let (train, few) = (Toy::new(60, 1), Toy::new(FEWEST_TO_CHOOSE - 1, 2));
    let settings = json!({"hidden": 4, "train": {"epochs": 6, "patience": 1}});
    let gru = Gru::from_config(&settings).unwrap();
    let run = |validation| {
        let mut notebook = Notebook::default();
        let mut cx = FitContext { validation, seed: 1, device: Device::Flex, observer: &mut notebook };
        let weights = gru.fit(train.side(), &mut cx).unwrap().weights().unwrap();
        (weights, notebook)
    };
    let (with, scored) = run(Some(few.side()));
    assert_eq!(scored.records.len(), 6);
    assert!(scored.records.iter().all(|record| record.validation_macro_f1.is_some()));
    assert!(
        scored.notes[0].contains("kept the last epoch (6): 19 validation windows are too few"),
        "{:?}",
        scored.notes
    );
    let (without, silent) = run(None);
    assert_eq!(silent.records[0].validation_loss, None);
    assert_eq!(with, without, "a side that chooses nothing must not change the weights");
}

#[test]
fn a_window_of_weight_zero_is_not_learnt_from() {
    let mut toy = Toy::new(40, 4);
    toy.weights[7] = 0.0;
    let weights = |toy: &Toy| {
        let mut cx = FitContext { validation: None, seed: 1, device: Device::Flex, observer: &mut Silent };
        gru(2).fit(toy.side(), &mut cx).unwrap().weights().unwrap()
    };
    let expected = weights(&toy);
    toy.labels[7] = 2 - toy.labels[7];
    assert_eq!(weights(&toy), expected);
}

#[test]
fn a_loss_that_diverges_is_an_error() {
    let mut toy = Toy::new(10, 5);
    toy.weights.fill(f32::MAX);
    let mut cx = FitContext { validation: None, seed: 1, device: Device::Flex, observer: &mut Silent };
    let error = gru(1).fit(toy.side(), &mut cx).err().expect("an infinite loss");
    assert!(error.to_string().contains("lower train.learning_rate"), "{error}");
}

#[test]
fn validation_of_another_schema_is_refused() {
    let (train, mut other) = (Toy::new(30, 1), Toy::new(30, 2));
    let geometry = other.table.schema().geometry();
    let mut schema = other.table.schema().clone();
    schema.channels.swap(0, 1);
    let tensor = ndarray::Array3::zeros((30, geometry.channels, geometry.steps));
    other.table = stakeout_core::WindowTable::new(schema, None, Some(tensor), vec![6; 30]).unwrap();
    let mut cx = FitContext { validation: Some(other.side()), seed: 1, device: Device::Flex, observer: &mut Silent };
    let error = gru(1).fit(train.side(), &mut cx).err().expect("another schema");
    assert!(error.to_string().contains("channel 0 was guest.c0, is guest.c1"), "{error}");
}
