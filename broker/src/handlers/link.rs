//! A connection of the remoting protocol as the broker's tables know it.

use std::any::Any;
use std::net::SocketAddr;

use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::NotifyConsumerIdsChanged;
use rmq_transport::Peer;

use crate::link::{Link, Notice};

impl Link for Peer {
    fn id(&self) -> u64 {
        Self::id(self)
    }

    fn remote_addr(&self) -> SocketAddr {
        Self::remote_addr(self)
    }

    fn language(&self) -> &'static str {
        Self::language(self).name()
    }

    fn version(&self) -> i32 {
        Self::version(self)
    }

    fn notify(&self, notice: Notice<'_>) {
        match notice {
            Notice::MembersChanged { group } => {
                let code = RequestCode::NotifyConsumerIdsChanged.as_i32();
                let consumer_group = group.into();
                // A client that is gone needs no notice.
                let _ =
                    self.request_one_way(code, &NotifyConsumerIdsChanged { consumer_group }, &[]);
            }
        }
    }
}

/// The connection, when it is one of the remoting protocol.
pub(crate) fn peer(link: &dyn Link) -> Option<&Peer> {
    let link: &dyn Any = link;
    link.downcast_ref()
}
