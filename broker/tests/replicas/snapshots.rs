//! Replicas whose log ends before their master's begins.

use std::time::Duration;

use rmq_protocol::code::RequestCode;
use rmq_transport::ManualClock;

use crate::copies::answers;
use crate::rig::{Group, Member, Relay, Stopped, Wire, eventually};
use crate::support::{Client, message, pull, remark};

const START_MS: i64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

fn small(config: &mut rmq_broker::BrokerConfig) {
    config.segment_bytes = 64 << 10;
    config.clock_settle_minutes = 0;
}

/// A master whose clock is the test's, with a topic of two queues.
async fn master(clock: &ManualClock) -> Member {
    let master = Member::start(Stopped {
        clock: Some(clock.clone()),
        ..Stopped::new(0, None, small)
    })
    .await;
    let client = master.client();
    client.create_topic("orders", 2, 6).await;
    client.create_group("readers", |_| {}).await;
    master
}

/// Sends messages that take more than a segment.
async fn fill(client: &Client, keys: &str) {
    for number in 0..8 {
        let properties = format!("KEYS\u{1}{keys}{number}\u{2}");
        let sent = message("orders", number % 2, &properties);
        client.send(&sent, &[7; 20 << 10]).await.expect("stored");
    }
}

/// Three days pass, and what has expired is removed.
async fn expire(member: &Member) {
    let clock = member.clock.as_ref().expect("a clock of the test");
    clock.advance(73 * HOUR);
    let code = RequestCode::DeleteExpiredCommitlog;
    let removed = member.client().call(code, &(), &[]).await;
    assert_eq!(removed.code(), 0, "{}", remark(&removed));
}

async fn min_offset(client: &Client) -> i64 {
    let asked = asked_min_offset(client).await;
    asked.expect("an offset")
}

/// Where a queue begins, or why nobody says so.
async fn asked_min_offset(client: &Client) -> Result<i64, String> {
    let of = [("topic", "orders"), ("queueId", "0")];
    let answer = client.call(RequestCode::GetMinOffset, &of, &[]).await;
    match answer.header().fields.get("offset") {
        Some(offset) => Ok(offset.to_cow().parse().expect("a number")),
        None => Err(remark(&answer)),
    }
}

/// The master and the replica that has joined it late.
async fn is_as_the_master(group: Group) {
    group.caught_up().await;
    let min = min_offset(&group.master.client()).await;
    assert_ne!(min, 0);
    eventually("the log has come up to the snapshot", async || {
        let there = asked_min_offset(&group.replicas[0].client()).await;
        match there {
            Ok(there) => there == min,
            Err(why) => {
                assert!(why.contains("was made from a snapshot"), "{why}");
                false
            }
        }
    })
    .await;
    let (master, replica) = (&group.master, &group.replicas[0]);
    assert_eq!(answers(replica, min).await, answers(master, min).await);
    // The copying goes on.
    let client = group.master.client();
    client.put("orders", "", "after the snapshot").await;
    group.caught_up().await;
    assert_eq!(
        answers(&group.replicas[0], min).await,
        answers(&group.master, min).await
    );
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_an_empty_folder_joins_a_master_that_has_removed_its_first_segments() {
    let clock = ManualClock::at(START_MS);
    let master = master(&clock).await;
    let client = master.client();
    fill(&client, "old").await;
    expire(&master).await;
    fill(&client, "k").await;
    assert_ne!(min_offset(&client).await, 0);

    let wire = Relay::to(master.broker.replication_addr().expect("a port")).await;
    let late = Member::start(Stopped::new(1, Some(wire), small)).await;
    let replicas = vec![late];
    is_as_the_master(Group { master, replicas }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_for_too_long_starts_anew_and_continues() {
    let clock = ManualClock::at(START_MS);
    let master = master(&clock).await;
    let client = master.client();
    client.put("orders", "", "before").await;
    let wire = Relay::to(master.broker.replication_addr().expect("a port")).await;
    let replica = Member::start(Stopped::new(1, Some(wire), small)).await;
    let group = Group {
        master,
        replicas: vec![replica],
    };
    group.caught_up().await;
    let Group {
        master,
        mut replicas,
    } = group;
    let away = replicas.remove(0).stop(false).await;
    fill(&client, "old").await;
    expire(&master).await;
    fill(&client, "k").await;

    let back = Member::start(away).await;
    // Consumers wait for the time in between, and are not told of a queue that lacks its beginning.
    let replicas = vec![back];
    is_as_the_master(Group { master, replicas }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_while_it_takes_a_snapshot_takes_it_again() {
    let clock = ManualClock::at(START_MS);
    let master = master(&clock).await;
    let client = master.client();
    // The snapshot has several chunks of 256 KiB.
    for number in 0..2_000 {
        client
            .create_group(&format!("{number:0>100}"), |_| {})
            .await;
    }
    fill(&client, "old").await;
    expire(&master).await;
    fill(&client, "k").await;

    let wire = Relay::to(master.broker.replication_addr().expect("a port")).await;
    wire.set(Wire::Budget(400 << 10));
    let replica = Member::start(Stopped::new(1, Some(wire), small)).await;
    let begun = replica.config.data_dir.join("install");
    eventually("the snapshot is begun", async || begun.exists()).await;
    let killed = replica.stop(true).await;
    let mark = std::fs::read_to_string(&begun).expect("the note of the snapshot");
    assert!(mark.contains("begun"), "{mark}");

    // The wire breaks in the middle, and the store is empty: what it has is served, and it is tried again.
    let replica = Member::start(killed).await;
    eventually("it is tried again", async || begun.exists()).await;
    let wire = replica.wire.as_ref().expect("a wire");
    wire.set(Wire::Cut);
    eventually("the replica serves in between", async || {
        let pulled = replica.copying_now().await;
        pulled.is_some() && !begun.exists()
    })
    .await;
    wire.set(Wire::Whole);
    let replicas = vec![replica];
    is_as_the_master(Group { master, replicas }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_keeps_what_its_master_keeps() {
    let clock = ManualClock::at(START_MS);
    let master = master(&clock).await;
    let client = master.client();
    fill(&client, "k").await;
    let wire = Relay::to(master.broker.replication_addr().expect("a port")).await;
    // Its time goes on its own.
    let ahead = ManualClock::at(START_MS);
    let replica = Member::start(Stopped {
        clock: Some(ahead),
        ..Stopped::new(1, Some(wire), small)
    })
    .await;
    let group = Group {
        master,
        replicas: vec![replica],
    };
    group.caught_up().await;
    expire(&group.replicas[0]).await;
    let replica = group.replicas[0].client();
    assert_eq!(min_offset(&replica).await, 0);
    let pulled = replica.pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.records.first().map(|record| record.offset), Some(0));

    // What the master has removed goes here too.
    expire(&group.master).await;
    fill(&client, "new").await;
    eventually("the replica may remove it", async || {
        expire(&group.replicas[0]).await;
        min_offset(&replica).await == min_offset(&client).await
    })
    .await;
    assert_ne!(min_offset(&client).await, 0);
    group.stop().await;
}
