//! Statistics and status as tools read them, on a clock that the test moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::bodies::{
    BrokerStatsData, BrokerStatsItem, ConsumeStats, KvTable, TopicStatsTable, parse_properties,
};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::RecordView;
use rmq_protocol::requests::{
    ConsumerSendMsgBack, DeleteTopicInBroker, GetConsumeStats, GetTopicStatsInfo, PullMessage,
    ViewBrokerStatsData,
};
use rmq_transport::ManualClock;

use crate::support::{Client, PATIENCE, Rig, message, pull, remark};

/// A midnight.
const START_MS: i64 = 1_700_006_400_000;
/// A second of [`ManualClock`].
const SECOND: Duration = Duration::from_secs(1);

async fn rig(clock: &ManualClock) -> Rig {
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    Rig::start_with(deps, |_| {}).await
}

async fn view(client: &Client, name: &str, key: &str) -> Result<BrokerStatsData, String> {
    let request = ViewBrokerStatsData {
        stats_name: name.to_owned().into(),
        stats_key: key.to_owned().into(),
    };
    let answer = client
        .call(RequestCode::ViewBrokerStatsData, &request, &[])
        .await;
    if answer.code() != 0 {
        assert_eq!(answer.code(), 1);
        return Err(remark(&answer));
    }
    Ok(BrokerStatsData::from_json(answer.body()).expect("statistics"))
}

async fn minute(client: &Client, name: &str, key: &str) -> BrokerStatsItem {
    view(client, name, key)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
        .stats_minute
}

fn by_group<'a>(topic: &'a str, offset: i64, most: i32) -> PullMessage<'a> {
    PullMessage {
        consumer_group: "g".into(),
        max_msg_nums: most,
        ..pull(topic, 0, offset)
    }
}

