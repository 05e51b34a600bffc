//! The server over real sockets: limits, hostile peers, many idle connections, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::frame::{self, HeaderEncoding, Split};
use rmq_protocol::header::{CommandHead, FLAG_RESPONSE, Header};
use rmq_protocol::limits::FrameLimits;
use rmq_transport::{
    Exchange, Peer, PeerCallError, PendingReply, Reply, ServeReport, ServerConfig, Service,
    TransportLimits, bind, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const ECHO: i32 = 10;
const PARK: i32 = 11;

/// Echoes, or parks and hands the pending reply to the test.
struct Echo {
    parked: mpsc::UnboundedSender<PendingReply>,
    peers: Mutex<Vec<Arc<Peer>>>,
    open: AtomicUsize,
    closed: mpsc::UnboundedSender<u64>,
}

impl Service for Echo {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        match exchange.header.code {
            ECHO => {
                let body = exchange.body.to_vec();
                exchange.ok_body(&(), &body);
            }
            PARK => {
                self.parked.send(exchange.park()).unwrap();
            }
            code => exchange.fail(
                ResponseCode::RequestCodeNotSupported,
                format!("code {code}"),
            ),
        }
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.peers.lock().push(Arc::clone(peer));
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        // The test may have ended.
        let _ = self.closed.send(peer.id());
    }
}

struct Running {
    addr: SocketAddr,
    service: Arc<Echo>,
    parked: mpsc::UnboundedReceiver<PendingReply>,
    closed: mpsc::UnboundedReceiver<u64>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<ServeReport>,
}

async fn start(change: impl FnOnce(&mut ServerConfig)) -> Running {
    let mut config = ServerConfig::new("test");
    change(&mut config);
    let (listener, addr) = bind("127.0.0.1:0").await.unwrap();
    let (parked_sender, parked) = mpsc::unbounded_channel();
    let (closed_sender, closed) = mpsc::unbounded_channel();
    let service = Arc::new(Echo {
        parked: parked_sender,
        peers: Mutex::default(),
        open: AtomicUsize::new(0),
        closed: closed_sender,
    });
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(
        listener,
        Arc::clone(&service),
        config,
        shutdown.clone(),
    ));
    Running {
        addr,
        service,
        parked,
        closed,
        shutdown,
        task,
    }
}

