//! What a consumer holds in memory while its handler is slow: alone in its process, so that the figure is its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmq_client::{Message, StartFrom};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::process::anonymous_bytes;
use tokio::time::{Instant, sleep};

const TOPIC: &str = "slow";

/// Anonymous resident memory of this process, bytes.
fn own_bytes() -> u64 {
    anonymous_bytes(std::process::id()).expect("Linux says RssAnon")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_handler_holds_what_it_was_allowed_to_and_no_more() {
    const MESSAGES: usize = 2_000;
    const BODY_BYTES: usize = 64 * 1024;
    const ALLOWED: u64 = 4 << 20;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, 4).await;
    let producer = client.producer();
    let body = bytes::Bytes::from(vec![b'x'; BODY_BYTES]);
    for _ in 0..MESSAGES / 50 {
        let batch = (0..50).map(|_| Message::new(TOPIC, body.clone())).collect();
        for result in producer.send_all(batch).await.unwrap() {
            result.unwrap();
        }
    }
    let before = own_bytes();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let handled = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (waiting, counted) = (Arc::clone(&gate), Arc::clone(&handled));
    let consumer = client
        .consumer("slow")
        .subscribe(TOPIC, "*")
        .from(StartFrom::First)
        .concurrency(4)
        .prefetch(10_000, ALLOWED as usize)
        .handler(move |_| {
            let (gate, handled) = (Arc::clone(&waiting), Arc::clone(&counted));
            async move {
                // Closed when it may be quick.
                let _ = gate.acquire().await;
                handled.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(())
            }
        })
        .start()
        .await
        .unwrap();
    // Nobody is handled for three seconds, in which all 125 MiB could have been read.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(handled.load(Ordering::Relaxed), 0);
    let grown = own_bytes().saturating_sub(before);
    // An answer of at most 256 KiB for each queue waits beside what is allowed, and the allocator keeps some.
    assert!(grown < ALLOWED + (24 << 20), "{grown} bytes more");
    gate.close();
    let deadline = Instant::now() + Duration::from_secs(60);
    while handled.load(Ordering::Relaxed) < MESSAGES {
        assert!(
            Instant::now() < deadline,
            "{} of {MESSAGES}",
            handled.load(Ordering::Relaxed)
        );
        sleep(Duration::from_millis(20)).await;
    }
    consumer.shutdown().await.unwrap();
    client.shutdown().await;
}
