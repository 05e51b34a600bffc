//! What a service relies on from its first minute to its end, against real servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rmq_client::protocol::{RequestCode, ResponseCode};
use rmq_client::{ErrorKind, Event, GroupSpec, Message, Retry, StartFrom};
use rmq_testing::{TestClock, TestCluster};
use tokio::sync::mpsc;

const WITHIN: Duration = Duration::from_secs(10);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let ended = tokio::time::timeout(WITHIN, future).await;
    ended.unwrap_or_else(|_| panic!("{what}: not within {WITHIN:?}"))
}

#[rmq_testing::test]
async fn a_new_group_gets_what_was_sent_to_a_new_topic_before_it_came(cluster: TestCluster) {
    // As the README has it: the topic is made by the message, the group comes afterwards.
    let client = cluster.connect().await;
    client
        .producer()
        .send(Message::new("orders", "hello"))
        .await
        .unwrap();
    let mut orders = client
        .consumer("billing")
        .subscribe("orders", "*")
        .stream()
        .await
        .unwrap();
    let order = within("the first message", orders.next()).await;
    let order = order.unwrap().unwrap();
    assert_eq!(order.message().body(), "hello");
    order.ack().await.unwrap();
    // The other queues of the topic had no message: whatever comes next comes once.
    for n in 0..8 {
        let message = Message::new("orders", n.to_string());
        client.producer().send(message).await.unwrap();
    }
    let mut bodies = Vec::new();
    for _ in 0..8 {
        let order = within("the next message", orders.next()).await;
        let order = order.unwrap().unwrap();
        bodies.push(String::from_utf8_lossy(order.message().body()).into_owned());
        order.ack().await.unwrap();
    }
    bodies.sort();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    orders.shutdown().await.unwrap();
    cluster.group("billing").drained(&["orders"]).await;
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_start_is_for_groups_without_an_offset(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    for n in 0..3 {
        client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    let queue = client.route("t").await.unwrap().readable()[0].clone();
    // By hand the rules are the same.
    let first = |from| {
        let (client, queue) = (client.clone(), queue.clone());
        async move {
            let mut pull = client.pull_consumer("report").from(from);
            pull.assign(vec![queue.clone()]).await.unwrap();
            pull.position(&queue)
        }
    };
    assert_eq!(first(StartFrom::First).await, Some(0));
    let now = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(first(StartFrom::Time(now)).await, Some(3));
    assert_eq!(first(StartFrom::Last).await, Some(0), "a young queue");
    // A broadcast consumer asks no broker for an offset of its own.
    let news = client
        .consumer("readers")
        .subscribe("t", "*")
        .broadcast()
        .stream()
        .await
        .unwrap();
    let consumer = news.consumer();
    let begun = async {
        loop {
            match consumer.position(&queue) {
                Some(position) => return position,
                None => tokio::task::yield_now().await,
            }
        }
    };
    assert_eq!(within("the first read", begun).await, 3);
    news.shutdown().await.unwrap();
    let group = GroupSpec::new("report");
    client.admin().create_group(&group).await.unwrap();
    client
        .admin()
        .commit_offset("report", &queue, 2)
        .await
        .unwrap();
    assert_eq!(first(StartFrom::First).await, Some(2));
    client.shutdown().await;
}

#[rmq_testing::test(brokers = 2)]
async fn only_registered_brokers_are_asked_for_a_message(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let sent = client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
        ids.push(sent.offset_id().to_owned());
    }
    let admin = client.admin();
    for (n, id) in (0..).zip(&ids) {
        let found = admin.message_by_id(id).await.unwrap();
        assert_eq!(found.body(), &n.to_string());
    }
    // A stranger: it listens, and must not be asked.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = u32::from(stranger.local_addr().unwrap().port());
    let position = &ids[0][16..];
    let elsewhere = format!("7F000001{port:08X}{position}");
    let error = admin.message_by_id(&elsewhere).await.unwrap_err();
    // Both brokers have something there, and neither this message.
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("broker-0"), "{error}");
    let accepted = stranger.accept().map(drop).unwrap_err();
    assert_eq!(accepted.kind(), std::io::ErrorKind::WouldBlock);
    client.shutdown().await;
}

