//! The ends of objects whose brokers never ran, and of those that did. There is no node here: no pod runs by itself.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use rmq_crds::{BrokerGroup, NameServer, SubscriptionGroup, Topic};
use serde_json::{Value, json};

use crate::world::{Outcome, World, demand, group, name_server, text};

const VOLUME: &str = "1Gi";

fn with_volume(name: &str, policy: &str) -> Value {
    group(
        name,
        json!({"storage": {"size": VOLUME, "deletionPolicy": policy}}),
    )
}

async fn held(world: &World, namespace: &str, name: &str) -> Outcome {
    world
        .wait(
            namespace,
            name,
            "held by a finalizer",
            |group: &BrokerGroup| {
                let status = group.status.as_ref();
                let pods = status.map(|status| status.replicas);
                !group.finalizers().is_empty() && pods == Some(1)
            },
        )
        .await
        .map(drop)
}

/// Groups whose pods have no node, and topics and groups of their cluster, go without any annotation.
pub(crate) fn never_served(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "never";
        let operator = world.looked_after(namespace).await?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        let deleted = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"nameServerRef": {"name": "main"}, "deletionPolicy": "Delete"}})
        };
        world
            .create::<BrokerGroup>(namespace, group("ephemeral", json!({})))
            .await?;
        for (name, policy) in [("kept", "Retain"), ("lost", "Delete")] {
            world
                .create::<BrokerGroup>(namespace, with_volume(name, policy))
                .await?;
        }
        for name in ["ephemeral", "kept", "lost"] {
            held(world, namespace, name).await?;
            let group: BrokerGroup = world.api(namespace).get(name).await.map_err(text)?;
            let served = group.status.and_then(|status| status.ever_served);
            demand(served == Some(false), format!("{name}: {served:?}"))?;
        }
        world.create::<Topic>(namespace, deleted("t")).await?;
        world
            .create::<SubscriptionGroup>(namespace, deleted("g"))
            .await?;
        let what = "held by a finalizer";
        world
            .wait(namespace, "t", what, |topic: &Topic| !topic.finalizers().is_empty())
            .await?;
        world
            .wait(namespace, "g", what, |group: &SubscriptionGroup| {
                !group.finalizers().is_empty()
            })
            .await?;
        let params = DeleteParams::default();
        let topics = world.api::<Topic>(namespace);
        topics.delete("t", &params).await.map_err(text)?;
        let groups = world.api::<SubscriptionGroup>(namespace);
        groups.delete("g", &params).await.map_err(text)?;
        world.wait_gone::<Topic>(namespace, "t").await?;
        world.wait_gone::<SubscriptionGroup>(namespace, "g").await?;
        let groups = world.api::<BrokerGroup>(namespace);
        for name in ["ephemeral", "kept", "lost"] {
            groups.delete(name, &params).await.map_err(text)?;
            world.wait_gone::<BrokerGroup>(namespace, name).await?;
        }
        operator.stop().await
    })
}

/// A group whose pod was ready once is waited for, although no broker answers any more; its condition says why, until when, and how a person
/// ends the wait.
pub(crate) fn served(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "served";
        let operator = world.looked_after(namespace).await?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        world
            .create::<BrokerGroup>(namespace, group("a", json!({})))
            .await?;
        held(world, namespace, "a").await?;
        // What a kubelet would write.
        let ready = |status: &str, second: u32| {
            json!({"status": {"startTime": "2026-01-01T00:00:00Z", "conditions": [{
                "type": "Ready",
                "status": status,
                "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z"),
            }]}})
        };
        let pods = world.api::<Pod>(namespace);
        let write = async |status: Value| {
            let params = PatchParams::default();
            let patch = Patch::Merge(&status);
            let written = pods.patch_status("a-broker-0", &params, &patch).await;
            written.map(drop).map_err(text)
        };
        write(ready("True", 7)).await?;
        world
            .wait(namespace, "a", "it served", |group: &BrokerGroup| {
                let status = group.status.as_ref();
                status.and_then(|status| status.ever_served) == Some(true)
            })
            .await?;
        write(ready("False", 9)).await?;
        let groups = world.api::<BrokerGroup>(namespace);
        groups
            .delete("a", &DeleteParams::default())
            .await
            .map_err(text)?;
        let drained = [
            "Progressing",
            "True",
            "Draining",
            "cannot tell what is left",
        ];
        let seen = world
            .wait_condition::<BrokerGroup>(namespace, "a", drained)
            .await?;
        let conditions = crate::world::conditions(&seen);
        let says = conditions
            .iter()
            .find(|condition| condition.reason == "Draining")
            .map_or("", |condition| condition.message.as_str());
        demand(
            says.contains("the wait ends at 20") && says.contains("rmq.rs/skip-drain=\"true\""),
            format!("it says {says:?}"),
        )?;
        let skip = json!({"metadata": {"annotations": {"rmq.rs/skip-drain": "true"}}});
        world.merge::<BrokerGroup>(namespace, "a", skip).await?;
        world.wait_gone::<BrokerGroup>(namespace, "a").await?;
        operator.stop().await
    })
}
