//! The `stakeout` binary.

use std::process::ExitCode;

/// Halves several hot paths against the system allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stakeout_cli::main_with(stakeout_models::builtin(), stakeout_splits::RecipeRegistry::builtin()).into()
}
