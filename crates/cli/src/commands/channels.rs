//! `stakeout channels`.

use stakeout_core::ChannelSpec;
use stakeout_telemetry::{Corpus, Store};

use crate::args::Channels;
use crate::{Context, Exit, output};

pub(crate) fn run(args: &Channels, context: &Context) -> anyhow::Result<Exit> {
    let corpus = match &args.store {
        Some(store) => Store::open(store)?.corpus().clone(),
        None => Corpus::built_in(),
    };
    let channels: &[ChannelSpec] = &corpus.channels;
    if context.json {
        output::json(&channels)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = channels
        .iter()
        .enumerate()
        .map(|(i, c)| {
            vec![
                i.to_string(),
                c.name.clone(),
                c.field.clone(),
                c.kind.name().to_owned(),
                c.series_unit(),
                if c.deployable { "yes" } else { "no" }.to_owned(),
                c.about.clone(),
            ]
        })
        .collect();
    output::line(&output::table(&["#", "channel", "field", "kind", "unit", "deployable", "about"], &rows))?;
    let deployable = channels.iter().filter(|c| c.deployable).count();
    output::line(&format!("{} channels, {deployable} of them deployable", channels.len()))?;
    Ok(Exit::Ok)
}
