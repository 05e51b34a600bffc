//! Keys of the servers' configurations that users pass through.

use std::collections::BTreeMap;

use rmq_config::{Configuration, Given, passed_problems};
use rmq_crds::Scalar;

/// What is wrong with these settings; `field` is where they stand.
pub(crate) fn problems<C: Configuration>(
    field: &str,
    settings: &BTreeMap<String, Scalar>,
) -> Vec<String> {
    let given = settings.iter().map(|(key, value)| {
        let given = Given {
            text: value.to_string(),
            is_text: matches!(value, Scalar::Text(_)),
        };
        (key.as_str(), given)
    });
    passed_problems::<C>(field, given)
}

#[cfg(test)]
mod tests {
    use rmq_config::{BrokerConfig, Kubernetes, NameServerConfig, Setting, Takes};
    use serde_json::Value;

    use super::*;

    #[test]
    fn wrong_settings_are_named_with_a_way_out() {
        let settings = BTreeMap::from([
            ("flushByte".to_owned(), Scalar::Integer(1)),
            ("dataDir".to_owned(), Scalar::Text("/x".to_owned())),
            ("diskFullRatio".to_owned(), Scalar::Number(0.9)),
            ("fastPort".to_owned(), Scalar::Text("yes".to_owned())),
            ("region".to_owned(), Scalar::Text("eu".to_owned())),
            ("segmentBytes".to_owned(), Scalar::Integer(7)),
            ("acceptLostSettings".to_owned(), Scalar::Bool(true)),
        ]);
        assert_eq!(
            problems::<BrokerConfig>("spec.config.extra", &settings),
            [
                "spec.config.extra.dataDir is set by the operator; use spec.storage",
                "spec.config.extra.fastPort must be true or false, not \"yes\"",
                "spec.config.extra.flushByte is no key of the configuration; did you mean flushBytes?",
                "spec.config.extra.segmentBytes must be a number of bytes from 65536 to 1073741824, a multiple of 4096, not \"7\"",
            ]
        );
        let settings = BTreeMap::from([("listen".to_owned(), Scalar::Text("a:1".to_owned()))]);
        assert_eq!(
            problems::<NameServerConfig>("spec.config", &settings),
            ["spec.config.listen is set by the operator; leave it out: the port is fixed"]
        );
    }

    /// The part of a definition that describes a field such as `spec.config.flush`.
    fn schema<'a>(definition: &'a Value, field: &str) -> &'a Value {
        let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        field
            .split('.')
            .fold(root, |schema, name| &schema["properties"][name])
    }

    /// Fields of the resource stand for settings: their ranges lie inside, and their descriptions have the defaults.
    #[test]
    fn fields_of_the_resource_are_settings() {
        let definitions: Vec<Value> = rmq_crds::definitions()
            .iter()
            .map(|definition| serde_json::to_value(definition).expect("JSON"))
            .collect();
        let of_kind = |kind: &str| {
            let is_kind = |definition: &&Value| definition["spec"]["names"]["kind"] == kind;
            definitions.iter().find(is_kind).expect("its definition")
        };
        let group = of_kind("BrokerGroup");
        let defaults = BrokerConfig::default().pairs();
        let mut ranges = 0;
        for setting in BrokerConfig::settings() {
            let Kubernetes::Field(field) = setting.kubernetes else {
                continue;
            };
            let schema = schema(group, field);
            assert!(schema.is_object(), "{field} of {}", setting.key);
            let Takes::Number { .. } = setting.takes else {
                continue;
            };
            if !field.starts_with("spec.config.") {
                continue;
            }
            for end in ["minimum", "maximum"] {
                let end = schema[end].as_f64().expect("an end") as i64;
                let text = end.to_string();
                let read = Setting::read(setting, field, &text, false);
                read.unwrap_or_else(|problem| panic!("{problem}"));
            }
            let default = defaults.iter().find(|(key, _)| *key == setting.key);
            let (_, default) = default.expect("its default");
            let description = schema["description"].as_str().unwrap_or_default();
            assert!(
                description.ends_with(&format!("Default: {default}.")),
                "{field}: {description}"
            );
            ranges += 1;
        }
        assert!(ranges >= 2, "{ranges}");
    }
}
