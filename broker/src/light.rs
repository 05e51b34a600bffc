//! Light queues (LMQ): queues named `%LMQ%…` that messages name in `INNER_MULTI_DISPATCH`, and are entered into as well. They have no settings and need
//! no creation; each is queue 0 of a topic of its name. Groups may be named so too (apache/rocketmq `LmqDispatch`, `LmqTopicConfigManager`,
//! `LmqSubscriptionGroupManager`, `HookUtils.handleLmqQuota`).

use std::sync::Arc;

use rmq_config::BrokerConfig;
use rmq_protocol::message::{properties, property};
use rmq_protocol::names::{self, LMQ_PREFIX};
use rmq_store::{LIGHT_QUEUE_ID, QueueRef, ReadError};
use smallvec::SmallVec;

use crate::data::Data;
use crate::tables::topics::Topic;

/// Light queues of one message, at most.
pub(crate) const PER_MESSAGE_MAX: usize = 128;
/// Longest name of a light queue or of its group, with the prefix, bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Between two names.
const SEPARATOR: char = ',';

/// Light queues of a message. Most name one or two.
pub(crate) type FurtherQueues = SmallVec<[QueueRef; 2]>;

/// Why a message cannot be entered into the light queues that it names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LightError {
    #[error(
        "messages for several queues (INNER_MULTI_DISPATCH) are off at this broker: it takes them with enableLmq and enableMultiDispatch; send to each topic by itself"
    )]
    Off,
    #[error("property INNER_MULTI_DISPATCH names the queue {name:?}: {problem}")]
    Name { name: String, problem: Problem },
    #[error("property INNER_MULTI_DISPATCH names the queue {0:?} twice")]
    Twice(String),
    #[error(
        "property INNER_MULTI_DISPATCH names {0} queues; a message goes to {PER_MESSAGE_MAX} at most"
    )]
    TooMany(usize),
    #[error(
        "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]the broker has {max} light queues, the limit (maxLmqConsumeQueueNum), and has none named {name}"
    )]
    Exceeded { name: String, max: usize },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("the names of such queues begin with {LMQ_PREFIX}, and are separated by commas")]
    Prefix,
    #[error("nothing follows {LMQ_PREFIX}")]
    Empty,
    #[error("it has {0} bytes; {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("it has a control character or a /")]
    Character,
}

/// The light queues of this broker.
pub(crate) struct LightQueues {
    store: Data,
    /// Light queues can be read, and groups named so have no settings.
    is_on: bool,
    /// Messages are entered into the light queues that they name.
    dispatches: bool,
    max: usize,
}

impl LightQueues {
    pub(crate) fn new(store: &Data, config: &BrokerConfig) -> Self {
        Self {
            store: store.clone(),
            is_on: config.enable_lmq,
            dispatches: config.enable_lmq && config.enable_multi_dispatch,
            max: config.light_queues_max,
        }
    }

    /// Light queues of the broker, at most.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Whether a name is that of a light queue here.
    pub(crate) fn is_queue(&self, name: &str) -> bool {
        self.is_on && check(name).is_ok()
    }

