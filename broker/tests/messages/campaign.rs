//! Fails each kind of call to the file system, in each life of a broker, and asks for everything afterwards.
//!
//! A run without faults records the calls. Then one trial for each call that is chosen: the same life again, and this call fails, once or
//! for good. Whatever fails: each request of every code is answered with a code that clients know, health and answers agree, and nothing
//! that was acknowledged is missing after a restart on a disk that works, also where a life could not read the log.
//!
//! The calls are grouped by life, call and file. CI tries the first call of nearly every group, with one error. `RMQ_DISK_CAMPAIGN=3` tries three calls of
//! every group (the first, the last, one between) with every error, once and for good: many minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, Flush, RunningBroker, StartError};
use rmq_protocol::bodies::{HeartbeatData, KvTable, SubscriptionGroupConfig};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{OffsetReply, QueryConsumerOffset, Reply as _, UpdateConsumerOffset};
use rmq_store::fs::{Call, Fault, FaultyFs, Operation, SimulatedDisk};

use crate::support::{self, Client, message, pull, remark, send_fields};

/// An answer that takes longer does not come.
const BOUND: Duration = Duration::from_secs(10);
/// EIO, ENOSPC, EMFILE, EACCES.
const ERRORS: [i32; 4] = [5, 28, 24, 13];
const LIVES: usize = 3;
const QUEUES: i32 = 2;

/// What one trial does to the disk.
#[derive(Debug, Clone)]
struct Trial {
    operation: Operation,
    path: String,
    after: usize,
    errno: i32,
    for_good: bool,
}

/// What the broker has promised.
#[derive(Default)]
struct Promised {
    /// Body by queue and offset.
    messages: BTreeMap<(i32, i64), String>,
    /// Progress of the group at the last end of a life that was in order.
    progress: i64,
    has_topic: bool,
    /// A life was told to remove old messages.
    evicts: bool,
}

struct Run {
    disk: SimulatedDisk,
    fs: FaultyFs,
    flush: Flush,
    promised: Promised,
    /// Of what failed, for the messages of failed assertions.
    name: String,
}

fn config(flush: Flush) -> BrokerConfig {
    BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: "127.0.0.1:0".to_owned(),
        data_dir: "/d".into(),
        segment_bytes: 64 << 10,
        disk_evict_ratio: 0.5,
        flush,
        ..BrokerConfig::default()
    }
}

async fn start(fs: &FaultyFs, flush: Flush) -> Result<RunningBroker, StartError> {
    let deps = Deps {
        fs: Arc::new(fs.clone()),
        ..Deps::default()
    };
    BrokerServer::start(config(flush), deps).await
}

impl Run {
    fn new(flush: Flush, trial: Option<&Trial>) -> Self {
        let disk = SimulatedDisk::new();
        let fs = FaultyFs::new(Arc::new(disk.clone()));
        if let Some(trial) = trial {
            let fault = Fault {
                operation: trial.operation,
                path_contains: trial.path.clone(),
                after: trial.after,
                times: if trial.for_good { usize::MAX } else { 1 },
                kind: std::io::ErrorKind::Other,
            };
            fs.plan_errno(fault, trial.errno);
        }
        Self {
            disk,
            fs,
            flush,
            promised: Promised::default(),
            name: format!("{flush:?} {trial:?}"),
        }
    }

    /// Starts, and where the disk does not let it, says why and starts when the disk works.
    async fn start(&self) -> RunningBroker {
        match start(&self.fs, self.flush).await {
            Ok(broker) => broker,
            Err(error) => {
                let text = error.to_string();
                assert!(self.fs.given() > 0, "{}: {text}", self.name);
                assert!(
                    !text.contains("panicked") && text.contains("/d"),
                    "{}: {text}",
                    self.name
                );
                self.fs.clear();
                start(&self.fs, self.flush)
                    .await
                    .unwrap_or_else(|error| panic!("{}: {error}", self.name))
            }
        }
    }

