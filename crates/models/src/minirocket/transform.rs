//! Windows to features: the share of a convolution's outputs above a bias (PPV), for many kernels, dilations and biases
//! (Dempster et al., KDD 2021; channels as in the authors' multivariate version).

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::{Geometry, ModelError};
use stakeout_kernels::rocket::{Convolver, KERNELS, reach, shares_above};

use super::plan::{Dilation, quantile};
use super::series::Series;
use crate::bytes::Reader;
use crate::draw::{choose, uniform};

/// Most channels that one kernel sums.
const MOST_CHANNELS: usize = 9;

/// What turns a window into features.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transform {
    pub(super) dilations: Vec<Dilation>,
    /// The channels that are summed, one list a combination: for every dilation every kernel.
    pub(super) channels: Vec<Vec<u32>>,
    /// One bias a feature, combination by combination.
    pub(super) biases: Vec<f32>,
    /// Shares missing that are features as well, behind the others.
    pub(super) gaps: Vec<Gap>,
}

/// A channel whose share missing is a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gap {
    pub(super) channel: u32,
    /// The largest share of a training window. A larger one counts as this one: how a decision goes on beyond what was
    /// seen is anybody's guess.
    pub(super) most: f32,
}

/// One kernel at one dilation.
struct Combination<'a> {
    dilation: usize,
    kernel: usize,
    channels: &'a [u32],
    /// Whether outputs count whose kernel hangs over an end of the series.
    padded: bool,
    features: Range<usize>,
}

impl Transform {
    /// Draws the channels of each combination: 2^U of them, U uniform between 0 and log2(min(channels, 9) + 1), each
    /// set of that size equally likely. Biases are still to be taken.
    pub(super) fn draw(
        dilations: Vec<Dilation>,
        channels: usize,
        gaps: Vec<Gap>,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Self {
        let exponent = (channels.min(MOST_CHANNELS) as f64 + 1.0).log2();
        let lists = (0..KERNELS * dilations.len())
            .map(|_| {
                let count = (uniform(rng) * exponent).exp2() as usize;
                choose(channels, count.min(channels.min(MOST_CHANNELS)), rng)
            })
            .collect();
        let features = KERNELS * dilations.iter().map(|one| one.features).sum::<usize>();
        Self { dilations, channels: lists, biases: vec![0.0; features], gaps }
    }

    /// Features of a window.
    pub(super) fn width(&self) -> usize {
        self.biases.len() + self.gaps.len()
    }

    fn combinations(&self) -> impl Iterator<Item = Combination<'_>> {
        let mut from = 0;
        let all = self.dilations.iter().enumerate().flat_map(|(i, one)| (0..KERNELS).map(move |k| (i, one, k)));
        all.zip(&self.channels).map(move |((index, one, kernel), channels)| {
            let features = from..from + one.features;
            from = features.end;
            Combination {
                dilation: one.step,
                kernel,
                channels,
                padded: !one.inside || (index + kernel) % 2 == 0,
                features,
            }
        })
    }

    /// Takes the biases of every combination from quantiles of its output on one window, drawn by `pick`.
    ///
    /// # Errors
    /// As `pick`.
    pub(super) fn take_biases(
        &mut self,
        mut pick: impl FnMut() -> Result<Series, ModelError>,
    ) -> Result<(), ModelError> {
        let mut biases = vec![0.0; self.biases.len()];
        let mut convolver = Convolver::default();
        for one in self.combinations() {
            let series = pick()?;
            let channels = one.channels.iter().map(|channel| series.channel(0, *channel as usize));
            convolver.load(channels, series.length(0), one.dilation);
            let mut sorted = convolver.convolve(one.kernel).to_vec();
            sorted.sort_unstable_by(f32::total_cmp);
            for feature in one.features {
                biases[feature] = at_quantile(&sorted, quantile(feature));
            }
        }
        self.biases = biases;
        Ok(())
    }

    /// The features of one window into `out`.
    pub(super) fn apply(&self, series: &Series, window: usize, convolver: &mut Convolver, out: &mut [f32]) {
        let length = series.length(window);
        let mut loaded: Option<(usize, &[u32])> = None;
        let (shares, gaps) = out.split_at_mut(self.biases.len());
        for one in self.combinations() {
            let wanted = Some((one.dilation, one.channels));
            if loaded != wanted {
                let channels = one.channels.iter().map(|channel| series.channel(window, *channel as usize));
                convolver.load(channels, length, one.dilation);
                loaded = wanted;
            }
            let outputs = &convolver.convolve(one.kernel)[counted(length, one.dilation, one.padded)];
            shares_above(outputs, &self.biases[one.features.clone()], &mut shares[one.features]);
        }
        for (out, gap) in gaps.iter_mut().zip(&self.gaps) {
            *out = series.shares(window)[gap.channel as usize].min(gap.most);
        }
    }

