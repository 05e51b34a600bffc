//! Whose fields are whose.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use rmq_crds::{BrokerGroup, NameServer};
use serde_json::json;

use crate::world::{Outcome, World, demand, group, name_server, text};

/// What another manager wrote stays; what is the operator's is put back.
pub(crate) fn fields(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "fields";
        let operator = world.looked_after(namespace).await?;
        world.cluster(namespace).await?;
        let made: StatefulSet = world
            .wait(namespace, "a-broker", "the StatefulSet", |_| true)
            .await?;
        let managers: Vec<&str> = made
            .managed_fields()
            .iter()
            .filter(|entry| entry.operation.as_deref() == Some("Apply"))
            .filter_map(|entry| entry.manager.as_deref())
            .collect();
        demand(
            managers == ["rmq-operator"],
            format!("the StatefulSet is applied by {managers:?}"),
        )?;
        let theirs = json!({
            "metadata": {"annotations": {"team": "shop"}},
            "spec": {"sessionAffinity": "ClientIP"},
        });
        world
            .apply::<Service>(namespace, "a-broker", theirs)
            .await?;
        // By force, somebody takes a field that is the operator's: it is put back.
        let ours = json!({"spec": {"publishNotReadyAddresses": false}, "metadata": {"annotations": {"team": "shop"}}});
        world
            .merge::<Service>(namespace, "a-broker", ours)
            .await?;
        let service: Service = world
            .wait(namespace, "a-broker", "the drift is put back", |service: &Service| {
                let spec = service.spec.as_ref();
                spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
            })
            .await?;
        let affinity = service.spec.as_ref().and_then(|spec| spec.session_affinity.as_deref());
        demand(
            affinity == Some("ClientIP")
                && service.annotations().get("team").is_some_and(|team| team == "shop"),
            format!("what another manager wrote is gone: {service:?}"),
        )?;
        let scaled = json!({"spec": {"replicas": 0, "template": {"spec": {"hostNetwork": true}}}});
        world
            .merge::<StatefulSet>(namespace, "a-broker", scaled)
            .await?;
        world
            .wait(namespace, "a-broker", "one broker again", |set: &StatefulSet| {
                set.spec.as_ref().is_some_and(|spec| spec.replicas == Some(1))
            })
            .await?;
        // A child that somebody deletes is made again.
        let maps = world.api::<ConfigMap>(namespace);
        let old = maps.get("a-broker").await.map_err(text)?.uid();
        maps.delete("a-broker", &DeleteParams::default())
            .await
            .map_err(text)?;
        world
            .wait(namespace, "a-broker", "the ConfigMap again", |map: &ConfigMap| {
                map.uid() != old
            })
            .await?;
        operator.stop().await
    })
}

/// A name that is taken is not taken over; when it is free, the operator goes on by itself.
pub(crate) fn name_taken(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "taken";
        world.namespace(namespace).await?;
        let theirs = json!({"metadata": {"name": "a-broker"}, "data": {"mine": "yes"}});
        world.create::<ConfigMap>(namespace, theirs).await?;
        let operator =
            crate::world::Operator::start(world, namespace, "first", world.plane.kubeconfig());
        world.cluster(namespace).await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "a",
                [
                    "Stalled",
                    "True",
                    "NameTaken",
                    "ConfigMap \"a-broker\" exists and does not belong to this object",
                ],
            )
            .await?;
        let maps = world.api::<ConfigMap>(namespace);
        let kept = maps.get("a-broker").await.map_err(text)?;
        let data = kept.data.clone().unwrap_or_default();
        demand(
            data.get("mine").is_some_and(|mine| mine == "yes")
                && data.len() == 1
                && kept.owner_references().is_empty(),
            format!("somebody else's object was changed: {kept:?}"),
        )?;
        // Nobody else is held up.
        world
            .wait::<StatefulSet>(namespace, "main-namesrv", "the name servers", |_| true)
            .await?;
        maps.delete("a-broker", &DeleteParams::default())
            .await
            .map_err(text)?;
        world
            .wait::<StatefulSet>(namespace, "a-broker", "the brokers", |_| true)
            .await?;
        operator.stop().await
    })
}

