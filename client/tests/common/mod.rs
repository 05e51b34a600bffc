//! A real name server and a real broker in this process, for the tests of the client.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;

use rmq_broker::{BrokerConfig, BrokerServer, Deps as BrokerDeps, RunningBroker};
use rmq_client::Client;
use rmq_namesrv::{Deps, NameServer, NameServerConfig, RunningNameServer};

/// One name server and one broker; the folder goes with it.
pub(crate) struct Cluster {
    pub(crate) name_server: RunningNameServer,
    pub(crate) broker: RunningBroker,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) async fn name_server() -> RunningNameServer {
    let config = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    NameServer::start(config, Deps::default()).await.unwrap()
}

pub(crate) async fn broker(name: &str, dir: &Path, name_servers: &str) -> RunningBroker {
    let config = BrokerConfig {
        broker_name: name.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        advertise: "127.0.0.1".to_owned(),
        fast_port: false,
        management: String::new(),
        name_servers: name_servers.to_owned(),
        data_dir: dir.to_owned(),
        segment_bytes: 4 << 20,
        ..BrokerConfig::default()
    };
    let broker = BrokerServer::start(config, BrokerDeps::default())
        .await
        .unwrap();
    broker.registered().await;
    broker
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let name_server = name_server().await;
        let folder = tempfile::tempdir().unwrap();
        let broker = broker(
            "broker-a",
            folder.path(),
            &name_server.local_addr().to_string(),
        )
        .await;
        Self {
            name_server,
            broker,
            folder,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(format!("rmq://{}", self.name_server.local_addr()))
            .await
            .unwrap()
    }

    pub(crate) async fn stop(self, client: Client) {
        client.shutdown().await;
        self.broker.shutdown().await.unwrap();
        self.name_server.shutdown().await;
    }
}
