//! The log of a server on stderr: how much of it, in which form, and the lines about the end.

use std::io;
use std::time::{Duration, Instant};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_filter;
use crate::log_writer::LogWriter;
use crate::stop::{Signal, StopSignal};

/// The variable with the filter.
const FILTER_VARIABLE: &str = "RMQ_LOG";
/// What is logged where nobody says.
const LEVEL: LevelFilter = LevelFilter::INFO;

/// The variables that every server reads, for its help.
pub const ENVIRONMENT_HELP: &str = "  RMQ_LOG         What is logged: error, warn, info (the default), debug, trace, or a filter such as warn,rmq_audit=info
  RMQ_LOG_FORMAT  The form of log lines, as --log
  NO_COLOR        A text log has no colours when this is not empty; it has them on terminals only";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: one line of text, with colours on a terminal.
    #[default]
    Text,
    /// For programs: one JSON object in each line.
    Json,
}

/// Options of the log, for the command line of a server.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct LogOptions {
    /// Form of the log on stderr: text for people, json (one object a line) for programs.
    #[arg(
        long = "log",
        value_name = "FORMAT",
        env = "RMQ_LOG_FORMAT",
        hide_env_values = true,
        hide_possible_values = true,
        value_enum,
        default_value_t
    )]
    log: LogFormat,
}

impl LogOptions {
    /// The form that was asked for.
    #[must_use]
    pub fn format(self) -> LogFormat {
        self.log
    }

    /// Begins the log of this process. Call it once, before anything is logged.
    pub fn start(self) {
        let asked = std::env::var(FILTER_VARIABLE).unwrap_or_default();
        let (filter, problem) = filter(&asked);
        let registry = tracing_subscriber::registry();
        match self.log {
            LogFormat::Text => {
                let has_colours = crate::stderr_has_colours();
                let lines = fmt::layer()
                    .with_ansi(has_colours)
                    .with_writer(move || LogWriter::stderr(has_colours));
                registry.with(lines).with(filter).init();
            }
            LogFormat::Json => {
                let lines = fmt::layer()
                    .json()
                    // What a line is about stands beside its text, under names that stay.
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(|| LogWriter::stderr(false));
                registry.with(lines).with(filter).init();
                std::panic::set_hook(Box::new(|panic| {
                    let place = panic.location().map(ToString::to_string);
                    let text = panic.payload_as_str().unwrap_or("a panic without a text");
                    tracing::error!(place, "a defect: {text}");
                }));
            }
        }
        if let Some(problem) = problem {
            tracing::warn!(
                "{FILTER_VARIABLE}={asked:?} is not understood ({problem}); {LEVEL} is logged"
            );
        }
    }

    /// Says why the process ends, in the form of the log: a line of JSON, or the bare text for people.
    pub fn failure(self, text: &str) {
        match self.log {
            LogFormat::Json => tracing::error!("{text}"),
            LogFormat::Text => {
                use io::Write as _;
                // Nothing is left to do when even stderr is gone.
                let _ = writeln!(io::stderr(), "error: {}", rmq_texts::lines(text));
            }
        }
    }

    /// Says something to whoever started the process, on stdout: where the server listens. A log in JSON has it in a line of its own, and
    /// stdout, which supervisors mix with it, stays empty.
    pub fn tell_starter(self, text: &str) {
        if self.log == LogFormat::Text {
            use io::Write as _;
            // The server serves although nobody reads this.
            let _ = writeln!(io::stdout(), "{text}");
        }
    }
}

/// The filter that was asked for, or the usual one and what is wrong.
fn filter(asked: &str) -> (Targets, Option<String>) {
    let usual = Targets::new().with_default(LEVEL);
    if asked.trim().is_empty() {
        return (usual, None);
    }
    match log_filter::parse(asked) {
        Ok(filter) => (filter, None),
        Err(problem) => (usual, Some(problem)),
    }
}

/// A server that is on its way out; see [`StopSignal::wait_and_log`].
#[derive(Debug)]
pub struct Stopping {
    began: Instant,
}

impl Stopping {
    /// Logs that the server has stopped, and after how long.
    pub fn stopped(self) {
        let after_ms = millis(self.began.elapsed());
        tracing::info!(after_ms, "stopped after {after_ms} ms");
    }
}

impl StopSignal {
    /// As [`StopSignal::listen`], for servers: the log has a line when the second signal ends the process.
    ///
    /// # Errors
    /// When the system refuses to listen, or to start the thread.
    pub fn listen_and_log() -> io::Result<Self> {
        Self::listen_with(Some(|signal: Signal, took| {
            let after_ms = millis(took);
            tracing::warn!(
                after_ms, %signal,
                "stopped after {after_ms} ms by a second signal; what was not finished by then is left to the next start"
            );
        }))
    }

    /// As [`StopSignal::wait`], with a line in the log.
    pub async fn wait_and_log(&mut self) -> Stopping {
        let signal = self.wait().await;
        let began = Instant::now();
        tracing::info!(%signal, "stopping; a second signal stops at once");
        Stopping { began }
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_not_understood_is_told() {
        for (asked, is_understood) in [
            ("", true),
            (" ", true),
            ("debug", true),
            ("warn,rmq_audit=info", true),
            ("rmq_broker=loud", false),
            ("=", false),
        ] {
            assert_eq!(filter(asked).1.is_none(), is_understood, "{asked:?}");
        }
    }
}
