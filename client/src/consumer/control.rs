//! A running consumer from outside: pausing, seeking, lag, ending.

use std::sync::Arc;

use super::Consumer;
use super::ending::{Ending, end};
use super::state::ConsumerState;
use crate::error::{Error, ErrorKind};
use crate::queue::Queue;

/// A handle of a running consumer, to pause, look at and end it from elsewhere. Cheap to clone; it does not keep the consumer running,
/// and after the consumer's end it holds no queue. A [`Consumer`] and a stream of deliveries give it.
///
/// ```no_run
/// # async fn bill(_: rmq_client::Delivery) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let consumer = client.consumer("billing").subscribe("orders", "*").handler(bill).start().await?;
/// let control = consumer.control();
/// tokio::spawn(async move {
///     control.pause();
///     println!("{} is {:?} behind", control.group(), control.lag().await);
///     control.resume();
/// });
/// consumer.run_until(async { drop(tokio::signal::ctrl_c().await) }).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Arc<ConsumerState>,
}

impl Control {
    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.shared.group
    }

    /// Reads no more until [`Control::resume`]; what was read is still handed out. The queues stay with the consumer.
    pub fn pause(&self) {
        self.shared.set_paused(true);
    }

    /// Continues after [`Control::pause`].
    pub fn resume(&self) {
        self.shared.set_paused(false);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.is_paused()
    }

    /// The queues that the consumer holds now.
    #[must_use]
    pub fn assignment(&self) -> Vec<Queue> {
        let held = self.shared.held();
        held.iter().map(|held| held.queue().clone()).collect()
    }

    /// The offset that the group continues from in a queue held by this consumer.
    #[must_use]
    pub fn position(&self, queue: &Queue) -> Option<i64> {
        self.shared.find(queue)?.position()
    }

    /// Continues at another offset of a queue. What was handed out before no longer counts, whatever becomes of it.
    ///
    /// # Errors
    /// When another member holds the queue, or the consumer has ended.
    pub fn seek(&self, queue: &Queue, offset: i64) -> Result<(), Error> {
        let held = self.shared.find(queue).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("this member of \"{}\" does not hold {queue}", self.group()),
            )
        })?;
        held.seek(offset);
        Ok(())
    }

    /// Messages in the queues of this consumer that are not settled yet. A queue whose group is beyond its end counts as none.
    ///
    /// # Errors
    /// When a broker does not answer, or a topic of the consumer has no route.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn lag(&self) -> Result<u64, Error> {
        if let Some(missing) = self.shared.client.missing().of(&self.shared.group) {
            return Err(missing);
        }
        let ends = self.shared.held().into_iter().filter_map(|held| {
            let (position, admin) = (held.position()?, self.shared.client.admin());
            Some(async move {
                let end = admin.max_offset(held.queue()).await?;
                Ok::<_, Error>(u64::try_from(end.saturating_sub(position)).unwrap_or(0))
            })
        });
        let lags: Result<Vec<u64>, Error> = futures_util::future::join_all(ends)
            .await
            .into_iter()
            .collect();
        Ok(lags?.into_iter().sum())
    }

    /// Commits all offsets now.
    ///
    /// # Errors
    /// When a broker does not answer; the others have got theirs.
    ///
    /// # Cancel safety
    /// A dropped call may have committed some of the queues; the next one makes it whole.
    pub async fn commit(&self) -> Result<(), Error> {
        self.shared.commit(&self.shared.held()).await
    }

    /// Ends the consumer: stops reading, waits for what is being handled, commits, and leaves the group. This takes
    /// [`drain_within`](crate::ConsumerBuilder::drain_within) and two seconds at most. Who asks again waits for the same end.
    ///
    /// # Errors
    /// When messages were still being handled at the end of `drain_within`: their handlers are dropped where they stand, the error
    /// names the messages, and other members get them again. Also when offsets could not be committed.
    ///
    /// # Cancel safety
    /// From its first poll on the consumer reads no more. Of a dropped call, the rest is done by the next one, or when the [`Consumer`]
    /// is dropped.
    pub async fn shutdown(&self) -> Result<(), Error> {
        end(&self.shared).await
    }

    /// Ready when the consumer has ended or is about to.
    pub(super) async fn ends(&self) {
        self.shared.closed.cancelled().await;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let shared = &self.control.shared;
        if shared.ending.initialized() {
            return;
        }
        let (ending, group) = (Ending(Arc::clone(shared)), shared.group.clone());
        let (tasks, runtime) = (shared.client.tasks().clone(), shared.runtime.clone());
        let ending = async move {
            if let Err(error) = end(&ending.0).await {
                tracing::warn!(group, "the consumer ended badly: {error}");
            }
        };
        tasks.spawn_on(ending, &runtime);
    }
}
