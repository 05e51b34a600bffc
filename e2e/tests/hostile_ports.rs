//! Bad input to the real ports: the servers stay up, their memory stays bounded, and the log does not drown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rmq_client::{Client, Message, PullOptions, Queue};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::process::{Process, anonymous_bytes, binary};
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{HeaderEncoding, encode_frame};
use rmq_protocol::header::CommandHead;
use rmq_protocol::requests::{PullMessage, pull_flag};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

/// Longer than the servers' time to the first frame, 15 s.
const PATIENCE: Duration = Duration::from_secs(40);
const MIB: u64 = 1 << 20;

fn connect(addr: &str) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the server closes the connection without an answer, in time.
fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A frame that claims `length` bytes, with as many of them as `sent`.
fn claim(length: u32, sent: usize) -> Vec<u8> {
    let mut frame = length.to_be_bytes().to_vec();
    // An ordinary JSON header of 100 bytes, so that only the body is missing.
    frame.extend_from_slice(&100u32.to_be_bytes());
    frame.resize(8 + sent, b' ');
    frame
}

async fn still_works(cluster: &mut Cluster) {
    assert!(cluster.broker().is_running() && cluster.name_server(0).is_running());
    let client = cluster.client().await;
    let queues = cluster.create_topic(&client, "alive", 1).await;
    let receipt = client
        .producer()
        .send_to(&queues[0], Message::new("alive", "yes"))
        .await
        .unwrap();
    let read = client.pull_all(&queues[0]).await.unwrap();
    assert_eq!(
        read[usize::try_from(receipt.queue_offset()).unwrap()].body(),
        "yes"
    );
    client.shutdown().await;
}

