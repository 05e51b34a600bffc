//! Half messages are as replicated as any message: the next master knows what is open, and what has ended.

use rmq_protocol::bodies::TransactionList;
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{OffsetMessageId, flags};
use rmq_protocol::requests::EndTransaction;

use crate::rig::{Group, Member, Wire, eventually};
use crate::support::{Client, pull};

const HALF: &str = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}payers\u{2}";

#[derive(Clone, Copy)]
struct Half {
    offset: i64,
    position: u64,
}

async fn half(client: &Client, body: &str) -> Half {
    let sent = client.put("orders", HALF, body).await;
    let id: OffsetMessageId = sent.msg_id.parse().expect("an offset id");
    Half {
        offset: sent.queue_offset,
        position: id.position.0,
    }
}

async fn end(client: &Client, half: Half, kind: i32) -> i32 {
    let fields = EndTransaction {
        topic: None,
        producer_group: "payers".into(),
        tran_state_table_offset: half.offset,
        commit_log_offset: half.position as i64,
        commit_or_rollback: kind,
        from_transaction_check: None,
        msg_id: "U".into(),
        transaction_id: None,
        broker_name: None,
    };
    client
        .call(RequestCode::EndTransaction, &fields, &[])
        .await
        .code()
}

async fn open(client: &Client) -> Vec<i64> {
    let answer = client.call(RequestCode::GetTransactions, &(), &[]).await;
    let list = TransactionList::from_json(answer.body()).expect("a list");
    let rows = list.transactions.iter();
    rows.map(|row| row.commit_log_offset).collect()
}

/// What the old master alone has is cut off: its half message is gone there too, and its commit, which nobody has confirmed, never was.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_master_continues_every_transaction_that_is_confirmed() {
    let group = Group::start(1, |_| {}).await;
    let master = group.master.client();
    master.create_topic("orders", 1, 6).await;
    let committed = half(&master, "committed").await;
    let undecided = half(&master, "undecided").await;
    let back = half(&master, "rolled back").await;
    assert_eq!(end(&master, committed, flags::TRANSACTION_COMMIT).await, 0);
    assert_eq!(end(&master, back, flags::TRANSACTION_ROLLBACK).await, 0);
    group.caught_up().await;
    let replica = group.replicas[0].client();
    let wanted = vec![undecided.position as i64];
    assert_eq!(open(&master).await, wanted);
    eventually("the replica knows the same", async || {
        open(&replica).await == wanted
    })
    .await;
    assert_ne!(
        end(&replica, undecided, flags::TRANSACTION_COMMIT).await,
        0,
        "a replica ends nothing"
    );

    let mut replicas = group.replicas;
    let replica = replicas.remove(0);
    replica.wire.as_ref().expect("a wire").set(Wire::Cut);
    // The old master alone has these.
    let lost = half(&master, "lost").await;
    assert_eq!(end(&master, undecided, flags::TRANSACTION_COMMIT).await, 0);
    let old = group.master.stop(true).await;

    let mut other = replica.stop(false).await;
    let wire = other.wire.take().expect("a wire");
    other.config.broker_id = 0;
    other.config.replication_master.clear();
    let new = Member::start(other).await;
    wire.lead_to(new.broker.replication_addr().expect("a port"));
    wire.set(Wire::Whole);
    let mut back_again = old;
    back_again.config.broker_id = 1;
    back_again.config.replication_master = wire.addr.to_string();
    back_again.wire = Some(wire);
    let old = Member::start(back_again).await;

    let client = new.client();
    assert_eq!(open(&client).await, wanted);
    assert_ne!(
        end(&client, committed, flags::TRANSACTION_ROLLBACK).await,
        0
    );
    assert_ne!(end(&client, lost, flags::TRANSACTION_COMMIT).await, 0);
    assert_eq!(
        end(&client, undecided, flags::TRANSACTION_ROLLBACK).await,
        0
    );
    assert!(open(&client).await.is_empty());
    let next = half(&client, "of the new master").await;
    eventually(
        "the old master has the same, and nothing of its own",
        async || open(&old.client()).await == [next.position as i64],
    )
    .await;
    for member in [&new, &old] {
        let pulled = member.client().pull(&pull("orders", 0, 0)).await;
        assert_eq!(pulled.bodies(), ["committed"]);
    }
    old.broker.shutdown().await.expect("a clean stop");
    new.broker.shutdown().await.expect("a clean stop");
}
