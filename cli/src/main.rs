//! `rmq-ctl`: the command line of rmq.

mod args;
mod commands;
mod error;
mod exit_code;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.color);
    init_logs(args.verbose, args.quiet);
    let done = match args.command {
        Command::Dev(options) => commands::dev::run(options, &output),
        Command::Version(options) => commands::version::run(&options, &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            error.exit_code().into()
        }
    }
}

/// Logs go to stderr. `RMQ_LOG` (a `tracing` filter such as `rmq_broker=debug`) wins over `-v` and `--quiet`.
fn init_logs(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RMQ_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(verbose > 0)
        .init();
}