fn each_server(cluster: &mut Cluster, mut check: impl FnMut(&mut Process)) {
    check(cluster.broker());
    check(cluster.name_server(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_closes_its_own_connection_only() {
    let mut cluster = Cluster::start(1, FlushMode::Async);
    let mut noise = 0x9e37_79b9_u32;
    let mut random = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise
    };
    each_server(&mut cluster, |server| {
        let mut inputs: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            vec![0xff; 100],
            // Lengths: negative, zero, beyond the limit, a header longer than its frame, an unknown encoding.
            (-1i32).to_be_bytes().repeat(2),
            vec![0; 8],
            i32::MAX.to_be_bytes().repeat(2),
            [16u32.to_be_bytes(), 0x00ff_ffffu32.to_be_bytes()].concat(),
            [16u32.to_be_bytes(), 0x0900_0004u32.to_be_bytes()].concat(),
            // Whole frames whose headers are no headers.
            [
                12u32.to_be_bytes().as_slice(),
                &8u32.to_be_bytes(),
                b"not json",
            ]
            .concat(),
            [
                12u32.to_be_bytes().as_slice(),
                &0x0100_0008u32.to_be_bytes(),
                &[0xff; 8],
            ]
            .concat(),
            [
                40_004u32.to_be_bytes().as_slice(),
                &40_000u32.to_be_bytes(),
                &[b'['; 40_000],
            ]
            .concat(),
        ];
        for _ in 0..50 {
            // A first byte above 1 makes every one of them an impossible length.
            inputs.push(
                (0..64)
                    .map(|at| {
                        if at == 0 {
                            2 + (random() % 250) as u8
                        } else {
                            random() as u8
                        }
                    })
                    .collect(),
            );
        }
        for input in inputs {
            let mut stream = connect(server.addr());
            // The server may close before all is written.
            let _ = stream.write_all(&input);
            assert!(is_closed(&stream), "{:?}", &input[..input.len().min(16)]);
        }
        let lines = server.log().lines().count();
        assert!(
            lines < 60,
            "61 bad connections made {lines} lines:\n{}",
            server.log()
        );
    });
    still_works(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimed_lengths_cost_no_memory_and_slow_peers_are_closed() {
    let mut cluster = Cluster::start(1, FlushMode::Async);
    let before = [
        cluster.broker().anonymous_bytes(),
        cluster.name_server(0).anonymous_bytes(),
    ];
    let (mut open, mut silent) = (Vec::new(), Vec::new());
    let began = Instant::now();
    each_server(&mut cluster, |server| {
        for _ in 0..200 {
            // Sixteen MiB claimed, one KiB sent.
            let mut stream = connect(server.addr());
            stream.write_all(&claim(16 << 20, 1_024)).unwrap();
            open.push(stream);
        }
        // Nothing at all, and one byte.
        silent.push(connect(server.addr()));
        let mut slow = connect(server.addr());
        slow.write_all(&[0]).unwrap();
        open.push(slow);
    });
    still_works(&mut cluster).await;
    let after = [
        cluster.broker().anonymous_bytes(),
        cluster.name_server(0).anonymous_bytes(),
    ];
    for (before, after) in before.into_iter().zip(after) {
        assert!(
            after.saturating_sub(before) < 64 * MIB,
            "200 claims of 16 MiB took {} MiB",
            (after - before) / MIB
        );
    }
    for stream in &open {
        assert!(
            is_closed(stream),
            "a connection that began a frame is still open after {:?}",
            began.elapsed()
        );
    }
    // Apache's proxy keeps connections that it does not use yet: they have the idle time of two minutes.
    assert!(began.elapsed() < Duration::from_secs(60));
    for mut stream in &silent {
        stream.set_nonblocking(true).unwrap();
        let read = stream.read(&mut [0; 1]);
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    still_works(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_idle_connections_cost_little() {
    const CONNECTIONS: usize = 2_000;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    still_works(&mut cluster).await;
    let mut open = Vec::new();
    let header = br#"{"code":9999,"flag":0,"language":"JAVA","opaque":1,"version":513}"#;
    let length = u32::try_from(header.len()).unwrap();
    let request = [
        (4 + length).to_be_bytes().as_slice(),
        &length.to_be_bytes(),
        header,
    ]
    .concat();
    each_server(&mut cluster, |server| {
        let before = server.anonymous_bytes();
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(server.addr());
            // One request each: a connection that never spoke is closed soon.
            stream.write_all(&request).unwrap();
            idle.push(stream);
        }
        for stream in &mut idle {
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).unwrap();
        }
        let each = server.anonymous_bytes().saturating_sub(before) / CONNECTIONS as u64;
        assert!(each <= 8 * 1024, "an idle connection costs {each} bytes");
        open.extend(idle);
    });
    still_works(&mut cluster).await;
}

/// `memoryBytes` of the broker below: the least that there is.
const MEMORY_BYTES: u64 = 64 * MIB;
/// What docs/reference/limits.md leaves to everything that `memoryBytes` does not bound.
const BESIDE_BYTES: u64 = 64 * MIB;
/// `pullBytesMax`, the most that there is.
const ANSWER_BYTES: u64 = 12 * MIB;
/// Readers that read nothing, and that read slowly. What they ask for at once is more than twice of what the broker may hold.
const MUTE: usize = 6;
const SLOW: usize = 8;
/// Pulls that each of them sends at once.
const PULLS: usize = 2;
/// The C library keeps freed buffers below a size that it adapts (`mallopt(3)`), up to 32 MiB a piece and thread. What the broker holds is
/// seen when it gives back those from this size on, as the image has it.
const GIVEN_BACK: [(&str, &str); 1] = [("MALLOC_MMAP_THRESHOLD_", "1048576")];
/// For a small request while memory is short, with a debug build on a busy machine.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// For the readers altogether: pairs of mute ones are closed every 10 s.
const READ_WITHIN: Duration = Duration::from_secs(180);

/// Looks at the memory of a process all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn begin(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(Ordering::Relaxed) {
                most = most.max(anonymous_bytes(pid).unwrap_or(0));
                // Often enough to see an answer of 12 MiB on its way.
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        Self { stop, thread }
    }

    /// The most that it saw, bytes.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A connection whose receive buffer hides little, with its pulls sent.
async fn hungry(addr: &str) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(addr.parse().unwrap()).await.unwrap();
    let request = PullMessage {
        consumer_group: "hungry".into(),
        topic: "large".into(),
        queue_id: 0,
        queue_offset: 0,
        max_msg_nums: 32,
        sys_flag: pull_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: Some("TAG".into()),
        max_msg_bytes: Some(ANSWER_BYTES as i32),
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    };
    let mut pulls = BytesMut::new();
    for opaque in 0..PULLS {
        let head = CommandHead::request(RequestCode::PullMessage.as_i32(), opaque as i32);
        encode_frame(&mut pulls, HeaderEncoding::Json, &head, &request, &[]);
    }
    stream.write_all(&pulls).await.unwrap();
    stream
}

/// Reads the answers to all pulls, 256 KiB at a time.
async fn read_slowly(mut stream: tokio::net::TcpStream) {
    let mut piece = vec![0; 256 << 10];
    for _ in 0..PULLS {
        let mut left = stream.read_u32().await.unwrap() as usize;
        assert!(left as u64 > ANSWER_BYTES / 2, "an answer of {left} bytes");
        while left > 0 {
            let now = left.min(piece.len());
            stream.read_exact(&mut piece[..now]).await.unwrap();
            left -= now;
            // This is what is slow.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until it holds.
async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let all = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(within, all).await;
    assert!(ended.is_ok(), "{what}: not within {within:?}");
}

/// A gauge of a server.
async fn gauge(management: &str, name: &str) -> f64 {
    let mut stream = tokio::net::TcpStream::connect(management).await.unwrap();
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    // `name{labels} value`
    let is_meant = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    let line = text.lines().find(is_meant);
    let value = line.and_then(|line| line.rsplit(' ').next());
    let value = value.unwrap_or_else(|| panic!("{name} is not in {text}"));
    value.parse().unwrap()
}

/// Has the system forget what it keeps of files in memory, as far as it can.
fn forget(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            forget(&path);
        } else {
            let file = std::fs::File::open(&path).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

/// Sends one small message and reads it again; how long that took.
async fn is_served(client: &Client, queue: &Queue) -> Duration {
    let began = Instant::now();
    let producer = client.producer();
    let sent = producer.send_to(queue, Message::new("small", "yes")).await;
    let offset = sent.unwrap().queue_offset();
    let options = PullOptions::default().max_messages(1);
    let pulled = client.pull(queue, offset, &options).await.unwrap();
    assert_eq!(pulled.messages[0].body(), "yes");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_hold_no_more_than_the_bound() {
    let settings = [
        &format!("memoryBytes={MEMORY_BYTES}"),
        &format!("pullBytesMax={ANSWER_BYTES}"),
    ];
    let mut cluster = Cluster::start_with(
        1,
        FlushMode::Async,
        &settings.map(String::as_str),
        &GIVEN_BACK,
    );
    let client = cluster.client().await;
    let large = cluster.create_topic(&client, "large", 1).await;
    let body = vec![b'x'; MIB as usize];
    for _ in 0..24 {
        let message = Message::new("large", body.clone());
        client.producer().send_to(&large[0], message).await.unwrap();
    }
    // The first answers are read from the disk, the later ones are in memory.
    assert!(cluster.take_broker().stop().success());
    forget(&cluster.data());
    cluster.start_broker();
    let small = cluster.create_topic(&client, "small", 1).await;
    is_served(&client, &small[0]).await;

    let addr = cluster.broker().addr().to_owned();
    let management = cluster.broker().management();
    let waiting = "rocketmq_connection_memory_waiting";
    let held = "rocketmq_connection_memory_bytes";
    let before = cluster.broker().anonymous_bytes();
    let watch = Watch::begin(cluster.broker().pid());
    let mut mute = Vec::new();
    for _ in 0..MUTE {
        mute.push(hungry(&addr).await);
    }
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        slow.spawn(read_slowly(hungry(&addr).await));
    }
    until("memory is short", SERVED_WITHIN, async || {
        gauge(&management, waiting).await > 0.0
    })
    .await;
    // Who looks is told.
    let name_server = cluster.name_server(0).addr().to_owned();
    let health = tokio::task::spawn_blocking(move || {
        std::process::Command::new(binary("rmq-ctl"))
            .args(["health", "-o", "json", "--nameserver", &name_server])
            .output()
            .unwrap()
    });
    let health = health.await.unwrap();
    let told = String::from_utf8_lossy(&health.stdout);
    assert_eq!(health.status.code(), Some(10), "{told}");
    assert!(told.contains("\"broker-memory\""), "{told}");
    // Others are served all the time that it is.
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    let ended = tokio::time::timeout(READ_WITHIN, async {
        while !slow.is_empty() {
            if gauge(&management, waiting).await > 0.0 {
                longest = longest.max(is_served(&client, &small[0]).await);
                rounds += 1;
            }
            while let Some(ended) = slow.try_join_next() {
                ended.unwrap();
            }
        }
    });
    let ended = ended.await;
    let log = cluster.broker().log();
    assert!(ended.is_ok(), "{} readers wait for ever: {log}", slow.len());
    assert!(rounds > 10, "memory was short for {rounds} rounds only");
    assert!(longest < SERVED_WITHIN, "a small request took {longest:?}");
    // The mute ones would hold the memory for ever.
    assert!(log.contains("and the peer reads the"), "{log}");

    drop(mute);
    until(
        "the connections' memory is free",
        SERVED_WITHIN,
        async || gauge(&management, held).await == 0.0,
    )
    .await;
    let most = watch.end();
    // Nothing large is received here: that half is not used.
    let bound = MEMORY_BYTES / 2 + BESIDE_BYTES;
    assert!(
        most < bound,
        "{} MiB, the bound is {} MiB",
        most / MIB,
        bound / MIB
    );
    let broker = cluster.broker();
    until("the memory comes back", SERVED_WITHIN, async || {
        broker.anonymous_bytes() < before + 16 * MIB
    })
    .await;
    is_served(&client, &small[0]).await;
    client.shutdown().await;
}