    /// An answer of the broker, whatever it says.
    async fn ask(
        &self,
        client: &Client,
        code: RequestCode,
        fields: &(dyn rmq_protocol::header::FieldSource + Sync),
        body: &[u8],
    ) -> rmq_transport::OwnedFrame {
        let name = &self.name;
        let answer = client
            .0
            .call(code.as_i32(), fields, body, BOUND)
            .await
            .unwrap_or_else(|error| panic!("{name}: {code:?} is not answered: {error}"));
        let text = remark(&answer);
        assert!(
            ResponseCode::from_i32(answer.code()).is_some(),
            "{name}: {code:?} answers {}",
            answer.code()
        );
        assert!(
            !text.contains("this is a defect") && !text.contains("panic"),
            "{name}: {code:?} answers {text}"
        );
        answer
    }

    async fn put(&mut self, client: &Client, queue: i32, bytes: usize) -> Result<(), i32> {
        let number = self.promised.messages.len();
        let body = format!("{number:0bytes$}");
        let request = message("a", queue, "KEYS\u{1}k\u{2}");
        let answer = self
            .ask(
                client,
                RequestCode::SendMessageV2,
                &request,
                body.as_bytes(),
            )
            .await;
        let sent = crate::support::sent(&answer).map_err(|refused| refused.code)?;
        let place = (queue, sent.queue_offset);
        assert!(
            self.promised.messages.insert(place, body).is_none(),
            "{}: {place:?} is given twice",
            self.name
        );
        Ok(())
    }

    async fn commit(&self, client: &Client, offset: i64) -> bool {
        let request = UpdateConsumerOffset {
            consumer_group: "g".into(),
            topic: "a".into(),
            queue_id: 0,
            commit_offset: offset,
            broker_name: None,
        };
        let code = RequestCode::UpdateConsumerOffset;
        self.ask(client, code, &request, &[]).await.code() == 0
    }

    /// One life: work, questions, and an end.
    async fn live(&mut self, life: usize) {
        let broker = self.start().await;
        let client = Client::to(&broker);
        for (topic, queues) in [("a", QUEUES), ("gone", 1)] {
            let fields = topic_fields(topic, queues);
            let code = RequestCode::UpdateAndCreateTopic;
            let made = self.ask(&client, code, &&fields[..], &[]).await.code() == 0;
            self.promised.has_topic |= made && topic == "a";
        }
        for group in ["g", "h"] {
            let body = SubscriptionGroupConfig::new(group).to_json();
            let code = RequestCode::UpdateAndCreateSubscriptiongroup;
            self.ask(&client, code, &(), &body).await;
        }
        for number in 0..24 {
            // Refused or not: that it is answered counts, and that it is kept then.
            let _ = self.put(&client, number % QUEUES, 5_000).await;
        }
        let delayed = message("a", 0, "DELAY\u{1}1\u{2}");
        let code = RequestCode::SendMessageV2;
        self.ask(&client, code, &delayed, b"later").await;
        let fields = topic_fields("gone", 1);
        let code = RequestCode::DeleteTopicInBroker;
        self.ask(&client, code, &&fields[..], &[]).await;
        let offset = life as i64 + 1;
        let committed = self.commit(&client, offset).await;
        if life + 1 == LIVES {
            // Old segments go now.
            self.disk.set_free(Some(400 << 30));
            self.promised.evicts = true;
            let code = RequestCode::DeleteExpiredCommitlog;
            self.ask(&client, code, &(), &[]).await;
            self.disk.set_free(None);
        }
        self.ask_everything(&client, life).await;
        self.compare_health(&broker, &client).await;
        if life == 1 {
            broker.kill().await;
        } else if broker.shutdown().await.is_ok() && committed {
            self.promised.progress = offset;
        }
    }

