//! Who asked for something that a request does not name: the message at a position, the light queues that a message names. What that is about is
//! known once the broker has found it, and then the rules are asked.

use std::net::IpAddr;
use std::sync::Arc;

use rmq_access::{Account, Actions, NotPassed, Unauthenticated};
use rmq_process::Asker;
use rmq_protocol::code::{Action, RequestCode};
use rmq_protocol::message::{RecordView, properties, property};
use rmq_protocol::names;
use rmq_transport::Exchange;

use crate::access::user_of;
use crate::broker::Broker;
use crate::light;

/// Fields that a replica adds to a request that it passes on: who asked it, and from where. Only of a user for whom no rules count, as brokers
/// are, that is believed: it takes rights away.
pub(crate) const FOR_USER_FIELD: &str = "rmqForUser";
/// See [`FOR_USER_FIELD`].
pub(crate) const FOR_ADDRESS_FIELD: &str = "rmqForAddress";

/// Who sent a request that has passed, and whose rules count.
pub(crate) struct Requester {
    account: Arc<Account>,
    from: IpAddr,
    code: RequestCode,
    asker: Asker,
}

impl Requester {
    /// Who sent a request that has passed; `None`: no rules count for it.
    ///
    /// # Errors
    /// The user for whom a replica asks is not known here.
    pub(crate) fn of(
        broker: &Broker,
        exchange: &Exchange<'_>,
        asker: Asker,
    ) -> Result<Option<Self>, NotPassed> {
        let code = RequestCode::from_i32(exchange.header.code);
        let (Some(access), Some(code)) = (&broker.access, code) else {
            return Ok(None);
        };
        if access.gate.is_unsigned(code) {
            return Ok(None);
        }
        let name = user_of(exchange).unwrap_or_default();
        let unknown = |name: &str| Unauthenticated::Unknown(name.chars().take(255).collect());
        let account = access.gate.accounts.get(&name);
        let account = account.ok_or_else(|| unknown(&name))?;
        let from = exchange.peer.remote_addr().ip();
        let fields = &exchange.header.fields;
        let (account, from) = match fields.get(FOR_USER_FIELD) {
            Some(user) if !access.gate.asks_rules(&account, code) => {
                let user = user.to_cow();
                let account = access.gate.accounts.get(&user);
                let told = fields.get(FOR_ADDRESS_FIELD);
                let told = told.and_then(|address| address.to_cow().parse().ok());
                (account.ok_or_else(|| unknown(&user))?, told.unwrap_or(from))
            }
            _ => (account, from),
        };
        let asks = access.gate.asks_rules(&account, code);
        Ok(asks.then_some(Self {
            account,
            from,
            code,
            asker,
        }))
    }

    /// Whether the user may look at a message.
    ///
    /// # Errors
    /// The user may not. That is counted, and told to the audit.
    pub(crate) fn may_look_at(
        &self,
        broker: &Broker,
        view: &RecordView<'_>,
    ) -> Result<(), NotPassed> {
        self.may(broker, view, Action::Get)
    }

    /// Whether the user may consume a message.
    ///
    /// # Errors
    /// As [`may_look_at`](Self::may_look_at).
    pub(crate) fn may_consume(
        &self,
        broker: &Broker,
        view: &RecordView<'_>,
    ) -> Result<(), NotPassed> {
        self.may(broker, view, Action::Sub)
    }

    /// In one of the queues that the message is in: of its topic, and of the light queues that it names. A message that waits is one of the
    /// topic that it will come to.
    fn may(&self, broker: &Broker, view: &RecordView<'_>, action: Action) -> Result<(), NotPassed> {
        let text = view.properties();
        let stored = view.topic();
        let is_parked = names::is_send_forbidden(stored) || stored == names::TIMER_TOPIC;
        let of_parked = is_parked.then(|| properties::get(text, property::REAL_TOPIC));
        let topic = of_parked.flatten().unwrap_or(stored);
        let further = properties::get(text, property::INNER_MULTI_DISPATCH);
        let further = light::names_of(further.unwrap_or_default()).unwrap_or_default();
        let topics = std::iter::once(topic).chain(further);
        self.pass_one_of(broker, topics, action)
    }

    /// Whether the user may send to each of the light queues.
    ///
    /// # Errors
    /// As [`may_look_at`](Self::may_look_at).
    pub(crate) fn may_send_to<'q>(
        &self,
        broker: &Broker,
        queues: impl IntoIterator<Item = &'q str>,
    ) -> Result<(), NotPassed> {
        let mut queues = queues.into_iter();
        queues.try_for_each(|queue| self.pass_one_of(broker, [queue], Action::Pub))
    }

    fn pass_one_of<'t>(
        &self,
        broker: &Broker,
        topics: impl IntoIterator<Item = &'t str>,
        action: Action,
    ) -> Result<(), NotPassed> {
        let Some(access) = &broker.access else {
            return Ok(());
        };
        let actions = Actions::one(action);
        let passed = access
            .gate
            .pass_one_of(&self.account, topics, actions, self.from);
        passed.inspect_err(|why| {
            let now_ms = broker.connection_now_ms();
            if !access.refusals.count(self.from, why, now_ms) {
                self.asker.refused(self.code.name(), &why.to_string());
            }
        })
    }
}
