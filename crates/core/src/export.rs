//! Leaving for other programs: the formats that a fitted model may be written in, and what it is told for that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CheckpointHeader, CoreError, InputKind, Moments, Scaler};

/// A file format of other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportFormat {
    /// A computation graph (ONNX) from raw windows, gaps as NaN, to class probabilities.
    Onnx,
    /// Named weights alone (safetensors).
    Safetensors,
    /// Boosted trees as `XGBoost` reads them (its JSON model format).
    XgBoost,
}

impl ExportFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Onnx, Self::Safetensors, Self::XgBoost];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Safetensors => "safetensors",
            Self::XgBoost => "xgboost",
        }
    }

    /// How an export is called inside a run directory.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Onnx => "model.onnx",
            Self::Safetensors => "model.safetensors",
            Self::XgBoost => "model.xgboost.json",
        }
    }
}

impl FromStr for ExportFormat {
    type Err = CoreError;

    fn from_str(s: &str) -> Result<Self, CoreError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == s)
            .ok_or_else(|| CoreError::invalid("export format", s, "use onnx, safetensors or xgboost"))
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What surrounds a model in its checkpoint, so that an exported file can take raw windows and say what it is.
#[derive(Debug, Clone, Copy)]
pub struct ExportContext<'a> {
    /// Where the model comes from and what it is fed.
    pub header: &'a CheckpointHeader,
    /// What raw values are centred and scaled by: one pair a feature (summary) or a channel (tensor); `None`: they are
    /// taken as they are.
    pub moments: Option<&'a Moments>,
    /// The host that the moments are of, where every host has its own.
    pub host: Option<&'a str>,
}

impl<'a> ExportContext<'a> {
    /// The context of a checkpoint; `host` chooses among the moments of a host-clean scaler.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] when a host is needed and not given, given and not needed, or not known;
    /// [`CoreError::Shape`] when the moments do not follow the schema.
    pub fn new(header: &'a CheckpointHeader, host: Option<&'a str>) -> Result<Self, CoreError> {
        let moments = match (&header.scaler, host) {
            (Scaler::None, None) => None,
            (Scaler::Global(moments), None) => Some(moments),
            (Scaler::None | Scaler::Global(_), Some(host)) => {
                let why = format!("the scaler is {}, the same for every host: name none", header.scaler.name());
                return Err(CoreError::invalid("host", host, why));
            }
            (Scaler::HostClean(by_host), host) => {
                let moments = host.and_then(|host| by_host.get(host));
                Some(moments.ok_or_else(|| {
                    let known = by_host.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let why = format!("the scaler is host-clean, an export is for one host: add --host NAME ({known})");
                    CoreError::invalid("host", host.unwrap_or("(none named)"), why)
                })?)
            }
        };
        if let Some(moments) = moments {
            check(moments, header)?;
        }
        Ok(Self { header, moments, host })
    }
}

/// One usable pair an input.
fn check(moments: &Moments, header: &CheckpointHeader) -> Result<(), CoreError> {
    let geometry = header.schema.geometry();
    let needed = match header.input {
        InputKind::Summary => geometry.features,
        InputKind::Tensor => geometry.channels,
    };
    for (what, got) in [("list of means", moments.mean.len()), ("list of deviations", moments.deviation.len())] {
        if got != needed {
            return Err(CoreError::Shape { what, got: got.to_string(), expected: needed.to_string() });
        }
    }
    if let Some(mean) = moments.mean.iter().find(|mean| !mean.is_finite()) {
        return Err(CoreError::invalid("mean of the scaler", mean.to_string(), "it is finite"));
    }
    if let Some(deviation) = moments.deviation.iter().find(|d| !(d.is_finite() && **d > 0.0)) {
        return Err(CoreError::invalid("deviation of the scaler", deviation.to_string(), "it is positive and finite"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ChannelSpec, ModelKind, Schema, View, WindowSpec, channels, class};

    fn header(scaler: Scaler) -> CheckpointHeader {
        let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
        let schema = Schema::new(all, View::Realistic, WindowSpec::default(), class::built_in(), 1).unwrap();
        CheckpointHeader {
            kind: ModelKind::new("gru").unwrap(),
            config: serde_json::json!({}),
            input: InputKind::Tensor,
            schema_hash: schema.hash(),
            schema,
            scaler,
            calibration: None,
            recipe: "host".into(),
            held_out: Vec::new(),
            tested: true,
            seed: 1,
            simulated: true,
            code_version: "0.1.0".into(),
        }
    }

    fn moments(width: usize) -> Moments {
        Moments { mean: vec![0.5; width], deviation: vec![2.0; width] }
    }

    #[test]
    fn names_round_trip() {
        for format in ExportFormat::ALL {
            assert_eq!(format.name().parse::<ExportFormat>().unwrap(), format);
        }
        assert!("pickle".parse::<ExportFormat>().unwrap_err().to_string().contains("onnx, safetensors or xgboost"));
    }

    #[test]
    fn a_host_is_named_exactly_where_hosts_differ() {
        assert!(ExportContext::new(&header(Scaler::None), None).unwrap().moments.is_none());
        let global = header(Scaler::Global(moments(29)));
        assert!(ExportContext::new(&global, None).unwrap().moments.is_some());
        assert!(ExportContext::new(&global, Some("host-1")).is_err());
        let by_host = header(Scaler::HostClean(BTreeMap::from([("host-1".into(), moments(29))])));
        assert!(ExportContext::new(&by_host, Some("host-1")).unwrap().moments.is_some());
        for host in [None, Some("host-2")] {
            let message = ExportContext::new(&by_host, host).unwrap_err().to_string();
            assert!(message.contains("host-1"), "{message}");
        }
    }

    #[test]
    fn moments_that_cannot_be_used_are_refused() {
        let mut zero = moments(29);
        zero.deviation[3] = 0.0;
        let mut infinite = moments(29);
        infinite.mean[3] = f32::INFINITY;
        for moments in [moments(28), zero, infinite] {
            assert!(ExportContext::new(&header(Scaler::Global(moments)), None).is_err());
        }
    }
}
