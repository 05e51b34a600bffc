//! Messages that a consumer gives back: they come again later, and in the end go to the dead letters. No test waits for real.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::property;
use rmq_protocol::requests::{ConsumerSendMsgBack, PullMessage};
use rmq_transport::ManualClock;

use crate::support::{Client, PATIENCE, Record, Rig, pull, remark};

pub(crate) async fn give_back(
    client: &Client,
    group: &str,
    position: i64,
    level: i32,
    max: Option<i32>,
) -> i32 {
    let request = ConsumerSendMsgBack {
        offset: position,
        group: group.to_owned().into(),
        delay_level: level,
        origin_msg_id: None,
        origin_topic: Some("t".into()),
        unit_mode: None,
        max_reconsume_times: max,
        broker_name: None,
        dead_letter_reason: None,
    };
    let answer = client
        .call(RequestCode::ConsumerSendMsgBack, &request, &[])
        .await;
    if answer.code() != 0 {
        assert!(!remark(&answer).is_empty(), "a refusal says why");
    }
    answer.code()
}

/// Position in the log of the message at `offset` of a queue.
pub(crate) async fn position(client: &Client, topic: &str, offset: i64) -> i64 {
    let answer = client
        .call(RequestCode::PullMessage, &pull(topic, 0, offset), &[])
        .await;
    let record = rmq_protocol::message::RecordView::iter(answer.body())
        .next()
        .expect("a record")
        .expect("whole");
    record.position().0 as i64
}

