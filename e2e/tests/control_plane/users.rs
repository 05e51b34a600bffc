//! Keys of clusters, and users: with the rights of the chart, which do not let the operator list Secrets.

use std::path::Path;
use std::process::Stdio;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::ResourceExt;
use rmq_crds::{BrokerGroup, NameServer, User};
use serde_json::{Value, json};

use crate::world::{Operator, Outcome, World, demand, group, name_server, text};

/// An operator in `namespace`, as the account of the chart.
async fn of_the_chart(world: &World, namespace: &str) -> Result<Operator, String> {
    let system = format!("{namespace}-system");
    for name in [namespace, &system] {
        world.namespace(name).await?;
    }
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/rmq-operator");
    let mut helm = world.plane.tool("helm");
    helm.args(["template", "rmq-operator"]).arg(chart).args([
        "--namespace",
        &system,
        "--set",
        &format!("watchNamespaces={{{namespace}}}"),
        "--kube-version",
        "v1.34.10",
        "--show-only",
        "templates/rbac.yaml",
    ]);
    let rights = helm.output().map_err(text)?;
    demand(
        rights.status.success(),
        String::from_utf8_lossy(&rights.stderr),
    )?;
    let mut kubectl = world.plane.tool("kubectl");
    kubectl
        .args(["apply", "--server-side", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = kubectl.spawn().map_err(text)?;
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, &rights.stdout).map_err(text)?;
    }
    demand(child.wait().map_err(text)?.success(), "no rights")?;
    let account = format!("system:serviceaccount:{system}:rmq-operator");
    let kubeconfig = world.plane.kubeconfig_as(&account)?;
    Ok(Operator::with_rights(world, namespace, &system, kubeconfig))
}

fn closed(name: &str, authentication: Value) -> Value {
    let mut object = name_server(name);
    object["spec"]["authentication"] = authentication;
    object
}

/// The files of a Secret.
async fn files(
    world: &World,
    namespace: &str,
    name: &str,
) -> Result<Vec<(String, String)>, String> {
    let secret = world.api::<Secret>(namespace).get(name).await;
    let data = secret.map_err(text)?.data.unwrap_or_default();
    let file = |(file, ByteString(bytes))| Ok((file, String::from_utf8(bytes).map_err(text)?));
    data.into_iter().map(file).collect()
}

/// No object that people may read without a right to Secrets has one of these texts.
async fn hidden(world: &World, namespace: &str, secrets: &[String]) -> Outcome {
    let mut kubectl = world.plane.tool("kubectl");
    kubectl.args([
        "-n",
        namespace,
        "get",
        "rmq,configmaps,statefulsets,services,events,pods",
        "-o",
        "yaml",
    ]);
    let shown = kubectl.output().map_err(text)?;
    demand(
        shown.status.success(),
        String::from_utf8_lossy(&shown.stderr),
    )?;
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("control_plane.log");
    let log = std::fs::read_to_string(log).map_err(text)?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for secret in secrets {
        demand(!shown.contains(secret), "an object shows a secret")?;
        demand(!log.contains(secret), "the log shows a secret")?;
    }
    Ok(())
}

/// Passwords and keys in the files of a Secret.
fn secrets(files: &[(String, String)]) -> Vec<String> {
    let of_file = |(_, text): &(String, String)| {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let password = json["password"].as_str().or(json["secretKey"].as_str());
        password.unwrap_or(text).to_owned()
    };
    files.iter().map(of_file).collect()
}

