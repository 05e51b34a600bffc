//! Texts of others on terminals and in logs: what steers a terminal, or makes text look other than it is, is written out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character is shown as it is: no control character (C0, DEL, C1), no override of the direction, no other line end.
#[must_use]
pub fn is_shown_as_it_is(character: char) -> bool {
    !(character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'))
}

/// A text that stays in its line: what is not shown as it is becomes `\n`, `\t` or `\u001b`, as JSON writes it.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same for a text of several lines: ends of lines and tabs stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_plain = |character: char| is_shown_as_it_is(character) || stays(character);
    let Some(first) = text.find(|character| !is_plain(character)) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for character in text[first..].chars() {
        match character {
            _ if is_plain(character) => out.push(character),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail; all of them have four digits at most.
            other => drop(write!(out, "\\u{:04x}", u32::from(other))),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let hostile: String = (0..0x3000).filter_map(char::from_u32).collect();
        for shown in [line(&hostile), lines(&hostile)] {
            let bad = |character: &char| !is_shown_as_it_is(*character);
            let left: Vec<char> = shown.chars().filter(bad).collect();
            assert!(
                left.iter().all(|left| matches!(left, '\n' | '\t')),
                "{left:?}"
            );
        }
        assert_eq!(
            line("a\u{1b}[2Jb\n\u{202e}\u{9b}"),
            "a\\u001b[2Jb\\n\\u202e\\u009b"
        );
        assert_eq!(lines("a\n\tb\r"), "a\n\tb\\r");
        // What is plain is not copied, in any script.
        for plain in ["orders", "zażółć", "注文", "🦀", "a\\b"] {
            assert!(matches!(line(plain), Cow::Borrowed(_)), "{plain}");
        }
        // Inside of JSON it is still JSON.
        assert_eq!(lines("\"\u{202e}\""), "\"\\u202e\"");
    }
}
