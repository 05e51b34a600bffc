//! What tests with requests of their own share.

use std::sync::Arc;

use rmq_namesrv::{Deps, NameServer, NameServerConfig, RunningNameServer};
use rmq_transport::{Caller, CallerConfig, RefuseIncoming, TcpConnector};

/// A name server without a management port, and a connection to it.
pub(crate) async fn start() -> (RunningNameServer, Caller) {
    let config = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    let server = NameServer::start(config, Deps::default())
        .await
        .expect("the name server starts");
    let caller = Caller::new(
        server.local_addr().to_string(),
        Arc::new(TcpConnector),
        CallerConfig::default(),
        Arc::new(RefuseIncoming),
    );
    (server, caller)
}
