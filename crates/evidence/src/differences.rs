//! What two JSON values say differently.

use serde::Serialize;
use serde_json::{Map, Value};

/// A place at which two values differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Where: `test.accuracy.point`.
    pub(crate) path: String,
    /// What it must be.
    pub(crate) expected: String,
    /// What it is.
    pub(crate) found: String,
}

/// How many leaves were compared, and where they differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) leaves: usize,
    pub(crate) differences: Vec<Difference>,
}

impl Compared {
    /// The first few differences as a sentence.
    pub(crate) fn sentence(&self) -> String {
        const SHOWN: usize = 3;
        let mut parts: Vec<String> = self
            .differences
            .iter()
            .take(SHOWN)
            .map(|d| format!("{} is {}, and comes out as {}", d.path, d.found, d.expected))
            .collect();
        if self.differences.len() > SHOWN {
            parts.push(format!("and {} more", self.differences.len() - SHOWN));
        }
        parts.join("; ")
    }
}

/// Compares leaf by leaf; numbers may differ by `tolerance`, relative to the larger one from 1 on.
pub(crate) fn compare(expected: &Value, found: &Value, tolerance: f64) -> Compared {
    let mut compared = Compared::default();
    walk(expected, found, tolerance, &mut String::new(), &mut compared);
    compared
}

/// Compares two values of one type through their JSON form.
pub(crate) fn compare_as_json<T: Serialize>(expected: &T, found: &T, tolerance: f64) -> Compared {
    let json = |value: &T| serde_json::to_value(value).unwrap_or(Value::Null);
    compare(&json(expected), &json(found), tolerance)
}

/// Compares an object's members that `expected` has; what else `found` holds is not looked at.
pub(crate) fn compare_members(expected: &Value, found: &Value, tolerance: f64) -> Compared {
    let (Value::Object(expected), Value::Object(found)) = (expected, found) else {
        return compare(expected, found, tolerance);
    };
    let part: Map<String, Value> =
        found.iter().filter(|(key, _)| expected.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    compare(&Value::Object(expected.clone()), &Value::Object(part), tolerance)
}

fn walk(expected: &Value, found: &Value, tolerance: f64, path: &mut String, into: &mut Compared) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                step(path, key, |path| match found.get(key) {
                    Some(other) => walk(value, other, tolerance, path, into),
                    None => differ(path, &short(value), "absent", into),
                });
            }
            for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                step(path, key, |path| differ(path, "absent", &short(value), into));
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (i, (value, other)) in expected.iter().zip(found).enumerate() {
                step(path, &i.to_string(), |path| walk(value, other, tolerance, path, into));
            }
        }
        _ => {
            into.leaves += 1;
            if !same(expected, found, tolerance) {
                differ(path, &short(expected), &short(found), into);
            }
        }
    }
}

fn same(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => match (x.as_f64(), y.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= tolerance * x.abs().max(y.abs()).max(1.0),
            _ => false,
        },
        _ => a == b,
    }
}

fn step(path: &mut String, key: &str, work: impl FnOnce(&mut String)) {
    let length = path.len();
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&stakeout_core::text::printable(key, 64));
    work(path);
    path.truncate(length);
}

fn differ(path: &str, expected: &str, found: &str, into: &mut Compared) {
    let text = |text: &str| stakeout_core::text::printable(text, 64);
    into.differences.push(Difference { path: path.to_owned(), expected: text(expected), found: text(found) });
}

fn short(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) => format!("an object of {}", map.len()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_difference_is_named_with_its_place() {
        let ours = json!({ "a": { "b": [1, 2.5, null] }, "c": "x", "d": 1 });
        assert_eq!(compare(&ours, &ours, 0.0).differences, []);
        for (theirs, place) in [
            (json!({ "a": { "b": [1, 2.6, null] }, "c": "x", "d": 1 }), "a.b.1 is 2.6, and comes out as 2.5"),
            (json!({ "a": { "b": [1, 2.5] }, "c": "x", "d": 1 }), "a.b is a list of 2"),
            (json!({ "a": { "b": [1, 2.5, 0] }, "c": "x", "d": 1 }), "a.b.2 is 0, and comes out as null"),
            (json!({ "a": { "b": [1, 2.5, null] }, "c": "y", "d": 1 }), "c is \"y\""),
            (json!({ "a": { "b": [1, 2.5, null] }, "c": "x" }), "d is absent"),
            (json!({ "a": { "b": [1, 2.5, null] }, "c": "x", "d": 1, "e": 2 }), "e is 2, and comes out as absent"),
            (json!([]), " is a list of 0"),
        ] {
            let sentence = compare(&ours, &theirs, 1e-9).sentence();
            assert!(sentence.contains(place), "{sentence}");
        }
        assert_eq!(compare_members(&json!({ "a": 1 }), &json!({ "a": 1, "z": 5 }), 0.0).differences, []);
        assert_eq!(compare_members(&json!({ "a": 1 }), &json!({ "z": 5 }), 0.0).differences.len(), 1);
    }

    proptest! {
        #[test]
        fn a_number_differs_beyond_the_tolerance_and_not_within(a in -1_000_000i64..1_000_000, by in -2000i64..2000) {
            let (x, tolerance) = (a as f64 / 1000.0, 1e-3);
            let y = x + by as f64 / 1e6;
            let found = compare(&json!([x]), &json!([y]), tolerance);
            let allowed = tolerance * x.abs().max(y.abs()).max(1.0);
            prop_assert_eq!(found.differences.is_empty(), (x - y).abs() <= allowed);
            prop_assert_eq!(found.leaves, 1);
        }
    }
}
