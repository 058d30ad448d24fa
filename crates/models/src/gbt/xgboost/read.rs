//! A foreign forest as this program's. Nothing in the file is believed: every index is looked at before it is used, and
//! every walk is over nodes that were not visited before.

use std::collections::BTreeMap;

use stakeout_core::{Checkpoint, CheckpointHeader, CoreError, InputKind, ModelError, Scaler, Schema};

use super::file::{File, LearnerParameters, NONE, Tree};
use super::{SCHEMA, refused, threshold, unescape};
use crate::gbt::forest::{Forest, LIMIT, usable};
use crate::gbt::{GbtConfig, kind, objective};
use crate::trees::node::Node;

/// Most splits between a root and a leaf; the nodes of a file may be a chain.
const DEEPEST: u32 = 256;
/// Most differences that a message lists.
const LISTED: usize = 10;

/// A model read from `XGBoost`'s JSON, before it is known what its features are here.
pub struct XgbModel {
    names: Vec<String>,
    features: usize,
    classes: usize,
    attributes: BTreeMap<String, String>,
    base: Vec<f32>,
    /// One list an output, in the order of the file.
    trees: Vec<Vec<Vec<Node>>>,
}

impl XgbModel {
    /// Reads a file of `binary:logistic` or `multi:softprob` on `gbtree`.
    ///
    /// # Errors
    /// [`ModelError::Interchange`] naming the place and what is wrong there.
    pub fn read(json: &[u8]) -> Result<Self, ModelError> {
        let File { learner, .. } = serde_json::from_slice(json)
            .map_err(|error| refused(format!("it is no JSON model of it, or another version's: {error}")))?;
        if learner.gradient_booster.name != "gbtree" {
            return Err(refused(format!(
                "the booster is `{}`, only gbtree can be read",
                shown(&learner.gradient_booster.name)
            )));
        }
        let Some(model) = learner.gradient_booster.model else {
            return Err(refused("there is no `gradient_booster.model`"));
        };
        let features = whole("num_feature", &learner.learner_model_param.num_feature)?;
        let classes = classes(&learner.objective.name, &learner.learner_model_param)?;
        let outputs = objective::outputs(classes);
        if ![0, features].contains(&learner.feature_names.len()) {
            return Err(refused(format!("{} feature names for {features} features", learner.feature_names.len())));
        }
        let base = base(&learner.learner_model_param.base_score, classes)?;
        if model.tree_info.len() != model.trees.len() {
            return Err(refused(format!(
                "`tree_info` speaks of {} trees of {}",
                model.tree_info.len(),
                model.trees.len()
            )));
        }
        let mut trees: Vec<Vec<Vec<Node>>> = vec![Vec::new(); outputs];
        let mut nodes = 0;
        for (id, (tree, output)) in model.trees.iter().zip(&model.tree_info).enumerate() {
            let converted = convert(tree, features).map_err(|why| refused(format!("tree {id}: {why}")))?;
            nodes += converted.len();
            let Some(own) = trees.get_mut(*output) else {
                return Err(refused(format!("tree {id} adds to output {output} of {outputs}")));
            };
            own.push(converted);
        }
        if u32::try_from(nodes).is_err() || trees.iter().any(|own| own.len() != trees[0].len()) {
            let counts: Vec<usize> = trees.iter().map(Vec::len).collect();
            return Err(refused(format!("{counts:?} trees by class with {nodes} nodes: not as many for each class")));
        }
        let names = learner.feature_names.iter().map(|name| unescape(name)).collect();
        Ok(Self { names, features, classes, attributes: learner.attributes, base, trees })
    }

    /// The schema that an export of this program wrote into the file.
    ///
    /// # Errors
    /// [`ModelError::Interchange`] when it is damaged; [`CoreError`] when it breaks a schema's rules.
    pub fn schema(&self) -> Result<Option<Schema>, ModelError> {
        let Some(text) = self.attributes.get(SCHEMA) else { return Ok(None) };
        let schema: Schema =
            serde_json::from_str(text).map_err(|error| refused(format!("its attribute {SCHEMA}: {error}")))?;
        schema.check()?;
        Ok(Some(schema))
    }

    /// Whether the file names its features.
    pub fn is_named(&self) -> bool {
        !self.names.is_empty()
    }

    /// Rounds of the forest.
    pub fn rounds(&self) -> usize {
        self.trees[0].len()
    }

    /// The round that early stopping found best, where the file keeps one.
    pub fn best_iteration(&self) -> Option<usize> {
        self.attributes.get("best_iteration")?.parse().ok()
    }

