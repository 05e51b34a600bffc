//! Settings that a broker takes while it runs: a change of them restarts nothing. The broker's file has them too, for its next start.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use parking_lot::Mutex;
use rmq_config::{BrokerConfig, Configuration as _, Kubernetes, Setting};
use rmq_crds::{BrokerGroup, BrokerGroupConfig, NameServer};
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::Error;
use crate::objects::hash;
use crate::objects::names;

use super::decision::Given;

/// Between two checks of a broker that took its settings: they can be changed by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(240);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row: a broker that has just started is not in the routes yet.
const TRIES: u32 = 10;
/// Brokers that are asked at the same time.
const AT_ONCE: usize = 16;

/// What is known of the groups' brokers, by uid of the group and uid of the pod.
pub(crate) struct Live {
    groups: Mutex<HashMap<String, HashMap<String, Broker>>>,
    /// A place for each broker that may be asked now.
    places: Semaphore,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            groups: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }
}

/// What is known of one broker.
#[derive(Debug, Default)]
struct Broker {
    /// Hash of the settings, and of the epoch of the group: a broker that begins or ends to be the master has the settings of its file.
    of: String,
    /// When it was asked last.
    asked: Option<Instant>,
    is_asking: bool,
    answer: Option<Result<(), String>>,
}

/// The settings that an object has fields for and that a broker takes while it runs.
fn settings() -> impl Iterator<Item = &'static Setting> {
    let of_object = |setting: &&Setting| matches!(setting.kubernetes, Kubernetes::Field(_));
    BrokerConfig::settings()
        .filter(|setting| setting.is_live)
        .filter(of_object)
}

/// Whether a key of the broker's file is one of these settings. The hash of the file, whose change restarts the broker, leaves them out.
pub(super) fn is_live(key: &str) -> bool {
    settings().any(|setting| setting.key == key)
}

/// The settings as the broker's protocol names them. A setting that the object leaves out has the value of the broker's file, or the
/// broker's default.
fn wanted(object: &BrokerGroup) -> Vec<(&'static str, String)> {
    let own = BrokerConfig::default();
    let config = &object.spec.config;
    let hours = config.retention_hours.map(u32::try_from);
    let bytes = config.max_message_bytes.map(usize::try_from);
    let create_group = config.auto_create_subscription_group;
    let wanted = BrokerConfig {
        // The definition lets positive numbers through only.
        retention_hours: hours.and_then(Result::ok).unwrap_or(own.retention_hours),
        max_message_bytes: bytes.and_then(Result::ok).unwrap_or(own.max_message_bytes),
        auto_create_topic: auto_creates_topics(config),
        auto_create_subscription_group: create_group.unwrap_or(own.auto_create_subscription_group),
        ..own
    };
    let names: Vec<&str> = settings().filter_map(Setting::upstream_name).collect();
    let mut pairs = wanted.upstream_pairs();
    pairs.retain(|(name, _)| names.contains(name));
    pairs
}

/// Whether the broker creates topics by itself. The default differs from the broker's own: a topic without an object would have no owner.
pub(super) fn auto_creates_topics(config: &BrokerGroupConfig) -> bool {
    config.auto_create_topic.unwrap_or(false)
}

impl Live {
    /// What the broker in this pod answered to the settings of its object. None: it has not answered yet. Asks nobody.
    pub(super) fn answer(
        &self,
        object: &BrokerGroup,
        epoch: i64,
        pod_uid: &str,
    ) -> Option<Result<(), String>> {
        let of = hash(&(epoch, wanted(object)));
        let groups = self.groups.lock();
        let group = groups.get(&object.uid().unwrap_or_default())?;
        let broker = group.get(pod_uid)?;
        let is_current = broker.of == of;
        is_current.then(|| broker.answer.clone()).flatten()
    }

    /// Starts to give these brokers, which are all that serve, the settings of their object, where that is due. An answer wakes the group; no
    /// look waits for a broker here.
    pub(super) fn give(
        self: &Arc<Self>,
        object: &BrokerGroup,
        epoch: i64,
        brokers: &[Given],
        name_server: &NameServer,
        context: &Arc<Context>,
    ) {
        let uid = object.uid().unwrap_or_default();
        if let Some(group) = self.groups.lock().get_mut(&uid) {
            group.retain(|pod, _| brokers.iter().any(|broker| broker.pod_uid == *pod));
        }
        for broker in brokers {
            self.give_one(object, epoch, broker, (name_server, context));
        }
    }

    fn give_one(
        self: &Arc<Self>,
        object: &BrokerGroup,
        epoch: i64,
        broker: &Given,
        (name_server, context): (&NameServer, &Arc<Context>),
    ) {
        let wanted = wanted(object);
        let of = hash(&(epoch, &wanted));
        let uid = object.uid().unwrap_or_default();
        if !self.begin(&uid, &broker.pod_uid, &of) {
            return;
        }
        let addresses = names::name_server_addresses(name_server);
        let name = object.broker_name().to_owned();
        let broker = broker.clone();
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        // The task does not keep a process alive that no longer leads.
        let (live, context) = (Arc::downgrade(self), Arc::downgrade(context));
        tokio::spawn(async move {
            let (Some(live), Some(context)) = (live.upgrade(), context.upgrade()) else {
                return;
            };
            let to = match &broker.address {
                Some(address) => To::Member(address),
                None => To::Alone(&name),
            };
            let answer = live.try_to_give(to, &wanted, &addresses, &context).await;
            let answer = answer.map_err(|error| error.to_string());
            if let Err(error) = &answer {
                tracing::warn!(
                    broker = %to,
                    namespace = key.0,
                    "the broker does not take its settings: {error}"
                );
            }
            if live.end(&uid, &broker.pod_uid, &of, answer) {
                context.queues.wake_group(&key.0, &key.1);
            }
        });
    }

