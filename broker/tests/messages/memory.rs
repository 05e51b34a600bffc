//! What connections hold together is bounded, and everybody who reads is served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rmq_broker::Deps;
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::CommandHead;
use rmq_transport::{MEMORY_BYTES_MIN, ManualClock};

use crate::support::{PATIENCE, Rig, get, message, pull, value};

const BODY_BYTES: usize = 4 << 20;
const SLOW: usize = 12;

fn frames(code: RequestCode, count: i32, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut wanted = pull("large", 0, 0);
    wanted.max_msg_bytes = Some(BODY_BYTES as i32);
    for opaque in 0..count {
        let head = CommandHead::request(code.as_i32(), opaque);
        frame::encode_frame(&mut out, HeaderEncoding::Json, &head, &wanted, body);
    }
    out.to_vec()
}

async fn figures(rig: &Rig) -> (f64, f64, f64) {
    let (_, metrics) = get(&rig.broker, "/metrics").await;
    let figure = |name| value(&metrics, name, &[]).expect(name);
    (
        figure("rocketmq_connection_memory_bytes"),
        figure("rocketmq_connection_memory_limit_bytes"),
        figure("rocketmq_connection_memory_waiting"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_make_others_wait_and_are_closed() {
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |config| {
        config.management = "127.0.0.1:0".to_owned();
        config.memory_bytes = MEMORY_BYTES_MIN as u64;
    })
    .await;
    let client = rig.client();
    client
        .send(&message("large", 0, ""), &vec![b'x'; BODY_BYTES])
        .await
        .expect("stored");

    // Each asks for 8 MiB and takes nothing of it: together several times the bound.
    let asked = frames(RequestCode::PullMessage, 2, b"");
    let slow: Vec<TcpStream> = (0..SLOW)
        .map(|_| {
            let mut stream = TcpStream::connect(rig.broker.addr()).expect("connects");
            stream.write_all(&asked).expect("written");
            stream
        })
        .collect();
    // A peer that reads is served; a peer that does not read is closed.
    let reading = tokio::spawn(async move {
        let mut wanted = pull("large", 0, 0);
        wanted.max_msg_bytes = Some(BODY_BYTES as i32);
        for _ in 0..4 {
            let pulled = client.pull(&wanted).await;
            assert_eq!(pulled.records[0].body.len(), BODY_BYTES);
        }
    });
    let mut most = 0.0_f64;
    let mut before = (0.0, 0.0);
    let served = tokio::time::timeout(PATIENCE, async {
        while !reading.is_finished() {
            let (held, bound, waiting) = figures(&rig).await;
            most = most.max(held);
            // An answer for each thread may be on its way into the account.
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let slack = (threads * 2 * (BODY_BYTES + 4_096)) as f64;
            assert!(held <= bound + slack, "{held} of {bound}");
            // Time passes where nothing else happens.
            if std::mem::replace(&mut before, (held, waiting)) == (held, waiting) && waiting > 0.0 {
                clock.advance(Duration::from_secs(1));
            }
        }
    });
    if served.await.is_err() {
        panic!("the reader is not served: {:?}", figures(&rig).await);
    }
    reading.await.expect("no panic");
    assert!(most > (BODY_BYTES * 4) as f64, "it was full: {most}");
    drop(slow);
    let empty = tokio::time::timeout(PATIENCE, async {
        loop {
            let (held, _, waiting) = figures(&rig).await;
            if held == 0.0 && waiting == 0.0 {
                break;
            }
            clock.advance(Duration::from_secs(1));
        }
    });
    empty.await.expect("everything is given back");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_promised_and_do_not_come_hold_no_more_than_the_bound() {
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |config| {
        config.management = "127.0.0.1:0".to_owned();
        config.memory_bytes = MEMORY_BYTES_MIN as u64;
    })
    .await;
    let large = frames(RequestCode::SendMessage, 1, &vec![b'x'; (16 << 20) - 4_096]);
    let part = Arc::new(large[..15 << 20].to_vec());
    let writers: Vec<_> = (0..12)
        .map(|_| {
            let (part, addr) = (Arc::clone(&part), rig.broker.addr());
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(addr).expect("connects");
                // The broker stops to read, or closes.
                let _ = stream.write_all(&part);
                let _ = stream.read(&mut [0]);
            })
        })
        .collect();
    let client = rig.client();
    let mut most = 0.0_f64;
    let done = tokio::time::timeout(3 * PATIENCE, async {
        while writers.iter().any(|writer| !writer.is_finished()) {
            let (held, bound, _) = figures(&rig).await;
            most = most.max(held);
            assert!(held <= bound, "{held} of {bound}");
            // Small ones pass.
            let sent = client.send(&message("small", 0, ""), b"x").await;
            sent.expect("stored");
            clock.advance(Duration::from_secs(1));
        }
    });
    done.await.expect("all are given up");
    assert!(most > (15 << 20) as f64, "{most}");
    for writer in writers {
        writer.join().expect("no panic");
    }
    rig.stop().await;
}
