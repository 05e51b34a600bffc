//! The client against servers that do what a test tells them: lose connections, refuse, stay silent. Real sockets and the real
//! transport; only the answers are scripted, because a real broker cannot be made to misbehave on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client::{Client, ErrorKind, Message, PullOptions, PullStatus, Queue, Timeouts};
use rmq_protocol::bodies::{ConsumerList, HeartbeatData};
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::message::{LogPosition, QueueId, QueueOffset, RecordFields, batch, properties};
use rmq_protocol::requests::{
    GetRouteinfoByTopic, MAY_BE_STORED, NotifyConsumerIdsChanged, PullMessageReply, Request,
    SendMessage, SendMessageReply,
};
use rmq_protocol::route::{BrokerData, ClusterInfo, QueueData, TopicRoute};
use rmq_protocol::{RequestCode, ResponseCode};
use rmq_transport::{
    CloseReason, Exchange, Peer, PendingReply, Reply, ServerConfig, Service, bind, serve,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Script = Box<dyn Fn(RequestCode, &mut Exchange<'_>) + Send + Sync>;

struct Scripted(Script);

impl Service for Scripted {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let code = RequestCode::from_i32(exchange.header.code).expect("clients send known codes");
        if code == RequestCode::HeartBeat {
            let beat = HeartbeatData::from_json(exchange.body).unwrap();
            // Producers' signs of life are answered here: the scripts are about other requests.
            if beat.consumer_data_set.is_empty() {
                assert!(!beat.producer_data_set.is_empty());
                return exchange.ok(&());
            }
        }
        (self.0)(code, exchange);
    }
}

/// A server that stops with the test.
struct Server {
    addr: String,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn server(script: impl Fn(RequestCode, &mut Exchange<'_>) + Send + Sync + 'static) -> Server {
    let (listener, addr) = bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let config = ServerConfig::new("scripted");
    tokio::spawn(serve(
        listener,
        Arc::new(Scripted(Box::new(script))),
        config,
        stop.clone(),
    ));
    Server {
        addr: addr.to_string(),
        stop,
    }
}

/// A name server that knows these brokers, and topic `t` with two queues at each; `template` says whether `TBW102` exists.
async fn name_server(brokers: &[(&str, &Server)], template: bool) -> Server {
    server(routes(brokers, template)).await
}

/// What that name server answers.
fn routes(
    brokers: &[(&str, &Server)],
    template: bool,
) -> impl Fn(RequestCode, &mut Exchange<'_>) + Send + Sync + 'static {
    let data: BTreeMap<String, BrokerData> = brokers
        .iter()
        .map(|(name, server)| {
            let data = BrokerData {
                broker_addrs: BTreeMap::from([(0, server.addr.clone())]),
                broker_name: (*name).to_owned(),
                cluster: "c".to_owned(),
                ..BrokerData::default()
            };
            ((*name).to_owned(), data)
        })
        .collect();
    move |code, exchange| match code {
        RequestCode::GetBrokerClusterInfo => {
            let info = ClusterInfo {
                broker_addr_table: data.clone(),
                cluster_addr_table: BTreeMap::new(),
            };
            exchange.ok_body(&(), &info.to_json());
        }
        RequestCode::GetRouteinfoByTopic => {
            let request = GetRouteinfoByTopic::decode(&exchange.header.fields).unwrap();
            if request.topic != "t" && !(request.topic == "TBW102" && template) {
                return exchange.fail(ResponseCode::TopicNotExist, "no such topic");
            }
            let queues = |name: &String| QueueData {
                broker_name: name.clone(),
                perm: 6,
                read_queue_nums: 2,
                write_queue_nums: 2,
                topic_sys_flag: 0,
            };
            let route = TopicRoute {
                broker_datas: data.values().cloned().collect(),
                queue_datas: data.keys().map(queues).collect(),
                ..TopicRoute::default()
            };
            exchange.ok_body(&(), &route.to_json());
        }
        other => panic!("{other} at a name server"),
    }
}

async fn connect(name_server: &Server) -> Client {
    Client::connect(format!("rmq://{}", name_server.addr))
        .await
        .unwrap()
}

fn stored(queue_id: i32, queue_offset: i64) -> SendMessageReply {
    SendMessageReply {
        msg_region: None,
        trace_on: None,
        msg_id: "7F0000010000514B00000000007613EB".to_owned(),
        queue_id,
        queue_offset,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    }
}

fn unique_id(exchange: &Exchange<'_>) -> String {
    let send = SendMessage::decode(RequestCode::SendMessageV2, &exchange.header.fields).unwrap();
    properties::get(&send.properties.to_cow(), "UNIQ_KEY")
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_dead_name_server_is_passed_over() {
    let alive = name_server(&[], false).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::connect(format!("rmq://{dead},{}", alive.addr))
        .await
        .unwrap();
    assert!(
        client
            .cluster_info()
            .await
            .unwrap()
            .broker_addr_table
            .is_empty()
    );
    let error = Client::connect(format!("rmq://{dead}")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.addr()),
        (ErrorKind::Unreachable, Some(dead.to_string().as_str()))
    );
    assert!(error.to_string().contains("name server"), "{error}");
    client.shutdown().await;
    assert_eq!(
        client.cluster_info().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

/// A name server that takes requests and answers them only while it is `awake`.
async fn sleepy(
    awake: &Arc<AtomicBool>,
    script: impl Fn(RequestCode, &mut Exchange<'_>) + Send + Sync + 'static,
) -> Server {
    let (awake, parked) = (Arc::clone(awake), Mutex::new(Vec::new()));
    server(move |code, exchange| match awake.load(Ordering::SeqCst) {
        true => script(code, exchange),
        false => parked.lock().push(exchange.park()),
    })
    .await
}

/// Longer than any test.
fn patient() -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.connect = Duration::from_secs(600);
    timeouts.request = Duration::from_secs(600);
    timeouts
}

#[tokio::test]
async fn a_silent_name_server_is_not_waited_for() {
    let silent = sleepy(&Arc::default(), |_, _| unreachable!("it sleeps")).await;
    let alive = name_server(&[], false).await;
    let url = format!("rmq://{},{}", silent.addr, alive.addr);
    let connecting = Client::builder(url).timeouts(patient()).connect();
    let connected = tokio::time::timeout(Duration::from_secs(60), connecting).await;
    let client = connected.expect("the other one answers").unwrap();
    client.shutdown().await;
}

#[tokio::test]
async fn sends_do_not_wait_for_name_servers_that_went_silent() {
    let broker = server(|_, exchange| exchange.ok(&stored(0, 1))).await;
    let awake = Arc::new(AtomicBool::new(true));
    let names = sleepy(&awake, routes(&[("a", &broker)], false)).await;
    let mut timeouts = patient();
    timeouts.route_age = Duration::from_millis(50);
    let url = format!("rmq://{}", names.addr);
    let client = Client::builder(url).timeouts(timeouts).connect();
    let client = client.await.unwrap();
    let producer = client.producer();
    producer.send(Message::new("t", "before")).await.unwrap();
    awake.store(false, Ordering::SeqCst);
    let sends = async {
        let began = tokio::time::Instant::now();
        // Twice as long as the route is young.
        while began.elapsed() < 2 * timeouts.route_age {
            producer.send(Message::new("t", "meanwhile")).await.unwrap();
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(60), sends).await;
    sent.expect("the known route is used");
    client.shutdown().await;
}

#[tokio::test]
async fn a_pull_goes_to_the_successor_of_the_master_that_it_waited_for() {
    let (parked, mut waiting) = mpsc::unbounded_channel();
    let before = server(move |_, exchange| parked.send(exchange.park()).unwrap()).await;
    let after = server(|code, exchange| {
        assert_eq!(code, RequestCode::PullMessage);
        let reply = PullMessageReply {
            suggest_which_broker_id: 0,
            next_begin_offset: 7,
            min_offset: 0,
            max_offset: 7,
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        };
        exchange.reply(ResponseCode::PullNotFound, None, &reply, b"");
    })
    .await;
    let has_changed = Arc::new(AtomicBool::new(false));
    let (old, new) = (
        routes(&[("a", &before)], false),
        routes(&[("a", &after)], false),
    );
    let changed = Arc::clone(&has_changed);
    let names = server(move |code, exchange| match changed.load(Ordering::SeqCst) {
        false => old(code, exchange),
        true => new(code, exchange),
    })
    .await;
    let client = Client::builder(format!("rmq://{}", names.addr))
        .timeouts(patient())
        .connect();
    let client = client.await.unwrap();
    let (queue, options) = (Queue::new("t", "a", 0), PullOptions::default());
    let pull = client.pull(&queue, 7, &options);
    let switch = async {
        let held = waiting.recv().await;
        has_changed.store(true, Ordering::SeqCst);
        client.refresh_route("t").await.unwrap();
        held
    };
    let both = async { tokio::join!(pull, switch) };
    let (pulled, _held) = tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("the successor answers");
    assert_eq!(pulled.unwrap().status, PullStatus::NoNewMessage);
    client.shutdown().await;
}

#[tokio::test]
async fn a_busy_broker_is_avoided_and_the_message_keeps_its_id() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let busy = server(move |_, exchange| {
        note.lock().push(("busy", unique_id(exchange)));
        exchange.fail(ResponseCode::SystemBusy, "later");
    })
    .await;
    let note = Arc::clone(&seen);
    let well = server(move |_, exchange| {
        note.lock().push(("well", unique_id(exchange)));
        exchange.ok(&stored(1, 41));
    })
    .await;
    let names = name_server(&[("a", &busy), ("b", &well)], false).await;
    let client = connect(&names).await;
    let receipt = client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap();
    assert_eq!(
        (receipt.queue(), receipt.queue_offset()),
        (&Queue::new("t", "b", 1), 41)
    );
    let attempts = std::mem::take(&mut *seen.lock());
    assert_eq!(
        attempts,
        [
            ("busy", receipt.message_id().to_owned()),
            ("well", receipt.message_id().to_owned())
        ]
    );

    let once = client.producer_builder().retries(0).build();
    let error = once
        .send_to(&Queue::new("t", "a", 0), Message::new("t", "x"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.broker_code()),
        (ErrorKind::Busy, Some(2))
    );
    assert!(error.is_retryable() && !error.may_have_been_processed());
    assert!(
        error.to_string().contains("later") && error.to_string().contains(&busy.addr),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_pass_is_not_repeated() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let strict = server(move |_, exchange| {
        count.fetch_add(1, Ordering::Relaxed);
        exchange.fail(ResponseCode::MessageIllegal, "too long");
    })
    .await;
    let names = name_server(&[("a", &strict)], false).await;
    let client = connect(&names).await;
    let error = client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.broker_code()),
        (ErrorKind::Refused, Some(13))
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    for message in [
        Message::new("t", ""),
        Message::new("t", vec![0; 5 << 20]),
        Message::new("a b", "x"),
    ] {
        assert_eq!(
            client.producer().send(message).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    assert_eq!(
        client
            .producer()
            .send(Message::new("u", "x"))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NoRoute
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_new_topic_goes_where_the_template_lives() {
    let broker = server(|_, exchange| {
        let send =
            SendMessage::decode(RequestCode::SendMessageV2, &exchange.header.fields).unwrap();
        assert_eq!(
            (send.topic.as_ref(), send.default_topic.as_ref()),
            ("new", "TBW102")
        );
        exchange.ok(&stored(send.queue_id, 0));
    })
    .await;
    let names = name_server(&[("a", &broker)], true).await;
    let client = connect(&names).await;
    assert_eq!(
        client
            .producer()
            .send(Message::new("new", "x"))
            .await
            .unwrap()
            .queue()
            .broker(),
        "a"
    );
    let never = client
        .producer_builder()
        .auto_create_topic(false)
        .retries(0)
        .build();
    assert_eq!(
        never
            .send(Message::new("new", "x"))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NoRoute
    );
}

#[tokio::test]
async fn pipelined_sends_keep_their_order_and_their_bound() {
    let (parked, mut requests) = mpsc::unbounded_channel::<(String, PendingReply)>();
    let broker = server(move |_, exchange| {
        let body = String::from_utf8(exchange.body.to_vec()).unwrap();
        parked.send((body, exchange.park())).unwrap();
    })
    .await;
    let names = name_server(&[("a", &broker)], false).await;
    let client = connect(&names).await;
    let producer = client
        .producer_builder()
        .max_in_flight(3)
        .retries(0)
        .build();
    let queue = Queue::new("t", "a", 0);

    // The connection is made by the first send; only then is there an order to keep.
    let first = producer
        .submit_to(&queue, Message::new("t", "0"))
        .await
        .unwrap();
    let (_, reply) = requests.recv().await.unwrap();
    reply.ok(&stored(0, 0));
    assert_eq!(first.await.unwrap().queue_offset(), 0);

    let mut sends = Vec::new();
    for n in 1..=3 {
        sends.push(
            producer
                .submit_to(&queue, Message::new("t", n.to_string()))
                .await
                .unwrap(),
        );
    }
    let fourth = tokio::spawn({
        let (producer, queue) = (producer.clone(), queue.clone());
        async move {
            producer
                .submit_to(&queue, Message::new("t", "4"))
                .await
                .unwrap()
                .await
        }
    });
    let mut replies = Vec::new();
    for n in 1..=3 {
        let (body, reply) = requests.recv().await.unwrap();
        assert_eq!(body, n.to_string());
        replies.push(reply);
    }
    // No room: the fourth is not on the wire while three wait.
    assert!(requests.try_recv().is_err() && !fourth.is_finished());
    replies.remove(0).ok(&stored(0, 1));
    let (body, reply) = requests.recv().await.unwrap();
    assert_eq!(body, "4");
    reply.ok(&stored(0, 4));
    assert_eq!(fourth.await.unwrap().unwrap().queue_offset(), 4);
    for (n, reply) in (2..).zip(replies) {
        reply.ok(&stored(0, n));
    }
    for (n, send) in (1..).zip(sends) {
        assert_eq!(send.await.unwrap().queue_offset(), n);
    }
}

#[tokio::test]
async fn a_lost_answer_says_that_it_may_have_been_stored() {
    let broker = server(|_, exchange| {
        exchange.park().forget();
        exchange.peer.close(CloseReason::Local("the test wants it"));
    })
    .await;
    let names = name_server(&[("a", &broker)], false).await;
    let client = connect(&names).await;
    let once = client.producer_builder().retries(0).build();
    let error = once.send(Message::new("t", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    assert!(
        error.may_have_been_processed() && error.is_retryable(),
        "{error}"
    );
}

/// The code of a message that its master has and could not confirm, and whether the next try is confirmed.
async fn unconfirmed(
    code: ResponseCode,
    then_confirmed: bool,
) -> (Result<i64, rmq_client::Error>, Vec<String>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let broker = server(move |_, exchange| {
        let mut seen = note.lock();
        seen.push(unique_id(exchange));
        let (is_first, reply) = (seen.len() == 1, stored(0, seen.len() as i64));
        match then_confirmed && !is_first {
            true => exchange.ok(&reply),
            false => exchange.reply(code, Some("member 1 is missing".into()), &reply, b""),
        }
    })
    .await;
    let names = name_server(&[("a", &broker)], false).await;
    let client = connect(&names).await;
    let sent = client.producer().send(Message::new("t", "x")).await;
    client.shutdown().await;
    let ids = std::mem::take(&mut *seen.lock());
    (sent.map(|receipt| receipt.queue_offset()), ids)
}

#[tokio::test]
async fn what_is_stored_and_not_confirmed_is_tried_again_with_its_id() {
    for code in [
        ResponseCode::FlushDiskTimeout,
        ResponseCode::SlaveNotAvailable,
        ResponseCode::FlushSlaveTimeout,
    ] {
        let (sent, ids) = unconfirmed(code, true).await;
        assert_eq!((sent.unwrap(), ids.len()), (2, 2));
        assert_eq!(ids[0], ids[1]);
        // Each repetition may store one more: there are few.
        let (sent, ids) = unconfirmed(code, false).await;
        let error = sent.unwrap_err();
        assert_eq!((error.kind(), ids.len()), (ErrorKind::Indeterminate, 3));
        assert_eq!(error.broker_code(), Some(code.as_i32()));
        assert!(error.to_string().contains("member 1 is missing"), "{error}");
    }
}

struct Perhaps(bool);

impl FieldSource for Perhaps {
    fn visit(&self, sink: &mut dyn FieldSink) {
        if self.0 {
            sink.bool(MAY_BE_STORED, true);
        }
    }
}

#[tokio::test]
async fn a_refusal_says_whether_the_message_was_appended_before() {
    for (perhaps, kind) in [(true, ErrorKind::Indeterminate), (false, ErrorKind::Busy)] {
        let broker = server(move |_, exchange| {
            let code = ResponseCode::ServiceNotAvailable;
            let remark = Some("no master any more".into());
            exchange.reply(code, remark, &Perhaps(perhaps), b"");
        })
        .await;
        let names = name_server(&[("a", &broker)], false).await;
        let client = connect(&names).await;
        let once = client.producer_builder().retries(0).build();
        let error = once.send(Message::new("t", "x")).await.unwrap_err();
        assert_eq!((error.kind(), error.broker_code()), (kind, Some(14)));
        client.shutdown().await;
    }
}

#[tokio::test]
async fn silence_ends_with_the_time_limit() {
    let (keep, mut kept) = mpsc::unbounded_channel();
    let broker = server(move |_, exchange| keep.send(exchange.park()).unwrap()).await;
    let names = name_server(&[("a", &broker)], false).await;
    let url = format!("rmq://{}", names.addr);
    let client = Client::builder(url)
        .request_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let once = client.producer_builder().retries(0).build();
    let error = once.send(Message::new("t", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    assert!(error.to_string().contains("no answer within"), "{error}");
    kept.recv().await.unwrap().forget();
}

#[tokio::test]
async fn batches_are_cut_to_size_and_every_message_has_its_receipt() {
    let offset = AtomicUsize::new(10);
    let broker = server(move |code, exchange| {
        assert_eq!(code, RequestCode::SendBatchMessage);
        let send = SendMessage::decode(code, &exchange.header.fields).unwrap();
        let count = batch::iter(exchange.body).map(Result::unwrap).count();
        assert!(send.batch && exchange.body.len() <= 300);
        let mut reply = stored(
            send.queue_id,
            offset.fetch_add(count, Ordering::Relaxed) as i64,
        );
        reply.msg_id = (0..count)
            .map(|n| format!("ID{n}"))
            .collect::<Vec<_>>()
            .join(",");
        exchange.ok(&reply);
    })
    .await;
    let names = name_server(&[("a", &broker)], false).await;
    let client = connect(&names).await;
    let producer = client.producer_builder().message_bytes_max(300).build();
    let messages = (0..5)
        .map(|n| Message::new("t", format!("body {n}")))
        .collect();
    let receipts: Vec<_> = producer
        .send_all(messages)
        .await
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        receipts
            .iter()
            .map(|receipt| receipt.queue_offset())
            .collect::<Vec<_>>(),
        [10, 11, 12, 13, 14]
    );
    assert_eq!(receipts[1].offset_id(), "ID1");
    let mixed = vec![Message::new("t", "x"), Message::new("u", "x")];
    assert_eq!(
        producer.send_all(mixed).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert!(producer.send_all(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_answer_to_a_pull_has_its_status() {
    let broker = server(|_, exchange| {
        let offset: i64 = exchange
            .header
            .fields
            .get("queueOffset")
            .unwrap()
            .parse()
            .unwrap();
        let reply = PullMessageReply {
            suggest_which_broker_id: 0,
            next_begin_offset: offset + 1,
            min_offset: 2,
            max_offset: 9,
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        };
        let code = match offset {
            3 => ResponseCode::Success,
            9 => ResponseCode::PullNotFound,
            5 => ResponseCode::PullRetryImmediately,
            0 => ResponseCode::PullOffsetMoved,
            _ => return exchange.fail(ResponseCode::NoPermission, "not yours"),
        };
        let mut body = Vec::new();
        let host = "127.0.0.1:1".parse().unwrap();
        let record = RecordFields {
            queue_id: QueueId(1),
            flag: 0,
            queue_offset: QueueOffset(3),
            position: LogPosition(0),
            sys_flag: 0,
            born_ms: 0,
            born_host: host,
            store_ms: 0,
            store_host: host,
            reconsume_times: 0,
            prepared_position: 0,
            body: b"hello",
            topic: "t",
            properties: b"",
        };
        record.encode(&mut body).unwrap();
        exchange.reply(
            code,
            None,
            &reply,
            if code == ResponseCode::Success {
                &body
            } else {
                b""
            },
        );
    })
    .await;
    let names = name_server(&[("a", &broker)], false).await;
    let client = connect(&names).await;
    let queue = Queue::new("t", "a", 1);
    for (offset, status) in [
        (3, PullStatus::Found),
        (9, PullStatus::NoNewMessage),
        (5, PullStatus::NoMatch),
        (0, PullStatus::OffsetMoved),
    ] {
        let pulled = client
            .pull(&queue, offset, &PullOptions::default())
            .await
            .unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (status, offset + 1));
        assert_eq!((pulled.min_offset, pulled.max_offset), (2, 9));
        assert_eq!(
            pulled.messages.len(),
            usize::from(status == PullStatus::Found)
        );
        assert!(
            pulled
                .messages
                .iter()
                .all(|message| message.body() == "hello" && message.queue() == &queue)
        );
    }
    assert_eq!(
        client
            .pull(&queue, 7, &PullOptions::default())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Denied
    );
    let elsewhere = Queue::new("t", "z", 0);
    assert_eq!(
        client
            .pull(&elsewhere, 0, &PullOptions::default())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NoRoute
    );
}

#[tokio::test]
async fn members_are_told_of_changes_and_come_back_after_a_lost_connection() {
    let (beats, mut heartbeats) = mpsc::unbounded_channel::<(HeartbeatData, Arc<Peer>)>();
    let (leaves, mut left) = mpsc::unbounded_channel();
    let broker = server(move |code, exchange| match code {
        RequestCode::HeartBeat => {
            beats
                .send((
                    HeartbeatData::from_json(exchange.body).unwrap(),
                    Arc::clone(exchange.peer),
                ))
                .unwrap();
            exchange.ok(&());
        }
        RequestCode::GetConsumerListByGroup => {
            let list = ConsumerList {
                consumer_id_list: vec!["me".to_owned()],
            };
            exchange.ok_body(&(), &list.to_json());
        }
        RequestCode::UnregisterClient => {
            leaves
                .send(
                    exchange
                        .header
                        .fields
                        .get("consumerGroup")
                        .unwrap()
                        .to_string(),
                )
                .unwrap();
            exchange.ok(&());
        }
        other => panic!("{other}"),
    })
    .await;
    let names = name_server(&[("a", &broker)], false).await;
    let client = connect(&names).await;
    let mut member = client
        .member_of("g")
        .subscribe("t", "A || B")
        .join()
        .await
        .unwrap();
    let (beat, peer) = heartbeats.recv().await.unwrap();
    assert_eq!(beat.client_id, client.id());
    let topics: Vec<_> = beat.consumer_data_set[0]
        .subscription_data_set
        .iter()
        .map(|s| s.topic.as_str())
        .collect();
    assert_eq!(topics, ["t", "%RETRY%g"]);

    let notice = NotifyConsumerIdsChanged {
        consumer_group: "g".into(),
    };
    peer.request_one_way(NotifyConsumerIdsChanged::CODE.as_i32(), &notice, b"")
        .unwrap();
    member.changed().await;
    assert_eq!(member.members().await.unwrap(), ["me"]);

    peer.close(CloseReason::Local("the test wants it"));
    let (_, again) = heartbeats.recv().await.unwrap();
    assert_ne!(again.id(), peer.id());
    again
        .request_one_way(NotifyConsumerIdsChanged::CODE.as_i32(), &notice, b"")
        .unwrap();
    member.changed().await;

    member.leave().await;
    assert_eq!(left.recv().await.unwrap(), "g");
    client.shutdown().await;
}
