//! Nothing of a client is left when it is gone, and nothing waits for one whose runtime is.

use std::time::{Duration, Instant};

use rmq_client::{Client, ErrorKind, Message, StartFrom};
use rmq_testing::TestCluster;

const CLIENTS: usize = 1_000;
/// Clients that end at the same time.
const TOGETHER: usize = 25;
const WITHIN: Duration = Duration::from_secs(30);

/// What a slow machine may add to a bound.
const SLACK: Duration = Duration::from_secs(2);

/// Waits for what must come within `bound`.
async fn bounded<F: Future>(what: &str, bound: Duration, future: F) -> F::Output {
    let ended = tokio::time::timeout(bound + SLACK, future).await;
    ended.unwrap_or_else(|_| panic!("{what}: not within {bound:?}"))
}

/// Servers that take connections and answer nothing: each request takes its whole time.
#[rmq_testing::test]
async fn no_wait_is_longer_than_its_bound(cluster: TestCluster) {
    const REQUEST: Duration = Duration::from_millis(200);
    let silent = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = silent.each_ref().map(|server| server.local_addr().unwrap());
    let url = format!("rmq://{},{}", addresses[0], addresses[1]);
    let connecting = Client::builder(url).request_timeout(REQUEST).connect();
    let error = bounded("connect", 2 * REQUEST, connecting)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    cluster.topic("t").queues(2).create().await;
    let client = Client::builder(cluster.url())
        .request_timeout(REQUEST)
        .connect()
        .await
        .unwrap();
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    let member = client
        .member_of("left")
        .subscribe("t", "*")
        .join()
        .await
        .unwrap();
    let queue = client.route("t").await.unwrap().readable()[0].clone();
    let mut pull = client.pull_consumer("report");
    pull.assign(vec![queue.clone()]).await.unwrap();
    let consumer = client
        .consumer("g")
        .subscribe("t", "*")
        .drain_within(REQUEST)
        .handler(|_| async { Ok::<(), String>(()) })
        .start()
        .await
        .unwrap();
    let dropped = client.consumer("d").subscribe("t", "*");
    let dropped = dropped.drain_within(REQUEST).stream().await.unwrap();
    cluster.broker(0).cut().await;

    let admin = client.admin();
    bounded("route", REQUEST, client.refresh_route("t"))
        .await
        .unwrap();
    bounded("health", REQUEST, client.health()).await;
    let offset = bounded("an offset", REQUEST, admin.max_offset(&queue)).await;
    assert_eq!(offset.unwrap_err().kind(), ErrorKind::Timeout);
    let options = rmq_client::PullOptions::default();
    let pulled = bounded("pull", REQUEST, client.pull(&queue, 0, &options)).await;
    assert_eq!(pulled.unwrap_err().kind(), ErrorKind::Timeout);
    let lag = bounded("lag", REQUEST, consumer.lag()).await;
    assert_eq!(lag.unwrap_err().kind(), ErrorKind::Timeout);
    let _ = bounded("commit", REQUEST, consumer.commit()).await;
    let polled = bounded("poll", REQUEST, pull.poll(1, REQUEST)).await;
    assert!(polled.map_or(true, |messages| messages.is_empty()));
    let producer = client.producer().deliver_within(3 * REQUEST);
    let sent = bounded("send", 3 * REQUEST, producer.send(Message::new("t", "2"))).await;
    assert!(sent.unwrap_err().is_retryable());
    let batch = vec![Message::new("t", "3"), Message::new("t", "4")];
    let sent = bounded("send_all", 3 * REQUEST, producer.send_all(batch)).await;
    assert!(sent.unwrap().iter().all(Result::is_err));
    let forgotten = producer.send_and_forget(Message::new("t", "5"));
    let _ = bounded("send_and_forget", REQUEST, forgotten).await;
    let wait = client.wait_for_route("missing", REQUEST);
    let error = bounded("wait_for_route", REQUEST, wait).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute);
    let started = client.consumer("late").subscribe("t", "*").stream();
    let error = bounded("stream", 2 * REQUEST, started).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    bounded("leave", 2 * REQUEST, member.leave()).await;
    let ended = consumer.shutdown();
    let _ = bounded(
        "the end of a consumer",
        REQUEST + Duration::from_secs(2),
        ended,
    )
    .await;
    drop(dropped);
    let limit = REQUEST + Duration::from_secs(3);
    bounded("the end of the client", limit, client.shutdown()).await;
    let error = client.refresh_route("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    cluster.broker(0).heal().await;
}

