//! Who is master of a broker group, how far its replicas are, and the networks between its members.

use std::time::Duration;

use rmq_client::protocol::bodies::HaRuntimeInfo;
use rmq_client::protocol::requests::GetBrokerHaStatus;
use tokio::time::Instant;

use crate::broker::BrokerHandle;
use crate::cluster::TestCluster;
use crate::topic::LOOK_EVERY;

/// How long a group may take to have a master, or its replicas to catch up.
const WITHIN: Duration = Duration::from_secs(30);

impl TestCluster {
    /// The running member that the name servers name as the master of a group now.
    ///
    /// # Panics
    /// When no name server answers, or there are not so many groups.
    pub async fn master_of(&self, group: usize) -> Option<BrokerHandle<'_>> {
        let members = &self.inner.groups[group].members;
        let client = self.client().await;
        let info = client.cluster_info().await;
        let info = info.unwrap_or_else(|error| panic!("who is master: {error}"));
        let name = format!("broker-{group}");
        let addr = info.broker_addr_table.get(&name)?.master()?;
        let member = members.iter().find(|member| member.address() == addr)?;
        member.is_running().await.then(|| BrokerHandle::new(member))
    }

    /// Waits for the master of a group, 30 seconds at most.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn wait_for_master(&self, group: usize) -> BrokerHandle<'_> {
        let what = format!("broker-{group} has a master");
        self.in_time(what, async || self.master_of(group).await)
            .await
    }

    /// Waits until each running replica of a group is in sync and lacks nothing, 30 seconds at most.
    ///
    /// # Panics
    /// When that does not come in time.
    pub async fn replicas_caught_up(&self, group: usize) {
        let what = format!("the replicas of broker-{group} have caught up");
        self.in_time(what, async || {
            let mut running = 0;
            for member in &self.inner.groups[group].members {
                running += usize::from(member.is_running().await);
            }
            let master = self.master_of(group).await?;
            let master = self.client().await.remote(&master.address());
            let answer = master.call(&GetBrokerHaStatus {}, b"").await.ok()?;
            let state = HaRuntimeInfo::from_json(answer.body()).ok()?;
            let replicas = state.ha_connection_info.iter();
            let there = replicas.filter(|one| one.in_sync && one.diff == 0);
            (state.master && there.count() + 1 == running).then_some(())
        })
        .await;
    }

    /// Cuts the network between two members of one group: nothing passes, connections stay, as when a cable is pulled. Clients and name
    /// servers reach both.
    ///
    /// # Panics
    /// When they are not two members of one group.
    pub fn partition(&self, a: BrokerHandle<'_>, b: BrokerHandle<'_>) {
        assert!(
            a.name() == b.name() && a.slot() != b.slot(),
            "{a:?} and {b:?} are not two members of one group"
        );
        let mut groups = self.inner.groups.iter();
        let of = |member: &crate::broker::Broker| BrokerHandle::new(member).name() == a.name();
        let group = groups.find(|group| group.members.iter().any(of));
        group.inspect(|group| group.between.set_partition(a.slot(), b.slot(), true));
    }

    /// Mends all networks between members.
    pub fn heal(&self) {
        for group in &self.inner.groups {
            group.between.heal();
        }
    }

    /// Looks until there is something.
    async fn in_time<T>(&self, what: String, look: impl AsyncFn() -> Option<T>) -> T {
        let until = Instant::now() + WITHIN;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < until, "not within {WITHIN:?}: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
