//! A user's service with all that the client crate offers: JSON orders become JSON bills, layers of tower stand around an audit, sends go
//! through a hook, a sink and a codec, and traces and metrics tell of it. It prints its metrics when it has ended.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use metrics_exporter_prometheus::PrometheusBuilder;
use rmq_client::{Client, Compression, Delivery, Error, Message, Producer, Retry, StartFrom};
use serde::{Deserialize, Serialize};
use tower::ServiceBuilder;

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
    /// Whether the handler never comes back.
    #[serde(default)]
    hangs: bool,
}

#[derive(Serialize)]
struct Bill {
    order: u32,
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recorder = PrometheusBuilder::new().install_recorder()?;
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(std::io::stderr)
        .init();
    // It may start before its cluster does.
    let url = std::env::var("RMQ_URL")?;
    let client = Client::builder(url)
        .retry_first_connect(Duration::from_secs(60))
        .connect()
        .await?;
    let producer = client
        .producer_builder()
        .group("service")
        .compression(Compression::zlib().threshold(256))
        .before_send(|message: Message| {
            let is_empty = message.body().is_empty();
            match is_empty {
                false => Ok(message.property("tenant", "a")),
                true => Err("nothing to say"),
            }
        })
        .build();
    let mut notices = producer.sink();
    let mut hello = stream::iter(["one", "two", "three"])
        .map(|notice| Ok::<_, Error>(Message::new("notices", notice)));
    notices.send_all(&mut hello).await?;

    let audit = ServiceBuilder::new()
        .timeout(Duration::from_secs(10))
        .service_fn(|order: Delivery| async move {
            eprintln!(r#"{{"audit":"{}"}}"#, order.message_id());
            Ok::<_, std::convert::Infallible>(())
        });
    let audit = client
        .consumer("audit")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .service(audit)
        .start()
        .await?;
    let bills = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .retry(Retry::up_to(8).backoff(Duration::from_secs(1)..Duration::from_secs(10)))
        .drain_within(Duration::from_secs(2))
        .handler_json(move |order: Order, _| bill(producer.clone(), order))
        .start()
        .await?;
    println!("ready");
    let ended = bills.run_until(rmq_client::stop_signal()).await;
    audit.shutdown().await?;
    client.shutdown().await;
    print!("{}", recorder.render());
    Ok(ended?)
}

async fn bill(producer: Producer, order: Order) -> Result<(), Error> {
    if order.hangs {
        println!("hangs");
        std::future::pending::<()>().await;
    }
    let text = "a line of a bill\n".repeat(100);
    let bill = Bill {
        order: order.number,
        text,
    };
    producer.send_json("bills", &bill).await.map(drop)
}
