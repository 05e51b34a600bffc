//! The only place that prints: data on stdout, talk on stderr.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module is where printing happens"
)]

use std::io::Write;

use anstyle::{AnsiColor, Style};

use crate::args::Color;
use crate::error::Failure;

/// Where a command writes.
#[derive(Debug)]
pub(crate) struct Output {
    choice: anstream::ColorChoice,
    verbose: bool,
    quiet: bool,
    /// What is printed goes here while a frame of `--watch` is put together.
    frame: std::cell::RefCell<Option<String>>,
}

const CHANGED: Style = Style::new().bold().invert();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HEADING: Style = Style::new().bold();
const LABEL: Style = AnsiColor::Cyan.on_default();

impl Output {
    pub(crate) fn new(color: Color, verbose: bool, quiet: bool) -> Self {
        let choice = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        Self {
            choice,
            verbose,
            quiet,
            frame: std::cell::RefCell::new(None),
        }
    }

    /// Whether the log on stderr has colours: as the messages there.
    pub(crate) fn has_colours(&self) -> bool {
        match self.choice {
            anstream::ColorChoice::Auto => {
                anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
            }
            choice => choice != anstream::ColorChoice::Never,
        }
    }

    /// Collects data instead of printing it, until [`Output::end_frame`].
    pub(crate) fn begin_frame(&self) {
        *self.frame.borrow_mut() = Some(String::new());
    }

    /// Prints a collected frame: on a terminal in place of the one before, with what changed marked; else below it. Returns it.
    pub(crate) fn end_frame(&self, before: Option<&str>) -> String {
        use std::io::IsTerminal;
        let frame = self.frame.borrow_mut().take().unwrap_or_default();
        let stdout = std::io::stdout();
        if stdout.is_terminal() {
            let marked = before.map_or_else(|| frame.clone(), |before| marked(before, &frame));
            let mut out = anstream::AutoStream::new(stdout, self.choice);
            let _ = write!(out, "\x1b[2J\x1b[H{marked}").and_then(|()| out.flush());
        } else {
            self.data(frame.trim_end());
            self.data("");
        }
        frame
    }

    /// Whether people see what is printed on stdout.
    pub(crate) fn is_terminal(&self) -> bool {
        use std::io::IsTerminal;
        std::io::stdout().is_terminal()
    }

    /// Whether stderr shows progress.
    pub(crate) fn shows_progress(&self) -> bool {
        use std::io::IsTerminal;
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// A line of data on stdout, written at once: another program may be waiting for it.
    pub(crate) fn data(&self, line: &str) {
        if let Some(frame) = &mut *self.frame.borrow_mut() {
            frame.push_str(line);
            frame.push('\n');
            return;
        }
        let mut stdout = std::io::stdout().lock();
        // A closed pipe is the reader's decision, not a failure of the command.
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }

    /// A line for people on stderr.
    pub(crate) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        self.stderr(|out| writeln!(out, "{line}"));
    }

    /// A line for people on stderr that only `-v` shows.
    pub(crate) fn detail(&self, line: &str) {
        if self.verbose {
            self.say(line);
        }
    }

    /// Columns of the terminal, when stdout is one.
    pub(crate) fn width(&self) -> Option<u16> {
        use std::io::IsTerminal;
        if !std::io::stdout().is_terminal() {
            return None;
        }
        comfy_table::Table::new().width()
    }

    /// Asks a question that only `yes` agrees to; false when nobody can be asked.
    pub(crate) fn ask(&self, question: &str) -> bool {
        use std::io::IsTerminal;
        if !std::io::stdin().is_terminal() {
            return false;
        }
        self.stderr(|out| write!(out, "{question} [yes/no] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "yes")
    }

    /// Asks for a name to be typed, for what cannot be undone; false when nobody can be asked.
    pub(crate) fn ask_name(&self, question: &str, name: &str) -> bool {
        use std::io::IsTerminal;
        if !std::io::stdin().is_terminal() {
            return false;
        }
        self.stderr(|out| write!(out, "{question} Type the name to go on: "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && answer.trim() == name
    }

    /// Asks for one letter; [`answer`] reads it.
    pub(crate) fn ask_letter(&self, question: &str) {
        self.stderr(|out| write!(out, "{question} "));
    }

    /// Bytes of data on stdout, as they are. False when nobody reads any more.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> bool {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).is_ok()
    }

    /// Hands on what [`Output::bytes`] wrote.
    pub(crate) fn flush(&self) {
        let _ = std::io::stdout().lock().flush();
    }

    /// A heading for people on stderr.
    pub(crate) fn heading(&self, line: &str) {
        self.stderr(|out| writeln!(out, "{HEADING}{line}{HEADING:#}"));
    }

    /// Aligned `label  text` lines for people on stderr.
    pub(crate) fn list(&self, lines: &[(&str, &str)]) {
        let width = lines
            .iter()
            .map(|(label, _)| label.len())
            .max()
            .unwrap_or(0);
        self.stderr(|out| {
            for (label, text) in lines {
                writeln!(out, "  {LABEL}{label:width$}{LABEL:#}  {text}")?;
            }
            Ok(())
        });
    }

    /// A failure, with its facts, its cause and what to do.
    pub(crate) fn error(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        self.stderr(|out| {
            match failure.code() {
                Some(code) => writeln!(
                    out,
                    "{ERROR}error[{}]{ERROR:#}: {}",
                    code.id,
                    failure.what()
                )?,
                None => writeln!(out, "{ERROR}error{ERROR:#}: {}", failure.what())?,
            }
            let details = failure.details();
            let width = details
                .iter()
                .map(|(label, _)| label.len() + 1)
                .max()
                .unwrap_or(0);
            for (label, text) in details {
                let label = if label.is_empty() {
                    String::new()
                } else {
                    format!("{label}:")
                };
                writeln!(out, "  {LABEL}{label:width$}{LABEL:#} {text}")?;
            }
            Ok(())
        });
    }

    fn stderr(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
        let mut stderr = anstream::AutoStream::new(std::io::stderr(), self.choice);
        // Nobody is left to tell when stderr is closed.
        let _ = write(&mut stderr);
    }
}

/// The letter that somebody typed; `q` when nobody answers. Blocks the thread.
pub(crate) fn answer() -> char {
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read {
        Ok(1..) => answer.trim().chars().next().unwrap_or('q'),
        _ => 'q',
    }
}

/// The words of `frame` that are not at their place in `before`, marked.
fn marked(before: &str, frame: &str) -> String {
    let mut out = String::with_capacity(frame.len() + 64);
    let mut old_lines = before.lines();
    for line in frame.lines() {
        let mut old = old_lines.next().unwrap_or_default().split_whitespace();
        let mut rest = line;
        for word in line.split_whitespace() {
            let at = rest.find(word).unwrap_or(0);
            out.push_str(&rest[..at]);
            if old.next() == Some(word) {
                out.push_str(word);
            } else {
                use std::fmt::Write;
                let _ = write!(out, "{CHANGED}{word}{CHANGED:#}");
            }
            rest = &rest[at + word.len()..];
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_marked() {
        let now = marked("a  1\nb  2\n", "a  1\nb  3\n");
        assert_eq!(now, format!("a  1\nb  {CHANGED}3{CHANGED:#}\n"));
    }
}
