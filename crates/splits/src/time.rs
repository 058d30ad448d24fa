//! `time`: train on what came first, test on what came last.

use serde::Deserialize;
use serde_json::Value;
use stakeout_core::{SampleIndex, Side};

use crate::checks::{Checks, Twins, check_share, finish, parse};
use crate::groups::check_index;
use crate::instant::{file_instant, instant};
use crate::recipe::RecipeEntry;
use crate::{Dropped, Duplicates, Fold, FoldParts, MinCell, Separates, Split, SplitError};

pub(crate) const ENTRY: RecipeEntry = RecipeEntry {
    name: "time",
    about: "train strictly before validation strictly before test: does it work in a month that it has never seen?",
    defaults: DEFAULTS,
    configure,
};

const DEFAULTS: &str = "\
# Share of the windows, the last ones, that test.
test_share = 0.2
# Share of the windows before them, again the last ones, that validate; 0 = no validation side.
validation_share = 0.2
# Instead of a share: the instant (Unix nanoseconds) from which windows test, or validate.
# test_from_ns = 1767225600000000000
# validation_from_ns = 1764547200000000000
# Length of the gap between two sides, in windows, at least 1; the windows in it are dropped and counted.
purge_windows = 1
# Refuse a fold whose test side has a profile that its training side lacks.
require_profiles = false
# Windows of identical content on two sides: \"error\", or \"drop\" the ones on the earlier side.
duplicates = \"error\"
# From how many test windows and episodes on a cell of the ledger counts as tested.
min_cell = { windows = 20, episodes = 3 }
";

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    test_share: f64,
    validation_share: f64,
    test_from_ns: Option<i64>,
    validation_from_ns: Option<i64>,
    purge_windows: u32,
    require_profiles: bool,
    duplicates: Twins,
    min_cell: MinCell,
}

impl Default for Config {
    fn default() -> Self {
        let Checks { require_profiles, duplicates, min_cell } = Checks::default();
        Self {
            test_share: 0.2,
            validation_share: 0.2,
            test_from_ns: None,
            validation_from_ns: None,
            purge_windows: 1,
            require_profiles,
            duplicates,
            min_cell,
        }
    }
}

struct Time(Config);

fn configure(body: &Value) -> Result<Box<dyn Split>, SplitError> {
    let config: Config = parse("time", body)?;
    check_share("time", "test_share", config.test_share, false)?;
    check_share("time", "validation_share", config.validation_share, true)?;
    let refuse = |why: &str| Err(SplitError::Config { recipe: "time".into(), why: why.into() });
    if config.purge_windows == 0 {
        return refuse("purge_windows is 0; it must be at least 1, because windows overlap");
    }
    if let (Some(validation), Some(test)) = (config.validation_from_ns, config.test_from_ns)
        && validation >= test
    {
        return refuse("validation_from_ns must lie before test_from_ns");
    }
    Ok(Box::new(Time(config)))
}

/// The start of the last `share` of some starts: at least one window. `None` without any.
fn last_share(t0_ns: &[i64], share: f64) -> Option<i64> {
    let k = ((t0_ns.len() as f64 * share).round() as usize).clamp(1, t0_ns.len().max(1));
    t0_ns.get(t0_ns.len().checked_sub(k)?).copied()
}

