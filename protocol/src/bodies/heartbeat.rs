//! Heartbeats of clients (code 34) and what they subscribe to.

use serde::{Deserialize, Serialize};

use super::bodies;
use super::lenient::{self, java_enum};
use crate::message::java_hash_code;

java_enum! {
    /// How a consumer gets its messages.
    pub enum ConsumeType {
        /// It pulls.
        Actively = "CONSUME_ACTIVELY",
        /// Messages are pushed to it (by a long poll).
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// It pops.
        Pop = "CONSUME_POP",
    } also {}
}

impl ConsumeType {
    fn from_ordinal(number: usize) -> Option<Self> {
        [Self::Actively, Self::Passively, Self::Pop]
            .get(number)
            .copied()
    }
}

java_enum! {
    /// Whether each message goes to one member of a group or to all.
    pub enum MessageModel {
        /// To all.
        Broadcasting = "BROADCASTING",
        /// To one.
        #[default]
        Clustering = "CLUSTERING",
    } also {}
}

impl MessageModel {
    fn from_ordinal(number: usize) -> Option<Self> {
        [Self::Broadcasting, Self::Clustering].get(number).copied()
    }
}

java_enum! {
    /// Where a new group begins. The deprecated values mean the end.
    pub enum ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    } also {
        "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST" => LastOffset,
        "CONSUME_FROM_MIN_OFFSET" => LastOffset,
        "CONSUME_FROM_MAX_OFFSET" => LastOffset
    }
}

impl ConsumeFromWhere {
    fn from_ordinal(number: usize) -> Option<Self> {
        use ConsumeFromWhere::{FirstOffset, LastOffset, Timestamp};
        [
            LastOffset,
            LastOffset,
            LastOffset,
            LastOffset,
            FirstOffset,
            Timestamp,
        ]
        .get(number)
        .copied()
    }
}

/// Expression type of a tag filter, also meant when none is given.
pub const EXPRESSION_TAG: &str = "TAG";
/// Expression type of an SQL92 filter.
pub const EXPRESSION_SQL92: &str = "SQL92";
/// A subscription to everything.
pub const SUB_ALL: &str = "*";

/// What a group wants of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Obsolete.
    pub class_filter_mode: bool,
    /// Hashes of the tags.
    #[serde(deserialize_with = "lenient::int_list")]
    pub code_set: Vec<i32>,
    /// [`EXPRESSION_TAG`] or [`EXPRESSION_SQL92`].
    #[serde(deserialize_with = "expression_type")]
    pub expression_type: String,
    /// The expression: `*`, `A || B`, or SQL.
    #[serde(deserialize_with = "lenient::or_null")]
    pub sub_string: String,
    /// The client's clock in milliseconds when it subscribed (Go: nanoseconds).
    #[serde(deserialize_with = "lenient::int")]
    pub sub_version: i64,
    /// The tags; empty for everything.
    #[serde(deserialize_with = "lenient::or_null")]
    pub tags_set: Vec<String>,
    /// The topic.
    #[serde(deserialize_with = "lenient::or_null")]
    pub topic: String,
}

fn expression_type<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| EXPRESSION_TAG.to_owned()))
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: SUB_ALL.to_owned(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl SubscriptionData {
    /// A tag subscription from its expression: tags joined by `||`; `*` or nothing is everything.
    #[must_use]
    pub fn tags(topic: impl Into<String>, expression: &str, sub_version: i64) -> Self {
        let mut data = Self {
            topic: topic.into(),
            sub_version,
            ..Self::default()
        };
        if !expression.is_empty() && expression != SUB_ALL {
            expression.clone_into(&mut data.sub_string);
            for tag in expression
                .split("||")
                .map(str::trim)
                .filter(|tag| !tag.is_empty())
            {
                data.tags_set.push(tag.to_owned());
                data.code_set.push(java_hash_code(tag));
            }
        }
        data
    }

    /// Whether it is a tag filter.
    #[must_use]
    pub fn is_tag_type(&self) -> bool {
        self.expression_type == EXPRESSION_TAG
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.is_tag_type() && (self.sub_string == SUB_ALL || self.code_set.is_empty())
    }
}

/// One consumer group of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where it begins when it is new.
    #[serde(deserialize_with = "lenient::known")]
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets its messages.
    #[serde(deserialize_with = "lenient::known")]
    pub consume_type: ConsumeType,
    /// The group.
    pub group_name: String,
    /// One member or all.
    #[serde(deserialize_with = "lenient::known")]
    pub message_model: MessageModel,
    /// What it wants.
    #[serde(deserialize_with = "lenient::objects")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    pub unit_mode: bool,
}

