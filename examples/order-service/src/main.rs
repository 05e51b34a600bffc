//! The service as a program: `RMQ_URL=rmq://localhost:9876 cargo run -p order-service`.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};

use order_service::{Declined, Order, Payments, start};
use rmq_client::Client;

/// Declines nothing, and remembers what it charged while it runs.
#[derive(Default)]
struct Ledger(Mutex<HashSet<String>>);

impl Payments for Ledger {
    fn charge(&self, order: &Order) -> Result<(), Declined> {
        let mut charged = self.0.lock().map_err(|_| Declined)?;
        charged.insert(order.number.clone());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), rmq_client::Error> {
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr)
        .init();
    let client = Client::from_env().await?;
    let consumer = start(&client, Arc::new(Ledger::default())).await?;
    rmq_client::stop_signal().await;
    consumer.shutdown().await?;
    client.shutdown().await;
    Ok(())
}
