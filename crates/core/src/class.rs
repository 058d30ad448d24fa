//! Class lists: the ordered labels of a corpus.

use serde::{Deserialize, Serialize};

use crate::CoreError;

/// The ordered classes that a corpus labels its telemetry with. The position of a class is its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ClassList(Vec<String>);

/// The label text that means "no label".
pub const UNLABELLED: &str = "unlabelled";

/// The phases of the built-in corpus, in the order in which an infection goes through them.
pub const PHASES: [&str; 5] = ["clean", "armed", "infecting", "infected_running", "dormant"];

/// The class list of the built-in corpus.
pub fn built_in() -> ClassList {
    ClassList(PHASES.map(String::from).to_vec())
}

impl ClassList {
    /// Class names in id order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// How many classes there are.
    #[allow(clippy::len_without_is_empty)] // a class list is never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The id of a class.
    pub fn id(&self, name: &str) -> Option<u16> {
        self.0.iter().position(|class| class == name).map(|i| i as u16)
    }
}

impl TryFrom<Vec<String>> for ClassList {
    type Error = CoreError;

    fn try_from(names: Vec<String>) -> Result<Self, CoreError> {
        if names.len() < 2 || names.len() > 1000 {
            return Err(CoreError::invalid("class list", names.join(", "), "it needs 2 to 1000 classes"));
        }
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() || name == UNLABELLED || name.len() > 64 || name.chars().any(char::is_control) {
                return Err(CoreError::invalid(
                    "class",
                    name.clone(),
                    "a class is 1 to 64 printable characters and not `unlabelled`",
                ));
            }
            if names[..i].contains(name) {
                return Err(CoreError::invalid("class", name.clone(), "it stands twice in the class list"));
            }
        }
        Ok(Self(names))
    }
}

impl From<ClassList> for Vec<String> {
    fn from(list: ClassList) -> Self {
        list.0
    }
}
