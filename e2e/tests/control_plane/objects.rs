//! Bad objects, and the ends of good ones.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ResourceQuota};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rmq_crds::{BrokerGroup, NameServer, SubscriptionGroup, Topic};
use serde_json::{Value, json};

use crate::world::{Outcome, World, demand, group, name_server, text, until};

/// An object that passes the schema and is no object of ours: it is told, the others go on, and corrected it gets through.
pub(crate) fn unparsable(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "unparsable";
        let operator = world.looked_after(namespace).await?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        let wrong = group(
            "wrong",
            json!({"config": {"extra": {"region": {"not": "text"}}}}),
        );
        let refused = world.create::<BrokerGroup>(namespace, wrong).await;
        // It was made; it is our type that does not take it.
        demand(refused.is_err(), "this should be no BrokerGroup")?;
        world
            .create::<BrokerGroup>(namespace, group("right", json!({})))
            .await?;
        world
            .wait::<StatefulSet>(namespace, "right-broker", "the other group", |_| true)
            .await?;
        let raw = world.plane.tool("kubectl");
        let mut raw = raw;
        raw.args([
            "-n",
            namespace,
            "wait",
            "--for=condition=Stalled",
            "--timeout=30s",
            "brokergroup/wrong",
        ]);
        let waited = raw.output().map_err(text)?;
        demand(
            waited.status.success(),
            format!(
                "an object that cannot be read is not told: {}",
                String::from_utf8_lossy(&waited.stderr)
            ),
        )?;
        event(world, namespace, "wrong", "InvalidObject").await?;
        let corrected = json!({"spec": {"config": {"extra": {"region": "eu"}}}});
        world
            .merge::<BrokerGroup>(namespace, "wrong", corrected)
            .await?;
        world
            .wait::<StatefulSet>(namespace, "wrong-broker", "the corrected group", |_| true)
            .await?;
        world
            .wait(
                namespace,
                "wrong",
                "no longer stalled",
                |group: &BrokerGroup| {
                    let conditions = crate::world::conditions(group);
                    conditions.iter().any(|condition| {
                        condition.type_ == "Stalled" && condition.status == "False"
                    })
                },
            )
            .await?;
        // Spoilt again, it is what it was: its brokers are not taken away.
        let spoilt = json!({"spec": {"config": {"extra": {"region": {"not": "text"}}}}});
        let _ = world.merge::<BrokerGroup>(namespace, "wrong", spoilt).await;
        event(world, namespace, "wrong", "InvalidObject").await?;
        let set = world
            .api::<StatefulSet>(namespace)
            .get_opt("wrong-broker")
            .await
            .map_err(text)?;
        demand(
            set.is_some(),
            "the brokers of an object that was spoilt are gone",
        )?;
        operator.stop().await
    })
}

async fn event(world: &World, namespace: &str, object: &str, reason: &str) -> Outcome {
    let api: Api<Event> = world.api(namespace);
    until("an event", async || {
        let all = api.list(&ListParams::default()).await.map_err(text)?;
        let found = all.items.iter().any(|event| {
            event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().and_then(|of| of.name.as_deref()) == Some(object)
        });
        demand(found, format!("no event {reason} of {object}"))
    })
    .await
}

