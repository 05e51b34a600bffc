//! Statistics and status beside those of Apache RocketMQ's own broker: the same minute of load for both, the same figures; and the same
//! answers about names that do not exist.
//!
//! About 90 s, nearly all of it waiting: ten messages a second.

mod unknown;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rmq_e2e::apache::{self, Apache};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Outcomes};
use rmq_protocol::bodies::{
    BrokerStatsData, ConsumeStats, KvTable, SubscriptionGroupConfig, TopicStatsTable,
    parse_properties,
};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::{FieldSource, Text};
use rmq_protocol::message::RecordView;
use rmq_protocol::requests::{
    ConsumerSendMsgBack, GetConsumeStats, GetTopicStatsInfo, PullMessage, PullMessageReply, Reply,
    SendMessage, UpdateAndCreateTopic, ViewBrokerStatsData, pull_flag,
};
use rmq_transport::{Caller, CallerConfig, OwnedFrame, RefuseIncoming, TcpConnector};

const SCENARIOS: &[&str] = &["statistics", "rates", "status", "configuration", UNKNOWN];
/// Needs no load.
const UNKNOWN: &str = "unknown";

/// Longer than the window, by the step in which it begins and the one in which it ends.
const LOAD: Duration = Duration::from_secs(76);
const EVERY: Duration = Duration::from_millis(100);
/// So large that the properties that a broker adds are not a tenth of a message.
const BODY_BYTES: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    foreign::main("stats_apache", SCENARIOS, apache::needs, Box::new(run))
}

/// A server, spoken to without a client's conveniences.
struct Broker {
    addr: String,
    caller: Caller,
    /// Next offsets of the queues of `load`, and of the retries.
    offsets: [i64; 3],
    /// Messages got, given back and got again.
    got: u64,
}

impl Broker {
    fn at(addr: &str) -> Self {
        Self {
            addr: addr.to_owned(),
            caller: Caller::new(
                addr,
                Arc::new(TcpConnector),
                CallerConfig::default(),
                Arc::new(RefuseIncoming),
            ),
            offsets: [0; 3],
            got: 0,
        }
    }

