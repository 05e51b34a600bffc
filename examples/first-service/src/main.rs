//! Bills every order: `docs/start/rust.md`.
use rmq_client::{Client, Delivery, Message};

#[tokio::main]
async fn main() -> Result<(), rmq_client::Error> {
    let client = Client::from_env().await?;
    let producer = client.producer();
    client
        .consumer("billing")
        .subscribe("orders", "*")
        .handler(move |order| bill(producer.clone(), order))
        .run_until(rmq_client::stop_signal())
        .await
}

/// `Err` lets the order come again, a little later each time.
async fn bill(producer: rmq_client::Producer, order: Delivery) -> Result<(), rmq_client::Error> {
    let text = String::from_utf8_lossy(order.message().body()).into_owned();
    let bill = Message::new("bills", format!("bill for {text}")).key(&text);
    producer.send(bill).await.map(drop)
}
