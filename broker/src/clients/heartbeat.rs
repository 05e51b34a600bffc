//! Heartbeats: a client tells which groups it is in, and what they want.

use std::sync::Arc;

use rmq_protocol::bodies::HeartbeatData;

use super::members;
use super::refusal::ClientRefusal;
use crate::audit::{self, Origin};
use crate::broker::Broker;
use crate::filter;
use crate::link::Link;

/// A heartbeat that was taken.
pub(crate) struct Taken {
    /// Something may have been appended: a topic for retries.
    pub(crate) appended: bool,
    /// What the client wants and gets nothing of.
    pub(crate) unserved: Option<String>,
}

/// Takes the heartbeat of a client.
///
/// # Errors
/// The client is as unknown as before.
pub(crate) fn take(
    broker: &Broker,
    origin: &dyn Origin,
    link: &Arc<dyn Link>,
    mut data: HeartbeatData,
) -> Result<Taken, ClientRefusal> {
    if data.client_id.is_empty() {
        return Err(ClientRefusal::NoClientId);
    }
    if let Some(problem) = unusable_filter(broker, &data) {
        tracing::warn!(client_id = data.client_id, peer = %link.remote_addr(), "heartbeat refused: {problem}");
        return Err(problem);
    }
    let began_ms = broker.monotonic_ms();
    let client_id = data.client_id.clone();
    let mut appended = false;
    data.consumer_data_set.retain(|consumer| {
        let name = consumer.group_name.as_str();
        let group = match audit::group_of(broker, origin, name) {
            Ok(group) => group,
            // Java brokers accept the heartbeat without this group and refuse the pulls; so do we, and say so once here.
            Err(error) => {
                // A replica makes none: it gets the group from its master.
                match broker.role.is_master() {
                    true => tracing::warn!(
                        group = name,
                        client_id,
                        "consumer group cannot be used: {error}"
                    ),
                    false => tracing::debug!(
                        group = name,
                        client_id,
                        "consumer group cannot be used: {error}"
                    ),
                }
                return false;
            }
        };
        // The topic of a group that needs no creation is made when a member gives something back.
        if !broker.role.is_master() || broker.groups.is_light(name) {
            return true;
        }
        // Groups that broadcast and those of the system have one too: tools find the brokers of a group by its route.
        match broker.retry_topic(name, group.config.retry_queue_nums.max(1)) {
            Ok(_) => appended = true,
            // The group can read anyway; only what it gives back will be refused.
            Err(error) => {
                tracing::warn!(
                    group = name,
                    client_id,
                    "the group has no retry topic: {error}"
                );
            }
        }
        true
    });
    let now_ms = broker.connection_now_ms();
    let limits = &broker.limits;
    let changed = broker.sessions.heartbeat(link, &data, now_ms, limits)?;
    for group in &changed {
        members::notify(broker, group);
    }
    count(broker, &data, began_ms);
    Ok(Taken {
        appended,
        unserved: unserved(broker, &data),
    })
}

fn count(broker: &Broker, data: &HeartbeatData, began_ms: i64) {
    let stats = &broker.stats;
    let took_ms = (broker.monotonic_ms() - began_ms).max(0) as u64;
    for (item, registered) in [
        (&stats.consumers_registered, data.consumer_data_set.len()),
        (&stats.producers_registered, data.producer_data_set.len()),
    ] {
        if registered > 0 {
            let registered = registered as u64;
            item.add(&stats.sampler, [took_ms * registered, registered]);
        }
    }
}

/// A filter that no pull could use: the client hears of it now, as its pulls would only bring nothing.
fn unusable_filter(broker: &Broker, data: &HeartbeatData) -> Option<ClientRefusal> {
    data.consumer_data_set.iter().find_map(|consumer| {
        consumer.subscription_data_set.iter().find_map(|wanted| {
            // Any other filter that is none is refused at each pull: other subscriptions of the client are served.
            let error = filter::check_size(wanted, &broker.limits).err()?;
            Some(ClientRefusal::Subscription {
                group: consumer.group_name.clone(),
                topic: wanted.topic.clone(),
                error,
            })
        })
    })
}

/// The first subscription whose filter is none. The heartbeat is taken anyway: a client's other subscriptions are
/// in it too, and Java clients keep sending the one whose consumer failed to start (46). The log says it once, each pull is refused.
fn unserved(broker: &Broker, data: &HeartbeatData) -> Option<String> {
    data.consumer_data_set.iter().find_map(|consumer| {
        let online = broker.sessions.consumer(&consumer.group_name)?;
        consumer.subscription_data_set.iter().find_map(|wanted| {
            let subscription = online.subscription(&wanted.topic)?;
            let error = subscription.filter.as_ref().err()?;
            Some(format!(
                "group {} gets nothing of topic {}: {error}",
                consumer.group_name, wanted.topic
            ))
        })
    })
}