async fn give_back(client: &Client, topic: &str, delay_level: i32) {
    let answer = client
        .call(RequestCode::PullMessage, &by_group(topic, 0, 1), &[])
        .await;
    let record = RecordView::iter(answer.body())
        .next()
        .expect("a message")
        .expect("a whole record");
    let request = ConsumerSendMsgBack {
        offset: record.position().0 as i64,
        group: "g".into(),
        delay_level,
        origin_msg_id: None,
        origin_topic: Some(topic.to_owned().into()),
        unit_mode: None,
        max_reconsume_times: None,
        dead_letter_reason: None,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::ConsumerSendMsgBack, &request, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
}

/// The message that was given back; the clock stands meanwhile.
async fn retried(client: &Client) {
    let coming = async {
        loop {
            let pulled = client.pull(&by_group("%RETRY%g", 0, 1)).await;
            if !pulled.records.is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it is due");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statistic_slides_and_is_of_what_its_key_says() {
    let clock = ManualClock::at(START_MS);
    let rig = rig(&clock).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_topic("idle", 1, 6).await;
    client.create_group("g", |_| {}).await;
    for number in 0..45 {
        client.put("t", "", "body").await;
        if number < 40 {
            clock.advance(SECOND);
            // The sample of this second is taken before the next message.
            minute(&client, "TOPIC_PUT_NUMS", "t").await;
        }
    }
    let seen = minute(&client, "TOPIC_PUT_NUMS", "t").await;
    assert_eq!(seen.sum, 40, "whole steps only");
    assert!(
        (seen.tps - 1.0).abs() < 1e-9 && (seen.avgpt - 1.0).abs() < 1e-9,
        "{seen:?}"
    );

    let pulled = client.pull(&by_group("t", 0, 4)).await;
    assert_eq!(pulled.records.len(), 4);
    give_back(&client, "t", 1).await;
    clock.advance(Duration::from_millis(1_200));
    retried(&client).await;
    give_back(&client, "t", -1).await;
    clock.advance(10 * SECOND);

    for (name, key, sum) in [
        ("TOPIC_PUT_NUMS", "t", 45),
        ("TOPIC_PUT_NUMS", "%RETRY%g", 1),
        ("TOPIC_PUT_NUMS", "SCHEDULE_TOPIC_XXXX", 1),
        ("GROUP_GET_NUMS", "t@g", 6),
        ("GROUP_GET_NUMS", "%RETRY%g@g", 1),
        ("GROUP_GET_NUMS", "SCHEDULE_TOPIC_XXXX@SCHEDULE_CONSUMER", 1),
        ("SNDBCK_PUT_NUMS", "t@g", 2),
        ("SNDBCK2DLQ_TIMES", "null@t@g@SEND_BACK_TO_DLQ", 1),
        ("QUEUE_PUT_NUMS", "SCHEDULE_TOPIC_XXXX@0", 1),
        (
            "QUEUE_GET_NUMS",
            "SCHEDULE_TOPIC_XXXX@0@SCHEDULE_CONSUMER",
            1,
        ),
        ("BROKER_PUT_NUMS", "DefaultCluster", 46),
        ("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster", 46),
        ("BROKER_GET_NUMS", "DefaultCluster", 7),
        ("BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster", 7),
        ("CHANNEL_ACTIVITY", "CONNECT", 1),
        // The clock stands while a request is handled.
        ("TOPIC_PUT_LATENCY", "0@t", 0),
        ("GROUP_GET_LATENCY", "0@t@g", 0),
    ] {
        assert_eq!(minute(&client, name, key).await.sum, sum, "{name} {key}");
    }
    let bytes = minute(&client, "TOPIC_PUT_SIZE", "t").await;
    let given = minute(&client, "GROUP_GET_SIZE", "t@g").await;
    assert!(bytes.avgpt > 91.0 && (bytes.avgpt * 45.0 - bytes.sum as f64).abs() < 1e-6);
    // Four at once, and one each time that it was given back.
    assert!(
        (given.avgpt - given.sum as f64 / 3.0).abs() < 1e-6,
        "{given:?}"
    );
    assert!((minute(&client, "GROUP_GET_NUMS", "t@g").await.avgpt - 2.0).abs() < 1e-9);

    for (name, key) in [
        ("TOPIC_PUT_NUMS", "idle"),
        ("TOPIC_PUT_NUMS", "nothing"),
        ("TOPIC_PUT_LATENCY", "1@t"),
        ("TOPIC_PUT_LATENCY", "t"),
        ("GROUP_GET_NUMS", "t"),
        ("GROUP_GET_NUMS", "idle@g"),
        ("GROUP_GET_NUMS", "t@others"),
        ("GROUP_GET_LATENCY", "1@t@g"),
        ("BROKER_PUT_NUMS", "OtherCluster"),
        // Of pops and of a commercial edition; and moments, which the original does not answer here either.
        ("GROUP_ACK_NUMS", "t@g"),
        ("BROKER_CK_NUMS", "DefaultCluster"),
        ("COMMERCIAL_SEND_TIMES", "t"),
        ("GROUP_GET_FALL_SIZE", "0@t@g"),
        ("NO_SUCH_STATISTIC", "t"),
    ] {
        let refused = view(&client, name, key).await;
        assert_eq!(
            refused,
            Err(format!("The stats <{name}> <{key}> not exist"))
        );
    }

    // Rates of 202 and 208 are those of the minute, of every topic that is shown.
    let request = GetTopicStatsInfo { topic: "t".into() };
    let answer = client
        .call(RequestCode::GetTopicStatsInfo, &request, &[])
        .await;
    let table = TopicStatsTable::from_json(answer.body()).expect("a table");
    assert!(
        (table.topic_put_tps - 0.9).abs() < 1e-9,
        "{}",
        table.topic_put_tps
    );
    let request = GetConsumeStats {
        consumer_group: "g".into(),
        topic: None,
        topic_list: Some("t;%RETRY%g".into()),
    };
    let answer = client
        .call(RequestCode::GetConsumeStats, &request, &[])
        .await;
    let stats = ConsumeStats::from_json(answer.body()).expect("statistics");
    // Both were first counted in the last step.
    assert!(
        (stats.consume_tps - 0.7).abs() < 1e-9,
        "{}",
        stats.consume_tps
    );

    clock.advance(75 * SECOND);
    for (name, key) in [("TOPIC_PUT_NUMS", "t"), ("GROUP_GET_NUMS", "t@g")] {
        let rest = minute(&client, name, key).await;
        assert_eq!(
            (rest.sum, rest.tps, rest.avgpt),
            (0, 0.0, 0.0),
            "{name} {key}"
        );
    }
    clock.advance(Duration::from_secs(600));
    let hour = view(&client, "TOPIC_PUT_NUMS", "t").await.expect("there");
    assert_eq!((hour.stats_hour.sum, hour.stats_day.sum), (45, 0));
    clock.advance(Duration::from_secs(3_600));
    let hour = view(&client, "TOPIC_PUT_NUMS", "t").await.expect("there");
    assert_eq!((hour.stats_hour.sum, hour.stats_day.sum), (0, 45));

    // What was counted goes with its topic.
    let delete = DeleteTopicInBroker { topic: "t".into() };
    client
        .call(RequestCode::DeleteTopicInBroker, &delete, &[])
        .await;
    client.create_topic("t", 1, 6).await;
    for (name, key) in [("TOPIC_PUT_NUMS", "t"), ("GROUP_GET_NUMS", "t@g")] {
        assert!(view(&client, name, key).await.is_err(), "{name} {key}");
    }
    rig.stop().await;
}

async fn status(client: &Client) -> BTreeMap<String, String> {
    let answer = client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    KvTable::from_json(answer.body()).expect("a table").table
}

/// The way in which rocketmq-exporter's `BrokerRuntimeStats` reads the status: it stops at the first key that it cannot read.
fn read_as_the_exporter(table: &BTreeMap<String, String>) {
    let text = |key: &str| table.get(key).unwrap_or_else(|| panic!("{key} is missing"));
    for key in [
        "msgPutTotalTodayNow",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueHeadWaitTimeMills",
        "msgGetTotalTodayNow",
        "queryThreadPoolQueueSize",
        "bootTimestamp",
        "msgPutTotalYesterdayMorning",
        "msgGetTotalYesterdayMorning",
        "pullThreadPoolQueueSize",
        "commitLogMinOffset",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "dispatchMaxBuffer",
        "brokerVersion",
        "pageCacheLockTimeMills",
        "commitLogMaxOffset",
        "getMessageEntireTimeMax",
        "msgPutTotalTodayMorning",
        "putMessageTimesTotal",
        "msgGetTotalTodayMorning",
        "sendThreadPoolQueueSize",
        "startAcceptSendRequestTimeStamp",
        "putMessageEntireTimeMax",
        "earliestMessageTimeStamp",
        "remainTransientStoreBufferNumbs",
        "queryThreadPoolQueueCapacity",
        "dispatchBehindBytes",
        "putMessageSizeTotal",
        "sendThreadPoolQueueCapacity",
        "pullThreadPoolQueueCapacity",
    ] {
        assert!(text(key).parse::<i64>().is_ok(), "{key}: {}", text(key));
    }
    for key in [
        "consumeQueueDiskRatio",
        "commitLogDiskRatio",
        "putMessageAverageSize",
        "putLatency99",
        "putLatency999",
    ] {
        assert!(text(key).parse::<f64>().is_ok(), "{key}: {}", text(key));
    }
    for key in [
        "putTps",
        "getMissTps",
        "getTransferredTps",
        "getTotalTps",
        "getFoundTps",
    ] {
        let rates: Vec<f64> = text(key)
            .split(' ')
            .map(|rate| rate.parse().expect(key))
            .collect();
        assert_eq!(rates.len(), 3, "{key}");
    }
    let flushed = text("remainHowManyDataToFlush").split(' ').next();
    assert!(flushed.is_some_and(|number| number.parse::<f64>().is_ok()));
    let capacity: Vec<&str> = text("commitLogDirCapacity").split(' ').collect();
    let [_, _, total, total_unit, _, _, free, free_unit] = capacity[..] else {
        panic!("{capacity:?}");
    };
    assert!(total.parse::<f64>().expect("a number") > 0.0 && free.parse::<f64>().is_ok());
    assert!(
        total_unit.ends_with("B,") && free_unit.ends_with("B."),
        "{capacity:?}"
    );
    let times = text("putMessageDistributeTime");
    if times != "null" {
        assert_eq!(
            times
                .split_whitespace()
                .filter(|class| class.contains("]:"))
                .count(),
            13
        );
    }
    for key in [
        "runtime",
        "brokerVersionDesc",
        "scheduleMessageOffset_1",
        "scheduleMessageOffset_18",
    ] {
        assert!(!text(key).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_can_be_read_by_tools_from_the_first_second_on() {
    let clock = ManualClock::at(START_MS);
    let rig = rig(&clock).await;
    let client = rig.client();
    let table = status(&client).await;
    read_as_the_exporter(&table);
    assert_eq!(
        (
            table["putMessageDistributeTime"].as_str(),
            table["putLatency99"].as_str()
        ),
        ("null", "0.00")
    );
    assert_eq!(table["earliestMessageTimeStamp"], "-1");

    client.create_topic("t", 1, 6).await;
    for _ in 0..6 {
        client.put("t", "", "body").await;
        clock.advance(10 * SECOND);
    }
    let refused = client
        .send(&message("t", 7, ""), b"to a queue that is not there")
        .await;
    assert!(refused.is_err());
    client.pull(&by_group("t", 0, 32)).await;
    let table = status(&client).await;
    read_as_the_exporter(&table);
    assert!(
        table["putMessageDistributeTime"].starts_with("[<=0ms]:"),
        "{}",
        table["putMessageDistributeTime"]
    );
    for (key, value) in [
        ("putMessageTimesTotal", "6"),
        ("putMessageFailedTimes", "1"),
        ("msgPutTotalTodayNow", "6"),
        ("msgGetTotalTodayNow", "6"),
        ("msgPutTotalTodayMorning", "0"),
        ("runtime", "[ 0 days, 0 hours, 1 minutes, 0 seconds ]"),
    ] {
        assert_eq!(table[key], value, "{key}");
    }
    let ratio = format!("commitLogDiskRatio_{}", rig.folder.path().display());
    assert_eq!(table.get(&ratio), Some(&table["commitLogDiskRatio"]));
    clock.advance(Duration::from_secs(86_400));
    let table = status(&client).await;
    assert_eq!(
        (
            table["msgPutTotalTodayMorning"].as_str(),
            table["msgPutTotalYesterdayMorning"].as_str()
        ),
        ("6", "0")
    );
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(status(&client).await["msgGetTotalYesterdayMorning"], "6");
    rig.stop().await;
}

#[tokio::test]
async fn the_configuration_answers_under_the_names_that_tools_know() {
    let rig = Rig::start().await;
    let client = rig.client();
    let answer = client.call(RequestCode::GetBrokerConfig, &(), &[]).await;
    let pairs = parse_properties(answer.body()).expect("properties");
    let names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let value = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .unwrap_or_else(|| panic!("{name} is missing"))
    };
    // What mqadmin exportConfigs and exportMetrics pick out.
    for name in [
        "brokerClusterName",
        "brokerId",
        "brokerName",
        "brokerRole",
        "fileReservedTime",
        "flushDiskType",
        "maxMessageSize",
        "messageDelayLevel",
        "msgTraceTopicName",
        "slaveReadEnable",
        "traceOn",
        "traceTopicEnable",
        "useTLS",
        "autoCreateTopicEnable",
        "autoCreateSubscriptionGroup",
        "clientCallbackExecutorThreads",
    ] {
        assert!(!value(name).is_empty(), "{name}");
    }
    for (name, expected) in [
        ("brokerRole", "ASYNC_MASTER"),
        ("rejectTransactionMessage", "true"),
        ("timerWheelEnable", "false"),
        ("defaultTopicQueueNums", "8"),
        (
            "storePathRootDir",
            rig.folder.path().to_str().expect("text"),
        ),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    rig.stop().await;
}
