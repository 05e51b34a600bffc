//! Who sends a request, and whether they may: what [`rmq_access`] says of it, counted and told. A broker whose configuration asks nobody has
//! none of this, and a request there costs one look at an empty place.

use std::sync::Arc;

use rmq_access::{Account, Accounts, Gate, Refusals};
use rmq_config::BrokerConfig;
use rmq_protocol::signature::ACCESS_KEY_FIELD;
use rmq_transport::{Exchange, Identity};

/// What is checked, and what came of it.
pub(crate) struct Access {
    pub(crate) gate: Gate,
    pub(crate) refusals: Refusals,
}

impl Access {
    /// As the configuration wants it; `None`: nobody is asked who they are.
    pub(crate) fn of(config: &BrokerConfig, accounts: &Arc<Accounts>) -> Option<Self> {
        // Lists that cannot be understood were refused before.
        let codes = |text: &str| text.parse().unwrap_or_default();
        config.authentication.then(|| Self {
            gate: Gate {
                accounts: Arc::clone(accounts),
                authorizes: config.authorization,
                unsigned: codes(&config.authentication_whitelist),
                unruled: codes(&config.authorization_whitelist),
                cluster: config.cluster_name.clone(),
            },
            refusals: Refusals::new(config.authentication_failures_per_second),
        })
    }

    /// The account of who sent a request that has passed.
    pub(crate) fn account_of(&self, exchange: &Exchange<'_>) -> Option<Arc<Account>> {
        let name = user_of(exchange)?;
        self.gate.accounts.get(&name)
    }
}

/// The user that a request names: by its access key, or by the certificate of its connection.
pub(crate) fn user_of(exchange: &Exchange<'_>) -> Option<String> {
    let key = exchange.header.fields.get(ACCESS_KEY_FIELD);
    match key.filter(|key| !key.is_empty()) {
        Some(key) => Some(key.to_cow().into_owned()),
        None => certificate_of(exchange).map(ToOwned::to_owned),
    }
}

/// The subject of the certificate of a connection.
pub(crate) fn certificate_of<'e>(exchange: &'e Exchange<'_>) -> Option<&'e str> {
    match exchange.peer.identity() {
        Identity::Certificate(subject) => Some(subject),
        _ => None,
    }
}
