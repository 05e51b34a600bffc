//! Bodies that are JSON (feature `serde`): one type for what is sent and for what is received.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::consumer::{ConsumerBuilder, Delivery, HandledBuilder};
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::producer::{Producer, SendReceipt};
use crate::received::ReceivedMessage;

const JSON: &str = "application/json";

impl Message {
    /// A message whose body is `value` as JSON; its content type says so.
    ///
    /// ```
    /// use rmq_client::Message;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Order {
    ///     number: u32,
    /// }
    ///
    /// let message = Message::json("orders", &Order { number: 17 })?.key("17");
    /// assert_eq!(message.body(), r#"{"number":17}"#);
    /// # Ok::<_, rmq_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `value` has no form in JSON, such as a map whose keys are not texts.
    pub fn json<T: Serialize + ?Sized>(topic: impl Into<String>, value: &T) -> Result<Self, Error> {
        let topic = topic.into();
        let body = serde_json::to_vec(value).map_err(|error| {
            let what = format!(
                "a message for \"{topic}\": {} cannot be written as JSON: {error}",
                std::any::type_name::<T>()
            );
            Error::invalid(what).source(error)
        })?;
        Ok(Self::new(topic, body).content_type(JSON))
    }
}

impl Producer {
    /// Sends `value` as JSON. For a message with keys or a tag, make it with [`Message::json`] and [`send`](Producer::send) it.
    ///
    /// # Errors
    /// As [`Message::json`] and [`Producer::send`].
    ///
    /// # Cancel safety
    /// As [`Producer::send`].
    pub async fn send_json<T: Serialize + ?Sized>(
        &self,
        topic: impl Into<String>,
        value: &T,
    ) -> Result<SendReceipt, Error> {
        let message = Message::json(topic, value)?;
        self.send(message).await
    }
}

impl ReceivedMessage {
    /// The body as a value, whatever its content type says: many producers say none.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     number: u32,
    /// }
    ///
    /// let mut orders = client.consumer("billing").subscribe("orders", "*").stream().await?;
    /// while let Some(delivery) = orders.next().await? {
    ///     match delivery.json::<Order>() {
    ///         Ok(order) => {
    ///             println!("order {}", order.number);
    ///             delivery.ack().await?;
    ///         }
    ///         // It will not be an order the next time.
    ///         Err(error) => {
    ///             let why = error.to_string();
    ///             delivery.dead_letter(why).await?;
    ///         }
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Undecodable`] when the body is not such a value; the text names the message and the type.
    pub fn json<'m, T: Deserialize<'m>>(&'m self) -> Result<T, Error> {
        serde_json::from_slice(self.body()).map_err(|error| {
            let mut what = format!(
                "message {} ({} offset {}) is no {}: {error}",
                self.message_id(),
                self.queue(),
                self.queue_offset(),
                std::any::type_name::<T>(),
            );
            if let Some(other) = self.content_type().filter(|found| *found != JSON) {
                what.push_str(&format!(" (its content type is \"{other}\")"));
            }
            Error::new(ErrorKind::Undecodable, what).source(error)
        })
    }
}

impl ConsumerBuilder {
    /// As [`ConsumerBuilder::handler`], for messages whose bodies are JSON of one type. What is no `T` goes to the dead letters at once,
    /// with the reason: coming again would not make it one. A broadcast consumer, which has no dead letters, logs and skips it.
    ///
    /// ```no_run
    /// # async fn charge(_: u32) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     number: u32,
    /// }
    ///
    /// client
    ///     .consumer("billing")
    ///     .subscribe("orders", "*")
    ///     .handler_json(|order: Order, _| charge(order.number))
    ///     .run_until(std::future::pending::<()>())
    ///     .await
    /// # }
    /// ```
    pub fn handler_json<T, H, F, E>(self, handler: H) -> HandledBuilder
    where
        T: DeserializeOwned,
        H: Fn(T, Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.handler(move |delivery| {
            let handled = match delivery.json() {
                Ok(value) => Ok(handler(value, delivery)),
                Err(error) => Err((delivery, error)),
            };
            async move {
                match handled {
                    Ok(handled) => handled.await.map_err(|error| error.to_string()),
                    Err((delivery, error)) => {
                        let settled = delivery.dead_letter(error.to_string()).await;
                        settled.map_err(|error| error.to_string())
                    }
                }
            }
        })
    }
}
