//! A broker whose store is closed and opened again while its process and its ports stay.

use std::sync::Weak;

use rmq_protocol::message::LogPosition;

use super::support::{Client, config, message, until};
use super::*;
use crate::broker::Broker;

async fn lives(dir: &std::path::Path) -> Arc<Lives> {
    let config = config(dir);
    let listeners = Listeners::bind(&config).await.expect("ports");
    Lives::new(listeners, config, Deps::default())
        .await
        .expect("settings that are right")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_life_serves_the_same_ports_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let lives = lives(folder.path()).await;
    let mut ended: Vec<Weak<Broker>> = Vec::new();
    for (round, open_as) in [OpenAs::Master, OpenAs::Follower, OpenAs::Master]
        .into_iter()
        .enumerate()
    {
        assert!(lives.broker().is_none());
        // Who connects before is served when there is a life.
        let client = Client::at(&lives.listeners.addr.to_string());
        let early = tokio::spawn(async move {
            let sent = client.send(&message("t", 0, ""), b"early").await;
            (sent, client)
        });
        let (broker, _) = lives.begin(open_as).await.expect("a life");
        let (sent, client) = early.await.expect("no panic");
        match open_as {
            OpenAs::Master => {
                let offset = sent.expect("stored").queue_offset;
                assert_eq!(offset, [0, 0, 1][round]);
            }
            OpenAs::Follower => {
                let refused = sent.expect_err("a replica takes nothing");
                assert!(refused.remark.contains("replica"), "{refused:?}");
            }
        }
        ended.push(Arc::downgrade(&broker));
        drop(broker);
        let ending = [Ending::Change, Ending::Change, Ending::Stop][round];
        lives.end(ending).await.expect("closed");
        drop(client);
    }
    until("the broker of each life is gone", || {
        ended.iter().all(|broker| broker.strong_count() == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_master_ends_at_once_and_acknowledges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let lives = lives(folder.path()).await;
    let (broker, _) = lives.begin(OpenAs::Master).await.expect("a life");
    let master = broker.store.master().expect("a master").clone();
    let client = Client::at(&lives.listeners.addr.to_string());
    client.put("t", "", "confirmed").await;
    let confirmed = master.positions().confirmed;
    // A replica that never comes: what is sent now waits for it.
    master.replicated(Some(LogPosition(confirmed)));
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.send(&message("t", 0, ""), b"waits").await }
    });
    until("the message is appended", || {
        master.positions().appended > confirmed
    })
    .await;

    master.fence("member 2 is the master of epoch 3");
    broker.role.set(Role::Replica { of: None });
    lives.end(Ending::Change).await.expect("closed");
    let refused = waits
        .await
        .expect("no panic")
        .expect_err("not acknowledged");
    assert!(refused.remark.contains("not the master"), "{refused:?}");

    let (broker, _) = lives.begin(OpenAs::Follower).await.expect("a life");
    assert!(broker.member.follower().is_some());
    lives.end_for_good(Ending::Kill);
    assert_eq!(lives.ends().await, Ending::Kill);
    lives.end(Ending::Kill).await.expect("nothing to write");
    assert!(lives.broker().is_none());
}
