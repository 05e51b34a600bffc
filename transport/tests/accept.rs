//! Handshakes on a port that serves plain TCP too: a handshake of one line, `#name\n`, and a stream that keeps back what is not flushed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rmq_protocol::frame::{self, HeaderEncoding, Split};
use rmq_protocol::header::CommandHead;
use rmq_protocol::limits::FrameLimits;
use rmq_transport::{
    Exchange, Handshake, Identity, ManualClock, Peer, Reply, ServeReport, ServerConfig, Service,
    bind, serve_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Answers with the identity of the peer.
struct WhoAmI {
    closed: mpsc::UnboundedSender<Identity>,
}

impl Service for WhoAmI {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let name = match exchange.peer.identity() {
            Identity::Certificate(subject) => subject.to_string(),
            other => format!("{other:?}"),
        };
        exchange.ok_body(&(), name.as_bytes());
    }

    fn closed(&self, peer: &Arc<Peer>) {
        // The test may have ended.
        let _ = self.closed.send(peer.identity().clone());
    }
}

struct OneLine {
    /// Told of each handshake that begins.
    begins: mpsc::UnboundedSender<()>,
    /// What a handshake waits for.
    go: Arc<Semaphore>,
    takes_plain: bool,
}

impl Handshake for OneLine {
    const EXISTS: bool = true;

    /// Keeps back far more than these tests send.
    type Stream = BufWriter<TcpStream>;

    fn starts_with(&self, first: u8) -> io::Result<bool> {
        match first {
            b'#' => Ok(true),
            _ if self.takes_plain => Ok(false),
            _ => Err(io::Error::other("no plain connections here")),
        }
    }

    async fn shake(&self, mut socket: TcpStream) -> io::Result<(Self::Stream, Identity)> {
        self.begins.send(()).map_err(io::Error::other)?;
        let go = self.go.acquire().await.map_err(io::Error::other)?;
        go.forget();
        let mut line = Vec::new();
        loop {
            match socket.read_u8().await? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        let name = String::from_utf8(line).map_err(io::Error::other)?;
        let subject = Arc::from(name.trim_start_matches('#'));
        let stream = BufWriter::with_capacity(1 << 20, socket);
        Ok((stream, Identity::Certificate(subject)))
    }
}

struct Running {
    addr: SocketAddr,
    clock: ManualClock,
    begins: mpsc::UnboundedReceiver<()>,
    go: Arc<Semaphore>,
    closed: mpsc::UnboundedReceiver<Identity>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<ServeReport>,
}

async fn start(takes_plain: bool, handshakes_max: usize) -> Running {
    let clock = ManualClock::at(1_000_000);
    let mut config = ServerConfig::new("test");
    config.clock = Arc::new(clock.clone());
    config.limits.handshakes_max = handshakes_max;
    config.limits.handshake_timeout = Duration::from_secs(10);
    let (listener, addr) = bind("127.0.0.1:0").await.unwrap();
    let (begins_sender, begins) = mpsc::unbounded_channel();
    let (closed_sender, closed) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let handshake = OneLine {
        begins: begins_sender,
        go: Arc::clone(&go),
        takes_plain,
    };
    let service = Arc::new(WhoAmI {
        closed: closed_sender,
    });
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve_with(
        listener,
        handshake,
        service,
        config,
        shutdown.clone(),
    ));
    Running {
        addr,
        clock,
        begins,
        go,
        closed,
        shutdown,
        task,
    }
}

impl Running {
    async fn connect(&self, hello: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
        stream
    }

    async fn stop(self) -> ServeReport {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

/// The server's answer to "who am I?"; `None` when it closes.
async fn ask(stream: &mut TcpStream) -> Option<String> {
    let mut out = BytesMut::new();
    let head = CommandHead::request(10, 1);
    frame::encode_frame(&mut out, HeaderEncoding::Json, &head, &(), b"");
    stream.write_all(&out).await.ok()?;
    let mut input = BytesMut::new();
    loop {
        if let Split::Frame { frame, .. } =
            frame::split(&input, &FrameLimits::default()).expect("a frame")
        {
            return Some(String::from_utf8(frame.body.to_vec()).expect("a name"));
        }
        match stream.read_buf(&mut input).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn one_port_serves_both_kinds_and_knows_who_is_who() {
    let mut server = start(true, 8).await;
    server.go.add_permits(2);
    let mut first = server.connect("#billing\n").await;
    let mut plain = server.connect("").await;
    let mut second = server.connect("#orders\n").await;
    for _ in 0..3 {
        // The stream keeps the answer back until it is flushed.
        assert_eq!(ask(&mut first).await.as_deref(), Some("billing"));
        assert_eq!(ask(&mut plain).await.as_deref(), Some("Unknown"));
        assert_eq!(ask(&mut second).await.as_deref(), Some("orders"));
    }
    drop(first);
    let gone = server.closed.recv().await.unwrap();
    assert_eq!(gone, Identity::Certificate("billing".into()));
    drop((plain, second));
    assert_eq!(server.stop().await.accepted, 3);
}

#[tokio::test]
async fn what_is_no_handshake_may_be_refused() {
    let server = start(false, 8).await;
    server.go.add_permits(1);
    let mut plain = server.connect("").await;
    assert_eq!(ask(&mut plain).await, None);
    let mut known = server.connect("#billing\n").await;
    assert_eq!(ask(&mut known).await.as_deref(), Some("billing"));
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_or_fails_ends_its_connection_and_no_other() {
    let mut server = start(true, 8).await;
    server.go.add_permits(2);
    let mut other = server.connect("").await;
    let mut slow = server.connect("#never ends").await;
    server.begins.recv().await.unwrap();
    server.clock.advance(Duration::from_millis(9_999));
    assert_eq!(ask(&mut other).await.as_deref(), Some("Unknown"));
    server.clock.advance(Duration::from_millis(1));
    assert!(is_closed(&mut slow).await);
    let mut broken = server.connect("#\u{0}").await;
    server.begins.recv().await.unwrap();
    broken.shutdown().await.unwrap();
    assert!(is_closed(&mut broken).await);
    assert_eq!(ask(&mut other).await.as_deref(), Some("Unknown"));
    server.stop().await;
}

#[tokio::test]
async fn handshakes_in_flight_are_bounded_and_hold_up_nobody_else() {
    let mut server = start(true, 2).await;
    // A peer that says nothing takes no place.
    let silent = server.connect("").await;
    let mut waiting = Vec::new();
    for name in ["a", "b", "c", "d"] {
        waiting.push((name, server.connect(&format!("#{name}\n")).await));
    }
    server.begins.recv().await.unwrap();
    server.begins.recv().await.unwrap();
    let mut plain = server.connect("").await;
    assert_eq!(ask(&mut plain).await.as_deref(), Some("Unknown"));
    assert!(server.begins.try_recv().is_err(), "two places");
    server.go.add_permits(1);
    server.begins.recv().await.unwrap();
    assert!(server.begins.try_recv().is_err());
    server.go.add_permits(3);
    for (name, stream) in &mut waiting {
        assert_eq!(ask(stream).await.as_deref(), Some(*name));
    }
    drop(silent);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_no_handshake() {
    let mut server = start(true, 1).await;
    let mut silent = server.connect("").await;
    let mut shaking = server.connect("#").await;
    let mut behind = server.connect("#b\n").await;
    server.begins.recv().await.unwrap();
    server.shutdown.cancel();
    let report = server.task.await.unwrap();
    assert_eq!(report.cut, 0);
    for stream in [&mut silent, &mut shaking, &mut behind] {
        assert!(is_closed(stream).await);
    }
}
