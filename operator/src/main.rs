//! `rmq-operator`: the operator as a process.
#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rmq_process::{LogOptions, StopSignal};
use tokio_util::sync::CancellationToken;

/// The Kubernetes operator of rmq: makes clusters of NameServer, BrokerGroup, Topic and SubscriptionGroup objects.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  rmq-operator run --namespaces shop,billing
  rmq-operator crds | kubectl apply --server-side -f -

RMQ_LOG sets what is logged, for example RMQ_LOG=debug. `rmq-operator run --help` lists all variables."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look after the objects until stopped.
    #[command(after_help = format!("Environment:\n{}\nEach option above names its own.", rmq_process::ENVIRONMENT_HELP))]
    Run(Box<RunOptions>),
    /// Print the definitions of the kinds as YAML.
    Crds,
}

#[derive(Debug, clap::Args)]
struct RunOptions {
    #[command(flatten)]
    operator: rmq_operator::Options,
    #[command(flatten)]
    log: LogOptions,
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Crds => {
            print!("{}", rmq_operator::definitions());
            ExitCode::SUCCESS
        }
        Command::Run(options) => {
            let log = options.log;
            log.start();
            match tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime.block_on(run(options.operator, log)),
                Err(error) => {
                    log.failure(&format!("cannot start the worker threads: {error}"));
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn run(options: rmq_operator::Options, log: LogOptions) -> ExitCode {
    let mut signal = match StopSignal::listen_and_log() {
        Ok(signal) => signal,
        Err(error) => {
            log.failure(&format!("cannot listen for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let signalled = tokio::spawn(async move {
        let stopping = signal.wait_and_log().await;
        stopped.cancel();
        stopping
    });
    let ended = rmq_operator::run(options, stop.clone()).await;
    if let Err(error) = &ended {
        log.failure(&error.to_string());
    }
    if stop.is_cancelled()
        && let Ok(stopping) = signalled.await
    {
        stopping.stopped();
    }
    if ended.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
