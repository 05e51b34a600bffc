//! What members do wrong on purpose, on their connections.

use rmq_protocol::message::LogPosition;
use rmq_replication::Report;
use rmq_replication::wire::Frame;

use super::World;
use crate::mistakes::Mistake;
use crate::node::Role;

impl World {
    /// What a member does wrong before it connects; whether it does not connect then.
    pub(super) fn mistakes_at_connect(&mut self, member: usize, to: usize) -> bool {
        let snapshot = self.setting.makes(Mistake::SnapshotOverHolder) && self.random.chance(4);
        let Some(life) = &mut self.nodes[member].life else {
            return false;
        };
        if let Role::Follower(store) = &life.role
            && self.setting.makes(Mistake::CutsToConfirmed)
        {
            // An epoch that ends with the cut begins again with the next connection.
            let _ = store.truncate_to(LogPosition(store.positions().confirmed));
        }
        if snapshot {
            self.begin_snapshot(member, to);
        }
        snapshot
    }
}

/// What was sent, as if the member had it.
pub(super) fn counted(sent: Option<LogPosition>) -> Frame<'static> {
    let sent = sent.unwrap_or(LogPosition(0));
    Frame::Report(Report {
        received: sent,
        flushed: sent,
    })
}
