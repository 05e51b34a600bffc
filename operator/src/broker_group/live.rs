//! Settings that a broker takes while it runs: a change of them restarts nothing. They are also in its file, for its next start.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use rmq_crds::{BrokerGroup, BrokerGroupConfig};

use crate::build::hash;
use crate::context::Context;
use crate::error::Error;

/// Keys of the broker's file that are not part of the hash by which a restart is known to be needed.
pub(super) const KEYS: [&str; 4] = [
    "retentionHours",
    "maxMessageBytes",
    "autoCreateTopic",
    "autoCreateSubscriptionGroup",
];
/// What a broker was given is looked at again after this long: somebody may have changed it by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(240);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row: a broker that has just started is not in the routes yet.
const TRIES: u32 = 10;
/// Brokers that are asked at the same time.
pub(crate) const AT_ONCE: usize = 16;

/// What is known of each group's broker, by uid of the group.
pub(crate) type Brokers = HashMap<String, Broker>;

/// What is known of one broker.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// Uid of the pod, and hash of what it shall have.
    of: String,
    asked: Option<Instant>,
    is_asking: bool,
    answer: Option<Result<(), String>>,
}

/// The settings as the broker calls them. Where the object says nothing: as its file says, or else its own defaults.
fn wanted(object: &BrokerGroup) -> [(&'static str, String); 4] {
    let config = &object.spec.config;
    let hours = config.retention_hours.unwrap_or(72);
    let bytes = config.max_message_bytes.unwrap_or(4 << 20);
    let create_topic = auto_creates_topics(config);
    let create_group = config.auto_create_subscription_group.unwrap_or(true);
    [
        ("fileReservedTime", hours.to_string()),
        ("maxMessageSize", bytes.to_string()),
        ("autoCreateTopicEnable", create_topic.to_string()),
        ("autoCreateSubscriptionGroup", create_group.to_string()),
    ]
}

/// Unlike a broker by itself, not unless the object says so: topics are objects here, and one that nobody wrote down would have no owner.
pub(super) fn auto_creates_topics(config: &BrokerGroupConfig) -> bool {
    config.auto_create_topic.unwrap_or(false)
}

/// What the broker in this pod answered; none while it was not heard of. Asks it where that is due, and wakes the group then: nobody waits
/// for a broker here.
pub(super) fn look(
    object: &BrokerGroup,
    pod: &str,
    addresses: &[String],
    context: &Arc<Context>,
) -> Option<Result<(), String>> {
    let wanted = wanted(object);
    let of = format!("{pod}/{}", hash(&wanted));
    let uid = object.uid().unwrap_or_default();
    let mut brokers = context.live.lock();
    let broker = brokers.entry(uid.clone()).or_default();
    if broker.of != of {
        *broker = Broker {
            of: of.clone(),
            ..Broker::default()
        };
    }
    let pause = match &broker.answer {
        Some(Ok(())) => LOOK_AGAIN,
        _ => PAUSE * TRIES,
    };
    let is_due = broker.asked.is_none_or(|asked| asked.elapsed() >= pause);
    if is_due && !broker.is_asking {
        broker.is_asking = true;
        let name = object.broker_name().to_owned();
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        // Only as long as there is somebody to tell.
        let context = Arc::downgrade(context);
        let addresses = addresses.to_vec();
        tokio::spawn(async move {
            let Some(context) = context.upgrade() else {
                return;
            };
            let answer = give(&name, &wanted, &addresses, &context).await;
            let answer = answer.map_err(|error| error.to_string());
            if let Err(error) = &answer {
                tracing::warn!(
                    broker = name,
                    namespace = key.0,
                    "the broker does not take its settings: {error}"
                );
            }
            let is_new = {
                let mut brokers = context.live.lock();
                let known = brokers.get_mut(&uid).filter(|broker| broker.of == of);
                known.is_some_and(|broker| {
                    broker.is_asking = false;
                    broker.asked = Some(Instant::now());
                    let was_fine = broker.answer.as_ref().map(Result::is_ok);
                    let is_fine = answer.is_ok();
                    broker.answer = Some(answer);
                    was_fine != Some(is_fine)
                })
            };
            if is_new {
                context.queues.wake_group(&key.0, &key.1);
            }
        });
    }
    broker.answer.clone()
}

/// Sees what the broker has, and changes what is otherwise.
async fn give(
    broker: &str,
    wanted: &[(&'static str, String)],
    addresses: &[String],
    context: &Context,
) -> Result<(), Error> {
    let closed = |_| Error::Fatal("the operator ends".to_owned());
    let mut tries = 0;
    loop {
        tries += 1;
        let tried = {
            let _place = context.asking.acquire().await.map_err(closed)?;
            try_once(broker, wanted, addresses, context).await
        };
        match tried {
            Err(_) if tries < TRIES => tokio::time::sleep(PAUSE).await,
            tried => return tried,
        }
    }
}

async fn try_once(
    broker: &str,
    wanted: &[(&'static str, String)],
    addresses: &[String],
    context: &Context,
) -> Result<(), Error> {
    let admin = context.clusters.client(addresses).await?.admin();
    let has = admin.broker_config(broker).await?;
    let differs = |(key, value): &&(&'static str, String)| has.get(*key) != Some(value);
    let change: Vec<(&str, &str)> = wanted
        .iter()
        .filter(differs)
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    if !change.is_empty() {
        tracing::info!(
            broker,
            ?change,
            "the broker is given settings while it runs"
        );
        admin.update_broker_config(broker, &change).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_says_nothing_means_the_brokers_own_defaults() {
        let object: BrokerGroup = crate::yaml::case("broker-group-small");
        let own = rmq_broker::BrokerConfig::default();
        assert_eq!(
            wanted(&object).map(|(_, value)| value),
            [
                own.retention_hours.to_string(),
                own.max_message_bytes.to_string(),
                false.to_string(),
                own.auto_create_subscription_group.to_string()
            ]
        );
        let own = serde_json::to_value(own).expect("JSON");
        assert!(KEYS.iter().all(|key| own.get(key).is_some()));
    }
}
