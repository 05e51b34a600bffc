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
}

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
        }
    }

    /// A line of data on stdout, written at once: another program may be waiting for it.
    pub(crate) fn data(&self, line: &str) {
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
