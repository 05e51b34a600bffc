//! The charts as Helm renders them, without a cluster: goldens, what their values may be, and what the operator may do.
//!
//! `INSTA_UPDATE=always` writes the goldens anew, `RMQ_UPDATE_DOCS=1` the schema of `rmq-cluster`, which is made of the definitions in `crds/`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use serde_json::{Map, Value, json};

type Test = fn();

const ALL: &[(&str, Test)] = &[
    ("goldens", goldens),
    ("definitions_stay", definitions_stay),
    ("rights", rights),
    ("operator_is_restricted", operator_is_restricted),
    ("networks_are_closed", networks_are_closed),
    ("wrong_values_are_refused", wrong_values_are_refused),
    ("schema_of_the_cluster", schema_of_the_cluster),
];
/// A quantity of Kubernetes that is not negative (`k8s.io/apimachinery/pkg/api/resource/quantity.go`).
const QUANTITY: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
const CHARTS: [&str; 3] = ["rmq-crds", "rmq-operator", "rmq-cluster"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let is_missing = !helm().exists();
    if is_missing && !in_ci && !arguments.list {
        #[expect(clippy::print_stdout, reason = "this is the test runner's output")]
        {
            println!(
                "charts: skipped: there is no {}; try: cargo xtask cluster build",
                helm().display()
            );
        }
    }
    let trials = ALL.iter().map(|(name, run)| {
        let trial = Trial::test(*name, move || {
            run();
            Ok(())
        });
        trial.with_ignored_flag(is_missing && !in_ci)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn helm() -> PathBuf {
    rmq_lab::lab_dir().join("bin/helm")
}

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What Helm makes of a chart, or why it refuses the values.
fn render(chart: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(helm())
        .args(["template", "main"])
        .arg(own("charts").join(chart))
        .args(["--namespace", "shop", "--kube-version", "v1.34.10"])
        .args(args)
        .output()
        .expect("helm starts");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("text"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn full(chart: &str) -> String {
    let file = chart.replace("rmq-", "e2e/tests/charts/full-");
    own(&format!("{file}.yaml")).display().to_string()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(yaml);
    documents.filter(|object| !object.is_null()).collect()
}

fn list<'a>(of: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    let values = of[field].as_array().into_iter().flatten();
    values.filter_map(Value::as_str)
}

fn goldens() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for chart in &CHARTS[1..] {
            let text = render(chart, &[]).expect("rendered");
            insta::assert_snapshot!(format!("{chart}-default"), text);
            let text = render(chart, &["--values", &full(chart)]).expect("rendered");
            insta::assert_snapshot!(format!("{chart}-full"), text);
        }
    });
}

/// The definitions are those of `crds/`, and Helm keeps them, unless it is told not to.
fn definitions_stay() {
    for (args, keep) in [(&[][..], Some("keep")), (&["--set", "keep=false"], None)] {
        let mut found = objects(&render("rmq-crds", args).expect("rendered"));
        assert_eq!(found.len(), 6);
        for definition in &mut found {
            let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(policy.as_str(), keep);
            let metadata = definition["metadata"].as_object_mut().expect("metadata");
            metadata.remove("annotations");
            let name = metadata["name"].as_str().expect("a name");
            let plural = name.trim_end_matches(".rmq.rs").to_owned();
            assert_eq!(*definition, definition_of(&plural), "{plural}");
        }
    }
}

/// A definition in `crds/`.
fn definition_of(plural: &str) -> Value {
    let path = own(&format!("crds/{plural}.yaml"));
    yaml(&std::fs::read_to_string(path).expect("a definition"))
}

/// Each right has its reason, none is a wildcard, none lists Secrets or reaches into pods; with a list of namespaces there are none elsewhere.
fn rights() {
    for (args, namespaces) in [
        (vec![], None),
        (
            vec!["--set", "watchNamespaces={a,b}"],
            Some(["shop", "a", "b"]),
        ),
    ] {
        let text = render("rmq-operator", &args).expect("rendered");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let (before, line) = (pair[0], pair[1]);
            assert!(
                !line.starts_with("- apiGroups:") || before.starts_with("# "),
                "a right without a reason: {line}"
            );
        }
        let all = objects(&text);
        let kind = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
        for object in &all {
            match namespaces {
                None => {}
                Some(allowed) => {
                    assert!(!kind(object).starts_with("Cluster"), "{}", kind(object));
                    let namespace = object["metadata"]["namespace"].as_str();
                    assert!(namespace.is_some_and(|name| allowed.contains(&name)));
                }
            }
        }
        let roles: Vec<&Value> = all
            .iter()
            .filter(|object| kind(object).ends_with("Role"))
            .collect();
        assert_eq!(roles.len(), namespaces.map_or(2, |all| all.len()));
        for rule in roles
            .iter()
            .flat_map(|role| role["rules"].as_array().expect("rules"))
        {
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(list(rule, field).next().is_some(), "{rule}: no {field}");
                assert!(
                    list(rule, field).all(|value| !value.contains('*')),
                    "a wildcard: {rule}"
                );
            }
            for resource in list(rule, "resources") {
                // One by one, by names that it knows.
                if resource.starts_with("secrets") {
                    assert_eq!(resource, "secrets");
                    let allowed = ["get", "create", "update", "patch"];
                    assert!(list(rule, "verbs").all(|verb| allowed.contains(&verb)));
                }
                assert!(!resource.starts_with("pods/"), "{rule}");
                assert!(!resource.starts_with("cluster"), "{rule}");
                // It makes the roles of brokers; without escalate and bind it gives nothing that it does not have.
                if resource.starts_with("role") {
                    assert!(list(rule, "verbs").all(|verb| verb != "delete"), "{rule}");
                }
            }
            for verb in list(rule, "verbs") {
                let wrong = ["escalate", "bind", "impersonate", "deletecollection"];
                assert!(!wrong.contains(&verb), "{rule}");
            }
        }
    }
}

