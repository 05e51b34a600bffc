//! SQL92 filters: by the expression of a pull and by the subscription of a group, while pulls wait, and what is refused.

use rmq_broker::{BrokerConfig, Deps};
use rmq_protocol::bodies::{CheckClientConfigBody, ConsumerData, HeartbeatData, SubscriptionData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{PullMessage, pull_flag};

use crate::support::{Client, PATIENCE, Rig, message, parked, pull, remark, waiting_pull};

/// Longer than any test.
const LONG: i64 = 100_000;

fn by(expression: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: "t".to_owned(),
        sub_string: expression.to_owned(),
        expression_type: "SQL92".to_owned(),
        sub_version: version,
        ..SubscriptionData::default()
    }
}

fn sql<'a>(expression: &'a str, pull: PullMessage<'a>) -> PullMessage<'a> {
    PullMessage {
        subscription: Some(expression.into()),
        expression_type: Some("SQL92".into()),
        ..pull
    }
}

/// A pull by the group's subscription, as push consumers of Java ask.
fn subscribed(offset: i64, version: i64, kind: &'static str) -> PullMessage<'static> {
    PullMessage {
        consumer_group: "g".into(),
        sys_flag: 0,
        subscription: None,
        sub_version: version,
        expression_type: Some(kind.into()),
        ..pull("t", 0, offset)
    }
}

async fn beat(client: &Client, wanted: SubscriptionData) -> (i32, String) {
    let data = HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "g".to_owned(),
            subscription_data_set: vec![wanted],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let answer = client
        .call(RequestCode::HeartBeat, &(), &data.to_json())
        .await;
    (answer.code(), remark(&answer))
}

/// Messages `0` to `9` whose property `n` is their number, and one of each odd kind.
async fn numbers(client: &Client) {
    client.create_topic("t", 1, 6).await;
    for number in 0..10 {
        let properties = format!("n\u{1}{number}\u{2}");
        client.put("t", &properties, &number.to_string()).await;
    }
    client.put("t", "", "without").await;
    client.put("t", "n\u{1}x\u{2}", "no number").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_chosen_by_their_properties() {
    let rig = Rig::start().await;
    let client = rig.client();
    numbers(&client).await;
    for (expression, bodies) in [
        ("n BETWEEN 3 AND 5", vec!["3", "4", "5"]),
        ("n > 7", vec!["8", "9"]),
        ("n IS NULL", vec!["without"]),
        ("n IN ('x', '0')", vec!["0", "no number"]),
        ("NOT (n <> 'x')", vec!["no number"]),
    ] {
        let pulled = client.pull(&sql(expression, pull("t", 0, 0))).await;
        assert_eq!(pulled.code, 0, "{expression}: {pulled:?}");
        assert_eq!(
            (pulled.bodies(), pulled.next()),
            (bodies, 12),
            "{expression}"
        );
    }
    let none = client.pull(&sql("n > 70", pull("t", 0, 0))).await;
    assert_eq!((none.code, none.next()), (20, 12));
    // One message at a time, whatever lies between.
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < 12 {
        let request = PullMessage {
            max_msg_nums: 1,
            ..pull("t", 0, offset)
        };
        let pulled = client.pull(&sql("n IN ('2', '7', 'x')", request)).await;
        found.extend(pulled.records.iter().map(|record| record.text().to_owned()));
        assert!(pulled.next() > offset, "{pulled:?}");
        offset = pulled.next();
    }
    assert_eq!(found, ["2", "7", "no number"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_chooses_and_a_newer_one_is_waited_for() {
    let rig = Rig::start().await;
    let client = rig.client();
    numbers(&client).await;
    assert_eq!(beat(&client, by("n > 7", 5)).await, (0, String::new()));
    let pulled = client.pull(&subscribed(0, 5, "SQL92")).await;
    assert_eq!(pulled.bodies(), ["8", "9"]);
    // No client evaluates the expression, so nothing may come that an older one lets pass. Go clients say TAG.
    for kind in ["SQL92", "TAG"] {
        let early = client.pull(&subscribed(0, 6, kind)).await;
        assert_eq!(early.code, 25, "{early:?}");
        assert!(early.remark.contains("group g, topic t"), "{early:?}");
    }
    assert_eq!(beat(&client, by("n < 2", 6)).await.0, 0);
    let pulled = client.pull(&subscribed(0, 6, "SQL92")).await;
    assert_eq!(pulled.bodies(), ["0", "1"]);
    // From tags to an expression, and back: a client compares tags itself.
    let tags = SubscriptionData::tags("t", "red", 7);
    assert_eq!(beat(&client, tags).await.0, 0);
    assert_eq!(client.pull(&subscribed(0, 8, "SQL92")).await.code, 25);
    assert_eq!(
        client.pull(&subscribed(0, 8, "TAG")).await.records.len(),
        12
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_message_that_matches_ends_a_wait() {
    let rig = Rig::start().await;
    let (reader, writer) = (rig.client(), rig.client());
    numbers(&writer).await;
    let request = sql("n = 70", waiting_pull("t", 12, "", LONG));
    let mut waiting = parked(&reader, reader.pull(&request)).await;
    for _ in 0..3 {
        writer.put("t", "n\u{1}7\u{2}", "other").await;
        // The next request of the waiting connection is answered, and the pull still waits.
        waiting = parked(&reader, waiting).await;
    }
    writer.put("t", "n\u{1}70\u{2}", "wanted").await;
    let pulled = waiting.await;
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["wanted"], 16));
    // The stop answers what waits, behind what was passed over.
    let request = sql("n = 70", waiting_pull("t", 16, "", LONG));
    let waiting = parked(&reader, reader.pull(&request)).await;
    writer.put("t", "n\u{1}7\u{2}", "other").await;
    let waiting = parked(&reader, waiting).await;
    let (pulled, ()) = tokio::join!(waiting, rig.stop());
    assert_eq!((pulled.code, pulled.next()), (19, 17));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_over_holds_nobody_up() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    // More than one pull looks at.
    for _ in 0..5_000 {
        let request = message("t", 0, "n\u{1}1\u{2}");
        let code = RequestCode::SendMessageV2.as_i32();
        let sent = client.0.one_way(code, &request, b"x", PATIENCE).await;
        sent.expect("sent");
    }
    client.put("t", "n\u{1}2\u{2}", "wanted").await;
    let mut offset = 0;
    let mut pulls = 0;
    let pulled = loop {
        pulls += 1;
        let pulled = client.pull(&sql("n = 2", pull("t", 0, offset))).await;
        if pulled.code == 0 {
            break pulled;
        }
        assert_eq!(pulled.code, 20, "{pulled:?}");
        assert!(pulled.next() > offset, "{pulled:?}");
        offset = pulled.next();
    };
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["wanted"], 5_001));
    assert_eq!(pulls, 3);
    // And by the bytes of what was looked at: 9 of 2 MiB.
    client.create_topic("large", 1, 6).await;
    let body = "x".repeat(2 << 20);
    for _ in 0..9 {
        client.put("large", "n\u{1}1\u{2}", &body).await;
    }
    let first = client.pull(&sql("n = 2", pull("large", 0, 0))).await;
    assert_eq!((first.code, first.next()), (20, 8));
    let second = client.pull(&sql("n = 2", pull("large", 0, 8))).await;
    assert_eq!((second.code, second.next()), (20, 9));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_filter_is_said_at_the_start_and_at_each_pull() {
    let rig = Rig::start_with(Deps::default(), |config: &mut BrokerConfig| {
        config.expression_terms_max = 4;
    })
    .await;
    let client = rig.client();
    numbers(&client).await;
    let check = async |client: &Client, wanted: SubscriptionData| {
        let body = CheckClientConfigBody {
            client_id: "one".to_owned(),
            group: "g".to_owned(),
            subscription_data: wanted,
            ..CheckClientConfigBody::default()
        };
        let code = RequestCode::CheckClientConfig;
        let answer = client.call(code, &(), &body.to_json()).await;
        (answer.code(), remark(&answer))
    };
    assert_eq!(check(&client, by("n > 1", 1)).await.0, 0);
    for (expression, says) in [
        ("n > ", "at character 5, the end: expected a value"),
        (
            "n > 1 OR n > 2 OR n > 3",
            "more than 4 properties and constants (expressionTermsMax)",
        ),
    ] {
        let (code, text) = check(&client, by(expression, 1)).await;
        assert_eq!(code, 23, "{text}");
        assert!(text.contains(says), "{text}");
        // The client's other subscriptions are served, so its heartbeat is taken.
        let (code, text) = beat(&client, by(expression, 1)).await;
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains("group g gets nothing of topic t") && text.contains(says),
            "{text}"
        );
        let pulled = client.pull(&subscribed(0, 1, "SQL92")).await;
        assert_eq!(pulled.code, 23, "{pulled:?}");
        assert!(pulled.remark.contains(says), "{pulled:?}");
    }
    let class = SubscriptionData {
        class_filter_mode: true,
        ..by("com.example.Filter", 2)
    };
    let (code, text) = check(&client, class).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("class filters"), "{text}");
    rig.stop().await;

    let off = Rig::start_with(Deps::default(), |config: &mut BrokerConfig| {
        config.enable_property_filter = false;
    })
    .await;
    let client = off.client();
    numbers(&client).await;
    let (code, text) = check(&client, by("n > 1", 1)).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("enablePropertyFilter"), "{text}");
    let pulled = client.pull(&sql("n > 1", pull("t", 0, 0))).await;
    assert_eq!(pulled.code, 1, "{pulled:?}");
    assert!(
        pulled.remark.contains("filter message by SQL92"),
        "{pulled:?}"
    );
    off.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tags_are_one_subscription() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    for number in [0, 1_999, 3_999, 4_000] {
        let properties = format!("TAGS\u{1}tag-{number}\u{2}");
        client.put("t", &properties, &number.to_string()).await;
    }
    let tags: Vec<String> = (0..4_000).map(|number| format!("tag-{number}")).collect();
    let wanted = SubscriptionData::tags("t", &tags.join(" || "), 1);
    assert_eq!(beat(&client, wanted).await, (0, String::new()));
    let pulled = client.pull(&subscribed(0, 1, "TAG")).await;
    assert_eq!(
        (pulled.bodies(), pulled.next()),
        (vec!["0", "1999", "3999"], 4)
    );
    let request = PullMessage {
        sys_flag: pull_flag::SUBSCRIPTION,
        subscription: Some(tags.join("||").into()),
        ..pull("t", 0, 0)
    };
    assert_eq!(client.pull(&request).await.bodies(), ["0", "1999", "3999"]);
    rig.stop().await;
}