    async fn call(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<OwnedFrame, String> {
        let called = self
            .caller
            .call(code.as_i32(), fields, body, PATIENCE)
            .await;
        called.map_err(|error| format!("{code:?}: {error}"))
    }

    /// Calls again while the broker says that it is busy, as a JVM on a loaded machine does.
    async fn done(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<OwnedFrame, String> {
        for _ in 0..20 {
            let frame = self.call(code, fields, body).await?;
            match frame.code() {
                0 => return Ok(frame),
                2 => {}
                other => {
                    let remark = frame
                        .header()
                        .remark
                        .as_ref()
                        .map(|remark| remark.to_cow().into_owned());
                    return Err(format!("{code:?} is answered with {other}: {remark:?}"));
                }
            }
        }
        Err(format!("{code:?}: busy"))
    }

    async fn prepare(&self) -> Result<(), String> {
        let topic = UpdateAndCreateTopic {
            topic: "load".into(),
            default_topic: Some("TBW102".into()),
            read_queue_nums: 2,
            write_queue_nums: 2,
            perm: 6,
            topic_filter_type: Some("SINGLE_TAG".into()),
            topic_sys_flag: Some(0),
            order: Some(false),
            attributes: Some("".into()),
            force: None,
        };
        self.done(RequestCode::UpdateAndCreateTopic, &topic, &[])
            .await?;
        let group = SubscriptionGroupConfig::new("g").to_json();
        self.done(RequestCode::UpdateAndCreateSubscriptiongroup, &(), &group)
            .await?;
        Ok(())
    }

    async fn send(&self, number: u64) -> Result<(), String> {
        let properties = format!("UNIQ_KEY\u{1}{number:032}\u{2}");
        let message = SendMessage {
            queue_id: (number % 2) as i32,
            properties: Text::Plain(&properties),
            ..SendMessage::new("producers", "load")
        };
        self.done(RequestCode::SendMessageV2, &message, &[b'x'; BODY_BYTES])
            .await?;
        Ok(())
    }

    /// Pulls once; the positions of what came.
    async fn pull(&mut self, index: usize) -> Result<Vec<i64>, String> {
        let (topic, queue_id) = if index == 2 {
            ("%RETRY%g", 0)
        } else {
            ("load", index as i32)
        };
        let request = PullMessage {
            consumer_group: "g".into(),
            topic: topic.into(),
            queue_id,
            queue_offset: self.offsets[index],
            // One retry a pull, so that it does not matter when it is due.
            max_msg_nums: if index == 2 { 1 } else { 32 },
            sys_flag: pull_flag::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some("*".into()),
            sub_version: 0,
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: None,
        };
        let frame = self.call(RequestCode::PullMessage, &request, &[]).await?;
        if frame.code() != 0 {
            return Ok(Vec::new());
        }
        let fields =
            PullMessageReply::decode(&frame.header().fields).map_err(|error| error.to_string())?;
        self.offsets[index] = fields.next_begin_offset;
        let records = RecordView::iter(frame.body());
        let positions: Vec<i64> = records
            .map(|record| record.map(|record| record.position().0 as i64))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("a record cannot be read: {error}"))?;
        self.got += positions.len() as u64;
        Ok(positions)
    }

    async fn give_back(&self, position: i64) -> Result<(), String> {
        let request = ConsumerSendMsgBack {
            offset: position,
            group: "g".into(),
            delay_level: 1,
            origin_msg_id: None,
            origin_topic: Some("load".into()),
            unit_mode: Some(false),
            max_reconsume_times: Some(16),
            dead_letter_reason: None,
            broker_name: None,
        };
        self.done(RequestCode::ConsumerSendMsgBack, &request, &[])
            .await?;
        Ok(())
    }

    async fn load(mut self) -> Result<Self, String> {
        let mut ticks = tokio::time::interval(EVERY);
        for number in 0..(LOAD.as_millis() / EVERY.as_millis()) as u64 {
            ticks.tick().await;
            self.send(number).await?;
            if number % 5 == 4 {
                let (mut got, other) = (self.pull(0).await?, self.pull(1).await?);
                got.extend(other);
                if number % 10 == 9 {
                    let position = got.first().ok_or("a pull found nothing")?;
                    self.give_back(*position).await?;
                }
                self.pull(2).await?;
            }
        }
        Ok(self)
    }

    async fn statistics(&self, name: &str, key: &str) -> Result<BrokerStatsData, String> {
        let request = ViewBrokerStatsData {
            stats_name: name.into(),
            stats_key: key.into(),
        };
        let frame = self
            .done(RequestCode::ViewBrokerStatsData, &request, &[])
            .await?;
        BrokerStatsData::from_json(frame.body()).map_err(|error| error.to_string())
    }

    /// Everything that is compared, read within moments of each other.
    async fn figures(&self) -> Result<Figures, String> {
        let mut figures = Figures::default();
        for (name, key) in STATISTICS {
            let seen = self
                .statistics(name, key)
                .await
                .map_err(|error| format!("{name} {key}: {error}"))?;
            figures.statistics.insert((name, key), seen);
        }
        let request = GetTopicStatsInfo {
            topic: "load".into(),
        };
        let frame = self
            .done(RequestCode::GetTopicStatsInfo, &request, &[])
            .await?;
        let topic = TopicStatsTable::from_json(frame.body()).map_err(|error| error.to_string())?;
        let request = GetConsumeStats {
            consumer_group: "g".into(),
            topic: Some("load".into()),
            topic_list: None,
        };
        let frame = self
            .done(RequestCode::GetConsumeStats, &request, &[])
            .await?;
        let group = ConsumeStats::from_json(frame.body()).map_err(|error| error.to_string())?;
        figures.rates = (topic.topic_put_tps, group.consume_tps);
        let frame = self
            .done(RequestCode::GetBrokerRuntimeInfo, &(), &[])
            .await?;
        figures.status = KvTable::from_json(frame.body())
            .map_err(|error| error.to_string())?
            .table;
        let frame = self.done(RequestCode::GetBrokerConfig, &(), &[]).await?;
        let pairs = parse_properties(frame.body()).map_err(|error| error.to_string())?;
        figures.configuration = pairs.into_iter().collect();
        Ok(figures)
    }
}

#[derive(Default)]
struct Figures {
    statistics: BTreeMap<(&'static str, &'static str), BrokerStatsData>,
    /// Of the topic and of the group.
    rates: (f64, f64),
    status: BTreeMap<String, String>,
    configuration: BTreeMap<String, String>,
}

/// Every statistic that a default broker of the original has after such a load.
const STATISTICS: &[(&str, &str)] = &[
    ("TOPIC_PUT_NUMS", "load"),
    ("TOPIC_PUT_NUMS", "%RETRY%g"),
    ("TOPIC_PUT_NUMS", "SCHEDULE_TOPIC_XXXX"),
    ("TOPIC_PUT_SIZE", "load"),
    ("TOPIC_PUT_LATENCY", "0@load"),
    ("TOPIC_PUT_LATENCY", "1@load"),
    ("GROUP_GET_NUMS", "load@g"),
    ("GROUP_GET_NUMS", "%RETRY%g@g"),
    ("GROUP_GET_NUMS", "SCHEDULE_TOPIC_XXXX@SCHEDULE_CONSUMER"),
    ("GROUP_GET_SIZE", "load@g"),
    ("GROUP_GET_LATENCY", "0@load@g"),
    ("GROUP_GET_LATENCY", "1@load@g"),
    ("SNDBCK_PUT_NUMS", "load@g"),
    ("BROKER_PUT_NUMS", "DefaultCluster"),
    ("BROKER_GET_NUMS", "DefaultCluster"),
    ("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster"),
    ("BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster"),
    ("QUEUE_PUT_NUMS", "SCHEDULE_TOPIC_XXXX@0"),
    ("QUEUE_GET_NUMS", "SCHEDULE_TOPIC_XXXX@0@SCHEDULE_CONSUMER"),
];

fn run(chosen: &[String]) -> Result<Outcomes, String> {
    let built = foreign::build_dir("java-servers")?;
    foreign::maven("java-servers", &built)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let theirs = Apache::start(&built, "")?;
    let mut ours = Cluster::start(1, FlushMode::Async);
    let mut outcomes = Outcomes::new();
    let brokers = [ours.broker().addr(), theirs.broker()].map(Broker::at);
    let name_servers = [ours.name_server(0).addr(), theirs.name_server()].map(Broker::at);
    runtime.block_on(async {
        for broker in &brokers {
            broker.prepare().await?;
        }
        if chosen.iter().any(|scenario| scenario == UNKNOWN) {
            let compared = unknown::compare(&brokers, &name_servers).await;
            outcomes.insert(UNKNOWN.to_owned(), compared);
        }
        Ok::<_, String>(())
    })?;
    if chosen.iter().all(|scenario| scenario == UNKNOWN) {
        return Ok(outcomes);
    }
    let (ours, theirs) = runtime.block_on(async {
        let [ours, theirs] = brokers.map(|broker| tokio::spawn(broker.load()));
        let joined = |error: tokio::task::JoinError| format!("the load panicked: {error}");
        let (ours, theirs) = (ours.await.map_err(joined)??, theirs.await.map_err(joined)??);
        let close = ours.got.abs_diff(theirs.got) * 20 <= theirs.got;
        if !close {
            return Err(format!(
                "the loads differ: {} and {} messages were read",
                ours.got, theirs.got
            ));
        }
        Ok((ours.figures().await?, theirs.figures().await?))
    })?;
    outcomes.extend([
        ("statistics".to_owned(), statistics(&ours, &theirs)),
        ("rates".to_owned(), rates(&ours, &theirs)),
        ("status".to_owned(), status(&ours, &theirs)),
        ("configuration".to_owned(), configuration(&ours, &theirs)),
    ]);
    Ok(outcomes)
}

/// Differences of more than a tenth.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare(&mut self, what: &str, ours: f64, theirs: f64) {
        if (ours - theirs).abs() > theirs.abs() / 10.0 {
            self.0.push(format!("{what}: {ours}, Apache {theirs}"));
        }
    }

    fn outcome(self) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0.join("; "))
        }
    }
}

