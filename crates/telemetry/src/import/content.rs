//! The columns of one table, read once: who each row belongs to, what it is labelled, what its channels say.

use std::collections::HashMap;

use stakeout_core::Side;
use stakeout_core::text::printable;

use super::choice::Template;
use super::fold::Values;
use super::mapping::{Fold, Mapping};
use super::plan::PlannedChannel;
use super::report::ImportReport;
use super::table::{Codes, MISSING, Table};
use crate::TelemetryError;

/// The class id that stands for "no label".
pub(super) const UNLABELLED: u16 = u16::MAX;

/// The rows of one episode, before they are placed in time.
pub(super) struct Group {
    pub key: String,
    pub rows: Vec<u32>,
}

/// Who and what an episode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub host: String,
    pub sample: String,
    pub profile: String,
    pub sample_sha256: Option<String>,
    pub given: Option<Side>,
    pub calibration: bool,
}

/// Splits the rows of a table into episodes, in order of first appearance. Rows without a key are dropped.
pub(super) fn groups(
    mapping: &Mapping,
    table: &Table,
    report: &mut ImportReport,
) -> Result<Vec<Group>, TelemetryError> {
    let columns: Vec<Codes> = mapping.episode.key.iter().map(|column| table.codes(column)).collect::<Result<_, _>>()?;
    let stem = table.path.file_stem().map_or_else(|| "table".into(), |stem| stem.to_string_lossy().into_owned());
    let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for row in 0..table.rows() {
        let key: Vec<u32> = columns.iter().map(|column| column.codes[row]).collect();
        if key.contains(&MISSING) {
            report.drop_row("a column of the episode key is missing", &table.path, row);
            continue;
        }
        match known.get(&key) {
            Some(_) if mapping.episode.each_row => {
                let why = "another row has the same episode key: add a column to episode.key that tells them apart";
                return Err(table.fault(&mapping.episode.key.join(", "), Some(row), why));
            }
            Some(group) => groups[*group].rows.push(row as u32),
            None => {
                known.insert(key, groups.len());
                let values: Vec<String> = columns.iter().filter_map(|column| column.text(row)).map(escaped).collect();
                let key = if values.is_empty() { stem.clone() } else { values.join("/") };
                groups.push(Group { key, rows: vec![row as u32] });
            }
        }
    }
    Ok(groups)
}

/// A key value in which `/` is free to separate.
fn escaped(value: &str) -> String {
    value.replace('%', "%25").replace('/', "%2F")
}

/// Who and what each episode is. What identifies an episode may not change inside it.
pub(super) fn identities(mapping: &Mapping, table: &Table, groups: &[Group]) -> Result<Vec<Identity>, TelemetryError> {
    let text = |template: &Template| -> Result<Vec<String>, TelemetryError> {
        let columns: Vec<(&str, Codes)> =
            template.columns().map(|name| Ok((name, table.codes(name)?))).collect::<Result<_, TelemetryError>>()?;
        groups.iter().map(|group| one_text(table, template, &columns, group)).collect()
    };
    let (host, sample, profile) = (text(&mapping.host)?, text(&mapping.sample)?, text(&mapping.profile)?);
    let sha256 = mapping.sample_sha256.as_ref().map(text).transpose()?;
    let given = mapping.given.as_ref().map(|given| table.codes(&given.column)).transpose()?;
    let calibration = mapping.calibration.as_ref().map(|calibration| table.codes(&calibration.column)).transpose()?;
    let mut identities = Vec::with_capacity(groups.len());
    for (i, group) in groups.iter().enumerate() {
        let given = match (&mapping.given, &given) {
            (Some(given), Some(codes)) => {
                let value = constant(table, &given.column, codes, group)?;
                let means = |values: &[String]| value.is_some_and(|value| values.iter().any(|known| known == value));
                let sides =
                    [(Side::Train, &given.train), (Side::Validation, &given.validation), (Side::Test, &given.test)];
                sides.into_iter().find(|(_, values)| means(values)).map(|(side, _)| side)
            }
            _ => None,
        };
        let calibration = match (&mapping.calibration, &calibration) {
            (Some(calibration), Some(codes)) => constant(table, &calibration.column, codes, group)?
                .is_some_and(|value| calibration.values.iter().any(|known| known == value)),
            _ => false,
        };
        identities.push(Identity {
            host: host[i].clone(),
            sample: sample[i].clone(),
            profile: profile[i].clone(),
            sample_sha256: sha256.as_ref().map(|all| all[i].to_ascii_lowercase()),
            given,
            calibration,
        });
    }
    Ok(identities)
}

