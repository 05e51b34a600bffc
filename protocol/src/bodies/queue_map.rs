//! A queue, and maps with queues as keys, which fastjson writes as `{{"brokerName":"b","queueId":0,"topic":"t"}:value}`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use super::lenient;

/// One queue of a topic at a broker group.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// The broker group.
    pub broker_name: String,
    /// Its number; -1 stands for all.
    #[serde(deserialize_with = "lenient::int")]
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

impl MessageQueue {
    /// A queue.
    #[must_use]
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self {
            broker_name: broker_name.into(),
            queue_id,
            topic: topic.into(),
        }
    }
}

/// Pairs of queue and value, in their order; later pairs of the same queue count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMap<V>(pub Vec<(MessageQueue, V)>);

impl<V> QueueMap<V> {
    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a queue.
    #[must_use]
    pub fn get(&self, queue: &MessageQueue) -> Option<&V> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == queue)
            .map(|(_, value)| value)
    }

    /// Appends a pair.
    pub fn push(&mut self, queue: MessageQueue, value: V) {
        self.0.push((queue, value));
    }

    /// The pairs.
    pub fn iter(&self) -> std::slice::Iter<'_, (MessageQueue, V)> {
        self.0.iter()
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> FromIterator<(MessageQueue, V)> for QueueMap<V> {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<'a, V> IntoIterator for &'a QueueMap<V> {
    type Item = &'a (MessageQueue, V);
    type IntoIter = std::slice::Iter<'a, (MessageQueue, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Keys are strings that hold the queue's JSON; `write_raw_keys` takes the quotes off afterwards.
impl<V: Serialize> Serialize for QueueMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            let key = serde_json::to_string(queue).map_err(S::Error::custom)?;
            map.serialize_entry(&key, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for MapVisitor<V> {
            type Value = QueueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with queues as keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueueMap<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let queue = serde_json::from_str(&key).map_err(|error| {
                        A::Error::custom(format_args!("{key:?} is not a queue: {error}"))
                    })?;
                    pairs.push((queue, map.next_value()?));
                }
                Ok(QueueMap(pairs))
            }
        }

        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// Writes JSON and takes the quotes off those keys that are objects.
pub(super) fn write_raw_keys<T: Serialize>(body: &T) -> Vec<u8> {
    let strict = serde_json::to_vec(body).expect("plain data always serialises");
    let mut out = Vec::with_capacity(strict.len());
    let mut rest = strict.as_slice();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'"' {
            out.push(*first);
            rest = after;
            continue;
        }
        let (inside, after) = after.split_at(string_length(after).min(after.len()));
        let is_key = after.starts_with(b"\":");
        match queue_text(inside).filter(|_| is_key) {
            Some(queue) => out.extend_from_slice(queue.as_bytes()),
            None => {
                out.push(b'"');
                out.extend_from_slice(inside);
                out.push(b'"');
            }
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out
}

/// The JSON of a queue that the inside of a key holds; `None` when it is a key of other text, as the id of a client, which may look nearly
/// the same.
fn queue_text(inside: &[u8]) -> Option<String> {
    if !inside.starts_with(b"{\\\"brokerName\\\":") {
        return None;
    }
    let inside = std::str::from_utf8(inside).ok()?;
    let text = crate::header::Text::Escaped(inside).to_cow().into_owned();
    let queue: MessageQueue = serde_json::from_str(&text).ok()?;
    let is_it = serde_json::to_string(&queue).is_ok_and(|again| again == text);
    is_it.then_some(text)
}

/// Bytes up to the quote that ends a string.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None | Some(b'"') => return at,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}
