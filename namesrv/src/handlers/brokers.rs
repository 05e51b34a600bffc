//! Brokers: registration, signs of life, leaving.

use std::sync::Arc;

use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::{
    BrokerMemberGroupBody, DataVersion, RegisterBrokerBody, TopicConfigTable,
};
use rmq_protocol::message::crc32_masked;
use rmq_protocol::requests::{
    BrokerHeartbeat, GetBrokerMemberGroup, PART_FIELD, QueryDataVersion, QueryDataVersionReply,
    RegisterBroker, UnregisterBroker,
};
use rmq_transport::{Exchange, Reply};

use super::{Handled, Handlers, Refusal, broker_id, decode, within};
use crate::audit;
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::registry::{Farewell, MinIdChange, Registration, Rejected, Rules, Stays};

/// The first version that sends filter servers beside its topics: `V3_0_11_SNAPSHOT`.
const WRAPPED_SINCE_VERSION: i32 = 36;
/// Longest name or address.
const NAME_BYTES_MAX: usize = 255;

impl Handlers {
    pub(crate) fn register_broker(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: RegisterBroker<'_> = decode(exchange.header)?;
        if let Some(crc) = request.body_crc32.filter(|crc| *crc != 0)
            && crc != crc32_masked(exchange.body)
        {
            return Err(Refusal::system(format!(
                "crc32 not match: field bodyCrc32 is \"{crc}\", of the body it is {}",
                crc32_masked(exchange.body)
            )));
        }
        for (what, name) in [
            ("clusterName", request.cluster_name.as_ref()),
            ("brokerName", request.broker_name.as_ref()),
            ("brokerAddr", request.broker_addr.as_ref()),
        ] {
            if name.trim().is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Refusal::system(format!(
                    "{what} must have 1 to {NAME_BYTES_MAX} bytes"
                )));
            }
        }
        broker_id("RegisterBroker", request.broker_id)?;
        self.check_owner(&request.broker_name, exchange)?;
        for (what, text) in [
            ("haServerAddr", &request.ha_server_addr),
            ("__ZONE_NAME", &request.zone_name),
        ] {
            if text
                .as_ref()
                .is_some_and(|text| text.len() > NAME_BYTES_MAX)
            {
                return Err(Refusal::system(format!(
                    "{what} must have at most {NAME_BYTES_MAX} bytes"
                )));
            }
        }
        // 0 is what brokers send that leave the time to the name server.
        let timeout_ms = match request.heartbeat_timeout_millis {
            None | Some(0) => None,
            Some(ms) => Some(heartbeat_timeout(ms)?.max(1_000)),
        };
        let body = registration_body(exchange, request.compressed == Some(true))?;
        let registration = Registration {
            cluster: request.cluster_name.into_owned(),
            group: request.broker_name.into_owned(),
            id: request.broker_id,
            addr: request.broker_addr.into_owned(),
            ha_addr: request
                .ha_server_addr
                .map(|addr| addr.into_owned())
                .unwrap_or_default(),
            zone: request
                .zone_name
                .map(|zone| zone.into_owned())
                .filter(|zone| !zone.is_empty()),
            timeout_ms,
            enable_acting_master: request.enable_acting_master,
            epoch: epoch("RegisterBroker", request.master_epoch)?,
            body,
            is_part: is_part(exchange)?,
            peer: Some(Arc::clone(exchange.peer)),
        };
        let now_ms = self.clock.monotonic_ms();
        let registered = self.registry.register(registration, now_ms, self.rules());
        let registered = registered.map_err(|error| match error {
            Rejected::Superseded(by) => {
                tracing::warn!(peer = %exchange.peer.remote_addr(), "registration refused: {by}");
                Refusal::superseded(&by)
            }
            error => Refusal::system(error),
        })?;
        if let Some(change) = &registered.min_id {
            self.announce(change);
        }
        let order = self
            .kv
            .table(ORDER_TOPIC_CONFIG)
            .map(|table| table.to_json())
            .unwrap_or_default();
        exchange.ok_body(&registered.reply(), &order);
        Ok(())
    }

    /// What registrations are held to.
    pub(super) fn rules(&self) -> Rules {
        let config = self.config.load();
        let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        Rules {
            brokers_max: size(config.brokers_max),
            topics_max: size(config.topics_max),
            entries_max: size(config.route_entries_max),
            drop_unregistered_topics: config.delete_topic_with_broker_registration,
        }
    }

    pub(crate) fn unregister_broker(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: UnregisterBroker<'_> = decode(exchange.header)?;
        broker_id("UnregisterBroker", request.broker_id)?;
        self.check_owner(&request.broker_name, exchange)?;
        let known = self.registry.member_group("", &request.broker_name);
        let known = known.broker_addrs.get(&request.broker_id);
        let was_there = known.is_some_and(|addr| *addr == request.broker_addr);
        let left = self.registry.unregister(Farewell {
            group: &request.broker_name,
            id: request.broker_id,
            addr: &request.broker_addr,
            epoch: epoch("UnregisterBroker", request.master_epoch)?,
        });
        let left = left.map_err(|stays| {
            tracing::warn!(broker = %request.broker_name, peer = %exchange.peer.remote_addr(), "{stays}");
            match &stays {
                Stays::Superseded(by) => Refusal::superseded(by),
                Stays::OtherId { .. } => {
                    Refusal::new(ResponseCode::InvalidParameter, stays.to_string())
                }
            }
        })?;
        if was_there {
            let (what, name) = ("broker unregistered", &request.broker_name);
            let before = format!("id {} at {}", request.broker_id, request.broker_addr);
            audit::asker(exchange).changed(what, name, Some(before), None);
        }
        if let Some(change) = left {
            self.announce(&change);
        }
        exchange.ok(&());
        Ok(())
    }

    pub(crate) fn query_data_version(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: QueryDataVersion<'_> = decode(exchange.header)?;
        broker_id("QueryDataVersion", request.broker_id)?;
        let version = DataVersion::from_json(exchange.body).map_err(Refusal::system)?;
        let (same, known) =
            self.registry
                .same_version(&request.broker_addr, version, self.clock.monotonic_ms());
        let body = known.map(|known| known.to_json()).unwrap_or_default();
        exchange.ok_body(&QueryDataVersionReply { changed: !same }, &body);
        Ok(())
    }

    pub(crate) fn broker_heartbeat(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: BrokerHeartbeat<'_> = decode(exchange.header)?;
        if let Some(id) = request.broker_id {
            broker_id("BrokerHeartbeat", id)?;
        }
        self.registry
            .heartbeat(&request.broker_addr, self.clock.monotonic_ms());
        exchange.ok(&());
        Ok(())
    }

    pub(crate) fn member_group(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: GetBrokerMemberGroup<'_> = decode(exchange.header)?;
        let broker_member_group = self
            .registry
            .member_group(&request.cluster_name, &request.broker_name);
        exchange.ok_body(
            &(),
            &BrokerMemberGroupBody {
                broker_member_group,
            }
            .to_json(),
        );
        Ok(())
    }

    /// Tells a group's members who has the lowest id now, where that is wanted.
    pub(crate) fn announce(&self, change: &MinIdChange) {
        if self.config.load().notify_min_broker_id_changed {
            change.notify();
        }
    }
}

