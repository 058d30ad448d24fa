//! The nearest name that would have been right.

/// The known name with the fewest edits (swaps of neighbours count as one) from what was written; the first of several.
/// A name that was cut short or drawn out (`stride` for `stride_seconds`) goes before any other.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SHORTEST: usize = 3;
    let written = written.to_lowercase();
    known.into_iter().min_by_key(|name| {
        let name = name.to_lowercase();
        let part =
            name.len().min(written.len()) >= SHORTEST && (name.starts_with(&written) || written.starts_with(&name));
        (!part, strsim::damerau_levenshtein(&name, &written))
    })
}

/// Adds the nearest name to a message of serde's about an unknown field or variant, which lists the known ones; the
/// `keys` stand in where it lists none. Other messages are left as they are.
pub(crate) fn with_nearest(message: &str, keys: &[&str]) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.starts_with("unknown field `") || message.starts_with("unknown variant `");
    let (Some((written, listed)), true) = (quoted.split_first(), unknown) else { return message.to_owned() };
    let known = if listed.is_empty() { keys } else { listed };
    match nearest(written, known.iter().copied()) {
        Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
        None => message.to_owned(),
    }
}

/// The name in an "unknown field" message.
pub(crate) fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewest_edits_win_and_the_first_of_several() {
        let keys = ["seconds", "stride_seconds", "steps"];
        for (written, expected) in [
            ("secnds", "seconds"),
            ("stpes", "steps"),
            ("STEPS", "steps"),
            ("stride", "stride_seconds"),
            ("stride_s", "stride_seconds"),
        ] {
            assert_eq!(nearest(written, keys), Some(expected), "{written}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn only_messages_about_unknown_names_are_added_to() {
        let message = with_nearest("unknown variant `globl`, expected one of `none`, `global`", &[]);
        assert_eq!(message, "unknown variant `globl`, expected one of `none`, `global`; did you mean `global`?");
        assert_eq!(with_nearest("unknown field `vew`", &["seed", "view"]), "unknown field `vew`; did you mean `view`?");
        assert_eq!(
            with_nearest("unknown field `x`, there are no fields", &[]),
            "unknown field `x`, there are no fields"
        );
        assert_eq!(with_nearest("invalid type: string \"`a` `b`\"", &[]), "invalid type: string \"`a` `b`\"");
    }
}
