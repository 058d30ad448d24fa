//! Interned names: every row of predictions carries five of them, and few are different.

use std::collections::BTreeMap;

/// Distinct names in order of first appearance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    in_id_order: Vec<String>,
    ids: BTreeMap<String, u32>,
    last: u32,
}

impl Names {
    /// The id of a name, given out on its first appearance.
    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        // Rows come episode by episode: most often it is the name of the row before.
        if self.in_id_order.get(self.last as usize).is_some_and(|last| last == name) {
            return self.last;
        }
        self.last = if let Some(&id) = self.ids.get(name) {
            id
        } else {
            let id = self.in_id_order.len() as u32;
            self.in_id_order.push(name.to_owned());
            self.ids.insert(name.to_owned(), id);
            id
        };
        self.last
    }

    /// The name with an id.
    ///
    /// # Panics
    /// When no name has that id.
    pub fn get(&self, id: u32) -> &str {
        &self.in_id_order[id as usize]
    }

    /// All names in id order.
    pub fn all(&self) -> &[String] {
        &self.in_id_order
    }

    /// For each id, its place in alphabetical order: what depends on an order uses this one, so that no result
    /// depends on the order of rows.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.in_id_order.len()];
        for (rank, &id) in self.ids.values().enumerate() {
            ranks[id as usize] = rank as u32;
        }
        ranks
    }
}
