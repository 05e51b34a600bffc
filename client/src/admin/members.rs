//! The members of a broker group, and who of them is the master.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{GroupStatus, parse_properties, write_properties};
use rmq_protocol::requests::{
    GetBrokerConfig, GetGroupStatus, RequestGroupMaster, UpdateBrokerConfig,
};

use super::Admin;
use crate::error::Error;

impl Admin {
    /// The state of a broker group as the member at `addr` (`host:port`) knows it. A replica knows less than the master does.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// let status = client.admin().group_status("10.0.0.1:10911").await?;
    /// println!("epoch {}, master {:?}", status.epoch, status.master);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the member does not answer, or is a broker of another kind, which does not know the request.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn group_status(&self, addr: &str) -> Result<GroupStatus, Error> {
        let answer = self.client.remote(addr);
        let answer = answer.call(&GetGroupStatus {}, b"").await?;
        Ok(GroupStatus::from_json(answer.body())?)
    }

    /// The settings of the member at `addr` (`host:port`), by name. [`broker_config`](Self::broker_config) asks the master.
    ///
    /// # Errors
    /// When the member does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn member_config(&self, addr: &str) -> Result<BTreeMap<String, String>, Error> {
        let member = self.client.remote(addr);
        let answer = member.call(&GetBrokerConfig {}, b"").await?;
        Ok(parse_properties(answer.body())?.into_iter().collect())
    }

    /// Changes settings of the member at `addr` (`host:port`), and of no other.
    ///
    /// # Errors
    /// When the member does not answer, or refuses a setting.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, or everything; the same call again makes it whole.
    pub async fn update_member_config(
        &self,
        addr: &str,
        settings: &[(&str, &str)],
    ) -> Result<(), Error> {
        let body = write_properties(settings.iter().copied());
        let member = self.client.remote(addr);
        member.call(&UpdateBrokerConfig {}, &body).await.map(drop)
    }

    /// Asks for another master through the member at `addr` (`host:port`). `Ok` means that the request is written down; the end of it is
    /// [`GroupStatus::outcome`].
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use rmq_client::protocol::requests::{GroupWish, RequestGroupMaster};
    ///
    /// let request = RequestGroupMaster {
    ///     kind: GroupWish::Switchover,
    ///     member: 1,
    ///     accept_loss: false,
    ///     request: "maintenance-7".into(),
    /// };
    /// client.admin().request_group_master("10.0.0.1:10911", &request).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the member does not answer, or the group refuses: the roles are fixed, there is no such member, the member is not in sync, nobody
    /// can hand over, or another request is not answered yet.
    ///
    /// # Cancel safety
    /// The request of a dropped call may be written down or not. The same call with the same number makes no second request.
    pub async fn request_group_master(
        &self,
        addr: &str,
        request: &RequestGroupMaster<'_>,
    ) -> Result<(), Error> {
        let member = self.client.remote(addr);
        member.call(request, b"").await.map(drop)
    }
}
