//! Whether a log on stderr has colours.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// Whether the log on stderr has colours: stderr is a terminal that knows colours, and `NO_COLOR` is empty or not set.
#[must_use]
pub fn stderr_has_colours() -> bool {
    has_colours(
        std::io::stderr().is_terminal(),
        std::env::var_os("NO_COLOR").as_deref(),
        std::env::var_os("TERM").as_deref(),
    )
}

/// `NO_COLOR` counts when it is not empty (no-color.org).
fn has_colours(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_of_people_who_want_them() {
        let some = |text: &'static str| Some(OsStr::new(text));
        assert!(has_colours(true, None, some("xterm-256color")));
        assert!(has_colours(true, some(""), None));
        assert!(!has_colours(false, None, some("xterm-256color")));
        assert!(!has_colours(true, some("1"), some("xterm-256color")));
        assert!(!has_colours(true, None, some("dumb")));
    }
}
