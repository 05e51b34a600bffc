//! A person moves the master, and the place goes away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rmq_election::driver::{Wish, outcome, request};

use crate::rig::{Group, eventually, try_send};
use crate::support::Client;

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_loses_nothing_and_stops_writes_for_a_moment() {
    let group = Group::start(3, |_| {}).await;
    group.send("first").await;
    let addresses: Vec<String> = group
        .members
        .iter()
        .map(|member| member.config.listen.clone())
        .collect();
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let sender = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        tokio::spawn(async move {
            let clients: Vec<Client> = addresses.iter().map(|addr| Client::at(addr)).collect();
            let (mut at, mut last, mut gap) = (0, Instant::now(), Duration::ZERO);
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                let body = format!("m{number}");
                match try_send(&clients[at], &body).await {
                    Ok(()) => {
                        gap = gap.max(last.elapsed());
                        last = Instant::now();
                        sent.lock().expect("whole").push(body);
                        number += 1;
                    }
                    Err(_) => {
                        at = (at + 1) % clients.len();
                        number += 1;
                    }
                }
            }
            gap
        })
    };
    for round in 0..4 {
        let (master, to) = (group.master().await, group.replica().await);
        let before = sent.lock().expect("whole").len();
        eventually("some are sent", async || {
            sent.lock().expect("whole").len() > before + 20
        })
        .await;
        let number = format!("r{round}");
        let wish = Wish::Switchover { to: group.id(to) };
        // The one that was the master before is soon in the set again.
        eventually("it is written", async || {
            request(group.place(), wish, &number).await.is_ok()
        })
        .await;
        eventually("it is answered", async || {
            let outcome = outcome(group.place(), &number).await.expect("a place");
            outcome.is_some_and(|outcome| {
                assert_eq!(outcome.refused, None);
                true
            })
        })
        .await;
        assert_eq!(group.master().await, to);
        group.in_sync(3).await;
        assert_ne!(master, to);
    }
    stop.store(true, Ordering::SeqCst);
    let gap = sender.await.expect("it sends");
    tracing::info!("longest write gap of 4 switchovers: {} ms", gap.as_millis());
    let now = group.master().await;
    let found = group.messages(now).await;
    let sent = sent.lock().expect("whole").clone();
    for body in &sent {
        assert_eq!(found.iter().filter(|one| *one == body).count(), 1, "{body}");
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_stopped_hands_over() {
    let mut group = Group::start(3, |_| {}).await;
    group.send("first").await;
    let master = group.master().await;
    let began = Instant::now();
    group.members[master].stop().await;
    tracing::info!("stop of a master: {} ms", began.elapsed().as_millis());
    let after = group.send("second").await;
    tracing::info!("first message after it: {} ms", after.as_millis());
    assert_ne!(group.master().await, master);
    group.members[master].start().await;
    group.in_sync(3).await;
    let now = group.master().await;
    assert_eq!(group.messages(now).await, ["first", "second"]);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_place_the_master_serves_while_all_members_promise() {
    let mut group = Group::start(3, |_| {}).await;
    group.send("first").await;
    let master = group.master().await;
    for member in &group.members {
        member.way.cut_off(true);
    }
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < Duration::from_millis(3 * crate::rig::LEASE_MS) {
        let client = group.members[master].client();
        try_send(&client, &format!("m{number}"))
            .await
            .expect("the members promise");
        number += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One that is missing promises nothing.
    let replica = group.replica().await;
    group.members[replica].kill().await;
    eventually("writes stop", async || {
        let client = group.members[master].client();
        try_send(&client, "late").await.is_err()
    })
    .await;
    for member in &group.members {
        member.way.cut_off(false);
    }
    group.send("back").await;
    group.members[replica].start().await;
    group.in_sync(3).await;
    group.stop().await;
}
