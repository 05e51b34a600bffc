//! The connection of a replica to its master, as a client.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_transport::{Caller, CallerConfig, RefuseIncoming};

use crate::tls::Tls;

/// The connection of a replica to its master, as a client.
pub(crate) struct ToMaster {
    known: Mutex<Option<Caller>>,
    tls: Arc<Tls>,
}

impl ToMaster {
    pub(crate) fn new(tls: Arc<Tls>) -> Self {
        Self {
            known: Mutex::default(),
            tls,
        }
    }

    /// To the master at this address; another one than before has another connection.
    pub(crate) fn at(&self, addr: &str) -> Caller {
        let mut known = self.known.lock();
        match &*known {
            Some(caller) if caller.addr() == addr => caller.clone(),
            _ => {
                let caller = Caller::new(
                    addr,
                    self.tls.connector(None),
                    CallerConfig::default(),
                    Arc::new(RefuseIncoming),
                );
                known.replace(caller.clone());
                caller
            }
        }
    }
}