/// What the API server refuses of an object's children stands in its status, with the field.
pub(crate) fn refused(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "refused";
        let operator = world.looked_after(namespace).await?;
        world.cluster(namespace).await?;
        world
            .wait::<StatefulSet>(namespace, "a-broker", "the brokers", |_| true)
            .await?;
        let wrong = json!({"spec": {"pod": {"labels": {"team": "not a label!"}}}});
        world.merge::<BrokerGroup>(namespace, "a", wrong).await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                ["Stalled", "True", "InvalidSpec", "spec.pod.labels.team"],
            )
            .await?;
        // Which operators there are is Kubernetes' business.
        let tolerations = json!([{"key": "team", "operator": "Sometimes"}]);
        let wrong =
            json!({"spec": {"pod": {"labels": {"team": "shop"}, "tolerations": tolerations}}});
        world.merge::<BrokerGroup>(namespace, "a", wrong).await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                [
                    "Stalled",
                    "True",
                    "KubernetesRefused",
                    "tolerations[0].operator",
                ],
            )
            .await?;
        event(world, namespace, "a", "KubernetesRefused").await?;
        let right = json!({"spec": {"pod": {"tolerations": []}}});
        world.merge::<BrokerGroup>(namespace, "a", right).await?;
        world
            .wait(
                namespace,
                "a-broker",
                "the corrected label",
                |set: &StatefulSet| {
                    let template = set.spec.as_ref().map(|spec| &spec.template);
                    let labels =
                        template.and_then(|template| template.metadata.as_ref()?.labels.as_ref());
                    labels
                        .is_some_and(|labels| labels.get("team").is_some_and(|team| team == "shop"))
                },
            )
            .await?;
        let elsewhere = json!({"spec": {"config": {"extra": {"ackMode": "inSync"}}}});
        world
            .merge::<BrokerGroup>(namespace, "a", elsewhere)
            .await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                [
                    "Stalled",
                    "True",
                    "InvalidSpec",
                    "use spec.replication.ackMode",
                ],
            )
            .await?;
        let misspelt = json!({"spec": {"config": {"extra": {"ackMode": null, "flushByte": 4096}}}});
        world.merge::<BrokerGroup>(namespace, "a", misspelt).await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                ["Stalled", "True", "InvalidSpec", "did you mean flushBytes?"],
            )
            .await?;
        operator.stop().await
    })
}

/// A quota that leaves no room.
pub(crate) fn quota(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "quota";
        world.namespace(namespace).await?;
        let none = json!({"count/configmaps": "0"});
        let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": none}});
        world.create::<ResourceQuota>(namespace, quota).await?;
        // No controller counts here.
        let counted = json!({"status": {"hard": none, "used": none}});
        let quotas = world.api::<ResourceQuota>(namespace);
        quotas
            .patch_status("small", &PatchParams::default(), &Patch::Merge(&counted))
            .await
            .map_err(text)?;
        let operator =
            crate::world::Operator::start(world, namespace, "first", world.plane.kubeconfig());
        world.cluster(namespace).await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                ["Stalled", "True", "QuotaExceeded", "exceeded quota: small"],
            )
            .await?;
        quotas
            .delete("small", &DeleteParams::default())
            .await
            .map_err(text)?;
        world
            .wait::<StatefulSet>(namespace, "a-broker", "the brokers", |_| true)
            .await?;
        operator.stop().await
    })
}

/// The older of two objects for one topic counts; the other says so, and takes over when it goes.
pub(crate) fn conflict(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "conflict";
        world.namespace(namespace).await?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        let topic = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"nameServerRef": {"name": "main"}, "topicName": "T"}})
        };
        // The names say who is the older one when both are of one second.
        world.create::<Topic>(namespace, topic("a-older")).await?;
        world.create::<Topic>(namespace, topic("b-younger")).await?;
        let operator = crate::world::Operator::start(world, namespace, "first", world.plane.kubeconfig());
        let conflict = ["Stalled", "True", "ResourceConflict", "the older object a-older"];
        world
            .wait_condition::<Topic>(namespace, "b-younger", conflict)
            .await?;
        let unreachable = ["Progressing", "True", "ClusterUnreachable", ""];
        world
            .wait_condition::<Topic>(namespace, "a-older", unreachable)
            .await?;
        let topics = world.api::<Topic>(namespace);
        topics
            .delete("a-older", &DeleteParams::default())
            .await
            .map_err(text)?;
        world
            .wait_condition::<Topic>(namespace, "b-younger", unreachable)
            .await?;
        let unmanaged = json!({"metadata": {"annotations": {"rmq.rs/managed": "false"}}});
        world
            .merge::<Topic>(namespace, "b-younger", unmanaged)
            .await?;
        world
            .wait_condition::<Topic>(namespace, "b-younger", ["Ready", "Unknown", "Unmanaged", ""])
            .await?;
        operator.stop().await
    })
}

