//! What a message or a request says is understood or refused with its name and value, never guessed. Budget: 3 s.

use rmq_protocol::bodies::{ConsumerData, HeartbeatData, SubscriptionData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::property;
use rmq_protocol::requests::PullMessage;

use crate::support::{Rig, message, pull, remark};

/// Texts that are no whole number of 32 bits.
const NO_NUMBERS: [&str; 10] = [
    "",
    "abc",
    "1.5",
    " 1 ",
    "2147483648",
    "-2147483649",
    "0x1",
    "1e3",
    "--1",
    "١",
];

#[tokio::test(flavor = "multi_thread")]
async fn properties_are_understood_or_refused() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let mut refused: Vec<(&str, &str, &str)> = NO_NUMBERS
        .iter()
        .flat_map(|value| [property::DELAY, property::PRIORITY].map(|name| (name, *value, *value)))
        .collect();
    for value in ["yes", "1", " true", "true ", "truee"] {
        refused.push((property::TRAN_MSG, value, value));
    }
    for name in [
        property::TIMER_DELAY_SEC,
        property::TIMER_DELAY_MS,
        property::TIMER_DELIVER_MS,
    ] {
        for value in ["abc", "1.5", "", "9223372036854775808"] {
            refused.push((name, value, value));
        }
    }
    for (name, value, says) in [
        (property::LITE_TOPIC, "l", "lite topics"),
        (
            property::INNER_MULTI_DISPATCH,
            "%LMQ%a,%LMQ%b",
            "several queues",
        ),
    ] {
        refused.push((name, value, says));
    }
    for (name, value, says) in refused {
        let properties = format!("{name}\u{1}{value}\u{2}");
        let answer = client
            .send(&message("t", 0, &properties), b"x")
            .await
            .expect_err(&properties);
        // Not 1, 2, 14 or 16: Java producers would try three times.
        assert_eq!(answer.code, 13, "{properties}: {answer:?}");
        assert!(
            answer.remark.contains(name) && answer.remark.contains(says),
            "{properties}: {answer:?}"
        );
        // The same as a member of a batch.
        let answer = client.send_batch("t", [("x", &*properties)]).await;
        let answer = answer.expect_err(&properties);
        assert_eq!(answer.code, 13, "{properties}: {answer:?}");
    }
    assert_eq!(client.pull(&pull("t", 0, 0)).await.code, 19, "none stored");

    // What real clients send, and what the broker does not act on.
    let taken = [
        (property::DELAY, "0"),
        (property::DELAY, "-1"),
        (property::DELAY, "-2147483648"),
        (property::DELAY, "+0"),
        (property::TRAN_MSG, "false"),
        (property::TRAN_MSG, "FALSE"),
        (property::REPLY_TO_CLIENT, "client@1"),
        (property::CORRELATION_ID, "c"),
        (property::WAIT, "maybe"),
        (property::MSG_TYPE, "anything"),
        (property::RECONSUME_TIME, "x"),
        (property::MAX_RECONSUME_TIMES, "1.5"),
        (property::INSTANCE_ID, " "),
        (property::CLUSTER, "elsewhere"),
        (property::REAL_QID, "abc"),
        (property::DELAY_STAMP, "1,2,3"),
        (property::UNIQ_KEY, " "),
    ];
    for (name, value) in taken {
        client
            .put("t", &format!("{name}\u{1}{value}\u{2}"), name)
            .await;
    }
    let pulled = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(pulled.records.len(), taken.len());
    // The broker's own are the broker's.
    for record in &pulled.records {
        assert_eq!(record.property(property::DELAY_STAMP), None);
        assert_eq!(record.property(property::CLUSTER), Some("DefaultCluster"));
    }
    // A level beyond the last is the last.
    client.put("t", "DELAY\u{1}2147483647\u{2}", "late").await;
    let parked = client.pull(&pull("SCHEDULE_TOPIC_XXXX", 17, 0)).await;
    assert_eq!(parked.bodies(), ["late"]);
    rig.stop().await;
}

/// What each consumer group of a heartbeat wants.
fn heartbeat(groups: &[(&str, &[SubscriptionData])]) -> Vec<u8> {
    let consumer = |(name, wanted): &(&str, &[SubscriptionData])| ConsumerData {
        group_name: (*name).to_owned(),
        subscription_data_set: wanted.to_vec(),
        ..ConsumerData::default()
    };
    let data = HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: groups.iter().map(consumer).collect(),
        ..HeartbeatData::default()
    };
    data.to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_not_served_is_told_and_costs_the_others_nothing() {
    let rig = Rig::start().await;
    let client = rig.client();
    for topic in ["t", "u"] {
        client.create_topic(topic, 1, 6).await;
        client.put(topic, "", topic).await;
    }
    let by_code = SubscriptionData {
        expression_type: "JS".to_owned(),
        sub_string: "a > 1".to_owned(),
        topic: "t".to_owned(),
        ..SubscriptionData::default()
    };
    let everything = SubscriptionData::tags("u", "*", 0);
    let data = heartbeat(&[
        ("mixed", &[by_code, everything.clone()]),
        ("other", &[everything]),
    ]);
    let answer = client.call(RequestCode::HeartBeat, &(), &data).await;
    let text = remark(&answer);
    assert_eq!(answer.code(), 0, "{text}");
    for part in ["group mixed", "topic t", "type JS"] {
        assert!(text.contains(part), "{text}");
    }
    let pulls = |group: &'static str, topic: &'static str| PullMessage {
        consumer_group: group.into(),
        sys_flag: 0,
        ..pull(topic, 0, 0)
    };
    let refused = client.pull(&pulls("mixed", "t")).await;
    assert_eq!(refused.code, 1, "{}", refused.remark);
    assert!(refused.remark.contains("type JS"), "{}", refused.remark);
    for group in ["mixed", "other"] {
        assert_eq!(client.pull(&pulls(group, "u")).await.bodies(), ["u"]);
    }
    let good = heartbeat(&[("other", &[SubscriptionData::tags("u", "*", 1)])]);
    let answer = client.call(RequestCode::HeartBeat, &(), &good).await;
    assert_eq!((answer.code(), remark(&answer).as_str()), (0, ""));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_that_are_not_there_are_refused_at_the_first_request() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    for code in [
        RequestCode::PopMessage,
        RequestCode::AckMessage,
        RequestCode::ChangeMessageInvisibletime,
        RequestCode::QueryAssignment,
    ] {
        let answer = client.call(code, &(), &[]).await;
        let text = remark(&answer);
        assert_eq!(answer.code(), 3, "{}: {text}", code.name());
        assert!(text.contains(code.name()), "{text}");
    }
    for kind in ["LITE", "MIXED"] {
        let attributes = format!("+message.type={kind}");
        let fields = [
            ("topic", "lite"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("attributes", attributes.as_str()),
        ];
        let code = RequestCode::UpdateAndCreateTopic;
        let answer = client.call(code, &fields.as_slice(), &[]).await;
        let text = remark(&answer);
        assert_eq!(answer.code(), 29, "{text}");
        assert!(
            text.contains("message.type") && text.contains(kind),
            "{text}"
        );
    }
    rig.stop().await;
}
