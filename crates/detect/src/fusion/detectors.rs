//! What this program has, as detectors.

use stakeout_core::{BaseModel, Calibration};

use super::{Detector, Observation, Said, Scratch, named};
use crate::DetectError;
use crate::baseline::Baselines;
use crate::reliability::check_name;
use crate::sequence::SequenceModel;

/// A fitted model: the probability of every class but the benign one.
pub struct ModelDetector {
    id: String,
    model: Box<dyn BaseModel>,
    calibration: Option<Calibration>,
    benign: u16,
}

impl ModelDetector {
    /// A model with its calibration map, and the class that means that nothing is wrong.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a name that the reliability store does not take, a class that the model does not have,
    /// or a map for other classes.
    pub fn new(
        id: impl Into<String>,
        model: Box<dyn BaseModel>,
        calibration: Option<Calibration>,
        benign: u16,
    ) -> Result<Self, DetectError> {
        let id = id.into();
        check_name("detector", &id)?;
        let classes = model.geometry().classes;
        if usize::from(benign) >= classes {
            let why = format!("class {benign} of a model with {classes} classes");
            return Err(DetectError::Invalid { what: "benign class", why });
        }
        if let Some(map) = &calibration {
            let invalid =
                |why: stakeout_core::CoreError| DetectError::Invalid { what: "calibration map", why: why.to_string() };
            map.check_classes(classes).map_err(invalid)?;
        }
        Ok(Self { id, model, calibration, benign })
    }
}

impl Detector for ModelDetector {
    fn id(&self) -> &str {
        &self.id
    }

    fn look(&self, observation: &Observation<'_>, scratch: &mut Scratch) -> Result<Said, DetectError> {
        let Some(window) = named(observation.windows, &self.id) else { return Ok(nothing("there is no window")) };
        if window.rows() != 1 {
            return Ok(nothing(&format!("there are {} windows, one is looked at", window.rows())));
        }
        scratch.probabilities.clear();
        scratch.probabilities.resize(self.model.geometry().classes, 0.0);
        let asked = self.model.predict_into(window, &mut scratch.model, &mut scratch.probabilities);
        asked.map_err(|error| DetectError::Data(error.to_string()))?;
        if let Some(map) = &self.calibration {
            map.apply(&mut scratch.probabilities);
        }
        // Summed over the others: 1 - p of a model that is nearly sure would keep no digit of what it doubts.
        let others = scratch.probabilities.iter().zip(0u16..).filter(|(_, class)| *class != self.benign);
        let sum: f64 = others.map(|(p, _)| f64::from(*p)).sum();
        Ok(Said::Probability(sum.clamp(0.0, 1.0)))
    }
}

/// An outlier baseline: how often a normal vector of this host looks so strange.
pub struct BaselineDetector {
    id: String,
    baselines: Baselines,
}

impl BaselineDetector {
    /// The baselines of all hosts under one name.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a name that the reliability store does not take.
    pub fn new(id: impl Into<String>, baselines: Baselines) -> Result<Self, DetectError> {
        let id = id.into();
        check_name("detector", &id)?;
        Ok(Self { id, baselines })
    }
}

impl Detector for BaselineDetector {
    fn id(&self) -> &str {
        &self.id
    }

    fn look(&self, observation: &Observation<'_>, scratch: &mut Scratch) -> Result<Said, DetectError> {
        let Some(host) = observation.host else { return Ok(nothing("the host is not known")) };
        let vector = named(observation.vectors, &self.id);
        let score = self.baselines.score(host, vector, &mut scratch.baseline);
        Ok(match (score.skipped, self.baselines.get(host)) {
            (None, Some(baseline)) => Said::PValue(baseline.p_value(&score)),
            (Some(why), _) => nothing(&why.to_string()),
            (None, None) => nothing("there is no baseline of this host"),
        })
    }
}

/// An action-sequence classifier.
pub struct SequenceDetector {
    id: String,
    model: SequenceModel,
}

impl SequenceDetector {
    /// A fitted classifier under a name.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a name that the reliability store does not take.
    pub fn new(id: impl Into<String>, model: SequenceModel) -> Result<Self, DetectError> {
        let id = id.into();
        check_name("detector", &id)?;
        Ok(Self { id, model })
    }
}

impl Detector for SequenceDetector {
    fn id(&self) -> &str {
        &self.id
    }

    /// A model that was trained on normal sessions alone knows nothing of malice: it says how often a normal session is
    /// as unusual.
    fn look(&self, observation: &Observation<'_>, scratch: &mut Scratch) -> Result<Said, DetectError> {
        let Some(actions) = observation.actions else { return Ok(nothing("there is no session")) };
        let said = self.model.predict_names(actions.iter().copied(), &mut scratch.sequence);
        Ok(said.p_value.map_or(Said::Probability(said.probability), Said::PValue))
    }
}

fn nothing(why: &str) -> Said {
    Said::Nothing(why.to_owned())
}
