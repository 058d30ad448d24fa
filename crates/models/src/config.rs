//! Settings of a model: from a configuration section to a checked struct, with errors that name the key.

use std::fmt::Display;
use std::ops::RangeBounds;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stakeout_core::ModelError;

/// The settings of `[model.<kind>]`: those given, the others at their defaults.
///
/// `T` serialises to an object of all its settings; that object is what says which keys there are.
///
/// # Errors
/// [`ModelError::Config`] that names the key: one that does not exist, with the nearest one that does, or one with a
/// value of another type.
pub fn section<T: Serialize + DeserializeOwned + Default>(kind: &str, given: &Value) -> Result<T, ModelError> {
    section_over(kind, &T::default(), given)
}

/// As [`section`], with other values than those of `Default` for the settings that are not given.
///
/// # Errors
/// As [`section`].
pub fn section_over<T: Serialize + DeserializeOwned>(kind: &str, defaults: &T, given: &Value) -> Result<T, ModelError> {
    let Value::Object(given) = given else {
        return Err(wrong(kind, "(section)", format!("expected a table of settings, got `{given}`")));
    };
    let defaults = object(defaults);
    let mut merged = defaults.clone();
    for (key, value) in given {
        if !defaults.contains_key(key) {
            return Err(wrong(kind, key, unknown(key, &defaults)));
        }
        // alone among defaults, so that an error is this key's
        let mut alone = defaults.clone();
        alone.insert(key.clone(), value.clone());
        serde_json::from_value::<T>(Value::Object(alone)).map_err(|e| wrong(kind, key, e.to_string()))?;
        merged.insert(key.clone(), value.clone());
    }
    serde_json::from_value(Value::Object(merged)).map_err(|e| wrong(kind, "(section)", e.to_string()))
}

/// Checks that a setting lies in a range.
///
/// # Errors
/// [`ModelError::Config`] with the key, the value and `range` in words.
pub fn within<T: PartialOrd + Display>(
    kind: &str,
    key: &str,
    value: &T,
    range: impl RangeBounds<T>,
    words: &str,
) -> Result<(), ModelError> {
    if range.contains(value) { Ok(()) } else { Err(wrong(kind, key, format!("{value} is out of range: use {words}"))) }
}

fn object<T: Serialize>(settings: &T) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("settings serialise to an object"),
    }
}

fn unknown(key: &str, known: &Map<String, Value>) -> String {
    let nearest = known.keys().min_by_key(|name| strsim::damerau_levenshtein(name, key));
    match nearest {
        None => "there is no such setting; this model has none".into(),
        Some(nearest) => {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("there is no such setting, did you mean `{nearest}`? Settings: {}", all.join(", "))
        }
    }
}

fn wrong(kind: &str, key: &str, why: String) -> ModelError {
    // the key may come from a file that somebody else wrote
    let key = key.chars().filter(|c| !c.is_control()).take(64).collect();
    ModelError::Config { kind: kind.into(), key, why }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        rounds: u32,
        rate: f64,
    }

    impl Default for Example {
        fn default() -> Self {
            Self { rounds: 10, rate: 0.5 }
        }
    }

    fn message(given: &Value) -> String {
        section::<Example>("x", given).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_is_default() {
        assert_eq!(section::<Example>("x", &json!({})).unwrap(), Example::default());
        assert_eq!(section::<Example>("x", &json!({"rate": 1})).unwrap(), Example { rounds: 10, rate: 1.0 });
    }

    #[test]
    fn errors_name_the_key() {
        assert_eq!(
            message(&json!({"ruonds": 3})),
            "[model.x] ruonds: there is no such setting, did you mean `rounds`? Settings: rate, rounds"
        );
        assert!(message(&json!({"rate": 0.1, "rounds": "many"})).starts_with("[model.x] rounds: invalid type"));
        assert!(message(&json!({"rounds": -1})).starts_with("[model.x] rounds: invalid value"));
        assert!(message(&json!([1])).contains("expected a table"));
    }

    #[test]
    fn a_range_is_told_in_words() {
        assert!(within("x", "rate", &0.5, 0.0..=1.0, "0 to 1").is_ok());
        let message = within("x", "rate", &f64::NAN, 0.0..=1.0, "0 to 1").unwrap_err().to_string();
        assert_eq!(message, "[model.x] rate: NaN is out of range: use 0 to 1");
    }
}
