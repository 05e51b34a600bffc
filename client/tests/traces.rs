//! Traces: what a handler sends belongs to the trace of its message.

use rmq_client::{Message, StartFrom, TraceContext};
use rmq_testing::TestCluster;

#[rmq_testing::test]
async fn what_a_handler_sends_belongs_to_its_message_s_trace(cluster: TestCluster) {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for topic in ["orders", "bills"] {
        cluster.topic(topic).queues(1).create().await;
    }
    let client = cluster.connect().await;
    let context = TraceContext::new(PARENT, Some("vendor=1")).unwrap();
    let producer = client.producer();
    // What a request brought, nothing, and what a user set alone.
    let traced = producer.send(Message::new("orders", "traced"));
    context.clone().scope(traced).await.unwrap();
    producer
        .send(Message::new("orders", "alone"))
        .await
        .unwrap();
    let own = Message::new("orders", "odd").property("traceparent", "nonsense");
    context.scope(producer.send(own)).await.unwrap();
    let sends = |body: String, blocking: bool| Message::new("bills", format!("{body} {blocking}"));
    let by_task = producer.clone();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler(move |order| {
            let producer = by_task.clone();
            async move {
                let body = String::from_utf8_lossy(order.body()).into_owned();
                producer.send(sends(body, false)).await.map(drop)
            }
        })
        .start()
        .await
        .unwrap();
    let runtime = tokio::runtime::Handle::current();
    let blocking = client
        .consumer("archive")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler_blocking(move |order| {
            let body = String::from_utf8_lossy(order.body()).into_owned();
            runtime.block_on(producer.send(sends(body, true))).map(drop)
        })
        .start()
        .await
        .unwrap();
    cluster.topic("bills").assert_messages(6).await;
    for bill in cluster.topic("bills").messages().await {
        let body = String::from_utf8_lossy(bill.body()).into_owned();
        let expected = body.starts_with("traced").then_some(PARENT);
        assert_eq!(bill.property("traceparent"), expected, "{body}");
        let state = expected.map(|_| "vendor=1");
        assert_eq!(bill.property("tracestate"), state, "{body}");
    }
    consumer.shutdown().await.unwrap();
    blocking.shutdown().await.unwrap();
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_producer_may_leave_the_trace_out(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = TraceContext::new(parent, None).unwrap();
    let silent = client.producer_builder().trace_context(false).build();
    let sends = async {
        silent.send(Message::new("orders", "without")).await?;
        client.producer().send(Message::new("orders", "with")).await
    };
    context.scope(sends).await.unwrap();
    for order in cluster.topic("orders").messages().await {
        let carried = order.property("traceparent");
        assert_eq!(carried.is_some(), order.body() == "with");
    }
}
