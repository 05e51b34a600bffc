//! Consumers with a real name server and a real broker, all in this process, over real sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rmq_client::{
    Client, Delivery, ErrorKind, Filter, Message, Position, Queue, Retry, StartFrom, TopicSpec,
};
use tokio::sync::mpsc;

mod common;

use common::{Cluster, broker};

const WITHIN: Duration = Duration::from_secs(30);

async fn topic(client: &Client, name: &str, queues: u16) {
    let spec = TopicSpec::new(name).queues(queues);
    client.admin().create_topic(&spec).await.unwrap();
    client.wait_for_route(name, WITHIN).await.unwrap();
}

async fn send(client: &Client, topic: &str, bodies: impl IntoIterator<Item = String>) {
    for body in bodies {
        let message = Message::new(topic, body);
        client.producer().send(message).await.unwrap();
    }
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body().to_vec()).unwrap()
}

/// The next `count` values.
async fn take<T>(from: &mut mpsc::UnboundedReceiver<T>, count: usize) -> Vec<T> {
    let mut taken = Vec::new();
    let all = async {
        while taken.len() < count {
            taken.push(from.recv().await.expect("the consumer still runs"));
        }
    };
    if tokio::time::timeout(WITHIN, all).await.is_err() {
        panic!("only {} of {count} came", taken.len());
    }
    taken
}