    /// Little endian `u32` words: number of dilations, per dilation it, its features and 1 where every second kernel
    /// stays inside (else 0), per combination the number of channels and the channels, the number of channels with a
    /// share missing and those channels; then `f32`: the largest share of each, then the biases.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut word = |word: usize| bytes.extend((word as u32).to_le_bytes());
        word(self.dilations.len());
        for one in &self.dilations {
            word(one.step);
            word(one.features);
            word(usize::from(one.inside));
        }
        let gaps: Vec<u32> = self.gaps.iter().map(|gap| gap.channel).collect();
        for list in self.channels.iter().chain([&gaps]) {
            word(list.len());
            for channel in list {
                word(*channel as usize);
            }
        }
        bytes.extend(self.gaps.iter().flat_map(|gap| gap.most.to_le_bytes()));
        bytes.extend(self.biases.iter().flat_map(|bias| bias.to_le_bytes()));
    }

    /// Reads what [`Transform::write`] wrote, and believes nothing.
    pub(super) fn read(reader: &mut Reader<'_>, geometry: Geometry) -> Result<Self, ModelError> {
        let count = reader.u32()? as usize;
        let words = reader.take(count, 12)?;
        let dilations: Vec<Dilation> = words
            .chunks_exact(12)
            .map(|three| {
                let word = |at: usize| u32::from_le_bytes(three[at..at + 4].try_into().expect("four bytes")) as usize;
                Dilation { step: word(0), features: word(4), inside: word(8) == 1 }
            })
            .collect();
        if let Some(flag) = words.chunks_exact(4).skip(2).step_by(3).find(|flag| !matches!(flag, [0 | 1, 0, 0, 0])) {
            return Err(refused(format!("{flag:?} is neither yes nor no")));
        }
        if let Some(one) = dilations.iter().find(|one| !(1..=geometry.steps.max(1)).contains(&one.step)) {
            return Err(refused(format!("dilation {} on {} steps", one.step, geometry.steps)));
        }
        let mut list = |most: usize| -> Result<Vec<u32>, ModelError> {
            let count = reader.u32()? as usize;
            let bytes = reader.take(count, 4)?;
            let list: Vec<u32> =
                bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
            let known = list.iter().all(|channel| (*channel as usize) < geometry.channels);
            let ascending = list.windows(2).all(|pair| pair[0] < pair[1]);
            if count > most || !known || !ascending {
                return Err(refused(format!("a list of {count} channels that are not {} in order", geometry.channels)));
            }
            Ok(list)
        };
        let channels = (0..KERNELS * dilations.len()).map(|_| list(MOST_CHANNELS)).collect::<Result<_, _>>()?;
        let gaps = list(geometry.channels)?;
        let most = reader.f32s(gaps.len())?;
        let features = dilations.iter().map(|one| one.features).sum::<usize>();
        if features == 0 {
            return Err(refused("they hold no feature".into()));
        }
        let biases = reader.f32s(features.saturating_mul(KERNELS))?;
        if let Some(number) = biases.iter().chain(&most).find(|number| !number.is_finite()) {
            return Err(refused(format!("{number} is no bias and no share")));
        }
        let gaps = gaps.into_iter().zip(most).map(|(channel, most)| Gap { channel, most }).collect();
        Ok(Self { dilations, channels, biases, gaps })
    }
}

fn refused(why: String) -> ModelError {
    ModelError::Weights(why)
}

/// The outputs that count: all, or those whose kernel lies within the series. A series shorter than the kernel has none
/// of the latter, and all count.
fn counted(length: usize, dilation: usize, padded: bool) -> Range<usize> {
    let reach = reach(dilation);
    if padded || length <= 2 * reach { 0..length } else { reach..length - reach }
}

/// Linear interpolation between neighbours, as numpy's default; 0 where there is no value.
fn at_quantile(sorted: &[f32], quantile: f64) -> f32 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = quantile * last as f64;
    let below = f64::from(sorted[place as usize]);
    let above = f64::from(sorted[(place as usize + 1).min(last)]);
    (below + (above - below) * place.fract()) as f32
}

#[cfg(test)]
mod tests;
