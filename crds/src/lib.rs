//! The custom resources of rmq: what users write in YAML, for `kubectl apply` with the operator and for `rmq-ctl apply` without.
//!
//! Group `rmq.rs`, version `v1alpha1`, all namespaced. Field docs become `kubectl explain`; rules that can be known from the
//! object alone are CEL rules in the schema.

mod broker_group;
mod conditions;
mod name_server;
mod reference;
mod subscription_group;
mod topic;

pub use broker_group::{
    BrokerGroup, BrokerGroupConfig, BrokerGroupSpec, BrokerGroupStatus, Drain, DrainStatus, Flush,
    Listeners, Rollout, RolloutStep, Storage, UpdateStrategy, UpdateType,
};
pub use conditions::{Condition, ConditionStatus, Conditions};
pub use name_server::{NameServer, NameServerSpec, NameServerStatus, Scalar};
pub use reference::{
    DeletionPolicy, ExternalListener, ExternalType, Image, NameServerRef, PodOverrides, PullPolicy,
};
pub use subscription_group::{
    SubscriptionGroup, SubscriptionGroupRetry, SubscriptionGroupSpec, SubscriptionGroupStatus,
};
pub use topic::{MessageType, Permission, Topic, TopicSpec, TopicStatus};

/// API group of all kinds.
pub const GROUP: &str = "rmq.rs";

/// Version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` of all kinds.
pub const API_VERSION: &str = "rmq.rs/v1alpha1";

/// The definition of each kind, by name.
#[must_use]
pub fn definitions()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt;
    vec![
        BrokerGroup::crd(),
        NameServer::crd(),
        SubscriptionGroup::crd(),
        Topic::crd(),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares with the file, or writes it when `RMQ_UPDATE_DOCS` is set.
    fn check(file: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
            std::fs::write(&path, text).expect("crds/ can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "{file} is not current: run RMQ_UPDATE_DOCS=1 cargo test -p rmq-crds"
        );
    }

    #[test]
    fn the_definitions_in_yaml_are_current() {
        for definition in definitions() {
            let name = definition.spec.names.plural.clone();
            let text = serde_yaml::to_string(&definition).expect("a definition is YAML");
            check(&format!("{name}.yaml"), &text);
            // Helm does not upgrade what lies in a chart's folder crds/; as templates they are upgraded, and kept on uninstall.
            let annotated = text.replacen(
                "metadata:\n",
                "metadata:\n  {{- if .Values.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n",
                1,
            );
            check(&format!("../charts/rmq-crds/templates/{name}.yaml"), &annotated);
        }
    }

    #[test]
    fn every_field_is_explained() {
        fn walk(path: &str, schema: &serde_json::Value) {
            let Some(fields) = schema["properties"].as_object() else {
                return;
            };
            for (name, field) in fields {
                let path = format!("{path}.{name}");
                assert!(
                    field["description"].is_string(),
                    "{path} has no description"
                );
                walk(&path, field);
            }
        }
        for definition in definitions() {
            let version = &definition.spec.versions[0];
            let schema = serde_json::to_value(&version.schema).expect("JSON");
            walk(
                &definition.spec.names.kind,
                &schema["openAPIV3Schema"]["properties"]["spec"],
            );
        }
    }

    #[test]
    fn defaults_are_what_an_empty_spec_means() {
        let topic: TopicSpec = serde_json::from_value(serde_json::json!({})).expect("all optional");
        assert_eq!(topic, TopicSpec::default());
        let group: SubscriptionGroupSpec =
            serde_json::from_value(serde_json::json!({})).expect("all optional");
        assert_eq!(group, SubscriptionGroupSpec::default());
    }
}
