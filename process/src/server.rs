//! The `main` of a server: its options, its settings, the start, the lines for its starter, the stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::log::{ENVIRONMENT_HELP, LogOptions};
use crate::stop::StopSignal;

/// Options that every server has, beside those for single settings.
#[derive(Debug, clap::Args)]
pub struct ServerOptions {
    /// File with settings (YAML; of a broker also Apache RocketMQ's broker.conf). --print-config explains every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set any key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    sets: Vec<(String, String)>,

    #[command(flatten)]
    log: LogOptions,

    /// Print all settings as YAML, each with what it does, and end.
    #[arg(long)]
    print_config: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "expected KEY=VALUE".to_owned())
}

/// The variables of this process. One that is no text is shown as well as it can be: its setting refuses it.
fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// The command line of a server. `--help` ends with the variables of all programs and with `settings_help`; a wrong command line ends the
/// process with exit code 2.
#[must_use]
pub fn parse_command_line<A: clap::Parser>(settings_help: &str) -> A {
    let command = A::command();
    let usage = command.get_after_help().map(ToString::to_string);
    let command = command.after_long_help(format!(
        "{}\n\nEnvironment:\n{ENVIRONMENT_HELP}\n\n{settings_help}",
        usage.unwrap_or_default(),
    ));
    A::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Puts settings together: of a file, of variables (name and value), of arguments (key and value).
pub type LoadSettings<C, E> =
    fn(Option<&Path>, Vec<(String, String)>, &[(String, String)]) -> Result<C, E>;

/// The form of a server's settings, as its `main` uses it.
#[derive(Debug, Clone, Copy)]
pub struct SettingsForm<C, E> {
    /// The program, for messages.
    pub program: &'static str,
    /// Puts the file, variables and arguments together.
    pub load: LoadSettings<C, E>,
    /// All settings as YAML.
    pub print: fn(&C) -> String,
    /// What of the file does not count, a line each.
    pub left: fn(Option<&Path>) -> Vec<String>,
}

/// A server that runs.
#[derive(Debug)]
pub struct Started<F> {
    /// Where clients connect.
    pub addr: SocketAddr,
    /// Where its management port is, if it has one.
    pub management_addr: Option<SocketAddr>,
    /// Stops it; the error is what could not be finished.
    pub stop: F,
}

/// Runs a server from its settings to its end, and returns the exit code: 0 after a clean stop, 2 for wrong settings, 1 for everything else.
/// `named` are the settings that have an option of their own; they count before `--set`.
pub fn run_server<C, E, F>(
    options: ServerOptions,
    named: &[(&str, Option<String>)],
    form: SettingsForm<C, E>,
    start: impl AsyncFnOnce(C) -> Result<Started<F>, String>,
) -> ExitCode
where
    E: std::fmt::Display,
    F: AsyncFnOnce() -> Result<(), String>,
{
    let log = options.log;
    let mut arguments = options.sets;
    arguments.extend(
        named
            .iter()
            .filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?))),
    );
    let config = (form.load)(options.config.as_deref(), environment(), &arguments);
    if options.print_config
        && let Ok(config) = &config
    {
        let text = (form.print)(config);
        return match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log.start();
                log.failure(&format!("cannot write to stdout: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    log.start();
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            log.failure(&format!(
                "the configuration is wrong\n{error}\ntry: {} --print-config",
                form.program
            ));
            return ExitCode::from(2);
        }
    };
    for line in (form.left)(options.config.as_deref()) {
        tracing::warn!("{line}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(until_stopped(config, log, start)),
        Err(error) => Err(format!("cannot start the worker threads: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn until_stopped<C, F>(
    config: C,
    log: LogOptions,
    start: impl AsyncFnOnce(C) -> Result<Started<F>, String>,
) -> Result<(), String>
where
    F: AsyncFnOnce() -> Result<(), String>,
{
    // Before anything starts: no early signal is lost.
    let mut signal = StopSignal::listen_and_log()
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    let started = start(config).await?;
    // The starter of this process may have chosen port 0.
    log.tell_starter(&format!("listening on {}", started.addr));
    if let Some(management) = started.management_addr {
        log.tell_starter(&format!("management on {management}"));
    }
    let stopping = signal.wait_and_log().await;
    let ended = (started.stop)().await;
    stopping.stopped();
    ended
}
