//! The binary `acme`: `stakeout` with our model and our recipe.

use std::process::ExitCode;

fn main() -> ExitCode {
    match (acme_research::models(), acme_research::recipes()) {
        (Ok(models), Ok(recipes)) => stakeout_cli::main_with(models, recipes).into(),
        (Err(error), _) => fail(&error.to_string()),
        (_, Err(error)) => fail(&error.to_string()),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(3)
}
