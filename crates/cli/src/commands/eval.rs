//! `stakeout eval`.

use stakeout_eval::render;
use stakeout_trainer::score::StoredRun;

use super::{account, report, what};
use crate::args::Eval;
use crate::{Context, Exit, interrupt, output};

pub(crate) fn run(args: &Eval, context: &Context) -> anyhow::Result<Exit> {
    let stored = StoredRun::open(&args.run, &context.models, args.device.parse()?)?;
    let (progress, cancel) = (&*context.progress, interrupt::flag());
    let elsewhere = match &args.store {
        Some(store) => stored.score_store(store, &context.cache, progress, cancel)?,
        None => None,
    };
    let (metrics, dataset, same) = match elsewhere {
        Some((metrics, dataset)) => (metrics, dataset, None),
        None => {
            let store = match &args.store {
                Some(moved) => moved.clone(),
                None => {
                    let own = stored.experiment.run.as_ref().and_then(|run| run.store.clone());
                    what::store(own.as_deref(), context)?.1
                }
            };
            let (metrics, dataset) = stored.score_again(&store, &context.recipes, &context.cache, progress, cancel)?;
            let same = stored.result.metrics.as_ref() == Some(&metrics);
            (metrics, dataset, Some(same))
        }
    };
    if context.json {
        output::json(&serde_json::json!({
            "origin": stored.result.origin, "seed": stored.result.seed, "held_out": stored.result.held_out,
            "store": { "corpus": dataset.corpus, "simulated": dataset.simulated, "data_digest": dataset.digest },
            "metrics": metrics, "same_as_run": same, "rows": dataset.account,
        }))?;
    } else {
        let mut origin = stored.result.origin.clone();
        origin.simulated = dataset.simulated || stored.header.simulated;
        (origin.corpus, origin.data_digest) = (dataset.corpus.clone(), dataset.digest.clone());
        if same.is_none() {
            origin.recipe = format!("another store ({}); trained with recipe {}", dataset.corpus, origin.recipe);
        }
        let (held_out, ledger) = match same {
            None => (vec!["nothing: another store".to_owned()], String::new()),
            Some(_) => {
                let ledger = stored.result.ledger.as_ref().map(|ledger| ledger.render(report::WIDTH));
                (stored.result.held_out.clone(), ledger.unwrap_or_default())
            }
        };
        let provenance = report::provenance(&origin, stored.result.seed, held_out);
        output::line(render::report(&metrics, &provenance, &ledger).trim_end())?;
        report::probabilities(&metrics.test)?;
        account::print(&dataset.account)?;
        match same {
            Some(true) => output::line("\nthe same figures as in the run's metrics.json")?,
            Some(false) => output::line("\nfinding: these figures differ from the run's metrics.json")?,
            None => {}
        }
    }
    Ok(if same == Some(false) { Exit::Finding } else { Exit::Ok })
}
