//! Compaction topics on every member: each keeps the newest values of its own log.

use std::time::Duration;

use rmq_protocol::code::RequestCode;
use rmq_transport::ManualClock;

use crate::rig::{Group, Member, Relay, Stopped, eventually};
use crate::support::{Client, pull, remark};
use crate::switches::change_roles;

const START_MS: i64 = 1_800_000_000_000;

fn small(config: &mut rmq_broker::BrokerConfig) {
    config.segment_bytes = 64 << 10;
    config.clock_settle_minutes = 0;
}

async fn put(client: &Client, key: &str, body: &str) {
    client
        .put("state", &format!("KEYS\u{1}{key}\u{2}"), body)
        .await;
}

/// Everything that was sent so far is old, and its segments go.
async fn expire(member: &Member) {
    let client = member.client();
    for _ in 0..4 {
        client.put("plain", "", &"x".repeat(30_000)).await;
    }
    let clock = member.clock.as_ref().expect("a clock of the test");
    clock.advance(Duration::from_secs(73 * 3_600));
    client.put("plain", "", &"x".repeat(30_000)).await;
    remove(member).await;
}

/// Has a member remove what it may.
async fn remove(member: &Member) {
    let code = RequestCode::DeleteExpiredCommitlog;
    let removed = member.client().call(code, &(), &[]).await;
    assert_eq!(removed.code(), 0, "{}", remark(&removed));
}

async fn all(client: &Client) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut next = 0;
    loop {
        let pulled = client.pull(&pull("state", 0, next)).await;
        let records = pulled.records.iter();
        found.extend(records.map(|record| (record.offset, record.text().to_owned())));
        let Some(fields) = pulled.fields.as_ref() else {
            return found;
        };
        // A replica does not say where to go on from an offset that is gone.
        let after = fields.next_begin_offset.max(fields.min_offset);
        if after <= next {
            return found;
        }
        next = after;
    }
}

async fn shows(member: &Member, expected: &[(i64, &str)]) {
    let expected = expected.iter().map(|(at, body)| (*at, (*body).to_owned()));
    let expected: Vec<_> = expected.collect();
    eventually("the member shows the newest values", async || {
        all(&member.client()).await == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_end_with_the_same_and_continue() {
    let clock = ManualClock::at(START_MS);
    let master = Member::start(Stopped {
        clock: Some(clock.clone()),
        ..Stopped::new(0, None, small)
    })
    .await;
    let at = master.broker.replication_addr().expect("a port");
    let wire = Relay::to(at).await;
    let replica = Member::start(Stopped {
        clock: Some(clock.clone()),
        ..Stopped::new(1, Some(wire), small)
    })
    .await;
    let client = master.client();
    let made = client
        .with_attributes("state", "+cleanup.policy=COMPACTION")
        .await;
    assert_eq!(made.code(), 0, "{}", remark(&made));
    client.create_topic("plain", 1, 6).await;
    for (key, body) in [
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("c", "c1"),
        ("c", ""),
    ] {
        put(&client, key, body).await;
    }
    replica.catches_up_with(&master).await;
    expire(&master).await;
    let kept = [(1, "b1"), (2, "a2")];
    shows(&master, &kept).await;
    replica.catches_up_with(&master).await;
    eventually(
        "the replica removes what its master has removed",
        async || {
            remove(&replica).await;
            let begins = [
                master.runtime("commitLogMinOffset").await,
                replica.runtime("commitLogMinOffset").await,
            ];
            begins[0] == begins[1]
        },
    )
    .await;
    shows(&replica, &kept).await;

    // A member that joins now takes a snapshot, which has them.
    let wire = Relay::to(at).await;
    let late = Member::start(Stopped {
        clock: Some(clock.clone()),
        ..Stopped::new(2, Some(wire), small)
    })
    .await;
    // It opens its store again with the snapshot.
    late.catches_up_with(&master).await;
    shows(&late, &kept).await;
    late.broker.shutdown().await.expect("a clean stop");

    // The replica becomes the master.
    let (master, back) = change_roles(master.stop(true).await, replica).await;
    let client = master.client();
    shows(&master, &kept).await;
    put(&client, "b", "b2").await;
    put(&client, "a", "").await;
    expire(&master).await;
    let kept = [(5, "b2")];
    shows(&master, &kept).await;
    back.catches_up_with(&master).await;
    eventually("the former master removes the same", async || {
        remove(&back).await;
        all(&back.client()).await == [(5, "b2".to_owned())]
    })
    .await;
    let group = Group {
        master,
        replicas: vec![back],
    };
    group.stop().await;
}