fn statistics(ours: &Figures, theirs: &Figures) -> Result<(), String> {
    let mut differences = Differences::default();
    for (name, key) in STATISTICS {
        let minute = |figures: &Figures| figures.statistics[&(*name, *key)].stats_minute;
        let (ours, theirs) = (minute(ours), minute(theirs));
        if name.ends_with("_LATENCY") {
            // How long it took is each broker's own; that it was counted, and in milliseconds, is not.
            if ours.avgpt > theirs.avgpt + 50.0 {
                differences.0.push(format!(
                    "{name} {key}: {} ms, Apache {} ms",
                    ours.avgpt, theirs.avgpt
                ));
            }
            continue;
        }
        differences.compare(
            &format!("{name} {key} sum"),
            ours.sum as f64,
            theirs.sum as f64,
        );
        differences.compare(&format!("{name} {key} tps"), ours.tps, theirs.tps);
        differences.compare(&format!("{name} {key} avgpt"), ours.avgpt, theirs.avgpt);
    }
    differences.outcome()
}

fn rates(ours: &Figures, theirs: &Figures) -> Result<(), String> {
    let mut differences = Differences::default();
    differences.compare("topicPutTps", ours.rates.0, theirs.rates.0);
    differences.compare("consumeTps", ours.rates.1, theirs.rates.1);
    differences.outcome()
}