/// Tasks of this runtime and sockets of this process.
fn left() -> (usize, usize) {
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let sockets = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count();
    (tasks, sockets)
}

/// A client that sends, and consumes as a member of a group; then it ends in one of three ways.
async fn one(url: String, number: usize) {
    let client = Client::connect(url).await.unwrap();
    client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap();
    let group = format!("g{}", number % TOGETHER);
    let consumer = client.consumer(group).subscribe("t", "*");
    let consumer = consumer.from(StartFrom::First);
    match number % 4 {
        // All in order.
        0 => {
            let handled = consumer.handler(|_| async { Ok::<(), String>(()) });
            handled.start().await.unwrap().shutdown().await.unwrap();
            client.shutdown().await;
        }
        // The consumer in order, the client dropped.
        1 => {
            let deliveries = consumer.stream().await.unwrap();
            deliveries.shutdown().await.unwrap();
        }
        // Both dropped.
        2 => drop(consumer.stream().await.unwrap()),
        _ => {
            let handled = consumer.concurrency(1);
            let handled = handled.handler_blocking(|_| Ok::<(), String>(()));
            drop(handled.start().await.unwrap());
        }
    }
}

#[test]
fn nothing_is_left_of_a_thousand_clients() {
    // The servers have a runtime of their own: what is counted is the clients'.
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let cluster = servers.block_on(TestCluster::start());
    servers.block_on(cluster.topic("t").queues(1).create());
    let clients = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    clients.block_on(async {
        // The first ones make what stays: the groups, and their retry topics.
        let rounds = |count: usize| {
            let url = cluster.url().to_owned();
            async move {
                for round in 0..count / TOGETHER {
                    let numbers = (0..TOGETHER).map(|one| round * TOGETHER + one);
                    let ended = numbers.map(|number| one(url.clone(), number));
                    futures_util::future::join_all(ended).await;
                }
            }
        };
        rounds(TOGETHER).await;
        settled(None).await;
        let before = left();
        rounds(CLIENTS).await;
        settled(Some(before)).await;
    });
    servers.block_on(cluster.shutdown());
}

/// Waits until tasks and sockets are as many as before, or stay the same.
async fn settled(wanted: Option<(usize, usize)>) {
    let deadline = Instant::now() + WITHIN;
    let mut last = left();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = left();
        match wanted {
            Some(wanted) if now.0 <= wanted.0 && now.1 <= wanted.1 => return,
            // What was begun by a drop may still end.
            None if now == last && now.0 == 0 => return,
            _ => last = now,
        }
        assert!(
            Instant::now() < deadline,
            "left after {WITHIN:?}: {now:?} tasks and sockets, instead of {wanted:?}"
        );
    }
}

#[test]
fn a_client_whose_runtime_has_ended_says_so_at_once() {
    let servers = tokio::runtime::Runtime::new().unwrap();
    let cluster = servers.block_on(TestCluster::start());
    servers.block_on(cluster.topic("t").queues(1).create());
    let short = tokio::runtime::Runtime::new().unwrap();
    let (client, consumer) = short.block_on(async {
        let client = Client::connect(cluster.url()).await.unwrap();
        client
            .producer()
            .send(Message::new("t", "1"))
            .await
            .unwrap();
        let consumer = client.consumer("g").subscribe("t", "*").stream().await;
        (client, consumer.unwrap())
    });
    let control = consumer.consumer().control();
    drop(short);
    servers.block_on(async {
        let began = Instant::now();
        let error = client
            .producer()
            .send(Message::new("t", "2"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        let says_why = |text: &str| assert!(text.contains("runtime"), "{text}");
        says_why(&error.to_string());
        says_why(&client.refresh_route("t").await.unwrap_err().to_string());
        let health = client.health().await;
        assert!(!health.is_ready());
        says_why(health.problem().unwrap_or_default());
        let connections = health.connections().iter();
        assert!(connections.into_iter().all(|(_, stands)| !stands));
        let other = client.consumer("h").subscribe("t", "*").stream().await;
        says_why(&other.unwrap_err().to_string());
        // Its tasks went with the runtime: there is nothing to wait for.
        let _ = control.shutdown().await;
        assert!(control.assignment().is_empty());
        drop(consumer);
        client.shutdown().await;
        assert!(began.elapsed() < Duration::from_secs(3), "{began:?}");
    });
    servers.block_on(cluster.shutdown());
}
