//! Messages that wait, and a master that goes while they do. No test waits for real. Budget: 10 s.

use std::time::Duration;

use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::RecallMessage;
use rmq_transport::ManualClock;

use crate::rig::{Member, Relay, Stopped, Wire, eventually};
use crate::support::{Client, pull};
use crate::switches::change_roles;

const START_MS: i64 = 1_800_000_000_000;

async fn group(clock: &ManualClock) -> (Member, Member) {
    let timed = |mut stopped: Stopped| {
        stopped.clock = Some(clock.clone());
        stopped
    };
    let master = Member::start(timed(Stopped::new(0, None, |_| {}))).await;
    let at = master.broker.replication_addr().expect("a port");
    let wire = Relay::to(at).await;
    let replica = Member::start(timed(Stopped::new(1, Some(wire), |_| {}))).await;
    (master, replica)
}

async fn there(client: &Client) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let pulled = client.pull(&pull("t", 0, bodies.len() as i64)).await;
        if pulled.records.is_empty() {
            // A level and timers that are due at once have no order among them.
            bodies.sort_by_key(|body: &String| body.parse::<u32>().expect("a number"));
            return bodies;
        }
        bodies.extend(pulled.bodies().into_iter().map(ToOwned::to_owned));
    }
}

async fn come(client: &Client, what: &str, wanted: &[String]) {
    eventually(what, async || there(client).await.len() >= wanted.len()).await;
    assert_eq!(there(client).await, wanted, "{what}");
}

async fn recall(client: &Client, handle: &str) -> i32 {
    let request = RecallMessage {
        producer_group: None,
        topic: "t".into(),
        recall_handle: handle.into(),
        broker_name: None,
    };
    let answer = client.call(RequestCode::RecallMessage, &request, &[]).await;
    answer.code()
}

fn seconds(of: impl Iterator<Item = u32>) -> Vec<String> {
    of.map(|second| second.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_comes_once_whoever_is_the_master_when_it_is_due() {
    let clock = ManualClock::at(START_MS);
    let (master, replica) = group(&clock).await;
    let client = master.client();
    client.create_topic("t", 1, 6).await;
    let mut handles = Vec::new();
    for second in 1..=30 {
        let properties = match second {
            // As long as delay level 3.
            10 => "DELAY\u{1}3\u{2}".to_owned(),
            _ => format!("TIMER_DELAY_SEC\u{1}{second}\u{2}"),
        };
        let sent = client.put("t", &properties, &second.to_string()).await;
        handles.push(sent.recall_handle);
    }
    let handle = |second: usize| handles[second - 1].as_deref().expect("a handle");
    assert_eq!(recall(&client, handle(20)).await, 0);
    clock.advance(Duration::from_secs(5));
    come(&client, "the first five", &seconds(1..=5)).await;
    replica.catches_up_with(&master).await;
    assert_eq!(there(&replica.client()).await, seconds(1..=5));
    // A replica recalls nothing.
    assert_ne!(recall(&replica.client(), handle(21)).await, 0);

    // The next ones reach nobody but the old master, and the end of its log is cut off.
    replica.wire.as_ref().expect("a wire").set(Wire::Cut);
    clock.advance(Duration::from_secs(7));
    come(&client, "twelve at the old master", &seconds(1..=12)).await;
    let (master, back) = change_roles(master.stop(true).await, replica).await;
    let client = master.client();
    come(&client, "twelve at the new master", &seconds(1..=12)).await;
    assert_eq!(recall(&client, handle(25)).await, 0, "its handles are good");
    assert_eq!(recall(&client, handle(20)).await, 0, "it is known");
    come(
        &back.client(),
        "twelve at the one that is back",
        &seconds(1..=12),
    )
    .await;
    back.catches_up_with(&master).await;

    // And back again: what was delivered is not delivered again.
    let (master, back) = change_roles(master.stop(false).await, back).await;
    clock.advance(Duration::from_secs(60));
    let wanted = seconds((1..=30).filter(|second| ![20, 25].contains(second)));
    come(&master.client(), "all", &wanted).await;
    come(&back.client(), "all at the replica", &wanted).await;
    for member in [back, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}
