//! The data of a broker that does not run.

use std::net::{Ipv4Addr, SocketAddr};

use rmq_config::BrokerConfig;
use rmq_store::StoreConfig;

use crate::broker::Broker;
use crate::config;
use crate::secrets::Secrets;

/// With what a broker of this configuration opens its store, its tables among it: for programs that make such a store while no broker has it open.
/// `now_ms` is the wall clock, Unix milliseconds.
#[must_use]
pub fn store_config(config: &BrokerConfig, now_ms: i64) -> StoreConfig {
    let mut store = config::store(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    store.tables = Broker::tables(config, &Secrets::default(), now_ms).declared();
    store
}
