//! Settings that a broker takes while it runs: a change of them restarts nothing. The broker's file has them too, for its next start.

use std::collections::HashMap;
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

/// Between two checks of a broker that took its settings: they can be changed by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(240);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row: a broker that has just started is not in the routes yet.
const TRIES: u32 = 10;
/// Brokers that are asked at the same time.
const AT_ONCE: usize = 16;

/// What is known of the groups' brokers, by uid of the group.
pub(crate) struct Live {
    brokers: Mutex<HashMap<String, Broker>>,
    /// A place for each broker that may be asked now.
    places: Semaphore,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            brokers: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }
}

/// What is known of one broker.
#[derive(Debug, Default)]
struct Broker {
    /// Uid of the pod, and hash of the settings.
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

/// The pod and the settings that an answer is about.
fn of(pod_uid: &str, wanted: &[(&'static str, String)]) -> String {
    format!("{pod_uid}/{}", hash(&wanted))
}

impl Live {
    /// What the broker in this pod answered to the settings of its object. None: it has not answered yet. Asks nobody.
    pub(super) fn answer(&self, object: &BrokerGroup, pod_uid: &str) -> Option<Result<(), String>> {
        let of = of(pod_uid, &wanted(object));
        let brokers = self.brokers.lock();
        let broker = brokers.get(&object.uid().unwrap_or_default())?;
        let is_current = broker.of == of;
        is_current.then(|| broker.answer.clone()).flatten()
    }

    /// Starts to give the broker in this pod the settings of its object, when that is due. The answer wakes the group; no look waits for a
    /// broker here.
    pub(super) fn give(
        self: &Arc<Self>,
        object: &BrokerGroup,
        pod_uid: &str,
        name_server: &NameServer,
        context: &Arc<Context>,
    ) {
        let wanted = wanted(object);
        let of = of(pod_uid, &wanted);
        let uid = object.uid().unwrap_or_default();
        if !self.begin(&uid, &of) {
            return;
        }
        let addresses = names::name_server_addresses(name_server);
        let name = object.broker_name().to_owned();
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        // The task does not keep a process alive that no longer leads.
        let (live, context) = (Arc::downgrade(self), Arc::downgrade(context));
        tokio::spawn(async move {
            let (Some(live), Some(context)) = (live.upgrade(), context.upgrade()) else {
                return;
            };
            let answer = live.try_to_give(&name, &wanted, &addresses, &context).await;
            let answer = answer.map_err(|error| error.to_string());
            if let Err(error) = &answer {
                tracing::warn!(
                    broker = name,
                    namespace = key.0,
                    "the broker does not take its settings: {error}"
                );
            }
            if live.end(&uid, &of, answer) {
                context.queues.wake_group(&key.0, &key.1);
            }
        });
    }

    /// Whether the broker is due to be asked; it counts as being asked then.
    fn begin(&self, uid: &str, of: &str) -> bool {
        let mut brokers = self.brokers.lock();
        let broker = brokers.entry(uid.to_owned()).or_default();
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
    fn end(&self, uid: &str, of: &str, answer: Result<(), String>) -> bool {
        let mut brokers = self.brokers.lock();
        let Some(broker) = brokers.get_mut(uid).filter(|broker| broker.of == of) else {
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
        self.brokers.lock().remove(uid);
    }

    /// Gives a broker its settings; tries again for a while, because a broker that has just started is not in the routes yet.
    async fn try_to_give(
        &self,
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
        let first = of("pod", &wanted(&object));
        assert!(live.begin(&uid, &first));
        assert!(!live.begin(&uid, &first), "it is being asked");
        assert_eq!(live.answer(&object, "pod"), None);
        assert!(live.end(&uid, &first, Ok(())));
        assert!(!live.begin(&uid, &first), "not due yet");
        assert_eq!(live.answer(&object, "pod"), Some(Ok(())));
        assert_eq!(live.answer(&object, "new"), None, "another pod");
        assert!(!live.end(&uid, &first, Ok(())), "no news");
        let away = || Err("away".to_owned());
        assert!(live.end(&uid, &first, away()));
        object.spec.config.retention_hours = Some(5);
        assert_eq!(live.answer(&object, "pod"), None, "other settings");
        let second = of("pod", &wanted(&object));
        assert!(live.begin(&uid, &second), "due at once");
        assert!(!live.end(&uid, &first, Ok(())), "too late");
        assert!(live.end(&uid, &second, away()));
        live.forget(&uid);
        assert_eq!(live.answer(&object, "pod"), None);
    }
}
