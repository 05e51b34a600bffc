//! Keys of the servers' configurations that users may pass through.

use std::collections::BTreeMap;

use rmq_crds::Scalar;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Integer,
    Number,
    Text,
}

/// Keys of one server.
pub(crate) struct Keys {
    /// Keys that may be passed through.
    pub(crate) open: &'static [(&'static str, Type)],
    /// Keys that the operator sets, each with what to write instead.
    pub(crate) managed: &'static [(&'static str, &'static str)],
}

/// `rmq-broker --print-config`; a test compares.
pub(crate) const BROKER: Keys = Keys {
    open: &[
        ("fastPort", Type::Bool),
        ("flushIntervalMs", Type::Integer),
        ("flushBytes", Type::Integer),
        ("segmentBytes", Type::Integer),
        ("diskEvictRatio", Type::Number),
        ("diskFullRatio", Type::Number),
        ("region", Type::Text),
        ("delayLevels", Type::Text),
        ("drainTimeoutMs", Type::Integer),
        ("connectionsMax", Type::Integer),
        ("memoryBytes", Type::Integer),
        ("topicsMax", Type::Integer),
        ("queuesPerTopicMax", Type::Integer),
        ("groupsMax", Type::Integer),
        ("clientsPerGroupMax", Type::Integer),
        ("pullMessagesMax", Type::Integer),
        ("pullBytesMax", Type::Integer),
        ("expressionBytesMax", Type::Integer),
        ("registrationBytes", Type::Integer),
        ("clockSettleMinutes", Type::Integer),
        ("acceptLostSettings", Type::Bool),
    ],
    managed: &[
        ("clusterName", "spec.clusterName"),
        ("brokerName", "spec.brokerName"),
        ("brokerId", "nothing: the operator numbers the brokers"),
        ("listen", "nothing: the port is fixed"),
        ("management", "nothing: the port is fixed"),
        ("advertise", "spec.listeners.external"),
        ("advertisePort", "spec.listeners.external"),
        ("nameServers", "spec.nameServerRef"),
        (
            "lookUpNameServers",
            "nothing: name servers are always looked up",
        ),
        ("dataDir", "spec.storage"),
        ("flush", "spec.config.flush"),
        ("retentionHours", "spec.config.retentionHours"),
        ("maxMessageBytes", "spec.config.maxMessageBytes"),
        ("autoCreateTopic", "spec.config.autoCreateTopic"),
        (
            "autoCreateSubscriptionGroup",
            "spec.config.autoCreateSubscriptionGroup",
        ),
        (
            "permission",
            "nothing: the operator takes brokers out of the routes when they restart",
        ),
    ],
};

/// `rmq-namesrv --print-config`; a test compares.
pub(crate) const NAME_SERVER: Keys = Keys {
    open: &[
        ("orderMessageEnable", Type::Bool),
        ("notifyMinBrokerIdChanged", Type::Bool),
        ("deleteTopicWithBrokerRegistration", Type::Bool),
        ("supportActingMaster", Type::Bool),
        ("enableAllTopicList", Type::Bool),
        ("enableTopicList", Type::Bool),
        ("needWaitForService", Type::Bool),
        ("waitSecondsForService", Type::Integer),
        ("scanNotActiveBrokerInterval", Type::Integer),
        ("brokerTimeoutMillis", Type::Integer),
        ("brokersMax", Type::Integer),
        ("topicsMax", Type::Integer),
        ("routeEntriesMax", Type::Integer),
        ("kvBytesMax", Type::Integer),
        ("connectionsMax", Type::Integer),
        ("connectionsPerSourceMax", Type::Integer),
        ("memoryBytes", Type::Integer),
        ("drainTimeoutMillis", Type::Integer),
    ],
    managed: &[
        ("listen", "nothing: the port is fixed"),
        ("management", "nothing: the port is fixed"),
        ("kvConfigPath", "nothing: name servers keep no data"),
    ],
};

impl Keys {
    /// What is wrong with these settings; `field` is where they stand.
    pub(crate) fn problems(&self, field: &str, settings: &BTreeMap<String, Scalar>) -> Vec<String> {
        let problem = |(key, value): (&String, &Scalar)| {
            if let Some((_, instead)) = self.managed.iter().find(|(managed, _)| managed == key) {
                return Some(format!(
                    "{field}.{key} is set by the operator; use {instead}"
                ));
            }
            let Some((_, wanted)) = self.open.iter().find(|(open, _)| open == key) else {
                let near = self
                    .open
                    .iter()
                    .map(|(open, _)| {
                        (
                            strsim::jaro_winkler(&open.to_lowercase(), &key.to_lowercase()),
                            open,
                        )
                    })
                    .max_by(|(one, _), (other, _)| one.total_cmp(other))
                    .filter(|(score, _)| *score > 0.8);
                let hint =
                    near.map_or(String::new(), |(_, near)| format!("; did you mean {near}?"));
                return Some(format!(
                    "{field}.{key} is no key of the configuration{hint}"
                ));
            };
            let fits = matches!(
                (wanted, value),
                (Type::Bool, Scalar::Bool(_))
                    | (Type::Integer | Type::Number, Scalar::Integer(_))
                    | (Type::Number, Scalar::Number(_))
                    | (Type::Text, Scalar::Text(_))
            );
            (!fits).then(|| {
                let wanted = match wanted {
                    Type::Bool => "true or false",
                    Type::Integer => "a whole number",
                    Type::Number => "a number",
                    Type::Text => "text",
                };
                format!("{field}.{key}: {value} is not {wanted}")
            })
        };
        settings.iter().filter_map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(keys: &Keys, config: &serde_json::Value) {
        let all = config.as_object().expect("an object");
        for (key, value) in all {
            let open = keys.open.iter().find(|(open, _)| open == key);
            let managed = keys.managed.iter().any(|(managed, _)| managed == key);
            assert!(
                open.is_some() != managed,
                "{key} stands in one of the two lists"
            );
            if let Some((_, type_)) = open {
                let fits = match type_ {
                    Type::Bool => value.is_boolean(),
                    Type::Integer => value.is_i64() || value.is_u64(),
                    Type::Number => value.is_number(),
                    Type::Text => value.is_string(),
                };
                assert!(fits, "{key} is {type_:?}, but its default is {value}");
            }
        }
        assert_eq!(
            keys.open.len() + keys.managed.len(),
            all.len(),
            "no key that there is not"
        );
    }

    #[test]
    fn the_keys_are_those_of_the_servers() {
        let broker = serde_json::to_value(rmq_broker::BrokerConfig::default()).expect("JSON");
        compare(&BROKER, &broker);
        let text = rmq_namesrv::NameServerConfig::default().to_yaml();
        let name_server = crate::yaml::read(&text).expect("it is YAML");
        compare(&NAME_SERVER, &name_server);
    }

    #[test]
    fn wrong_settings_are_named_with_a_way_out() {
        let settings = BTreeMap::from([
            ("flushByte".to_owned(), Scalar::Integer(1)),
            ("dataDir".to_owned(), Scalar::Text("/x".to_owned())),
            ("fastPort".to_owned(), Scalar::Text("yes".to_owned())),
            ("region".to_owned(), Scalar::Text("eu".to_owned())),
        ]);
        assert_eq!(
            BROKER.problems("spec.config.extra", &settings),
            [
                "spec.config.extra.dataDir is set by the operator; use spec.storage",
                "spec.config.extra.fastPort: yes is not true or false",
                "spec.config.extra.flushByte is no key of the configuration; did you mean flushBytes?",
            ]
        );
    }
}
