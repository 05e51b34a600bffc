//! `BrokerGroup`: brokers with volumes and stable names, restarted one by one, removed when they are empty.
//!
//! A look has three parts: what is *seen* (`look.rs` fills `observed.rs`), what is *decided* of it (`decide.rs`, pure), and what is *done*
//! (`act.rs`). Nothing is done to a broker before the status says so.

mod act;
mod backlog;
mod children;
mod conditions;
mod decide;
mod decision;
mod drain;
mod electing;
mod leases;
mod live;
mod look;
mod lost;
mod member_rolls;
mod membership;
mod memory;
mod nodes;
mod observed;
mod quiet;
mod rebuild;
mod restore;
mod rollout;
mod said;
mod securing;
mod served;
mod standing;
mod turns;
mod validate;
mod view;

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::BrokerGroup;

use crate::context::Context;
use crate::controller::Reconciled;
use crate::error::Error;
use crate::tls;
use memory::Memory;
pub(crate) use served::may_have_served;

impl Reconciled for BrokerGroup {
    type Memory = Memory;

    async fn reconcile(
        &self,
        context: &Arc<Context>,
        memory: &Arc<Memory>,
    ) -> Result<Action, Error> {
        // Reads the watches, and asks the broker and the name servers what the step in the status depends on.
        let observed = look::look(self, context, memory).await?;
        let (name_server, now) = (observed.name_server.clone(), observed.now);
        let seen = Arc::clone(&observed.tls);
        // Pure, under the lock of the turns: of the groups of a cluster, one at a time begins a restart.
        let mut decision = memory.turns.decide(observed, decide::decide);
        if let (Some(due), Some(name_server)) = (decision.tls, &name_server) {
            tls::carry_out(context, self, name_server, &seen, due, now).await?;
        }
        tls::metrics(&context.metrics, self, &seen);
        // The children first: a restart is of the template that they have.
        act::apply(self, &decision, context).await?;
        // The one step of this look, at the API server or at the broker.
        act::carry_out(self, &mut decision, context, memory).await?;
        // Events and the status: the next step is written before any look begins it.
        act::record(self, &decision, context).await?;
        Ok(decision.requeue)
    }

    fn forget(&self, memory: &Memory) {
        memory.forget(&self.uid().unwrap_or_default());
    }
}