    /// Whether the broker is due to be asked; it counts as being asked then.
    fn begin(&self, uid: &str, pod_uid: &str, of: &str) -> bool {
        let mut groups = self.groups.lock();
        let group = groups.entry(uid.to_owned()).or_default();
        let broker = group.entry(pod_uid.to_owned()).or_default();
        if broker.of != of {
            *broker = Broker {
                of: of.to_owned(),
                ..Broker::default()
            };
        }
        let pause = match &broker.answer {
            Some(Ok(())) => LOOK_AGAIN,
            _ => PAUSE * TRIES,
        };
        let is_due = broker.asked.is_none_or(|asked| asked.elapsed() >= pause);
        let begins = is_due && !broker.is_asking;
        broker.is_asking |= begins;
        begins
    }

    /// Keeps an answer. Whether it is news: another answer than before, about the pod and the settings of now.
    fn end(&self, uid: &str, pod_uid: &str, of: &str, answer: Result<(), String>) -> bool {
        let mut groups = self.groups.lock();
        let broker = groups.get_mut(uid).and_then(|group| group.get_mut(pod_uid));
        let Some(broker) = broker.filter(|broker| broker.of == of) else {
            return false;
        };
        broker.is_asking = false;
        broker.asked = Some(Instant::now());
        let was_ok = broker.answer.as_ref().map(Result::is_ok);
        let is_ok = answer.is_ok();
        broker.answer = Some(answer);
        was_ok != Some(is_ok)
    }

    /// Drops everything about a group that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.groups.lock().remove(uid);
    }

    /// Gives a broker its settings; tries again for a while, because a broker that has just started is not in the routes yet.
    async fn try_to_give(
        &self,
        broker: To<'_>,
        wanted: &[(&'static str, String)],
        addresses: &[String],
        context: &Context,
    ) -> Result<(), Error> {
        let closed = |_| Error::Fatal("the operator ends".to_owned());
        let mut tries = 0;
        loop {
            tries += 1;
            let tried = {
                let _place = self.places.acquire().await.map_err(closed)?;
                try_once(broker, wanted, addresses, context).await
            };
            match tried {
                Err(_) if tries < TRIES => tokio::time::sleep(PAUSE).await,
                tried => return tried,
            }
        }
    }
}

/// Reads the settings of a broker, and changes those that differ.
async fn try_once(
    broker: To<'_>,
    wanted: &[(&'static str, String)],
    addresses: &[String],
    context: &Context,
) -> Result<(), Error> {
    let admin = context.clusters.client(addresses).await?.admin();
    let has = match broker {
        To::Alone(name) => admin.broker_config(name).await?,
        To::Member(address) => admin.member_config(address).await?,
    };
    let differs = |(key, value): &&(&'static str, String)| has.get(*key) != Some(value);
    let change: Vec<(&str, &str)> = wanted
        .iter()
        .filter(differs)
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    if !change.is_empty() {
        tracing::info!(
            %broker,
            ?change,
            "the broker is given settings while it runs"
        );
        match broker {
            To::Alone(name) => admin.update_broker_config(name, &change).await?,
            To::Member(address) => admin.update_member_config(address, &change).await?,
        }
    }
    Ok(())
}

/// A broker as it is asked.
#[derive(Debug, Clone, Copy)]
enum To<'a> {
    /// One that is alone, by its name: the name servers have its address.
    Alone(&'a str),
    /// A member of a group with replicas, by its address.
    Member(&'a str),
}

impl fmt::Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(text) | Self::Member(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_says_nothing_means_the_brokers_own_defaults() {
        let object: BrokerGroup = crate::yaml::case("broker-group-small");
        let mut own = BrokerConfig::default().upstream_pairs();
        own.retain(|(name, _)| wanted(&object).iter().any(|(known, _)| known == name));
        for (name, value) in &mut own {
            if *name == "autoCreateTopicEnable" {
                *value = false.to_string();
            }
        }
        assert_eq!(wanted(&object), own);
        let keys = ["retentionHours", "maxMessageBytes", "autoCreateTopic"];
        assert!(keys.into_iter().all(is_live));
        assert!(is_live("autoCreateSubscriptionGroup") && own.len() == 4);
        assert!(!is_live("flush") && !is_live("permission"));
    }

    #[test]
    fn an_answer_is_news_once_and_of_one_pod_and_its_settings() {
        let mut object: BrokerGroup = crate::yaml::case("broker-group-small");
        let uid = object.uid().expect("a uid");
        let live = Live::default();
        let first = hash(&(0, wanted(&object)));
        let begin = |of: &str| live.begin(&uid, "pod", of);
        let end = |of: &str, answer| live.end(&uid, "pod", of, answer);
        assert!(begin(&first));
        assert!(!begin(&first), "it is being asked");
        assert!(live.begin(&uid, "other", &first), "another member");
        assert_eq!(live.answer(&object, 0, "pod"), None);
        assert!(end(&first, Ok(())));
        assert!(!begin(&first), "not due yet");
        assert_eq!(live.answer(&object, 0, "pod"), Some(Ok(())));
        assert_eq!(live.answer(&object, 0, "new"), None, "another pod");
        assert!(!end(&first, Ok(())), "no news");
        let away = || Err("away".to_owned());
        assert!(end(&first, away()));
        object.spec.config.retention_hours = Some(5);
        assert_eq!(live.answer(&object, 0, "pod"), None, "other settings");
        let second = hash(&(0, wanted(&object)));
        assert!(begin(&second), "due at once");
        assert!(!end(&first, Ok(())), "too late");
        assert!(end(&second, away()));
        live.forget(&uid);
        assert_eq!(live.answer(&object, 0, "pod"), None);
    }
}
