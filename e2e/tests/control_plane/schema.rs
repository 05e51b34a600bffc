//! The definitions as the API server understands them: it is the evaluator of their rules.

use std::collections::BTreeSet;
use std::path::Path;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use rmq_crds::{BrokerGroup, NameServer, SubscriptionGroup, Topic};
use serde_json::{Value, json};

use crate::world::{Outcome, World, demand, group, name_server, text};

/// A rule with what it lets through and what it does not.
struct Case {
    kind: &'static str,
    /// The rule's message.
    message: &'static str,
    /// What there is before. Without it the two are objects; with it they are changes of it.
    before: Option<Value>,
    accepted: Value,
    refused: Value,
}

fn topic(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Rules that look at one object.
fn of_objects() -> Vec<Case> {
    let case = |kind, message, accepted, refused| Case {
        kind,
        message,
        before: None,
        accepted,
        refused,
    };
    let mut all = Vec::new();
    let long = "n".repeat(41);
    let just = "n".repeat(40);
    let too_long =
        "the name has at most 40 characters, as names of pods and services are made of it";
    let no_label = "the name begins with a letter and has small letters, digits and - only, as names of services are made of it";
    let named_group = |name: &str| group(name, json!({}));
    all.push(case(
        "BrokerGroup",
        too_long,
        named_group(&just),
        named_group(&long),
    ));
    all.push(case(
        "NameServer",
        too_long,
        name_server(&just),
        name_server(&long),
    ));
    all.push(case(
        "BrokerGroup",
        no_label,
        named_group("a-1"),
        named_group("1a"),
    ));
    all.push(case(
        "NameServer",
        no_label,
        name_server("main"),
        name_server("ma.in"),
    ));

    let storage = |storage: Value| group("s", json!({"storage": storage}));
    all.push(case(
        "BrokerGroup",
        "either size (a volume that stays), or ephemeral: true (messages are lost with the pod)",
        storage(json!({"size": "1Gi", "ephemeral": false})),
        storage(json!({"size": "1Gi", "ephemeral": true})),
    ));
    all.push(case(
        "BrokerGroup",
        "size is a quantity such as 100Gi",
        storage(json!({"size": "0.5Ti"})),
        storage(json!({"size": "-1Gi"})),
    ));
    all.push(case(
        "BrokerGroup",
        "size is a quantity such as 100Gi",
        storage(json!({"size": 1_073_741_824})),
        storage(json!({"size": "100gb"})),
    ));
    for (kind, with) in [
        (
            "BrokerGroup",
            (|resources| group("q", json!({"resources": resources}))) as fn(Value) -> Value,
        ),
        (
            "NameServer",
            |resources| json!({"metadata": {"name": "q"}, "spec": {"resources": resources}}),
        ),
    ] {
        for (part, message) in [
            (
                "limits",
                "limits are quantities such as 500m, 2, 4Gi or 4G; there is no suffix KB, MB or GB",
            ),
            (
                "requests",
                "requests are quantities such as 500m, 2, 4Gi or 4G; there is no suffix KB, MB or GB",
            ),
        ] {
            for wrong in ["4GB", "4 Gi", "-1", "", "much"] {
                all.push(case(
                    kind,
                    message,
                    with(json!({part: {"cpu": 2, "memory": "4G", "ephemeral-storage": "0.5Gi"}})),
                    with(json!({part: {"cpu": 2, "memory": wrong}})),
                ));
            }
        }
    }
    type Wrap = fn(Value) -> Value;
    let groups: Wrap = |listener| group("l", json!({"listeners": {"external": listener}}));
    let name_servers: Wrap =
        |listener| json!({"metadata": {"name": "l"}, "spec": {"externalListener": listener}});
    for (kind, with) in [("BrokerGroup", groups), ("NameServer", name_servers)] {
        let balanced = with(json!({"type": "LoadBalancer", "loadBalancerClass": "x"}));
        all.push(case(
            kind,
            "hostPort belongs to type HostPort",
            with(json!({"type": "HostPort", "hostPort": 30911})),
            with(json!({"type": "NodePort", "hostPort": 30911})),
        ));
        all.push(case(
            kind,
            "type HostPort needs hostPort",
            with(json!({"type": "NodePort"})),
            with(json!({"type": "HostPort"})),
        ));
        all.push(case(
            kind,
            "nodePort belongs to type NodePort",
            with(json!({"type": "NodePort", "nodePort": 30911})),
            with(json!({"type": "LoadBalancer", "nodePort": 30911})),
        ));
        all.push(case(
            kind,
            "loadBalancerClass belongs to type LoadBalancer",
            balanced,
            with(json!({"type": "NodePort", "loadBalancerClass": "x"})),
        ));
    }
    let env = "env: POD_NAME, POD_INDEX, RMQ_BROKER_… and RMQ_NAMESRV_… are set by the operator; settings belong into config";
    let pod = |name: &str| json!({"env": [{"name": name, "value": "x"}]});
    all.push(case(
        "BrokerGroup",
        env,
        group("e", json!({"pod": pod("RMQ_LOG")})),
        group("e", json!({"pod": pod("RMQ_BROKER_DATA_DIR")})),
    ));
    all.push(case(
        "NameServer",
        env,
        json!({"metadata": {"name": "e"}, "spec": {"pod": pod("RMQ_LOG")}}),
        json!({"metadata": {"name": "e"}, "spec": {"pod": pod("RMQ_NAMESRV_LISTEN")}}),
    ));
    all.push(case(
        "BrokerGroup",
        env,
        group("e", json!({"pod": pod("HOME")})),
        group("e", json!({"pod": pod("POD_INDEX")})),
    ));
    let restore = |from: Value| {
        let size = json!({"size": "1Gi"});
        group("r", json!({"restoreFrom": from, "storage": size}))
    };
    let either = "either place: s3://BUCKET/PREFIX, or claimName (a volume with backups) and place: a folder of that volume, such as prod or .";
    let below = "place is a folder below the volume of claimName, such as prod or .";
    let in_volume = |place: &str| restore(json!({"place": place, "claimName": "c"}));
    for (message, accepted, refused) in [
        (
            either,
            restore(json!({"place": "s3://b/p"})),
            restore(json!({"place": "prod"})),
        ),
        (
            either,
            in_volume("."),
            restore(json!({"place": "s3://b/p", "claimName": "c"})),
        ),
        (below, in_volume("prod/a..b"), in_volume("prod/..")),
        (below, in_volume("prod"), in_volume("/prod")),
        (
            "endpoint and region are for place: s3://…",
            restore(json!({"place": "s3://b/p", "endpoint": "http://s3:9000", "region": "eu"})),
            restore(json!({"place": "prod", "claimName": "c", "region": "eu"})),
        ),
        (
            "restoreFrom needs a volume: storage.size",
            restore(json!({"place": "s3://b/p"})),
            group("r", json!({"restoreFrom": {"place": "s3://b/p"}})),
        ),
    ] {
        all.push(case("BrokerGroup", message, accepted, refused));
    }
    let replicas = |name: &str, replicas: i32, replication: Value| {
        group(
            name,
            json!({"replicas": replicas, "replication": replication}),
        )
    };
    all.push(case(
        "BrokerGroup",
        "two brokers need your choice in replication: ackMode inSync with minInSync 1 (a broker that is alone takes messages) or 2 (it does not), or ackMode memory or flushed; three brokers have safe defaults",
        replicas("two", 2, json!({"ackMode": "inSync", "minInSync": 1})),
        replicas("two", 2, json!({"ackMode": "inSync"})),
    ));
    all.push(case(
        "BrokerGroup",
        "replication.minInSync is more than replicas: no message would ever be taken",
        replicas("min", 3, json!({"minInSync": 3})),
        replicas("min", 3, json!({"minInSync": 4})),
    ));
    all.push(case(
        "BrokerGroup",
        "minInSync above 1 promises nothing with ackMode memory or flushed, which wait for no replica: use inSync or inSyncFlushed",
        replicas("promise", 3, json!({"ackMode": "flushed", "minInSync": 1})),
        replicas("promise", 3, json!({"ackMode": "flushed", "minInSync": 2})),
    ));
    let outside = |listener: Value| {
        let spec = json!({"replicas": 3, "listeners": {"external": listener}});
        group("outside", spec)
    };
    all.push(case(
        "BrokerGroup",
        "one advertisedHost with type LoadBalancer or HostPort would be the address of all brokers of the group: leave advertisedHost out, or use type NodePort",
        outside(json!({"type": "NodePort", "advertisedHost": "mq.example"})),
        outside(json!({"type": "LoadBalancer", "advertisedHost": "mq.example"})),
    ));
    all.push(case(
        "Topic",
        "readQueues must not be less than queues: messages of the queues that are left out could not be read",
        topic("t", json!({"queues": 4, "readQueues": 8})),
        topic("t", json!({"queues": 8, "readQueues": 4})),
    ));
    for (kind, name) in [("NameServer", "tls"), ("BrokerGroup", "tls")] {
        let with = |tls: Value| match kind {
            "NameServer" => json!({"metadata": {"name": name}, "spec": {"tls": tls}}),
            _ => group(name, json!({"tls": tls})),
        };
        all.push(case(
            kind,
            "clientCertificates required keeps out nobody whose connection is plain: set mode to enforcing, or clientCertificates to optional",
            with(json!({"mode": "enforcing", "clientCertificates": "required"})),
            with(json!({"clientCertificates": "required"})),
        ));
        all.push(case(
            kind,
            "secretName is the name of a Secret: small letters, digits, - and . only",
            with(json!({"secretName": "servers.shop"})),
            with(json!({"secretName": "Servers"})),
        ));
    }
    let rights = |rights: Value| topic("u", json!({"rights": rights}));
    all.push(case(
        "User",
        "a right is about one of topic, group and cluster",
        rights(json!([{"topic": "a", "actions": ["Pub"]}])),
        rights(json!([{"topic": "a", "group": "b", "actions": ["Pub"]}])),
    ));
    all.push(case(
        "User",
        "a super user may everything: leave rights out, or super",
        topic("u", json!({"super": true})),
        topic(
            "u",
            json!({"super": true, "rights": [{"topic": "a", "actions": ["Pub"]}]}),
        ),
    ));
    all.push(case(
        "User",
        "the name has at most 63 characters, as the name of a Secret is made of it",
        topic(&"u".repeat(63), json!({})),
        topic(&"u".repeat(64), json!({})),
    ));
    let unknown = "authorization needs authentication: rules are those of users, so set authentication.enabled: true";
    let both =
        |authentication: Value| json!({"authentication": authentication, "authorization": {}});
    for (kind, with) in [
        (
            "BrokerGroup",
            (|spec| group("rules", spec)) as fn(Value) -> Value,
        ),
        (
            "NameServer",
            |spec| json!({"metadata": {"name": "rules"}, "spec": spec}),
        ),
    ] {
        all.push(case(
            kind,
            unknown,
            with(both(json!({}))),
            with(both(json!({"enabled": false}))),
        ));
    }
    all
}

/// Rules that compare an object with what it was.
fn of_changes() -> Vec<Case> {
    let mut all = Vec::new();
    let mut changes =
        |kind, before: &Value, field: &str, message, accepted: Value, refused: Value| {
            let spec = |value: Value| {
                let path = field.split('.').rev();
                path.fold(value, |inner, name| json!({ name: inner }))
            };
            all.push(Case {
                kind,
                message,
                before: Some(before.clone()),
                accepted: json!({"spec": spec(accepted)}),
                refused: json!({"spec": spec(refused)}),
            });
        };
    let kept = json!({"storage": {"size": "2Gi", "storageClassName": "fast"}, "clusterName": "c", "brokerName": "b", "restoreFrom": {"place": "s3://b"}});
    let kept = group("changes", kept);
    let reference = |name: &str| json!({"name": name});
    changes(
        "BrokerGroup",
        &kept,
        "nameServerRef",
        "nameServerRef cannot be changed: make another BrokerGroup",
        reference("main"),
        reference("other"),
    );
    let restored = "restoreFrom cannot be changed: it says what a new group begins with, so make another BrokerGroup";
    let from = |place: &str| json!({"place": place});
    for refused in [from("s3://other"), Value::Null] {
        changes(
            "BrokerGroup",
            &kept,
            "restoreFrom",
            restored,
            from("s3://b"),
            refused,
        );
    }
    changes(
        "BrokerGroup",
        &kept,
        "clusterName",
        "clusterName cannot be changed: make another BrokerGroup",
        json!("c"),
        Value::Null,
    );
    changes(
        "BrokerGroup",
        &kept,
        "brokerName",
        "brokerName cannot be changed: make another BrokerGroup",
        json!("b"),
        json!("other"),
    );
    changes(
        "BrokerGroup",
        &kept,
        "storage.size",
        "size can only grow",
        // The same in other words, and more.
        json!("2.5Gi"),
        json!("2047Mi"),
    );
    changes(
        "BrokerGroup",
        &kept,
        "storage.storageClassName",
        "storageClassName cannot be changed: make another BrokerGroup and drain this one",
        json!("fast"),
        Value::Null,
    );
    changes(
        "BrokerGroup",
        &group("changes-in-memory", json!({})),
        "storage",
        "ephemeral cannot be changed: make another BrokerGroup and drain this one",
        json!({"deletionPolicy": "Delete"}),
        json!({"ephemeral": false, "size": "1Gi"}),
    );
    changes(
        "BrokerGroup",
        &group("changes-replicas", json!({"replicas": 3})),
        "replication",
        "replication.ackMode cannot be changed while the group has replicas: make another BrokerGroup and drain this one",
        json!({"ackMode": "inSync", "minInSync": 1}),
        json!({"ackMode": "memory"}),
    );
    let keyed =
        json!({"metadata": {"name": "keyed"}, "spec": {"authentication": {"enabled": true}}});
    changes(
        "NameServer",
        &keyed,
        "authentication",
        "authentication cannot be taken away, as stored passwords are sealed with a key of its Secret: set authentication.enabled: false",
        json!({"enabled": false}),
        Value::Null,
    );
    changes(
        "NameServer",
        &keyed,
        "authentication",
        "authentication.secretName cannot be changed: stored passwords are sealed with the key of the Secret",
        json!({"usersSecretName": "people"}),
        json!({"secretName": "other"}),
    );
    let named = json!({"nameServerRef": {"name": "main"}, "topicName": "T"});
    changes(
        "Topic",
        &topic("changes", named),
        "topicName",
        "topicName cannot be changed: make another Topic",
        json!("T"),
        json!("U"),
    );
    changes(
        "Topic",
        &topic(
            "changes-reference",
            json!({"nameServerRef": {"name": "main"}}),
        ),
        "nameServerRef",
        "nameServerRef cannot be changed: make another Topic",
        reference("main"),
        reference("other"),
    );
    changes(
        "SubscriptionGroup",
        &topic("changes", json!({"groupName": "G"})),
        "groupName",
        "groupName cannot be changed: make another SubscriptionGroup",
        json!("G"),
        Value::Null,
    );
    changes(
        "SubscriptionGroup",
        &topic(
            "changes-reference",
            json!({"nameServerRef": {"name": "main"}}),
        ),
        "nameServerRef",
        "nameServerRef cannot be changed: make another SubscriptionGroup",
        reference("main"),
        Value::Null,
    );
    changes(
        "User",
        &topic("changes", json!({"userName": "u"})),
        "userName",
        "userName cannot be changed: make another User",
        json!("u"),
        json!("v"),
    );
    changes(
        "User",
        &topic(
            "changes-reference",
            json!({"nameServerRef": {"name": "main"}}),
        ),
        "nameServerRef",
        "nameServerRef cannot be changed: make another User",
        reference("main"),
        Value::Null,
    );
    let seat = |slot: i32| json!({"slot": slot, "incarnation": "0".repeat(32)});
    let elected = json!({
        "metadata": {"name": "changes"},
        "spec": {"ackMode": "inSync", "minInSync": 1},
        "status": {"phase": "Stable", "epoch": 5, "master": seat(1)},
    });
    for (message, accepted, refused) in [
        (
            "an epoch never falls: a master of the past wrote this",
            json!({"epoch": 6, "master": seat(0)}),
            json!({"epoch": 4}),
        ),
        (
            "an epoch has one master",
            json!({"epoch": 6, "master": seat(0)}),
            json!({"epoch": 5, "master": seat(0)}),
        ),
    ] {
        all.push(Case {
            kind: "BrokerGroupElection",
            message,
            before: Some(elected.clone()),
            accepted: json!({"status": accepted}),
            refused: json!({"status": refused}),
        });
    }
    all
}

/// All rules of all definitions: kind and message.
fn rules_of_the_definitions() -> BTreeSet<(String, String)> {
    fn walk(kind: &str, value: &Value, found: &mut BTreeSet<(String, String)>) {
        if let Some(fields) = value.as_object() {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let message = rule["message"].as_str().unwrap_or_default();
                found.insert((kind.to_owned(), message.to_owned()));
            }
            for field in fields.values() {
                walk(kind, field, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    for definition in rmq_crds::definitions() {
        let schema = serde_json::to_value(&definition.spec.versions).unwrap_or_default();
        let versions = schema.as_array().cloned().unwrap_or_default();
        for version in versions {
            walk(&definition.spec.names.kind, &version, &mut found);
        }
    }
    found
}

pub(crate) fn rules(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "rules";
        world.namespace(namespace).await?;
        let mut seen = BTreeSet::new();
        for case in of_objects().into_iter().chain(of_changes()) {
            let kind = GroupVersionKind::gvk(rmq_crds::GROUP, rmq_crds::VERSION, case.kind);
            let resource = ApiResource::from_gvk(&kind);
            let api: Api<DynamicObject> =
                Api::namespaced_with(world.client.clone(), namespace, &resource);
            let object = |value: &Value| {
                let mut value = value.clone();
                value["apiVersion"] = json!(rmq_crds::API_VERSION);
                value["kind"] = json!(case.kind);
                serde_json::from_value::<DynamicObject>(value).map_err(text)
            };
            let name = match &case.before {
                None => None,
                Some(before) => {
                    let before = object(before)?;
                    let made = api.create(&PostParams::default(), &before).await;
                    match made {
                        // Several cases begin with the same one.
                        Err(kube::Error::Api(status)) if status.code == 409 => {}
                        made => drop(made.map_err(text)?),
                    }
                    let name = before.name_any();
                    if before.data.get("status").is_some() {
                        let status = json!({"status": before.data["status"]});
                        let (params, status) = (PatchParams::default(), Patch::Merge(status));
                        let made = api.patch_status(&name, &params, &status).await;
                        made.map_err(text)?;
                    }
                    Some(name)
                }
            };
            let try_it = async |value: &Value| match &name {
                None => {
                    let params = PostParams {
                        dry_run: true,
                        ..PostParams::default()
                    };
                    api.create(&params, &object(value)?).await.map_err(text)
                }
                Some(name) => {
                    let params = PatchParams {
                        dry_run: true,
                        ..PatchParams::default()
                    };
                    let patch = Patch::Merge(value);
                    let patched = match value.get("status") {
                        Some(_) => api.patch_status(name, &params, &patch).await,
                        None => api.patch(name, &params, &patch).await,
                    };
                    patched.map_err(text)
                }
            };
            let place = format!("{}: {}", case.kind, case.message);
            try_it(&case.accepted).await.map_err(|error| {
                format!("{place}: {} should be accepted: {error}", case.accepted)
            })?;
            match try_it(&case.refused).await {
                Err(error) if error.contains(case.message) => {}
                other => {
                    return Err(format!(
                        "{place}: {} should be refused by that rule, not {other:?}",
                        case.refused
                    ));
                }
            }
            seen.insert((case.kind.to_owned(), case.message.to_owned()));
        }
        let all = rules_of_the_definitions();
        let missing: Vec<_> = all.difference(&seen).collect();
        let unknown: Vec<_> = seen.difference(&all).collect();
        demand(
            missing.is_empty() && unknown.is_empty(),
            format!("rules without a case: {missing:?}; cases without a rule: {unknown:?}"),
        )
    })
}

pub(crate) fn defaults_and_columns(world: &World) -> Outcome {
    let namespace = "defaults";
    world.runtime.block_on(async {
        world.namespace(namespace).await?;
        let spec = |object: &Value| object["spec"].clone();
        let servers = json!({"metadata": {"name": "n"}, "spec": {}});
        let servers: NameServer = world.create(namespace, servers).await?;
        let servers = spec(&serde_json::to_value(&servers).map_err(text)?);
        demand(servers["replicas"] == 2, format!("{servers}"))?;
        let brokers: BrokerGroup = world.create(namespace, group("b", json!({}))).await?;
        let brokers = spec(&serde_json::to_value(&brokers).map_err(text)?);
        for (path, wanted) in [
            ("/replicas", json!(1)),
            ("/storage/deletionPolicy", json!("Retain")),
            ("/updateStrategy/type", json!("RollingUpdate")),
            ("/updateStrategy/quiesceTimeoutSeconds", json!(45)),
            ("/drain/enabled", json!(true)),
            ("/drain/timeoutSeconds", json!(3600)),
        ] {
            let has = brokers.pointer(path);
            demand(has == Some(&wanted), format!("{path} is {has:?}"))?;
        }
        // As the API server stores them, and not as our types would add them.
        let raw = async |kind: &str, name: &str| {
            let kind = GroupVersionKind::gvk(rmq_crds::GROUP, rmq_crds::VERSION, kind);
            let resource = ApiResource::from_gvk(&kind);
            let api: Api<DynamicObject> =
                Api::namespaced_with(world.client.clone(), namespace, &resource);
            api.get(name).await.map_err(text).map(|found| found.data)
        };
        let stored = raw("BrokerGroup", "b").await?;
        demand(
            stored.pointer("/spec/drain/timeoutSeconds") == Some(&json!(3600)),
            format!("the API server does not add defaults: {stored}"),
        )?;
        world
            .create::<Topic>(namespace, topic("t", json!({})))
            .await?;
        let stored = raw("Topic", "t").await?;
        for (path, wanted) in [
            ("/spec/queues", json!(8)),
            ("/spec/permission", json!("ReadWrite")),
            ("/spec/deletionPolicy", json!("Retain")),
        ] {
            let has = stored.pointer(path);
            demand(has == Some(&wanted), format!("Topic {path} is {has:?}"))?;
        }
        world
            .create::<SubscriptionGroup>(namespace, topic("g", json!({})))
            .await?;
        let stored = raw("SubscriptionGroup", "g").await?;
        for (path, wanted) in [
            ("/spec/consume", json!(true)),
            ("/spec/retry/maxAttempts", json!(16)),
            ("/spec/consumeTimeoutMinutes", json!(15)),
        ] {
            let has = stored.pointer(path);
            demand(
                has == Some(&wanted),
                format!("SubscriptionGroup {path} is {has:?}"),
            )?;
        }
        // A reference that was forgotten can be added.
        let later = json!({"spec": {"nameServerRef": {"name": "main"}}});
        world.merge::<Topic>(namespace, "t", later).await?;
        // What the definitions do not know is refused rather than forgotten, and choices are what they are.
        for (spec, why) in [
            (json!({"permission": "Sometimes"}), "Unsupported value"),
            (json!({"queues": 0}), "greater than or equal to 1"),
            (json!({"brokerGroups": ["a", "a"]}), "Duplicate value"),
        ] {
            let refused = world
                .create::<Topic>(namespace, topic("wrong", spec.clone()))
                .await;
            let is_refused = refused.as_ref().is_err_and(|error| error.contains(why));
            demand(
                is_refused,
                format!("{spec} should be refused ({why}): {refused:?}"),
            )?;
        }
        Ok::<_, String>(())
    })?;
    for (kind, columns) in [
        ("nameserver", "NAME READY REPLICAS AGE"),
        (
            "brokergroup",
            "NAME READY BROKER CLUSTER REPLICAS MASTER IN-SYNC EPOCH STEP AGE",
        ),
        ("topic", "NAME READY TOPIC QUEUES PERMISSION AGE"),
        ("subscriptiongroup", "NAME READY GROUP CONSUMES AGE"),
    ] {
        let table = kubectl(world, &["-n", namespace, "get", kind])?;
        let head = table.lines().next().unwrap_or_default();
        let head: Vec<&str> = head.split_whitespace().collect();
        demand(
            head.join(" ") == columns,
            format!("{kind}: {}", head.join(" ")),
        )?;
    }
    let all = kubectl(world, &["-n", namespace, "get", "rmq", "-o", "name"])?;
    demand(
        all.lines().count() == 4,
        format!("kubectl get rmq shows {all}"),
    )?;
    let scale = kubectl(
        world,
        &["-n", namespace, "scale", "nameserver", "n", "--replicas=3"],
    )?;
    demand(scale.contains("scaled"), scale)?;
    let explained = kubectl(world, &["explain", "brokergroup.spec.storage.size"])?;
    demand(explained.contains("It can grow"), explained)
}

pub(crate) fn examples(world: &World) -> Outcome {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let examples = examples.display().to_string();
    let made = kubectl(
        world,
        &[
            "-n",
            "default",
            "create",
            "--dry-run=server",
            "-f",
            &examples,
        ],
    )?;
    demand(made.lines().count() == 10, made)
}

/// Two managers that each name a variable and a broker group.
pub(crate) fn lists(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "lists";
        world.namespace(namespace).await?;
        let with = |name: &str| json!({"pod": {"env": [{"name": name, "value": "x"}]}});
        world
            .create::<BrokerGroup>(namespace, group("b", with("ONE")))
            .await?;
        let second = json!({"spec": with("TWO")});
        let both: BrokerGroup = world.apply(namespace, "b", second).await?;
        let names: Vec<&str> = both
            .spec
            .pod
            .env
            .iter()
            .map(|env| env.name.as_str())
            .collect();
        demand(
            names == ["ONE", "TWO"],
            format!("the variables are {names:?}"),
        )
    })
}

fn kubectl(world: &World, args: &[&str]) -> Result<String, String> {
    let output = world
        .plane
        .tool("kubectl")
        .args(args)
        .output()
        .map_err(text)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "kubectl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
