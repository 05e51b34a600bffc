//! `rmq-namesrv`: the name server as a process.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use rmq_namesrv::{Deps, NameServer, NameServerConfig};
use rmq_process::{LogOptions, StopSignal};

/// The rmq name server: brokers say what they serve, clients ask who serves what.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  rmq-namesrv
  rmq-namesrv --config namesrv.yaml --management 0.0.0.0:9878
  rmq-namesrv --set orderMessageEnable=true --print-config

Settings come from the file, then RMQ_NAMESRV_* variables, then --set, then the other options.
RMQ_LOG sets what is logged, for example RMQ_LOG=debug. --help lists all variables."
)]
struct Args {
    /// YAML file with settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients and brokers connect, host:port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where /livez, /readyz, /metrics and /version are served, host:port; empty: nowhere. Default: 127.0.0.1:9878; 0.0.0.0:9878 shows
    /// them to all.
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// One setting; may be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    log: LogOptions,
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
    let command = Args::command();
    let usage = command.get_after_help().map(ToString::to_string);
    let command = command.after_long_help(format!(
        "{}\n\n{}",
        usage.unwrap_or_default(),
        rmq_namesrv::environment_help()
    ));
    let args = match Args::from_arg_matches(&command.get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let log = args.log;
    log.start();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (code, text) = match failure {
                Failure::Usage(text) => (2, text),
                Failure::Failed(text) => (1, text),
            };
            log.failure(&text);
            ExitCode::from(code)
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let (print, log) = (args.print_config, args.log);
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
        let mut stop = StopSignal::listen_and_log()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let server = NameServer::start(config, Deps::default()).await;
        let server = server.map_err(|error| Failure::Failed(error.to_string()))?;
        // The starter of this process may have chosen port 0.
        log.tell_starter(&format!("listening on {}", server.local_addr()));
        if let Some(management) = server.management_addr() {
            log.tell_starter(&format!("management on {management}"));
        }
        let stopping = stop.wait_and_log().await;
        server.shutdown().await;
        stopping.stopped();
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
