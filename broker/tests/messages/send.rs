//! Sending, and every way to be refused.

use bytes::{Buf as _, BytesMut};
use rmq_broker::{BrokerConfig, Deps};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::{CommandHead, Header};
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::message::property;
use rmq_protocol::requests::{SendMessage, UpdateAndCreateTopic};
use rmq_protocol::route::perm;
use rmq_protocol::{FrameLimits, HeaderEncoding, Split, encode_frame, split};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Client, Rig, get, message, pull, remark, sent, value};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_as_it_was_sent_with_what_the_broker_adds() {
    let rig = Rig::start().await;
    let client = rig.client();
    let request = SendMessage {
        flag: 7,
        born_timestamp: 1_700_000_000_000,
        ..message(
            "orders",
            2,
            "KEYS\u{1}k1 k2\u{2}mine\u{1}a b\u{2}TAGS\u{1}blue\u{2}",
        )
    };
    let short = client.send(&request, b"one").await.expect("stored");
    let long = client
        .call(RequestCode::SendMessage, &request.v1(), b"two")
        .await;
    let long = sent(&long).expect("stored");

    assert_eq!((short.queue_id, short.queue_offset), (2, 0));
    assert_eq!((long.queue_id, long.queue_offset), (2, 1));
    for reply in [&short, &long] {
        assert_eq!(reply.msg_region.as_deref(), Some("DefaultRegion"));
        assert_eq!(reply.trace_on, Some(true));
        let port = rig.broker.addr().port();
        assert!(
            reply.msg_id.starts_with(&format!("7F000001{port:08X}")),
            "{}",
            reply.msg_id
        );
        assert_eq!(reply.msg_id.len(), 32);
    }

    let pulled = client.pull(&pull("orders", 2, 0)).await;
    assert_eq!(pulled.bodies(), ["one", "two"]);
    for (record, reply) in pulled.records.iter().zip([&short, &long]) {
        assert_eq!(
            (record.topic.as_str(), record.queue_id, record.flag),
            ("orders", 2, 7)
        );
        assert_eq!(
            record.property(property::UNIQ_KEY),
            reply.transaction_id.as_deref()
        );
        assert_eq!(record.property(property::UNIQ_KEY).map(str::len), Some(32));
        // The user's own come first, untouched and in order.
        let names: Vec<&str> = record
            .properties
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names[..3], ["KEYS", "mine", "TAGS"]);
        assert_eq!(record.property("mine"), Some("a b"));
        assert_eq!(record.property(property::CLUSTER), Some("DefaultCluster"));
        assert_eq!(record.property(property::MSG_REGION), Some("DefaultRegion"));
        assert_eq!(record.property(property::TRACE_ON), Some("true"));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_received_can_be_sent_again() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.put("again", "", "x").await;
    let first = client.pull(&pull("again", 0, 0)).await.records.remove(0);
    let text: String = first
        .properties
        .iter()
        .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
        .collect();
    client
        .put(
            "again",
            &format!("{text}__CRC32#\u{1}0000000000\u{2}POP_CK\u{1}1 2\u{2}"),
            "x",
        )
        .await;
    let second = client.pull(&pull("again", 0, 1)).await.records.remove(0);
    assert_eq!(second.properties, first.properties);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_together_and_its_members_are_left_alone() {
    let rig = Rig::start().await;
    let client = rig.client();
    let mut body = Vec::new();
    for (text, properties) in [
        ("a", "TAGS\u{1}A\u{2}UNIQ_KEY\u{1}K1\u{2}"),
        ("b", "TAGS\u{1}B"),
        ("c", ""),
    ] {
        let entry = BatchEntry {
            flag: 3,
            body: text.as_bytes(),
            properties,
        };
        batch::encode(&entry, &mut body).expect("valid");
    }
    let request = SendMessage {
        batch: true,
        ..message("many", 1, "UNIQ_KEY\u{1}C0FFEE\u{2}")
    };
    let reply = sent(
        &client
            .call(RequestCode::SendBatchMessage, &request, &body)
            .await,
    )
    .expect("stored");
    assert_eq!((reply.queue_id, reply.queue_offset), (1, 0));
    assert_eq!(
        reply.msg_id.split(',').map(str::len).collect::<Vec<_>>(),
        [32, 32, 32]
    );
    assert_eq!(reply.transaction_id.as_deref(), Some("C0FFEE"));

    let pulled = client.pull(&pull("many", 1, 0)).await;
    assert_eq!(pulled.bodies(), ["a", "b", "c"]);
    assert_eq!(
        pulled
            .records
            .iter()
            .map(|record| record.flag)
            .collect::<Vec<_>>(),
        [3, 3, 3]
    );
    let properties: Vec<usize> = pulled
        .records
        .iter()
        .map(|record| record.properties.len())
        .collect();
    assert_eq!(properties, [2, 1, 0], "members get nothing added");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_sends_keep_their_order_and_are_all_answered() {
    let rig = Rig::start().await;
    let client = rig.client();
    client
        .create_topic("stream", 1, perm::READ | perm::WRITE)
        .await;
    let bodies: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let request = message("stream", 0, "");
    // Each is written when it is first polled, in this order; an early one may be answered by then.
    let mut calls = Vec::new();
    for body in &bodies {
        let mut call = Box::pin(client.send(&request, body.as_bytes()));
        let early =
            std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)))
                .await;
        calls.push((call, early));
    }
    for (offset, (call, early)) in calls.into_iter().enumerate() {
        let reply = match early {
            std::task::Poll::Ready(reply) => reply,
            std::task::Poll::Pending => call.await,
        };
        assert_eq!(reply.expect("stored").queue_offset, offset as i64);
    }
    let mut read = Vec::new();
    while read.len() < bodies.len() {
        let pulled = client.pull(&pull("stream", 0, read.len() as i64)).await;
        assert_eq!(pulled.code, 0, "{pulled:?}");
        read.extend(pulled.records.iter().map(|record| record.text().to_owned()));
    }
    assert_eq!(read, bodies);
    rig.stop().await;
}