    /// Whether the file says that it was trained on simulated data, as exports of this program do.
    pub fn is_simulated(&self) -> bool {
        self.attributes.get("stakeout.simulated").is_some_and(|value| value == "true")
    }

    /// Whether [`XgbModel::into_checkpoint`] would take this schema.
    pub fn fits(&self, schema: &Schema) -> bool {
        self.columns(schema).is_ok()
    }

    /// The model as a checkpoint for windows of a schema. Features are found by their names, in any order; a schema may
    /// have more. A file without names is taken in the order of the schema, which must then have as many features.
    ///
    /// # Errors
    /// [`CoreError::SchemaMismatch`] with one line a difference: a feature that the schema does not have, another number
    /// of classes.
    pub fn into_checkpoint(self, schema: &Schema) -> Result<Checkpoint, ModelError> {
        let columns = self.columns(schema).map_err(CoreError::SchemaMismatch)?;
        let (rounds, simulated) = (self.rounds(), self.is_simulated());
        let mut forest = Forest::new(schema.geometry().features, self.base);
        for round in 0..rounds {
            for own in &self.trees {
                let tree: Vec<Node> = own[round].iter().map(|node| node.with_columns(&columns)).collect();
                forest.push(&tree);
            }
        }
        let config = GbtConfig { rounds: rounds.clamp(1, 100_000), ..GbtConfig::default() };
        Ok(Checkpoint {
            header: CheckpointHeader {
                kind: kind(),
                config: config.to_json(),
                input: InputKind::Summary,
                schema_hash: schema.hash(),
                schema: schema.clone(),
                scaler: Scaler::None,
                calibration: None,
                recipe: "imported".into(),
                held_out: Vec::new(),
                tested: false,
                seed: 0,
                simulated,
                code_version: env!("CARGO_PKG_VERSION").into(),
            },
            weights: forest.to_bytes(),
        })
    }

    /// The column of the schema for each feature of the model, or what differs.
    fn columns(&self, schema: &Schema) -> Result<Vec<u32>, Vec<String>> {
        let known = schema.feature_names();
        let mut differences = Vec::new();
        if schema.classes.len() != self.classes {
            let (count, names) = (schema.classes.len(), schema.classes.names().join(", "));
            differences.push(format!("the model has {} classes, the schema {count} ({names})", self.classes));
        }
        let place: BTreeMap<&str, usize> = known.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let mut columns = Vec::new();
        if self.is_named() {
            let mut seen = BTreeMap::new();
            for (i, name) in self.names.iter().enumerate() {
                match place.get(name.as_str()) {
                    None => differences.push(format!(
                        "feature {i} of the model, {}, is none of the schema{}",
                        shown(name),
                        known.get(i).map(|own| format!(" (whose feature {i} is {own})")).unwrap_or_default()
                    )),
                    Some(column) => {
                        if let Some(first) = seen.insert(*column, i) {
                            differences.push(format!("features {first} and {i} of the model are both {}", shown(name)));
                        }
                        columns.push(*column as u32);
                    }
                }
            }
        } else if self.features == known.len() {
            columns = (0..known.len() as u32).collect();
        } else {
            differences.push(format!(
                "the model has {} features without names, the schema {}",
                self.features,
                known.len()
            ));
        }
        if differences.is_empty() {
            return Ok(columns);
        }
        if differences.len() > LISTED {
            let more = differences.len() - LISTED;
            differences.truncate(LISTED);
            differences.push(format!("and {more} more"));
        }
        Err(differences)
    }
}

/// A text of the file, safe in a message.
fn shown(text: &str) -> String {
    stakeout_core::text::printable(text, 80)
}

fn whole(name: &str, text: &str) -> Result<usize, ModelError> {
    text.parse().map_err(|_| refused(format!("`{name}` is `{}`, not a whole number", shown(text))))
}

fn classes(objective: &str, parameters: &LearnerParameters) -> Result<usize, ModelError> {
    if whole("num_target", &parameters.num_target)? > 1 {
        return Err(refused("it has several targets, only one can be read"));
    }
    let classes = whole("num_class", &parameters.num_class)?;
    match (objective, classes) {
        ("binary:logistic", 0 | 1) => Ok(2),
        ("multi:softprob", 3..=1000) => Ok(classes),
        ("binary:logistic" | "multi:softprob", _) => Err(refused(format!("`{objective}` with {classes} classes"))),
        (other, _) => Err(refused(format!(
            "the objective is `{}`, only binary:logistic and multi:softprob give class probabilities that can be read",
            shown(other)
        ))),
    }
}

