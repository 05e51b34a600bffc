//! The custom resources of rmq: what users write in YAML, for `kubectl apply` with the operator and for `rmq-ctl apply` without; and
//! `BrokerGroupElection`, in which brokers agree on their master.
//!
//! Group `rmq.rs`, version `v1alpha1`, all namespaced. Field docs become `kubectl explain`; rules that can be known from the
//! object alone are CEL rules in the schema.

mod access;
mod broker_group;
mod conditions;
mod election;
mod name_server;
mod quota;
mod reference;
mod subscription_group;
mod topic;
mod user;

pub use access::{Authentication, Authorization, NameServerAuthentication};
pub use broker_group::{
    BrokerGroup, BrokerGroupConfig, BrokerGroupSpec, BrokerGroupStatus, Drain, DrainStatus, Flush,
    Listeners, MemberRole, MemberStatus, NodeDownPolicy, Rebuild, RebuildClaim, Replication,
    RestoreFrom, RestoreStatus, Rollout, RolloutStep, SecretRef, Storage, UpdateStrategy,
    UpdateType,
};
pub use conditions::{Condition, ConditionStatus, Conditions};
pub use election::{
    BrokerGroupElection, BrokerGroupElectionSpec, BrokerGroupElectionStatus, ElectionAckMode,
    ElectionMember, ElectionOutcome, ElectionPhase, ElectionReason, ElectionRequest, ElectionSeat,
    ElectionTerm, ElectionUnclean,
};
pub use name_server::{NameServer, NameServerSpec, NameServerStatus, Scalar};
pub use quota::{Quota, QuotaLimit};
pub use reference::{
    DeletionPolicy, ExternalListener, ExternalType, Image, NameServerRef, PodOverrides, PullPolicy,
    ServerTls, ServerTlsClientCertificates, ServerTlsMode, ServerTlsStatus,
};
pub use subscription_group::{
    SubscriptionGroup, SubscriptionGroupRetry, SubscriptionGroupSpec, SubscriptionGroupStatus,
};
pub use topic::{MessageType, Permission, Topic, TopicSpec, TopicStatus};
pub use user::{
    PasswordSecret, User, UserAction, UserBinding, UserDecision, UserPolicy, UserRight, UserSpec,
    UserStatus,
};

/// API group of all kinds.
pub const GROUP: &str = "rmq.rs";

/// Annotation of a BrokerGroup with a member, by its number or pod, that is made anew from the others.
pub const REBUILD: &str = "rmq.rs/rebuild";

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
        BrokerGroupElection::crd(),
        NameServer::crd(),
        SubscriptionGroup::crd(),
        Topic::crd(),
        User::crd(),
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
            check(
                &format!("../charts/rmq-crds/templates/{name}.yaml"),
                &annotated,
            );
        }
    }

    /// One row for each field, as `kubectl explain` has them.
    fn rows(path: &str, schema: &serde_json::Value, out: &mut String) {
        use std::fmt::Write as _;
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            // What Kubernetes defines is explained there.
            let of_kubernetes = [
                "resources",
                "affinity",
                "tolerations",
                "topologySpreadConstraints",
                "env",
                "conditions",
            ];
            let mut notes = Vec::new();
            if required.iter().any(|needed| needed == name) {
                notes.push("needed".to_owned());
            }
            if let Some(default) = field.get("default").filter(|default| !default.is_object()) {
                notes.push(format!("default {default}"));
            }
            if let Some(choices) = field["enum"].as_array() {
                let choices: Vec<&str> = choices
                    .iter()
                    .filter_map(|choice| choice.as_str())
                    .collect();
                notes.push(choices.join(", "));
            }
            if let (Some(min), Some(max)) = (field["minimum"].as_f64(), field["maximum"].as_f64()) {
                notes.push(format!("{min} to {max}"));
            }
            let text = field["description"].as_str().unwrap_or_default();
            let text = text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace('|', "\\|");
            let _ = writeln!(out, "| `{path}` | {text} | {} |", notes.join("; "));
            if !of_kubernetes.contains(&name.as_str()) {
                rows(&path, field, out);
            }
        }
    }

    #[test]
    fn the_reference_is_current() {
        let mut text = String::from(
            "# Custom resources\n\nGenerated from `crds/src`: `RMQ_UPDATE_DOCS=1 cargo test -p rmq-crds`. The same is in `kubectl explain`. Group `rmq.rs`, version `v1alpha1`; all are\nnamespaced. `kubectl get rmq` lists all kinds. Examples are in `crds/examples`.\n",
        );
        for definition in definitions() {
            let names = &definition.spec.names;
            let version = &definition.spec.versions[0];
            let schema = serde_json::to_value(&version.schema).expect("JSON");
            let schema = &schema["openAPIV3Schema"]["properties"];
            text.push_str(&format!("\n## {}\n\n", names.kind));
            text.push_str(&format!(
                "Short name `{}`.\n",
                names
                    .short_names
                    .as_deref()
                    .unwrap_or_default()
                    .join("`, `")
            ));
            for part in ["spec", "status"] {
                text.push_str(&format!(
                    "\n### {}.{part}\n\n| field | meaning | |\n| --- | --- | --- |\n",
                    names.kind
                ));
                rows("", &schema[part], &mut text);
            }
        }
        check("../docs/reference/crd.md", &text);
    }

    #[test]
    fn the_examples_are_what_the_types_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("examples") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let value: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
            let again = match value["kind"].as_str() {
                Some("NameServer") => serde_json::to_value(from::<NameServer>(&value).spec),
                Some("BrokerGroup") => serde_json::to_value(from::<BrokerGroup>(&value).spec),
                Some("Topic") => serde_json::to_value(from::<Topic>(&value).spec),
                Some("User") => serde_json::to_value(from::<User>(&value).spec),
                Some("SubscriptionGroup") => {
                    serde_json::to_value(from::<SubscriptionGroup>(&value).spec)
                }
                other => panic!("{}: kind {other:?}", path.display()),
            };
            // A field that nobody knows would have got lost.
            lost(
                &path.display().to_string(),
                &value["spec"],
                &again.expect("JSON"),
            );
            seen += 1;
        }
        // Nobody writes a BrokerGroupElection by hand.
        let written = definitions().len() - 1;
        assert_eq!(seen, 2 * written, "a small and a full one of each kind");
    }

    fn from<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> T {
        serde_json::from_value(value.clone()).expect("it is of its kind")
    }

    fn lost(place: &str, given: &serde_json::Value, kept: &serde_json::Value) {
        for (name, value) in given.as_object().into_iter().flatten() {
            // What is off by default is left out when it is written.
            assert!(
                kept.get(name).is_some() || value == false,
                "{place}: {name} is no field"
            );
            lost(&format!("{place}.{name}"), value, &kept[name]);
        }
    }

    #[test]
    fn a_key_that_is_null_says_nothing() {
        let config: BrokerGroupConfig = serde_json::from_value(serde_json::json!({
            "flush": null, "retentionHours": null,
            "extra": {"flushBytes": null, "region": "eu", "fastPort": true}
        }))
        .expect("null is taken");
        let keys: Vec<&str> = config.extra.keys().map(String::as_str).collect();
        assert_eq!(keys, ["fastPort", "region"]);
        let none: NameServerSpec =
            serde_json::from_value(serde_json::json!({"replicas": 2, "config": null}))
                .expect("null is taken");
        assert_eq!(none, NameServerSpec::default());
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
