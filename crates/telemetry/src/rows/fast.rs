//! The quick way through a line that repeats the keys of the line before.
//!
//! It accepts a subset of JSON and gives what the authority gives; whatever it does not know, it leaves alone.

use stakeout_core::Source;

use super::{Key, Row, Slot};

/// The layout of a line, as bytes that stand before each value.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<(Box<[u8]>, Slot)>,
    /// `"guest"`, quotes included.
    source: Box<[u8]>,
    fields: usize,
    /// Fields that the layout carries.
    carried: usize,
    /// Lines that taught nothing: after a few, learning stops.
    vain: u32,
}

/// Spacing between tokens: compact, and as Python's `json` writes it.
const STYLES: [(&str, &str); 2] = [(",", ":"), (", ", ": ")];
const PATIENCE: u32 = 16;

impl Template {
    /// A template that knows no layout yet.
    pub(super) fn new(source: Option<Source>, fields: usize) -> Self {
        let source = source.map(|source| format!("\"{source}\"").into_bytes().into()).unwrap_or_default();
        Self { parts: Vec::new(), source, fields, carried: 0, vain: 0 }
    }

    /// Takes over the layout of a line that was read, given its keys in their order.
    pub(super) fn learn<'a>(&mut self, order: &(impl Iterator<Item = &'a Key> + Clone), line: &[u8]) {
        if self.vain > PATIENCE {
            return;
        }
        for (comma, colon) in STYLES {
            let part = |(i, key): (usize, &Key)| {
                let before = if i == 0 { "{" } else { comma };
                (format!("{before}\"{}\"{colon}", key.name).into_bytes().into(), key.slot)
            };
            self.parts = order.clone().enumerate().map(part).collect();
            self.carried = self.parts.iter().filter(|(_, slot)| matches!(slot, Slot::Channel(_))).count();
            if self.read(line, &mut Row::default()) {
                self.vain = 0;
                return;
            }
        }
        self.vain += 1;
        self.parts.clear();
    }

    /// Reads a line if it follows the layout; `row` is of no use otherwise.
    pub(super) fn read(&self, line: &[u8], row: &mut Row) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        if row.values.len() != self.fields || self.carried != self.fields {
            row.values.clear();
            row.values.resize(self.fields, f64::NAN);
        }
        let mut missing = self.fields - self.carried;
        let mut rest = line;
        for (key, slot) in &self.parts {
            let Some(after) = rest.strip_prefix(&key[..]) else { return false };
            let used = match *slot {
                Slot::Channel(at) => match number(after) {
                    Some((value, used)) => {
                        row.values[at] = value;
                        used
                    }
                    None if after.starts_with(b"null") => {
                        row.values[at] = f64::NAN;
                        missing += 1;
                        4
                    }
                    None => return false,
                },
                Slot::Mono | Slot::Wall => {
                    let Some((time, used)) = time(after) else { return false };
                    *(if *slot == Slot::Mono { &mut row.t_mono_ns } else { &mut row.t_wall_ns }) = time;
                    used
                }
                Slot::Source => {
                    if self.source.is_empty() || !after.starts_with(&self.source) {
                        return false;
                    }
                    self.source.len()
                }
                Slot::Available => {
                    row.available = after.starts_with(b"true");
                    match row.available {
                        true => 4,
                        false if after.starts_with(b"false") => 5,
                        false => return false,
                    }
                }
                Slot::Name => return false,
            };
            rest = &after[used..];
        }
        row.missing = missing;
        row.other_source = None;
        row.name.clear();
        row.unknown.clear();
        rest == b"}"
    }
}

/// A time in nanoseconds that fits `i64`, and how many bytes it takes.
fn time(text: &[u8]) -> Option<(i64, usize)> {
    let (value, digits) = digits(text, 0);
    let plain = (1..=19).contains(&digits) && (digits == 1 || text[0] != b'0');
    let ends = matches!(text.get(digits), Some(b',' | b'}'));
    (plain && ends).then_some(())?;
    Some((i64::try_from(value).ok()?, digits))
}

/// A JSON number as the nearest `f64`, and how many bytes it takes.
fn number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let (mantissa, whole) = digits(&text[sign..], 0);
    if whole == 0 || (whole > 1 && text[sign] == b'0') {
        return None;
    }
    let mut end = sign + whole;
    let (mut mantissa, mut places) = (mantissa, 0);
    if text.get(end) == Some(&b'.') {
        (mantissa, places) = digits(&text[end + 1..], mantissa);
        end += 1 + places;
        if places == 0 {
            return None;
        }
    }
    match text.get(end) {
        // Clinger 1990: an exact mantissa over an exact power of ten rounds once.
        Some(b',' | b'}') if whole + places <= 19 && mantissa < 1 << 53 && places < POWERS.len() => {
            let value = mantissa as f64 / POWERS[places];
            Some((if sign == 1 { -value } else { value }, end))
        }
        Some(b',' | b'}') => wide(&text[..end]),
        _ => None,
    }
}

/// Numbers of many digits, by the standard library.
#[cold]
fn wide(text: &[u8]) -> Option<(f64, usize)> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some((value, text.len()))
}

const POWERS: [f64; 20] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];

/// Leading decimal digits, appended to `value` (of use up to 19 digits in all), and how many there are.
#[inline]
fn digits(text: &[u8], mut value: u64) -> (u64, usize) {
    let mut count = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    (value, count)
}
