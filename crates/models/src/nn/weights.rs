//! The weights of a net: a list of named shapes, and all numbers in one slice on the host.
//!
//! The optimiser, the global gradient norm and the stored bytes see one flat slice; tensors are made from it for each
//! step (some hundred kilobytes, a small part of a step), so that nothing that decides the result lives in a library.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};
use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::ModelError;

use super::rng;
use crate::bytes::Reader;

const MAGIC: [u8; 4] = *b"STKW";
const VERSION: u32 = 1;

/// How a weight starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Uniform in ± the bound.
    Uniform(f32),
    /// Zero.
    Zero,
    /// One.
    One,
    /// One in a range of the flat numbers, zero elsewhere.
    OneIn(usize, usize),
}

/// One named weight. What a training batch only observes (the statistics of a normalisation) is listed as a weight too:
/// it has no gradient, so that the optimiser leaves it alone, and is stored and resumed with the others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightSpec {
    /// Unique name, as it is stored.
    pub(crate) name: String,
    /// Its shape; a weight with two or more dimensions is decayed, a bias is not.
    pub(crate) shape: Vec<usize>,
    /// How it starts.
    pub(crate) init: Init,
}

impl WeightSpec {
    /// A weight.
    pub(crate) fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), init }
    }

    /// How many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How many numbers all weights hold.
pub(crate) fn total(specs: &[WeightSpec]) -> usize {
    specs.iter().map(WeightSpec::len).sum()
}

/// Initial weights, in the order of the list.
pub(crate) fn draw(specs: &[WeightSpec], rng: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    let mut values = Vec::with_capacity(total(specs));
    for spec in specs {
        match spec.init {
            Init::Uniform(bound) => {
                values.extend((0..spec.len()).map(|_| bound * rng::unit(rng).mul_add(2.0, -1.0)));
            }
            Init::Zero => values.resize(values.len() + spec.len(), 0.0),
            Init::One => values.resize(values.len() + spec.len(), 1.0),
            Init::OneIn(from, to) => {
                values.extend((0..spec.len()).map(|i| f32::from(u8::from((from..to).contains(&i)))));
            }
        }
    }
    values
}

/// Weights as bytes: magic, version, and per weight its name, its shape and its numbers.
pub(crate) fn to_bytes(specs: &[WeightSpec], values: &[f32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 4 + specs.len() * 64);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(specs.len() as u32).to_le_bytes());
    let mut rest = values;
    for spec in specs {
        let (own, others) = rest.split_at(spec.len());
        rest = others;
        put_text(&mut out, &spec.name);
        out.extend_from_slice(&(spec.shape.len() as u32).to_le_bytes());
        for dim in &spec.shape {
            out.extend_from_slice(&(*dim as u32).to_le_bytes());
        }
        put_f32s(&mut out, own);
    }
    out
}

/// Weights from bytes, which must hold exactly the weights of the list.
///
/// # Errors
/// [`ModelError::Weights`] naming the first difference. Nothing is allocated for a length that the bytes do not hold.
pub(crate) fn from_bytes(specs: &[WeightSpec], bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
    let mut reader = Reader::new(bytes);
    reader.expect(MAGIC, VERSION)?;
    let count = reader.u32()? as usize;
    if count != specs.len() {
        return Err(ModelError::Weights(format!("{count} weights where the configuration makes {}", specs.len())));
    }
    let mut values = Vec::new();
    for spec in specs {
        let name = text(&mut reader)?;
        if name != spec.name {
            return Err(ModelError::Weights(format!("`{}` where `{}` is due", name.escape_default(), spec.name)));
        }
        let rank = reader.u32()? as usize;
        let mut shape = Vec::new();
        for _ in 0..rank.min(8) {
            shape.push(reader.u32()? as usize);
        }
        if rank != spec.shape.len() || shape != spec.shape {
            return Err(ModelError::Weights(format!(
                "`{}` is {shape:?} where the configuration and the schema make {:?}",
                spec.name, spec.shape
            )));
        }
        values.extend(finite(&mut reader, spec.len())?);
    }
    reader.end()?;
    Ok(values)
}

