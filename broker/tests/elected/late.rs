//! A member that starts late, when its master's log has lost its beginning: it takes a snapshot.

use std::time::Duration;

use rmq_election::driver::{Wish, request};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_transport::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::rig::{Group, TOPIC, eventually};
use crate::support::{Client, message, pull, remark};
use crate::wire::Wire;

const START_MS: i64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// Sends messages that take more than a segment.
async fn fill(client: &Client) {
    for _ in 0..8 {
        let sent = message(TOPIC, 0, "");
        client.send(&sent, &[7; 20 << 10]).await.expect("stored");
    }
}

/// Where the queue begins and ends; `None` while the member does not tell.
async fn bounds(client: &Client) -> Option<(i64, i64)> {
    let mut bounds = Vec::new();
    for code in [RequestCode::GetMinOffset, RequestCode::GetMaxOffset] {
        let of = [("topic", TOPIC), ("queueId", "0")];
        let answer = client.try_call(code, &of, &[]).await.ok()?;
        let header = answer.header();
        let offset = header.fields.get("offset")?;
        bounds.push(offset.to_cow().parse().ok()?);
    }
    Some((bounds[0], bounds[1]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_starts_late_takes_a_snapshot_and_says_so() {
    let clock = ManualClock::at(START_MS);
    let mut group = Group::new(3, |config| {
        config.segment_bytes = 64 << 10;
        config.clock_settle_minutes = 0;
        config.slave_read_enable = true;
    })
    .await;
    for member in &mut group.members {
        member.clock = Some(clock.clone());
    }
    for member in &mut group.members[..2] {
        member.start().await;
    }
    group.in_sync(2).await;
    group.send("the first").await;
    let master = group.master().await;
    let client = group.members[master].client();
    // The snapshot has several chunks of 256 KiB.
    let mut making = JoinSet::new();
    for maker in 0..20 {
        let client = group.members[master].client();
        making.spawn(async move {
            for number in 0..100 {
                let name = format!("{maker}-{number:0>100}");
                client.create_group(&name, |_| {}).await;
            }
        });
    }
    while let Some(made) = making.join_next().await {
        made.expect("made");
    }
    fill(&client).await;
    clock.advance(73 * HOUR);
    let removed = client.call(RequestCode::DeleteExpiredCommitlog, &(), &[]);
    let removed = removed.await;
    assert_eq!(removed.code(), 0, "{}", remark(&removed));
    fill(&client).await;
    assert_ne!(bounds(&client).await.expect("bounds").0, 0);

    // The snapshot stops in the middle: meanwhile both ports of the member say why they give nothing.
    group.wires[master].set(Wire::Budget(400 << 10));
    group.members[2].start().await;
    let late = group.members[2].config.clone();
    let asked = Client::at(&late.listen);
    let begun = late.data_dir.join("install");
    eventually("the snapshot is begun", async || begun.exists()).await;
    let busy = ResponseCode::SystemBusy.as_i32();
    for code in [RequestCode::PullMessage, RequestCode::SendMessageV2] {
        let refused = asked.call(code, &pull(TOPIC, 0, 0), &[]).await;
        assert_eq!(refused.code(), busy, "{}", remark(&refused));
        let why = remark(&refused);
        assert!(why.contains("takes a snapshot of its master"), "{why}");
    }
    let mut port = TcpStream::connect(&late.replication_listen)
        .await
        .expect("the port is served");
    // The port waits for the first byte: it tells what begins.
    port.write_all(&[0]).await.expect("the port is served");
    let mut said = Vec::new();
    port.read_to_end(&mut said).await.expect("it closes");
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("takes a snapshot of its master"), "{said}");
    // Nobody waits for it.
    group.send("meanwhile").await;

    group.wires[master].set(Wire::Whole);
    group.in_sync(3).await;
    let client = group.members[group.master().await].client();
    eventually("it has what the master has", async || {
        let there = bounds(&asked).await;
        there.is_some() && there == bounds(&client).await
    })
    .await;

    // It may lead like any other member.
    let wish = Wish::Switchover { to: group.id(2) };
    eventually("it is asked for", async || {
        request(group.place(), wish, "r").await.is_ok()
    })
    .await;
    eventually("it leads", async || group.master().await == 2).await;
    group.send("afterwards").await;
    let (_, end) = bounds(&asked).await.expect("bounds");
    let last = asked.pull(&pull(TOPIC, 0, end - 1)).await;
    assert_eq!(last.bodies(), ["afterwards"]);
    group.stop().await;
}