fn one_text(
    table: &Table,
    template: &Template,
    columns: &[(&str, Codes)],
    group: &Group,
) -> Result<String, TelemetryError> {
    let mut values = Vec::with_capacity(columns.len());
    for (name, codes) in columns {
        let value = constant(table, name, codes, group)?;
        let first = group.rows.first().map(|row| *row as usize);
        let why = "a value is missing, and host, sample and profile need one";
        values.push((*name, value.ok_or_else(|| table.fault(name, first, why))?));
    }
    let find = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    Ok(template.fill(find).unwrap_or_default())
}

/// The one value that a column has in an episode.
fn constant<'a>(
    table: &Table,
    column: &str,
    codes: &'a Codes,
    group: &Group,
) -> Result<Option<&'a str>, TelemetryError> {
    let Some(&first) = group.rows.first() else { return Ok(None) };
    let code = codes.codes[first as usize];
    match group.rows.iter().find(|row| codes.codes[**row as usize] != code) {
        None => Ok(codes.text(first as usize)),
        Some(other) => {
            let why =
                format!("it changes inside episode `{}`: add the column to episode.key", printable(&group.key, 64));
            Err(table.fault(column, Some(*other as usize), why))
        }
    }
}

/// The class of every row, by position in `classes`.
pub(super) fn labels(mapping: &Mapping, table: &Table, classes: &[String]) -> Result<Vec<u16>, TelemetryError> {
    let labels = &mapping.labels;
    let codes = table.codes(&labels.column)?;
    let class_of = |value: &str| -> Option<u16> {
        if labels.unlabelled.iter().any(|known| known == value) {
            return Some(UNLABELLED);
        }
        let class = labels.map.get(value).map_or(value, String::as_str);
        classes.iter().position(|known| known == class).map(|i| i as u16)
    };
    let of_code: Vec<Option<u16>> = codes.texts.iter().map(|text| class_of(text)).collect();
    let of_missing = labels.unlabelled.iter().any(|known| known == "null").then_some(UNLABELLED);
    let class = |(row, code): (usize, &u32)| {
        let class = if *code == MISSING { of_missing } else { of_code[*code as usize] };
        class.ok_or_else(|| {
            let value = codes.text(row).map_or("null".into(), |value| printable(value, 64));
            let why = format!(
                "unknown label `{value}`: add it to labels.map or labels.unlabelled (classes: {})",
                printable(&classes.join(", "), 200)
            );
            table.fault(&labels.column, Some(row), why)
        })
    };
    codes.codes.iter().enumerate().map(class).collect()
}

/// The values of every channel, for tables whose rows are readings or events. Infinite values become missing.
pub(super) fn values(
    channels: &[PlannedChannel],
    table: &Table,
    report: &mut ImportReport,
) -> Result<Vec<Values>, TelemetryError> {
    let read = |channel: &PlannedChannel| -> Result<Values, TelemetryError> {
        let Some(column) = &channel.column else { return Ok(Values::Count) };
        Ok(match channel.fold {
            Some(Fold::Count) => Values::Count,
            Some(Fold::Distinct) => Values::Distinct(table.codes(column)?.codes),
            Some(Fold::Sum) => Values::Sum(table.numbers(column)?),
            Some(Fold::Mean) => Values::Mean(table.numbers(column)?),
            Some(Fold::Max) => Values::Max(table.numbers(column)?),
            None => Values::Last(table.numbers(column)?),
        })
    };
    let mut all: Vec<Values> = channels.iter().map(read).collect::<Result<_, _>>()?;
    for numbers in all.iter_mut().filter_map(Values::numbers_mut) {
        clean(numbers, report);
    }
    Ok(all)
}

/// JSON has finite numbers only: an infinite value becomes a missing one. Both are counted.
pub(super) fn clean(numbers: &mut [f64], report: &mut ImportReport) {
    for number in numbers {
        if number.is_infinite() {
            report.values_infinite += 1;
            *number = f64::NAN;
        } else if number.is_nan() {
            report.values_missing += 1;
        }
    }
}