/// What is sent, to which code it leads, and a word of the explanation.
struct Case {
    name: &'static str,
    request: SendMessage<'static>,
    body: Vec<u8>,
    code: i32,
    says: &'static str,
}

fn case(name: &'static str, request: SendMessage<'static>, code: i32, says: &'static str) -> Case {
    Case {
        name,
        request,
        body: b"x".to_vec(),
        code,
        says,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_with_its_code_and_a_reason() {
    let rig = Rig::start().await;
    let client = rig.client();
    client
        .create_topic("known", 4, perm::READ | perm::WRITE)
        .await;
    let long_name: &'static str = Box::leak("n".repeat(128).into_boxed_str());
    let long_properties: &'static str =
        Box::leak(format!("p\u{1}{}\u{2}", "v".repeat(33_000)).into_boxed_str());
    let cases = [
        case(
            "unknown topic, unknown template",
            SendMessage {
                default_topic: "none".into(),
                ..message("new", 0, "")
            },
            17,
            "not exist",
        ),
        case(
            "characters of the name",
            message("no spaces", 0, ""),
            29,
            "no spaces",
        ),
        case("no name", message("", 0, ""), 29, ""),
        case("length of the name", message(long_name, 0, ""), 29, "127"),
        case(
            "queue that is not there",
            message("known", 4, ""),
            29,
            "queueId[4]",
        ),
        case(
            "topic of the system",
            message("SCHEDULE_TOPIC_XXXX", 0, ""),
            16,
            "forbidden",
        ),
        case(
            "properties too long",
            message("known", 0, long_properties),
            13,
            "propert",
        ),
        case(
            "too far ahead",
            message("known", 0, "TIMER_DELAY_SEC\u{1}259201\u{2}"),
            13,
            "the max delay 259200000ms",
        ),
        case(
            "retry of a group whose name is not allowed",
            message("%RETRY%no body", 0, ""),
            29,
            "no body",
        ),
        Case {
            body: vec![b'x'; (4 << 20) + 1],
            ..case("body too large", message("known", 0, ""), 13, "4194304")
        },
    ];
    for case in cases {
        let refused = client
            .send(&case.request, &case.body)
            .await
            .expect_err(case.name);
        assert_eq!(refused.code, case.code, "{}: {refused:?}", case.name);
        assert!(
            refused.remark.contains(case.says),
            "{}: {refused:?}",
            case.name
        );
    }
    // The largest body is taken.
    client
        .send(&message("known", 0, ""), &vec![b'x'; 4 << 20])
        .await
        .expect("stored");

    let missing = client
        .call(RequestCode::SendMessageV2, &[("a", "g")], b"x")
        .await;
    assert_eq!(missing.code(), 1);
    assert!(remark(&missing).contains('b'), "{}", remark(&missing));
    let unknown = client
        .0
        .call(9_999, &(), &[], crate::support::PATIENCE)
        .await
        .expect("an answer");
    assert_eq!(
        (unknown.code(), remark(&unknown).contains("9999")),
        (3, true)
    );
    let unsupported = client.call(RequestCode::PopMessage, &(), &[]).await;
    assert_eq!(
        (
            unsupported.code(),
            remark(&unsupported).contains("POP_MESSAGE")
        ),
        (3, true)
    );

    // Nothing of that was stored or made, and the connection still works.
    assert_eq!(client.pull(&pull("%RETRY%nobody", 0, 0)).await.code, 17);
    let pulled = client.pull(&pull("known", 0, 0)).await;
    assert_eq!(pulled.records.len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_batches_are_refused_whole() {
    let rig = Rig::start().await;
    let client = rig.client();
    client
        .create_topic("many", 1, perm::READ | perm::WRITE)
        .await;
    let mut good = Vec::new();
    batch::encode(
        &BatchEntry {
            flag: 0,
            body: b"good",
            properties: "",
        },
        &mut good,
    )
    .expect("valid");
    let mut delayed = good.clone();
    batch::encode(
        &BatchEntry {
            flag: 0,
            body: b"late",
            properties: "DELAY\u{1}3\u{2}",
        },
        &mut delayed,
    )
    .expect("valid");
    let cut = [&good[..], &good[..10]].concat();
    let mut negative = good.clone();
    negative[..4].copy_from_slice(&(-1i32).to_be_bytes());
    let request = SendMessage {
        batch: true,
        ..message("many", 0, "")
    };
    for body in [&cut[..], &negative, &delayed, &[]] {
        let answer = client
            .call(RequestCode::SendBatchMessage, &request, body)
            .await;
        assert_eq!(answer.code(), 13, "{}", remark(&answer));
    }
    assert_eq!(client.pull(&pull("many", 0, 0)).await.code, 19);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_topics_are_made_after_the_template_when_that_is_allowed() {
    let rig = Rig::start().await;
    let client = rig.client();
    client
        .send(
            &SendMessage {
                default_topic_queue_nums: 2,
                ..message("small", 1, "")
            },
            b"x",
        )
        .await
        .expect("two queues");
    let refused = client
        .send(&message("small", 2, ""), b"x")
        .await
        .expect_err("only two queues");
    assert_eq!(refused.code, 29);
    client
        .send(
            &SendMessage {
                default_topic_queue_nums: 100,
                ..message("large", 7, "")
            },
            b"x",
        )
        .await
        .expect("as many as the template has");
    assert_eq!(
        client
            .send(&message("large", 8, ""), b"x")
            .await
            .expect_err("no more")
            .code,
        29
    );
    // A negative queue leaves the choice to the broker.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        seen.insert(
            client
                .send(&message("large", -1, ""), b"x")
                .await
                .expect("stored")
                .queue_id,
        );
    }
    assert_eq!(seen, (0..8).collect());
    rig.stop().await;

    let strict = Rig::start_with(Deps::default(), |config: &mut BrokerConfig| {
        config.auto_create_topic = false
    })
    .await;
    let refused = strict
        .client()
        .send(&message("new", 0, ""), b"x")
        .await
        .expect_err("no template");
    assert_eq!(refused.code, 17, "{refused:?}");
    strict.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_sends_are_stored_and_not_answered() {
    let rig = Rig::start().await;
    let client = rig.client();
    client
        .create_topic("quiet", 1, perm::READ | perm::WRITE)
        .await;
    client
        .0
        .one_way(
            RequestCode::SendMessageV2.as_i32(),
            &message("quiet", 0, ""),
            b"psst",
            crate::support::PATIENCE,
        )
        .await
        .expect("handed over");
    // The same connection: handled after it, answered when both are written.
    client.put("quiet", "", "and this").await;
    assert_eq!(
        client.pull(&pull("quiet", 0, 0)).await.bodies(),
        ["psst", "and this"]
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sync_flush_every_send_is_answered_after_the_disk() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.flush = rmq_broker::Flush::Sync
    })
    .await;
    let clients: Vec<Client> = (0..4).map(|_| rig.client()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (queue, client) in clients.into_iter().enumerate() {
        tasks.spawn(async move {
            for offset in 0..20 {
                let reply = client
                    .send(&message("safe", queue as i32, ""), b"x")
                    .await
                    .expect("stored");
                assert_eq!(reply.queue_offset, offset);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("all stored");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_gives_up_sends_to_the_dead_letters() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_group("tired", |_| {}).await;
    let attempt = |times| SendMessage {
        reconsume_times: times,
        max_reconsume_times: Some(3),
        ..message("%RETRY%tired", 0, "TAGS\u{1}t\u{2}")
    };
    client
        .send(&attempt(3), b"once more")
        .await
        .expect("stored");
    client.send(&attempt(4), b"no more").await.expect("stored");
    assert_eq!(
        client.pull(&pull("%RETRY%tired", 0, 0)).await.bodies(),
        ["once more"]
    );
    let dead = client.pull(&pull("%DLQ%tired", 0, 0)).await;
    assert_eq!(dead.bodies(), ["no more"]);
    assert_eq!(dead.records[0].property(property::DELAY), Some("-1"));
    assert_eq!(dead.records[0].reconsume_times, 4);
    rig.stop().await;
}

/// What arrives in one read is handled together: each send still goes to its own topic, is answered by itself and counted.
#[tokio::test(flavor = "multi_thread")]
async fn sends_of_one_read_to_several_topics_are_kept_apart() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.auto_create_topic = false;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    let client = rig.client();
    for topic in ["a", "b"] {
        client
            .create_topic(topic, 1, perm::READ | perm::WRITE)
            .await;
    }
    let topics = ["a", "a", "b", "a", "none", "a", "b"];
    let mut frames = BytesMut::new();
    for (opaque, topic) in topics.iter().enumerate() {
        let head = CommandHead::request(RequestCode::SendMessageV2.as_i32(), opaque as i32);
        let body = format!("{opaque}");
        encode_frame(
            &mut frames,
            HeaderEncoding::Json,
            &head,
            &message(topic, 0, ""),
            body.as_bytes(),
        );
    }
    let mut stream = TcpStream::connect(rig.broker.addr())
        .await
        .expect("connected");
    stream.write_all(&frames).await.expect("sent");
    let mut codes = vec![None; topics.len()];
    let mut read = BytesMut::new();
    while codes.contains(&None) {
        assert_ne!(stream.read_buf(&mut read).await.expect("answers"), 0);
        while let Split::Frame { frame, consumed } =
            split(&read, &FrameLimits::default()).expect("a frame")
        {
            let header = Header::decode(frame.encoding, frame.header, &FrameLimits::default())
                .expect("a header");
            codes[header.opaque as usize] = Some(header.code);
            drop(header);
            read.advance(consumed);
        }
    }
    let not_there = ResponseCode::TopicNotExist.as_i32();
    assert_eq!(codes, [0, 0, 0, 0, not_there, 0, 0].map(Some));
    assert_eq!(
        client.pull(&pull("a", 0, 0)).await.bodies(),
        ["0", "1", "3", "5"]
    );
    assert_eq!(client.pull(&pull("b", 0, 0)).await.bodies(), ["2", "6"]);
    let (_, metrics) = get(&rig.broker, "/metrics").await;
    for (topic, count) in [("a", 4.0), ("b", 2.0)] {
        let label = format!("topic=\"{topic}\"");
        let counted = value(&metrics, "rocketmq_messages_in_total", &[&label]);
        assert_eq!(counted, Some(count), "{metrics}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_priority_goes_to_the_queue_of_its_priority() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.topic_message_type_check = true;
    })
    .await;
    let client = rig.client();
    client.set_queues("t", (6, 4), 6).await;
    // Properties, the queue of the request, the queue in the answer.
    for (properties, asked, queue) in [
        ("_SYS_MSG_PRIORITY_\u{1}0\u{2}", 2, 0),
        ("_SYS_MSG_PRIORITY_\u{1}2\u{2}", -1, 2),
        // No queue that nobody writes to any more.
        ("_SYS_MSG_PRIORITY_\u{1}2147483647\u{2}", 1, 3),
        ("_SYS_MSG_PRIORITY_\u{1}-1\u{2}", 1, 1),
    ] {
        let request = SendMessage {
            queue_id: asked,
            ..message("t", 0, properties)
        };
        let sent = client.send(&request, properties.as_bytes()).await;
        let sent = sent.expect("stored");
        assert_eq!(sent.queue_id, queue, "{properties}");
        let pulled = client.pull(&pull("t", queue, sent.queue_offset)).await;
        let record = pulled.records.first().expect("a record");
        assert!(record.property(property::PRIORITY).is_some());
    }
    // What counts more takes the priority away.
    let in_order = "_SYS_MSG_PRIORITY_\u{1}0\u{2}__SHARDINGKEY\u{1}k\u{2}";
    let request = message("t", 2, in_order);
    let sent = client.send(&request, b"in order").await.expect("stored");
    assert_eq!(sent.queue_id, 2);
    let pulled = client.pull(&pull("t", 2, sent.queue_offset)).await;
    let record = pulled.records.first().expect("a record");
    assert_eq!(record.property(property::PRIORITY), None);
    assert_eq!(record.property(property::SHARDING_KEY), Some("k"));
    let delayed = "_SYS_MSG_PRIORITY_\u{1}0\u{2}DELAY\u{1}1\u{2}";
    client.put("t", delayed, "later").await;
    let parked = client.pull(&pull("SCHEDULE_TOPIC_XXXX", 0, 0)).await;
    let record = parked.records.first().expect("a record");
    assert_eq!(record.property(property::PRIORITY), None);

    // Topics say that they are for such messages.
    let request = UpdateAndCreateTopic {
        topic: "urgent".into(),
        default_topic: None,
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: None,
        topic_sys_flag: None,
        order: None,
        attributes: Some("+message.type=PRIORITY".into()),
        force: None,
    };
    let answer = client
        .call(RequestCode::UpdateAndCreateTopic, &request, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    client
        .put("urgent", "_SYS_MSG_PRIORITY_\u{1}1\u{2}", "high")
        .await;
    let refused = client.send(&message("urgent", 0, ""), b"plain").await;
    let refused = refused.expect_err("another type");
    assert!(
        refused.code == 13 && refused.remark.contains("PRIORITY"),
        "{refused:?}"
    );
    rig.stop().await;
}
