//! Stored predictions: who each scored window is, its label and one probability a class.

use stakeout_core::confusion::argmax;
use stakeout_core::{Calibration, ClassList, Side};

use crate::{EvalError, Names};

/// One scored window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'a> {
    /// The side of the fold that the window was on.
    pub side: Side,
    /// Name of the fold: the held-out group, or the recipe where there is one fold.
    pub fold: &'a str,
    /// The seed of the run.
    pub seed: u64,
    /// ULID of the episode.
    pub episode: &'a str,
    /// The device.
    pub host: &'a str,
    /// The program.
    pub sample: &'a str,
    /// Its behaviour family.
    pub profile: &'a str,
    /// Start of the window in `t_wall_ns`.
    pub t0_ns: i64,
    /// Onset of the behaviour in the episode, where there is one.
    pub t_onset_ns: Option<i64>,
    /// Length of the observed part of the window.
    pub observed_seconds: f64,
    /// Class id of the label.
    pub label: u16,
    /// One probability a class.
    pub probabilities: &'a [f32],
}

/// The predictions of one run or of many, a column a field, with names interned.
///
/// Every row has a label inside the class list, one finite and not negative probability a class and a finite
/// observed length, or it is not here.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    classes: ClassList,
    pub(crate) folds: Names,
    pub(crate) episodes: Names,
    pub(crate) hosts: Names,
    pub(crate) samples: Names,
    pub(crate) profiles: Names,
    pub(crate) side: Vec<Side>,
    pub(crate) fold: Vec<u32>,
    pub(crate) seed: Vec<u64>,
    pub(crate) episode: Vec<u32>,
    pub(crate) host: Vec<u32>,
    pub(crate) sample: Vec<u32>,
    pub(crate) profile: Vec<u32>,
    pub(crate) t0_ns: Vec<i64>,
    pub(crate) t_onset_ns: Vec<Option<i64>>,
    pub(crate) observed_seconds: Vec<f64>,
    pub(crate) label: Vec<u16>,
    pub(crate) probabilities: Vec<f32>,
}

impl Predictions {
    /// No rows yet.
    pub fn new(classes: ClassList) -> Self {
        Self {
            classes,
            folds: Names::default(),
            episodes: Names::default(),
            hosts: Names::default(),
            samples: Names::default(),
            profiles: Names::default(),
            side: Vec::new(),
            fold: Vec::new(),
            seed: Vec::new(),
            episode: Vec::new(),
            host: Vec::new(),
            sample: Vec::new(),
            profile: Vec::new(),
            t0_ns: Vec::new(),
            t_onset_ns: Vec::new(),
            observed_seconds: Vec::new(),
            label: Vec::new(),
            probabilities: Vec::new(),
        }
    }

    /// Adds a scored window.
    ///
    /// # Errors
    /// [`EvalError::Row`] when the row breaks a rule of this type; nothing is added then.
    pub fn push(&mut self, row: &Prediction<'_>) -> Result<(), EvalError> {
        let refuse = |why| Err(EvalError::Row { row: self.len(), why });
        let classes = self.classes.len();
        if usize::from(row.label) >= classes {
            return refuse(format!("label {} with {classes} classes", row.label));
        }
        if row.probabilities.len() != classes {
            return refuse(format!("{} probabilities with {classes} classes", row.probabilities.len()));
        }
        if let Some(p) = row.probabilities.iter().find(|p| !p.is_finite() || **p < 0.0) {
            return refuse(format!("probability {p}: it must be finite and not negative"));
        }
        if !row.observed_seconds.is_finite() || row.observed_seconds < 0.0 {
            return refuse(format!("observed for {} s: it must be finite and not negative", row.observed_seconds));
        }
        self.side.push(row.side);
        self.fold.push(self.folds.intern(row.fold));
        self.seed.push(row.seed);
        self.episode.push(self.episodes.intern(row.episode));
        self.host.push(self.hosts.intern(row.host));
        self.sample.push(self.samples.intern(row.sample));
        self.profile.push(self.profiles.intern(row.profile));
        self.t0_ns.push(row.t0_ns);
        self.t_onset_ns.push(row.t_onset_ns);
        self.observed_seconds.push(row.observed_seconds);
        self.label.push(row.label);
        self.probabilities.extend_from_slice(row.probabilities);
        Ok(())
    }

    /// Sends every row through a calibration map.
    ///
    /// # Errors
    /// [`EvalError::Core`] for a map of another number of classes; nothing is changed then.
    pub fn calibrate(&mut self, map: &Calibration) -> Result<(), EvalError> {
        let classes = self.classes.len();
        map.check_classes(classes)?;
        self.probabilities.chunks_exact_mut(classes).for_each(|row| map.apply(row));
        Ok(())
    }

    /// Number of scored windows.
    pub fn len(&self) -> usize {
        self.label.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.label.is_empty()
    }

    /// The class list.
    pub fn classes(&self) -> &ClassList {
        &self.classes
    }

    /// One row, as it was pushed.
    ///
    /// # Panics
    /// When `row` is out of range.
    pub fn row(&self, row: usize) -> Prediction<'_> {
        Prediction {
            side: self.side[row],
            fold: self.folds.get(self.fold[row]),
            seed: self.seed[row],
            episode: self.episodes.get(self.episode[row]),
            host: self.hosts.get(self.host[row]),
            sample: self.samples.get(self.sample[row]),
            profile: self.profiles.get(self.profile[row]),
            t0_ns: self.t0_ns[row],
            t_onset_ns: self.t_onset_ns[row],
            observed_seconds: self.observed_seconds[row],
            label: self.label[row],
            probabilities: self.probabilities(row),
        }
    }

    /// The probabilities of one row.
    ///
    /// # Panics
    /// When `row` is out of range.
    pub fn probabilities(&self, row: usize) -> &[f32] {
        let classes = self.classes.len();
        &self.probabilities[row * classes..(row + 1) * classes]
    }

    /// The most probable class of one row; the first one wins a tie.
    ///
    /// # Panics
    /// When `row` is out of range.
    pub fn predicted(&self, row: usize) -> u16 {
        argmax(self.probabilities(row))
    }

    /// The rows of a side, ascending.
    pub fn rows_of(&self, side: Side) -> Vec<usize> {
        (0..self.len()).filter(|&row| self.side[row] == side).collect()
    }
}
