//! How a command ends.

use std::path::PathBuf;
use std::{fmt, io};

use stakeout_core::ModelError;
use stakeout_trainer::TrainError;

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Nothing to report.
    Ok,
    /// The command worked and found something: a rejected episode, a clock disagreement.
    Finding,
    /// The command line or the input is wrong.
    Usage,
    /// The file system or the program failed.
    Internal,
    /// Interrupted; the state was saved.
    Interrupted,
}

impl From<Exit> for i32 {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => 0,
            Exit::Finding => 1,
            Exit::Usage => 2,
            Exit::Internal => 3,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(i32::from(exit) as u8)
    }
}

/// Context of an error in the middle of a run: where it can be continued.
#[derive(Debug)]
pub(crate) struct Resumable(pub(crate) PathBuf);

impl fmt::Display for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training into {}", self.0.display())
    }
}

/// Context of an error in the middle of a search: where it can be continued.
#[derive(Debug)]
pub(crate) struct ResumableSearch(pub(crate) PathBuf);

impl fmt::Display for ResumableSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "searching in {}", self.0.display())
    }
}

/// Prints an error with its causes and says which exit code it deserves.
pub(crate) fn report(error: &anyhow::Error, verbose: bool) -> Exit {
    let exit = classify(error);
    if exit == Exit::Interrupted {
        match error.downcast_ref::<Resumable>() {
            Some(Resumable(path)) => {
                crate::output::say(&format!(
                    "interrupted: the state was saved; continue with `stakeout train --resume {}`",
                    path.display()
                ));
            }
            None if error.downcast_ref::<ResumableSearch>().is_some() => {
                let path = error.downcast_ref::<ResumableSearch>().map(|at| at.0.display().to_string());
                crate::output::say(&format!(
                    "interrupted: finished fits were kept; continue with `stakeout tune --resume {}`",
                    path.unwrap_or_default()
                ));
            }
            None => crate::output::say("interrupted: no file was written"),
        }
        return exit;
    }
    let mut previous = String::new();
    for (i, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        // A transparent error repeats its source.
        if text != previous {
            let lines: Vec<String> = text.lines().map(crate::output::clean).collect();
            crate::output::say(&format!("{}{}", if i == 0 { "error: " } else { "  because: " }, lines.join("\n")));
        }
        previous = text;
    }
    if verbose {
        crate::output::say(&format!(
            "  (exit code {}, root cause: {})",
            i32::from(exit),
            crate::output::clean(&error.root_cause().to_string())
        ));
    }
    exit
}

/// A missing file, one that is not text, one that is no regular file and a file for a folder are bad input; any other word of the file
/// system, and a library that failed, is not the user's doing.
pub(crate) fn classify(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        let model = match cause.downcast_ref::<TrainError>() {
            Some(TrainError::Model(model)) => Some(model),
            _ => cause.downcast_ref::<ModelError>(),
        };
        match model {
            Some(ModelError::Cancelled) => return Exit::Interrupted,
            Some(ModelError::Foreign { .. }) => return Exit::Internal,
            _ => {}
        }
        if cause.downcast_ref::<io::Error>().is_some_and(|error| {
            !matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
            )
        }) {
            return Exit::Internal;
        }
    }
    Exit::Usage
}
