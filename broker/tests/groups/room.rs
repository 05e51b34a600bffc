//! A message that is taken can be delayed, given back sixteen times and become a dead letter: each later step fits. Budget: 3 s.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::property;
use rmq_transport::ManualClock;

use crate::retries::{give_back, position};
use crate::support::{Client, PATIENCE, Rig, message, pull, remark};

/// Properties of about so many bytes.
fn properties(bytes: usize, more: &str) -> String {
    format!("{more}p\u{1}{}\u{2}", "v".repeat(bytes))
}

/// Lets time pass until the message at `offset` is there.
async fn comes(client: &Client, clock: &ManualClock, topic: &str, offset: i64) {
    let coming = async {
        while client
            .pull(&pull(topic, 0, offset))
            .await
            .records
            .is_empty()
        {
            clock.advance(Duration::from_secs(3_600));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .unwrap_or_else(|_| panic!("message {offset} of {topic} does not come"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_can_take_every_later_step() {
    let clock = ManualClock::at(1_800_000_000_000);
    let rig = Rig::start_with(
        Deps {
            clock: Arc::new(clock.clone()),
            ..Deps::default()
        },
        |config| {
            config.region = "r".repeat(64);
            config.retention_hours = 80_000;
        },
    )
    .await;
    let client = rig.client();
    // The longest names, which later copies carry twice.
    let (topic, group) = ("t".repeat(127), "g".repeat(120));
    let (retry, dead) = (format!("%RETRY%{group}"), format!("%DLQ%{group}"));
    client.create_topic(&topic, 1, 6).await;
    client.create_group(&group, |_| {}).await;
    let (mut taken, mut refused, mut retries, mut letters) = (0, 0, 0, 0);
    // From what fits well over what Apache's brokers take and cannot give back to what fits nowhere.
    let sizes = (31_300..31_800)
        .step_by(25)
        .chain([32_000, 32_569, 32_600, 32_685, 32_767, 40_000]);
    for bytes in sizes {
        let text = properties(bytes, "");
        if let Err(answer) = client.send(&message(&topic, 0, &text), b"x").await {
            assert_eq!(answer.code, 13, "{bytes}: {answer:?}");
            assert!(answer.remark.contains("at most"), "{answer:?}");
            // No other way in: delayed, or as a member of a batch that is as large.
            let late = properties(bytes, "DELAY\u{1}18\u{2}");
            let answer = client.send(&message(&topic, 0, &late), b"x").await;
            assert_eq!(answer.expect_err("refused").code, 13, "{bytes}");
            refused += 1;
            continue;
        }
        let mut from = (topic.clone(), taken);
        taken += 1;
        // Level 1 is one second, so that little time passes; the level's digits take their room anyway.
        for attempt in 0..16 {
            let at = position(&client, &from.0, from.1).await;
            let code = give_back(&client, &group, at, 1, None).await;
            assert_eq!(code, 0, "{bytes} bytes, attempt {attempt}");
            comes(&client, &clock, &retry, retries).await;
            from = (retry.clone(), retries);
            retries += 1;
        }
        let at = position(&client, &from.0, from.1).await;
        assert_eq!(give_back(&client, &group, at, 1, None).await, 0, "{bytes}");
        comes(&client, &clock, &dead, letters).await;
        letters += 1;
        // Delayed at the send.
        let late = properties(bytes, "DELAY\u{1}18\u{2}");
        if client.send(&message(&topic, 0, &late), b"x").await.is_ok() {
            comes(&client, &clock, &topic, taken).await;
            let at = position(&client, &topic, taken).await;
            taken += 1;
            assert_eq!(give_back(&client, &group, at, 1, None).await, 0, "{bytes}");
            comes(&client, &clock, &retry, retries).await;
            retries += 1;
        }
        // A member of a batch.
        let stored = client.send_batch(&topic, [("x", &*text)]).await;
        stored.unwrap_or_else(|refused| panic!("{bytes}: {refused:?}"));
        let at = position(&client, &topic, taken).await;
        taken += 1;
        assert_eq!(give_back(&client, &group, at, 18, None).await, 0, "{bytes}");
        comes(&client, &clock, &retry, retries).await;
        retries += 1;
    }
    assert!(letters > 3 && refused > 8, "{letters} {refused}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_leaves_room_in_its_segment_too() {
    let clock = ManualClock::at(1_800_000_000_000);
    let rig = Rig::start_with(
        Deps {
            clock: Arc::new(clock.clone()),
            ..Deps::default()
        },
        |config| config.segment_bytes = 64 << 10,
    )
    .await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let group = "g".repeat(120);
    client.create_group(&group, |_| {}).await;
    let (mut taken, mut refused) = (0, 0);
    for bytes in (63_800..65_600).step_by(100) {
        let body = vec![b'x'; bytes];
        match client.send(&message("t", 0, ""), &body).await {
            Ok(_) => {
                let at = position(&client, "t", taken).await;
                assert_eq!(give_back(&client, &group, at, 1, None).await, 0, "{bytes}");
                comes(&client, &clock, &format!("%RETRY%{group}"), taken).await;
                taken += 1;
            }
            Err(answer) => {
                assert_eq!(answer.code, 13, "{answer:?}");
                assert!(answer.remark.contains("segmentBytes"), "{answer:?}");
                refused += 1;
            }
        }
    }
    assert!(taken > 1 && refused > 5, "{taken} {refused}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_carries_the_offset_id_of_the_first_copy() {
    let clock = ManualClock::at(1_800_000_000_000);
    let rig = Rig::start_with(
        Deps {
            clock: Arc::new(clock.clone()),
            ..Deps::default()
        },
        |_| {},
    )
    .await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_group("g", |_| {}).await;
    let sent = client.put("t", "UNIQ_KEY\u{1}U1\u{2}", "x").await;
    let mut from = ("t", 0);
    for attempt in 0..3 {
        let at = position(&client, from.0, from.1).await;
        // Java consumers put the unique key into the request.
        let request = rmq_protocol::requests::ConsumerSendMsgBack {
            offset: at,
            group: "g".into(),
            delay_level: 0,
            origin_msg_id: Some("U1".into()),
            origin_topic: Some("t".into()),
            unit_mode: None,
            max_reconsume_times: Some(2),
            dead_letter_reason: None,
            broker_name: None,
        };
        let code = RequestCode::ConsumerSendMsgBack;
        let answer = client.call(code, &request, &[]).await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        let (topic, offset) = if attempt < 2 {
            ("%RETRY%g", i64::from(attempt))
        } else {
            ("%DLQ%g", 0)
        };
        comes(&client, &clock, topic, offset).await;
        let pulled = client.pull(&pull(topic, 0, offset)).await;
        let record = &pulled.records[0];
        let value = |name| record.property(name).unwrap_or_default().to_owned();
        // As recorded from Apache RocketMQ 5.5.0: DELAY and REAL_* stay, WAIT is false.
        assert_eq!(value(property::ORIGIN_MESSAGE_ID), sent.msg_id);
        assert_eq!(value(property::RETRY_TOPIC), "t");
        assert_eq!(value(property::WAIT), "false");
        let level = ["3", "4", "0"][attempt as usize];
        assert_eq!(value(property::DELAY), level);
        assert_eq!(value(property::REAL_TOPIC), "%RETRY%g");
        assert_eq!(value(property::REAL_QID), "0");
        assert_eq!(record.reconsume_times, attempt + 1);
        from = (topic, offset);
    }
    rig.stop().await;
}
