//! `rmq-broker`: one broker as a process.
#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use rmq_broker::{BrokerConfig, BrokerServer, Deps};
use rmq_process::{LogOptions, StopSignal};

/// A RocketMQ-compatible message broker.
#[derive(Debug, Parser)]
#[command(
    name = "rmq-broker",
    version,
    after_help = "Examples:
  rmq-broker --name-servers 10.0.0.1:9876 --data /var/lib/rmq
  rmq-broker --config broker.yaml --log json
  rmq-broker --set flush=sync --print-config

Settings come from the file, then RMQ_BROKER_* variables, then --set, then the other options.
RMQ_LOG sets what is logged, for example RMQ_LOG=debug. --help lists all variables."
)]
struct Args {
    /// Configuration file (YAML). Every key is explained by --print-config.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address to listen on, host:port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Address of health, metrics and version, host:port; empty for none. Default: 127.0.0.1:10999; 0.0.0.0:10999 shows them to all.
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,

    /// Name servers, host:port separated by semicolons.
    #[arg(long, value_name = "A;B")]
    name_servers: Option<String>,

    /// Folder of all data.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Host that clients use to reach this broker.
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,

    /// Set any key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    sets: Vec<(String, String)>,

    #[command(flatten)]
    log: LogOptions,

    /// Print the configuration with an explanation of every key, and exit.
    #[arg(long)]
    print_config: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected KEY=VALUE".to_owned())
}

fn main() -> ExitCode {
    let command = Args::command();
    let usage = command.get_after_help().map(ToString::to_string);
    let command = command.after_long_help(format!(
        "{}\n\n{}",
        usage.unwrap_or_default(),
        rmq_broker::environment_help()
    ));
    let args = match Args::from_arg_matches(&command.get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let log = args.log;
    let mut sets = args.sets;
    let named = [
        ("listen", args.listen),
        ("management", args.management),
        ("nameServers", args.name_servers),
        ("dataDir", args.data),
        ("advertise", args.advertise),
    ];
    sets.extend(
        named
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key.to_owned(), value))),
    );
    let config = BrokerConfig::load(args.config.as_deref(), std::env::vars(), &sets);
    if args.print_config
        && let Ok(config) = &config
    {
        print!("{}", config.to_yaml());
        return ExitCode::SUCCESS;
    }
    log.start();
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            log.failure(&format!(
                "the configuration is wrong\n{error}\ntry: rmq-broker --print-config"
            ));
            return ExitCode::from(2);
        }
    };
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(run(config, log)),
        Err(error) => {
            log.failure(&format!("cannot start the worker threads: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: BrokerConfig, log: LogOptions) -> ExitCode {
    // Before anything starts: no early signal is lost.
    let mut stop = match StopSignal::listen_and_log() {
        Ok(stop) => stop,
        Err(error) => {
            log.failure(&format!("cannot listen for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let broker = match BrokerServer::start(config, Deps::default()).await {
        Ok(broker) => broker,
        Err(error) => {
            log.failure(&format!("the broker does not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // The starter of this process may have chosen port 0.
    log.tell_starter(&format!("listening on {}", broker.addr()));
    if let Some(management) = broker.management_addr() {
        log.tell_starter(&format!("management on {management}"));
    }
    let stopping = stop.wait_and_log().await;
    let ended = broker.shutdown().await;
    if let Err(error) = &ended {
        log.failure(&format!("the last messages could not be written: {error}"));
    }
    stopping.stopped();
    if ended.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
