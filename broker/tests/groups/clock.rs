//! Somebody sets the system's clock, ahead or back, while the broker runs or while it is down. No test waits for real.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_protocol::bodies::KvTable;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::property;
use rmq_transport::ManualClock;

use crate::retries::{give_back, position};
use crate::support::{self, Client, PATIENCE, Record, Rig, pull, remark};

const START_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const JUMPS_MS: [i64; 3] = [1_000, HOUR_MS, 4 * DAY_MS];

/// Connections live by the system's clock, so that a test may move `clock` by days.
fn deps(clock: &ManualClock) -> Deps {
    Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    }
}

async fn start(clock: &ManualClock, change: impl FnOnce(&mut BrokerConfig)) -> Rig {
    let rig = Rig::start_with(deps(clock), change).await;
    rig.client().create_topic("t", 1, 6).await;
    rig
}

async fn start_again(
    folder: &Path,
    clock: &ManualClock,
    change: impl FnOnce(&mut BrokerConfig),
) -> RunningBroker {
    let mut config = support::config(folder);
    change(&mut config);
    BrokerServer::start(config, deps(clock))
        .await
        .expect("starts again")
}

/// The message at `offset`, as soon as it is there; the clock stands still.
async fn comes(client: &Client, topic: &str, offset: i64) -> Record {
    let coming = async {
        loop {
            let pulled = client.pull(&pull(topic, 0, offset)).await;
            if let Some(record) = pulled.records.into_iter().next() {
                return record;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .unwrap_or_else(|_| panic!("message {offset} of {topic} does not come"))
}

async fn is_there(client: &Client, topic: &str, offset: i64) -> bool {
    !client
        .pull(&pull(topic, 0, offset))
        .await
        .records
        .is_empty()
}

/// Waits until the broker says this of itself: levels get ready one after the other.
async fn shows(client: &Client, is_so: impl Fn(&BTreeMap<String, String>) -> bool) {
    let shown = async {
        while !is_so(&info(client).await) {
            tokio::task::yield_now().await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, shown).await;
    if shown.is_err() {
        panic!("the broker says {:?}", info(client).await);
    }
}

async fn info(client: &Client) -> BTreeMap<String, String> {
    let answer = client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    KvTable::from_json(answer.body()).expect("a table").table
}

fn number(info: &BTreeMap<String, String>, key: &str) -> u64 {
    info[key].parse().expect("a number")
}

/// Lets time pass and waits until expired messages were looked for after that.
async fn pass(client: &Client, clock: &ManualClock, by: Duration) -> BTreeMap<String, String> {
    let before = number(&info(client).await, "retentionRounds");
    clock.advance(by);
    let looked = async {
        loop {
            let now = info(client).await;
            if number(&now, "retentionRounds") > before {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looked)
        .await
        .expect("a round of retention")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_makes_nothing_late() {
    for by_ms in JUMPS_MS {
        let clock = ManualClock::at(START_MS);
        let rig = start(&clock, |config| config.delay_levels = "1s 10s".to_owned()).await;
        let client = rig.client();
        client.create_group("g", |_| {}).await;
        clock.jump_ms(by_ms);
        for body in ["first", "second", "third"] {
            client.put("t", "DELAY\u{1}2\u{2}", body).await;
        }
        client.put("t", "", "at once").await;
        let given = position(&client, "t", 0).await;
        clock.jump_ms(-by_ms);
        // What is parked after the correction waits for its own delay.
        client.put("t", "DELAY\u{1}1\u{2}", "short").await;
        assert_eq!(give_back(&client, "g", given, 1, None).await, 0);
        clock.advance(Duration::from_millis(999));
        assert!(!is_there(&client, "t", 1).await, "{by_ms}");
        clock.advance(Duration::from_millis(1));
        let short = comes(&client, "t", 1).await;
        assert_eq!(short.text(), "short", "{by_ms}");
        assert_eq!(short.property(property::DELAY_STAMP), None);
        assert_eq!(comes(&client, "%RETRY%g", 0).await.text(), "at once");
        // What was parked before: all of it when its delay has passed, and not at once.
        clock.advance(Duration::from_millis(8_999));
        assert!(!is_there(&client, "t", 2).await, "{by_ms}");
        clock.advance(Duration::from_millis(1));
        for (offset, body) in [(2, "first"), (3, "second"), (4, "third")] {
            assert_eq!(comes(&client, "t", offset).await.text(), body, "{by_ms}");
        }
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_ahead_delivers_what_becomes_due() {
    for by_ms in [HOUR_MS, 4 * DAY_MS] {
        let clock = ManualClock::at(START_MS);
        let rig = start(&clock, |config| config.delay_levels = "10m 7d".to_owned()).await;
        let client = rig.client();
        client.put("t", "DELAY\u{1}1\u{2}", "minutes").await;
        client.put("t", "DELAY\u{1}2\u{2}", "week").await;
        clock.jump_ms(by_ms);
        // Jumps are noticed within a second.
        clock.advance(Duration::from_secs(1));
        assert_eq!(comes(&client, "t", 0).await.text(), "minutes");
        assert!(!is_there(&client, "t", 1).await, "{by_ms}");
        // And back: as if nothing had been.
        clock.jump_ms(-by_ms);
        clock.advance(Duration::from_millis(7 * DAY_MS as u64 - 2_000));
        assert!(!is_there(&client, "t", 1).await, "{by_ms}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(comes(&client, "t", 1).await.text(), "week");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_is_remembered_over_a_restart_and_one_while_the_broker_is_down_is_noticed() {
    for (by_ms, kill, is_down) in [
        (HOUR_MS, false, false),
        (HOUR_MS, true, false),
        (HOUR_MS, false, true),
        (4 * DAY_MS, true, true),
        (4 * DAY_MS, false, false),
    ] {
        let what = format!("{by_ms} ms, killed {kill}, down {is_down}");
        let clock = ManualClock::at(START_MS);
        let levels = |config: &mut BrokerConfig| config.delay_levels = "1m".to_owned();
        let rig = start(&clock, levels).await;
        let client = rig.client();
        clock.jump_ms(by_ms);
        client.put("t", "DELAY\u{1}1\u{2}", "late").await;
        if !is_down {
            clock.jump_ms(-by_ms);
            let before = number(&info(&client).await, "commitLogMaxOffset");
            let noted = async {
                // Noticed, and then put into the log with everybody's progress.
                while number(&info(&client).await, "commitLogMaxOffset") == before {
                    clock.advance(Duration::from_millis(100));
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, noted).await.expect("noted");
        }
        let Rig { broker, folder } = rig;
        if kill {
            broker.kill().await;
        } else {
            broker.shutdown().await.expect("a clean stop");
        }
        if is_down {
            clock.jump_ms(-by_ms);
        }
        for _ in 0..2 {
            // Twice: one jump is not taken for two.
            let broker = start_again(folder.path(), &clock, levels).await;
            let client = Client::to(&broker);
            assert!(!is_there(&client, "t", 0).await, "{what}");
            clock.advance(Duration::from_secs(5));
            broker.shutdown().await.expect("a clean stop");
        }
        let broker = start_again(folder.path(), &clock, levels).await;
        let client = Client::to(&broker);
        clock.advance(Duration::from_secs(30));
        assert!(!is_there(&client, "t", 0).await, "{what}: early");
        clock.advance(Duration::from_secs(20));
        assert_eq!(comes(&client, "t", 0).await.text(), "late", "{what}");
        broker.shutdown().await.expect("a clean stop");
    }
}

/// Twenty messages in ten segments or more.
async fn fill(client: &Client) {
    let body = "x".repeat(30_000);
    for _ in 0..20 {
        client.put("t", "", &body).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_on_the_word_of_a_clock_that_jumped() {
    for by_ms in [4 * DAY_MS, -4 * DAY_MS, 40 * DAY_MS] {
        let clock = ManualClock::at(START_MS);
        let rig = start(&clock, |config| config.segment_bytes = 64 << 10).await;
        let client = rig.client();
        // The start is over, and the clock is trusted.
        pass(&client, &clock, Duration::from_secs(3_600)).await;
        fill(&client).await;
        clock.jump_ms(by_ms);
        for _ in 0..59 {
            let now = pass(&client, &clock, Duration::from_secs(60)).await;
            assert_eq!(now["commitLogMinOffset"], "0", "{by_ms}");
        }
        // By hand neither.
        let code = RequestCode::DeleteExpiredCommitlog;
        let refused = client.call(code, &(), &[]).await;
        assert_eq!(refused.code(), ResponseCode::SystemError.as_i32());
        let text = remark(&refused);
        assert!(
            text.contains("clockSettleMinutes") && text.contains("minutes"),
            "{text}"
        );
        let now = info(&client).await;
        assert!(
            now["lastClockJump"].starts_with(&format!("{by_ms} ms")),
            "{now:?}"
        );
        clock.jump_ms(-by_ms);
        let now = pass(&client, &clock, Duration::from_secs(7_200)).await;
        assert_eq!(now["commitLogMinOffset"], "0", "{by_ms}");
        // What has expired in earnest goes.
        fill(&client).await;
        let now = pass(&client, &clock, Duration::from_secs(73 * 3_600)).await;
        assert!(number(&now, "commitLogMinOffset") > 0, "{by_ms}");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_off_for_days_or_starts_with_a_wrong_clock_removes_nothing_at_once() {
    for by_ms in [4 * DAY_MS, -4 * DAY_MS] {
        let clock = ManualClock::at(START_MS);
        let small = |config: &mut BrokerConfig| config.segment_bytes = 64 << 10;
        let rig = start(&clock, small).await;
        fill(&rig.client()).await;
        let Rig { broker, folder } = rig;
        broker.shutdown().await.expect("a clean stop");
        clock.jump_ms(by_ms);
        let broker = start_again(folder.path(), &clock, small).await;
        let client = Client::to(&broker);
        fill(&client).await;
        for _ in 0..5 {
            let now = pass(&client, &clock, Duration::from_secs(600)).await;
            assert_eq!(now["commitLogMinOffset"], "0", "{by_ms}");
        }
        clock.jump_ms(-by_ms);
        let now = pass(&client, &clock, Duration::from_secs(4_000)).await;
        assert_eq!(now["commitLogMinOffset"], "0", "{by_ms}");
        fill(&client).await;
        let now = pass(&client, &clock, Duration::from_secs(3_600)).await;
        assert_eq!(now["commitLogMinOffset"], "0", "{by_ms}");
        broker.shutdown().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_delayed_messages() {
    for (levels, delay) in [("1s 2h", 2 * 3_600), ("1s 7d", 7 * 86_400)] {
        let clock = ManualClock::at(START_MS);
        let rig = start(&clock, |config| {
            config.segment_bytes = 64 << 10;
            config.retention_hours = 1;
            config.delay_levels = levels.to_owned();
        })
        .await;
        let client = rig.client();
        // The first round does not end behind the next look at the clock.
        pass(&client, &clock, Duration::from_secs(60)).await;
        fill(&client).await;
        client.put("t", "DELAY\u{1}2\u{2}", "kept").await;
        fill(&client).await;
        let end = client.pull(&pull("t", 0, 0)).await.fields.expect("offsets");
        // All of it has expired; what lies before the delayed message goes.
        let now = pass(&client, &clock, Duration::from_secs(delay - 60)).await;
        assert!(number(&now, "commitLogMinOffset") > 0, "{now:?}");
        assert!(number(&now, "bytesHeldForDelayedMessages") > 0, "{now:?}");
        // By hand neither.
        let code = RequestCode::DeleteExpiredCommitlog;
        assert_eq!(client.call(code, &(), &[]).await.code(), 0);
        clock.advance(Duration::from_secs(60));
        assert_eq!(comes(&client, "t", end.max_offset).await.text(), "kept");
        let released = async {
            loop {
                let now = pass(&client, &clock, Duration::from_secs(60)).await;
                if number(&now, "bytesHeldForDelayedMessages") == 0 {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, released)
            .await
            .expect("what was held goes");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_taken_away_delivers_what_it_holds() {
    let clock = ManualClock::at(START_MS);
    let levels = |levels: &'static str| {
        move |config: &mut BrokerConfig| config.delay_levels = levels.to_owned()
    };
    let rig = start(&clock, levels("1s 10s 1m")).await;
    let client = rig.client();
    client.put("t", "DELAY\u{1}2\u{2}", "ten seconds").await;
    client.put("t", "DELAY\u{1}3\u{2}", "a minute").await;
    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");
    // One level goes, another gets a different delay: what was promised is kept.
    let broker = start_again(folder.path(), &clock, levels("1s 2h")).await;
    let client = Client::to(&broker);
    let level = "scheduleMessageOffset_3";
    shows(&client, |shown| {
        shown.get(level).is_some_and(|offsets| offsets == "0,1")
    })
    .await;
    clock.advance(Duration::from_secs(10));
    assert_eq!(comes(&client, "t", 0).await.text(), "ten seconds");
    clock.advance(Duration::from_secs(50));
    assert_eq!(comes(&client, "t", 1).await.text(), "a minute");
    shows(&client, |shown| {
        shown.get(level).is_none_or(|offsets| offsets == "1,1")
    })
    .await;
    broker.shutdown().await.expect("a clean stop");
    // Delivered once, and the level is gone.
    let broker = start_again(folder.path(), &clock, levels("1s 2h")).await;
    let client = Client::to(&broker);
    clock.advance(Duration::from_secs(3_600));
    shows(&client, |shown| !shown.contains_key(level)).await;
    assert!(!is_there(&client, "t", 2).await);
    broker.shutdown().await.expect("a clean stop");
}
