//! Roles that people configure.

use crate::rig::{Group, Member, Wire, eventually};
use crate::support::pull;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_continues_as_the_master_when_people_say_so() {
    let Group {
        master,
        mut replicas,
    } = {
        let group = Group::start(2, |_| {}).await;
        group.master.client().put("orders", "", "one").await;
        group.caught_up().await;
        group
    };
    for replica in &replicas {
        replica.wire.as_ref().expect("a wire").set(Wire::Cut);
    }
    // Only the old master has it, in its epoch, at the place of what the new master stores first.
    master.client().put("orders", "", "lost").await;
    let lost = master.stop(true).await;

    let other = replicas.remove(1);
    let mut first = replicas.remove(0).stop(false).await;
    first.config.broker_id = 0;
    let master = Member::start(first).await;
    master.client().put("orders", "", "new").await;
    let wire = other.wire.as_ref().expect("a wire");
    wire.lead_to(master.broker.replication_addr().expect("a port"));
    wire.set(Wire::Whole);
    eventually("the other replica follows the new master", async || {
        let pulled = other.client().pull(&pull("orders", 0, 0)).await;
        pulled.bodies() == ["one", "new"]
    })
    .await;

    // The old master comes back as a replica, on the data that it had.
    let mut back = lost;
    back.config.broker_id = 1;
    back.config.replication_master = wire.addr.to_string();
    let back = Member::start(back).await;
    master.client().put("orders", "", "newer").await;
    for member in [&back, &other] {
        eventually("the tail of the old master is cut", async || {
            let pulled = member.client().pull(&pull("orders", 0, 0)).await;
            pulled.bodies() == ["one", "new", "newer"]
        })
        .await;
    }
    for member in [back, other, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}
