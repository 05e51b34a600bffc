//! Light queues: a message is read in each queue that it names beside its topic. No test waits for real.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{OffsetMessageId, flags, property};
use rmq_protocol::requests::{
    ConsumerSendMsgBack, DeleteTopicInBroker, EndTransaction, GetMaxOffset, GetMinOffset,
    OffsetReply, PullMessage, QueryConsumerOffset, Reply, UpdateConsumerOffset,
};
use rmq_transport::ManualClock;

use crate::support::{Client, PATIENCE, Rig, config, message, parked, pull, remark, waiting_pull};

const START_MS: i64 = 1_800_000_000_000;
/// Longer than any test.
const LONG: i64 = 100_000;

fn on(config: &mut BrokerConfig) {
    config.enable_lmq = true;
    config.enable_multi_dispatch = true;
}

async fn start() -> (Rig, Client) {
    let rig = Rig::start_with(Deps::default(), on).await;
    let client = rig.client();
    client.create_topic("t", 2, 6).await;
    (rig, client)
}

/// The property that names light queues.
fn names(queues: &str) -> String {
    format!("INNER_MULTI_DISPATCH\u{1}{queues}\u{2}")
}

/// The messages of a light queue, each with its offsets there and in the other queues that it names.
async fn light(client: &Client, queue: &str) -> Vec<String> {
    let pulled = client.pull(&pull(queue, 0, 0)).await;
    let records = pulled.records.iter().map(|record| {
        let offsets = record.property(property::INNER_MULTI_QUEUE_OFFSET);
        format!("{} {}", record.text(), offsets.expect("the broker says"))
    });
    records.collect()
}

async fn bounds(client: &Client, topic: &str, queue_id: i32) -> Result<(i64, i64), i32> {
    let min = GetMinOffset {
        topic: topic.into(),
        queue_id,
        broker_name: None,
    };
    let max = GetMaxOffset {
        topic: topic.into(),
        queue_id,
        committed: None,
        broker_name: None,
    };
    let min = client.call(RequestCode::GetMinOffset, &min, &[]).await;
    let max = client.call(RequestCode::GetMaxOffset, &max, &[]).await;
    if min.code() != 0 {
        return Err(min.code());
    }
    let offset = |frame: &rmq_transport::OwnedFrame| {
        OffsetReply::decode(&frame.header().fields)
            .expect("an offset")
            .offset
    };
    Ok((offset(&min), offset(&max)))
}

