//! Callers on in-memory streams: the test holds the other end of every connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::frame::{self, HeaderEncoding, Split};
use rmq_protocol::header::{CommandHead, Header};
use rmq_protocol::limits::FrameLimits;
use rmq_transport::{
    CallError, Caller, CallerConfig, CallerEvent, ConnectFuture, Connector, Exchange,
    IncomingRequests, RefuseIncoming, Reply, Stream, TcpConnector,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(3_600);

/// Hands the other end of each connection to the test, or refuses while told to.
struct Pipes {
    made: mpsc::UnboundedSender<DuplexStream>,
    attempts: AtomicUsize,
    refusing: Mutex<bool>,
}

impl Connector for Pipes {
    fn connect<'a>(&'a self, _addr: &'a str) -> ConnectFuture<'a> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let outcome = if *self.refusing.lock() {
            Err(io::ErrorKind::ConnectionRefused.into())
        } else {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            self.made.send(theirs).unwrap();
            Ok(Box::new(ours) as Box<dyn Stream>)
        };
        Box::pin(std::future::ready(outcome))
    }
}

struct Bench {
    caller: Caller,
    pipes: Arc<Pipes>,
    made: mpsc::UnboundedReceiver<DuplexStream>,
}

fn bench(config: CallerConfig, incoming: Arc<dyn IncomingRequests>) -> Bench {
    let (sender, made) = mpsc::unbounded_channel();
    let pipes = Arc::new(Pipes {
        made: sender,
        attempts: AtomicUsize::new(0),
        refusing: Mutex::new(false),
    });
    let connector: Arc<dyn Connector> = pipes.clone();
    Bench {
        caller: Caller::new("broker:10911", connector, config, incoming),
        pipes,
        made,
    }
}

fn plain() -> Bench {
    bench(CallerConfig::default(), Arc::new(RefuseIncoming))
}

impl Bench {
    fn call(
        &self,
        body: &'static [u8],
        timeout: Duration,
    ) -> tokio::task::JoinHandle<Result<rmq_transport::OwnedFrame, CallError>> {
        let caller = self.caller.clone();
        tokio::spawn(async move { caller.call(10, &(), body, timeout).await })
    }

    async fn server(&mut self) -> Server {
        Server {
            stream: self.made.recv().await.unwrap(),
            input: BytesMut::new(),
        }
    }
}

/// The test's end of a connection.
struct Server {
    stream: DuplexStream,
    input: BytesMut,
}