impl Running {
    async fn connect(&self) -> Wire {
        Wire {
            stream: TcpStream::connect(self.addr).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    async fn stop(self) -> ServeReport {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

struct Wire {
    stream: TcpStream,
    input: BytesMut,
}

#[derive(Debug, PartialEq)]
struct Frame {
    code: i32,
    opaque: i32,
    is_response: bool,
    body: Vec<u8>,
}

impl Wire {
    async fn send(&mut self, head: &CommandHead, body: &[u8]) {
        self.stream.write_all(&encode(head, body)).await.unwrap();
    }

    /// The next frame; `None` when the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        let limits = FrameLimits::default();
        loop {
            let step = match frame::split(&self.input, &limits).unwrap() {
                Split::Frame { frame, consumed } => {
                    let header = Header::decode(frame.encoding, frame.header, &limits).unwrap();
                    let frame = Frame {
                        code: header.code,
                        opaque: header.opaque,
                        is_response: header.is_response(),
                        body: frame.body.to_vec(),
                    };
                    Some((frame, consumed))
                }
                Split::Need { .. } => None,
            };
            if let Some((frame, consumed)) = step {
                let _ = self.input.split_to(consumed);
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn ask(&mut self, code: i32, opaque: i32, body: &[u8]) -> Frame {
        self.send(&CommandHead::request(code, opaque), body).await;
        self.next().await.expect("an answer")
    }
}

fn encode(head: &CommandHead, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame::encode_frame(&mut out, HeaderEncoding::Json, head, &(), body);
    out
}

#[tokio::test]
async fn parked_requests_are_answered_in_any_order_while_others_go_on() {
    let mut server = start(|_| {}).await;
    let mut wire = server.connect().await;
    let mut waiting = Vec::new();
    for opaque in 0..20 {
        wire.send(&CommandHead::request(PARK, opaque), b"").await;
        waiting.push(server.parked.recv().await.unwrap());
    }
    assert_eq!(wire.ask(ECHO, 100, b"between").await.body, b"between");
    for (place, pending) in waiting.into_iter().rev().enumerate() {
        // From another thread, as the store's threads do.
        std::thread::spawn(move || pending.ok_body(&(), b"late"))
            .join()
            .unwrap();
        let frame = wire.next().await.unwrap();
        assert_eq!((frame.opaque, frame.code), (19 - place as i32, 0));
    }
    drop(wire);
    server.closed.recv().await.unwrap();
    assert_eq!(server.stop().await.cut, 0);
}

#[tokio::test]
async fn both_sides_may_use_the_same_opaques() {
    let mut server = start(|_| {}).await;
    let mut wire = server.connect().await;
    wire.send(&CommandHead::request(PARK, 0), b"").await;
    let pending = server.parked.recv().await.unwrap();
    let peer = Arc::clone(pending.peer());
    let call =
        tokio::spawn(async move { peer.call(220, &(), b"?", Duration::from_secs(30)).await });
    let asked = wire.next().await.unwrap();
    assert!(!asked.is_response);
    assert_eq!((asked.code, asked.body.as_slice()), (220, b"?".as_slice()));
    // The client asks with the opaque that the server's own request has.
    assert_eq!(wire.ask(ECHO, asked.opaque, b"mine").await.body, b"mine");
    wire.send(&CommandHead::response(0, asked.opaque), b"yours")
        .await;
    assert_eq!(&call.await.unwrap().unwrap().body()[..], b"yours");
    pending.ok(&());
    assert_eq!(wire.next().await.unwrap().opaque, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_call_to_a_client_that_leaves_fails_at_once() {
    let mut server = start(|_| {}).await;
    let mut wire = server.connect().await;
    assert_eq!(wire.ask(ECHO, 1, b"").await.code, 0);
    let peer = Arc::clone(&server.service.peers.lock()[0]);
    let calling = Arc::clone(&peer);
    let call = tokio::spawn(async move {
        calling
            .call(220, &(), b"", Duration::from_secs(3_600))
            .await
    });
    assert_eq!(wire.next().await.unwrap().code, 220);
    drop(wire);
    assert_eq!(call.await.unwrap().unwrap_err(), PeerCallError::Lost);
    server.closed.recv().await.unwrap();
    let later = peer.call(220, &(), b"", Duration::from_secs(1)).await;
    assert_eq!(later.unwrap_err(), PeerCallError::Closed);
    assert_eq!(
        peer.request_one_way(40, &(), b""),
        Err(PeerCallError::Closed)
    );
    server.stop().await;
}

#[tokio::test]
async fn hostile_peers_lose_their_connection_and_others_do_not_notice() {
    let mut server = start(|_| {}).await;
    let mut good = server.connect().await;
    let mut deep =
        br#"{"code":10,"opaque":1,"flag":0,"language":"JAVA","version":0,"extFields":"#.to_vec();
    deep.extend(std::iter::repeat_n(b'[', 60_000));
    let mut deep_frame = ((deep.len() + 4) as u32).to_be_bytes().to_vec();
    deep_frame.extend((deep.len() as u32).to_be_bytes());
    deep_frame.extend(deep);
    let attacks: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        vec![0x16, 3, 1, 0, 0xa0, 1, 0, 0, 0x9c],
        deep_frame,
        [0, 0, 0, 20, 1, 0, 0, 16]
            .iter()
            .copied()
            .chain([0xff; 16])
            .collect(),
    ];
    for attack in &attacks {
        let mut bad = server.connect().await;
        // The server may close before all of it is sent.
        let _ = bad.stream.write_all(attack).await;
        assert_eq!(bad.next().await, None);
        server.closed.recv().await.unwrap();
        assert_eq!(good.ask(ECHO, 1, b"still here").await.body, b"still here");
    }
    assert_eq!(server.service.open.load(Ordering::SeqCst), 1);
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_until_one_leaves() {
    let mut server = start(|config| config.limits.connections_max = 2).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    assert_eq!(first.ask(ECHO, 1, b"").await.code, 0);
    assert_eq!(second.ask(ECHO, 1, b"").await.code, 0);
    let mut third = server.connect().await;
    assert_eq!(third.next().await, None);
    drop(first);
    server.closed.recv().await.unwrap();
    let mut fourth = server.connect().await;
    assert_eq!(fourth.ask(ECHO, 1, b"").await.code, 0);
    drop((second, third, fourth));
    let report = server.stop().await;
    assert_eq!((report.accepted, report.refused), (3, 1));
}

#[tokio::test]
async fn a_drain_answers_what_is_parked_and_accepts_nothing_new() {
    let mut server = start(|config| config.drain_timeout = Duration::from_secs(3_600)).await;
    let mut busy = server.connect().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(ECHO, 1, b"").await.code, 0);
    busy.send(&CommandHead::request(PARK, 7), b"").await;
    let pending = server.parked.recv().await.unwrap();
    server.shutdown.cancel();
    // The idle connection ends at once, the busy one after its answer.
    assert_eq!(idle.next().await, None);
    assert!(TcpStream::connect(server.addr).await.is_err());
    pending.ok_body(&(), b"in time");
    assert_eq!(busy.next().await.unwrap().body, b"in time");
    assert_eq!(busy.next().await, None);
    let report = server.task.await.unwrap();
    assert_eq!((report.accepted, report.cut), (2, 0));
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut server = start(|config| config.drain_timeout = Duration::from_millis(10)).await;
    let mut busy = server.connect().await;
    busy.send(&CommandHead::request(PARK, 7), b"").await;
    let pending = server.parked.recv().await.unwrap();
    server.shutdown.cancel();
    let report = server.task.await.unwrap();
    assert_eq!(report.cut, 1);
    assert_eq!(busy.next().await, None);
    // Too late, and no harm.
    pending.ok(&());
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_others_are_served_meanwhile() {
    let server = start(|config| {
        config.limits = TransportLimits {
            out_bytes_pause: 256 * 1024,
            ..TransportLimits::default()
        };
    })
    .await;
    let slow = server.connect().await;
    let (mut read, mut write) = slow.stream.into_split();
    let body = vec![b'x'; 64 * 1024];
    let sending = tokio::spawn(async move {
        for opaque in 0..500 {
            let bytes = encode(&CommandHead::request(ECHO, opaque), &body);
            write.write_all(&bytes).await.unwrap();
        }
        write
    });
    let mut other = server.connect().await;
    for opaque in 0..100 {
        assert_eq!(other.ask(ECHO, opaque, b"quick").await.body, b"quick");
    }
    // 32 MB do not fit into the sockets' buffers, so the sender is held back until somebody reads.
    assert!(!sending.is_finished());
    let one = encode(&CommandHead::response(0, 0), &vec![b'x'; 64 * 1024]).len();
    let mut received = vec![0; 64 * 1024];
    let mut bytes = 0;
    while bytes < 500 * one {
        bytes += read.read(&mut received).await.unwrap();
    }
    drop(sending.await.unwrap());
    server.stop().await;
}

#[tokio::test]
async fn a_response_flag_from_nowhere_changes_nothing() {
    let server = start(|_| {}).await;
    let mut wire = server.connect().await;
    let mut head = CommandHead::request(ECHO, 5);
    head.flag = FLAG_RESPONSE;
    wire.send(&head, b"").await;
    assert_eq!(wire.ask(ECHO, 6, b"").await.opaque, 6);
    server.stop().await;
}
