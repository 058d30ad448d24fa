//! `stakeout config`.

use stakeout_trainer::config::commented_default;

use super::models;
use crate::args::Config;
use crate::{Context, Exit, output};

pub(crate) fn run(args: &Config, context: &Context) -> anyhow::Result<Exit> {
    let recipe = context.recipes.get(&args.recipe)?;
    let text = commented_default(&models::named(&args.model, context)?, recipe);
    if context.json {
        let table: toml::Table = text.parse()?;
        output::json(&table)?;
    } else {
        output::line(text.trim_end())?;
    }
    Ok(Exit::Ok)
}