/// The epoch of an elected master.
fn epoch(of: &'static str, epoch: Option<i64>) -> Result<Option<i64>, Refusal> {
    let expected = "an epoch, at least 1";
    epoch
        .map(|epoch| within(of, "masterEpoch", epoch, 1..=i64::MAX, expected))
        .transpose()
}

/// How long a broker counts as alive, milliseconds.
fn heartbeat_timeout(ms: i64) -> Result<i64, Refusal> {
    let expected = "a time in milliseconds from 0 to 3600000";
    let field = "heartbeatTimeoutMillis";
    within("RegisterBroker", field, ms, 0..=3_600_000, expected)
}

/// Whether the registration holds a part of the broker's topics.
fn is_part(exchange: &Exchange<'_>) -> Result<bool, Refusal> {
    let Some(text) = exchange.header.fields.get(PART_FIELD) else {
        return Ok(false);
    };
    let text = text.to_cow();
    text.parse().map_err(|_| {
        Refusal::system(format!(
            "RegisterBroker: field {PART_FIELD} is not true or false: {text:?}"
        ))
    })
}

fn registration_body(
    exchange: &Exchange<'_>,
    compressed: bool,
) -> Result<RegisterBrokerBody, Refusal> {
    let version = exchange.header.version;
    let bytes = exchange.body;
    let invalid = |error| {
        Refusal::new(
            ResponseCode::SystemError,
            format!("the registration cannot be read: {error}"),
        )
    };
    if bytes.is_empty() {
        return Ok(RegisterBrokerBody::default());
    }
    if compressed {
        return RegisterBrokerBody::from_compressed(bytes, version).map_err(invalid);
    }
    if version < WRAPPED_SINCE_VERSION {
        let topic_config_serialize_wrapper = TopicConfigTable::from_json(bytes).map_err(invalid)?;
        return Ok(RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper,
        });
    }
    RegisterBrokerBody::from_json(bytes).map_err(invalid)
}
