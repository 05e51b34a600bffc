//! Bad input to the real ports: the servers stay up, their memory stays bounded, and the log does not drown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rmq_client::Message;
use rmq_e2e::cluster::{Cluster, Flush};
use rmq_e2e::process::Process;

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
    let mut cluster = Cluster::start(1, Flush::Async);
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
    let mut cluster = Cluster::start(1, Flush::Async);
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
    let mut cluster = Cluster::start(1, Flush::Async);
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