/// Somebody changes the object again and again while the operator writes its status: nothing gets lost on either side.
pub(crate) fn two_writers(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "writers";
        let operator = world.looked_after(namespace).await?;
        world.cluster(namespace).await?;
        for round in 1..=30 {
            let patch = json!({"metadata": {"labels": {"round": round.to_string()}}, "spec": {"config": {"retentionHours": round}}});
            world.merge::<BrokerGroup>(namespace, "a", patch).await?;
        }
        let last: BrokerGroup = world
            .wait(namespace, "a", "the last change is taken up", |group: &BrokerGroup| {
                let seen = group.status.as_ref().and_then(|status| status.observed_generation);
                seen == group.metadata.generation
            })
            .await?;
        demand(
            last.spec.config.retention_hours == Some(30) && last.labels().get("round").is_some_and(|round| round == "30"),
            format!("a change got lost: {last:?}"),
        )?;
        world
            .wait(namespace, "a-broker", "the last configuration", |map: &ConfigMap| {
                let data = map.data.as_ref();
                let config = data.and_then(|data| data.get("broker.yaml"));
                config.is_some_and(|config| config.contains("retentionHours: 30"))
            })
            .await?;
        operator.stop().await
    })
}

/// The operator's writes change no spec, and users' writes no status.
pub(crate) fn status_subresource(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "subresource";
        let operator = world.looked_after(namespace).await?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        let reported = |object: &NameServer| {
            object
                .status
                .as_ref()
                .is_some_and(|status| status.observed_generation.is_some())
        };
        let first: NameServer = world.wait(namespace, "main", "a status", reported).await?;
        demand(
            first.metadata.generation == Some(1),
            format!(
                "a status made a generation: {:?}",
                first.metadata.generation
            ),
        )?;
        let wrong =
            json!({"status": {"addresses": "evil:9876"}, "spec": {"config": {"brokersMax": 7}}});
        world.merge::<NameServer>(namespace, "main", wrong).await?;
        let second: NameServer = world
            .wait(
                namespace,
                "main",
                "the change is taken up",
                |object: &NameServer| {
                    let status = object.status.as_ref();
                    status.is_some_and(|status| status.observed_generation == Some(2))
                },
            )
            .await?;
        let status = second.status.unwrap_or_default();
        demand(
            status.addresses.as_deref() == Some("main-namesrv-0.main-namesrv.subresource.svc:9876"),
            format!("a user wrote the status: {:?}", status.addresses),
        )?;
        demand(
            status
                .conditions
                .iter()
                .all(|condition| condition.observed_generation == Some(2)),
            format!("conditions of an old generation: {:?}", status.conditions),
        )?;
        // Whoever may write the status may write it; the next look puts it right.
        let api = world.api::<NameServer>(namespace);
        let forged = json!({"status": {"addresses": "evil:9876"}});
        api.patch_status("main", &PatchParams::default(), &Patch::Merge(&forged))
            .await
            .map_err(text)?;
        world
            .wait(
                namespace,
                "main",
                "the status is put right",
                |object: &NameServer| {
                    let status = object.status.as_ref();
                    status.is_some_and(|status| status.addresses.as_deref() != Some("evil:9876"))
                },
            )
            .await?;
        world
            .create::<BrokerGroup>(
                namespace,
                group("b", json!({"nameServerRef": {"name": "nobody"}})),
            )
            .await?;
        world
            .wait_condition::<BrokerGroup>(
                namespace,
                "b",
                [
                    "Stalled",
                    "True",
                    "NameServerNotFound",
                    "there is no NameServer nobody",
                ],
            )
            .await?;
        operator.stop().await
    })
}