/// Waits until the group has consumed all that the topic holds.
async fn consumed(client: &Client, group: &str, topic: &str) -> bool {
    for queue in client.route(topic).await.unwrap().readable() {
        let end = client.admin().max_offset(queue).await.unwrap();
        let at = client.admin().committed_offset(group, queue).await.unwrap();
        if end > 0 && at != Some(end) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_gets_every_message_once_and_offsets_are_kept() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 4).await;
    let expected: BTreeSet<String> = (0..200).map(|n| n.to_string()).collect();
    send(&client, "orders", expected.iter().cloned()).await;

    let (seen, mut came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler(move |delivery| {
            let seen = seen.clone();
            async move {
                assert_eq!((delivery.topic(), delivery.attempt()), ("orders", 1));
                seen.send(body(&delivery))
                    .map_err(|error| error.to_string())
            }
        })
        .start()
        .await
        .unwrap();
    let got: BTreeSet<String> = take(&mut came, 200).await.into_iter().collect();
    assert_eq!(got, expected);
    let held = consumer.assignment();
    let of_topic = held.iter().filter(|queue| queue.topic() == "orders");
    assert_eq!(of_topic.count(), 4);
    consumer.shutdown().await.unwrap();
    assert!(consumed(&client, "billing", "orders").await);
    assert!(came.recv().await.is_none(), "nothing came twice");

    // The next member goes on where this one ended.
    send(&client, "orders", ["more".to_owned()]).await;
    let mut deliveries = client
        .consumer("billing")
        .subscribe("orders", Filter::all())
        .stream()
        .await
        .unwrap();
    let delivery = deliveries.next().await.unwrap().unwrap();
    assert_eq!(body(&delivery), "more");
    delivery.ack().await.unwrap();
    deliveries.shutdown().await.unwrap();
    assert!(consumed(&client, "billing", "orders").await);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_where_no_runtime_is_ends_all_the_same() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 1).await;
    send(&client, "orders", ["1", "2"].map(str::to_owned)).await;
    let (seen, mut came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler(move |delivery| {
            let seen = seen.clone();
            async move {
                let seen = seen.send(body(&delivery));
                seen.map_err(|error| error.to_string())
            }
        })
        .start()
        .await
        .unwrap();
    take(&mut came, 2).await;
    let dropped = std::thread::spawn(move || drop(consumer)).join();
    assert!(dropped.is_ok(), "it panicked");
    // Its end lets go of the handler.
    let next = tokio::time::timeout(WITHIN, came.recv()).await;
    assert_eq!(next.expect("it ends"), None);
    assert!(consumed(&client, "billing", "orders").await);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_comes_again_and_then_to_the_dead_letters() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 1).await;
    send(
        &client,
        "orders",
        ["fails", "panics", "good"].map(str::to_owned),
    )
    .await;
    let (seen, mut came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .retry(Retry::up_to(1).backoff(Duration::from_secs(1)..Duration::from_secs(1)))
        .handler(move |delivery| {
            let seen = seen.clone();
            async move {
                let body = body(&delivery);
                let _ = seen.send((
                    body.clone(),
                    delivery.attempt(),
                    delivery.topic().to_owned(),
                ));
                match body.as_str() {
                    "fails" => Err("no"),
                    "panics" => panic!("on purpose"),
                    _ => Ok(()),
                }
            }
        })
        .start()
        .await
        .unwrap();
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (body, attempt, topic) in take(&mut came, 5).await {
        assert_eq!(topic, "orders");
        attempts.entry(body).or_default().push(attempt);
    }
    assert_eq!(
        attempts,
        BTreeMap::from([
            ("fails".to_owned(), vec![1, 2]),
            ("good".to_owned(), vec![1]),
            ("panics".to_owned(), vec![1, 2])
        ])
    );
    consumer.shutdown().await.unwrap();
    let dead = client.wait_for_route("%DLQ%billing", WITHIN).await;
    let dead = match dead {
        Ok(route) => route,
        // Dead letters are read by tools only: their topic can be written or read, not always both.
        Err(error) => client
            .refresh_route("%DLQ%billing")
            .await
            .unwrap_or_else(|_| panic!("{error}")),
    };
    let queue = dead
        .writable()
        .first()
        .cloned()
        .unwrap_or_else(|| Queue::new("%DLQ%billing", "broker-a", 0));
    let letters = client.pull_all(&queue).await.unwrap();
    let bodies: BTreeSet<_> = letters.iter().map(|letter| letter.body().clone()).collect();
    assert_eq!(bodies, BTreeSet::from(["fails".into(), "panics".into()]));
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_consumer_repeats_before_it_goes_on() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 2).await;
    let route = client.route("orders").await.unwrap();
    let producer = client.producer();
    for n in 0..20 {
        for queue in route.writable() {
            let message = Message::new("orders", format!("{n}"));
            producer.send_to(queue, message).await.unwrap();
        }
    }
    let (seen, mut came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .ordered()
        .from(StartFrom::First)
        .retry(Retry::up_to(3).backoff(Duration::from_millis(1)..Duration::from_millis(2)))
        .handler(move |delivery| {
            let seen = seen.clone();
            async move {
                let n: u32 = body(&delivery).parse().unwrap();
                let _ = seen.send((delivery.queue().id(), n, delivery.attempt()));
                match (n, delivery.attempt()) {
                    (5, 1 | 2) => Err("again"),
                    (7, _) => Err("never"),
                    _ => Ok(()),
                }
            }
        })
        .start()
        .await
        .unwrap();
    // 20 messages, two repetitions of the fifth, three of the seventh.
    let mut of_queue: HashMap<i32, Vec<(u32, u32)>> = HashMap::new();
    for (queue, n, attempt) in take(&mut came, 50).await {
        of_queue.entry(queue).or_default().push((n, attempt));
    }
    let mut expected = Vec::new();
    for n in 0..20 {
        let attempts = match n {
            5 => 3,
            7 => 4,
            _ => 1,
        };
        expected.extend((1..=attempts).map(|attempt| (n, attempt)));
    }
    assert_eq!(of_queue[&0], expected);
    assert_eq!(of_queue[&1], expected);
    consumer.shutdown().await.unwrap();
    assert!(consumed(&client, "billing", "orders").await);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_divide_the_queues_without_overlap_or_gap() {
    let cluster = Cluster::start().await;
    let first = cluster.client().await;
    let second = cluster.client().await;
    topic(&first, "orders", 8).await;
    let all: BTreeSet<Queue> = first
        .route("orders")
        .await
        .unwrap()
        .readable()
        .iter()
        .cloned()
        .collect();
    let consumer = |client: &Client| {
        client
            .consumer("billing")
            .subscribe("orders", "*")
            .from(StartFrom::First)
            .stream()
    };
    let one = consumer(&first).await.unwrap();
    let other = consumer(&second).await.unwrap();
    let mine = |consumer: &rmq_client::Consumer| -> BTreeSet<Queue> {
        let assigned = consumer.assignment().into_iter();
        assigned.filter(|queue| queue.topic() == "orders").collect()
    };
    let divided = async {
        loop {
            let (a, b) = (mine(one.consumer()), mine(other.consumer()));
            if (a.len(), b.len()) == (4, 4) && a.union(&b).cloned().collect::<BTreeSet<_>>() == all
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, divided)
        .await
        .expect("divided");
    // Who is left gets all.
    other.shutdown().await.unwrap();
    let whole = async {
        while mine(one.consumer()) != all {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, whole)
        .await
        .expect("taken over");
    one.shutdown().await.unwrap();
    second.shutdown().await;
    cluster.stop(first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_goes_to_every_member_and_its_offsets_to_a_file() {
    let cluster = Cluster::start().await;
    let first = cluster.client().await;
    let second = cluster.client().await;
    topic(&first, "news", 2).await;
    let file = cluster.folder.path().join("offsets.json");
    let mut one = first
        .consumer("readers")
        .subscribe("news", "*")
        .from(StartFrom::First)
        .broadcast_offsets(&file)
        .stream()
        .await
        .unwrap();
    let mut other = second
        .consumer("readers")
        .subscribe("news", "*")
        .from(StartFrom::First)
        .broadcast()
        .stream()
        .await
        .unwrap();
    send(&first, "news", (0..10).map(|n| n.to_string())).await;
    for deliveries in [&mut one, &mut other] {
        let mut bodies = BTreeSet::new();
        for _ in 0..10 {
            let delivery = deliveries.next().await.unwrap().unwrap();
            bodies.insert(body(&delivery));
            delivery.ack().await.unwrap();
        }
        assert_eq!(bodies.len(), 10);
    }
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
    send(&first, "news", ["last".to_owned()]).await;
    let mut again = first
        .consumer("readers")
        .subscribe("news", "*")
        .from(StartFrom::First)
        .broadcast_offsets(&file)
        .stream()
        .await
        .unwrap();
    let delivery = again.next().await.unwrap().unwrap();
    assert_eq!(body(&delivery), "last", "the file says where to go on");
    delivery.ack().await.unwrap();
    again.shutdown().await.unwrap();
    second.shutdown().await;
    cluster.stop(first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_seek_pause_and_reset() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 1).await;
    for n in 0..10 {
        let tag = if n % 2 == 0 { "even" } else { "odd" };
        let message = Message::new("orders", n.to_string()).tag(tag);
        client.producer().send(message).await.unwrap();
    }
    let mut deliveries = client
        .consumer("billing")
        .subscribe("orders", Filter::tags(["odd"]))
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let mut next = async |count: usize| {
        let mut bodies = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(WITHIN, deliveries.next()).await;
            let delivery = next.expect("in time").unwrap().unwrap();
            bodies.push(body(&delivery));
            delivery.ack().await.unwrap();
        }
        bodies
    };
    assert_eq!(next(5).await, ["1", "3", "5", "7", "9"]);
    let queue = Queue::new("orders", "broker-a", 0);
    let consumer = deliveries.consumer();
    consumer.seek(&queue, 6).unwrap();
    consumer.pause();
    assert!(consumer.is_paused());
    consumer.resume();
    let mut next = async |count: usize| {
        let mut bodies = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(WITHIN, deliveries.next()).await;
            let delivery = next.expect("in time").unwrap().unwrap();
            bodies.push(body(&delivery));
            delivery.ack().await.unwrap();
        }
        bodies
    };
    assert_eq!(next(2).await, ["7", "9"]);
    let error = deliveries
        .consumer()
        .seek(&Queue::new("other", "broker-a", 0), 0)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(deliveries.consumer().lag().await.unwrap(), 0);
    // The broker tells the member that is online.
    let admin = client.admin();
    let reset = admin
        .reset_offsets("billing", "orders", Some(UNIX_EPOCH))
        .await;
    assert_eq!(reset.unwrap(), [(queue, 0)]);
    let again = tokio::time::timeout(WITHIN, deliveries.next()).await;
    let again = again.expect("in time").unwrap().unwrap();
    assert_eq!(body(&again), "1");
    again.ack().await.unwrap();
    let error = client
        .consumer("billing")
        .subscribe("orders", "*")
        .stream()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    deliveries.shutdown().await.unwrap();
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_and_an_end_waits_for_what_is_handled() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 1).await;
    send(&client, "orders", (0..100).map(|n| n.to_string())).await;
    let started = Arc::new(AtomicUsize::new(0));
    let (gate, opened) = tokio::sync::watch::channel(false);
    let (running, mut runs) = mpsc::unbounded_channel();
    let counted = Arc::clone(&started);
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .concurrency(3)
        .prefetch(10, 1 << 20)
        .handler(move |_| {
            let (mut opened, running) = (opened.clone(), running.clone());
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let _ = running.send(());
                opened.wait_for(|open| *open).await.map(drop)
            }
        })
        .start()
        .await
        .unwrap();
    take(&mut runs, 3).await;
    let mut ends = Box::pin(consumer.shutdown());
    tokio::select! {
        biased;
        ended = &mut ends => panic!("three are still being handled: {ended:?}"),
        () = std::future::ready(()) => {}
    }
    gate.send(true).unwrap();
    ends.await.unwrap();
    let handled = started.load(Ordering::SeqCst);
    assert!(
        (3..=13).contains(&handled),
        "{handled} of the 100 were begun"
    );
    let queue = Queue::new("orders", "broker-a", 0);
    let at = client
        .admin()
        .committed_offset("billing", &queue)
        .await
        .unwrap();
    assert_eq!(at, Some(handled as i64));
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_killed_and_moved_is_found_again() {
    let mut cluster = Cluster::start().await;
    let client = Client::builder(format!("rmq://{}", cluster.name_server.local_addr()))
        .timeouts({
            let mut timeouts = rmq_client::Timeouts::default();
            timeouts.route_age = Duration::from_millis(100);
            timeouts
        })
        .connect()
        .await
        .unwrap();
    topic(&client, "orders", 2).await;
    let (seen, mut came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler(move |delivery| {
            let seen = seen.clone();
            async move {
                seen.send(body(&delivery))
                    .map_err(|error| error.to_string())
            }
        })
        .start()
        .await
        .unwrap();
    send(&client, "orders", ["before".to_owned()]).await;
    assert_eq!(take(&mut came, 1).await, ["before"]);
    cluster.broker.kill().await;
    // Another port, the same data.
    cluster.broker = broker(
        "broker-a",
        cluster.folder.path(),
        &cluster.name_server.local_addr().to_string(),
    )
    .await;
    send(&client, "orders", ["after".to_owned()]).await;
    // What was not committed may come again.
    let mut got = String::new();
    while got != "after" {
        got = take(&mut came, 1).await.remove(0);
    }
    consumer.shutdown().await.unwrap();
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_consumed_says_why() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let error = client.consumer("g").stream().await.unwrap_err();
    assert!(
        error.to_string().contains("subscribes to no topic"),
        "{error}"
    );
    let error = client
        .consumer("bad group!")
        .subscribe("orders", "*")
        .stream()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = client
        .consumer("g")
        .subscribe("t", "*")
        .ordered()
        .broadcast()
        .stream()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot broadcast"), "{error}");
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_reads_a_range_and_follows() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 2).await;
    send(&client, "orders", (0..50).map(|n| n.to_string())).await;
    let all = client
        .reader("orders")
        .open()
        .await
        .unwrap()
        .all()
        .await
        .unwrap();
    let bodies: BTreeSet<String> = all
        .iter()
        .map(|message| String::from_utf8(message.body().to_vec()).unwrap())
        .collect();
    assert_eq!(bodies.len(), 50);
    let last = client
        .reader("orders")
        .from(Position::Last(3))
        .open()
        .await
        .unwrap();
    assert_eq!(last.all().await.unwrap().len(), 6, "three of each queue");
    let queue = Queue::new("orders", "broker-a", 1);
    let of_one = client
        .reader("orders")
        .queues([queue.clone()])
        .from(Position::Offset(20))
        .open()
        .await
        .unwrap();
    let offsets: Vec<i64> = of_one
        .all()
        .await
        .unwrap()
        .iter()
        .map(|message| message.queue_offset())
        .collect();
    assert_eq!(offsets, (20..25).collect::<Vec<_>>());
    let none = client
        .reader("orders")
        .from(Position::Latest)
        .open()
        .await
        .unwrap();
    assert!(none.all().await.unwrap().is_empty());

    let mut follows = client
        .reader("orders")
        .from(Position::Latest)
        .filter("paid")
        .follow(true)
        .open()
        .await
        .unwrap();
    send(&client, "orders", ["untagged".to_owned()]).await;
    let tagged = Message::new("orders", "tagged").tag("paid");
    client.producer().send(tagged).await.unwrap();
    let next = tokio::time::timeout(WITHIN, follows.next()).await;
    assert_eq!(next.expect("in time").unwrap().unwrap().body(), "tagged");
    let error = client
        .reader("orders")
        .queues([Queue::new("other", "broker-a", 0)])
        .open()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = client.reader("nothing").open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute);
    drop(follows);
    cluster.stop(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_consumer_reads_what_it_is_told_to() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    topic(&client, "orders", 2).await;
    send(&client, "orders", (0..20).map(|n| n.to_string())).await;
    let queues = client.route("orders").await.unwrap().readable().to_vec();
    let mut consumer = client.pull_consumer("report").from(StartFrom::First);
    consumer.assign(vec![queues[0].clone()]).await.unwrap();
    let first = consumer.poll(4, WITHIN).await.unwrap();
    assert_eq!(first.len(), 4);
    assert_eq!(consumer.position(&queues[0]), Some(4));
    consumer.commit().await.unwrap();
    assert_eq!(consumer.committed(&queues[0]).await.unwrap(), Some(4));
    consumer.seek(&queues[0], 9).unwrap();
    let last = consumer.poll(10, WITHIN).await.unwrap();
    assert_eq!((last.len(), last[0].queue_offset()), (1, 9));
    assert!(
        consumer
            .poll(10, Duration::from_millis(20))
            .await
            .unwrap()
            .is_empty()
    );
    // A pull that waits is not asked for again, and its answer is not lost.
    let message = Message::new("orders", "late");
    client
        .producer()
        .send_to(&queues[0], message)
        .await
        .unwrap();
    let late = consumer.poll(10, WITHIN).await.unwrap();
    assert_eq!((late.len(), late[0].queue_offset()), (1, 10));

    consumer.assign(queues.clone()).await.unwrap();
    assert_eq!(
        consumer.position(&queues[0]),
        Some(11),
        "goes on where it was"
    );
    consumer.pause(&queues[1]).unwrap();
    assert!(
        consumer
            .poll(10, Duration::from_millis(20))
            .await
            .unwrap()
            .is_empty()
    );
    consumer.resume(&queues[1]).unwrap();
    assert_eq!(consumer.poll(100, WITHIN).await.unwrap().len(), 10);
    let unknown = Queue::new("orders", "broker-a", 7);
    assert_eq!(
        consumer.seek(&unknown, 0).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    cluster.stop(client).await;
}
