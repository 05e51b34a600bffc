//! Transactions that have not ended.

use rmq_protocol::bodies::{OpenTransaction, TransactionList};
use rmq_protocol::requests::{GetTransactions, ResumeCheckHalfMessage};

use super::Admin;
use crate::error::Error;

impl Admin {
    /// Transactions of a broker that have not ended, oldest first: those that are open, or, with `parked`, those whose producers gave no
    /// answer to the last check. At most `max` of them.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// for parked in client.admin().transactions("broker-a", true, 100).await? {
    ///     println!("{} of {}", parked.transaction_id, parked.producer_group);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the broker is unknown, does not answer, or is a broker of another kind, which does not know the request.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn transactions(
        &self,
        broker: &str,
        parked: bool,
        max: usize,
    ) -> Result<Vec<OpenTransaction>, Error> {
        let master = self.client.master_of(broker).await?;
        let mut all = Vec::new();
        let mut behind = None;
        while all.len() < max {
            let request = GetTransactions {
                behind,
                parked: Some(parked),
                max_num: i32::try_from(max - all.len()).ok(),
            };
            let answer = master.call(&request, b"").await?;
            let list = TransactionList::from_json(answer.body())?;
            all.extend(list.transactions);
            behind = list.next;
            if behind.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// Has a broker ask about a transaction again, as if it had never asked: one that is parked, or that was asked about often. `offset_id` is
    /// that of [`OpenTransaction::offset_msg_id`].
    ///
    /// # Errors
    /// When the broker is unknown, does not answer, or has no such transaction.
    ///
    /// # Cancel safety
    /// A dropped call may have been done or not.
    pub async fn check_transaction_again(
        &self,
        broker: &str,
        topic: &str,
        offset_id: &str,
    ) -> Result<(), Error> {
        let request = ResumeCheckHalfMessage {
            topic: Some(topic.into()),
            msg_id: Some(offset_id.into()),
        };
        let master = self.client.master_of(broker).await?;
        master.call(&request, b"").await.map(drop)
    }
}
