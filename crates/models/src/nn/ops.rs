//! Nets as operations of the burn library, on its default device.
//!
//! The operation is an extension of the library's backends: a trait with the operation and its gradient, implemented for the default
//! device by `stakeout_kernels`, and for its differentiating twin as one node of the graph. A graph of few nodes matters as
//! much as the kernels: building and walking it takes a lock that all threads of the process share.
//!
//! Other devices run the library's own operations instead, which stay in each net's file; tests hold the two together.

#![allow(clippy::inline_always)] // in what the library's macro writes

pub(crate) mod parts;
pub(crate) mod whole;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, TensorData};

/// Whether the fused layers run on a device.
pub(crate) fn fused(device: &Device) -> bool {
    *device == Device::flex()
}

/// The numbers of a tensor that lies in one piece.
fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("single precision, in one piece")
}

/// The sizes of a tensor.
fn sizes<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    std::array::from_fn(|dim| tensor.layout().shape()[dim])
}

/// Numbers as a tensor.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
