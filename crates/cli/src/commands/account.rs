//! What became of every episode, row and window: stands under each report.

use std::collections::BTreeMap;

use stakeout_trainer::Account;

use crate::output;

pub(crate) fn print(account: &Account) -> std::io::Result<()> {
    print_of(account, "")
}

/// As [`print`], with what the heading says it is of.
pub(crate) fn print_of(account: &Account, of: &str) -> std::io::Result<()> {
    let Account { episodes, episodes_left_out, rows_read, rows_used, rows_dropped, .. } = account;
    output::line(&format!("\nwhat was read{of}"))?;
    output::line(&format!("  episodes  {}; {episodes_left_out} left out", list(episodes)))?;
    for refused in account.episodes_refused.iter().take(3) {
        output::line(&output::clean(&format!("            cannot be cut: {refused}")))?;
    }
    output::line(&format!("  rows      {rows_read} read, {rows_used} used{}", dropped(rows_dropped)))?;
    output::line(&format!(
        "  windows   {} cut, {} labelled, {} of calibration stretches{}",
        account.windows_cut,
        account.windows_labelled,
        account.windows_calibration,
        dropped(&account.windows_dropped)
    ))?;
    output::line(&format!("  labels    {}", account.labels))
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    parts.join(", ")
}

fn dropped(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() { String::new() } else { format!("; dropped: {}", list(counts)) }
}