/// The margin of each class before the first tree.
fn base(text: &str, classes: usize) -> Result<Vec<f32>, ModelError> {
    let bad = || refused(format!("`base_score` is `{}`", shown(text)));
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let scores: Vec<f32> =
        inner.split(',').map(|score| score.trim().parse::<f32>()).collect::<Result<_, _>>().map_err(|_| bad())?;
    let margins = match (scores.as_slice(), classes) {
        // a probability of the second class
        ([p], 2) if *p > 0.0 && *p < 1.0 => vec![0.0, -(1.0 / p - 1.0).ln()],
        ([margin], 3..) => vec![*margin; classes],
        (margins, 3..) if margins.len() == classes => margins.to_vec(),
        _ => return Err(bad()),
    };
    if margins.iter().all(|margin| usable(*margin)) { Ok(margins) } else { Err(bad()) }
}

/// The tree with children side by side behind their parents: breadth first, from the root. Nodes that cannot be reached
/// (`XGBoost` leaves pruned ones in place) are dropped.
fn convert(tree: &Tree, features: usize) -> Result<Vec<Node>, String> {
    let count = tree.left_children.len();
    let lists = [
        ("right_children", tree.right_children.len()),
        ("split_conditions", tree.split_conditions.len()),
        ("split_indices", tree.split_indices.len()),
        ("default_left", tree.default_left.len()),
    ];
    if let Some((name, length)) = lists.iter().find(|(_, length)| *length != count) {
        return Err(format!("`{name}` has {length} entries for {count} nodes"));
    }
    if tree.tree_param.size_leaf_vector.parse::<u32>().is_ok_and(|size| size > 1) {
        return Err("its leaves are vectors, only single numbers can be read".into());
    }
    let categories = [&tree.categories, &tree.categories_nodes, &tree.categories_segments, &tree.categories_sizes];
    if categories.iter().any(|list| !list.is_empty()) || tree.split_type.iter().any(|kind| *kind != 0) {
        return Err("it splits on categories, only numbers can be read".into());
    }
    if count == 0 {
        return Err("it has no node".into());
    }
    let mut visited = vec![false; count];
    visited[0] = true;
    // (position in the file, depth), in the order of the result
    let mut order = vec![(0usize, 0u32)];
    let mut nodes = Vec::new();
    let mut next = 0;
    while let Some(&(at, depth)) = order.get(next) {
        next += 1;
        let (left, right) = (tree.left_children[at], tree.right_children[at]);
        let condition = tree.split_conditions[at];
        if left == NONE && right == NONE {
            if !usable(condition) {
                return Err(format!("leaf {at} adds {condition}, beyond ±{LIMIT} to a margin"));
            }
            nodes.push(Node::leaf(condition));
            continue;
        }
        let input = tree.split_indices[at];
        if input >= features {
            return Err(format!("node {at} looks at feature {input} of {features}"));
        }
        if !condition.is_finite() {
            return Err(format!("node {at} has the threshold {condition}"));
        }
        if depth >= DEEPEST {
            return Err(format!("it is deeper than {DEEPEST} splits"));
        }
        let position = order.len();
        for child in [left, right] {
            let Some(place) = usize::try_from(child).ok().filter(|child| *child < count) else {
                return Err(format!("node {at} has the child {child} of {count} nodes"));
            };
            if std::mem::replace(&mut visited[place], true) {
                return Err(format!("node {place} is reached twice"));
            }
            order.push((place, depth + 1));
        }
        let mut node = Node::leaf(0.0);
        let is_left = tree.default_left[at].is_set();
        node.split(input as u32, threshold::from_raw(condition), is_left, position);
        nodes.push(node);
    }
    let weight = |i: usize| f64::from(tree.sum_hessian.get(order[i].0).copied().unwrap_or(1.0));
    fill_means(&mut nodes, weight);
    Ok(nodes)
}

/// Gives each split the mean of its leaves, by their sums of second derivatives, as attributions need it.
fn fill_means(nodes: &mut [Node], weight: impl Fn(usize) -> f64) {
    for i in (0..nodes.len()).rev() {
        if nodes[i].is_leaf() {
            continue;
        }
        let left = nodes[i].left();
        let [a, b] = [left, left + 1].map(|child| (f64::from(nodes[child].value), weight(child)));
        let total = a.1 + b.1;
        let mean = if total.is_normal() && a.1 >= 0.0 && b.1 >= 0.0 {
            (a.0 * a.1 + b.0 * b.1) / total
        } else {
            f64::midpoint(a.0, b.0)
        };
        nodes[i].value = mean as f32;
    }
}
