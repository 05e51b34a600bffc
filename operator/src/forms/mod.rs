//! Texts of a spec that the rules of the resource let through and that cannot work: the forms that registries and Kubernetes want. Pure.
//!
//! Without this, a pod, a volume or a service of such a text is refused long after the object was taken, by somebody who does not know the
//! object's fields.

pub(crate) mod image;
mod names;

use std::collections::BTreeMap;

use rmq_crds::{BrokerGroup, ExternalListener, Image, NameServer, PodOverrides};

use self::names::{label, qualified, subdomain};

/// Problems of a BrokerGroup's texts, each with its field.
pub(crate) fn of_broker_group(object: &BrokerGroup) -> Vec<String> {
    let spec = &object.spec;
    let mut forms = Forms::default();
    forms.image(&spec.image);
    let class = spec.storage.storage_class_name.as_ref();
    forms.name("spec.storage.storageClassName", class);
    let external = spec.listeners.external.as_ref();
    forms.listener("spec.listeners.external", external);
    forms.pod(&spec.pod);
    forms.problems
}

/// The same of a NameServer.
pub(crate) fn of_name_server(object: &NameServer) -> Vec<String> {
    let spec = &object.spec;
    let mut forms = Forms::default();
    forms.image(&spec.image);
    if let Some(of) = &spec.authentication {
        let secret = of.secret_name.as_ref();
        forms.name("spec.authentication.secretName", secret);
        let users = of.users_secret_name.as_ref();
        forms.name("spec.authentication.usersSecretName", users);
    }
    forms.listener("spec.externalListener", spec.external_listener.as_ref());
    forms.pod(&spec.pod);
    forms.problems
}

#[derive(Debug, Default)]
struct Forms {
    problems: Vec<String>,
}

impl Forms {
    fn demand(&mut self, field: &str, text: &str, form: Result<(), String>) {
        if let Err(why) = form {
            self.problems.push(format!("{field}: {text:?} {why}"));
        }
    }

    /// The name of an object, such as a class; there may be none.
    fn name(&mut self, field: &str, name: Option<&String>) {
        if let Some(name) = name {
            self.demand(field, name, subdomain(name));
        }
    }

    /// `spec.image`.
    fn image(&mut self, wanted: &Image) {
        if let Some(reference) = &wanted.reference {
            let form = image::reference(reference);
            self.demand("spec.image.reference", reference, form);
        }
        for (index, secret) in wanted.pull_secrets.iter().enumerate() {
            let field = format!("spec.image.pullSecrets[{index}]");
            self.demand(&field, secret, subdomain(secret));
        }
    }

    /// `spec.pod`.
    fn pod(&mut self, pod: &PodOverrides) {
        // As in a pod, an empty one is none.
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        self.name(
            "spec.pod.priorityClassName",
            named(&pod.priority_class_name).as_ref(),
        );
        self.name(
            "spec.pod.serviceAccountName",
            named(&pod.service_account_name).as_ref(),
        );
        self.keys("spec.pod.labels", &pod.labels, true);
        self.keys("spec.pod.annotations", &pod.annotations, false);
        self.keys("spec.pod.nodeSelector", &pod.node_selector, true);
        for (index, spread) in pod.topology_spread_constraints.iter().enumerate() {
            let field = format!("spec.pod.topologySpreadConstraints[{index}].topologyKey");
            self.demand(
                &field,
                &spread.topology_key,
                qualified(&spread.topology_key),
            );
        }
    }

    /// An external listener; `field` is where it stands.
    fn listener(&mut self, field: &str, listener: Option<&ExternalListener>) {
        let Some(listener) = listener else { return };
        if let Some(class) = &listener.load_balancer_class {
            self.demand(
                &format!("{field}.loadBalancerClass"),
                class,
                qualified(class),
            );
        }
        if let Some(host) = &listener.advertised_host
            && let Err(error) = rmq_texts::reachable_host(host)
        {
            self.problems.push(format!(
                "{field}.advertisedHost: {error}; a host name or an address is meant, without scheme and port"
            ));
        }
        self.keys(
            &format!("{field}.annotations"),
            &listener.annotations,
            false,
        );
    }

