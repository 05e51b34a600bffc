//! How a broker says what it serves (code 103), as JSON or compressed, and what a broker group is (901).
//!
//! The compressed form is zlib over: data version (length i32, JSON), number of topics i32, each topic (length i32, text
//! `name readQueues writeQueues perm filterType attributesJson`), filter servers (length i32, JSON list) and, of newer brokers,
//! the mappings of static topics (count i32, each length i32 and JSON).

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::{
    BodyError, DataVersion, TopicConfig, TopicConfigTable, TopicFilterType, bodies, from_slice,
    lenient,
};

/// Most bytes that a compressed registration may become.
const INFLATED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most topics of one compressed registration: each takes a multiple of its bytes in memory.
const TOPICS_MAX: i32 = 1_000_000;
/// Most static topics of one compressed registration.
const MAPPINGS_MAX: i32 = 100_000;
/// The first version that appends the mappings of static topics: `V5_0_0`.
const MAPPINGS_SINCE_VERSION: i32 = 413;

/// A broker's topics and filter servers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Obsolete filter servers.
    #[serde(deserialize_with = "lenient::or_null")]
    pub filter_server_list: Vec<String>,
    /// The topics.
    #[serde(deserialize_with = "lenient::object")]
    pub topic_config_serialize_wrapper: TopicConfigTable,
}

bodies! { RegisterBrokerBody: plain; BrokerMemberGroupBody: plain; KvTable: plain; }

impl RegisterBrokerBody {
    /// Reads the compressed form of a broker with this version ordinal.
    ///
    /// # Errors
    /// When the data is damaged, larger than 64 MiB, or has more than 1,000,000 topics or 100,000 static ones.
    pub fn from_compressed(bytes: &[u8], version: i32) -> Result<Self, BodyError> {
        let mut inflated = Vec::new();
        ZlibDecoder::new(bytes)
            .take(INFLATED_BYTES_MAX + 1)
            .read_to_end(&mut inflated)
            .map_err(|error| binary(format!("not zlib data: {error}")))?;
        if inflated.len() as u64 > INFLATED_BYTES_MAX {
            return Err(binary(format!(
                "it inflates to more than {INFLATED_BYTES_MAX} bytes"
            )));
        }
        let mut parts = Parts { rest: &inflated };
        let mut body = Self::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = from_slice::<DataVersion>("data version", parts.piece()?)?;
        for _ in 0..parts.count("topics", TOPICS_MAX)? {
            let topic = decode_topic(parts.text()?)?;
            table
                .topic_config_table
                .insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = from_slice("filter server list", parts.piece()?)?;
        if version >= MAPPINGS_SINCE_VERSION && !parts.rest.is_empty() {
            let mut mappings = serde_json::Map::new();
            for _ in 0..parts.count("static topics", MAPPINGS_MAX)? {
                let mapping: serde_json::Value = from_slice("topic queue mapping", parts.piece()?)?;
                let topic = mapping
                    .get("topic")
                    .and_then(|topic| topic.as_str())
                    .unwrap_or_default()
                    .to_owned();
                mappings.insert(topic, mapping);
            }
            if !mappings.is_empty() {
                table.topic_queue_mapping_info_map = Some(mappings.into());
            }
        }
        Ok(body)
    }

    /// The compressed form, with the mappings that newer name servers read.
    ///
    /// # Errors
    /// Never for data in memory; compression reports through the same type as reading.
    pub fn to_compressed(&self) -> Result<Vec<u8>, BodyError> {
        let table = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        put_piece(&mut plain, &table.data_version.to_json());
        plain.extend_from_slice(&(table.topic_config_table.len() as i32).to_be_bytes());
        for topic in table.topic_config_table.values() {
            put_piece(&mut plain, encode_topic(topic).as_bytes());
        }
        let servers = serde_json::to_vec(&self.filter_server_list)
            .map_err(|error| binary(error.to_string()))?;
        put_piece(&mut plain, &servers);
        let mappings = table
            .topic_queue_mapping_info_map
            .as_ref()
            .and_then(|map| map.as_object());
        plain.extend_from_slice(&(mappings.map_or(0, serde_json::Map::len) as i32).to_be_bytes());
        for mapping in mappings.into_iter().flat_map(serde_json::Map::values) {
            put_piece(&mut plain, mapping.to_string().as_bytes());
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder
            .write_all(&plain)
            .and_then(|()| encoder.finish())
            .map_err(|error| binary(error.to_string()))
    }
}

fn binary(reason: String) -> BodyError {
    BodyError::Binary {
        what: "compressed registration",
        reason,
    }
}

struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn int(&mut self) -> Result<i32, BodyError> {
        let (int, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| binary("it ends inside a number".to_owned()))?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*int))
    }

    fn count(&mut self, what: &str, max: i32) -> Result<i32, BodyError> {
        let count = self.int()?;
        if count > max {
            return Err(binary(format!(
                "it has {count} {what}, at most {max} are taken: register them in parts"
            )));
        }
        Ok(count)
    }

    fn piece(&mut self) -> Result<&'a [u8], BodyError> {
        let length = self.int()?;
        let piece = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        let (piece, rest) =
            piece.ok_or_else(|| binary(format!("a length of {length} does not fit")))?;
        self.rest = rest;
        Ok(piece)
    }

    fn text(&mut self) -> Result<&'a str, BodyError> {
        std::str::from_utf8(self.piece()?).map_err(|error| binary(error.to_string()))
    }
}

fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    out.extend_from_slice(&(piece.len() as i32).to_be_bytes());
    out.extend_from_slice(piece);
}

fn decode_topic(text: &str) -> Result<TopicConfig, BodyError> {
    let mut parts = text.splitn(6, ' ');
    let mut next = || {
        parts
            .next()
            .ok_or_else(|| binary(format!("{text:?} is not a topic")))
    };
    let int = |text: &str| {
        text.parse::<i32>()
            .map_err(|_| binary(format!("{text:?} is not a number")))
    };
    let mut topic = TopicConfig::new(next()?, 0);
    topic.read_queue_nums = int(next()?)?;
    topic.write_queue_nums = int(next()?)?;
    topic.perm = int(next()?)?;
    topic.topic_filter_type = TopicFilterType::from_name(next()?).unwrap_or_default();
    if let Some(attributes) = parts
        .next()
        .filter(|attributes| !attributes.trim().is_empty())
    {
        topic.attributes = from_slice("topic attributes", attributes.as_bytes())?;
    }
    Ok(topic)
}

fn encode_topic(topic: &TopicConfig) -> String {
    let attributes =
        serde_json::to_string(&topic.attributes).expect("a map of strings always serialises");
    format!(
        "{} {} {} {} {} {attributes}",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        topic.perm,
        topic.topic_filter_type
    )
}

/// Addresses of a broker group (code 901).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroupBody {
    /// The group.
    pub broker_member_group: BrokerMemberGroup,
}

/// A broker group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// Broker id to address.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Its name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
}

/// Names and values (codes 28, 103, 219).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The pairs.
    #[serde(deserialize_with = "lenient::or_null")]
    pub table: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = DataVersion {
            counter: 5,
            state_version: 0,
            timestamp: 1_700_000_000_000,
        };
        let mut topic = TopicConfig::new("orders", 8);
        topic
            .attributes
            .insert("message.type".to_owned(), "FIFO".to_owned());
        for topic in [topic, TopicConfig::new("plain", 4)] {
            table
                .topic_config_table
                .insert(topic.topic_name.clone(), topic);
        }
        table.topic_queue_mapping_info_map =
            Some(serde_json::json!({"orders": {"topic": "orders", "totalQueues": 2}}));
        body
    }

    #[test]
    fn both_forms_carry_the_same() {
        let body = sample();
        assert_eq!(
            RegisterBrokerBody::from_json(&body.to_json()).unwrap(),
            body
        );
        assert_eq!(
            RegisterBrokerBody::from_compressed(&body.to_compressed().unwrap(), 513).unwrap(),
            body
        );
    }

    #[test]
    fn damaged_or_cut_data_is_an_error() {
        let compressed = sample().to_compressed().unwrap();
        for cut in 0..compressed.len() {
            assert!(RegisterBrokerBody::from_compressed(&compressed[..cut], 513).is_err());
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&[0xff; 64]).unwrap();
        assert!(RegisterBrokerBody::from_compressed(&encoder.finish().unwrap(), 513).is_err());
    }
}
