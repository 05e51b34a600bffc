//! A connection of the remoting protocol as the broker's tables know it.

use std::any::Any;
use std::net::SocketAddr;

use rmq_protocol::code::RequestCode;
use rmq_protocol::names::TRANS_HALF_TOPIC;
use rmq_protocol::requests::{CheckTransactionState, NotifyConsumerIdsChanged};
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

    fn notify(&self, notice: Notice<'_>) -> bool {
        match notice {
            Notice::MembersChanged { group } => {
                let code = RequestCode::NotifyConsumerIdsChanged.as_i32();
                let consumer_group = group.into();
                let fields = NotifyConsumerIdsChanged { consumer_group };
                self.request_one_way(code, &fields, &[]).is_ok()
            }
            Notice::HowDidItEnd(half) => {
                let code = RequestCode::CheckTransactionState.as_i32();
                let fields = CheckTransactionState {
                    topic: Some(TRANS_HALF_TOPIC.into()),
                    tran_state_table_offset: half.queue_offset,
                    commit_log_offset: half.position,
                    msg_id: Some(half.unique_key.as_str().into()),
                    transaction_id: Some(half.unique_key.as_str().into()),
                    offset_msg_id: Some(half.offset_message_id.as_str().into()),
                    broker_name: Some(half.broker_name.as_str().into()),
                };
                self.request_one_way(code, &fields, &half.record).is_ok()
            }
        }
    }
}

/// The connection, when it is one of the remoting protocol.
pub(crate) fn peer(link: &dyn Link) -> Option<&Peer> {
    let link: &dyn Any = link;
    link.downcast_ref()
}