    /// Whether a name is that of a group without settings here. Names of devices are a part of it, so more characters are allowed.
    pub(crate) fn is_group(&self, name: &str) -> bool {
        let rest = name.strip_prefix(LMQ_PREFIX).filter(|_| self.is_on);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_control))
            && name.len() <= NAME_BYTES_MAX
    }

    /// The light queue of this name as a topic: an empty one when no message named it so far, or its messages have all expired. `None`: the name is none of a light queue.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        if !self.is_queue(name) {
            return None;
        }
        let queue = match self.store.find_queue(name, LIGHT_QUEUE_ID) {
            Ok(found) => found.unwrap_or_else(|| self.store.light_queue_to_come(name)),
            Err(error) => {
                tracing::error!(name, %error, "a light queue cannot be looked up");
                return None;
            }
        };
        Some(Topic::light(name, queue))
    }

    /// The queue that a pull waits at, for a light queue that [`topic`](Self::topic) gave: from now on the broker has it, if there may be one more.
    pub(crate) fn awaited(&self, queue: QueueRef) -> QueueRef {
        // Beyond the limit no message comes either, and what cannot be looked up is said when it is asked for the next time.
        self.make(queue.topic()).unwrap_or(queue)
    }

    /// The queues that a new message names. From now on the broker has them.
    ///
    /// # Errors
    /// The names are not understood, or the broker has too many queues.
    pub(crate) fn of_sent(&self, value: &str) -> Result<FurtherQueues, LightError> {
        if !self.dispatches && !value.trim().is_empty() {
            return Err(LightError::Off);
        }
        let names = names_of(value)?;
        names.into_iter().map(|name| self.make(name)).collect()
    }

    /// The queues that a stored message names, now that it comes to its topic. Retries were in them before.
    ///
    /// # Errors
    /// They cannot be looked up.
    pub(crate) fn of_stored(&self, topic: &str, text: &str) -> Result<FurtherQueues, ReadError> {
        if !self.dispatches || names::is_retry_topic(topic) {
            return Ok(FurtherQueues::new());
        }
        let value = properties::get(text, property::INNER_MULTI_DISPATCH);
        let names = names_of(value.unwrap_or_default()).unwrap_or_default();
        let queue = |name: &str| self.store.queue(name, LIGHT_QUEUE_ID);
        names.into_iter().map(queue).collect()
    }

    fn make(&self, name: &str) -> Result<QueueRef, LightError> {
        if let Some(queue) = self.store.find_queue(name, LIGHT_QUEUE_ID)? {
            return Ok(queue);
        }
        if self.store.light_queues() >= self.max {
            return Err(LightError::Exceeded {
                name: name.to_owned(),
                max: self.max,
            });
        }
        Ok(self.store.queue(name, LIGHT_QUEUE_ID)?)
    }
}

fn check(name: &str) -> Result<(), Problem> {
    let rest = name.strip_prefix(LMQ_PREFIX).ok_or(Problem::Prefix)?;
    if rest.is_empty() {
        return Err(Problem::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Problem::TooLong(name.len()));
    }
    // Java clients refuse what separates folders (apache/rocketmq `Validators.checkMessage`).
    let is_wrong = |character: char| character == '/' || character.is_control();
    match rest.contains(is_wrong) {
        true => Err(Problem::Character),
        false => Ok(()),
    }
}

/// The names in a property; none in a blank one.
pub(crate) fn names_of(value: &str) -> Result<SmallVec<[&str; 8]>, LightError> {
    if value.trim().is_empty() {
        return Ok(SmallVec::new());
    }
    let count = value.matches(SEPARATOR).count() + 1;
    if count > PER_MESSAGE_MAX {
        return Err(LightError::TooMany(count));
    }
    let names: SmallVec<[&str; 8]> = value.split(SEPARATOR).collect();
    for name in &names {
        check(name).map_err(|problem| LightError::Name {
            name: name.chars().take(64).collect(),
            problem,
        })?;
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let twice = sorted.windows(2).find(|pair| pair.first() == pair.last());
    match twice.and_then(|pair| pair.first()) {
        Some(name) => Err(LightError::Twice((*name).to_owned())),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: &str) -> Result<Vec<&str>, String> {
        let names = names_of(value).map_err(|error| error.to_string())?;
        Ok(names.to_vec())
    }

    #[test]
    fn names_keep_their_order() {
        assert_eq!(named(""), Ok(vec![]));
        assert_eq!(named("  "), Ok(vec![]));
        assert_eq!(
            named("%LMQ%b,%LMQ%a b@%+é"),
            Ok(vec!["%LMQ%b", "%LMQ%a b@%+é"])
        );
        let most: Vec<String> = (0..PER_MESSAGE_MAX).map(|n| format!("%LMQ%{n}")).collect();
        assert_eq!(named(&most.join(",")).map(|names| names.len()), Ok(128));
        assert!(
            named(&[&most.join(","), ",%LMQ%y"].concat())
                .is_err_and(|text| text.contains("names 129 queues"))
        );
    }

    #[test]
    fn wrong_names_are_told() {
        let long = format!("%LMQ%{}", "x".repeat(251));
        for (value, says) in [
            ("a", "\"a\": the names of such queues begin with %LMQ%"),
            ("%LMQ%a,b", "\"b\""),
            ("%LMQ%a,", "\"\""),
            ("%LMQ%a, %LMQ%b", "\" %LMQ%b\""),
            ("%LMQ%", "nothing follows"),
            ("%LMQ%a/b", "a /"),
            ("%LMQ%a\tb", "control character"),
            ("%LMQ%a,%LMQ%b,%LMQ%a", "\"%LMQ%a\" twice"),
            (&long, "256 bytes"),
        ] {
            let refused = named(value).expect_err(value);
            assert!(refused.contains(says), "{value}: {refused}");
        }
    }
}
