//! What users put before sends and around handlers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq_client::{Batching, Delivery, ErrorKind, Message, Retry, StartFrom};
use rmq_testing::TestCluster;
use tower::{Service, ServiceBuilder};

#[derive(Debug)]
struct TooLong(usize);

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes are too many", self.0)
    }
}

impl std::error::Error for TooLong {}

/// Notes that it saw the message.
fn note(number: u32) -> impl Fn(Message) -> Result<Message, TooLong> + Send + Sync + 'static {
    move |message| match message.body().len() {
        0..=10 => Ok(message.key(number.to_string())),
        bytes => Err(TooLong(bytes)),
    }
}

#[rmq_testing::test]
async fn each_way_of_sending_goes_through_the_hooks_in_order(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let builder = || {
        let hooked = client.producer_builder().before_send(note(1));
        hooked.before_send(note(2))
    };
    let producer = builder().build();
    let gathering = builder()
        .batching(Batching::linger(Duration::from_millis(1)))
        .build();
    let queue = client.route("t").await.unwrap().writable()[0].clone();
    let fine = || Message::new("t", "fine");
    producer.send(fine()).await.unwrap();
    producer.send_to(&queue, fine()).await.unwrap();
    producer.submit(fine()).await.unwrap().await.unwrap();
    let submitted = producer.submit_to(&queue, fine()).await;
    submitted.unwrap().await.unwrap();
    producer.send_and_forget(fine()).await.unwrap();
    producer.send_all(vec![fine(), fine()]).await.unwrap();
    gathering.send(fine()).await.unwrap();
    cluster.topic("t").assert_messages(8).await;
    for message in cluster.topic("t").messages().await {
        assert_eq!(message.keys().collect::<Vec<_>>(), ["1", "2"]);
    }
    let long = || Message::new("t", "far too long");
    let refused = [
        producer.send(long()).await.unwrap_err(),
        producer.send_to(&queue, long()).await.unwrap_err(),
        producer.submit(long()).await.unwrap_err(),
        producer.submit_to(&queue, long()).await.unwrap_err(),
        producer.send_and_forget(long()).await.unwrap_err(),
        producer.send_all(vec![fine(), long()]).await.unwrap_err(),
        gathering.send(long()).await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!error.may_have_been_processed());
        assert!(
            error.to_string().contains("12 bytes are too many"),
            "{error}"
        );
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.is::<TooLong>(), "{source}");
    }
    // Nothing of what was refused was sent, nor what came with it.
    cluster.topic("t").assert_messages(8).await;
}

/// A service that is never ready.
#[derive(Clone)]
struct Broken(Arc<AtomicUsize>);

impl Service<Delivery> for Broken {
    type Response = ();
    type Error = &'static str;
    type Future = std::future::Ready<Result<(), &'static str>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), &'static str>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::Ready(Err("the pool is closed"))
    }

    fn call(&mut self, _: Delivery) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

#[rmq_testing::test]
async fn layers_stand_around_the_handler_in_order(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let say = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move |delivery: Delivery| {
            seen.lock().unwrap().push(what);
            delivery
        }
    };
    let last = Arc::clone(&seen);
    let service = ServiceBuilder::new()
        .map_request(say("outer"))
        .map_request(say("inner"))
        .service_fn(move |_: Delivery| {
            last.lock().unwrap().push("handler");
            async { Ok::<_, std::convert::Infallible>(()) }
        });
    client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap();
    let consumer = client
        .consumer("layered")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .service(service)
        .start()
        .await
        .unwrap();
    cluster.group("layered").drained(&["t"]).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), ["outer", "inner", "handler"]);

    // The error of a layer is the handler's, and so is that of a service that is not ready.
    let slow = ServiceBuilder::new()
        .timeout(Duration::from_millis(20))
        .service_fn(|_: Delivery| std::future::pending::<Result<(), std::convert::Infallible>>());
    let asked = Arc::new(AtomicUsize::new(0));
    for group in ["slow", "broken"] {
        let builder = client
            .consumer(group)
            .subscribe("t", "*")
            .from(StartFrom::First)
            .retry(Retry::up_to(0));
        let handled = match group {
            "slow" => builder.service(slow.clone()),
            _ => builder.service(Broken(Arc::clone(&asked))),
        };
        let consumer = handled.start().await.unwrap();
        cluster.group(group).assert_dead_letters(1).await;
        consumer.shutdown().await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
