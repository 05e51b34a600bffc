//! Requests of clients, brokers and tools.

mod admin;
mod brokers;
mod routes;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rmq_protocol::header::Header;
use rmq_protocol::requests::{FieldError, Request};
use rmq_protocol::{RequestCode, ResponseCode};
use rmq_transport::{Clock, Exchange, MemoryBudget, Peer, Service};

use crate::config::NameServerConfig;
use crate::kv::KvConfigs;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// Everything that handlers share.
pub(crate) struct Handlers {
    pub(crate) registry: Registry,
    pub(crate) kv: KvConfigs,
    pub(crate) config: ArcSwap<NameServerConfig>,
    /// Held while settings change: two changes at once must not undo each other.
    pub(crate) changing: Mutex<()>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// What connections hold together.
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) started_ms: i64,
}

impl Service for Handlers {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let number = exchange.header.code;
        let code = RequestCode::from_i32(number);
        self.metrics.request(code);
        let handled = match code {
            Some(code) => self.handle(code, exchange),
            None => Err(unsupported(number, "unknown")),
        };
        if let Err(refusal) = handled {
            tracing::debug!(code = number, peer = %exchange.peer.remote_addr(), "refused: {}", refusal.remark);
            self.metrics.refused(refusal.code);
            exchange.fail(refusal.code, refusal.remark);
        }
    }

    fn connected(&self, _peer: &Arc<Peer>) {
        self.metrics.connected();
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.metrics.closed();
        for change in self.registry.closed(peer) {
            self.announce(&change);
        }
    }
}

/// An answer that is not success.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: ResponseCode,
    remark: String,
}

impl Refusal {
    fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
        }
    }

    /// What the original answers when something goes wrong inside a handler.
    fn system(error: impl std::fmt::Display) -> Self {
        Self::new(ResponseCode::SystemError, error.to_string())
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::system(error)
    }
}

type Handled = Result<(), Refusal>;

fn unsupported(number: i32, name: &str) -> Refusal {
    Refusal::new(
        ResponseCode::RequestCodeNotSupported,
        format!(" request type {number} not supported ({name} at a name server)"),
    )
}

fn decode<'a, R: Request<'a>>(header: &'a Header<'a>) -> Result<R, Refusal> {
    Ok(R::decode(&header.fields)?)
}

impl Handlers {
    fn handle(&self, code: RequestCode, exchange: &mut Exchange<'_>) -> Handled {
        match code {
            RequestCode::GetRouteinfoByTopic => self.route(exchange),
            RequestCode::GetBrokerClusterInfo => self.cluster_info(exchange),
            RequestCode::RegisterBroker => self.register_broker(exchange),
            RequestCode::UnregisterBroker => self.unregister_broker(exchange),
            RequestCode::QueryDataVersion => self.query_data_version(exchange),
            RequestCode::BrokerHeartbeat => self.broker_heartbeat(exchange),
            RequestCode::GetBrokerMemberGroup => self.member_group(exchange),
            RequestCode::WipeWritePermOfBroker => self.wipe_write_permission(exchange),
            RequestCode::AddWritePermOfBroker => self.add_write_permission(exchange),
            RequestCode::GetAllTopicListFromNameserver => self.all_topics(exchange),
            RequestCode::GetTopicsByCluster => self.topics_of_cluster(exchange),
            RequestCode::GetSystemTopicListFromNs => self.system_topics(exchange),
            RequestCode::GetUnitTopicList
            | RequestCode::GetHasUnitSubTopicList
            | RequestCode::GetHasUnitSubUnunitTopicList => self.unit_topics(code, exchange),
            RequestCode::DeleteTopicInNamesrv => self.delete_topic(exchange),
            RequestCode::RegisterTopicInNamesrv => self.register_topic(exchange),
            RequestCode::PutKvConfig => self.put_kv(exchange),
            RequestCode::GetKvConfig => self.get_kv(exchange),
            RequestCode::DeleteKvConfig => self.delete_kv(exchange),
            RequestCode::GetKvlistByNamespace => self.kv_list(exchange),
            RequestCode::UpdateNamesrvConfig => self.update_config(exchange),
            RequestCode::GetNamesrvConfig => self.get_config(exchange),
            other => Err(unsupported(other.as_i32(), other.name())),
        }
    }
}
