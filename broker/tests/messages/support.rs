//! One broker in a folder of its own, and a client that speaks the protocol without any convenience.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_protocol::bodies::SubscriptionGroupConfig;
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::message::{RecordView, property};
use rmq_protocol::requests::{
    PullMessage, PullMessageReply, Reply, SendMessage, SendMessageReply, UpdateAndCreateTopic,
    pull_flag,
};
use rmq_transport::{CallError, Caller, CallerConfig, OwnedFrame, RefuseIncoming, TcpConnector};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Beyond this a test is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn config(dir: &Path) -> BrokerConfig {
    BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        data_dir: dir.to_owned(),
        segment_bytes: 16 << 20,
        ..BrokerConfig::default()
    }
}

pub(crate) struct Rig {
    pub(crate) broker: RunningBroker,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(Deps::default(), |_| {}).await
    }

    pub(crate) async fn start_with(deps: Deps, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        change(&mut config);
        let broker = BrokerServer::start(config, deps)
            .await
            .expect("the broker starts");
        Self { broker, folder }
    }

    pub(crate) fn client(&self) -> Client {
        Client::to(&self.broker)
    }

    pub(crate) async fn stop(self) {
        self.broker.shutdown().await.expect("a clean stop");
    }
}

/// What a broker refused, and with which words.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) code: i32,
    pub(crate) remark: String,
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) body: Vec<u8>,
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) reconsume_times: i32,
    pub(crate) flag: i32,
    pub(crate) properties: Vec<(String, String)>,
}

impl Record {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the tests send text")
    }
}

/// The answer to a pull.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) code: i32,
    pub(crate) remark: String,
    /// Absent in refusals.
    pub(crate) fields: Option<PullMessageReply>,
    pub(crate) records: Vec<Record>,
}

impl Pulled {
    pub(crate) fn of(frame: &OwnedFrame) -> Self {
        let header = frame.header();
        let records = RecordView::iter(frame.body())
            .map(|view| {
                let view = view.expect("the body is whole records");
                assert_eq!(view.check_record_crc(), Ok(true), "a checksum that holds");
                Record {
                    body: view.body().to_vec(),
                    topic: view.topic().to_owned(),
                    queue_id: view.queue_id().0,
                    offset: view.queue_offset().0,
                    reconsume_times: view.reconsume_times(),
                    flag: view.flag(),
                    properties: rmq_protocol::message::properties::iter(view.properties())
                        .filter(|(key, _)| *key != property::CRC32)
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                }
            })
            .collect();
        Self {
            code: frame.code(),
            remark: remark(frame),
            fields: PullMessageReply::decode(&header.fields).ok(),
            records,
        }
    }

    pub(crate) fn bodies(&self) -> Vec<&str> {
        self.records.iter().map(Record::text).collect()
    }

    pub(crate) fn next(&self) -> i64 {
        self.fields
            .as_ref()
            .expect("an answer with offsets")
            .next_begin_offset
    }
}

pub(crate) fn remark(frame: &OwnedFrame) -> String {
    frame
        .header()
        .remark
        .as_ref()
        .map(|remark| remark.to_cow().into_owned())
        .unwrap_or_default()
}

/// A send with the usual fields.
pub(crate) fn message<'a>(topic: &'a str, queue_id: i32, properties: &'a str) -> SendMessage<'a> {
    SendMessage {
        queue_id,
        properties: rmq_protocol::header::Text::Plain(properties),
        ..SendMessage::new("producers", topic)
    }
}

/// A pull of up to 32 messages that does not wait.
pub(crate) fn pull<'a>(topic: &'a str, queue_id: i32, offset: i64) -> PullMessage<'a> {
    PullMessage {
        consumer_group: "readers".into(),
        topic: topic.into(),
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
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
    }
}

/// The same, and it waits for a message.
pub(crate) fn waiting_pull<'a>(
    topic: &'a str,
    offset: i64,
    tags: &'a str,
    wait_ms: i64,
) -> PullMessage<'a> {
    PullMessage {
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
        suspend_timeout_millis: wait_ms,
        subscription: Some(tags.into()),
        ..pull(topic, 0, offset)
    }
}

#[derive(Clone)]
pub(crate) struct Client(pub(crate) Caller);

impl Client {
    pub(crate) fn to(broker: &RunningBroker) -> Self {
        Self::at(&broker.addr().to_string())
    }

    pub(crate) fn at(addr: &str) -> Self {
        Self(Caller::new(
            addr,
            std::sync::Arc::new(TcpConnector),
            CallerConfig::default(),
            std::sync::Arc::new(RefuseIncoming),
        ))
    }