/// What the exporter, the dashboard and mqadmin show of the status. The original's misses are left out: its revive queues are read all
/// the time, and counted.
fn status(ours: &Figures, theirs: &Figures) -> Result<(), String> {
    let mut differences = Differences::default();
    let of = |figures: &Figures, key: &str, part: usize| -> Result<f64, String> {
        let text = figures
            .status
            .get(key)
            .ok_or_else(|| format!("{key} is missing"))?;
        let part = text
            .split(' ')
            .nth(part)
            .ok_or_else(|| format!("{key}: {text:?}"))?;
        part.parse().map_err(|_| format!("{key}: {text:?}"))
    };
    for (key, part) in [
        ("putTps", 1),
        ("getTransferredTps", 1),
        ("getFoundTps", 1),
        ("msgPutTotalTodayNow", 0),
        ("msgPutTotalTodayMorning", 0),
        ("msgPutTotalYesterdayMorning", 0),
        ("msgGetTotalTodayNow", 0),
        ("msgGetTotalTodayMorning", 0),
        ("msgGetTotalYesterdayMorning", 0),
        ("putMessageTimesTotal", 0),
        ("putMessageSizeTotal", 0),
        ("putMessageAverageSize", 0),
        ("commitLogMinOffset", 0),
        ("pageCacheLockTimeMills", 0),
        ("startAcceptSendRequestTimeStamp", 0),
        ("remainTransientStoreBufferNumbs", 0),
        ("sendThreadPoolQueueSize", 0),
        ("pullThreadPoolQueueSize", 0),
        ("timerReadBehind", 0),
        // Total and free.
        ("commitLogDirCapacity", 2),
        ("commitLogDirCapacity", 6),
    ] {
        differences.compare(key, of(ours, key, part)?, of(theirs, key, part)?);
    }
    // The original may be behind at the moment when it is asked.
    let behind = of(ours, "dispatchBehindBytes", 0)?;
    of(theirs, "dispatchBehindBytes", 0)?;
    differences.compare("dispatchBehindBytes", behind, 0.0);
    let mut missing: Vec<&String> = theirs
        .status
        .keys()
        .filter(|key| !key.starts_with("commitLogDiskRatio_") && !ours.status.contains_key(*key))
        .collect();
    missing.sort();
    if !missing.is_empty() {
        differences.0.push(format!("missing: {missing:?}"));
    }
    let has_path = |figures: &Figures| {
        figures
            .status
            .keys()
            .any(|key| key.starts_with("commitLogDiskRatio_/"))
    };
    if !has_path(ours) || !has_path(theirs) {
        differences
            .0
            .push("commitLogDiskRatio_PATH is missing".to_owned());
    }
    let sent = |figures: &Figures| -> u64 {
        let classes = figures
            .status
            .get("putMessageDistributeTime")
            .map(String::as_str)
            .unwrap_or_default();
        let counts = classes
            .split_whitespace()
            .filter_map(|class| class.rsplit(':').next());
        counts.filter_map(|count| count.parse::<u64>().ok()).sum()
    };
    if sent(ours) == 0 || sent(theirs) == 0 {
        differences
            .0
            .push("putMessageDistributeTime counts nothing".to_owned());
    }
    differences.outcome()
}

/// Begins of settings that have the original's names, and that the original reads but leaves out of its answer: its files of access and of TLS.
const LEFT_OUT: &[&str] = &[
    "authentication",
    "authorization",
    "initAuthentication",
    "innerClientAuthentication",
    "tls.",
];

/// What we answer has the original's names.
fn configuration(ours: &Figures, theirs: &Figures) -> Result<(), String> {
    let strange: Vec<&String> = ours
        .configuration
        .keys()
        .filter(|key| !theirs.configuration.contains_key(*key))
        .filter(|key| !LEFT_OUT.iter().any(|begin| key.starts_with(begin)))
        .collect();
    if strange.is_empty() {
        Ok(())
    } else {
        Err(format!("the original has no such keys: {strange:?}"))
    }
}
