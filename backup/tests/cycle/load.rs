//! A backup that is taken while messages come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rmq_client::Message;

use crate::rig::{Kept, fill, said, saved, small, source};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_exactly_what_was_confirmed_when_it_began() {
    let cluster = small().start().await;
    fill(&cluster, 0, 120).await;
    saved(&cluster).await;
    let before = said(&cluster).await;
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = {
        let (client, stop, sent) = (cluster.client().await, Arc::clone(&stop), Arc::clone(&sent));
        tokio::spawn(async move {
            let producer = client.producer();
            while !stop.load(Ordering::Acquire) {
                let number = sent.load(Ordering::Acquire);
                let message = Message::new("orders", format!("load {number}"));
                producer.send(message).await.expect("stored");
                sent.fetch_add(1, Ordering::AcqRel);
            }
        })
    };
    while sent.load(Ordering::Acquire) < 50 {
        tokio::task::yield_now().await;
    }
    let kept = Kept::new();
    let mut copied = source(&cluster).await;
    let acknowledged = sent.load(Ordering::Acquire);
    // More comes between any two answers.
    let seen = Arc::clone(&sent);
    let mut last = 0;
    copied.asked = Box::new(move |_| {
        while seen.load(Ordering::Acquire) == last {
            std::thread::yield_now();
        }
        last = seen.load(Ordering::Acquire);
    });
    let taken = kept.take(&mut copied).await.expect("a backup");
    stop.store(true, Ordering::Release);
    load.await.expect("it sends");
    let all = said(&cluster).await;
    let backup = taken.manifest;
    kept.is_intact(std::slice::from_ref(&backup)).await;
    let restored = kept.said_after_restore(&backup, "restored").await;
    assert_eq!(
        restored.messages,
        all.clone().below(backup.position).messages
    );
    assert!(restored.count() < all.count(), "the load went on");
    assert_eq!(restored.topics, before.topics);
    assert_eq!(restored.groups, before.groups);
    assert_eq!(restored.offsets, before.offsets);
    let bodies: BTreeSet<&[u8]> = restored
        .messages
        .values()
        .flatten()
        .map(|(_, _, body)| body.as_ref())
        .collect();
    for number in 0..acknowledged {
        let body = format!("load {number}");
        assert!(bodies.contains(body.as_bytes()), "{body} was acknowledged");
    }
    cluster.shutdown().await;
}