    pub(crate) async fn try_call(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<OwnedFrame, CallError> {
        self.0.call(code.as_i32(), fields, body, PATIENCE).await
    }

    pub(crate) async fn call(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> OwnedFrame {
        self.try_call(code, fields, body).await.expect("an answer")
    }

    pub(crate) async fn send(
        &self,
        message: &SendMessage<'_>,
        body: &[u8],
    ) -> Result<SendMessageReply, Refused> {
        sent(&self.call(RequestCode::SendMessageV2, message, body).await)
    }

    /// Sends messages as one batch: each with a body and properties.
    pub(crate) async fn send_batch<'m>(
        &self,
        topic: &str,
        members: impl IntoIterator<Item = (&'m str, &'m str)>,
    ) -> Result<SendMessageReply, Refused> {
        let mut body = Vec::new();
        for (text, properties) in members {
            let entry = BatchEntry {
                flag: 0,
                body: text.as_bytes(),
                properties,
            };
            batch::encode(&entry, &mut body).expect("valid");
        }
        let request = SendMessage {
            batch: true,
            ..message(topic, 0, "")
        };
        sent(
            &self
                .call(RequestCode::SendBatchMessage, &request, &body)
                .await,
        )
    }

    /// Sends and expects that it is stored.
    pub(crate) async fn put(&self, topic: &str, properties: &str, body: &str) -> SendMessageReply {
        self.send(&message(topic, 0, properties), body.as_bytes())
            .await
            .expect("stored")
    }

    pub(crate) async fn pull(&self, request: &PullMessage<'_>) -> Pulled {
        Pulled::of(&self.call(RequestCode::PullMessage, request, &[]).await)
    }

    pub(crate) async fn create_topic(&self, topic: &str, queues: i32, perm: i32) {
        self.set_queues(topic, (queues, queues), perm).await;
    }

    /// Creates a topic with queues to read and to write, or changes them; the answer's remark.
    pub(crate) async fn set_queues(
        &self,
        topic: &str,
        (read, write): (i32, i32),
        perm: i32,
    ) -> String {
        let request = UpdateAndCreateTopic {
            topic: topic.into(),
            default_topic: None,
            read_queue_nums: read,
            write_queue_nums: write,
            perm,
            topic_filter_type: None,
            topic_sys_flag: None,
            order: None,
            attributes: None,
            force: None,
        };
        let answer = self
            .call(RequestCode::UpdateAndCreateTopic, &request, &[])
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        remark(&answer)
    }

    /// Creates or changes a topic with one queue, with changes of its attributes.
    #[allow(dead_code, reason = "the tests of groups and replicas use it")]
    pub(crate) async fn with_attributes(&self, topic: &str, attributes: &str) -> OwnedFrame {
        let request = UpdateAndCreateTopic {
            topic: topic.into(),
            default_topic: None,
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: 6,
            topic_filter_type: None,
            topic_sys_flag: None,
            order: None,
            attributes: Some(attributes.into()),
            force: None,
        };
        self.call(RequestCode::UpdateAndCreateTopic, &request, &[])
            .await
    }

    pub(crate) async fn create_group(
        &self,
        name: &str,
        change: impl FnOnce(&mut SubscriptionGroupConfig),
    ) {
        let mut config = SubscriptionGroupConfig::new(name);
        change(&mut config);
        let answer = self
            .call(
                RequestCode::UpdateAndCreateSubscriptiongroup,
                &(),
                &config.to_json(),
            )
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
    }
}

pub(crate) fn sent(frame: &OwnedFrame) -> Result<SendMessageReply, Refused> {
    if frame.code() == 0 {
        Ok(SendMessageReply::decode(&frame.header().fields).expect("the fields of a send"))
    } else {
        Err(Refused {
            code: frame.code(),
            remark: remark(frame),
        })
    }
}

/// Starts `call` and lets the broker handle it as far as it goes: requests of one connection are handled in order, so when
/// a later one is answered, this one is parked or answered.
pub(crate) async fn parked<'f, T>(
    client: &Client,
    call: impl Future<Output = T> + 'f,
) -> std::pin::Pin<Box<dyn Future<Output = T> + 'f>> {
    // Connected before, so that the first poll writes the request.
    client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    let mut call = Box::pin(call);
    std::future::poll_fn(|context| {
        assert!(
            call.as_mut().poll(context).is_pending(),
            "the request is only written"
        );
        Poll::Ready(())
    })
    .await;
    client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    call
}

/// Waits until `condition` holds; for what another task of this process is about to do.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let waiting = pin!(waiting);
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("this did not happen: {what}"));
}

/// The fields of a send, as of version 2.
pub(crate) const fn send_fields(topic: &str) -> [(&str, &str); 11] {
    [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", ""),
        ("j", "0"),
        ("k", "false"),
    ]
}

/// Status and body.
pub(crate) async fn get(broker: &RunningBroker, path: &str) -> (u16, String) {
    let addr = broker.management_addr().expect("a management port");
    let mut stream = tokio::net::TcpStream::connect(addr)
        .await
        .expect("connects");
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
        .expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

pub(crate) fn value(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}