/// Appends numbers.
pub(crate) fn put_f32s(out: &mut Vec<u8>, values: &[f32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// Appends a text after its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads a text after its length.
pub(crate) fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, ModelError> {
    let length = reader.u32()? as usize;
    std::str::from_utf8(reader.take(length, 1)?).map_err(|_| ModelError::Weights("a name is not UTF-8".into()))
}

/// Reads numbers, all finite.
pub(crate) fn finite(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f32>, ModelError> {
    let values = reader.f32s(count)?;
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(ModelError::Weights("they hold a number that is not finite".into()))
    }
}

/// Name, shape and place of a weight.
type Placed = (String, Vec<usize>, Range<usize>);

/// Weights as tensors on a device: each by its name, or all of them as one. What is not asked for is not made.
pub(crate) struct Tensors {
    /// Name, shape and place of each.
    specs: Arc<[Placed]>,
    all: Tensor<1>,
    is_tracked: bool,
    /// All of them, as they are differentiated.
    whole: OnceLock<Tensor<1>>,
    leaves: Vec<OnceLock<Tensor<1>>>,
}

impl Tensors {
    /// Weights that only compute.
    pub(crate) fn new(specs: &[WeightSpec], values: &[f32], device: &Device) -> Self {
        let mut at = 0;
        let specs = specs.iter().map(|spec| {
            let place = at..at + spec.len();
            at = place.end;
            (spec.name.clone(), spec.shape.clone(), place)
        });
        let specs: Arc<[_]> = specs.collect();
        let all = Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
        Self { leaves: vec![OnceLock::new(); specs.len()], specs, all, is_tracked: false, whole: OnceLock::new() }
    }

    /// Weights whose gradients are asked for afterwards.
    #[cfg(test)]
    pub(crate) fn tracked(specs: &[WeightSpec], values: &[f32], device: &Device) -> Self {
        Self::new(specs, values, device).with_gradients()
    }

    /// The same weights at the root of a graph of its own, whose gradients are asked for afterwards. The numbers are shared,
    /// not copied.
    pub(crate) fn with_gradients(&self) -> Self {
        Self {
            specs: self.specs.clone(),
            all: self.all.clone(),
            is_tracked: true,
            whole: OnceLock::new(),
            leaves: vec![OnceLock::new(); self.specs.len()],
        }
    }

    /// Whether gradients are asked for afterwards.
    pub(crate) fn is_tracked(&self) -> bool {
        self.is_tracked
    }

    fn leaf(&self, values: Tensor<1>) -> Tensor<1> {
        if self.is_tracked { values.autodiff().require_grad() } else { values }
    }

    /// The weight of a name, in its shape.
    ///
    /// # Panics
    /// When the net did not list it, or with another rank.
    pub(crate) fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let at = self.specs.iter().position(|spec| spec.0 == name).expect("a listed weight");
        let (_, shape, place) = &self.specs[at];
        let shape: [usize; D] = shape.as_slice().try_into().expect("the rank of the weight");
        let leaf = || self.leaf(self.all.clone().narrow(0, place.start, place.len()));
        self.leaves[at].get_or_init(leaf).clone().reshape(shape)
    }

    /// All weights, in order.
    pub(crate) fn whole(&self) -> Tensor<1> {
        self.whole.get_or_init(|| self.leaf(self.all.clone())).clone()
    }

    /// The gradient of `loss` by every weight, flat and in order; zero where a weight takes no part.
    pub(crate) fn gradient(&self, loss: &Tensor<1>) -> Result<Vec<f32>, ModelError> {
        let mut gradients = loss.backward();
        let whole = self.whole.get().and_then(|whole| whole.grad_remove(&mut gradients));
        let mut flat = match whole {
            Some(gradient) => read(gradient)?,
            None => vec![0.0; self.all.dims()[0]],
        };
        for (leaf, (_, _, place)) in self.leaves.iter().zip(self.specs.iter()) {
            if let Some(gradient) = leaf.get().and_then(|leaf| leaf.grad_remove(&mut gradients)) {
                flat[place.clone()].iter_mut().zip(read(gradient)?).for_each(|(sum, g)| *sum += g);
            }
        }
        Ok(flat)
    }
}

/// The numbers of a tensor, row-major.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    tensor.try_into_vec_as::<f32>().map_err(|source| ModelError::Foreign {
        context: "reading a tensor back from the device".into(),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::rng::{Purpose, generator};

    fn example() -> (Vec<WeightSpec>, Vec<f32>) {
        let specs = vec![
            WeightSpec::new("a.w", &[2, 3], Init::Uniform(0.5)),
            WeightSpec::new("a.b", &[3], Init::Zero),
            WeightSpec::new("c", &[2, 2, 2], Init::Uniform(2.0)),
        ];
        let values = draw(&specs, &mut generator(7, Purpose::Weights, 0));
        (specs, values)
    }

    #[test]
    fn initial_weights_keep_their_bounds() {
        let (_, values) = example();
        assert_eq!(values.len(), 17);
        assert!(values[..6].iter().all(|w| w.abs() <= 0.5 && *w != 0.0));
        assert_eq!(values[6..9], [0.0; 3]);
        assert!(values[9..].iter().any(|w| w.abs() > 0.5));
        let specs = [WeightSpec::new("one", &[2], Init::One), WeightSpec::new("gate", &[4], Init::OneIn(1, 3))];
        assert_eq!(draw(&specs, &mut generator(7, Purpose::Weights, 0)), [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn round_trip() {
        let (specs, values) = example();
        assert_eq!(from_bytes(&specs, &to_bytes(&specs, &values)).unwrap(), values);
    }

    #[test]
    fn every_cut_and_every_longer_blob_is_refused() {
        let (specs, values) = example();
        let mut bytes = to_bytes(&specs, &values);
        for length in 0..bytes.len() {
            assert!(from_bytes(&specs, &bytes[..length]).is_err(), "cut at {length}");
        }
        bytes.push(0);
        assert!(from_bytes(&specs, &bytes).unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn hostile_lengths_are_errors_and_allocate_nothing() {
        let (specs, values) = example();
        let bytes = to_bytes(&specs, &values);
        for at in (4..12).chain(12..16).chain(19..23) {
            let mut hostile = bytes.clone();
            hostile[at] = 0xff;
            assert!(from_bytes(&specs, &hostile).is_err(), "byte {at}");
        }
        let huge = [WeightSpec::new("a.w", &[1 << 20, 1 << 20], Init::Zero)];
        let mut announced = to_bytes(&huge[..0], &[]);
        announced[8] = 1;
        put_text(&mut announced, "a.w");
        for word in [2u32, 1 << 20, 1 << 20] {
            announced.extend_from_slice(&word.to_le_bytes());
        }
        assert!(from_bytes(&huge, &announced).unwrap_err().to_string().contains("are announced where"));
    }

    #[test]
    fn another_shape_another_name_and_a_nan_are_named() {
        let (specs, mut values) = example();
        let bytes = to_bytes(&specs, &values);
        let message = |specs: &[WeightSpec], bytes: &[u8]| from_bytes(specs, bytes).unwrap_err().to_string();
        let mut other = specs.clone();
        other[0].shape = vec![3, 2];
        assert!(message(&other, &bytes).contains("`a.w` is [2, 3] where"), "{}", message(&other, &bytes));
        other = specs.clone();
        other[1].name = "a.bias".into();
        assert!(message(&other, &bytes).contains("`a.b` where `a.bias` is due"));
        values[4] = f32::NAN;
        assert!(message(&specs, &to_bytes(&specs, &values)).contains("not finite"));
    }
}
