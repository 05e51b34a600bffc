//! Messages that wait for a time of any length, and that are taken back. No test waits for real. Budget: 20 s.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::{RecallHandle, property};
use rmq_protocol::requests::{RecallMessage, RecallMessageReply, Reply};
use rmq_transport::ManualClock;

use crate::support::{Client, PATIENCE, Record, Refused, Rig, config, message, pull, remark};

const START_MS: i64 = 1_800_000_000_250;

fn deps(clock: &ManualClock) -> Deps {
    Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    }
}

async fn start(clock: &ManualClock) -> Rig {
    let rig = Rig::start_with(deps(clock), |_| {}).await;
    rig.client().create_topic("t", 1, 6).await;
    rig
}

async fn start_again(folder: &Path, clock: &ManualClock) -> RunningBroker {
    BrokerServer::start(config(folder), deps(clock))
        .await
        .expect("starts again")
}

fn timer(name: &str, value: i64) -> String {
    format!("TAGS\u{1}a\u{2}{name}\u{1}{value}\u{2}UNIQ_KEY\u{1}key-{value}\u{2}")
}

/// The first `count` messages of the topic, as soon as they are there; the clock stands still.
async fn come(client: &Client, count: usize) -> Vec<Record> {
    let coming = async {
        let mut records: Vec<Record> = Vec::new();
        while records.len() < count {
            let pulled = client.pull(&pull("t", 0, records.len() as i64)).await;
            records.extend(pulled.records);
            tokio::task::yield_now().await;
        }
        records
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .unwrap_or_else(|_| panic!("{count} messages do not come"))
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(Record::text).collect()
}

async fn there(client: &Client) -> Vec<String> {
    let pulled = client.pull(&pull("t", 0, 0)).await;
    pulled.bodies().into_iter().map(ToOwned::to_owned).collect()
}

/// Lets time pass until just before a moment, and then to it: a task that was due wakes up in between.
async fn pass(client: &Client, clock: &ManualClock, ms: u64, before: &[&str]) {
    clock.advance(Duration::from_millis(ms - 1));
    assert_eq!(there(client).await, before, "early");
    clock.advance(Duration::from_millis(1));
}

async fn recall(client: &Client, topic: &str, handle: &str) -> Result<String, Refused> {
    let request = RecallMessage {
        producer_group: Some("p".into()),
        topic: topic.into(),
        recall_handle: handle.into(),
        broker_name: None,
    };
    let answer = client.call(RequestCode::RecallMessage, &request, &[]).await;
    match answer.code() {
        0 => Ok(RecallMessageReply::decode(&answer.header().fields)
            .expect("its fields")
            .msg_id),
        code => Err(Refused {
            code,
            remark: remark(&answer),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_at_the_millisecond_that_it_asks_for() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    for (name, value) in [
        (property::TIMER_DELAY_SEC, 3),
        (property::TIMER_DELAY_MS, 1_500),
        (property::TIMER_DELIVER_MS, START_MS + 700),
        (property::TIMER_DELAY_SEC, 259_200),
        // The time has come.
        (property::TIMER_DELAY_MS, 0),
        (property::TIMER_DELAY_SEC, -5),
        (property::TIMER_DELIVER_MS, START_MS),
        (property::TIMER_DELIVER_MS, 1),
    ] {
        let sent = client.put("t", &timer(name, value), name).await;
        let waits = value > 0 && value != START_MS && value != 1;
        assert_eq!(sent.recall_handle.is_some(), waits, "{name} {value}");
    }
    let mut known = vec![
        property::TIMER_DELAY_MS,
        property::TIMER_DELAY_SEC,
        property::TIMER_DELIVER_MS,
        property::TIMER_DELIVER_MS,
    ];
    for record in come(&client, 4).await {
        for name in [property::TIMER_OUT_MS, property::REAL_TOPIC] {
            assert_eq!(record.property(name), None, "it never waited");
        }
    }
    let mut passed = 0;
    for (at, name) in [
        (700, property::TIMER_DELIVER_MS),
        (1_500, property::TIMER_DELAY_MS),
        (3_000, property::TIMER_DELAY_SEC),
        (259_200_000, property::TIMER_DELAY_SEC),
    ] {
        pass(&client, &clock, at - passed, &known).await;
        passed = at;
        known.push(name);
        assert_eq!(texts(&come(&client, known.len()).await), known);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_has_waited_has_the_properties_of_the_original() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    let sent = client
        .put("t", &timer(property::TIMER_DELAY_MS, 3_000), "x")
        .await;
    let handle = RecallHandle::decode(sent.recall_handle.as_deref().expect("a handle"));
    let out_ms = (START_MS + 3_000) / 1_000 * 1_000;
    assert_eq!(
        handle,
        Ok(RecallHandle {
            topic: "t".to_owned(),
            broker_name: rig.broker.config().broker_name.clone(),
            time_ms: out_ms + 1,
            unique_key: "key-3000".to_owned(),
        })
    );
    let parked = client.pull(&pull("rmq_sys_wheel_timer", 0, 0)).await;
    assert_eq!(parked.bodies(), ["x"]);
    clock.advance(Duration::from_millis(3_000));
    let record = come(&client, 1).await.remove(0);
    let mut properties = record.properties.clone();
    properties.sort();
    let text = |number: i64| number.to_string();
    let wanted = [
        ("CLUSTER", "DefaultCluster".to_owned()),
        ("MSG_REGION", "DefaultRegion".to_owned()),
        ("REAL_QID", "0".to_owned()),
        ("REAL_TOPIC", "t".to_owned()),
        ("TAGS", "a".to_owned()),
        ("TIMER_DELAY_MS", "3000".to_owned()),
        ("TIMER_DEQUEUE_MS", text(START_MS + 3_000)),
        ("TIMER_ENQUEUE_MS", text(START_MS)),
        ("TIMER_OUT_MS", text(out_ms)),
        ("TRACE_ON", "true".to_owned()),
        ("UNIQ_KEY", "key-3000".to_owned()),
    ];
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(properties, wanted);

    // It is sent again as it came: it does not wait again. A delay level counts more than a timer, which is gone then.
    let again: String = properties
        .iter()
        .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
        .collect();
    client.put("t", &again, "again").await;
    client
        .put("t", "DELAY\u{1}1\u{2}TIMER_DELAY_SEC\u{1}7\u{2}", "level")
        .await;
    assert_eq!(texts(&come(&client, 2).await), ["x", "again"]);
    clock.advance(Duration::from_millis(1_000));
    let level = come(&client, 3).await.remove(2);
    assert_eq!(level.text(), "level");
    assert_eq!(level.property(property::TIMER_DELAY_SEC), None);
    assert_eq!(level.property(property::DELAY), Some("1"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_too_far_or_no_time_is_refused() {
    let clock = ManualClock::at(START_MS);
    let rig = Rig::start_with(deps(&clock), |config| config.timer_max_delay_sec = 60).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    for (name, value, says) in [
        (property::TIMER_DELAY_SEC, "61", "60000ms"),
        (property::TIMER_DELAY_MS, "60001", "60000ms"),
        (property::TIMER_DELIVER_MS, "1800000060251", "60000ms"),
        (
            property::TIMER_DELAY_SEC,
            "9223372036854775807",
            "timerMaxDelaySec",
        ),
        (property::TIMER_DELAY_SEC, "1.5", "64-bit"),
        (property::TIMER_DELIVER_MS, "soon", "64-bit"),
        (property::TIMER_DEL_UNIQKEY, "t+key", "RECALL_MESSAGE"),
    ] {
        let properties = format!("{name}\u{1}{value}\u{2}");
        let refused = client.send(&message("t", 0, &properties), b"x").await;
        let refused = refused.expect_err(&properties);
        assert_eq!(refused.code, 13, "{properties}: {refused:?}");
        assert!(refused.remark.contains(says), "{properties}: {refused:?}");
    }
    client
        .put("t", &timer(property::TIMER_DELAY_SEC, 60), "in time")
        .await;
    // A level counts more.
    let properties = "DELAY\u{1}1\u{2}TIMER_DELAY_SEC\u{1}61\u{2}";
    client.put("t", properties, "level").await;
    clock.advance(Duration::from_secs(60));
    come(&client, 2).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_due_while_the_broker_is_down_comes_at_its_start_in_order() {
    for kill in [false, true] {
        let clock = ManualClock::at(START_MS);
        let Rig { broker, folder } = start(&clock).await;
        let client = Client::to(&broker);
        for seconds in [9, 3, 7, 3_600, 5, 1] {
            let properties = timer(property::TIMER_DELAY_SEC, seconds);
            client.put("t", &properties, &seconds.to_string()).await;
        }
        // The wait of one ends before.
        clock.advance(Duration::from_secs(1));
        come(&client, 1).await;
        match kill {
            true => broker.kill().await,
            false => broker.shutdown().await.expect("a clean stop"),
        }
        clock.advance(Duration::from_secs(60));
        let broker = start_again(folder.path(), &clock).await;
        let client = Client::to(&broker);
        assert_eq!(texts(&come(&client, 5).await), ["1", "3", "5", "7", "9"]);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(texts(&come(&client, 6).await)[5], "3600");
        broker.shutdown().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_early_over_kills_at_any_moment() {
    const TIMERS: i64 = 120;
    let clock = ManualClock::at(START_MS);
    let Rig { mut broker, folder } = start(&clock).await;
    let mut client = Client::to(&broker);
    for number in 0..TIMERS {
        // Levels and timers; several are due at once.
        let properties = match number % 4 {
            0 => "DELAY\u{1}2\u{2}".to_owned(),
            1 => timer(property::TIMER_DELIVER_MS, START_MS + 40 * number),
            _ => timer(property::TIMER_DELAY_MS, 40 * number),
        };
        client.put("t", &properties, &number.to_string()).await;
    }
    for step in 0..60_u64 {
        clock.advance(Duration::from_millis(97));
        // Deliveries are under way, or written, or not begun.
        for _ in 0..step % 7 {
            client.pull(&pull("t", 0, 0)).await;
        }
        broker.kill().await;
        broker = start_again(folder.path(), &clock).await;
        client = Client::to(&broker);
    }
    let records = come(&client, TIMERS as usize).await;
    let mut numbers: Vec<i64> = records
        .iter()
        .map(|record| record.text().parse().expect("a number"))
        .collect();
    let timers: Vec<i64> = numbers.iter().copied().filter(|n| n % 4 != 0).collect();
    assert!(timers.is_sorted(), "in the order of time: {timers:?}");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..TIMERS).collect::<Vec<_>>());
    for record in &records {
        let number = |name| record.property(name).map(|value| value.parse::<i64>());
        if let (Some(Ok(out)), Some(Ok(at))) = (
            number(property::TIMER_OUT_MS),
            number(property::TIMER_DEQUEUE_MS),
        ) {
            assert!(at > out, "{record:?}");
        }
    }
    // Once more, with nothing left to do.
    broker.shutdown().await.expect("a clean stop");
    let broker = start_again(folder.path(), &clock).await;
    clock.advance(Duration::from_secs(3_600));
    let client = Client::to(&broker);
    client.put("t", "DELAY\u{1}1\u{2}", "last").await;
    clock.advance(Duration::from_secs(1));
    let records = come(&client, TIMERS as usize + 1).await;
    assert_eq!(records[TIMERS as usize].text(), "last");
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_makes_no_delay_longer_and_no_time_early() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    clock.jump_ms(3_600_000);
    let ahead_ms = START_MS + 3_600_000;
    client
        .put("t", &timer(property::TIMER_DELAY_SEC, 10), "delay")
        .await;
    let properties = timer(property::TIMER_DELIVER_MS, ahead_ms + 10_000);
    client.put("t", &properties, "time").await;
    clock.jump_ms(-3_600_000);
    client
        .put("t", &timer(property::TIMER_DELAY_SEC, 10), "right")
        .await;
    pass(&client, &clock, 10_000, &[]).await;
    let records = come(&client, 2).await;
    let mut found = texts(&records);
    found.sort_unstable();
    assert_eq!(found, ["delay", "right"]);
    // The time is one of the wall clock.
    clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(there(&client).await.len(), 2, "early");
    clock.advance(Duration::from_millis(1));
    assert_eq!(come(&client, 3).await[2].text(), "time");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_taken_back_by_its_handle() {
    let clock = ManualClock::at(START_MS);
    let Rig { broker, folder } = start(&clock).await;
    let client = Client::to(&broker);
    client.create_topic("other", 1, 6).await;
    let mut handles = Vec::new();
    for seconds in [5, 10, 15] {
        let properties = timer(property::TIMER_DELAY_SEC, seconds);
        let sent = client.put("t", &properties, &seconds.to_string()).await;
        handles.push(sent.recall_handle.expect("a handle"));
    }
    assert_eq!(
        recall(&client, "t", &handles[1]).await,
        Ok("key-10".to_owned())
    );
    // A client that has not heard the answer asks again.
    assert_eq!(
        recall(&client, "t", &handles[1]).await,
        Ok("key-10".to_owned())
    );
    clock.advance(Duration::from_secs(5));
    come(&client, 1).await;
    let known = RecallHandle::decode(&handles[2]).expect("a handle");
    let changed = |change: &dyn Fn(&mut RecallHandle)| {
        let mut handle = known.clone();
        change(&mut handle);
        handle.encode()
    };
    let illegal = ResponseCode::IllegalOperation.as_i32();
    for (topic, handle, code, says) in [
        ("t", handles[0].clone(), illegal, "timestamp invalid"),
        ("t", "djEg".to_owned(), illegal, "handle is invalid"),
        ("t", "???".to_owned(), illegal, "handle is invalid"),
        ("other", handles[2].clone(), illegal, "topic not match"),
        (
            "nowhere",
            handles[2].clone(),
            ResponseCode::TopicNotExist.as_i32(),
            "[nowhere] not exist",
        ),
        (
            "t",
            changed(&|handle| handle.broker_name = "broker-z".to_owned()),
            illegal,
            "broker service not available: the message is at broker broker-z",
        ),
        (
            "t",
            changed(&|handle| handle.unique_key = "key-16".to_owned()),
            illegal,
            "no such message",
        ),
        (
            "t",
            changed(&|handle| handle.time_ms += 1_000),
            illegal,
            "no such message",
        ),
    ] {
        let refused = recall(&client, topic, &handle).await.expect_err(says);
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.remark.contains(says), "{says}: {refused:?}");
    }
    // What was taken back stays so, and what was not can be taken back by the next life.
    broker.kill().await;
    let broker = start_again(folder.path(), &clock).await;
    let client = Client::to(&broker);
    clock.advance(Duration::from_secs(5));
    assert_eq!(
        recall(&client, "t", &handles[2]).await,
        Ok("key-15".to_owned())
    );
    let refused = recall(&client, "t", &handles[1]).await.expect_err("over");
    assert!(refused.remark.contains("timestamp invalid"), "{refused:?}");
    clock.advance(Duration::from_secs(60));
    client
        .put("t", &timer(property::TIMER_DELAY_MS, 100), "last")
        .await;
    clock.advance(Duration::from_millis(100));
    assert_eq!(texts(&come(&client, 2).await), ["5", "last"]);
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_came_is_not_taken_back_by_a_clock_that_was_set_back() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    clock.jump_ms(3_600_000);
    let delay = |key: &str| format!("TIMER_DELAY_SEC\u{1}10\u{2}UNIQ_KEY\u{1}{key}\u{2}");
    let sent = client.put("t", &delay("first"), "first").await;
    let handle = sent.recall_handle.expect("a handle");
    clock.jump_ms(-3_600_000);
    clock.advance(Duration::from_secs(10));
    come(&client, 1).await;
    // By the wall clock its time comes in an hour.
    for _ in 0..2 {
        let refused = recall(&client, "t", &handle).await.expect_err("it came");
        assert!(refused.remark.contains("timestamp invalid"), "{refused:?}");
        client.put("t", &delay("next"), "next").await;
        clock.advance(Duration::from_secs(10));
        come(&client, 2).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recall_is_refused_when_it_is_off_or_nobody_may_write() {
    let clock = ManualClock::at(START_MS);
    let off = |config: &mut BrokerConfig| config.recall_message = false;
    let rig = Rig::start_with(deps(&clock), off).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let sent = client
        .put("t", &timer(property::TIMER_DELAY_SEC, 5), "x")
        .await;
    let handle = sent.recall_handle.expect("a handle");
    let refused = recall(&client, "t", &handle).await.expect_err("off");
    assert_eq!(refused.code, ResponseCode::NoPermission.as_i32());
    assert!(
        refused.remark.contains("recallMessageEnable"),
        "{refused:?}"
    );
    rig.stop().await;
    let read_only = |config: &mut BrokerConfig| config.permission = 4;
    let rig = Rig::start_with(deps(&clock), read_only).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let refused = recall(&client, "t", &handle).await.expect_err("read-only");
    assert_eq!(refused.code, ResponseCode::ServiceNotAvailable.as_i32());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_and_the_time_meet_and_one_of_them_wins() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    let mut handles = Vec::new();
    for number in 0..200 {
        let properties = format!(
            "TIMER_DELAY_MS\u{1}{}\u{2}UNIQ_KEY\u{1}k{number}\u{2}",
            1_000 + number / 2
        );
        let sent = client.put("t", &properties, &format!("k{number}")).await;
        handles.push(sent.recall_handle.expect("a handle"));
    }
    clock.advance(Duration::from_millis(999));
    let recalls = handles.iter().map(|handle| recall(&client, "t", handle));
    let ticking = async {
        for _ in 0..101 {
            clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    };
    let (recalled, ()) = tokio::join!(futures_util::future::join_all(recalls), ticking);
    client
        .put("t", &timer(property::TIMER_DELAY_MS, 1), "last")
        .await;
    clock.advance(Duration::from_millis(1));
    let taken_back = recalled.iter().filter(|outcome| outcome.is_ok()).count();
    let records = come(&client, 201 - taken_back).await;
    let delivered = texts(&records);
    assert_eq!(delivered.last(), Some(&"last"));
    for (number, outcome) in recalled.iter().enumerate() {
        let key = format!("k{number}");
        match outcome {
            Ok(id) => {
                assert_eq!(*id, key);
                assert!(!delivered.contains(&key.as_str()), "{key} came");
            }
            Err(refused) => {
                assert_eq!(refused.code, 604, "{refused:?}");
                assert!(delivered.contains(&key.as_str()), "{key} is lost");
            }
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_due_at_one_level_come_and_delay_no_timer() {
    const MANY: usize = 3_000;
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    client.create_topic("many", 1, 6).await;
    for number in 0..MANY {
        client
            .put("many", "DELAY\u{1}2\u{2}", &number.to_string())
            .await;
    }
    client
        .put("t", &timer(property::TIMER_DELAY_SEC, 5), "timer")
        .await;
    client.put("t", "DELAY\u{1}1\u{2}", "level").await;
    clock.advance(Duration::from_secs(5));
    come(&client, 2).await;
    let all = async {
        let mut next = 0;
        while next < MANY {
            let pulled = client.pull(&pull("many", 0, next as i64)).await;
            for record in pulled.records {
                assert_eq!(record.text(), next.to_string(), "in order");
                next += 1;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all come");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_of_a_topic_that_is_gone_is_dropped_and_counted() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    client.create_topic("gone", 1, 6).await;
    client
        .put("gone", &timer(property::TIMER_DELAY_SEC, 5), "lost")
        .await;
    client
        .put("t", &timer(property::TIMER_DELAY_SEC, 6), "kept")
        .await;
    let delete = rmq_protocol::requests::DeleteTopicInBroker {
        topic: "gone".into(),
    };
    let answer = client
        .call(RequestCode::DeleteTopicInBroker, &delete, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    clock.advance(Duration::from_secs(6));
    assert_eq!(come(&client, 1).await[0].text(), "kept");
    let info = client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    let table = rmq_protocol::bodies::KvTable::from_json(info.body()).expect("a table");
    assert_eq!(table.table["delayedMessagesDropped"], "1");
    rig.stop().await;
}