    /// Keys of labels and annotations, and values of labels.
    fn keys(&mut self, field: &str, map: &BTreeMap<String, String>, are_labels: bool) {
        for (key, value) in map {
            self.demand(field, key, qualified(key));
            if are_labels && !value.is_empty() {
                self.demand(&format!("{field}.{key}"), value, label(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rmq_crds::ExternalType;
    use serde_json::{Value, json};

    use super::*;

    /// Texts that are names of objects, and some that are not.
    const NAMES: [(&str, bool); 9] = [
        ("fast", true),
        ("fast.example.com", true),
        ("1-a", true),
        ("Fast", false),
        ("fast ", false),
        ("-fast", false),
        ("a..b", false),
        ("a_b", false),
        ("a/b", false),
    ];
    /// The same for what is written like the key of a label.
    const QUALIFIED: [(&str, bool); 9] = [
        ("internal", true),
        ("service.k8s.aws/nlb", true),
        ("A_b.c", true),
        ("", false),
        ("a b", false),
        ("a/", false),
        ("/a", false),
        ("a/b/c", false),
        ("Example.com/a", false),
    ];

    fn told(spec: &Value) -> Vec<String> {
        let mut spec = spec.clone();
        if spec.get("externalListener").is_some() {
            let object = json!({"metadata": {"name": "a"}, "spec": spec});
            return of_name_server(&serde_json::from_value(object).expect("a NameServer"));
        }
        spec["nameServerRef"] = json!({"name": "a"});
        if spec.get("storage").is_none() {
            spec["storage"] = json!({"ephemeral": true});
        }
        let object = json!({"metadata": {"name": "a"}, "spec": spec});
        of_broker_group(&serde_json::from_value(object).expect("a BrokerGroup"))
    }

    #[test]
    fn each_text_of_a_spec_is_refused_where_it_stands() {
        type Wrap = fn(&str) -> Value;
        let names: [(&str, Wrap); 4] = [
            (
                "spec.storage.storageClassName",
                |text| json!({"storage": {"size": "1Gi", "storageClassName": text}}),
            ),
            (
                "spec.pod.priorityClassName",
                |text| json!({"pod": {"priorityClassName": text}}),
            ),
            (
                "spec.pod.serviceAccountName",
                |text| json!({"pod": {"serviceAccountName": text}}),
            ),
            (
                "spec.image.pullSecrets[0]",
                |text| json!({"image": {"pullSecrets": [text]}}),
            ),
        ];
        let keys: [(&str, Wrap); 7] = [
            (
                "spec.listeners.external.loadBalancerClass",
                |text| json!({"listeners": {"external": {"type": "LoadBalancer", "loadBalancerClass": text}}}),
            ),
            (
                "spec.externalListener.loadBalancerClass",
                |text| json!({"externalListener": {"type": "LoadBalancer", "loadBalancerClass": text}}),
            ),
            (
                "spec.externalListener.annotations",
                |text| json!({"externalListener": {"type": "NodePort", "annotations": {text: "any text"}}}),
            ),
            (
                "spec.pod.labels",
                |text| json!({"pod": {"labels": {text: ""}}}),
            ),
            (
                "spec.pod.annotations",
                |text| json!({"pod": {"annotations": {text: "any text"}}}),
            ),
            (
                "spec.pod.nodeSelector",
                |text| json!({"pod": {"nodeSelector": {text: "x"}}}),
            ),
            (
                "spec.pod.topologySpreadConstraints[0].topologyKey",
                |text| {
                    json!({"pod": {"topologySpreadConstraints": [
                        {"topologyKey": text, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
                    ]}})
                },
            ),
        ];
        let values: [(&str, Wrap); 2] = [
            (
                "spec.pod.labels.team",
                |text| json!({"pod": {"labels": {"team": text}}}),
            ),
            (
                "spec.pod.nodeSelector.disk",
                |text| json!({"pod": {"nodeSelector": {"disk": text}}}),
            ),
        ];
        let images: [(&str, Wrap); 1] = [(
            "spec.image.reference",
            |text| json!({"image": {"reference": text}}),
        )];
        type Fields<'f> = &'f [(&'f str, Wrap)];
        type Texts<'t> = &'t [(&'t str, bool)];
        let tables: [(Fields<'_>, Texts<'_>); 4] = [
            (&names, &NAMES),
            (&keys, &QUALIFIED),
            (
                &values,
                &[
                    ("", true),
                    ("a_B.1", true),
                    ("a b", false),
                    ("a/b", false),
                    ("-a", false),
                ],
            ),
            (&images, &[("rmq:1", true), ("rmq: 1", false)]),
        ];
        for (fields, texts) in tables {
            for (field, wrap) in fields {
                for (text, is_good) in texts {
                    let problems = told(&wrap(text));
                    let start = format!("{field}: {text:?} ");
                    assert_eq!(
                        problems.len(),
                        usize::from(!is_good),
                        "{field}, {text:?}: {problems:?}"
                    );
                    assert!(
                        problems.iter().all(|problem| problem.starts_with(&start)),
                        "{problems:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_host_that_clients_are_told_is_one_host() {
        let told = |host: Option<&str>| {
            let listener = ExternalListener {
                type_: ExternalType::NodePort,
                node_port: None,
                host_port: None,
                load_balancer_class: None,
                advertised_host: host.map(str::to_owned),
                annotations: BTreeMap::new(),
            };
            let mut forms = Forms::default();
            forms.listener("spec.listeners.external", Some(&listener));
            forms.problems
        };
        for host in [
            None,
            Some("mq.example.com"),
            Some("10.0.0.1"),
            Some("fd00::1"),
        ] {
            assert_eq!(told(host), Vec::<String>::new());
        }
        for host in [
            "h:10911",
            "http://h",
            "0.0.0.0",
            "::",
            "a..b",
            "10.0.0.300",
            "a:b",
            "",
        ] {
            let text = told(Some(host)).join("; ");
            assert!(
                text.starts_with("spec.listeners.external.advertisedHost") && text.contains(host),
                "{text}"
            );
        }
        let mut forms = Forms::default();
        forms.listener("x", None);
        assert!(forms.problems.is_empty());
    }
}
