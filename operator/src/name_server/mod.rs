//! `NameServer`: a StatefulSet whose pods need nothing but their names. A look has three parts: what is *seen* (`look.rs`), what is *decided* of
//! it (`decide.rs`, pure), and what is *done*: the children, then the status.

mod children;
mod decide;
mod look;
mod scale_in;

use std::sync::Arc;

use kube::runtime::controller::Action;
use rmq_crds::NameServer;

use crate::apply;
use crate::context::Context;
use crate::controller::Reconciled;
use crate::error::Error;
use crate::status;
use crate::tls;

impl Reconciled for NameServer {
    type Memory = ();

    async fn reconcile(&self, context: &Arc<Context>, _memory: &Arc<()>) -> Result<Action, Error> {
        let observed = look::look(self, context).await?;
        let decision = decide::decide(&observed);
        if let Some(due) = decision.tls {
            tls::carry_out(context, self, self, &observed.tls, due, observed.now).await?;
        }
        tls::metrics(&context.metrics, self, &observed.tls);
        if let Some(children) = &decision.children {
            apply::children(context, self, children).await?;
        }
        if let Some((status, verdict)) = decision.status {
            status::record(context, self, status, &verdict).await?;
        }
        Ok(decision.requeue)
    }
}
