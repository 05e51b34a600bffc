//! The name server and the broker of a development cluster: the one place of this program that knows the servers.

use std::io::ErrorKind;
use std::path::Path;

use rmq_broker::{BrokerConfig, BrokerServer, RunningBroker};
use rmq_namesrv::{NameServer, NameServerConfig, RunningNameServer};

use crate::error::Failure;
use crate::exit_code::Exit;

const NAME_SERVER_PORT: u16 = 9876;
const BROKER_PORT: u16 = 10911;
/// Small next to a server's: a laptop should not give away a gigabyte for the first message.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Ports that were asked for; `None`: the usual one, or a free one when that is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) name_server: Option<u16>,
    pub(crate) broker: Option<u16>,
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Servers {
    name_server: RunningNameServer,
    name_server_addr: String,
    broker: RunningBroker,
    broker_addr: String,
}

/// A server that did not start: because its address is taken, or for another reason.
enum NotStarted {
    Taken(Failure),
    Other(Failure),
}

impl Servers {
    /// Starts both on loopback; returns when the broker is in the routes.
    pub(crate) async fn start(data: &Path, ports: Ports) -> Result<Self, Failure> {
        let name_server = match name_server(ports.name_server.unwrap_or(NAME_SERVER_PORT)).await {
            Ok(running) => running,
            Err(NotStarted::Taken(_)) if ports.name_server.is_none() => {
                name_server(0).await.map_err(NotStarted::into_failure)?
            }
            Err(error) => return Err(error.into_failure()),
        };
        let name_server_addr = name_server.local_addr().to_string();
        let started =
            match broker(data, ports.broker.unwrap_or(BROKER_PORT), &name_server_addr).await {
                Err(NotStarted::Taken(_)) if ports.broker.is_none() => {
                    broker(data, 0, &name_server_addr).await
                }
                started => started,
            };
        let broker = match started {
            Ok(running) => running,
            Err(error) => {
                name_server.shutdown().await;
                return Err(error.into_failure());
            }
        };
        broker.registered().await;
        let broker_addr = broker.addr().to_string();
        Ok(Self {
            name_server,
            name_server_addr,
            broker,
            broker_addr,
        })
    }

    pub(crate) fn name_server(&self) -> &str {
        &self.name_server_addr
    }

    pub(crate) fn broker(&self) -> &str {
        &self.broker_addr
    }

    pub(crate) fn broker_name(&self) -> &str {
        &self.broker.config().broker_name
    }

    /// Leaves the routes, writes everything to disk, ends both.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let stopped = self.broker.shutdown().await;
        self.name_server.shutdown().await;
        stopped.map_err(|error| {
            Failure::new(Exit::Failed, "the broker could not write its last messages")
                .cause(&error)
                .try_this(
                    "look at the disk: what was acknowledged before is there at the next start",
                )
        })
    }
}

impl NotStarted {
    fn into_failure(self) -> Failure {
        match self {
            Self::Taken(failure) | Self::Other(failure) => failure,
        }
    }
}

fn taken(what: &str, addr: &str, option: &str, error: &dyn std::error::Error) -> NotStarted {
    let in_use = {
        let mut source = Some(error);
        let mut found = false;
        while let Some(current) = source {
            found |= current
                .to_string()
                .contains(&std::io::Error::from(ErrorKind::AddrInUse).to_string());
            source = current.source();
        }
        found || error.to_string().contains("in use")
    };
    let failure = Failure::new(
        if in_use { Exit::Conflict } else { Exit::Failed },
        format!("the {what} did not start"),
    )
    .fact("address", addr)
    .because(error.to_string());
    if in_use {
        NotStarted::Taken(
            failure.try_this(format!("{option} 0   (lets the system choose a free port)")),
        )
    } else {
        NotStarted::Other(failure)
    }
}

async fn name_server(port: u16) -> Result<RunningNameServer, NotStarted> {
    let addr = format!("127.0.0.1:{port}");
    let config = NameServerConfig {
        listen: addr.clone(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    NameServer::start(config, rmq_namesrv::Deps::default())
        .await
        .map_err(|error| taken("name server", &addr, "--port", &error))
}

async fn broker(data: &Path, port: u16, name_server: &str) -> Result<RunningBroker, NotStarted> {
    let addr = format!("127.0.0.1:{port}");
    let config = BrokerConfig {
        listen: addr.clone(),
        management: String::new(),
        name_servers: name_server.to_owned(),
        data_dir: data.join("broker"),
        segment_bytes: SEGMENT_BYTES,
        fast_port: false,
        ..BrokerConfig::default()
    };
    BrokerServer::start(config, rmq_broker::Deps::default())
        .await
        .map_err(|error| taken("broker", &addr, "--broker-port", &error))
}
