//! Members that are made anew, pods on nodes that do not answer, and groups that begin with a backup. There is no node here, and no broker:
//! the tests write what kubelets and brokers would.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rmq_crds::{BrokerGroup, BrokerGroupElection, NameServer};
use serde_json::{Value, json};

use crate::world::{Operator, Outcome, World, conditions, demand, group, name_server, text};

/// A group of three.
fn three(name: &str, more: Value) -> Value {
    let mut all = json!({"replicas": 3, "storage": {"size": "1Gi"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        all[field] = value.clone();
    }
    group(name, all)
}

async fn patch_status<K>(world: &World, namespace: &str, name: &str, status: Value) -> Outcome
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = world.api(namespace);
    let patch = json!({"status": status});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let written = api.patch_status(name, &params, &patch).await;
    written.map(drop).map_err(text)
}

async fn ready(world: &World, namespace: &str, pod: &str) -> Outcome {
    let is_ready = json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:07Z"},
    ]});
    patch_status::<Pod>(world, namespace, pod, is_ready).await
}

/// Three members that serve, as brokers and kubelets would say it; member 1 is the master.
async fn serving(world: &World, namespace: &str, more: Value) -> Result<Operator, String> {
    let operator = world.looked_after(namespace).await?;
    world
        .create::<NameServer>(namespace, name_server("main"))
        .await?;
    world
        .create::<BrokerGroup>(namespace, three("a", more))
        .await?;
    for slot in 0..3 {
        let pod = format!("a-broker-{slot}");
        world
            .wait::<Pod>(namespace, &pod, "a pod", |_| true)
            .await?;
        ready(world, namespace, &pod).await?;
    }
    let what = "an election";
    world
        .wait::<BrokerGroupElection>(namespace, "a-broker", what, |_| true)
        .await?;
    elected(world, namespace, 1, &[0, 1, 2]).await?;
    let whole = ["ReplicasInSync", "True", "InSync", "3 of 3"];
    world
        .wait_condition::<BrokerGroup>(namespace, "a", whole)
        .await?;
    Ok(operator)
}

async fn elected(world: &World, namespace: &str, master: i64, in_sync: &[i64]) -> Outcome {
    let seat = |slot: &i64| json!({"slot": slot, "incarnation": format!("{slot:032x}")});
    let status = json!({
        "phase": "Stable", "epoch": master, "master": seat(&master),
        "inSync": in_sync.iter().map(seat).collect::<Vec<_>>(), "history": [],
    });
    patch_status::<BrokerGroupElection>(world, namespace, "a-broker", status).await
}

async fn wish(world: &World, namespace: &str, member: Option<&str>) -> Outcome {
    let patch = json!({"metadata": {"annotations": {"rmq.rs/rebuild": member}}});
    let asked = world.merge::<BrokerGroup>(namespace, "a", patch).await;
    asked.map(drop)
}

/// A member that the group needs stays. One that it can spare gets another pod and another volume, and the step is in the status before.
pub(crate) fn made_anew(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "made-anew";
        let operator = serving(world, namespace, json!({})).await?;
        let refused = |reason: &'static str, part: &'static str| async move {
            let wanted = ["Rebuilding", "False", reason, part];
            world
                .wait_condition::<BrokerGroup>(namespace, "a", wanted)
                .await
                .map(drop)
        };
        wish(world, namespace, Some("1")).await?;
        refused("IsMaster", "rmq-ctl broker switchover a --to 0").await?;
        wish(world, namespace, Some("7")).await?;
        refused("NoSuchMember", "member 7").await?;
        elected(world, namespace, 1, &[1, 2]).await?;
        wish(world, namespace, Some("a-broker-2")).await?;
        refused("OthersNotInSync", "member 0").await?;
        let pods: Api<Pod> = world.api(namespace);
        let claims: Api<PersistentVolumeClaim> = world.api(namespace);
        let (pod, claim) = ("a-broker-2", "data-a-broker-2");
        let old_pod = pods.get(pod).await.map_err(text)?.uid();
        let old_claim = claims.get(claim).await.map_err(text)?.uid();
        elected(world, namespace, 1, &[0, 1, 2]).await?;
        world
            .wait::<PersistentVolumeClaim>(namespace, claim, "another volume", |found| {
                found.uid() != old_claim && found.metadata.deletion_timestamp.is_none()
            })
            .await?;
        world
            .wait::<Pod>(namespace, pod, "another pod", |found| {
                found.uid() != old_pod
            })
            .await?;
        ready(world, namespace, pod).await?;
        let begun = world
            .wait::<BrokerGroup>(namespace, "a", "the new member copies", |group| {
                let status = group.status.as_ref();
                let rollout = status.and_then(|status| status.rollout.as_ref());
                rollout.is_some_and(|of| of.step == rmq_crds::RolloutStep::Starting)
            })
            .await?;
        let rollout = begun.status.and_then(|status| status.rollout);
        let rebuild = rollout.as_ref().and_then(|of| of.rebuild.as_ref());
        let rebuilt = rebuild.and_then(|of| of.claim.as_ref());
        demand(
            rebuilt.map(|claim| Some(claim.uid.clone())) == Some(old_claim),
            format!("the status says {rollout:?}"),
        )?;
        // The other members are as they were: one thing at a time.
        for slot in [0, 1] {
            let other = pods.get(&format!("a-broker-{slot}")).await.map_err(text)?;
            demand(
                other.metadata.deletion_timestamp.is_none(),
                format!("pod {slot} goes too"),
            )?;
        }
        operator.stop().await
    })
}

