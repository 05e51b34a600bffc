//! The connection of a replica to its master, as a client.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_transport::{Caller, CallerConfig, RefuseIncoming, TcpConnector};

/// The connection of a replica to its master, as a client.
#[derive(Default)]
pub(crate) struct ToMaster(Mutex<Option<Caller>>);

impl ToMaster {
    /// To the master at this address; another one than before has another connection.
    pub(crate) fn at(&self, addr: &str) -> Caller {
        let mut known = self.0.lock();
        match &*known {
            Some(caller) if caller.addr() == addr => caller.clone(),
            _ => {
                let caller = Caller::new(
                    addr,
                    Arc::new(TcpConnector),
                    CallerConfig::default(),
                    Arc::new(RefuseIncoming),
                );
                known.replace(caller.clone());
                caller
            }
        }
    }
}