fn position(sent: &str) -> i64 {
    let id: OffsetMessageId = sent.parse().expect("an offset id");
    id.position.0 as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_in_each_queue_that_it_names() {
    let (rig, client) = start().await;
    assert_eq!(
        bounds(&client, "%LMQ%a", 0).await,
        Ok((0, 0)),
        "none so far"
    );
    let pulled = client.pull(&pull("%LMQ%a", 0, 0)).await;
    assert_eq!((pulled.code, &*pulled.remark), (19, "NO_MESSAGE_IN_QUEUE"));

    client.put("t", &names("%LMQ%a"), "one").await;
    client.put("t", "", "plain").await;
    // In the other queue of the topic, with a tag.
    let both = [&names("%LMQ%b,%LMQ%a"), "TAGS\u{1}red\u{2}"].concat();
    let in_other = message("t", 1, &both);
    let reply = client.send(&in_other, b"two").await.expect("stored");
    assert_eq!(
        (reply.queue_id, reply.queue_offset),
        (1, 0),
        "its place in its topic"
    );
    client.put("t", &names("%LMQ%b"), "three").await;

    assert_eq!(light(&client, "%LMQ%a").await, ["one 0", "two 0,1"]);
    assert_eq!(light(&client, "%LMQ%b").await, ["two 0,1", "three 1"]);
    assert_eq!(bounds(&client, "%LMQ%a", 0).await, Ok((0, 2)));
    // The records are those of the topic.
    let pulled = client.pull(&pull("%LMQ%b", 0, 1)).await;
    let record = pulled.records.first().expect("a record");
    assert_eq!(
        (record.topic.as_str(), record.queue_id, record.offset),
        ("t", 0, 2)
    );
    assert_eq!(record.property("INNER_MULTI_DISPATCH"), Some("%LMQ%b"));
    assert_eq!((pulled.code, pulled.next()), (0, 2));
    assert_eq!(
        client.pull(&pull("t", 0, 0)).await.bodies(),
        ["one", "plain", "three"]
    );
    // Filters see what they see in the topic.
    let tagged = PullMessage {
        subscription: Some("red".into()),
        ..pull("%LMQ%a", 0, 0)
    };
    assert_eq!(client.pull(&tagged).await.bodies(), ["two"]);
    // A light queue is the queue 0 of its name.
    assert_eq!(client.pull(&pull("%LMQ%a", 1, 0)).await.code, 29);
    assert!(bounds(&client, "%LMQ%a", 1).await.is_err());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_waits_for_the_first_message_of_a_light_queue() {
    let (rig, writer) = start().await;
    let reader = rig.client();
    let request = waiting_pull("%LMQ%a", 0, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    writer.put("t", &names("%LMQ%b"), "of another").await;
    let waiting = parked(&reader, waiting).await;
    writer.put("t", &names("%LMQ%b,%LMQ%a"), "wanted").await;
    let pulled = waiting.await;
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["wanted"], 1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_are_refused_and_nothing_is_stored() {
    let (rig, client) = start().await;
    let many: Vec<String> = (0..129).map(|number| format!("%LMQ%{number}")).collect();
    let long = format!("%LMQ%{}", "x".repeat(251));
    for (queues, says) in [
        ("a", "\"a\": the names of such queues begin with %LMQ%"),
        ("%LMQ%a,", "\"\""),
        ("%LMQ%", "nothing follows"),
        ("%LMQ%a/b", "a /"),
        ("%LMQ%a,%LMQ%b,%LMQ%a", "twice"),
        (&long, "256 bytes"),
        (&many.join(","), "129 queues"),
    ] {
        let properties = names(queues);
        let refused = client.send(&message("t", 0, &properties), b"x").await;
        let refused = refused.expect_err(queues);
        assert_eq!(refused.code, 13, "{queues}: {refused:?}");
        assert!(refused.remark.contains(says), "{queues}: {refused:?}");
    }
    // Nor does anybody send to a light queue alone, or make a topic of its name.
    let refused = client.send(&message("%LMQ%a", 0, ""), b"x").await;
    let refused = refused.expect_err("not alone");
    assert!(refused.remark.contains("forbidden"), "{refused:?}");
    assert_eq!(client.pull(&pull("t", 0, 0)).await.code, 19, "none stored");
    assert_eq!(bounds(&client, "%LMQ%a", 0).await, Ok((0, 0)));
    // A blank property names nothing, and what the broker writes is not taken from clients.
    let blank = "INNER_MULTI_DISPATCH\u{1} \u{2}INNER_MULTI_QUEUE_OFFSET\u{1}7\u{2}";
    client.put("t", blank, "plain").await;
    let pulled = client.pull(&pull("t", 0, 0)).await;
    let record = pulled.records.first().expect("a record");
    assert_eq!(record.property(property::INNER_MULTI_QUEUE_OFFSET), None);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_light_queues_refuses_the_message() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let properties = names("%LMQ%a");
    let refused = client.send(&message("t", 0, &properties), b"x").await;
    let refused = refused.expect_err("off");
    assert_eq!(refused.code, 13);
    assert!(
        refused.remark.contains("enableLmq") && refused.remark.contains("enableMultiDispatch"),
        "{refused:?}"
    );
    assert_eq!(bounds(&client, "%LMQ%a", 0).await, Err(17));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_light_queues_is_limited() {
    let rig = Rig::start_with(Deps::default(), |config| {
        on(config);
        config.light_queues_max = 2;
    })
    .await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.put("t", &names("%LMQ%a,%LMQ%b"), "one").await;
    let properties = names("%LMQ%a,%LMQ%c");
    let one_more = message("t", 0, &properties);
    let refused = client.send(&one_more, b"x").await.expect_err("three");
    // Another broker may have room.
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .remark
            .starts_with("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]")
            && refused.remark.contains("2 light queues")
            && refused.remark.contains("%LMQ%c"),
        "{refused:?}"
    );
    client.put("t", &names("%LMQ%b"), "those are there").await;
    assert_eq!(light(&client, "%LMQ%a").await, ["one 0,0"]);
    // Who asks about another one makes none, and who waits there waits in vain.
    assert_eq!(bounds(&client, "%LMQ%c", 0).await, Ok((0, 0)));
    let waiting = waiting_pull("%LMQ%c", 0, "*", 1);
    assert_eq!(client.pull(&waiting).await.code, 19);

    // As many are there after a restart.
    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");
    let mut config = config(folder.path());
    on(&mut config);
    config.light_queues_max = 2;
    let broker = BrokerServer::start(config, Deps::default()).await;
    let broker = broker.expect("starts again");
    let client = Client::to(&broker);
    assert_eq!(
        client.send(&one_more, b"x").await.expect_err("three").code,
        1
    );
    client.put("t", &names("%LMQ%b,%LMQ%a"), "both").await;
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn light_queues_are_the_same_after_a_kill() {
    let (rig, client) = start().await;
    for number in 0..12 {
        let queues = ["%LMQ%a", "%LMQ%b,%LMQ%a", "%LMQ%c"][number % 3];
        client.put("t", &names(queues), &number.to_string()).await;
    }
    let queues = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];
    let mut before = Vec::new();
    for queue in queues {
        before.push(light(&client, queue).await);
    }
    assert_eq!(before[2], ["2 0", "5 1", "8 2", "11 3"]);
    let Rig { broker, folder } = rig;
    broker.kill().await;
    let mut config = config(folder.path());
    on(&mut config);
    let broker = BrokerServer::start(config, Deps::default()).await;
    let broker = broker.expect("starts again");
    let client = Client::to(&broker);
    for (queue, before) in queues.iter().zip(&before) {
        assert_eq!(light(&client, queue).await, *before, "{queue}");
    }
    // Offsets continue.
    client.put("t", &names("%LMQ%c,%LMQ%a"), "next").await;
    let c = light(&client, "%LMQ%c").await;
    assert_eq!(c.last().map(String::as_str), Some("next 4,8"));
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_batch_name_queues_of_their_own() {
    let (rig, client) = start().await;
    // Twelve of them, so that offsets get a digit more within the batch.
    let members: Vec<(String, String)> = (0..12)
        .map(|number| {
            let queues = if number == 5 {
                "%LMQ%b,%LMQ%a"
            } else {
                "%LMQ%a"
            };
            let stale = "INNER_MULTI_QUEUE_OFFSET\u{1}99\u{2}";
            (number.to_string(), [&names(queues), stale].concat())
        })
        .collect();
    let each = members.iter().map(|(text, more)| (&**text, &**more));
    client.send_batch("t", each).await.expect("stored");
    let expected: Vec<String> = (0..12)
        .map(|number| match number {
            5 => "5 0,5".to_owned(),
            number => format!("{number} {number}"),
        })
        .collect();
    assert_eq!(light(&client, "%LMQ%a").await, expected);
    assert_eq!(light(&client, "%LMQ%b").await, ["5 0,5"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_comes_to_its_light_queues_when_it_comes_to_its_topic() {
    let clock = ManualClock::at(START_MS);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, on).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let with = |more: &str| [&names("%LMQ%a"), more].concat();
    client.put("t", &with("DELAY\u{1}3\u{2}"), "level").await;
    client
        .put("t", &with("TIMER_DELAY_SEC\u{1}5\u{2}"), "timer")
        .await;
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}UNIQ_KEY\u{1}U1\u{2}";
    let half = client.put("t", &with(half), "half").await;
    client.put("t", &with(""), "now").await;
    assert_eq!(light(&client, "%LMQ%a").await, ["now 0"]);
    let commit = EndTransaction {
        topic: Some("t".into()),
        producer_group: "p".into(),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: position(&half.msg_id),
        commit_or_rollback: flags::TRANSACTION_COMMIT,
        from_transaction_check: Some(false),
        msg_id: "U1".into(),
        transaction_id: Some("U1".into()),
        broker_name: None,
    };
    let answer = client.call(RequestCode::EndTransaction, &commit, &[]).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    assert_eq!(light(&client, "%LMQ%a").await, ["now 0", "half 1"]);
    let reader = rig.client();
    let request = waiting_pull("%LMQ%a", 2, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    clock.advance(Duration::from_secs(6));
    let pulled = tokio::time::timeout(PATIENCE, waiting).await;
    assert_eq!(pulled.expect("it comes").bodies(), ["timer"]);
    let request = waiting_pull("%LMQ%a", 3, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    clock.advance(Duration::from_secs(6));
    let pulled = tokio::time::timeout(PATIENCE, waiting).await;
    assert_eq!(pulled.expect("it comes").bodies(), ["level"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_is_not_entered_again() {
    let (rig, client) = start().await;
    let stored = client.put("t", &names("%LMQ%a"), "hard").await;
    client.create_group("g", |_| {}).await;
    let request = ConsumerSendMsgBack {
        offset: position(&stored.msg_id),
        group: "g".into(),
        delay_level: -1,
        origin_msg_id: None,
        origin_topic: Some("%LMQ%a".into()),
        unit_mode: None,
        max_reconsume_times: None,
        broker_name: None,
        dead_letter_reason: None,
    };
    let answer = client
        .call(RequestCode::ConsumerSendMsgBack, &request, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    let dead = client.pull(&pull("%DLQ%g", 0, 0)).await;
    assert_eq!(dead.bodies(), ["hard"]);
    let dead = dead.records.first().expect("a record");
    assert_eq!(dead.property("INNER_MULTI_DISPATCH"), Some("%LMQ%a"));
    assert_eq!(dead.property("INNER_MULTI_QUEUE_OFFSET"), None);
    // A retry that a consumer sends by itself neither.
    let again = [&names("%LMQ%a"), "INNER_MULTI_QUEUE_OFFSET\u{1}0\u{2}"].concat();
    client.put("%RETRY%g", &again, "hard").await;
    assert_eq!(light(&client, "%LMQ%a").await, ["hard 0"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_named_as_light_queues_need_no_creation() {
    let rig = Rig::start_with(Deps::default(), |config| {
        on(config);
        config.auto_create_subscription_group = false;
    })
    .await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    // As of a client's id: the name may have an @.
    let (queue, group) = ("%LMQ%p2p%G@@@device", "%LMQ%G@@@device/1");
    for number in 0..3 {
        client.put("t", &names(queue), &number.to_string()).await;
    }
    let request = PullMessage {
        consumer_group: group.into(),
        ..pull(queue, 0, 0)
    };
    assert_eq!(client.pull(&request).await.bodies(), ["0", "1", "2"]);
    let commit = |group: &'static str| UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: queue.into(),
        queue_id: 0,
        commit_offset: 2,
        broker_name: None,
    };
    let code = RequestCode::UpdateConsumerOffset;
    let answer = client.call(code, &commit(group), &[]).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    assert_eq!(client.call(code, &commit("g"), &[]).await.code(), 26);

    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");
    let mut config = config(folder.path());
    on(&mut config);
    let broker = BrokerServer::start(config, Deps::default()).await;
    let broker = broker.expect("starts again");
    let client = Client::to(&broker);
    let query = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: queue.into(),
        queue_id: 0,
        set_zero_if_not_found: None,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    let offset = OffsetReply::decode(&answer.header().fields).expect("an offset");
    assert_eq!(offset.offset, 2);
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_light_queue_is_empty_and_its_offsets_continue() {
    let (rig, client) = start().await;
    for body in ["one", "two"] {
        client.put("t", &names("%LMQ%a,%LMQ%b"), body).await;
    }
    let delete = DeleteTopicInBroker {
        topic: "%LMQ%a".into(),
    };
    let answer = client
        .call(RequestCode::DeleteTopicInBroker, &delete, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    assert_eq!(bounds(&client, "%LMQ%a", 0).await, Ok((2, 2)));
    assert_eq!(light(&client, "%LMQ%b").await, ["one 0,0", "two 1,1"]);
    assert_eq!(client.pull(&pull("t", 0, 0)).await.bodies(), ["one", "two"]);
    client.put("t", &names("%LMQ%a"), "three").await;
    let pulled = client.pull(&pull("%LMQ%a", 0, 2)).await;
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["three"], 3));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_queue_goes_with_its_last_message() {
    let clock = ManualClock::at(START_MS);
    let deps = || Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps(), |config| {
        on(config);
        config.light_queues_max = 4;
        config.segment_bytes = 64 << 10;
        config.retention_hours = 1;
    })
    .await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    for body in ["one", "two"] {
        client.put("t", &names("%LMQ%a,%LMQ%b"), body).await;
    }
    let large = vec![7; 20 << 10];
    for _ in 0..8 {
        let plain = message("t", 0, "");
        client.send(&plain, &large).await.expect("stored");
    }
    // A pull waits for less than two minutes: it begins shortly before the messages expire.
    clock.advance(Duration::from_secs(3_570));
    // Somebody waits at one without messages. A message that is refused leaves another one without any, at which nobody waits.
    let reader = rig.client();
    let request = waiting_pull("%LMQ%awaited", 0, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    let properties = names("%LMQ%c,%LMQ%d");
    let two_more = message("t", 0, &properties);
    let refused = client.send(&two_more, b"x").await.expect_err("five");
    assert!(refused.remark.contains("4 light queues"), "{refused:?}");

    clock.advance(Duration::from_secs(60));
    let code = RequestCode::DeleteExpiredCommitlog;
    let removed = client.call(code, &(), &[]).await;
    assert_eq!(removed.code(), 0, "{}", remark(&removed));
    // Offsets go on, also those of queues that never were: nobody can tell them from those that have gone.
    for queue in ["%LMQ%a", "%LMQ%b", "%LMQ%c", "%LMQ%never"] {
        assert_eq!(bounds(&client, queue, 0).await, Ok((2, 2)), "{queue}");
    }
    client.put("t", &names("%LMQ%c,%LMQ%d"), "three").await;
    client.put("t", &names("%LMQ%a"), "four").await;
    let refused = client.send(&message("t", 0, &names("%LMQ%e")), b"x").await;
    refused.expect_err("five: the one at which somebody waits is among them");
    let read = async |queue, offset| {
        let pulled = client.pull(&pull(queue, 0, offset)).await;
        let bodies: Vec<String> = pulled.bodies().into_iter().map(str::to_owned).collect();
        (bodies, pulled.next())
    };
    assert_eq!(read("%LMQ%c", 2).await, (vec!["three".to_owned()], 3));
    // Who had read all of it continues where the reader was.
    assert_eq!(read("%LMQ%a", 2).await, (vec!["four".to_owned()], 3));
    client.put("t", &names("%LMQ%awaited"), "at last").await;
    let pulled = waiting.await;
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["at last"], 1));

    // All of it is so after a restart.
    let Rig { broker, folder } = rig;
    broker.kill().await;
    let mut config = config(folder.path());
    on(&mut config);
    config.light_queues_max = 4;
    config.segment_bytes = 64 << 10;
    let broker = BrokerServer::start(config, deps()).await;
    let broker = broker.expect("starts again");
    let client = Client::to(&broker);
    assert_eq!(bounds(&client, "%LMQ%a", 0).await, Ok((2, 3)));
    assert_eq!(bounds(&client, "%LMQ%b", 0).await, Ok((2, 2)));
    assert_eq!(bounds(&client, "%LMQ%awaited", 0).await, Ok((0, 1)));
    let refused = client.send(&message("t", 0, &names("%LMQ%e")), b"x").await;
    refused.expect_err("four are there");
    broker.shutdown().await.expect("a clean stop");
}
