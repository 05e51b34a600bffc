//! What groups have done with a message, against real servers. No test waits for real.

use std::collections::BTreeMap;
use std::time::Duration;

use rmq_client::protocol::bodies::{
    ConsumeType, ConsumerData, HeartbeatData, MessageModel, SubscriptionData,
};
use rmq_client::protocol::header::Text;
use rmq_client::protocol::requests::SendMessage;
use rmq_client::protocol::{RequestCode, ResponseCode};
use rmq_client::{
    Client, Filter, GroupSpec, Membership, Message, MessageTrack, Queue, ReceivedMessage,
    StartFrom, TrackKind,
};
use rmq_testing::TestCluster;

const PATIENCE: Duration = Duration::from_secs(30);

/// A group that has come to this offset; `None`: to none.
async fn group(client: &Client, queue: &Queue, group: &str, offset: Option<i64>) {
    let admin = client.admin();
    admin.create_group(&GroupSpec::new(group)).await.unwrap();
    if let Some(offset) = offset {
        admin.commit_offset(group, queue, offset).await.unwrap();
    }
}

async fn join(client: &Client, group: &str, filter: impl Into<Filter>) -> Membership {
    let member = client.member_of(group).subscribe("orders", filter);
    member.join().await.unwrap()
}

async fn tracks(client: &Client, message: &ReceivedMessage) -> BTreeMap<String, MessageTrack> {
    let tracks = client.admin().message_tracks(message).await.unwrap();
    let tracks = tracks.into_iter();
    tracks.map(|track| (track.group.clone(), track)).collect()
}

