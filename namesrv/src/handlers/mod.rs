//! Requests of clients, brokers and tools.

mod admin;
mod brokers;
mod routes;

use std::ops::RangeInclusive;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rmq_access::{NotPassed, Passed, Recent, Refusals, Request as Asked};
use rmq_config::NameServerConfig;
use rmq_protocol::header::Header;
use rmq_protocol::requests::{FieldError, FieldProblem, RegisterBrokerReply, Request};
use rmq_protocol::{RequestCode, ResponseCode};
use rmq_transport::{Clock, Exchange, MemoryBudget, Peer, Reply, Service};

use crate::access::{self, Access};
use crate::audit;
use crate::kv::KvConfigs;
use crate::metrics::Metrics;
use crate::registry::{Registry, Superseded};
use crate::router;

/// Everything that handlers share.
pub(crate) struct Handlers {
    pub(crate) registry: Registry,
    pub(crate) kv: KvConfigs,
    /// Who asks, and whether they may; `None`: everybody may everything.
    pub(crate) access: Option<Access>,
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
    type Batch = Recent;

    fn request(&self, recent: &mut Recent, exchange: &mut Exchange<'_>) {
        let number = exchange.header.code;
        let code = RequestCode::from_i32(number);
        self.metrics.request(code);
        if let (Some(access), Some(code)) = (&self.access, code)
            && let Err(why) = admit(access, code, recent, exchange)
        {
            return self.not_passed(access, code, exchange, why);
        }
        let handled = match code.map(|code| (code, router::row(code).handler)) {
            Some((_, Some(handle))) => handle(self, exchange),
            Some((code, None)) => Err(unsupported(number, code.name())),
            None => Err(unsupported(number, "unknown")),
        };
        if let Err(refusal) = handled {
            tracing::debug!(code = number, peer = %exchange.peer.remote_addr(), "refused: {}", refusal.remark);
            self.metrics.refused(refusal.code);
            let remark = Some(refusal.remark.into());
            match &refusal.fields {
                Some(fields) => exchange.reply(refusal.code, remark, fields.as_ref(), b""),
                None => exchange.reply(refusal.code, remark, &(), b""),
            }
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

/// Lets a request pass whose sender is known, and may.
fn admit(
    access: &Access,
    code: RequestCode,
    recent: &mut Recent,
    exchange: &mut Exchange<'_>,
) -> Result<(), NotPassed> {
    let request = Asked {
        code,
        rights: router::row(code).rights,
        header: exchange.header,
        body: exchange.body,
        from: exchange.peer.remote_addr().ip(),
        certificate: access::certificate_of(exchange),
        about: None,
    };
    let passed = access.gate.pass(&request, recent)?;
    exchange.is_verified = matches!(passed, Passed::User(_));
    Ok(())
}

impl Handlers {
    /// Refuses a request whose sender is not known, or may not. A source that fails again and again waits for its answers.
    #[cold]
    fn not_passed(
        &self,
        access: &Access,
        code: RequestCode,
        exchange: &mut Exchange<'_>,
        why: NotPassed,
    ) {
        let from = exchange.peer.remote_addr().ip();
        let now_ms = self.clock.monotonic_ms();
        let is_beyond = access.refusals.count(from, &why, now_ms);
        self.metrics.refused(ResponseCode::NoPermission);
        self.metrics.not_passed(&why);
        let remark = why.to_string();
        if !is_beyond {
            audit::asker(exchange).refused(code.name(), &remark);
        }
        if is_beyond && matches!(why, NotPassed::Unauthenticated(_)) {
            let (clock, reply) = (Arc::clone(&self.clock), exchange.park());
            tokio::spawn(async move {
                clock.sleep_ms(Refusals::DELAY_MS).await;
                reply.fail(ResponseCode::NoPermission, remark);
            });
            return;
        }
        exchange.fail(ResponseCode::NoPermission, remark);
    }

    /// Whether a member of this broker group is registered.
    pub(crate) fn is_registered(&self, group: &str) -> bool {
        let members = self.registry.member_group("", group);
        !members.broker_addrs.is_empty()
    }

    /// Refuses to change the registration of another user's broker group.
    fn check_owner(&self, group: &str, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        let Some(access) = &self.access else {
            return Ok(());
        };
        let user = access::named_user(exchange).filter(|_| exchange.is_verified);
        let owned = access.own(group, user.as_deref(), self.is_registered(group));
        owned.map_err(|why| {
            self.metrics.denied_one();
            audit::asker(exchange).refused("REGISTER_BROKER", &why);
            Refusal::new(ResponseCode::NoPermission, why)
        })
    }
}

/// An answer that is not success.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: ResponseCode,
    remark: String,
    /// For brokers: what the remark says to people.
    fields: Option<Box<RegisterBrokerReply>>,
}

impl Refusal {
    fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
            fields: None,
        }
    }

    /// A newer master of its group has taken this broker's place.
    fn superseded(by: &Superseded) -> Self {
        let fields = RegisterBrokerReply {
            ha_server_addr: None,
            master_addr: Some(by.master.clone()),
            write_perm_given_again: None,
            master_epoch: Some(by.highest),
        };
        Self {
            fields: Some(Box::new(fields)),
            ..Self::new(ResponseCode::ControllerFencedMasterEpoch, by.to_string())
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

pub(crate) type Handled = Result<(), Refusal>;

fn unsupported(number: i32, name: &str) -> Refusal {
    Refusal::new(
        ResponseCode::RequestCodeNotSupported,
        format!(" request type {number} not supported ({name} at a name server)"),
    )
}

/// Refuses a number that is of the right type and that the field cannot mean.
fn within(
    of: &'static str,
    field: &'static str,
    number: i64,
    range: RangeInclusive<i64>,
    expected: &'static str,
) -> Result<i64, Refusal> {
    if range.contains(&number) {
        return Ok(number);
    }
    let value = number.to_string();
    let problem = FieldProblem::Invalid { expected, value };
    Err(FieldError { of, field, problem }.into())
}

/// The id of a broker: 0 for a master, -1 for a member of DLedger before its election (apache/rocketmq `BrokerStartup`).
fn broker_id(of: &'static str, id: i64) -> Result<(), Refusal> {
    let expected = "the id of a broker, at least 0 (-1 before an election)";
    within(of, "brokerId", id, -1..=i64::MAX, expected).map(drop)
}

fn decode<'a, R: Request<'a>>(header: &'a Header<'a>) -> Result<R, Refusal> {
    Ok(R::decode(&header.fields)?)
}
