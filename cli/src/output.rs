//! The only place that prints: data on stdout, talk on stderr. What others wrote (bodies, keys, ids of clients, answers of servers) steers no
//! terminal: everything but bodies and values for other programs is escaped, and those are on a terminal.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module is where printing happens"
)]

use std::io::Write;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::error::Failure;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// When the stream is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

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
            self.print(frame.trim_end());
            self.print("");
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

    /// A line of data on stdout, written at once: another program may be waiting for it. It stays one line.
    pub(crate) fn data(&self, line: &str) {
        self.print(&rmq_texts::line(line));
    }

    /// Lines of data of our own making, such as a table whose cells are escaped.
    pub(crate) fn block(&self, text: &str) {
        self.print(&rmq_texts::lines(text));
    }

    /// A value for another program: as it is, but on a terminal.
    pub(crate) fn value(&self, text: &str) {
        if self.is_terminal() {
            self.block(text);
        } else {
            self.print(text);
        }
    }

    fn print(&self, line: &str) {
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
        self.say_block(&rmq_texts::line(line));
    }

    /// Lines for people on stderr, of our own making.
    pub(crate) fn say_block(&self, text: &str) {
        if self.quiet {
            return;
        }
        let text = rmq_texts::lines(text);
        self.stderr(|out| writeln!(out, "{text}"));
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

    /// Asks a question that only `yes` agrees to; false when there is no terminal to ask on.
    pub(crate) fn ask(&self, question: &str) -> bool {
        use std::io::IsTerminal;
        if !std::io::stdin().is_terminal() {
            return false;
        }
        let question = rmq_texts::line(question);
        self.stderr(|out| write!(out, "{question} [yes/no] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "yes")
    }

    /// Asks for a name to be typed, for what cannot be undone; false when there is no terminal to ask on.
    pub(crate) fn ask_name(&self, question: &str, name: &str) -> bool {
        use std::io::IsTerminal;
        if !std::io::stdin().is_terminal() {
            return false;
        }
        let question = rmq_texts::line(question);
        self.stderr(|out| write!(out, "{question} Type the name to continue: "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && answer.trim() == name
    }

    /// Asks for one letter; [`answer`] reads it.
    pub(crate) fn ask_letter(&self, question: &str) {
        let question = rmq_texts::line(question);
        self.stderr(|out| write!(out, "{question} "));
    }

    /// Bytes of data on stdout: unchanged, but escaped on a terminal. False when the reader is gone.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> bool {
        let is_terminal = self.is_terminal();
        let mut stdout = std::io::stdout().lock();
        if is_terminal {
            let text = String::from_utf8_lossy(bytes);
            return stdout.write_all(rmq_texts::lines(&text).as_bytes()).is_ok();
        }
        stdout.write_all(bytes).is_ok()
    }

    /// Hands on what [`Output::bytes`] wrote.
    pub(crate) fn flush(&self) {
        let _ = std::io::stdout().lock().flush();
    }

    /// A heading for people on stderr.
    pub(crate) fn heading(&self, line: &str) {
        let line = rmq_texts::line(line);
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
                let text = rmq_texts::line(text);
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
        let what = rmq_texts::line(failure.what());
        self.stderr(|out| {
            match failure.code() {
                Some(code) => writeln!(out, "{ERROR}error[{}]{ERROR:#}: {what}", code.id)?,
                None => writeln!(out, "{ERROR}error{ERROR:#}: {what}")?,
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
                let text = rmq_texts::line(text);
                writeln!(out, "  {LABEL}{label:width$}{LABEL:#} {text}")?;
            }
            Ok(())
        });
    }

    fn stderr(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
        let mut stderr = anstream::AutoStream::new(std::io::stderr(), self.choice);
        // A closed stderr leaves no place for an error.
        let _ = write(&mut stderr);
    }
}

/// The letter that was typed; `q` at the end of stdin. Blocks the thread.
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