#[rmq_testing::test]
async fn groups_have_passed_a_message_or_not(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    let producer = client.producer();
    for (body, tag, price) in [("a", "red", "3"), ("b", "blue", "5"), ("c", "red", "7")] {
        let order = Message::new("orders", body)
            .tag(tag)
            .property("price", price);
        producer.send(order).await.unwrap();
    }
    let orders = cluster.topic("orders").messages().await;
    let [first, message, _] = orders.as_slice() else {
        panic!("{orders:?}");
    };
    let none = client.admin().message_tracks(message).await.unwrap();
    assert_eq!(none, [], "no group has anything to do with the topic");

    let queue = message.queue();
    let sql = |expression: &str| Filter::sql(expression);
    let mut members = Vec::new();
    for (name, offset, filter) in [
        ("done", Some(2), Some(Filter::all())),
        ("tags", Some(3), Some(Filter::from("red || green"))),
        ("sql", Some(3), Some(sql("price > 6"))),
        ("sql-true", Some(3), Some(sql("price BETWEEN 4 AND 6"))),
        ("next", Some(1), Some(Filter::all())),
        ("late", Some(0), Some(Filter::from("red"))),
        ("fresh", None, Some(Filter::all())),
        ("away", Some(0), None),
        ("gone", Some(2), None),
    ] {
        group(&client, queue, name, offset).await;
        if let Some(filter) = filter {
            members.push(join(&client, name, filter).await);
        }
    }
    let all = client.member_of("all").subscribe("orders", "*");
    members.push(all.broadcasting().join().await.unwrap());
    // A member that pulls, as those of Java say it.
    let heartbeat = HeartbeatData {
        client_id: "10.0.0.1@puller".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "puller".to_owned(),
            consume_type: ConsumeType::Actively,
            message_model: MessageModel::Clustering,
            subscription_data_set: vec![SubscriptionData {
                topic: "orders".to_owned(),
                sub_string: "*".to_owned(),
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let broker = client.remote(&cluster.broker(0).address());
    let code = RequestCode::HeartBeat.as_i32();
    let beat = broker.call_any(code, &(), &heartbeat.to_json()).await;
    beat.unwrap().success().unwrap();

    let found = tracks(&client, message).await;
    let states: Vec<(&str, TrackKind, Option<i64>, Option<i64>)> = found
        .values()
        .map(|track| (track.group.as_str(), track.kind, track.offset, track.behind))
        .collect();
    use TrackKind::{Broadcasting, Consumed, Filtered, NotConsumedYet, NotOnline, Pull};
    assert_eq!(
        states,
        [
            ("all", Broadcasting, None, None),
            ("away", NotOnline, Some(0), Some(1)),
            ("done", Consumed, Some(2), None),
            ("fresh", NotConsumedYet, None, None),
            ("gone", Consumed, Some(2), None),
            ("late", NotConsumedYet, Some(0), Some(1)),
            ("next", NotConsumedYet, Some(1), Some(0)),
            ("puller", Pull, None, None),
            ("sql", Filtered, Some(3), None),
            ("sql-true", Consumed, Some(3), None),
            ("tags", Filtered, Some(3), None),
        ]
    );
    let filter = |name: &str| {
        let track = &found[name];
        (track.subscription.as_deref(), track.is_wanted)
    };
    assert_eq!(filter("tags"), (Some("red || green"), Some(false)));
    assert_eq!(filter("sql"), (Some("price > 6"), Some(false)));
    let true_of_it = (Some("price BETWEEN 4 AND 6"), Some(true));
    assert_eq!(filter("sql-true"), true_of_it);
    // It will be left out, and nobody knows what a group wants of which no member is online.
    assert_eq!(filter("late"), (Some("red"), Some(false)));
    assert_eq!(filter("gone"), (None, None));
    let online: Vec<usize> = ["done", "gone", "all", "puller"]
        .iter()
        .map(|name| found[*name].members)
        .collect();
    assert_eq!(online, [1, 0, 1, 1]);
    // Of the message before it the same groups say something else.
    let before = tracks(&client, first).await;
    assert_eq!(before["tags"].kind, Consumed);
    assert_eq!(before["sql"].kind, Filtered);
    assert_eq!(before["next"].kind, Consumed);

    // A group that cannot be looked into says why, and the others are told all the same.
    let broker = cluster.broker(0);
    let code = RequestCode::GetConsumerConnectionList;
    broker.fail(code, ResponseCode::NoPermission, 1);
    let found = tracks(&client, message).await;
    let unknown: Vec<&MessageTrack> = found
        .values()
        .filter(|track| track.kind == TrackKind::Unknown)
        .collect();
    let [unknown] = unknown.as_slice() else {
        panic!("{unknown:?}");
    };
    let problem = unknown.problem.as_deref().unwrap();
    assert!(problem.contains("NO_PERMISSION"), "{problem}");
    assert_eq!(found.len(), 11);
    broker.fail(code, ResponseCode::NoPermission, 1);
    let failed = client.admin().message_track(message, "done").await;
    let code = failed.unwrap_err().broker_code();
    assert_eq!(code, Some(ResponseCode::NoPermission.as_i32()));
    let stranger = client.admin().message_track(message, "stranger").await;
    assert_eq!(stranger.unwrap().kind, NotOnline);
    for member in members {
        member.leave().await;
    }
}

#[rmq_testing::test]
async fn what_was_given_back_is_a_retry_and_then_a_dead_letter(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    for body in ["bad", "good"] {
        let order = Message::new("orders", body).key("order-17");
        client.producer().send(order).await.unwrap();
    }
    let orders = cluster.topic("orders").messages().await;
    let mut deliveries = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let track = async |message: &ReceivedMessage| {
        let track = client.admin().message_track(message, "billing").await;
        track.unwrap()
    };
    for _ in 0..2 {
        let order = deliveries.next().await.unwrap().unwrap();
        match order.body().as_ref() {
            b"good" => order.ack().await.unwrap(),
            _ => order.retry().await.unwrap(),
        }
    }
    let waits = track(&orders[0]).await;
    assert_eq!((waits.kind, waits.retries), (TrackKind::Retrying, 1));
    // The third level of the default is the first of retries: ten seconds.
    let due = waits.retry_at.expect("a time");
    let pause = due.duration_since(orders[0].stored_at()).unwrap();
    let known = Duration::from_secs(10)..Duration::from_secs(10) + PATIENCE;
    assert!(known.contains(&pause), "{pause:?}");
    assert_eq!(waits.copy, None);

    cluster.advance(Duration::from_secs(11));
    let again = deliveries.next().await.unwrap().unwrap();
    assert_eq!(again.attempt(), 2);
    let delivered = track(&orders[0]).await;
    assert_eq!(
        (delivered.kind, delivered.retries),
        (TrackKind::Retrying, 1)
    );
    let (queue, offset) = delivered.copy.expect("a place");
    assert_eq!((queue.topic(), offset), ("%RETRY%billing", 0));
    assert_eq!(delivered.retry_at, None);
    // The retry itself says the same.
    let retry = track(again.message()).await;
    assert_eq!((retry.kind, retry.retries), (TrackKind::Retrying, 1));
    assert_eq!(
        client
            .admin()
            .message_tracks(again.message())
            .await
            .unwrap(),
        [retry]
    );
    again.ack().await.unwrap();
    deliveries.consumer().control().commit().await.unwrap();
    let consumed = track(&orders[0]).await;
    assert_eq!((consumed.kind, consumed.retries), (TrackKind::Consumed, 1));
    assert_eq!(consumed.copy, Some((queue, 0)));
    // The other message with this key was consumed at once.
    let other = track(&orders[1]).await;
    assert_eq!(
        (other.kind, other.retries, other.copy),
        (TrackKind::Consumed, 0, None)
    );

    let order = Message::new("orders", "worse");
    client.producer().send(order).await.unwrap();
    let worse = deliveries.next().await.unwrap().unwrap();
    let message = worse.message().clone();
    worse.dead_letter("no such customer").await.unwrap();
    let dead = track(&message).await;
    assert_eq!((dead.kind, dead.retries), (TrackKind::DeadLetter, 1));
    assert_eq!(dead.reason.as_deref(), Some("no such customer"));
    let (queue, offset) = dead.copy.clone().expect("a place");
    assert_eq!((queue.topic(), offset), ("%DLQ%billing", 0));
    // The dead letter itself, which only this group has.
    let (admin, id) = (client.admin(), message.message_id());
    let letter = admin.messages_by_unique_id("%DLQ%billing", &id).await;
    let letter = letter.unwrap().remove(0);
    let of_letter = client.admin().message_tracks(&letter).await.unwrap();
    let [of_letter] = of_letter.as_slice() else {
        panic!("{of_letter:?}");
    };
    assert_eq!((of_letter.kind, &of_letter.copy), (dead.kind, &dead.copy));
    deliveries.shutdown().await.unwrap();
}

#[rmq_testing::test]
async fn messages_with_one_id_have_retries_of_their_own(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    // As a producer does that got no answer: the same message again, with the same id.
    let twice = Message::new("orders", "twice");
    let first = client.producer().send(twice).await.unwrap();
    let orders = cluster.topic("orders").messages().await;
    let properties = format!("UNIQ_KEY\u{1}{}\u{2}", first.message_id());
    let again = SendMessage {
        properties: Text::Plain(&properties),
        ..SendMessage::new("producers", "orders")
    };
    let broker = client.remote(&cluster.broker(0).address());
    let code = RequestCode::SendMessageV2.as_i32();
    let stored = broker.call_any(code, &again, b"twice").await;
    stored.unwrap().success().unwrap();
    let mut deliveries = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    for _ in 0..2 {
        let order = deliveries.next().await.unwrap().unwrap();
        match order.message().queue_offset() {
            0 => order.ack().await.unwrap(),
            _ => order.dead_letter("the second").await.unwrap(),
        }
    }
    deliveries.consumer().control().commit().await.unwrap();
    let admin = client.admin();
    let both = admin.messages_by_unique_id("orders", first.message_id());
    let both = both.await.unwrap();
    let mut kinds = Vec::new();
    for message in &both {
        let track = client.admin().message_track(message, "billing").await;
        kinds.push((message.queue_offset(), track.unwrap().kind));
    }
    kinds.sort_by_key(|(offset, _)| *offset);
    let expected = [(0, TrackKind::Consumed), (1, TrackKind::DeadLetter)];
    assert_eq!(kinds, expected);
    assert_eq!(orders.len(), 1);
    deliveries.shutdown().await.unwrap();
}

#[rmq_testing::test(brokers = 2)]
async fn a_retry_at_another_broker_is_found_without_a_key(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    client
        .producer()
        .send(Message::new("orders", "order"))
        .await
        .unwrap();
    let orders = cluster.topic("orders").messages().await;
    let name = orders[0].queue().broker();
    let is_home = |group: &usize| cluster.broker(*group).name() == name;
    let home = cluster.broker((0..2).find(is_home).expect("one of them"));
    let mut deliveries = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let track = async || {
        let tracks = client.admin().message_tracks(&orders[0]).await.unwrap();
        let [track] = tracks.as_slice() else {
            panic!("{tracks:?}");
        };
        track.clone()
    };
    let order = deliveries.next().await.unwrap().unwrap();
    // The member sends a copy, which its broker does not take either.
    let code = RequestCode::ConsumerSendMsgBack;
    home.fail(code, ResponseCode::SystemError, 1);
    home.fail(RequestCode::SendMessageV2, ResponseCode::NoPermission, 1);
    order.retry().await.unwrap();
    let waits = track().await;
    assert_eq!((waits.kind, waits.retries), (TrackKind::Retrying, 1));
    let due = waits.retry_at.expect("a time");
    let pause = due.duration_since(orders[0].stored_at()).unwrap();
    let known = Duration::from_secs(10)..Duration::from_secs(10) + PATIENCE;
    assert!(known.contains(&pause), "{pause:?}");

    cluster.advance(Duration::from_secs(11));
    let again = deliveries.next().await.unwrap().unwrap();
    assert_ne!(again.message().queue().broker(), name);
    assert_eq!(again.attempt(), 2, "it counts on");
    assert_eq!(again.message().message_id(), orders[0].message_id());
    let delivered = track().await;
    let state = (delivered.kind, delivered.retries, delivered.retry_at);
    assert_eq!(state, (TrackKind::Retrying, 1, None));
    let (queue, _) = delivered.copy.expect("a place");
    assert_ne!(queue.broker(), name);
    assert_eq!(queue.topic(), "%RETRY%billing");

    again.dead_letter("no such customer").await.unwrap();
    let dead = track().await;
    assert_eq!((dead.kind, dead.retries), (TrackKind::DeadLetter, 2));
    assert_eq!(dead.reason.as_deref(), Some("no such customer"));
    let (queue, _) = dead.copy.expect("a place");
    assert_ne!(queue.broker(), name);
    deliveries.shutdown().await.unwrap();
}