/// A consumer whose handler never ends; gives each message that it got.
async fn hanging(
    client: &rmq_client::Client,
    drain: Duration,
) -> (rmq_client::Consumer, mpsc::UnboundedReceiver<String>) {
    let (seen, came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .concurrency(3)
        .drain_within(drain)
        .handler(move |delivery| {
            let seen = seen.clone();
            async move {
                let _ = seen.send(delivery.message_id());
                std::future::pending::<Result<(), String>>().await
            }
        })
        .start()
        .await
        .unwrap();
    (consumer, came)
}

#[rmq_testing::test]
async fn the_limit_of_an_end_holds_and_the_error_names_what_was_left(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let mut ids = BTreeSet::new();
    for n in 0..5 {
        let sent = client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
        ids.insert(sent.message_id().to_owned());
    }
    let limit = Duration::from_millis(300);
    let (consumer, mut came) = hanging(&client, limit).await;
    let mut handled = BTreeSet::new();
    for _ in 0..3 {
        handled.insert(within("a message", came.recv()).await.unwrap());
    }
    let began = Instant::now();
    let error = consumer.shutdown().await.unwrap_err();
    // Two seconds for the leave-taking, and time for a slow machine.
    assert!(began.elapsed() < limit + Duration::from_secs(4));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.contains("3 messages"), "{text}");
    assert!(handled.iter().all(|id| text.contains(id)), "{text}");
    let others = ids.difference(&handled);
    assert!(others.into_iter().all(|id| !text.contains(id)), "{text}");
    assert!(text.contains("t/broker-0/0@0"), "{text}");
    // The handlers were dropped, and nothing of theirs is lost.
    assert!(within("the handlers' end", came.recv()).await.is_none());
    let mut again = client
        .consumer("billing")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let mut came_again = BTreeSet::new();
    for _ in 0..5 {
        let delivery = within("a message again", again.next()).await;
        let delivery = delivery.unwrap().unwrap();
        came_again.insert(delivery.message_id());
        delivery.ack().await.unwrap();
    }
    assert_eq!(came_again, ids);
    // What a reader of the stream holds is named by its place.
    client
        .producer()
        .send(Message::new("t", "held"))
        .await
        .unwrap();
    let held = within("the last message", again.next()).await;
    let held = held.unwrap().unwrap();
    let control = again.consumer().control();
    drop(again);
    drop(held);
    within("the end", control.shutdown()).await.unwrap();
    client.shutdown().await;
}

