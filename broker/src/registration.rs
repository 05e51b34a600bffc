//! The name servers, and what each of them knows of this broker: told at once when that changes, and every 30 seconds
//! ([`keep`]).

pub(crate) mod keep;
mod parts;
mod standing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::future::AbortHandle;
use parking_lot::{Mutex, RwLock};
use rmq_transport::{Caller, CallerConfig, Clock, Connector, RefuseIncoming};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::standing::{Standing, Superseded};
use crate::tls::Tls;
use crate::topics::Topics;

/// Longest wait, milliseconds, for name servers to hear of a change before it is answered.
const TOLD_MS: i64 = 2_000;

/// The name servers, and what each knows.
pub(crate) struct Registrations {
    servers: RwLock<Vec<Arc<NameServer>>>,
    /// What is looked up again and again; empty when the list is fixed.
    names: Vec<String>,
    /// With what they are connected to.
    tls: Arc<Tls>,
    /// Nothing is registered any more.
    leaving: CancellationToken,
    /// As what this broker is registered.
    standing: watch::Sender<Standing>,
    /// The newest master of the group that a name server named while it refused this one.
    superseded: watch::Sender<Option<Superseded>>,
}

struct NameServer {
    caller: Caller,
    /// What it knows; `None` before the first registration.
    known: watch::Sender<Option<Known>>,
    /// A registration was sent, whatever came of it.
    told: AtomicBool,
    /// One word at a time, so that leaving is the last.
    turn: tokio::sync::Mutex<()>,
    last_error: Mutex<Option<String>>,
    /// Another address that was seen in this broker's place.
    rival: Mutex<Option<String>>,
}

/// What a name server was told last.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The change counter of the topics.
    change: u64,
    standing: Standing,
}

impl NameServer {
    fn new(addr: String, connector: Arc<dyn Connector>) -> Arc<Self> {
        Arc::new(Self {
            caller: Caller::new(
                addr,
                connector,
                CallerConfig::default(),
                Arc::new(RefuseIncoming),
            ),
            known: watch::Sender::new(None),
            told: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
            last_error: Mutex::new(None),
            rival: Mutex::new(None),
        })
    }
}

/// A name server as the health checks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServerHealth {
    pub(crate) addr: String,
    pub(crate) registered: bool,
    pub(crate) error: Option<String>,
    /// Another broker's address, registered there under this broker's name and id.
    pub(crate) rival: Option<String>,
}

impl Registrations {
    /// `look_up`: each address stands for all addresses that its name has, now and later.
    /// `broker_id`: under which it is registered to begin with.
    pub(crate) fn new(
        addresses: Vec<String>,
        look_up: bool,
        broker_id: i64,
        tls: Arc<Tls>,
    ) -> Self {
        let (fixed, names) = if look_up {
            (Vec::new(), addresses)
        } else {
            (addresses, Vec::new())
        };
        Self {
            servers: RwLock::new(
                fixed
                    .into_iter()
                    .map(|addr| NameServer::new(addr, tls.connector(None)))
                    .collect(),
            ),
            names,
            tls,
            leaving: CancellationToken::new(),
            standing: watch::Sender::new(Standing {
                id: broker_id,
                epoch: None,
            }),
            superseded: watch::Sender::new(None),
        }
    }

    /// As what this broker is registered.
    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Changes as what this broker is registered: every name server is told at once.
    pub(crate) fn stand(&self, standing: Standing) {
        self.standing.send_if_modified(|known| {
            let is_new = *known != standing;
            *known = standing;
            is_new
        });
    }

    /// The newest master that a name server named while it refused this broker for its lower epoch.
    pub(crate) fn superseded(&self) -> watch::Receiver<Option<Superseded>> {
        self.superseded.subscribe()
    }

    fn servers(&self) -> Vec<Arc<NameServer>> {
        self.servers.read().clone()
    }

    pub(crate) fn health(&self) -> Vec<NameServerHealth> {
        let unknown = self.names.iter().filter(|_| self.servers.read().is_empty());
        let unknown = unknown.map(|name| NameServerHealth {
            addr: name.clone(),
            registered: false,
            error: Some("the name has no address (yet)".to_owned()),
            rival: None,
        });
        self.servers()
            .iter()
            .map(|server| NameServerHealth {
                addr: server.caller.addr().to_owned(),
                registered: server.known.borrow().is_some() && server.last_error.lock().is_none(),
                error: server.last_error.lock().clone(),
                rival: server.rival.lock().clone(),
            })
            .chain(unknown)
            .collect()
    }

    /// Addresses that are registered under this broker's name and id, one for each name server that shows another broker.
    pub(crate) fn rivals(&self) -> Vec<String> {
        let rival = |server: &Arc<NameServer>| server.rival.lock().clone();
        self.servers().iter().filter_map(rival).collect()
    }

    /// Waits until all name servers know the topics and the standing as they are now.
    pub(crate) async fn all_current(&self, topics: &Topics) {
        let wanted = *topics.changes().borrow();
        let standing = *self.standing.borrow();
        for server in self.servers() {
            // The sender lives as long as self.
            let _ = server
                .known
                .subscribe()
                .wait_for(|known| {
                    known.is_some_and(|known| known.change >= wanted && known.standing == standing)
                })
                .await;
        }
    }

    /// Waits a moment until all name servers know the topics as they are now.
    pub(crate) async fn soon_current(&self, topics: &Topics, clock: &dyn Clock) {
        tokio::select! {
            () = self.all_current(topics) => {}
            () = clock.sleep_ms(TOLD_MS) => {}
        }
    }

    /// Breaks the connections to the name servers without a word.
    pub(crate) fn forsake(&self) {
        self.leaving.cancel();
        for server in self.servers() {
            server.caller.close();
        }
    }

    /// Puts the addresses that the names have now into the list. A name that cannot be looked up changes nothing.
    async fn look_up(&self, running: &HashMap<String, AbortHandle>) {
        let mut found = Vec::new();
        for name in &self.names {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(addresses) => {
                    found.extend(addresses.map(|addr| (addr.to_string(), name.as_str())));
                }
                Err(error) if running.is_empty() => {
                    tracing::warn!(name, "cannot look up the name servers: {error}; trying on");
                    return;
                }
                // They are where they were, as far as anybody knows.
                Err(_) => return,
            }
        }
        found.sort();
        // Certificates are for the name, so each address keeps the first that it was found by.
        found.dedup_by(|one, other| one.0 == other.0);
        let mut servers = self.servers.write();
        servers.retain(|server| {
            let stays = found.iter().any(|(addr, _)| addr == server.caller.addr());
            if !stays {
                server.caller.close();
            }
            stays
        });
        for (addr, name) in found {
            if !servers.iter().any(|server| server.caller.addr() == addr) {
                servers.push(NameServer::new(addr, self.tls.connector(Some(name))));
            }
        }
    }

    /// A name server named a newer master. Of several the newest one counts.
    fn hear(&self, by: Superseded) {
        self.superseded.send_if_modified(|known| {
            let is_newer = known.as_ref().is_none_or(|known| known.epoch < by.epoch);
            if is_newer {
                *known = Some(by);
            }
            is_newer
        });
    }
}