/// What Pod Security "restricted" asks for, and a root file system that cannot be written.
fn operator_is_restricted() {
    let all = objects(&render("rmq-operator", &[]).expect("rendered"));
    let deployment = all.iter().find(|object| object["kind"] == "Deployment");
    let pod = &deployment.expect("a Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
}

/// The ports of a policy with who reaches them: the names of namespaces, and labels of pods.
fn reached(policy: &Value) -> Vec<(i64, Option<Vec<String>>)> {
    let mut all = Vec::new();
    for rule in policy["spec"]["ingress"].as_array().expect("rules") {
        let from = rule["from"].as_array().map(|peers| {
            let peer = |peer: &Value| {
                let labels = |selector: &str| {
                    let labels = peer[selector]["matchLabels"].as_object().cloned();
                    labels.unwrap_or_default().into_values()
                };
                let labels = labels("namespaceSelector").chain(labels("podSelector"));
                let labels: Vec<String> = labels
                    .map(|value| value.as_str().unwrap_or_default().to_owned())
                    .collect();
                labels.join("/")
            };
            peers.iter().map(peer).collect()
        });
        for port in rule["ports"].as_array().expect("ports") {
            all.push((port["port"].as_i64().expect("a port"), from.clone()));
        }
    }
    all
}

/// Members alone reach the replication port, the operator and monitoring the management ports; clients reach the rest, or those that are named.
fn networks_are_closed() {
    let policies = |args: &[&str]| -> Vec<Value> {
        let all = objects(&render("rmq-cluster", args).expect("rendered")).into_iter();
        all.filter(|object| object["kind"] == "NetworkPolicy")
            .collect()
    };
    assert!(policies(&["--set", "networkPolicies.enabled=false"]).is_empty());
    let all = policies(&[]);
    let names: Vec<_> = all.iter().map(|one| &one["metadata"]["name"]).collect();
    assert_eq!(
        names,
        [
            "main-name-servers",
            "main-brokers",
            "main-a-members",
            "main-b-members"
        ]
    );
    let watchers = ["rmq-system/rmq-operator", "monitoring"].map(str::to_owned);
    let watchers = Some(watchers.to_vec());
    let name_servers = [(9876, None), (9878, watchers.clone())];
    assert_eq!(reached(&all[0]), name_servers);
    let brokers = [(10911, None), (10909, None), (10999, watchers)];
    assert_eq!(reached(&all[1]), brokers);
    let members = vec!["broker/main-a".to_owned()];
    assert_eq!(reached(&all[2]), [(10912, Some(members))]);

    let few = policies(&[
        "--set-json",
        r#"networkPolicies.monitoring=[]"#,
        "--set-json",
        r#"networkPolicies.clients=[{"namespaceSelector":{"matchLabels":{"team":"shop"}}}]"#,
        "--set",
        "networkPolicies.operatorNamespace=ops",
    ]);
    let operator = "ops/rmq-operator".to_owned();
    let clients = vec!["main".to_owned(), operator.clone(), "shop".to_owned()];
    assert_eq!(
        reached(&few[0]),
        [(9876, Some(clients)), (9878, Some(vec![operator]))]
    );
}

fn wrong_values_are_refused() {
    for (chart, set, wanted) in [
        ("rmq-crds", "keep=maybe", "got string, want boolean"),
        ("rmq-crds", "keeep=true", "'keeep' not allowed"),
        ("rmq-operator", "replicas=0", "minimum: got 0, want 1"),
        ("rmq-operator", "replica=2", "'replica' not allowed"),
        ("rmq-operator", "image.pullPolicy=Often", "one of 'Always'"),
        ("rmq-operator", "watchNamespaces={Shop}", "does not match"),
        ("rmq-operator", "watchNamespaces={a,a}", "equal"),
        (
            "rmq-operator",
            "resources.limit.cpu=1",
            "'limit' not allowed",
        ),
        (
            "rmq-operator",
            "tolerations[0].keys=a",
            "'keys' not allowed",
        ),
        ("rmq-cluster", "nameServers.replicas=2", "'nameServers' not"),
        (
            "rmq-cluster",
            "networkPolicies.enabled=sometimes",
            "got string, want boolean",
        ),
        (
            "rmq-cluster",
            "networkPolicies.clients[0].podSelektor.a=b",
            "'podSelektor' not allowed",
        ),
        ("rmq-cluster", "nameServer.replicas=0", "minimum: got 0"),
        (
            "rmq-cluster",
            "brokerDefaults.storage.sise=1Gi",
            "'sise' not allowed",
        ),
        ("rmq-cluster", "brokerDefaults.config.flush=Now", "one of"),
        (
            "rmq-cluster",
            "brokerGroups.a.brokerName=x",
            "'brokerName' not allowed",
        ),
        (
            "rmq-cluster",
            "brokerGroups.a b.replicas=1",
            "'a b' does not match",
        ),
        // There is no such suffix.
        (
            "rmq-operator",
            "resources.limits.memory=4GB",
            "'4GB' does not match",
        ),
        (
            "rmq-cluster",
            "brokerDefaults.resources.limits.memory=4GB",
            "'4GB' does not match",
        ),
        (
            "rmq-cluster",
            "nameServer.resources.requests.memory=-1Gi",
            "'-1Gi' does not match",
        ),
        (
            "rmq-cluster",
            "brokerGroups.a.storage.size=100gb",
            "'100gb' does not match",
        ),
        ("rmq-cluster", "topics.orders.queues=many", "want integer"),
        // An empty value would mean "none" for what the chart has by itself, and "the defaults" for others.
        ("rmq-cluster", "topics.orders=null", "got null, want object"),
        ("rmq-cluster", "topics.orders.queue=4", "'queue' not"),
        (
            "rmq-cluster",
            "subscriptionGroups.billing.retry.max=1",
            "'max' not",
        ),
    ] {
        match render(chart, &["--set", set]) {
            Ok(_) => panic!("{chart} takes {set}"),
            Err(error) => assert!(error.contains(wanted), "{chart} {set}: {error}"),
        }
    }
}

/// The values of `rmq-cluster` are specs of our kinds: their schema is that of the definitions, without what the chart itself says.
fn schema_of_the_cluster() {
    let spec = |plural: &str, of_the_chart: &[&str]| {
        let definition = definition_of(plural);
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut spec = closed(&schema["properties"]["spec"]);
        // Defaults and a group's own values are merged first; the API server sees whether all is there.
        spec.remove("required");
        let properties = spec["properties"].as_object_mut().expect("properties");
        for field in of_the_chart {
            let field = properties.remove(*field);
            assert!(field.is_some(), "{plural} has no such field");
        }
        spec
    };
    let named = |pattern: &str, of: &str| {
        let of = format!("#/$defs/{of}");
        json!({"type": "object", "propertyNames": {"pattern": pattern}, "additionalProperties": {"$ref": of}})
    };
    let mut broker_groups = named("^[a-zA-Z0-9_-]+$", "brokerGroup");
    broker_groups["minProperties"] = json!(1);
    let wanted = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "global": {"type": "object"},
            "tls": spec("nameservers", &[])["properties"]["tls"].clone(),
            "nameServer": spec("nameservers", &[]),
            "brokerDefaults": {"$ref": "#/$defs/brokerGroup"},
            "brokerGroups": broker_groups,
            "topics": named("^[%|a-zA-Z0-9_-]+$", "topic"),
            "subscriptionGroups": named("^[%|a-zA-Z0-9_-]+$", "subscriptionGroup"),
            "users": named("^[!-~]+$", "user"),
            "networkPolicies": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "enabled": {"type": "boolean"},
                    "operatorNamespace": {
                        "type": "string",
                        "maxLength": 63,
                        "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                    },
                    "monitoring": {"$ref": "#/$defs/peers"},
                    "clients": {"$ref": "#/$defs/peers"},
                },
            },
        },
        "$defs": {
            "brokerGroup": spec("brokergroups", &["nameServerRef", "brokerName"]),
            "user": spec("users", &["nameServerRef", "userName"]),
            // The API server looks into selectors.
            "peers": {
                "type": "array",
                "maxItems": 64,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "minProperties": 1,
                    "properties": {
                        "ipBlock": {"type": "object"},
                        "namespaceSelector": {"type": "object"},
                        "podSelector": {"type": "object"},
                    },
                },
            },
            "topic": spec("topics", &["nameServerRef", "topicName"]),
            "subscriptionGroup": spec("subscriptiongroups", &["nameServerRef", "groupName"]),
        }
    });
    let mut text = String::new();
    write(&wanted, "", &mut text);
    let wanted = text + "\n";
    let path = own("charts/rmq-cluster/values.schema.json");
    if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("written");
    }
    let found = std::fs::read_to_string(&path).expect("a schema");
    assert!(
        found == wanted,
        "{} is not current; RMQ_UPDATE_DOCS=1 cargo test -p rmq-e2e --test charts",
        path.display()
    );
}

