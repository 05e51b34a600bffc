//! What an acknowledgement promises with `ackMode` inSync, and what is visible.

use rmq_broker::AckMode;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::RecordView;

use crate::rig::{Group, Wire, eventually};
use crate::support::{message, pull, remark};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_replica_has_not_confirmed_nobody_sees() {
    let group = Group::start(1, |config| {
        config.ack_mode = AckMode::InSync;
        config.ack_timeout_ms = 200;
    })
    .await;
    group.in_sync(1).await;
    let master = group.master.client();
    master.put("orders", "", "one").await;
    let pulled = master.pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["one"]);

    let wire = group.replicas[0].wire.as_ref().expect("a wire");
    wire.set(Wire::Held);
    let late = master.send(&message("orders", 0, ""), b"two").await;
    let late = late.expect_err("not confirmed");
    assert_eq!(late.code, ResponseCode::FlushSlaveTimeout.as_i32());
    assert!(late.remark.contains("member 1"), "{}", late.remark);
    let pulled = master.pull(&pull("orders", 0, 1)).await;
    assert_eq!(pulled.bodies(), Vec::<&str>::new(), "it may still be lost");

    wire.set(Wire::Whole);
    eventually("what was stored is confirmed", async || {
        let pulled = master.pull(&pull("orders", 0, 1)).await;
        pulled.bodies() == ["two"]
    })
    .await;
    master.put("orders", "", "three").await;
    group.caught_up().await;
    let pulled = group.replicas[0].client().pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["one", "two", "three"]);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_minimum_writes_are_refused_before_storing_and_reads_continue() {
    let group = Group::start(2, |config| {
        config.ack_mode = AckMode::InSyncFlushed;
        config.min_in_sync = 3;
        config.ack_timeout_ms = 200;
    })
    .await;
    group.in_sync(2).await;
    let master = group.master.client();
    master.put("orders", "", "one").await;

    let wire = group.replicas[1].wire.as_ref().expect("a wire");
    wire.set(Wire::Cut);
    group.in_sync(1).await;
    let end = group.master.copying().await.master_commit_log_max_offset;
    let refused = master.send(&message("orders", 0, ""), b"two").await;
    let refused = refused.expect_err("too few");
    assert_eq!(refused.code, ResponseCode::ServiceNotAvailable.as_i32());
    assert!(refused.remark.contains("2 of 3"), "{}", refused.remark);
    let now = group.master.copying().await.master_commit_log_max_offset;
    assert_eq!(now, end, "nothing is stored");
    let pulled = master.pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["one"]);

    wire.set(Wire::Whole);
    group.in_sync(2).await;
    master.put("orders", "", "two").await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_without_its_replica_takes_nothing_after_a_start() {
    let mut group = Group::start(1, |config| config.ack_mode = AckMode::InSync).await;
    group.in_sync(1).await;
    group.master.client().put("orders", "", "one").await;
    let wire = group.replicas[0].wire.take().expect("a wire");
    wire.set(Wire::Cut);
    let master = group.master.start_again(true).await;
    let refused = master
        .client()
        .send(&message("orders", 0, ""), b"two")
        .await;
    let refused = refused.expect_err("too few");
    assert!(refused.remark.contains("1 of 2"), "{}", refused.remark);
    let pulled = master.client().pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["one"]);
    wire.set(Wire::Whole);
    let group = Group {
        master,
        replicas: group.replicas,
    };
    group.in_sync(1).await;
    group.master.client().put("orders", "", "two").await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_messages_given_back_are_answered_when_a_replica_is_late() {
    let group = Group::start(1, |config| {
        config.ack_mode = AckMode::InSync;
        config.ack_timeout_ms = 200;
    })
    .await;
    group.in_sync(1).await;
    let master = group.master.client();
    master.create_topic("orders", 1, 6).await;
    master.create_group("g", |_| {}).await;
    master.create_group("h", |_| {}).await;
    master.put("orders", "", "one").await;
    let code = RequestCode::PullMessage;
    let one = master.call(code, &pull("orders", 0, 0), &[]).await;
    let record = RecordView::iter(one.body()).find_map(Result::ok);
    let position = record.expect("a record").position().0.to_string();

    let wire = group.replicas[0].wire.as_ref().expect("a wire");
    wire.set(Wire::Held);
    let topic = [
        ("topic", "late"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    let back = [
        ("offset", position.as_str()),
        ("group", "g"),
        ("delayLevel", "1"),
    ];
    let reset = [
        ("group", "g"),
        ("topic", "orders"),
        ("timestamp", "-1"),
        ("isForce", "true"),
    ];
    let requests: [(RequestCode, &[(&str, &str)]); 4] = [
        (RequestCode::UpdateAndCreateTopic, &topic),
        (RequestCode::ConsumerSendMsgBack, &back),
        (RequestCode::InvokeBrokerToResetOffset, &reset),
        (RequestCode::DeleteSubscriptiongroup, &[("groupName", "h")]),
    ];
    for (code, fields) in requests {
        let answer = master.call(code, &fields, &[]).await;
        let text = remark(&answer);
        assert_eq!(
            answer.code(),
            ResponseCode::FlushSlaveTimeout.as_i32(),
            "{code}: {text}"
        );
        assert!(text.contains("member 1"), "{code}: {text}");
    }
    // All of it counts when the replica has it.
    wire.set(Wire::Whole);
    eventually("the topic is there", async || {
        let fields = [("topic", "late")];
        let code = RequestCode::GetTopicConfig;
        master.call(code, &fields.as_slice(), &[]).await.code() == 0
    })
    .await;

    // Below the minimum nothing is begun.
    wire.set(Wire::Cut);
    group.in_sync(0).await;
    let end = group.master.copying().await.master_commit_log_max_offset;
    for (code, fields) in requests {
        let answer = master.call(code, &fields, &[]).await;
        let text = remark(&answer);
        assert_eq!(
            answer.code(),
            ResponseCode::ServiceNotAvailable.as_i32(),
            "{code}"
        );
        assert!(text.contains("1 of 2"), "{code}: {text}");
    }
    let now = group.master.copying().await.master_commit_log_max_offset;
    assert_eq!(now, end, "nothing is stored");
    wire.set(Wire::Whole);
    group.in_sync(1).await;
    group.stop().await;
}
