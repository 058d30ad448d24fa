//! A fold that breaks a rule does not exist.

use proptest::prelude::*;
use stakeout_core::Side;
use stakeout_splits::{Dropped, Fold, FoldParts, Separates, file_name};

fn parts() -> FoldParts {
    FoldParts {
        name: "x".into(),
        held_out: vec!["x".into()],
        train: vec![2, 0],
        validation: vec![1],
        test: vec![3],
        dropped: vec![Dropped { reason: "purged".into(), rows: vec![5, 4] }],
        notes: Vec::new(),
        test_by: Separates::Hosts,
        validation_by: Separates::Hosts,
    }
}

#[test]
fn rows_come_out_in_order_and_every_row_has_its_place() {
    let fold = Fold::new(6, parts()).unwrap();
    assert_eq!((fold.train(), fold.validation(), fold.test()), (&[0, 2][..], &[1][..], &[3][..]));
    assert_eq!(fold.dropped()[0].rows, [4, 5]);
    let (train, validation, test) = (Some(Side::Train), Some(Side::Validation), Some(Side::Test));
    assert_eq!(fold.sides(), [train, validation, train, test, None, None]);
}

#[test]
fn broken_parts_are_refused_with_the_row() {
    type Damage = fn(&mut FoldParts);
    let cases: [(Damage, &str); 8] = [
        (|p| p.train.push(3), "row 3 stands twice: train and test"),
        (|p| p.train.push(0), "row 0 stands twice: train and train"),
        (|p| p.test.push(4), "row 4 stands twice: test and purged"),
        (|p| p.validation.push(6), "row 6 (validation) is out of range: the index has 6 windows"),
        (|p| p.dropped.clear(), "row 4 stands on no side and was not dropped for a reason"),
        (|p| p.train.clear(), "the train side has no window"),
        (|p| p.test.clear(), "the test side has no window"),
        (|p| p.name = "../x".into(), "the name must be"),
    ];
    for (damage, why) in cases {
        let mut parts = parts();
        damage(&mut parts);
        let error = Fold::new(6, parts).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn names_that_look_alike_in_a_file_system_stay_apart() {
    let name = |group: &str| file_name(&[group.into()]);
    assert_eq!(name("host-1"), "host-1");
    for (a, b) in [("Host", "host"), ("a/b", "a:b"), ("a+b", "a b"), ("..", "."), ("", "_")] {
        assert_ne!(name(a), name(b));
    }
    assert_ne!(name("a+b"), file_name(&["a".into(), "b".into()]));
}

proptest! {
    #[test]
    fn every_group_name_makes_a_fold_name(groups in proptest::collection::vec(any::<String>(), 0..5)) {
        let parts = FoldParts { name: file_name(&groups), ..parts() };
        prop_assert!(Fold::new(6, parts).is_ok());
    }

    /// Fold::new accepts exactly the partitions with a train and a test row, by a count of every row.
    #[test]
    fn only_partitions_are_folds(
        train in proptest::collection::vec(0usize..5, 0..3),
        validation in proptest::collection::vec(0usize..5, 0..3),
        test in proptest::collection::vec(0usize..5, 0..3),
        dropped in proptest::collection::vec(0usize..5, 0..3),
    ) {
        let all: Vec<usize> = [&train, &validation, &test, &dropped].into_iter().flatten().copied().collect();
        let partition = (0..4).all(|row| all.iter().filter(|&&r| r == row).count() == 1) && all.iter().all(|&row| row < 4);
        let expected = partition && !train.is_empty() && !test.is_empty();
        let dropped = vec![Dropped { reason: "purged".into(), rows: dropped }];
        let fold = Fold::new(4, FoldParts { train, validation, test, dropped, ..parts() });
        prop_assert_eq!(fold.is_ok(), expected);
    }
}
