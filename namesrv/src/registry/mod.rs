//! Who serves what: brokers by name and address, topics by broker, and the routes made of them.
//!
//! One lock guards the tables; routes are encoded when they are first asked for and thrown away when something in them changes,
//! both under that lock, so that an answer is never older than the last change.

mod epochs;
mod lists;
mod member;
mod register;
mod routes;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::DataVersion;
use rmq_transport::Peer;

use epochs::Epochs;
pub(crate) use lists::UnitTopics;
pub(crate) use member::{Farewell, MinIdChange, Stays};
pub(crate) use register::{Registration, Rejected, Rules, Superseded};
pub(crate) use routes::RouteRules;
use topics::Topics;

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
    /// Encoded routes. Filled under a read lock of the tables, emptied under a write lock.
    routes: Mutex<HashMap<String, Bytes, foldhash::fast::RandomState>>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Broker groups by name.
    groups: BTreeMap<String, Group>,
    /// Living brokers by address.
    live: HashMap<String, Live, foldhash::fast::RandomState>,
    /// Topics as they were registered.
    topics: Topics,
    /// Static topics: topic to broker group to mapping, passed through. Only of pairs that are in `topics`.
    mappings: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Groups that left while their write permission was wiped: they are told when they come back.
    wiped_when_left: BTreeSet<String>,
    /// The highest epoch of each group whose masters are elected.
    epochs: Epochs,
}

/// Groups that are remembered so, at most.
const WIPED_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Group {
    cluster: String,
    enable_acting_master: bool,
    zone: Option<String>,
    /// Broker id to address; never empty.
    members: BTreeMap<i64, String>,
    /// Whether the write permission was taken from all its topics.
    wiped: bool,
}

#[derive(Debug)]
struct Live {
    group: String,
    id: i64,
    last_ms: i64,
    timeout_ms: Option<i64>,
    version: DataVersion,
    ha_addr: String,
    filter_servers: Vec<String>,
    /// Its connection; none in tests of the tables alone.
    peer: Option<Arc<Peer>>,
}

/// How full the tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) groups: usize,
    pub(crate) brokers: usize,
    pub(crate) topics: usize,
    pub(crate) entries: usize,
    pub(crate) encoded_routes: usize,
}

impl Registry {
    pub(crate) fn sizes(&self) -> Sizes {
        let tables = self.tables.read();
        Sizes {
            groups: tables.groups.len(),
            brokers: tables.live.len(),
            topics: tables.topics.len(),
            entries: tables.topics.entries(),
            encoded_routes: self.routes.lock().len(),
        }
    }

    /// Drops all encoded routes: something changed that is part of every route.
    pub(crate) fn forget_routes(&self) {
        let _tables = self.tables.write();
        self.routes.lock().clear();
    }

    /// Drops the encoded routes of topics that a broker group serves. Called under the write lock.
    fn forget_routes_of(&self, tables: &Tables, group: &str) {
        let mut routes = self.routes.lock();
        routes.retain(|topic, _| !tables.topics.has(topic, group));
    }
}
