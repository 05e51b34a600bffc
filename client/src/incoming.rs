//! What servers ask of their clients over the clients' own connections.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::RequestCode;
use rmq_protocol::requests::{NotifyConsumerIdsChanged, Request};
use rmq_transport::{Exchange, IncomingRequests, RefuseIncoming};
use tokio::sync::watch;

/// Tells members of groups that others came or went.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    groups: Mutex<HashMap<String, watch::Sender<u64>>>,
}

impl Notices {
    /// Counts the notices for `group` from now on.
    pub(crate) fn watch(&self, group: &str) -> watch::Receiver<u64> {
        let mut groups = self.groups.lock();
        groups
            .entry(group.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }

    pub(crate) fn forget(&self, group: &str) {
        self.groups.lock().remove(group);
    }

    fn changed(&self, group: &str) {
        if let Some(sender) = self.groups.lock().get(group) {
            sender.send_modify(|count| *count += 1);
        }
    }
}

/// Handles the requests that this client understands and refuses the others.
#[derive(Debug)]
pub(crate) struct Incoming(pub(crate) Arc<Notices>);

impl IncomingRequests for Incoming {
    fn request(&self, exchange: &mut Exchange<'_>) {
        if RequestCode::from_i32(exchange.header.code)
            != Some(RequestCode::NotifyConsumerIdsChanged)
        {
            return RefuseIncoming.request(exchange);
        }
        match NotifyConsumerIdsChanged::decode(&exchange.header.fields) {
            Ok(notice) => {
                self.0.changed(&notice.consumer_group);
                exchange.ok(&());
            }
            Err(error) => exchange.fail(rmq_protocol::ResponseCode::SystemError, error.to_string()),
        }
    }
}