pub(crate) fn pause(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "pause";
        let operator = world.looked_after(namespace).await?;
        world.cluster(namespace).await?;
        world
            .wait::<StatefulSet>(namespace, "a-broker", "the brokers", |_| true)
            .await?;
        let annotated =
            |value: Value| json!({"metadata": {"annotations": {"rmq.rs/paused": value}}});
        world
            .merge::<BrokerGroup>(namespace, "a", annotated(json!("true")))
            .await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                ["Paused", "True", "Paused", "rmq.rs/paused"],
            )
            .await?;
        let change = json!({"spec": {"config": {"flush": "Sync"}}});
        world.merge::<BrokerGroup>(namespace, "a", change).await?;
        world
            .wait(
                namespace,
                "a",
                "the change is seen",
                |group: &BrokerGroup| {
                    let status = group.status.as_ref();
                    status.and_then(|status| status.observed_generation)
                        == group.metadata.generation
                },
            )
            .await?;
        let config = async || {
            let map = world
                .api::<ConfigMap>(namespace)
                .get("a-broker")
                .await
                .map_err(text)?;
            Ok::<_, String>(
                map.data
                    .unwrap_or_default()
                    .remove("broker.yaml")
                    .unwrap_or_default(),
            )
        };
        demand(
            !config().await?.contains("flush"),
            "a paused group was changed",
        )?;
        world
            .merge::<BrokerGroup>(namespace, "a", annotated(Value::Null))
            .await?;
        until("the change is made", async || {
            let config = config().await?;
            demand(config.contains("flush: sync"), config)
        })
        .await?;
        world
            .wait_condition::<BrokerGroup>(namespace, "a", ["Paused", "False", "GoesOn", ""])
            .await?;
        operator.stop().await
    })
}

/// Everything of an object goes with it, and what was known of it too.
pub(crate) fn children_go(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "children";
        let operator = world.looked_after(namespace).await?;
        world.cluster(namespace).await?;
        world
            .wait::<Pod>(namespace, "a-broker-0", "a pod", |_| true)
            .await?;
        // A listener that is no longer wanted goes at once.
        let listener = json!({"spec": {"listeners": {"external": {"type": "NodePort"}}}});
        world.merge::<BrokerGroup>(namespace, "a", listener).await?;
        world
            .wait::<k8s_openapi::api::core::v1::Service>(
                namespace,
                "a-broker-external",
                "a listener",
                |_| true,
            )
            .await?;
        let none = json!({"spec": {"listeners": null}});
        world.merge::<BrokerGroup>(namespace, "a", none).await?;
        world
            .wait_gone::<k8s_openapi::api::core::v1::Service>(namespace, "a-broker-external")
            .await?;
        // Nobody consumes here: without the annotation it would wait for its deadline.
        let skip = json!({"metadata": {"annotations": {"rmq.rs/skip-drain": "true"}}});
        world.merge::<BrokerGroup>(namespace, "a", skip).await?;
        let groups = world.api::<BrokerGroup>(namespace);
        groups
            .delete("a", &DeleteParams::default())
            .await
            .map_err(text)?;
        world.wait_gone::<BrokerGroup>(namespace, "a").await?;
        world
            .wait_gone::<StatefulSet>(namespace, "a-broker")
            .await?;
        world.wait_gone::<ConfigMap>(namespace, "a-broker").await?;
        operator.stop().await
    })
}

/// Finalizers never hang a namespace, whatever is in it and although no broker answers.
pub(crate) fn namespace_goes(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "goes";
        // The lease of this operator does not go with the namespace.
        world.namespace("goes-system").await?;
        world.namespace(namespace).await?;
        let operator = crate::world::Operator::beside(world, namespace, "goes-system");
        world.cluster(namespace).await?;
        let deleted = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"nameServerRef": {"name": "main"}, "deletionPolicy": "Delete"}})
        };
        world.create::<Topic>(namespace, deleted("t")).await?;
        world
            .create::<SubscriptionGroup>(namespace, deleted("g"))
            .await?;
        let held = "held by a finalizer";
        world
            .wait(namespace, "t", held, |topic: &Topic| !topic.finalizers().is_empty())
            .await?;
        world
            .wait(namespace, "a", held, |group: &BrokerGroup| {
                let pods = group.status.as_ref().map(|status| status.replicas);
                !group.finalizers().is_empty() && pods == Some(1)
            })
            .await?;
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        namespaces
            .delete(namespace, &DeleteParams::default())
            .await
            .map_err(text)?;
        until("the end of the namespace", async || {
            match namespaces.get_opt(namespace).await.map_err(text)? {
                None => Ok(()),
                Some(left) => Err(format!("{:?}", left.status)),
            }
        })
        .await?;
        operator.stop().await
    })
}
