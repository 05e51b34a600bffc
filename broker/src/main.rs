//! `rmq-broker`: one broker as a process.

use std::process::ExitCode;

use clap::Parser;
use rmq_broker::{BrokerConfig, BrokerServer, Configuration as _, Deps};
use rmq_process::{ServerOptions, SettingsForm, Started};

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

    #[command(flatten)]
    options: ServerOptions,
}

fn main() -> ExitCode {
    let args: Args = rmq_process::parse_command_line(&BrokerConfig::environment_help());
    let named = [
        ("listen", args.listen),
        ("management", args.management),
        ("nameServers", args.name_servers),
        ("dataDir", args.data),
        ("advertise", args.advertise),
    ];
    let form = SettingsForm {
        program: BrokerConfig::PROGRAM,
        load: BrokerConfig::load,
        print: BrokerConfig::to_yaml,
        left: rmq_config::original::left,
    };
    rmq_process::run_server(args.options, &named, form, async |config| {
        let broker = BrokerServer::start(config, Deps::default())
            .await
            .map_err(|error| format!("the broker does not start: {error}"))?;
        Ok(Started {
            addr: broker.addr(),
            management_addr: broker.management_addr(),
            stop: async move || {
                let ended = broker.shutdown().await;
                ended.map_err(|error| format!("the last messages could not be written: {error}"))
            },
        })
    })
}