/// Moves the clock until the topic has a message at `offset`, and says how far it was moved.
pub(crate) async fn comes_again(
    client: &Client,
    clock: &ManualClock,
    topic: &str,
    offset: i64,
    step: Duration,
) -> (Record, Duration) {
    let mut moved = Duration::ZERO;
    let coming = async {
        loop {
            let pulled = client
                .pull(&PullMessage {
                    queue_offset: offset,
                    ..pull(topic, 0, offset)
                })
                .await;
            if let Some(record) = pulled.records.into_iter().next() {
                return record;
            }
            // Only when the level's task sleeps on the clock can time bring the message.
            if clock.sleepers() > 0 {
                clock.advance(step);
                moved += step;
            }
            tokio::task::yield_now().await;
        }
    };
    let record = tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it comes again");
    (record, moved)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_given_back_comes_again_and_then_goes_to_the_dead_letters() {
    let clock = ManualClock::at(1_700_000_000_000);
    let rig = Rig::start_with(
        Deps {
            clock: Arc::new(clock.clone()),
            connection_clock: Arc::new(clock.clone()),
            ..Deps::default()
        },
        |_| {},
    )
    .await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client
        .create_group("g", |config| config.retry_max_times = 2)
        .await;
    client
        .put(
            "t",
            "KEYS\u{1}k\u{2}TAGS\u{1}A\u{2}UNIQ_KEY\u{1}U1\u{2}",
            "hard",
        )
        .await;

    let first = position(&client, "t", 0).await;
    assert_eq!(give_back(&client, "g", first, 0, None).await, 0);
    let (again, moved) = comes_again(&client, &clock, "%RETRY%g", 0, Duration::from_secs(1)).await;
    assert!(
        moved >= Duration::from_secs(10),
        "the first retry waits ten seconds, not {moved:?}"
    );
    assert_eq!(
        (again.text(), again.reconsume_times, again.topic.as_str()),
        ("hard", 1, "%RETRY%g")
    );
    assert_eq!(again.property(property::RETRY_TOPIC), Some("t"));
    assert_eq!(again.property(property::UNIQ_KEY), Some("U1"));
    assert!(
        again
            .property(property::ORIGIN_MESSAGE_ID)
            .is_some_and(|id| id.len() == 32)
    );

    let second = position(&client, "%RETRY%g", 0).await;
    assert_eq!(give_back(&client, "g", second, 0, None).await, 0);
    let (again, moved) = comes_again(&client, &clock, "%RETRY%g", 1, Duration::from_secs(5)).await;
    assert!(
        moved >= Duration::from_secs(30),
        "the second waits thirty, not {moved:?}"
    );
    assert_eq!(again.reconsume_times, 2);

    let third = position(&client, "%RETRY%g", 1).await;
    assert_eq!(give_back(&client, "g", third, 0, None).await, 0);
    let (dead, _) = comes_again(&client, &clock, "%DLQ%g", 0, Duration::ZERO).await;
    assert_eq!((dead.text(), dead.reconsume_times), ("hard", 3));
    assert_eq!(dead.property(property::RETRY_TOPIC), Some("t"));

    // At once, when the consumer says so; never for a place without a message.
    assert_eq!(give_back(&client, "g", first, -1, None).await, 0);
    comes_again(&client, &clock, "%DLQ%g", 1, Duration::ZERO).await;
    assert_eq!(give_back(&client, "g", first + 1, 0, None).await, 1);
    assert_eq!(give_back(&client, "g", -5, 0, None).await, 1);
    assert_eq!(give_back(&client, "g", i64::MAX, 0, None).await, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_survive_a_kill_and_are_delivered_when_due() {
    let clock = ManualClock::at(1_700_000_000_000);
    let deps = || Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps(), |_| {}).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    // Level 5 is one minute.
    client
        .put("t", "DELAY\u{1}5\u{2}KEYS\u{1}late\u{2}", "later")
        .await;
    client.put("t", "", "now").await;
    assert_eq!(client.pull(&pull("t", 0, 0)).await.bodies(), ["now"]);
    let Rig { broker, folder } = rig;
    broker.kill().await;
    // What was taken is delivered, whatever may be sent by now.
    let mut config = crate::support::config(folder.path());
    config.max_message_bytes = 4;
    let broker = rmq_broker::BrokerServer::start(config, deps())
        .await
        .expect("starts again");
    let client = Client::to(&broker);
    let (late, moved) = comes_again(&client, &clock, "t", 1, Duration::from_secs(10)).await;
    assert!(moved >= Duration::from_secs(60), "{moved:?}");
    assert_eq!(
        (late.text(), late.topic.as_str(), late.queue_id),
        ("later", "t", 0)
    );
    assert_eq!(late.property(property::REAL_TOPIC), Some("t"));
    assert_eq!(late.property(property::KEYS), Some("late"));
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_policy_of_a_group_says_how_long_a_message_waits() {
    let clock = ManualClock::at(1_700_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |_| {}).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.put("t", "", "hard").await;
    let first = position(&client, "t", 0).await;
    let seconds = Duration::from_secs;
    // How long it waits, and the wait of the next level, which it is not.
    for (group, policy, level, waits, next) in [
        (
            "doubled",
            r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":7200000,"multiplier":2}}"#,
            0,
            seconds(1),
            seconds(5),
        ),
        // The third of the list is the first wait, and there is no delay level between 10 s and 30 s.
        (
            "listed",
            r#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,1000,11000]}}"#,
            0,
            seconds(30),
            seconds(60),
        ),
        // What the consumer asks for counts.
        (
            "asked",
            r#"{"type":"EXPONENTIAL"}"#,
            1,
            seconds(1),
            seconds(5),
        ),
    ] {
        let policy: serde_json::Value = serde_json::from_str(policy).expect("JSON");
        client
            .create_group(group, |config| config.group_retry_policy = policy.into())
            .await;
        assert_eq!(give_back(&client, group, first, level, None).await, 0);
        let topic = format!("%RETRY%{group}");
        let step = Duration::from_millis(100);
        let (again, moved) = comes_again(&client, &clock, &topic, 0, step).await;
        assert_eq!(again.reconsume_times, 1);
        assert!(moved >= waits && moved < next, "{group}: {moved:?}");
    }
    rig.stop().await;
}
