//! Each metric is there and counts what it says.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rmq_client::{Client, ErrorKind, Message, Retry, StartFrom};
use rmq_protocol::RequestCode;
use rmq_testing::TestCluster;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

const WITHIN: Duration = Duration::from_secs(20);

struct Metrics(PrometheusHandle);

impl Metrics {
    /// The value of a metric with exactly these labels, as `topic="orders"`, in any order.
    fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.0.render();
        text.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, "}"));
            let rest = rest.strip_suffix('}')?;
            let count = rest.split(',').filter(|label| !label.is_empty()).count();
            let has_all = labels
                .iter()
                .all(|label| rest.split(',').any(|has| has == *label));
            (found == name && has_all && count == labels.len())
                .then(|| value.parse().ok())
                .flatten()
        })
    }

    #[track_caller]
    fn is(&self, name: &str, labels: &[&str], expected: f64) {
        let found = self.value(name, labels);
        assert_eq!(
            found,
            Some(expected),
            "{name} {labels:?}:\n{}",
            self.0.render()
        );
    }

    async fn comes(&self, name: &str, labels: &[&str], expected: f64) {
        let until = Instant::now() + WITHIN;
        while self.value(name, labels) != Some(expected) {
            assert!(
                Instant::now() < until,
                "{name} {labels:?} is not {expected}:\n{}",
                self.0.render()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[test]
fn each_metric_counts_what_it_says() {
    // The only test of this program: the recorder is everybody's.
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = Metrics(recorder.handle());
    metrics::set_global_recorder(recorder).unwrap();
    rmq_testing::run(TestCluster::builder(), async |cluster| {
        for topic in ["orders", "notices", "slow"] {
            cluster.topic(topic).queues(1).create().await;
        }
        let client = cluster.connect().await;
        sends(&cluster, &client, &metrics).await;
        settles(&cluster, &client, &metrics).await;
        lags(&cluster, &client, &metrics).await;
        client.shutdown().await;
    });
}

async fn sends(cluster: &TestCluster, client: &Client, metrics: &Metrics) {
    let producer = client.producer();
    let message = || Message::new("orders", "x");
    producer.send(message()).await.unwrap();
    producer.submit(message()).await.unwrap().await.unwrap();
    let batch = producer.send_all(vec![message(), message()]).await;
    assert_eq!(batch.unwrap().len(), 2);
    let orders = ["topic=\"orders\""];
    metrics.is("rmq_client_sends_total", &orders, 4.0);
    metrics.is("rmq_client_send_duration_seconds_count", &orders, 4.0);
    metrics.is("rmq_client_sends_in_flight", &orders, 0.0);
    producer.send_and_forget(message()).await.unwrap();
    metrics.is("rmq_client_one_way_sends_total", &orders, 1.0);
    cluster.topic("orders").assert_messages(5).await;
    // Refused before anything is sent, by each way of sending.
    let empty = || Message::new("orders", "");
    producer.send(empty()).await.unwrap_err();
    producer.submit(empty()).await.unwrap_err();
    let refused = producer.send_all(vec![message(), Message::new("other", "x")]);
    refused.await.unwrap_err();
    let invalid = ["topic=\"orders\"", "kind=\"invalid_input\""];
    metrics.is("rmq_client_send_failures_total", &invalid, 3.0);
    // A topic that nobody knows, after two repetitions.
    let strict = client.producer_builder().auto_create_topic(false).build();
    let error = strict.send(Message::new("nowhere", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute);
    let nowhere = ["topic=\"nowhere\"", "kind=\"no_route\""];
    metrics.is("rmq_client_send_failures_total", &nowhere, 1.0);
    metrics.is("rmq_client_send_retries_total", &nowhere, 2.0);
    // Whoever stops waiting.
    let slow = ["topic=\"slow\""];
    let broker = cluster.broker(0);
    let before = broker.requests(RequestCode::SendMessageV2);
    broker.lose(RequestCode::SendMessageV2, 1);
    let lost = async {
        while broker.requests(RequestCode::SendMessageV2) == before {
            sleep(Duration::from_millis(5)).await;
        }
        metrics.is("rmq_client_sends_in_flight", &slow, 1.0);
    };
    tokio::select! {
        sent = producer.send(Message::new("slow", "x")) => panic!("no answer was expected: {sent:?}"),
        () = lost => {}
    }
    metrics.is("rmq_client_sends_in_flight", &slow, 0.0);
    let cancelled = ["topic=\"slow\"", "kind=\"cancelled\""];
    metrics.is("rmq_client_send_failures_total", &cancelled, 1.0);
}

async fn settles(cluster: &TestCluster, client: &Client, metrics: &Metrics) {
    let group = client.consumer("billing").subscribe("notices", "*");
    for body in ["fine", "fails", "poison"] {
        let message = Message::new("notices", body);
        client.producer().send(message).await.unwrap();
    }
    let consumer = group
        .from(StartFrom::First)
        .handler(|delivery| async move {
            match &delivery.body()[..] {
                b"fine" => Ok(()),
                b"poison" => delivery
                    .dead_letter("poison")
                    .await
                    .map_err(|error| error.to_string()),
                _ => Err("fails".to_owned()),
            }
        })
        .start()
        .await
        .unwrap();
    let of = |outcome: &'static str| ["group=\"billing\"", "topic=\"notices\"", outcome];
    metrics
        .comes("rmq_client_settled_total", &of("outcome=\"ack\""), 1.0)
        .await;
    metrics
        .comes("rmq_client_settled_total", &of("outcome=\"retry\""), 1.0)
        .await;
    metrics
        .comes(
            "rmq_client_settled_total",
            &of("outcome=\"dead_letter\""),
            1.0,
        )
        .await;
    let notices = ["group=\"billing\"", "topic=\"notices\""];
    metrics.is("rmq_client_received_total", &notices, 3.0);
    metrics
        .comes("rmq_client_handler_duration_seconds_count", &notices, 3.0)
        .await;
    cluster.group("billing").assert_dead_letters(1).await;
    consumer.shutdown().await.unwrap();
    metrics
        .comes("rmq_client_deliveries_in_flight", &notices, 0.0)
        .await;
    // Broadcasting has no dead letters.
    let consumer = client
        .consumer("all")
        .subscribe("notices", "*")
        .from(StartFrom::First)
        .broadcast()
        .retry(Retry::up_to(0))
        .handler(|_| async { Err::<(), _>("fails") })
        .start()
        .await
        .unwrap();
    let given_up = ["group=\"all\"", "topic=\"notices\"", "outcome=\"given_up\""];
    metrics
        .comes("rmq_client_settled_total", &given_up, 3.0)
        .await;
    consumer.shutdown().await.unwrap();
}

async fn lags(cluster: &TestCluster, client: &Client, metrics: &Metrics) {
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let consumer = client
        .consumer("archive")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .commit_every(Duration::from_millis(10))
        .handler(move |_| {
            let opens = Arc::clone(&opens);
            async move { opens.acquire().await.map(|permit| permit.forget()) }
        })
        .start()
        .await
        .unwrap();
    let orders = ["group=\"archive\"", "topic=\"orders\""];
    metrics.comes("rmq_client_lag_messages", &orders, 5.0).await;
    metrics
        .comes("rmq_client_deliveries_in_flight", &orders, 5.0)
        .await;
    gate.add_permits(5);
    metrics.comes("rmq_client_lag_messages", &orders, 0.0).await;
    consumer.pause();
    consumer.shutdown().await.unwrap();
    let _ = cluster;
}