/// A claim whose volume is gone gets another one without being asked for.
pub(crate) fn volume_gone(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "volume-gone";
        let operator = serving(world, namespace, json!({})).await?;
        let claim = "data-a-broker-0";
        let claims: Api<PersistentVolumeClaim> = world.api(namespace);
        let old = claims.get(claim).await.map_err(text)?.uid();
        elected(world, namespace, 1, &[1, 2]).await?;
        patch_status::<PersistentVolumeClaim>(world, namespace, claim, json!({"phase": "Lost"}))
            .await?;
        world
            .wait::<PersistentVolumeClaim>(namespace, claim, "another volume", |found| {
                found.uid() != old && found.metadata.deletion_timestamp.is_none()
            })
            .await?;
        let wanted = ["Rebuilding", "True", "VolumeGone", "a-broker-0"];
        world
            .wait_condition::<BrokerGroup>(namespace, "a", wanted)
            .await?;
        operator.stop().await
    })
}

/// A pod that had to be gone and whose node does not answer is told of, with the command that mends it; it is deleted without its node when
/// the object says so.
pub(crate) fn node_down(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let (namespace, node, pod) = ("node-down", "lost-node", "a-broker-2");
        let nodes: Api<Node> = Api::all(world.client.clone());
        let made = json!({"metadata": {"name": node}});
        let made: Node = serde_json::from_value(made).map_err(text)?;
        let made = nodes.create(&PostParams::default(), &made).await;
        made.map_err(text)?;
        let silent = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&silent));
        let silent = nodes.patch_status(node, &params, &patch).await;
        silent.map_err(text)?;
        let operator = serving(world, namespace, json!({})).await?;
        let pods: Api<Pod> = world.api(namespace);
        let bind = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let params = PostParams::default();
        let bound = pods.create_subresource::<Value, Value>("binding", pod, &params, &bind);
        let bound = bound.await;
        bound.map_err(text)?;
        let old = pods.get(pod).await.map_err(text)?.uid();
        let params = DeleteParams::default().grace_period(1);
        pods.delete(pod, &params).await.map_err(text)?;
        elected(world, namespace, 1, &[0, 1]).await?;
        let command =
            "kubectl taint node lost-node node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
        let told = ["ReplicaOnLostNode", "True", "NodeDoesNotAnswer", command];
        world
            .wait_condition::<BrokerGroup>(namespace, "a", told)
            .await?;
        let policy = json!({"spec": {"nodeDownPolicy": "ForceDeletePods"}});
        world.merge::<BrokerGroup>(namespace, "a", policy).await?;
        world
            .wait::<Pod>(namespace, pod, "another pod", |found| found.uid() != old)
            .await?;
        let over = ["ReplicaOnLostNode", "False", "Done", ""];
        world
            .wait_condition::<BrokerGroup>(namespace, "a", over)
            .await?;
        nodes
            .delete(node, &DeleteParams::default())
            .await
            .map_err(text)?;
        operator.stop().await
    })
}

