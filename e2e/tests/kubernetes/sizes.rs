//! More and fewer name servers and broker groups, and larger volumes.

use std::time::Duration;

use rmq_client::{Client, Queue};

use crate::load::Load;
use crate::world::{World, admin, demand, group, outside, pods_of_brokers, start, until};

/// More and fewer name servers: brokers find them, and nothing restarts.
pub(crate) fn name_servers(world: &World) -> Result<(), String> {
    start(world, "scale", "")?;
    let before = pods_of_brokers(world, "scale")?;
    let load = Load::start(world, "scale")?;
    let scale = |replicas: &str| {
        world.kubectl(
            "scale",
            &["scale", "nameserver/main", "--replicas", replicas],
        )?;
        world.wait_settled("scale", "nameserver/main")
    };
    scale("3")?;
    let address = world.get("scale", "pod/main-namesrv-2", ".status.podIP")?;
    let brokers = until(Duration::from_secs(30), || {
        let info = world.runtime.block_on(async {
            let client = Client::connect(format!("{address}:9876")).await?;
            let info = client.cluster_info().await?;
            client.shutdown().await;
            Ok::<_, rmq_client::Error>(info)
        });
        let info = info.map_err(|error| error.to_string())?;
        let names: Vec<String> = info.broker_addr_table.keys().cloned().collect();
        demand(
            names == ["a", "b"],
            format!("the new name server knows {names:?}"),
        )
        .map(|()| names)
    })?;
    demand(brokers.len() == 2, "two brokers")?;
    load.goes_on(30)?;
    scale("1")?;
    load.goes_on(100)?;
    let after = pods_of_brokers(world, "scale")?;
    demand(
        before == after,
        format!("brokers restarted: {before:?} {after:?}"),
    )?;
    load.finish(world)?.expect_no_errors()?;
    world.discard("scale")
}

/// A third group takes messages; it goes when they were consumed.
pub(crate) fn group_added_and_drained(world: &World) -> Result<(), String> {
    start(world, "drain", "")?;
    let load = Load::start(world, "drain")?;
    world.lab.apply(&group("drain", "c", ""))?;
    world.wait_ready("drain", &["brokergroup/c"])?;
    load.goes_on(100)?;
    let addresses = outside(world, "drain")?;
    let on_c = || {
        let stats = admin(world, &addresses, async |client| {
            client.admin().topic_stats("orders").await
        })?;
        let of = stats
            .offset_table
            .0
            .iter()
            .filter(|(queue, _)| queue.broker_name == "c");
        Ok::<i64, String>(of.map(|(_, offset)| offset.max_offset).sum())
    };
    until(Duration::from_secs(90), || {
        demand(on_c()? > 20, "the new broker gets messages")
    })?;
    world.kubectl("drain", &["delete", "brokergroup", "c", "--timeout=120s"])?;
    load.goes_on(50)?;
    load.finish(world)?.expect_no_errors()?;
    // What nobody consumes holds a group until its time is over, or somebody says so.
    admin(world, &addresses, async |client| {
        client
            .admin()
            .create_group(&rmq_client::GroupSpec::new("lazy"))
            .await?;
        for id in 0..4 {
            let queue = Queue::new("orders", "b", id);
            client.admin().commit_offset("lazy", &queue, 0).await?;
        }
        Ok(())
    })?;
    world.kubectl("drain", &["delete", "brokergroup", "b", "--wait=false"])?;
    world.wait_condition("drain", "brokergroup/b", "Progressing", "True", "lazy")?;
    world.kubectl(
        "drain",
        &["annotate", "brokergroup", "b", "rmq.rs/skip-drain=true"],
    )?;
    world.kubectl(
        "drain",
        &["wait", "--for=delete", "brokergroup/b", "--timeout=60s"],
    )?;
    world.discard("drain")
}

/// A larger volume, with the broker running on.
pub(crate) fn volumes_grow(world: &World) -> Result<(), String> {
    start(world, "grow", "")?;
    let before = pods_of_brokers(world, "grow")?;
    world.kubectl(
        "grow",
        &[
            "patch",
            "brokergroup",
            "a",
            "--type=merge",
            "-p",
            r#"{"spec":{"storage":{"size":"2Gi"}}}"#,
        ],
    )?;
    world.wait_for(
        "grow",
        "pvc/data-a-broker-0",
        ".status.capacity.storage",
        |size| size == "2Gi",
    )?;
    world.wait_for(
        "grow",
        "statefulset/a-broker",
        ".spec.volumeClaimTemplates[0].spec.resources.requests.storage",
        |size| size == "2Gi",
    )?;
    world.wait_settled("grow", "brokergroup/a")?;
    let after = pods_of_brokers(world, "grow")?;
    demand(
        before == after,
        format!("brokers restarted: {before:?} {after:?}"),
    )?;
    world.discard("grow")
}