    /// Every code there is, with fields that mean something for most.
    async fn ask_everything(&self, client: &Client, life: usize) {
        let topic = format!("new-{life}");
        for code in RequestCode::ALL {
            let (topic, group) = match code {
                RequestCode::UpdateAndCreateTopic => (topic.as_str(), "h"),
                RequestCode::DeleteTopicInBroker
                | RequestCode::DeleteSubscriptiongroup
                | RequestCode::SendMessage
                | RequestCode::SendMessageV2
                | RequestCode::SendBatchMessage => ("gone", "gone"),
                _ => ("a", "h"),
            };
            let mut fields = topic_fields(topic, QUEUES);
            fields.extend(send_fields(topic));
            fields.extend([
                ("m", "false"),
                ("consumerGroup", group),
                ("group", group),
                ("groupName", group),
                ("producerGroup", "producers"),
                ("srcGroup", "g"),
                ("destGroup", "copy"),
                ("clientID", "me"),
                ("clientId", "me"),
                ("queueId", "0"),
                ("queueOffset", "0"),
                ("maxMsgNums", "1"),
                ("sysFlag", "2"),
                ("commitOffset", "0"),
                ("suspendTimeoutMillis", "0"),
                ("subVersion", "0"),
                ("subscription", "*"),
                ("bornTimestamp", "1"),
                ("flag", "0"),
                ("timestamp", "0"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9999999999999"),
                ("key", "k"),
                ("maxNum", "1"),
                ("offset", "0"),
                ("delayLevel", "1"),
                ("index", "0"),
                ("count", "1"),
                ("statsName", "TOPIC_PUT_NUMS"),
                ("statsKey", "a"),
            ]);
            let body = match code {
                RequestCode::HeartBeat => HeartbeatData {
                    client_id: "me".to_owned(),
                    ..HeartbeatData::default()
                }
                .to_json(),
                RequestCode::UpdateAndCreateSubscriptiongroup => {
                    SubscriptionGroupConfig::new(format!("{topic}-group")).to_json()
                }
                _ => b"{}".to_vec(),
            };
            self.ask(client, *code, &&fields[..], &body).await;
        }
    }

    /// What a send is told, `/readyz`, the metric and the runtime info (which `rmq-ctl health` shows) say the same.
    async fn compare_health(&mut self, broker: &RunningBroker, client: &Client) {
        let name = self.name.clone();
        // What can pass is tried again each second, so a state may end between two questions: then all are asked again.
        let mut tries = 0;
        let (first, (status, ready), live, metrics, info) = loop {
            let first = if self.promised.has_topic {
                self.put(client, 0, 5_000).await
            } else {
                Ok(())
            };
            let ready = support::get(broker, "/readyz").await;
            let (_, live) = support::get(broker, "/livez").await;
            let (_, metrics) = support::get(broker, "/metrics").await;
            let code = RequestCode::GetBrokerRuntimeInfo;
            let info = self.ask(client, code, &(), &[]).await;
            let info = KvTable::from_json(info.body()).expect("figures").table;
            let again = support::get(broker, "/readyz").await;
            let is_over = first.is_err() && self.put(client, 0, 5_000).await.is_ok();
            if ready.0 == again.0 && !is_over {
                break (first, ready, live, metrics, info);
            }
            tries += 1;
            assert!(tries < 50, "{name}: it changes without an end: {}", ready.1);
        };
        if let Err(code) = first {
            assert!([10, 14].contains(&code), "{name}: a send gets {code}");
            assert_eq!(status, 503, "{name}: {ready}");
        }
        if status == 503 {
            assert!(ready.contains("[-] store: "), "{name}: {ready}");
            assert!(live.contains("[-] store: "), "{name}: {live}");
            let problem = info.get("storeProblem").map_or("", String::as_str);
            assert!(
                ready.contains(problem) && !problem.is_empty(),
                "{name}: {problem}"
            );
            let metric = support::value(&metrics, "rocketmq_store_writable", &[]);
            assert_eq!(metric, Some(0.0), "{name}");
        }
        if ready.contains("read-only") && self.promised.has_topic {
            let second = self.put(client, 0, 10).await;
            assert!([Err(10), Err(14)].contains(&second), "{name}: {second:?}");
            assert!(!self.commit(client, 99).await, "{name}: a commit is taken");
        }
    }

    /// On a disk that works everything is there.
    async fn check(self) {
        let name = &self.name;
        self.fs.clear();
        let broker = self.start().await;
        let client = Client::to(&broker);
        for queue in (0..QUEUES).filter(|_| self.promised.has_topic) {
            let mut found = BTreeMap::new();
            let first = client.pull(&pull("a", queue, 0)).await;
            let min = first.fields.as_ref().map_or(0, |fields| fields.min_offset);
            assert!(self.promised.evicts || min == 0, "{name}: begins at {min}");
            let mut at = min;
            loop {
                let pulled = client.pull(&pull("a", queue, at)).await;
                for record in &pulled.records {
                    found.insert(record.offset, record.text().to_owned());
                }
                if pulled.code != 0 || pulled.next() <= at {
                    break;
                }
                at = pulled.next();
            }
            for ((_, offset), body) in self
                .promised
                .messages
                .range((queue, min)..(queue + 1, i64::MIN))
            {
                assert_eq!(found.get(offset), Some(body), "{name}: {queue}, {offset}");
            }
        }
        if self.promised.progress > 0 {
            let request = QueryConsumerOffset {
                consumer_group: "g".into(),
                topic: "a".into(),
                queue_id: 0,
                set_zero_if_not_found: Some(false),
                broker_name: None,
            };
            let answer = client
                .call(RequestCode::QueryConsumerOffset, &request, &[])
                .await;
            let offset = OffsetReply::decode(&answer.header().fields).map(|reply| reply.offset);
            assert!(
                offset
                    .as_ref()
                    .is_ok_and(|offset| *offset >= self.promised.progress),
                "{name}: {offset:?}, {} was promised",
                self.promised.progress
            );
        }
        broker
            .shutdown()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn topic_fields(topic: &str, queues: i32) -> Vec<(&str, &str)> {
    vec![
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("readQueueNums", if queues == 1 { "1" } else { "2" }),
        ("writeQueueNums", if queues == 1 { "1" } else { "2" }),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ]
}

/// All lives without a fault; the calls of each.
async fn rehearse(flush: Flush) -> Vec<Vec<Call>> {
    let mut run = Run::new(flush, None);
    let mut lives = Vec::new();
    for life in 0..LIVES {
        run.fs.record();
        run.live(life).await;
        lives.push(run.fs.recorded());
    }
    run.check().await;
    lives
}

/// The calls to fail: of every group of like calls in a life so many, the others of the same kind that come before counted.
fn choose(lives: &[Vec<Call>], of_each: usize) -> Vec<Trial> {
    let calls: Vec<(usize, &Call)> = lives
        .iter()
        .enumerate()
        .flat_map(|(life, calls)| calls.iter().map(move |call| (life, call)))
        .collect();
    let kind = |path: &str| -> String {
        path.chars()
            .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
            .collect()
    };
    let mut groups: BTreeMap<(usize, Operation, String), Vec<usize>> = BTreeMap::new();
    for (index, (life, (operation, path))) in calls.iter().enumerate() {
        groups
            .entry((*life, *operation, kind(path)))
            .or_default()
            .push(index);
    }
    let mut chosen = Vec::new();
    for indices in groups.values() {
        let last = indices.len() - 1;
        let picks: BTreeSet<usize> = (0..of_each)
            .map(|pick| pick * last / (of_each - 1).max(1))
            .collect();
        for pick in picks {
            let (_, (operation, path)) = calls[indices[pick]];
            let after = calls[..indices[pick]]
                .iter()
                .filter(|(_, (other, at))| other == operation && at.contains(path.as_str()))
                .count();
            for errno in ERRORS {
                for for_good in [false, true] {
                    chosen.push(Trial {
                        operation: *operation,
                        path: path.clone(),
                        after,
                        errno,
                        for_good,
                    });
                }
            }
        }
    }
    chosen
}

#[allow(
    clippy::print_stdout,
    reason = "a campaign by hand says how much it tried"
)]
async fn campaign(flush: Flush) {
    let of_each = std::env::var("RMQ_DISK_CAMPAIGN")
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    let all = choose(&rehearse(flush).await, of_each.unwrap_or(1));
    // Without the variable one trial of nine: nearly every group, with another of its eight errors each time.
    let step = if of_each.is_some() { 1 } else { 9 };
    let (mut tried, mut met) = (0, 0);
    for trial in all.iter().step_by(step) {
        let mut run = Run::new(flush, Some(trial));
        for life in 0..LIVES {
            run.live(life).await;
        }
        tried += 1;
        met += usize::from(run.fs.given() > 0);
        run.check().await;
    }
    println!(
        "{flush:?}: {tried} of {} trials, {met} met their fault",
        all.len()
    );
    assert!(met * 2 > tried, "{met} of {tried} trials met their fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failed_call_is_answered_with_async_flush() {
    campaign(Flush::Async).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failed_call_is_answered_with_sync_flush() {
    campaign(Flush::Sync).await;
}
