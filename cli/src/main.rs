//! `rmq-ctl`: the command line of rmq.

mod args;
mod cluster;
mod codes;
mod commands;
mod config;
#[cfg(test)]
mod docs;
mod error;
mod exit_code;
mod output;
mod render;
mod when;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.color, args.verbose > 0, args.quiet);
    init_logs(args.verbose, args.quiet);
    let cluster = &args.cluster;
    let done = match args.command {
        Command::Config(options) => commands::config::run(&options, cluster, &output),
        Command::Create(options) => on_cluster(commands::create::run(&options, cluster, &output)),
        Command::Delete(options) => on_cluster(commands::delete::run(&options, cluster, &output)),
        Command::Describe(options) => {
            on_cluster(commands::describe::run(&options, cluster, &output))
        }
        Command::Dev(options) => commands::dev::run(options, &output),
        Command::Explain(options) => commands::explain::run(&options, &output),
        Command::Find(options) => on_cluster(commands::find::run(&options, cluster, &output)),
        Command::Get(options) => on_cluster(commands::get::run(&options, cluster, &output)),
        Command::Lag(options) => on_cluster(commands::lag::run(&options, cluster, &output)),
        Command::Offsets(options) => on_cluster(commands::offsets::run(&options, cluster, &output)),
        Command::Send(options) => on_cluster(commands::send::run(&options, cluster, &output)),
        Command::Tail(options) => on_cluster(commands::tail::run(&options, cluster, &output)),
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

/// One thread is enough for what one command asks, and starts at once.
fn on_cluster(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "cannot start").cause(&error))?;
    runtime.block_on(command)
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