/// A group with `restoreFrom` has no broker before its volume has the backup; it says why that fails; volumes that are there are not touched.
pub(crate) fn begins_with_a_backup(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "with-backup";
        let operator = world.looked_after(namespace).await?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        let from = json!({
            "place": "s3://backups/prod", "group": "old", "endpoint": "http://s3:9000",
            "secretRef": {"name": "keys"},
        });
        let object = three("a", json!({"restoreFrom": from}));
        world.create::<BrokerGroup>(namespace, object).await?;
        let pod = "a-broker-restore";
        let made = world
            .wait::<Pod>(namespace, pod, "the pod that restores", |_| true)
            .await?;
        let container = &made.spec.as_ref().ok_or("no spec")?.containers[0];
        let command = container.command.clone().unwrap_or_default().join(" ");
        demand(
            command == "rmq-ctl restore --if-empty --store /data --from=s3://backups/prod --group=old --endpoint=http://s3:9000",
            format!("the command is {command}"),
        )?;
        let secret = container.env_from.as_ref().and_then(|from| from[0].secret_ref.as_ref());
        demand(
            secret.is_some_and(|secret| secret.name == "keys"),
            "the pod has the Secret",
        )?;
        let failed = json!({"phase": "Running", "containerStatuses": [{
            "name": "restore", "image": "rmq:test", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            "lastState": {"terminated": {"exitCode": 4, "message": "there are no backups"}},
        }]});
        patch_status::<Pod>(world, namespace, pod, failed).await?;
        let told = ["Restored", "False", "RestoreFailed", "there are no backups"];
        world
            .wait_condition::<BrokerGroup>(namespace, "a", told)
            .await?;
        let sets: Api<StatefulSet> = world.api(namespace);
        let set = sets.get_opt("a-broker").await.map_err(text)?;
        demand(set.is_none(), "brokers run before the backup is restored")?;
        patch_status::<Pod>(world, namespace, pod, json!({"phase": "Succeeded"})).await?;
        let told = ["Restored", "True", "Restored", "s3://backups/prod"];
        world
            .wait_condition::<BrokerGroup>(namespace, "a", told)
            .await?;
        let what = "the brokers";
        world
            .wait::<StatefulSet>(namespace, "a-broker", what, |_| true)
            .await?;
        world.wait_gone::<Pod>(namespace, pod).await?;
        // Who has the messages begins alone.
        let election = world
            .wait::<BrokerGroupElection>(namespace, "a-broker", "an election", |_| true)
            .await?;
        let members: Vec<i64> = election.spec.members.iter().map(|one| one.slot).collect();
        demand(members == [0], format!("the members begin as {members:?}"))?;

        // The volumes are there now, so no other object of this name may be restored over them.
        let skip = json!({"metadata": {"annotations": {"rmq.rs/skip-drain": "true"}}});
        world.merge::<BrokerGroup>(namespace, "a", skip).await?;
        let groups: Api<BrokerGroup> = world.api(namespace);
        let params = DeleteParams::default();
        groups.delete("a", &params).await.map_err(text)?;
        world.wait_gone::<BrokerGroup>(namespace, "a").await?;
        world.wait_gone::<StatefulSet>(namespace, "a-broker").await?;
        let again = three("a", json!({"restoreFrom": {"place": "s3://backups/prod"}}));
        world.create::<BrokerGroup>(namespace, again).await?;
        let told = ["Stalled", "True", "VolumesExist", "data-a-broker-0"];
        let seen = world
            .wait_condition::<BrokerGroup>(namespace, "a", told)
            .await?;
        demand(
            conditions(&seen).iter().any(|one| one.type_ == "Restored" && one.status == "False"),
            "nothing is restored",
        )?;
        operator.stop().await
    })
}

/// The size of segments stays in a group with replicas, and the object says why.
pub(crate) fn segments_stay(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "segments";
        let operator = serving(world, namespace, json!({})).await?;
        let bytes = |bytes: Value| json!({"spec": {"config": {"extra": {"segmentBytes": bytes}}}});
        let smaller = bytes(json!(67_108_864));
        world.merge::<BrokerGroup>(namespace, "a", smaller).await?;
        let part = "spec.config.extra.segmentBytes cannot be changed in a group with replicas";
        let told = ["Stalled", "True", "InvalidSpec", part];
        world
            .wait_condition::<BrokerGroup>(namespace, "a", told)
            .await?;
        let back = bytes(Value::Null);
        world.merge::<BrokerGroup>(namespace, "a", back).await?;
        world
            .wait::<BrokerGroup>(namespace, "a", "no longer stalled", |group| {
                let all = conditions(group);
                let mut all = all.iter();
                all.any(|one| one.type_ == "Stalled" && one.status == "False")
            })
            .await?;
        operator.stop().await
    })
}
