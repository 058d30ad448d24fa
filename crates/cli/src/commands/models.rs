//! `stakeout models`.

use crate::{Context, Exit, output};

pub(crate) fn run(context: &Context) -> anyhow::Result<Exit> {
    let entries = context.models.entries();
    if context.json {
        let list: Vec<_> =
            entries.iter().map(|entry| serde_json::json!({ "kind": entry.kind, "about": entry.about })).collect();
        output::json(&list)?;
    } else {
        let rows: Vec<Vec<String>> =
            entries.iter().map(|entry| vec![entry.kind.to_string(), entry.about.to_owned()]).collect();
        output::line(&output::table(&["model", "about"], &rows))?;
    }
    Ok(Exit::Ok)
}