/// One producer group of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// A client's sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// The client.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its consumer groups.
    #[serde(deserialize_with = "lenient::objects")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of its subscriptions, of short heartbeats.
    #[serde(deserialize_with = "lenient::int")]
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    #[serde(deserialize_with = "lenient::objects")]
    pub producer_data_set: Vec<ProducerData>,
    /// Whether subscriptions were left out.
    pub without_sub: bool,
}

/// A filter expression to check (code 46).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfigBody {
    /// The client.
    pub client_id: String,
    /// The group.
    pub group: String,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The subscription.
    #[serde(deserialize_with = "lenient::object")]
    pub subscription_data: SubscriptionData,
}

bodies! { SubscriptionData: plain; HeartbeatData: plain; CheckClientConfigBody: plain; }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_of_every_client_are_read() {
        let cpp = br#"{"clientID":"8785-127.0.0.1@DEFAULT","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"gCpp2","messageModel":1,"subscriptionDataSet":[{"subString":"*","subVersion":"1795356040702","topic":"admT2"}]}],"producerDataSet":[{"groupName":"P_gCpp2"}]}"#;
        let data = HeartbeatData::from_json(cpp).unwrap();
        let consumer = &data.consumer_data_set[0];
        assert_eq!(
            (consumer.consume_type, consumer.message_model),
            (ConsumeType::Passively, MessageModel::Clustering)
        );
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::LastOffset);
        assert_eq!(
            consumer.subscription_data_set[0].sub_version,
            1_795_356_040_702
        );
        assert!(consumer.subscription_data_set[0].is_all());

        let go = br#"{"clientID":"c","producerDataSet":null,"consumerDataSet":[{"groupName":"g","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"topic":"t","subString":"A || B","tagsSet":["A","B"],"codeSet":["65","66"],"subVersion":1795355998697137448,"expressionType":"TAG"}]}]}"#;
        let data = HeartbeatData::from_json(go).unwrap();
        assert_eq!(
            data.consumer_data_set[0].subscription_data_set[0].code_set,
            [65, 66]
        );
        assert_eq!(
            data.consumer_data_set[0].consume_from_where,
            ConsumeFromWhere::FirstOffset
        );
    }

    #[test]
    fn what_a_consumer_asks_for_is_known_or_refused() {
        let heartbeat = |field: &str| {
            let text =
                format!(r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"g",{field}}}]}}"#);
            HeartbeatData::from_json(text.as_bytes()).map_err(|error| error.to_string())
        };
        for field in [
            r#""messageModel":"broadcasting""#,
            r#""messageModel":null"#,
            r#""messageModel":"""#,
            r#""consumeType":2"#,
            r#""consumeFromWhere":5"#,
            r#""consumeFromWhere":"CONSUME_FROM_MIN_OFFSET""#,
        ] {
            heartbeat(field).unwrap_or_else(|error| panic!("{field}: {error}"));
        }
        for (field, says) in [
            (
                r#""messageModel":"LITE_SELECTIVE""#,
                r#"consumerDataSet[0].messageModel: "LITE_SELECTIVE" is not one of BROADCASTING, CLUSTERING"#,
            ),
            (
                r#""consumeType":3"#,
                "consumerDataSet[0].consumeType: 3 is not one of",
            ),
            (
                r#""consumeFromWhere":-1"#,
                "consumerDataSet[0].consumeFromWhere: invalid type: integer `-1`",
            ),
            (
                r#""unitMode":"yes""#,
                r#"consumerDataSet[0].unitMode: invalid type: string "yes""#,
            ),
        ] {
            let error = heartbeat(field).expect_err(field);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn tags_become_hashes() {
        let data = SubscriptionData::tags("t", "TagA|| TagB", 7);
        assert_eq!(data.code_set, [2_598_919, 2_598_920]);
        assert!(!data.is_all() && SubscriptionData::tags("t", "*", 7).is_all());
    }
}
