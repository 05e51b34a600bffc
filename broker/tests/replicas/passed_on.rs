//! What consumers ask of a replica and only the master does: messages that they give back, locks of queues.

use rmq_protocol::bodies::{LockBatch, LockedQueues, MessageQueue};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::RecordView;
use rmq_protocol::requests::ConsumerSendMsgBack;

use crate::offsets::NameServer;
use crate::rig::{Group, Wire, eventually};
use crate::support::{Client, Refused, pull, remark};

/// Gives the message at `position` up.
async fn give_up(client: &Client, position: i64) -> Result<(), Refused> {
    let request = ConsumerSendMsgBack {
        offset: position,
        group: "g".into(),
        delay_level: -1,
        origin_msg_id: None,
        origin_topic: Some("orders".into()),
        unit_mode: None,
        max_reconsume_times: None,
        broker_name: None,
        dead_letter_reason: None,
    };
    let code = RequestCode::ConsumerSendMsgBack;
    let answer = client.call(code, &request, &[]).await;
    match answer.code() {
        0 => Ok(()),
        code => Err(Refused {
            code,
            remark: remark(&answer),
        }),
    }
}

/// Where the first message is in the log.
async fn position(client: &Client) -> i64 {
    let code = RequestCode::PullMessage;
    let answer = client.call(code, &pull("orders", 0, 0), &[]).await;
    let first = RecordView::iter(answer.body()).next();
    let record = first.expect("a record").expect("whole");
    i64::try_from(record.position().0).expect("a position")
}

async fn lock(client: &Client, code: RequestCode, id: &str) -> Result<usize, Refused> {
    let wanted = LockBatch {
        consumer_group: "g".to_owned(),
        client_id: id.to_owned(),
        mq_set: vec![MessageQueue::new("orders", "broker-a", 0)],
        ..LockBatch::default()
    };
    let answer = client.call(code, &(), &wanted.to_json()).await;
    match answer.code() {
        0 if code == RequestCode::UnlockBatchMq => Ok(0),
        0 => {
            let locked = LockedQueues::from_json(answer.body()).expect("queues");
            Ok(locked.lock_ok_mq_set.len())
        }
        code => Err(Refused {
            code,
            remark: remark(&answer),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_master_does_reaches_it_through_a_replica() {
    let (name_server, stop) = NameServer::start().await;
    let group = Group::start(1, |config| config.name_servers.clone_from(&name_server)).await;
    group.master.broker.registered().await;
    let master = group.master.client();
    master.create_topic("orders", 1, 6).await;
    master.create_group("g", |_| {}).await;
    master.put("orders", "", "the order").await;
    group.caught_up().await;
    let replica = group.replicas[0].client();
    let at = position(&replica).await;

    // The replica knows the address of its master's clients when the name server has told it.
    eventually("the replica passes it on", async || {
        match give_up(&replica, at).await {
            Ok(()) => true,
            Err(why) => {
                assert_eq!(why.code, ResponseCode::SystemBusy.as_i32(), "{why:?}");
                false
            }
        }
    })
    .await;
    let dead = master.pull(&pull("%DLQ%g", 0, 0)).await;
    assert_eq!(dead.bodies(), ["the order"]);
    // The master's refusals come back as they are.
    let nowhere = give_up(&replica, 1 << 40).await.expect_err("no message");
    assert!(
        nowhere.remark.contains("look message by offset failed"),
        "{nowhere:?}"
    );

    // One lock, wherever it is asked for.
    let (lock_it, unlock) = (RequestCode::LockBatchMq, RequestCode::UnlockBatchMq);
    assert_eq!(lock(&replica, lock_it, "one").await, Ok(1));
    assert_eq!(lock(&master, lock_it, "two").await, Ok(0));
    assert_eq!(lock(&master, lock_it, "one").await, Ok(1));
    assert_eq!(lock(&replica, unlock, "one").await, Ok(0));
    assert_eq!(lock(&master, lock_it, "two").await, Ok(1));
    assert_eq!(lock(&replica, lock_it, "one").await, Ok(0));

    // Without a master the consumer is told so: it sends the retry itself, and tries the lock again.
    let wire = group.replicas[0].wire.as_ref().expect("a wire");
    wire.set(Wire::Cut);
    eventually("the replica has no master", async || {
        lock(&replica, lock_it, "one").await.is_err()
    })
    .await;
    let why = lock(&replica, lock_it, "one").await.expect_err("refused");
    assert_eq!(why.code, ResponseCode::SystemError.as_i32(), "{why:?}");
    assert!(why.remark.contains("replica without a master"), "{why:?}");
    let why = give_up(&replica, at).await.expect_err("refused");
    assert_eq!(why.code, ResponseCode::SystemBusy.as_i32(), "{why:?}");
    group.stop().await;
    stop.cancel();
}
