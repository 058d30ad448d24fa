//! What every net shares as an estimator: settings in, a fitted net out. A net brings its settings ([`NetConfig`]).

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stakeout_core::{
    BaseModel, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelEntry, ModelError, ModelKind,
};

use super::config::{self, TrainConfig};
use super::model::FittedNet;
use super::{Net, train};

/// The settings of `[model.<kind>]`, and the net that they make.
pub(crate) trait NetConfig:
    Debug + Clone + PartialEq + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind of model.
    const KIND: &'static str;
    /// One line for lists.
    const ABOUT: &'static str;
    /// The settings with their defaults, commented, as TOML that ends with the section `[train]`.
    const DEFAULTS: &'static str;
    /// What the net is fed.
    const INPUT: InputKind = InputKind::Tensor;

    /// How this net is trained where nothing else is asked for.
    fn train() -> TrainConfig {
        TrainConfig::default()
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the key and the range.
    fn check(&self) -> Result<(), ModelError>;

    /// Checks that windows of a geometry fit into memory.
    ///
    /// # Errors
    /// [`ModelError::Data`] naming what to change.
    fn check_geometry(&self, _geometry: Geometry) -> Result<(), ModelError> {
        Ok(())
    }

    /// The net for windows of a geometry.
    fn net(&self, geometry: Geometry) -> Box<dyn Net>;
}

/// An unfitted net: its own settings, and how it is trained.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetEstimator<C> {
    pub(crate) config: C,
    pub(crate) train: TrainConfig,
}

impl<C: NetConfig> NetEstimator<C> {
    /// An estimator from (possibly partial) settings, with those of training under `train`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for an unknown key, a value of the wrong type or one out of range.
    pub(crate) fn from_config(value: &serde_json::Value) -> Result<Self, ModelError> {
        let (config, train): (C, _) = config::parse(C::KIND, value, &C::train())?;
        config.check()?;
        train.check(C::KIND)?;
        Ok(Self { config, train })
    }
}

/// The registry entry of a net.
pub(crate) fn entry<C: NetConfig>() -> ModelEntry {
    ModelEntry {
        kind: name::<C>(),
        about: C::ABOUT,
        defaults: C::DEFAULTS,
        configure: |value| Ok(Box::new(NetEstimator::<C>::from_config(value)?)),
        load: load::<C>,
    }
}

fn name<C: NetConfig>() -> ModelKind {
    ModelKind::new(C::KIND).expect("a valid kind")
}

fn load<C: NetConfig>(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let estimator = NetEstimator::<C>::from_config(cx.config)?;
    estimator.config.check_geometry(cx.geometry)?;
    let net = estimator.config.net(cx.geometry);
    Ok(Box::new(FittedNet::load(name::<C>(), C::INPUT, estimator.config(), net, cx)?))
}

impl<C: NetConfig> Estimator for NetEstimator<C> {
    fn kind(&self) -> ModelKind {
        name::<C>()
    }

    fn input(&self) -> InputKind {
        C::INPUT
    }

    /// A validation side chooses an epoch only where training may stop early.
    fn needs_validation(&self) -> bool {
        self.train.patience > 0
    }

    fn config(&self) -> serde_json::Value {
        config::to_value(&self.config, &self.train)
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        let geometry = train.windows.schema().geometry();
        self.config.check_geometry(geometry)?;
        let net = self.config.net(geometry);
        let task = format!("{} {}", C::KIND, self.config());
        let values = train::fit(net.as_ref(), C::INPUT, &self.train, &task, train, cx)?;
        let net = self.config.net(geometry); // without the memory that training left in the other one
        Ok(Box::new(FittedNet::new(name::<C>(), C::INPUT, self.config(), geometry, net, values, cx.device)))
    }
}