impl Server {
    /// Code, opaque and body of the next frame.
    async fn next(&mut self) -> Option<(i32, i32, Vec<u8>)> {
        let limits = FrameLimits::default();
        loop {
            let step = match frame::split(&self.input, &limits).unwrap() {
                Split::Frame { frame, consumed } => {
                    let header = Header::decode(frame.encoding, frame.header, &limits).unwrap();
                    Some((header.code, header.opaque, frame.body.to_vec(), consumed))
                }
                Split::Need { .. } => None,
            };
            if let Some((code, opaque, body, consumed)) = step {
                let _ = self.input.split_to(consumed);
                return Some((code, opaque, body));
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, head: &CommandHead, body: &[u8]) {
        let mut out = BytesMut::new();
        frame::encode_frame(&mut out, HeaderEncoding::Binary, head, &(), body);
        self.stream.write_all(&out).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_connected_before_the_first_call_and_all_calls_share_it() {
    let mut bench = plain();
    assert_eq!(bench.pipes.attempts.load(Ordering::SeqCst), 0);
    let calls: Vec<_> = (0..50).map(|_| bench.call(b"hello", LONG)).collect();
    let mut server = bench.server().await;
    let mut asked = Vec::new();
    for _ in 0..50 {
        asked.push(server.next().await.unwrap());
    }
    // Answered in another order, each with its own number.
    for (_, opaque, body) in asked.iter().rev() {
        assert_eq!(body, b"hello");
        server
            .send(&CommandHead::response(0, *opaque), &opaque.to_be_bytes())
            .await;
    }
    let mut bodies = Vec::new();
    for call in calls {
        bodies.push(call.await.unwrap().unwrap().body().to_vec());
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 50);
    assert_eq!(bench.pipes.attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_with_an_error_code_is_an_answer() {
    let mut bench = plain();
    let call = bench.call(b"", LONG);
    let mut server = bench.server().await;
    let (_, opaque, _) = server.next().await.unwrap();
    let head = CommandHead::response(17, opaque).with_remark("no such topic");
    server.send(&head, b"").await;
    let frame = call.await.unwrap().unwrap();
    assert_eq!(frame.code(), 17);
    assert!(frame.header().remark.unwrap().eq_str("no such topic"));
}

#[tokio::test]
async fn large_answers_arrive_whole_whatever_comes_before_and_after_them() {
    const LARGE: usize = 700_000;
    let mut bench = plain();
    let calls: Vec<_> = (0..6).map(|_| bench.call(b"", LONG)).collect();
    let mut server = bench.server().await;
    // Sizes around those that the reader keeps, copies and gives away.
    let sizes = [0, LARGE, 3, LARGE + 1, 65_536, 65_500];
    let mut sent = std::collections::BTreeMap::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let (_, opaque, _) = server.next().await.unwrap();
        let body: Vec<u8> = (0..size).map(|byte| (byte * 7 + number) as u8).collect();
        sent.insert(opaque, body);
    }
    for (opaque, body) in &sent {
        let head = CommandHead::response(opaque + 100, *opaque).with_remark("large");
        server.send(&head, body).await;
    }
    for call in calls {
        let frame = call.await.unwrap().unwrap();
        assert!(frame.header().remark.unwrap().eq_str("large"));
        let opaque = frame.header().opaque;
        assert_eq!(frame.code(), opaque + 100);
        assert_eq!(
            Some(&frame.body()[..]),
            sent.get(&opaque).map(|body| &body[..])
        );
    }
}

#[tokio::test]
async fn a_cut_connection_fails_what_is_in_flight_at_once_and_the_next_call_connects_again() {
    let mut bench = plain();
    let mut events = bench.caller.events();
    let calls: Vec<_> = (0..3).map(|_| bench.call(b"", LONG)).collect();
    let mut server = bench.server().await;
    for _ in 0..3 {
        server.next().await.unwrap();
    }
    drop(server);
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::Lost { .. }), "{error}");
        assert!(error.may_have_been_processed());
    }
    events
        .wait_for(|event| *event == CallerEvent::Disconnected)
        .await
        .unwrap();
    let again = bench.call(b"", LONG);
    let mut server = bench.server().await;
    let (_, opaque, _) = server.next().await.unwrap();
    server.send(&CommandHead::response(0, opaque), b"").await;
    assert_eq!(again.await.unwrap().unwrap().code(), 0);
    assert_eq!(*events.borrow(), CallerEvent::Connected(2));
}

#[tokio::test(start_paused = true)]
async fn a_call_times_out_and_its_late_answer_is_nobodys() {
    let mut bench = plain();
    let first = bench.call(b"", Duration::from_secs(3));
    let mut server = bench.server().await;
    let (_, late, _) = server.next().await.unwrap();
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert!(error.may_have_been_processed());
    server.send(&CommandHead::response(0, late), b"late").await;
    let second = bench.call(b"", LONG);
    let (_, opaque, _) = server.next().await.unwrap();
    assert_ne!(opaque, late);
    server
        .send(&CommandHead::response(0, opaque), b"mine")
        .await;
    assert_eq!(&second.await.unwrap().unwrap().body()[..], b"mine");
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_spaced_and_calls_meanwhile_fail_fast() {
    let mut bench = plain();
    *bench.pipes.refusing.lock() = true;
    let start = tokio::time::Instant::now();
    for _ in 0..1_000 {
        let error = bench.caller.call(10, &(), b"", LONG).await.unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
        assert!(!error.may_have_been_processed());
    }
    assert_eq!(bench.pipes.attempts.load(Ordering::SeqCst), 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // Each failure doubles the pause up to its limit; half of it at least is kept whatever the jitter.
    let mut before = 1;
    while start.elapsed() < Duration::from_secs(60) {
        tokio::time::advance(Duration::from_millis(25)).await;
        bench.caller.call(10, &(), b"", LONG).await.unwrap_err();
        let attempts = bench.pipes.attempts.load(Ordering::SeqCst);
        assert!(attempts - before <= 1);
        before = attempts;
    }
    assert!((30..=70).contains(&before), "{before} attempts in a minute");
    *bench.pipes.refusing.lock() = false;
    tokio::time::advance(Duration::from_secs(2)).await;
    let call = bench.call(b"", LONG);
    let mut server = bench.server().await;
    let (_, opaque, _) = server.next().await.unwrap();
    server.send(&CommandHead::response(0, opaque), b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_bounded() {
    let config = CallerConfig {
        in_flight_max: 2,
        ..CallerConfig::default()
    };
    let mut bench = bench(config, Arc::new(RefuseIncoming));
    let waiting: Vec<_> = (0..2).map(|_| bench.call(b"", LONG)).collect();
    let mut server = bench.server().await;
    let first = server.next().await.unwrap().1;
    server.next().await.unwrap();
    let error = bench
        .caller
        .call(10, &(), b"", Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    assert!(!error.may_have_been_processed());
    server.send(&CommandHead::response(0, first), b"").await;
    let third = bench.call(b"third", LONG);
    assert_eq!(server.next().await.unwrap().2, b"third");
    for call in waiting.into_iter().chain([third]) {
        call.abort();
    }
}

/// Answers by itself and counts.
#[derive(Default)]
struct Notices(AtomicUsize);

impl IncomingRequests for Notices {
    fn request(&self, exchange: &mut Exchange<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        exchange.reply(ResponseCode::Success, None, &(), b"noted");
    }
}

#[tokio::test]
async fn the_server_may_ask_too() {
    let notices = Arc::new(Notices::default());
    let mut bench = bench(CallerConfig::default(), notices.clone());
    let call = bench.call(b"", LONG);
    let mut server = bench.server().await;
    let (_, opaque, _) = server.next().await.unwrap();
    server.send(&CommandHead::one_way(40, opaque), b"").await;
    server.send(&CommandHead::request(307, opaque), b"").await;
    let (code, answered, body) = server.next().await.unwrap();
    assert_eq!(
        (code, answered, body.as_slice()),
        (0, opaque, b"noted".as_slice())
    );
    assert_eq!(notices.0.load(Ordering::SeqCst), 2);
    server.send(&CommandHead::response(0, opaque), b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_a_client_does_not_know_are_refused() {
    let mut bench = plain();
    let call = bench.call(b"", LONG);
    let mut server = bench.server().await;
    let (_, opaque, _) = server.next().await.unwrap();
    server.send(&CommandHead::request(220, 9), b"").await;
    assert_eq!(server.next().await.unwrap().0, 3);
    server.send(&CommandHead::response(0, opaque), b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_fails_calls_before_and_after() {
    let mut bench = plain();
    let before = bench.call(b"", LONG);
    let mut server = bench.server().await;
    server.next().await.unwrap();
    bench.caller.close();
    let error = before.await.unwrap().unwrap_err();
    assert!(error.may_have_been_processed(), "{error}");
    let after = bench.caller.call(10, &(), b"", LONG).await.unwrap_err();
    assert!(matches!(after, CallError::Closed { .. }), "{after}");
    assert_eq!(server.next().await, None);
    assert_eq!(*bench.caller.events().borrow(), CallerEvent::Closed);
}

#[tokio::test]
async fn the_last_clone_closes_the_connection() {
    let mut bench = plain();
    bench.caller.one_way(34, &(), b"bye", LONG).await.unwrap();
    let mut server = bench.server().await;
    assert_eq!(server.next().await.unwrap().2, b"bye");
    drop(bench.caller);
    assert_eq!(server.next().await, None);
}

#[tokio::test]
async fn tcp_refusal_is_a_connect_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    drop(free);
    let caller = Caller::new(
        addr,
        Arc::new(TcpConnector),
        CallerConfig::default(),
        Arc::new(RefuseIncoming),
    );
    let error = caller.call(10, &(), b"", LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("cannot connect to 127.0.0.1:"));
}

/// What the silent connection of a bench is asked with.
const PROBE: i32 = 28;

fn probing() -> Bench {
    let config = CallerConfig {
        probe: Some(PROBE),
        ..CallerConfig::default()
    };
    bench(config, Arc::new(RefuseIncoming))
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_left_when_the_server_answers_on_another_one() {
    let mut bench = probing();
    let late = bench.call(b"first", Duration::from_secs(3));
    let waits = bench.call(b"waits", LONG);
    let mut hole = bench.server().await;
    for _ in 0..2 {
        hole.next().await.unwrap();
    }
    let late = late.await.unwrap().unwrap_err();
    assert!(matches!(late, CallError::Timeout { .. }), "{late}");
    let mut other = bench.server().await;
    let (code, opaque, _) = other.next().await.unwrap();
    assert_eq!(code, PROBE);
    // A refusal is an answer.
    other.send(&CommandHead::response(3, opaque), b"").await;
    // What waits on the silent one does not wait for long.
    let lost = waits.await.unwrap().unwrap_err();
    assert!(matches!(lost, CallError::Lost { .. }), "{lost}");
    let call = bench.call(b"second", LONG);
    let (_, opaque, body) = other.next().await.unwrap();
    assert_eq!(body, b"second");
    other.send(&CommandHead::response(0, opaque), b"").await;
    assert_eq!(call.await.unwrap().unwrap().code(), 0);
    assert_eq!(bench.caller.connections(), 2);
    assert_eq!(hole.next().await.map(|(code, ..)| code), Some(PROBE));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_keeps_its_connection() {
    let mut bench = probing();
    let late = bench.call(b"slow", Duration::from_secs(3));
    let waits = bench.call(b"waits", LONG);
    let mut server = bench.server().await;
    server.next().await.unwrap();
    let (_, waiting, _) = server.next().await.unwrap();
    late.await.unwrap().unwrap_err();
    let (code, opaque, _) = server.next().await.unwrap();
    assert_eq!(code, PROBE);
    server.send(&CommandHead::response(0, opaque), b"").await;
    server.send(&CommandHead::response(0, waiting), b"").await;
    assert_eq!(waits.await.unwrap().unwrap().code(), 0);
    assert_eq!(bench.pipes.attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_reaches_is_tried_until_it_answers_somewhere() {
    let mut bench = probing();
    let late = bench.call(b"first", Duration::from_secs(3));
    let mut hole = bench.server().await;
    hole.next().await.unwrap();
    *bench.pipes.refusing.lock() = true;
    late.await.unwrap().unwrap_err();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(bench.caller.is_connected(), "nothing is better");
    assert!(bench.pipes.attempts.load(Ordering::SeqCst) > 5);
    *bench.pipes.refusing.lock() = false;
    let mut other = bench.server().await;
    let (code, opaque, _) = other.next().await.unwrap();
    assert_eq!(code, PROBE);
    other.send(&CommandHead::response(0, opaque), b"").await;
    let is_new = |event: &CallerEvent| *event == CallerEvent::Connected(2);
    bench.caller.events().wait_for(is_new).await.unwrap();
    let call = bench.call(b"second", LONG);
    assert_eq!(other.next().await.unwrap().2, b"second");
    call.abort();
}
