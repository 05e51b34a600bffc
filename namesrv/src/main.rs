//! `rmq-namesrv`: the name server as a process.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rmq_namesrv::{Deps, NameServer, NameServerConfig};
use rmq_process::StopSignal;
use tracing_subscriber::EnvFilter;

/// The rmq name server: brokers say what they serve, clients ask who serves what.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  rmq-namesrv
  rmq-namesrv --config namesrv.yaml --management 0.0.0.0:9878
  rmq-namesrv --set orderMessageEnable=true --print-config

Settings come from the file, then RMQ_NAMESRV_* variables, then --set, then the other options.
RMQ_LOG sets what is logged, for example RMQ_LOG=debug."
)]
struct Args {
    /// YAML file with settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients and brokers connect, host:port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where /livez, /readyz, /metrics and /version are served, host:port.
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// One setting; may be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Print all settings as YAML, with what they mean, and end.
    #[arg(long)]
    print_config: bool,
}

/// What is wrong with the command line or the settings: exit code 2; everything else: 1.
enum Failure {
    Usage(String),
    Failed(String),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let has_colours = rmq_process::stderr_has_colours();
    let filter = EnvFilter::try_from_env("RMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colours)
        .with_writer(move || rmq_process::LogWriter::stderr(has_colours))
        .init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (code, text) = match failure {
                Failure::Usage(text) => (2, text),
                Failure::Failed(text) => (1, text),
            };
            // Nothing is left to do when even stderr is gone.
            let _ = writeln!(std::io::stderr(), "rmq-namesrv: {text}");
            ExitCode::from(code)
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let print = args.print_config;
    let config = configure(args)?;
    if print {
        let printed = std::io::stdout().write_all(config.to_yaml().as_bytes());
        return printed
            .map_err(|error| Failure::Failed(format!("cannot write to stdout: {error}")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| Failure::Failed(format!("cannot start the worker threads: {error}")))?;
    runtime.block_on(async {
        // Before anything starts: no early signal is lost.
        let mut stop = StopSignal::listen()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let server = NameServer::start(config, Deps::default()).await;
        let server = server.map_err(|error| Failure::Failed(error.to_string()))?;
        // For whoever started it with port 0. It serves all the same when nobody reads this.
        let _ = writeln!(std::io::stdout(), "listening on {}", server.local_addr());
        if let Some(management) = server.management_addr() {
            let _ = writeln!(std::io::stdout(), "management on {management}");
        }
        stop.wait().await;
        tracing::info!("stopping; a second signal stops at once");
        server.shutdown().await;
        Ok(())
    })
}

fn configure(args: Args) -> Result<NameServerConfig, Failure> {
    let mut config = NameServerConfig::default();
    let usage = |error: rmq_namesrv::ConfigError| Failure::Usage(error.to_string());
    if let Some(path) = &args.config {
        config.read_file(path).map_err(usage)?;
    }
    config.read_env(std::env::vars()).map_err(usage)?;
    for setting in &args.settings {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(Failure::Usage(format!(
                "--set {setting}: expected KEY=VALUE"
            )));
        };
        config
            .set("--set", key.trim(), value.trim())
            .map_err(usage)?;
    }
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(management) = args.management {
        config.management = management;
    }
    Ok(config)
}
