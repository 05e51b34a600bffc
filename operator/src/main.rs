//! `rmq-operator`: the operator as a process.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program talks to its terminal"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rmq_process::StopSignal;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The Kubernetes operator of rmq: makes clusters of NameServer, BrokerGroup, Topic and SubscriptionGroup objects.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  rmq-operator run --namespaces shop,billing
  rmq-operator crds | kubectl apply --server-side -f -

RMQ_LOG sets what is logged, for example RMQ_LOG=debug."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look after the objects until stopped.
    Run(Box<rmq_operator::Options>),
    /// Print the definitions of the kinds as YAML.
    Crds,
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Crds => {
            print!("{}", rmq_operator::definitions());
            ExitCode::SUCCESS
        }
        Command::Run(options) => {
            let has_colours = rmq_process::stderr_has_colours();
            let filter =
                EnvFilter::try_from_env("RMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
            tracing_subscriber::fmt()
                .json()
                .with_ansi(has_colours)
                // What a line is about stands in its fields.
                .with_current_span(false)
                .with_span_list(false)
                .with_env_filter(filter)
                .with_writer(move || rmq_process::LogWriter::stderr(has_colours))
                .init();
            match tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime.block_on(run(*options)),
                Err(error) => {
                    eprintln!("error: cannot start the worker threads: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn run(options: rmq_operator::Options) -> ExitCode {
    let mut signal = match StopSignal::listen() {
        Ok(signal) => signal,
        Err(error) => {
            eprintln!("error: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        signal.wait().await;
        tracing::info!("stopping; a second signal stops at once");
        stopped.cancel();
    });
    match rmq_operator::run(options, stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
