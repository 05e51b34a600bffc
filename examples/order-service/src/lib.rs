//! An example service: it consumes `orders`, charges each of them, and sends a receipt to `receipts`.
//!
//! What can go wrong is decided by kind: an order that makes no sense goes to the dead letters at once, a payment that fails is tried
//! again later, and an order that comes twice is charged once, because the charge is made under the order's number.

use std::fmt;
use std::sync::Arc;

use rmq_client::{Client, Consumer, Error, Message, Producer, Retry, StartFrom};
use serde::{Deserialize, Serialize};

/// Where orders come from.
pub const ORDERS: &str = "orders";
/// Where receipts go.
pub const RECEIPTS: &str = "receipts";
/// The service's consumer group.
pub const GROUP: &str = "order-service";

/// An order, as JSON in a message's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number; also the message's key.
    pub number: String,
    /// What to charge, in cents.
    pub cents: u64,
}

/// Whoever moves the money.
pub trait Payments: Send + Sync + 'static {
    /// Charges an order. The same number is charged once, however often it is asked for.
    ///
    /// # Errors
    /// When the payment did not go through and may later.
    fn charge(&self, order: &Order) -> Result<(), Declined>;
}

/// A payment that did not go through.
#[derive(Debug)]
pub struct Declined;

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payment was declined")
    }
}

/// Starts the service; it runs until the consumer is shut down.
///
/// # Errors
/// When the cluster does not answer.
pub async fn start(client: &Client, payments: Arc<impl Payments>) -> Result<Consumer, Error> {
    let producer = client.producer();
    client
        .consumer(GROUP)
        .subscribe(ORDERS, "*")
        .from(StartFrom::First)
        .retry(Retry::up_to(3))
        // What is no order goes to the dead letters: trying again does not make sense of it.
        .handler_json(move |order, _| {
            let (payments, producer) = (Arc::clone(&payments), producer.clone());
            async move { handle(order, &*payments, &producer).await }
        })
        .start()
        .await
}

async fn handle(order: Order, payments: &impl Payments, producer: &Producer) -> Result<(), String> {
    payments
        .charge(&order)
        .map_err(|declined| format!("order {}: {declined}", order.number))?;
    let receipt = format!("order {}: {} cents charged", order.number, order.cents);
    // Without a receipt the order is not done: an error here brings it back.
    producer
        .send(Message::new(RECEIPTS, receipt).key(&order.number))
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}
