//! `rmq-namesrv`: the name server as a process.

use std::process::ExitCode;

use clap::Parser;
use rmq_namesrv::{Configuration as _, Deps, NameServer, NameServerConfig};
use rmq_process::{ServerOptions, SettingsForm, Started};

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
    /// Where clients and brokers connect, host:port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where /livez, /readyz, /metrics and /version are served, host:port; empty: nowhere. Default: 127.0.0.1:9878; 0.0.0.0:9878 shows
    /// them to all.
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    #[command(flatten)]
    options: ServerOptions,
}

fn main() -> ExitCode {
    let args: Args = rmq_process::parse_command_line(&NameServerConfig::environment_help());
    let named = [("listen", args.listen), ("management", args.management)];
    let form = SettingsForm {
        program: NameServerConfig::PROGRAM,
        load: NameServerConfig::load,
        print: NameServerConfig::to_yaml,
        left: |_| Vec::new(),
    };
    rmq_process::run_server(args.options, &named, form, async |config| {
        let server = NameServer::start(config, Deps::default())
            .await
            .map_err(|error| error.to_string())?;
        Ok(Started {
            addr: server.local_addr(),
            management_addr: server.management_addr(),
            stop: async move || {
                server.shutdown().await;
                Ok(())
            },
        })
    })
}
