//! Actions as small numbers.

use std::collections::HashMap;

use stakeout_core::text::printable;

use crate::DetectError;

/// What stands before the first action.
pub const START: u32 = 0;
/// What stands after the last action.
pub const END: u32 = 1;
/// An action that the vocabulary does not hold.
pub const UNKNOWN: u32 = 2;
/// The id of the first action; the marks come before it.
pub const FIRST: u32 = 3;

/// The longest name of an action in bytes.
pub const MAX_ACTION_BYTES: usize = 4096;
/// The most actions that a vocabulary holds.
pub const MAX_ACTIONS: usize = 1 << 20;

/// The actions that are known, each with its id, in the order in which they were met. Ids begin at [`FIRST`] and never
/// change while a vocabulary grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    names: Vec<Box<str>>,
    ids: HashMap<Box<str>, u32>,
}

impl Vocabulary {
    /// A vocabulary of the names, in their order.
    ///
    /// # Errors
    /// [`DetectError::Data`] for a name that is there twice, too long, or one too many.
    pub fn from_names(names: impl IntoIterator<Item = String>) -> Result<Self, DetectError> {
        let mut vocabulary = Self::default();
        for name in names {
            let before = vocabulary.len();
            vocabulary.intern(&name)?;
            if vocabulary.len() == before {
                return Err(DetectError::Data(format!("the action `{}` is there twice", printable(&name, 64))));
            }
        }
        Ok(vocabulary)
    }

    /// How many actions it holds.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many ids there are, the marks among them: every id is below it.
    pub fn ids(&self) -> usize {
        self.len() + FIRST as usize
    }

    /// The id of an action; [`UNKNOWN`] for one that is not held.
    pub fn id(&self, name: &str) -> u32 {
        self.ids.get(name).copied().unwrap_or(UNKNOWN)
    }

    /// The id of an action, which is taken in where it is new.
    ///
    /// # Errors
    /// [`DetectError::Data`] for a name that is longer than [`MAX_ACTION_BYTES`], or when there are [`MAX_ACTIONS`].
    pub fn intern(&mut self, name: &str) -> Result<u32, DetectError> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        check_name(name).map_err(DetectError::Data)?;
        if self.names.len() == MAX_ACTIONS {
            return Err(DetectError::Data(format!(
                "more than {MAX_ACTIONS} different actions: do their names hold arguments, as a path or an address? \
                 leave those out"
            )));
        }
        let id = self.names.len() as u32 + FIRST;
        self.names.push(name.into());
        self.ids.insert(name.into(), id);
        Ok(id)
    }

    /// The action of an id; `None` for a mark.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id.checked_sub(FIRST)? as usize).map(AsRef::as_ref)
    }

    /// The actions in the order of their ids.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

/// The rule that the name of an action breaks.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.len() <= MAX_ACTION_BYTES {
        return Ok(());
    }
    Err(format!(
        "an action of {} bytes (`{}`), at most {MAX_ACTION_BYTES} are read: name actions by what is done, without its \
         arguments",
        name.len(),
        printable(name, 24)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_order_of_meeting_and_stay() {
        let mut vocabulary = Vocabulary::default();
        let ids: Vec<u32> = ["open", "读", "open", "", "5"].map(|name| vocabulary.intern(name).unwrap()).to_vec();
        assert_eq!(ids, [3, 4, 3, 5, 6]);
        assert_eq!((vocabulary.id("读"), vocabulary.id("write"), vocabulary.ids()), (4, UNKNOWN, 7));
        assert_eq!((vocabulary.name(5), vocabulary.name(END), vocabulary.name(7)), (Some(""), None, None));
        assert_eq!(Vocabulary::from_names(vocabulary.names().map(str::to_owned)).unwrap(), vocabulary);
        assert!(Vocabulary::from_names(["a".to_owned(), "a".to_owned()]).is_err());
    }

    #[test]
    fn a_name_of_ten_megabytes_is_refused_in_a_short_line() {
        let mut vocabulary = Vocabulary::default();
        let error = vocabulary.intern(&"\u{1b}[2Jx".repeat(2_000_000)).unwrap_err().to_string();
        assert!(error.contains("10000000 bytes") && error.len() < 300 && !error.contains('\u{1b}'), "{error}");
        assert!(vocabulary.is_empty());
    }
}
