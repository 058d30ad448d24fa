//! Named weights as safetensors (<https://github.com/huggingface/safetensors#format>): the length of a header, the
//! header as JSON, then the numbers, little endian.
//!
//! The header is written here and not by the format's own library, which keeps its metadata in a hash map: the same
//! model would give other bytes each time. The library reads the files in the tests.

use serde_json::{Map, Value, json};
use stakeout_core::ExportContext;

use super::facts;

/// A named array of single precision numbers, row-major.
pub(crate) struct Array<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: &'a [f32],
}

/// The file: the arrays, then `scaler.mean` and `scaler.deviation` where inputs are scaled; what the model is stands in
/// the metadata.
pub(crate) fn file<'a>(mut arrays: Vec<Array<'a>>, cx: &ExportContext<'a>) -> Vec<u8> {
    if let Some(moments) = cx.moments {
        for (name, values) in [("scaler.mean", &moments.mean), ("scaler.deviation", &moments.deviation)] {
            arrays.push(Array { name: name.into(), shape: vec![values.len()], values });
        }
    }
    let metadata: Map<String, Value> = facts(cx).into_iter().map(|(name, fact)| (name, fact.into())).collect();
    let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(metadata))]);
    let mut end = 0;
    for array in &arrays {
        let start = end;
        end += size_of_val(array.values);
        let entry = json!({ "dtype": "F32", "shape": array.shape, "data_offsets": [start, end] });
        header.insert(array.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    // the numbers begin at a multiple of eight bytes
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(arrays.iter().flat_map(|array| array.values).flat_map(|value| value.to_le_bytes()));
    bytes
}
