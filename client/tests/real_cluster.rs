//! The client with a real name server and a real broker, all in this process, over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rmq_client::{
    Client, ErrorKind, GroupSpec, Message, PullOptions, PullStatus, Queue, TopicSpec,
};
mod common;

use common::{Cluster, broker};

/// Bodies of everything in a topic, by queue.
async fn everything(client: &Client, topic: &str) -> BTreeMap<Queue, Vec<String>> {
    let mut all = BTreeMap::new();
    for queue in client.refresh_route(topic).await.unwrap().readable() {
        let messages = client.pull_all(queue).await.unwrap();
        for (offset, message) in (0..).zip(&messages) {
            assert_eq!(message.queue_offset(), offset, "{queue} has a gap");
        }
        let bodies = messages
            .iter()
            .map(|message| String::from_utf8(message.body().to_vec()).unwrap());
        all.insert(queue.clone(), bodies.collect());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_read_back_whole() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .admin()
        .create_topic(&TopicSpec::new("orders").queues(2))
        .await
        .unwrap();
    let message = Message::new("orders", "hello")
        .key("k1")
        .key("k2")
        .tag("paid")
        .property("tenant", "é中😀")
        .flag(7);
    let receipt = client.producer().send(message).await.unwrap();
    assert_eq!(receipt.queue_offset(), 0);

    let pulled = client
        .pull(receipt.queue(), 0, &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (pulled.status, pulled.next_offset, pulled.max_offset),
        (PullStatus::Found, 1, 1)
    );
    let message = &pulled.messages[0];
    assert_eq!(message.body(), "hello");
    assert_eq!(
        (message.tag(), message.flag(), message.property("tenant")),
        (Some("paid"), 7, Some("é中😀"))
    );
    assert_eq!(message.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    assert_eq!(message.message_id(), receipt.message_id());
    assert_eq!(message.offset_id().to_string(), receipt.offset_id());
    assert_eq!(
        client
            .admin()
            .message_by_id(receipt.offset_id())
            .await
            .unwrap(),
        *message
    );

    let empty = client
        .pull(receipt.queue(), 1, &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (empty.status, empty.next_offset),
        (PullStatus::NoNewMessage, 1)
    );
    let beyond = client
        .pull(receipt.queue(), 100, &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (beyond.status, beyond.next_offset),
        (PullStatus::OffsetMoved, 1)
    );
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_pipelined_sends_arrive_once_and_in_order() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .admin()
        .create_topic(&TopicSpec::new("load").queues(4))
        .await
        .unwrap();
    let queues = client.route("load").await.unwrap().writable().to_vec();
    let producer = client
        .producer_builder()
        .max_in_flight(256)
        .retries(0)
        .build();
    // The first send of a queue makes the connection; from then on the order of the calls is the order of the messages.
    for queue in &queues {
        producer
            .send_to(queue, Message::new("load", "0"))
            .await
            .unwrap();
    }
    let mut sends = Vec::new();
    for n in 1..1_000 {
        for queue in &queues {
            sends.push((
                n,
                producer
                    .submit_to(queue, Message::new("load", n.to_string()))
                    .await
                    .unwrap(),
            ));
        }
    }
    for (n, send) in sends {
        assert_eq!(send.await.unwrap().queue_offset(), n);
    }
    let expected: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let all = everything(&client, "load").await;
    assert_eq!(all.len(), 4);
    assert!(all.values().all(|bodies| *bodies == expected));
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_tags_and_keys_of_order() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .admin()
        .create_topic(&TopicSpec::new("t").queues(4))
        .await
        .unwrap();
    let batch: Vec<_> = (0..10)
        .map(|n| Message::new("t", format!("b{n}")).tag(if n % 2 == 0 { "even" } else { "odd" }))
        .collect();
    let receipts: Vec<_> = client
        .producer()
        .send_all(batch)
        .await
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let queue = receipts[0].queue().clone();
    assert!(
        receipts
            .iter()
            .zip(0..)
            .all(|(receipt, n)| *receipt.queue() == queue && receipt.queue_offset() == n)
    );

    let odd = client
        .pull(&queue, 0, &PullOptions::default().tags("odd || other"))
        .await
        .unwrap();
    let bodies: Vec<_> = odd
        .messages
        .iter()
        .map(|message| message.body().clone())
        .collect();
    assert_eq!(bodies, ["b1", "b3", "b5", "b7", "b9"]);
    assert_eq!(odd.next_offset, 10);
    let none = client
        .pull(&queue, 0, &PullOptions::default().tags("nothing"))
        .await
        .unwrap();
    assert_eq!((none.status, none.next_offset), (PullStatus::NoMatch, 10));
    let two = client
        .pull(&queue, 3, &PullOptions::default().max_messages(2))
        .await
        .unwrap();
    assert_eq!((two.messages.len(), two.next_offset), (2, 5));

    let mut used = BTreeSet::new();
    for n in 0..5 {
        let receipt = client
            .producer()
            .send(Message::new("t", format!("o{n}")).ordered_by("customer-7"))
            .await
            .unwrap();
        used.insert(receipt.queue().clone());
    }
    assert_eq!(used.len(), 1);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_pull_gets_the_message_that_arrives() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .admin()
        .create_topic(&TopicSpec::new("t").queues(1))
        .await
        .unwrap();
    let queue = client.route("t").await.unwrap().writable()[0].clone();
    let waiting = tokio::spawn({
        let (client, queue) = (client.clone(), queue.clone());
        async move {
            client
                .pull(
                    &queue,
                    0,
                    &PullOptions::default().wait(Duration::from_secs(20)),
                )
                .await
        }
    });
    let receipt = client
        .producer()
        .send(Message::new("t", "now"))
        .await
        .unwrap();
    let pulled = waiting.await.unwrap().unwrap();
    assert_eq!(
        (pulled.status, pulled.messages.len()),
        (PullStatus::Found, 1)
    );
    assert_eq!(pulled.messages[0].message_id(), receipt.message_id());
    // The other pull that waits in vain is answered when its time is over.
    let vain = client
        .pull(
            &queue,
            1,
            &PullOptions::default().wait(Duration::from_millis(200)),
        )
        .await
        .unwrap();
    assert_eq!(vain.status, PullStatus::NoNewMessage);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_belong_to_a_group_and_outlive_the_broker() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let admin = client.admin();
    admin
        .create_topic(&TopicSpec::new("t").queues(1))
        .await
        .unwrap();
    admin
        .create_group(&GroupSpec::new("billing").retries(3))
        .await
        .unwrap();
    assert_eq!(
        admin.group_config("billing").await.unwrap()[0]
            .1
            .retry_max_times,
        3
    );
    let queue = client.route("t").await.unwrap().writable()[0].clone();
    for n in 0..5 {
        client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    assert_eq!(
        (
            admin.min_offset(&queue).await.unwrap(),
            admin.max_offset(&queue).await.unwrap()
        ),
        (0, 5)
    );
    assert_eq!(
        admin.committed_offset("billing", &queue).await.unwrap(),
        None
    );
    admin.commit_offset("billing", &queue, 3).await.unwrap();
    assert_eq!(
        admin.committed_offset("billing", &queue).await.unwrap(),
        Some(3)
    );
    let stats = admin.consume_stats("billing", Some("t")).await.unwrap();
    let state = stats.offset_table.get(&(&queue).into()).unwrap();
    assert_eq!((state.broker_offset, state.consumer_offset), (5, 3));
    let unknown = admin.commit_offset("nobody", &queue, 3).await.unwrap_err();
    assert_eq!(
        (unknown.kind(), unknown.broker_code()),
        (ErrorKind::NotFound, Some(26))
    );
    let stored = client.pull_all(&queue).await.unwrap();
    assert_eq!(
        admin
            .offset_at(&queue, stored[0].stored_at())
            .await
            .unwrap(),
        0
    );

    // The same data under another broker process (and another port): messages, topic, group and offset are there.
    cluster.broker.shutdown().await.unwrap();
    let again = broker(
        "broker-a",
        cluster.folder.path(),
        &cluster.name_server.local_addr().to_string(),
    )
    .await;
    let route = client
        .wait_for_route("t", Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(
        route.master("broker-a"),
        Some(again.addr().to_string().as_str())
    );
    assert_eq!(
        admin.committed_offset("billing", &queue).await.unwrap(),
        Some(3)
    );
    let receipt = client
        .producer()
        .send(Message::new("t", "5"))
        .await
        .unwrap();
    assert_eq!(receipt.queue_offset(), 5);
    assert_eq!(
        everything(&client, "t").await[&queue],
        ["0", "1", "2", "3", "4", "5"]
    );
    client.shutdown().await;
    again.shutdown().await.unwrap();
    cluster.name_server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_see_each_other_come_and_go() {
    let cluster = Cluster::start().await;
    let (first, second) = (cluster.client().await, cluster.client().await);
    first
        .admin()
        .create_topic(&TopicSpec::new("t").queues(2))
        .await
        .unwrap();
    let mut one = first
        .member_of("g")
        .subscribe("t", "*")
        .join()
        .await
        .unwrap();
    assert_eq!(one.members().await.unwrap(), [first.id()]);
    let two = second
        .member_of("g")
        .subscribe("t", "*")
        .join()
        .await
        .unwrap();
    let both = BTreeSet::from([first.id().to_owned(), second.id().to_owned()]);
    while one
        .members()
        .await
        .unwrap()
        .into_iter()
        .collect::<BTreeSet<_>>()
        != both
    {
        one.changed().await;
    }
    two.leave().await;
    while one.members().await.unwrap() != [first.id()] {
        one.changed().await;
    }
    let connections = first.admin().connections("broker-a", "g").await.unwrap();
    assert_eq!(connections.connection_set[0].client_id, first.id());
    one.leave().await;
    second.shutdown().await;
    cluster.stop(first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_changed_listed_and_deleted() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let admin = client.admin();
    admin
        .create_topic(&TopicSpec::new("t").queues(2))
        .await
        .unwrap();
    admin
        .create_topic(&TopicSpec::new("t").queues(5))
        .await
        .unwrap();
    assert_eq!(
        admin.topic_config("t").await.unwrap()[0].1.write_queue_nums,
        5
    );
    assert!(admin.topics().await.unwrap().contains(&"t".to_owned()));
    let all = admin.topic_configs().await.unwrap();
    assert_eq!(all[0].1["t"].read_queue_nums, 5);
    client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap();
    let stats = admin.topic_stats("t").await.unwrap();
    assert_eq!(
        stats
            .offset_table
            .iter()
            .map(|(_, bounds)| bounds.max_offset)
            .sum::<i64>(),
        1
    );

    // A message creates its topic as the template says; without that, nothing does.
    let receipt = client
        .producer()
        .send(Message::new("made-by-a-message", "x"))
        .await
        .unwrap();
    assert_eq!(receipt.queue_offset(), 0);
    client
        .wait_for_route("made-by-a-message", Duration::from_secs(5))
        .await
        .unwrap();
    let strict = client.producer_builder().auto_create_topic(false).build();
    assert_eq!(
        strict
            .send(Message::new("never", "x"))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NoRoute
    );

    admin.delete_topic("t").await.unwrap();
    assert_eq!(
        client.refresh_route("t").await.unwrap_err().kind(),
        ErrorKind::NoRoute
    );
    assert!(!admin.topics().await.unwrap().contains(&"t".to_owned()));
    let system = admin
        .create_topic(&TopicSpec::new("SCHEDULE_TOPIC_XXXX"))
        .await
        .unwrap_err();
    assert!(system.broker_code().is_some(), "{system}");
    assert!(!admin.runtime_info("broker-a").await.unwrap().is_empty());
    assert!(!admin.broker_config("broker-a").await.unwrap().is_empty());
    assert_eq!(
        admin.runtime_info("broker-z").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_topics_and_groups_are_created_and_changed_together() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let admin = client.admin();
    let one = TopicSpec::new("one")
        .queues(3)
        .attribute("message.type", "FIFO");
    let many = [
        one.clone().attribute("reserve.time", "2"),
        TopicSpec::new("two"),
    ];
    admin.create_topics(&many).await.unwrap();
    for spec in &many {
        admin.topic_shown(spec).await.unwrap();
    }
    let attributes = async || {
        let mut of_brokers = admin.topic_config("one").await.unwrap();
        let (_, config) = of_brokers.remove(0);
        let attributes = config.attributes.into_iter();
        let attributes = attributes.map(|(name, value)| format!("{name}={value}"));
        (config.write_queue_nums, attributes.collect::<Vec<_>>())
    };
    assert_eq!(
        attributes().await,
        (
            3,
            vec!["message.type=FIFO".to_owned(), "reserve.time=2".to_owned()]
        )
    );
    // As with one: what is not spoken of stays.
    let changed = [TopicSpec::new("one")
        .queues(5)
        .without_attribute("reserve.time")];
    admin.create_topics(&changed).await.unwrap();
    assert_eq!(
        attributes().await,
        (5, vec!["message.type=FIFO".to_owned()])
    );

    let groups = [GroupSpec::new("g").retries(3), GroupSpec::new("h")];
    admin.create_groups(&groups).await.unwrap();
    let config = admin.group_config("g").await.unwrap().remove(0).1;
    assert_eq!(config.retry_max_times, 3);
    let groups = admin.groups().await.unwrap();
    assert!(
        ["g", "h"]
            .iter()
            .all(|name| groups.contains(&(*name).to_owned()))
    );

    let bad = [
        TopicSpec::new("three"),
        TopicSpec::new("SCHEDULE_TOPIC_XXXX"),
    ];
    let error = admin.create_topics(&bad).await.unwrap_err();
    assert!(error.to_string().contains("SCHEDULE_TOPIC_XXXX"), "{error}");
    let nowhere = [GroupSpec::new("g").brokers(["broker-z"])];
    let error = admin.create_groups(&nowhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_brokers_one_may_die() {
    let cluster = Cluster::start().await;
    let other = tempfile::tempdir().unwrap();
    let name_servers = cluster.name_server.local_addr().to_string();
    let second = broker("broker-b", other.path(), &name_servers).await;
    let client = cluster.client().await;
    client
        .admin()
        .create_topic(&TopicSpec::new("t").queues(2))
        .await
        .unwrap();
    assert_eq!(client.refresh_route("t").await.unwrap().writable().len(), 4);
    let producer = client.producer();
    for n in 0..8 {
        producer
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    second.kill().await;
    for n in 8..16 {
        let receipt = producer
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
        assert_eq!(receipt.queue().broker(), "broker-a");
    }
    // It comes back with another port and everything that it had acknowledged.
    let again = broker("broker-b", other.path(), &name_servers).await;
    while client.refresh_route("t").await.unwrap().master("broker-b")
        != Some(again.addr().to_string().as_str())
    {
        tokio::task::yield_now().await;
    }
    let bodies: BTreeSet<String> = everything(&client, "t")
        .await
        .into_values()
        .flatten()
        .collect();
    assert_eq!(bodies, (0..16).map(|n: i32| n.to_string()).collect());
    again.shutdown().await.unwrap();
    cluster.stop(client).await;
}
