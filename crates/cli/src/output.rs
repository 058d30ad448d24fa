//! What goes to stdout: tables for people, JSON for programs.

use std::io::{self, Write};

use stakeout_core::text::printable;

/// Prints a line; a closed pipe ends the output in silence, as for any filter.
pub(crate) fn line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(io::Error::new(error.kind(), format!("writing standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints a line for people on stderr. A closed or full stderr stops no work: the result is elsewhere.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// Text from outside, safe to print on one line.
pub(crate) fn clean(text: &str) -> String {
    const LONGEST: usize = 400;
    if text.is_empty() { String::new() } else { printable(text, LONGEST) }
}

/// Aligned columns, names from outside made printable.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
        cells.chain([header[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let render = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![render(header.to_vec())];
    lines.extend(rows.iter().map(|row| render(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}