/// JSON for people: what fits into a line is one.
fn write(value: &Value, indent: &str, out: &mut String) {
    let line = value.to_string();
    match value {
        Value::Object(fields) if line.len() > 100 => {
            let mut before = "{";
            for (name, field) in fields {
                out.push_str(&format!("{before}\n{indent}  \"{name}\": "));
                write(field, &format!("{indent}  "), out);
                before = ",";
            }
            out.push_str(&format!("\n{indent}}}"));
        }
        _ => out.push_str(&line),
    }
}

/// A structural schema of Kubernetes as JSON schema that refuses what it does not name.
fn closed(schema: &Value) -> Map<String, Value> {
    let mut closed = Map::new();
    for (key, value) in schema.as_object().expect("a schema") {
        match key.as_str() {
            "properties" => {
                let fields = value.as_object().expect("properties").iter();
                let fields = fields.map(|(name, field)| (name.clone(), closed_value(field)));
                closed.insert(key.clone(), Value::Object(fields.collect()));
                closed.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            "items" | "additionalProperties" if value.is_object() => {
                closed.insert(key.clone(), closed_value(value));
            }
            // Text for people is in the comments of values.yaml and in kubectl explain.
            "description" | "default" | "format" | "nullable" => {}
            key if key.starts_with("x-kubernetes-") => {}
            _ => {
                closed.insert(key.clone(), value.clone());
            }
        }
    }
    if schema["x-kubernetes-int-or-string"] == true {
        // Only quantities are such values here.
        closed.insert("type".to_owned(), json!(["integer", "string"]));
        closed.insert("pattern".to_owned(), json!(QUANTITY));
    }
    if schema["nullable"] == true
        && let Some(Value::String(kind)) = closed.get("type")
    {
        let or_nothing = json!([kind, "null"]);
        closed.insert("type".to_owned(), or_nothing);
        if let Some(Value::Array(values)) = closed.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    }
    closed
}

fn closed_value(schema: &Value) -> Value {
    Value::Object(closed(schema))
}
