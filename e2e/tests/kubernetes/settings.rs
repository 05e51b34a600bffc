//! Topics and subscription groups as objects.

use std::time::Duration;

use rmq_client::protocol::requests::UnregisterBroker;
use rmq_client::{Message, TopicSpec};

use crate::world::{World, admin, demand, outside, start, until};

/// Topics are as their objects say.
pub(crate) fn topics(world: &World) -> Result<(), String> {
    start(world, "topics", "")?;
    let addresses = outside(world, "topics")?;
    // Somebody changes it at the brokers; the next look puts it back.
    admin(world, &addresses, async |client| {
        client
            .admin()
            .create_topic(&TopicSpec::new("orders").queues(1))
            .await
    })?;
    world.kubectl("topics", &["annotate", "topic", "orders", "look=now"])?;
    until(Duration::from_secs(60), || {
        let configs = admin(world, &addresses, async |client| {
            client.admin().topic_config("orders").await
        })?;
        demand(
            configs.len() == 2
                && configs
                    .iter()
                    .all(|(_, config)| config.write_queue_nums == 4),
            format!("{configs:?}"),
        )
    })?;
    // Two objects for one topic.
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: rival, namespace: topics}\nspec: {nameServerRef: {name: main}, topicName: orders, queues: 2}\n")?;
    world.wait_condition(
        "topics",
        "topic/rival",
        "Stalled",
        "True",
        "older object orders",
    )?;
    world.kubectl("topics", &["delete", "topic", "rival", "--timeout=30s"])?;
    // A topic with messages is not deleted unless somebody says so.
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: full, namespace: topics}\nspec: {nameServerRef: {name: main}, deletionPolicy: Delete}\n")?;
    world.wait_ready("topics", &["topic/full"])?;
    admin(world, &addresses, async |client| {
        client
            .wait_for_route("full", Duration::from_secs(30))
            .await?;
        client
            .producer()
            .send(Message::new("full", "precious"))
            .await
            .map(drop)
    })?;
    world.kubectl("topics", &["delete", "topic", "full", "--wait=false"])?;
    world.wait_condition(
        "topics",
        "topic/full",
        "Stalled",
        "True",
        "still holds 1 messages",
    )?;
    world.kubectl(
        "topics",
        &[
            "patch",
            "topic",
            "full",
            "--type=merge",
            "-p",
            r#"{"spec":{"deleteNonEmpty":true}}"#,
        ],
    )?;
    world.kubectl(
        "topics",
        &["wait", "--for=delete", "topic/full", "--timeout=60s"],
    )?;
    until(Duration::from_secs(30), || {
        let all = admin(world, &addresses, async |client| {
            client.admin().topics().await
        })?;
        demand(
            !all.iter().any(|topic| topic == "full"),
            "the topic is still there",
        )
    })?;
    // Handed back: the object goes, the topic stays.
    world.kubectl(
        "topics",
        &["annotate", "topic", "orders", "rmq.rs/managed=false"],
    )?;
    world.wait_condition("topics", "topic/orders", "Ready", "Unknown", "Unmanaged")?;
    world.kubectl("topics", &["delete", "topic", "orders", "--timeout=30s"])?;
    let all = admin(world, &addresses, async |client| {
        client.admin().topics().await
    })?;
    demand(
        all.iter().any(|topic| topic == "orders"),
        "the topic went with its object",
    )?;
    // A broker that serves and is not in the routes for a while gets what was made meanwhile.
    forgotten(world, "b")?;
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: meanwhile, namespace: topics}\nspec: {nameServerRef: {name: main}}\n")?;
    until(Duration::from_secs(60), || {
        let configs = admin(world, &addresses, async |client| {
            client.admin().topic_config("meanwhile").await
        })?;
        let brokers: Vec<&str> = configs.iter().map(|(broker, _)| &**broker).collect();
        demand(brokers == ["a", "b"], format!("it is at {brokers:?}"))
    })?;
    world.wait_ready("topics", &["topic/meanwhile"])?;
    // A cluster that is made anew, name servers, brokers, volumes and all, gets its settings again.
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: kept, namespace: topics}\nspec: {nameServerRef: {name: main}, queues: 3}\n")?;
    world.wait_ready("topics", &["topic/kept"])?;
    world.kubectl(
        "topics",
        &[
            "delete",
            "nameserver/main",
            "brokergroup/a",
            "brokergroup/b",
            "--timeout=60s",
        ],
    )?;
    world.wait_condition("topics", "topic/kept", "Ready", "False", "main")?;
    start(world, "topics", "")?;
    let addresses = outside(world, "topics")?;
    until(Duration::from_secs(60), || {
        let (groups, configs) = admin(world, &addresses, async |client| {
            let groups = client.admin().groups().await?;
            Ok((groups, client.admin().topic_config("kept").await?))
        })?;
        let queues = configs.iter().map(|(_, config)| config.write_queue_nums);
        demand(
            groups.iter().any(|group| group == "billing") && queues.eq([3, 3]),
            format!("the new brokers know {groups:?} and {configs:?}"),
        )
    })?;
    world.wait_ready("topics", &["topic/kept"])?;
    world.discard("topics")
}

/// Takes a broker out of the routes of every name server, where it is again when it registers the next time: within 30 s.
fn forgotten(world: &World, broker: &str) -> Result<(), String> {
    let path = "jsonpath={.items[*].status.podIP}";
    let label = "app.kubernetes.io/component=name-server";
    let pods = world.kubectl("topics", &["get", "pods", "-l", label, "-o", path])?;
    let servers: Vec<&str> = pods.split_whitespace().collect();
    demand(servers.len() == 2, format!("name servers: {pods}"))?;
    for server in servers {
        let server = format!("{server}:9876");
        let info = admin(world, &server, async |client| client.cluster_info().await)?;
        let data = info.broker_addr_table.get(broker);
        let master = data.and_then(|data| Some((data.cluster.as_str(), data.master()?)));
        let (cluster, addr) =
            master.ok_or_else(|| format!("{server} does not know broker {broker}"))?;
        let request = UnregisterBroker {
            master_epoch: None,
            broker_id: 0,
            cluster_name: cluster.into(),
            broker_addr: addr.into(),
            broker_name: broker.into(),
        };
        admin(world, &server, async |client| {
            client.remote(&server).call(&request, b"").await.map(drop)
        })?;
    }
    Ok(())
}