/// The operator makes the keys of a cluster once, servers have them in files, and a Secret that is lost is not replaced.
pub(crate) fn keys_of_a_cluster(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "keys";
        let operator = of_the_chart(world, namespace).await?;
        let object = closed("main", json!({"enabled": true}));
        world.create::<NameServer>(namespace, object).await?;
        let both = json!({"authentication": {}, "authorization": {}});
        world
            .create::<BrokerGroup>(namespace, group("a", both))
            .await?;
        let has_keys = |set: &StatefulSet| {
            let yaml = serde_json::to_string(set).unwrap_or_default();
            yaml.contains(r#""secretName":"main-access""#)
        };
        for workload in ["main-namesrv", "a-broker"] {
            world
                .wait::<StatefulSet>(namespace, workload, "servers with keys", has_keys)
                .await?;
        }
        let made = files(world, namespace, "main-access").await?;
        let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
        demand(
            names == ["broker.json", "operator.json", "users.key"],
            format!("{names:?}"),
        )?;
        let secrets = secrets(&made);
        demand(
            secrets.iter().all(|secret| secret.len() >= 32),
            "keys are random",
        )?;
        for (workload, file, lines) in [
            (
                "main-namesrv",
                "namesrv.yaml",
                &[
                    "authenticationEnabled: true",
                    "authorizationEnabled: false",
                    "brokerIdentities: '*=rmq-broker'",
                ][..],
            ),
            (
                "a-broker",
                "broker.yaml",
                &[
                    "authenticationEnabled: true",
                    "authorizationEnabled: true",
                    "userSecretsKeyFile: /etc/rmq-access/users.key",
                ],
            ),
        ] {
            let map = world.api::<ConfigMap>(namespace).get(workload).await;
            let data = map.map_err(text)?.data.unwrap_or_default();
            for line in lines {
                let has = data[file].lines().any(|has| has == *line);
                demand(has, format!("{file} has no {line}: {}", data[file]))?;
            }
        }
        let secret = world.api::<Secret>(namespace).get("main-access").await;
        demand(
            secret.map_err(text)?.owner_references().is_empty(),
            "the key of stored passwords must stay with the volumes",
        )?;
        // The second look at it is no reason for a new one.
        let again = json!({"metadata": {"annotations": {"look": "again"}}});
        world.merge::<NameServer>(namespace, "main", again).await?;
        world
            .wait(
                namespace,
                "main",
                "the Secret is known",
                |object: &NameServer| {
                    let status = object.status.as_ref();
                    status.is_some_and(|of| of.access_secret.as_deref() == Some("main-access"))
                },
            )
            .await?;
        demand(
            files(world, namespace, "main-access").await? == made,
            "the keys were made twice",
        )?;
        let api = world.api::<Secret>(namespace);
        api.delete("main-access", &Default::default())
            .await
            .map_err(text)?;
        let again = json!({"metadata": {"annotations": {"look": "once more"}}});
        world.merge::<NameServer>(namespace, "main", again).await?;
        world
            .wait_condition::<NameServer>(
                namespace,
                "main",
                ["Stalled", "True", "SecretLost", "main-access"],
            )
            .await?;
        demand(
            api.get_opt("main-access").await.map_err(text)?.is_none(),
            "another key would make stored passwords unreadable",
        )?;
        hidden(world, namespace, &secrets).await?;
        operator.stop().await
    })
}

