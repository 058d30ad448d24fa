//! Text from outside, made safe to print.

/// At most `max` characters of a name, without the characters that could rewrite a terminal or reorder a line:
/// control characters, bidirectional controls, line separators, zero-width characters and tags. What is cut off is
/// marked by a final `…`; a name of which nothing is left is shown as `?`.
pub fn printable(name: &str, max: usize) -> String {
    let mut shown: String = name.chars().filter(|c| !is_unsafe(*c)).take(max + 1).collect();
    if shown.is_empty() {
        shown.push('?');
    }
    if let Some((cut, _)) = shown.char_indices().nth(max) {
        let keep = shown.char_indices().nth(max.saturating_sub(1)).map_or(cut, |(last, _)| last);
        shown.truncate(keep);
        shown.push('…');
    }
    shown
}

/// Unicode Cc, the bidirectional controls of UAX 9, line and paragraph separators, other default-ignorable format
/// characters that hide text (soft hyphen, zero-width, byte-order mark, tags).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn strips_what_steers_a_terminal_or_a_line() {
        assert_eq!(printable("host\u{1b}[2J-\u{202e}a\nb\u{200b}", 20), "host[2J-ab");
        assert_eq!(printable("\u{7}\u{2066}", 20), "?");
        assert_eq!(printable("hôte-日本", 20), "hôte-日本");
    }

    #[test]
    fn truncates_by_characters_and_says_so() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdef", 4), "abc…");
        assert_eq!(printable("日本語", 2), "日…");
    }
}
