//! `acme-record STORE`: writes what our lab recorded (here: made up) as a store.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(store) = std::env::args_os().nth(1) else {
        eprintln!("usage: acme-record STORE");
        return ExitCode::from(2);
    };
    match acme_research::lab::record(Path::new(&store), 1) {
        Ok(episodes) => {
            println!("{episodes} episodes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}