/// A Secret that an object names is read and never made; name servers wait for brokers that do not sign.
pub(crate) fn keys_of_their_own(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "own-keys";
        let operator = of_the_chart(world, namespace).await?;
        world.cluster(namespace).await?;
        let needs = json!({"spec": {"authentication": {"enabled": true}}});
        world.merge::<BrokerGroup>(namespace, "a", needs).await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                [
                    "Stalled",
                    "True",
                    "InvalidSpec",
                    "NameServer main has no spec.authentication",
                ],
            )
            .await?;
        let none = json!({"spec": {"authentication": null}});
        world.merge::<BrokerGroup>(namespace, "a", none).await?;
        // The pods of its brokers stay as they are.
        let paused = json!({"metadata": {"annotations": {"rmq.rs/paused": "true"}}});
        world
            .wait::<k8s_openapi::api::core::v1::Pod>(namespace, "a-broker-0", "the broker", |_| {
                true
            })
            .await?;
        world.merge::<BrokerGroup>(namespace, "a", paused).await?;
        let named = json!({"spec": {"authentication": {"secretName": "ours"}}});
        world.merge::<NameServer>(namespace, "main", named).await?;
        world
            .wait_condition::<NameServer>(
                namespace,
                "main",
                [
                    "Stalled",
                    "True",
                    "SecretNotFound",
                    "there is no Secret ours",
                ],
            )
            .await?;
        let wrong = json!({"metadata": {"name": "ours"}, "stringData": {
            "operator.json": "planted-own-secret",
            "broker.json": r#"{"accessKey":"brokers","secretKey":"planted-broker-secret"}"#,
            "users.key": "dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgeW8=",
        }});
        world.create::<Secret>(namespace, wrong).await?;
        world
            .wait_condition::<NameServer>(
                namespace,
                "main",
                [
                    "Stalled",
                    "True",
                    "SecretInvalid",
                    "operator.json: it is not JSON",
                ],
            )
            .await?;
        let right = json!({"stringData": {
            "operator.json": r#"{"username":"ours","password":"planted-own-secret"}"#,
        }});
        world.merge::<Secret>(namespace, "ours", right).await?;
        world
            .wait_condition::<NameServer>(
                namespace,
                "main",
                [
                    "Progressing",
                    "True",
                    "AuthenticationPending",
                    "do not yet: a",
                ],
            )
            .await?;
        let map = world.api::<ConfigMap>(namespace).get("main-namesrv").await;
        let data = map.map_err(text)?.data.unwrap_or_default();
        demand(
            !data["namesrv.yaml"].contains("authentication"),
            "name servers would refuse brokers that do not sign",
        )?;
        // Its brokers get the keys, and then the name servers ask for signatures.
        let goes_on = json!({"metadata": {"annotations": {"rmq.rs/paused": null}}});
        world.merge::<BrokerGroup>(namespace, "a", goes_on).await?;
        world
            .wait::<ConfigMap>(
                namespace,
                "main-namesrv",
                "signatures are asked for",
                |map| {
                    let data = map.data.as_ref();
                    data.is_some_and(|data| {
                        data["namesrv.yaml"].contains("brokerIdentities: '*=brokers'")
                    })
                },
            )
            .await?;
        let planted = ["planted-own-secret", "planted-broker-secret"].map(str::to_owned);
        hidden(world, namespace, &planted).await?;
        let events = world
            .api::<Event>(namespace)
            .list(&Default::default())
            .await;
        let made = events.map_err(text)?.items.into_iter();
        let made = made.filter(|event| event.reason.as_deref() == Some("KeysMade"));
        demand(made.count() == 0, "it made keys that it was given")?;
        operator.stop().await
    })
}

