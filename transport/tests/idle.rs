//! 2,000 idle connections: everybody is still served, and memory stays small. Alone in its process, which it measures.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::CommandHead;
use rmq_transport::{Exchange, Peer, Reply, ServerConfig, Service, bind, serve};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Echo {
    open: AtomicUsize,
}

impl Service for Echo {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let body = exchange.body.to_vec();
        exchange.ok_body(&(), &body);
    }

    fn connected(&self, _: &Arc<Peer>) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn idle_connections_cost_little() {
    const CONNECTIONS: usize = 2_000;
    let (soft, hard) = {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        (limit.current.unwrap_or(u64::MAX), limit.maximum)
    };
    if soft < 2 * CONNECTIONS as u64 + 200 {
        let raised = rustix::process::Rlimit {
            current: hard,
            maximum: hard,
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (listener, addr) = runtime.block_on(bind("127.0.0.1:0")).unwrap();
    let addr = addr.to_string();
    let service = Arc::new(Echo::default());
    let shutdown = CancellationToken::new();
    let server = {
        let (service, shutdown) = (Arc::clone(&service), shutdown.clone());
        std::thread::spawn(move || {
            runtime.block_on(serve(
                listener,
                service,
                ServerConfig::new("test"),
                shutdown,
            ))
        })
    };
    let mut request = BytesMut::new();
    let head = CommandHead::request(10, 1);
    frame::encode_frame(
        &mut request,
        HeaderEncoding::Json,
        &head,
        &(),
        &[b'x'; 2_000],
    );
    let ask = |stream: &mut std::net::TcpStream| {
        stream.write_all(&request).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut rest = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut rest).unwrap();
    };
    let open = || {
        let mut stream = std::net::TcpStream::connect(&addr).unwrap();
        ask(&mut stream);
        stream
    };
    // The first ones warm up what all share.
    let mut streams: Vec<std::net::TcpStream> = (0..100).map(|_| open()).collect();
    let before = anonymous_bytes();
    streams.extend((0..CONNECTIONS - 100).map(|_| open()));
    let each = anonymous_bytes().saturating_sub(before) / (CONNECTIONS as u64 - 100);
    assert_eq!(service.open.load(Ordering::SeqCst), CONNECTIONS);
    for stream in &mut streams {
        ask(stream);
    }
    assert!(each <= 8 * 1_024, "an idle connection costs {each} bytes");
    drop(streams);
    shutdown.cancel();
    assert_eq!(server.join().unwrap().accepted, CONNECTIONS as u64);
}

/// Resident anonymous memory of this process.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1_024
}