impl Split for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn separates(&self) -> Separates {
        Separates::Time
    }

    fn min_cell(&self) -> MinCell {
        self.0.min_cell
    }

    fn folds(&self, index: &SampleIndex, _seed: u64) -> Result<Vec<Fold>, SplitError> {
        check_index(index)?;
        let config = &self.0;
        // In i128 no clock can overflow. A window ends one length after its start, then comes the gap.
        let reach = i128::from(index.window_ns) * (1 + i128::from(config.purge_windows));
        let before = |t0_ns: i64, from_ns: i64| i128::from(t0_ns) + reach <= i128::from(from_ns);
        let mut t0_ns: Vec<i64> = index.windows.iter().map(|window| window.t0_ns).collect();
        t0_ns.sort_unstable();
        // Not empty: the index was checked.
        let test_from = config.test_from_ns.or_else(|| last_share(&t0_ns, config.test_share)).unwrap_or(i64::MAX);
        t0_ns.retain(|&t0| before(t0, test_from));
        let wanted = config.validation_share > 0.0 || config.validation_from_ns.is_some();
        let validation_from = config.validation_from_ns.or_else(|| last_share(&t0_ns, config.validation_share));
        let validation_from = validation_from.filter(|_| wanted).unwrap_or(test_from).min(test_from);

        let (mut sides, mut purged) = ([const { Vec::new() }; 3], Vec::new());
        for (row, window) in index.windows.iter().enumerate() {
            let side = match window.t0_ns {
                t0 if t0 >= test_from => Some(Side::Test),
                t0 if t0 >= validation_from => before(t0, test_from).then_some(Side::Validation),
                t0 => before(t0, validation_from).then_some(Side::Train),
            };
            match side {
                Some(side) => sides[side as usize].push(row),
                None => purged.push(row),
            }
        }
        let [train, validation, test] = sides;
        for (side, rows) in [(Side::Train, &train), (Side::Test, &test)] {
            if rows.is_empty() {
                let why = format!(
                    "no window is left on the {side} side: the windows span too little time for the shares and a gap of {} windows between sides",
                    config.purge_windows
                );
                return Err(SplitError::Unsplittable { recipe: "time".into(), why });
            }
        }
        let mut notes = Vec::new();
        if !purged.is_empty() {
            notes.push(format!(
                "windows purged, because they end less than {} window lengths before a later side: {}",
                config.purge_windows,
                purged.len()
            ));
        }
        if validation.is_empty() {
            notes.push(if wanted {
                "validation: none, because no window lies in its stretch of time".into()
            } else {
                "validation: none, because split.validation_share is 0".into()
            });
        }
        let cut = cut_episodes(index, [&train, &validation, &test]);
        if cut > 0 {
            notes.push(format!("episodes on two sides, one part earlier and one later: {cut}"));
        }
        let parts = FoldParts {
            name: format!("from-{}", file_instant(test_from)),
            held_out: vec![format!("t0 >= {}", instant(test_from))],
            train,
            validation,
            test,
            dropped: vec![Dropped { reason: "purged: too close to a later side".into(), rows: purged }],
            notes,
            test_by: Separates::Time,
            validation_by: Separates::Time,
        };
        let checks = Checks {
            require_profiles: config.require_profiles,
            duplicates: config.duplicates,
            min_cell: config.min_cell,
        };
        Ok(vec![finish(index, &Duplicates::of(index)?, checks, parts)?])
    }
}

/// How many episodes have windows on more than one side.
fn cut_episodes(index: &SampleIndex, sides: [&Vec<usize>; 3]) -> usize {
    let mut count = vec![0u8; index.episodes.len()];
    for rows in sides {
        let mut here = vec![false; index.episodes.len()];
        for &row in rows {
            here[index.windows[row].episode as usize] = true;
        }
        for (count, here) in count.iter_mut().zip(here) {
            *count += u8::from(here);
        }
    }
    count.into_iter().filter(|n| *n > 1).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        assert_eq!(toml::from_str::<Config>(DEFAULTS).unwrap(), Config::default());
    }

    #[test]
    fn the_gap_cannot_be_closed() {
        assert!(configure(&serde_json::json!({ "purge_windows": 0 })).is_err());
        assert!(configure(&serde_json::json!({ "test_from_ns": 5, "validation_from_ns": 5 })).is_err());
    }

    #[test]
    fn the_last_share_starts_where_it_should() {
        assert_eq!(last_share(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.2), Some(9));
        assert_eq!(last_share(&[1, 2], 0.01), Some(2));
        assert_eq!(last_share(&[], 0.2), None);
    }
}