fn user(name: &str, more: Value) -> Value {
    let mut spec = json!({"nameServerRef": {"name": "main"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A user gets a Secret for workloads before there are brokers, keeps the password in it, and takes nobody's Secret or name.
pub(crate) fn users(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "people";
        let operator = of_the_chart(world, namespace).await?;
        let open = name_server("main");
        world.create::<NameServer>(namespace, open).await?;
        let right = json!({"rights": [{"topic": "orders", "actions": ["Pub"]}]});
        world
            .create::<User>(namespace, user("checkout", right))
            .await?;
        world
            .wait_condition::<User>(
                namespace,
                "checkout",
                ["Stalled", "True", "NoAuthentication", "spec.authentication"],
            )
            .await?;
        let keyed = json!({"spec": {"authentication": {"enabled": false}}});
        world
            .merge::<NameServer>(namespace, "main", keyed)
            .await?;
        // The pods of its servers do not run: the Secret is there, and the brokers are waited for.
        world
            .wait_condition::<User>(
                namespace,
                "checkout",
                ["Progressing", "True", "ClusterUnreachable", ""],
            )
            .await?;
        let made = files(world, namespace, "checkout-binding").await?;
        let entry = |name: &str| {
            let found = made.iter().find(|(file, _)| file == name);
            found.map(|(_, text)| text.clone()).unwrap_or_default()
        };
        demand(
            entry("type") == "rocketmq"
                && entry("provider") == "rmq"
                && entry("username") == "checkout"
                && entry("nameServer") == format!("{}:9876", entry("host")),
            format!("the binding has {:?}", made.iter().map(|(file, _)| file).collect::<Vec<_>>()),
        )?;
        let password = entry("password");
        demand(password.len() >= 32, "the password is random")?;
        let api = world.api::<Secret>(namespace);
        let binding = api.get("checkout-binding").await.map_err(text)?;
        demand(
            binding.type_.as_deref() == Some("servicebinding.io/rocketmq")
                && binding.owner_references().len() == 1,
            "the Secret goes with its user",
        )?;
        // A change by hand is changed back; the password is what the Secret says.
        let spoilt = json!({"stringData": {"username": "somebody"}});
        world
            .merge::<Secret>(namespace, "checkout-binding", spoilt)
            .await?;
        world
            .merge::<User>(namespace, "checkout", again_at("1"))
            .await?;
        world
            .wait::<Secret>(namespace, "checkout-binding", "the user's name", |secret| {
                let data = secret.data.as_ref();
                data.is_some_and(|data| data["username"].0 == b"checkout")
            })
            .await?;
        demand(
            files(world, namespace, "checkout-binding").await? == made,
            "the password was made twice",
        )?;
        // Its own password, which is missing first.
        let named = json!({"passwordSecret": {"name": "own"}});
        world
            .create::<User>(namespace, user("billing", named))
            .await?;
        world
            .wait_condition::<User>(
                namespace,
                "billing",
                ["Stalled", "True", "SecretNotFound", "there is no Secret own"],
            )
            .await?;
        let own = json!({"metadata": {"name": "own"}, "stringData": {"password": "planted-user-password\n"}});
        world.create::<Secret>(namespace, own).await?;
        world.merge::<User>(namespace, "billing", again_at("2")).await?;
        world
            .wait::<Secret>(namespace, "billing-binding", "its own password", |secret| {
                let data = secret.data.as_ref();
                data.is_some_and(|data| data["password"].0 == b"planted-user-password")
            })
            .await?;
        // What belongs to others.
        let foreign = json!({"metadata": {"name": "audit-binding"}, "stringData": {"a": "b"}});
        world.create::<Secret>(namespace, foreign).await?;
        world
            .create::<User>(namespace, user("audit", json!({})))
            .await?;
        world
            .wait_condition::<User>(
                namespace,
                "audit",
                ["Stalled", "True", "NameTaken", "audit-binding"],
            )
            .await?;
        let reserved = json!({"userName": "rmq-operator"});
        world
            .create::<User>(namespace, user("root", reserved))
            .await?;
        let second = json!({"userName": "checkout"});
        world
            .create::<User>(namespace, user("second", second))
            .await?;
        for name in ["root", "second"] {
            world
                .wait_condition::<User>(
                    namespace,
                    name,
                    ["Stalled", "True", "ResourceConflict", ""],
                )
                .await?;
        }
        let wrong = json!({"rights": [{"topic": "a", "actions": ["Pub"], "sourceIps": ["home"]}]});
        world
            .create::<User>(namespace, user("wrong", wrong))
            .await?;
        world
            .wait_condition::<User>(
                namespace,
                "wrong",
                ["Stalled", "True", "InvalidSpec", "spec.rights[0]"],
            )
            .await?;
        hidden(
            world,
            namespace,
            &[password, "planted-user-password".to_owned()],
        )
        .await?;
        // No broker ever served, but nobody knows that without BrokerGroups: it is waited for, until a person says otherwise.
        let users = world.api::<User>(namespace);
        users
            .delete("checkout", &Default::default())
            .await
            .map_err(text)?;
        world
            .wait_condition::<User>(
                namespace,
                "checkout",
                ["Progressing", "True", "ClusterUnreachable", "the object goes when"],
            )
            .await?;
        let left = json!({"metadata": {"annotations": {"rmq.rs/managed": "false"}}});
        world.merge::<User>(namespace, "checkout", left).await?;
        world.wait_gone::<User>(namespace, "checkout").await?;
        world
            .wait_gone::<Secret>(namespace, "checkout-binding")
            .await?;
        operator.stop().await
    })
}

fn again_at(time: &str) -> Value {
    json!({"metadata": {"annotations": {"look": time}}})
}