#[rmq_testing::test]
async fn an_end_comes_from_elsewhere_and_once(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let (consumer, mut came) = hanging(&client, Duration::from_millis(100)).await;
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    within("the message", came.recv()).await.unwrap();
    let control = consumer.control();
    control.pause();
    assert!(consumer.is_paused() && control.clone().is_paused());
    control.resume();
    assert_eq!(control.lag().await.unwrap(), 1);
    let running = tokio::spawn(consumer.run_until(std::future::pending::<()>()));
    let error = within("the end", control.shutdown()).await.unwrap_err();
    let ended = within("the end of run_until", running).await.unwrap();
    assert_eq!(error.to_string(), ended.unwrap_err().to_string());
    // It is over: nothing is held, and nothing can be moved.
    assert!(control.assignment().is_empty());
    let queue = client.route("t").await.unwrap().readable()[0].clone();
    assert!(control.seek(&queue, 0).is_err());
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_dead_broker_does_not_hold_an_end_up(cluster: TestCluster) {
    cluster.topic("t").queues(2).create().await;
    let client = cluster.connect().await;
    let (consumer, mut came) = hanging(&client, Duration::from_millis(100)).await;
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    within("the message", came.recv()).await.unwrap();
    // Connections stay and nothing is answered: each request would take its five seconds.
    cluster.broker(0).cut().await;
    let began = Instant::now();
    assert!(consumer.shutdown().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    cluster.broker(0).heal().await;
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_handler_that_blocks_takes_no_thread_of_the_runtime(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    for n in 0..6 {
        client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    // More handlers block than the runtime has threads; each waits for what the runtime does meanwhile.
    let all = Arc::new(std::sync::Barrier::new(5));
    let (seen, mut came) = mpsc::unbounded_channel();
    let waits = Arc::clone(&all);
    let consumer = client
        .consumer("archive")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .concurrency(4)
        .retry(Retry::up_to(3).backoff(Duration::from_secs(1)..Duration::from_secs(1)))
        .handler_blocking(move |delivery| {
            let body = String::from_utf8_lossy(delivery.body()).into_owned();
            let _ = seen.send((body.clone(), delivery.attempt()));
            if body.as_str() < "4" && delivery.attempt() == 1 {
                waits.wait();
            }
            match (body.as_str(), delivery.attempt()) {
                ("4", 1) => Err("once more"),
                ("5", 1) => panic!("on purpose"),
                _ => Ok(()),
            }
        })
        .start()
        .await
        .unwrap();
    let mut got = BTreeSet::new();
    for _ in 0..4 {
        got.insert(within("a message", came.recv()).await.unwrap());
    }
    // The runtime works while four handlers block.
    client.health().await;
    tokio::task::spawn_blocking(move || all.wait())
        .await
        .unwrap();
    for _ in 0..4 {
        cluster.advance(Duration::from_secs(2));
        got.insert(within("a message", came.recv()).await.unwrap());
    }
    let expected = [
        ("0", 1),
        ("1", 1),
        ("2", 1),
        ("3", 1),
        ("4", 1),
        ("4", 2),
        ("5", 1),
        ("5", 2),
    ];
    let expected: BTreeSet<_> = expected.map(|(body, n)| (body.to_owned(), n)).into();
    assert_eq!(got, expected);
    consumer.shutdown().await.unwrap();
    assert!(within("the threads' end", came.recv()).await.is_none());
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_dead_letter_says_why(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let mut deliveries = client
        .consumer("billing")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    for reason in ["bad payload: é", "two\u{1}\u{2}\nlines"] {
        client
            .producer()
            .send(Message::new("t", reason))
            .await
            .unwrap();
        let delivery = within("the message", deliveries.next()).await;
        delivery
            .unwrap()
            .unwrap()
            .dead_letter(reason)
            .await
            .unwrap();
    }
    deliveries.shutdown().await.unwrap();
    // A handler that fails too often gives its last reason.
    client
        .producer()
        .send(Message::new("t", "fails"))
        .await
        .unwrap();
    let failing = client
        .consumer("billing")
        .subscribe("t", "*")
        .retry(Retry::up_to(0))
        .handler(|_| async { Err::<(), _>("the printer is on fire") })
        .start()
        .await
        .unwrap();
    cluster.group("billing").assert_dead_letters(3).await;
    let letters = cluster.topic("%DLQ%billing").messages().await;
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| letter.property("DEAD_LETTER_REASON").unwrap_or_default())
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        ["bad payload: é", "the printer is on fire", "two   lines"]
    );
    failing.shutdown().await.unwrap();
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_topic_that_is_not_there_is_told(cluster: TestCluster) {
    let client = cluster.connect().await;
    let mut events = client.events();
    let consumer = client
        .consumer("billing")
        .subscribe("ordres", "*")
        .handler(|_| async { Ok::<(), String>(()) })
        .start()
        .await
        .unwrap();
    let told = within("the event", async {
        loop {
            if let Some(Event::NoRoute { group, topic }) = events.next().await {
                return (group, topic);
            }
        }
    });
    assert_eq!(told.await, ("billing".to_owned(), "ordres".to_owned()));
    let health = client.health().await;
    assert!(!health.is_ready());
    let problem = health.problem().unwrap_or_default();
    assert!(
        problem.contains("\"ordres\"") && problem.contains("\"billing\""),
        "{problem}"
    );
    assert_eq!(consumer.lag().await.unwrap_err().kind(), ErrorKind::NoRoute);
    // It is looked for further on.
    cluster.topic("ordres").create().await;
    let well = async {
        while !client.health().await.is_ready() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the topic is found", well).await;
    assert_eq!(consumer.lag().await.unwrap(), 0);
    consumer.shutdown().await.unwrap();
    for filter in ["a > 3 AND b", "a && b"] {
        let refused = client.consumer("billing").subscribe("ordres", filter);
        let error = refused.stream().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(filter), "{error}");
        let reader = client.reader("ordres").filter(filter).open().await;
        assert_eq!(reader.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    client.shutdown().await;
}

#[rmq_testing::test]
async fn errors_of_queues_are_events(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let mut events = client.events();
    let consumer = client
        .consumer("billing")
        .subscribe("t", "*")
        .handler(|_| async { Ok::<(), String>(()) })
        .start()
        .await
        .unwrap();
    let pull = RequestCode::PullMessage;
    cluster
        .broker(0)
        .fail(pull, ResponseCode::NoPermission, usize::MAX);
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    let told = within("the event", async {
        loop {
            if let Some(Event::Failed {
                group,
                queue,
                error,
            }) = events.next().await
            {
                return (group, queue.map(|queue| queue.topic().to_owned()), error);
            }
        }
    });
    let (group, _, error) = told.await;
    assert_eq!(group, "billing");
    assert!(error.contains("pulling"), "{error}");
    cluster.broker(0).repair();
    consumer.shutdown().await.unwrap();
    client.shutdown().await;
}

#[rmq_testing::test]
async fn producers_and_consumers_are_shown_as_what_they_are(cluster: TestCluster) {
    cluster.topic("t").create().await;
    let client = cluster.connect().await;
    let producer = client.producer_builder().group("checkout").build();
    producer.send(Message::new("t", "1")).await.unwrap();
    let consumer = client
        .consumer("billing")
        .subscribe("t", "*")
        .stream()
        .await
        .unwrap();
    let admin = client.admin();
    let shown = async {
        loop {
            let mut known = admin.producers("broker-0").await.unwrap().data;
            match known.remove("checkout") {
                Some(producers) => return producers,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let shown = within("the producer is shown", shown).await;
    assert_eq!(shown[0].client_id, client.id());
    assert_eq!(shown[0].language, "RUST");
    let members = admin.connections("broker-0", "billing").await.unwrap();
    assert_eq!(members.connection_set[0].language, "RUST");
    // Brokers forget producers with their connection; the client comes back by itself.
    let before = cluster.broker(0).requests(RequestCode::HeartBeat);
    cluster.broker(0).kill().await;
    cluster.broker(0).start().await;
    producer.send(Message::new("t", "2")).await.unwrap();
    let again = async {
        while cluster.broker(0).requests(RequestCode::HeartBeat) < before + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("signs of life after the restart", again).await;
    consumer.shutdown().await.unwrap();
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_clock_that_jumps_changes_stamps_and_no_wait(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let clock = TestClock::default();
    let mut timeouts = rmq_client::Timeouts::default();
    timeouts.route_age = Duration::from_secs(3_600);
    let client = rmq_client::Client::builder(cluster.url())
        .clock(Arc::new(clock.clone()))
        .timeouts(timeouts)
        .connect()
        .await
        .unwrap();
    let producer = client.producer();
    producer.send(Message::new("t", "0")).await.unwrap();
    let route = client.route("t").await.unwrap();
    let day = Duration::from_secs(86_400);
    clock.jump_ms(86_400_000);
    producer.send(Message::new("t", "1")).await.unwrap();
    // No route grew older by it.
    assert!(Arc::ptr_eq(&route, &client.route("t").await.unwrap()));
    let stored = cluster.topic("t").messages().await;
    let between = stored[1]
        .born_at()
        .duration_since(stored[0].born_at())
        .unwrap();
    assert!(between >= day && between < day + WITHIN, "{between:?}");
    let ids: BTreeSet<_> = stored.iter().map(|message| message.message_id()).collect();
    assert_eq!(ids.len(), 2);
    client.shutdown().await;
}
