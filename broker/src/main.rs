//! `rmq-broker`: one broker as a process.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program talks to its terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rmq_broker::{BrokerConfig, BrokerServer, Deps};
use rmq_process::StopSignal;

/// A RocketMQ-compatible message broker.
#[derive(Debug, Parser)]
#[command(name = "rmq-broker", version)]
struct Args {
    /// Configuration file (YAML). Every key is explained by --print-config.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address to listen on, host:port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Address of health, metrics and version, host:port; empty for none.
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
    let args = Args::parse();
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
    let config = match BrokerConfig::load(args.config.as_deref(), std::env::vars(), &sets) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: the configuration is wrong\n{error}\ntry: rmq-broker --print-config");
            return ExitCode::from(2);
        }
    };
    if args.print_config {
        print!("{}", config.to_yaml());
        return ExitCode::SUCCESS;
    }
    let has_colours = rmq_process::stderr_has_colours();
    let filter = tracing_subscriber::EnvFilter::try_from_env("RMQ_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colours)
        .with_writer(move || rmq_process::LogWriter::stderr(has_colours))
        .init();
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => {
            eprintln!("error: cannot start the worker threads: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: BrokerConfig) -> ExitCode {
    // Before anything starts: no early signal is lost.
    let mut stop = match StopSignal::listen() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("error: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let broker = match BrokerServer::start(config, Deps::default()).await {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("error: the broker does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // One line for whoever started this process and chose port 0.
    println!("listening on {}", broker.addr());
    if let Some(management) = broker.management_addr() {
        println!("management on {management}");
    }
    stop.wait().await;
    tracing::info!("stopping; a second signal stops at once");
    match broker.shutdown().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the last messages could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}
