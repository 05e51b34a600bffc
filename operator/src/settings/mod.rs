//! What `Topic`, `SubscriptionGroup` and `User` share: brokers keep what they stand for, and they have no pods. The object is the truth: a change
//! by hand at a broker is changed back, and topics, groups and users without an object are left alone.
//!
//! A look has three parts: what is *seen* in the watches, what is *decided* of it (`decide.rs`, pure), and what is *done*. Brokers are asked
//! by what is done alone (`bring.rs`, `remove.rs`): one survey of a cluster answers for many objects.

mod bring;
mod decide;
mod kind;
mod remove;

use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::NameServer;

use crate::apply;
use crate::conditions::Verdict;
use crate::context::Context;
use crate::credentials;
use crate::error::Error;
use crate::objects::names;
use crate::requeue;
use crate::status;
use crate::time;
pub(crate) use bring::{Brought, absent};
pub(crate) use decide::judge;
use decide::{Observed, Step};
pub(crate) use kind::{Common, Kind, Placed, name_term, terms, touched};

/// Pauses between looks at an object that is stalled: the correction wakes it, so a look is only for changes at brokers.
const STALLED: (u64, u64) = (30, 60);
/// Pauses between looks at an object that waits for brokers.
const WAITING: (u64, u64) = (2, 10);

/// One look at a topic or a group.
pub(crate) async fn reconcile_settings<K: Kind>(
    object: &K,
    context: &Context,
) -> Result<Action, Error> {
    reconcile(object, context, async |name_server: &NameServer| {
        bring(object, name_server, context).await
    })
    .await
}

/// One look at an object. `bring` brings it about at the brokers: those that have it, where they are known, and the verdict.
pub(crate) async fn reconcile<K: Placed>(
    object: &K,
    context: &Context,
    bring: impl AsyncFnOnce(&NameServer) -> Result<(Option<Vec<String>>, Verdict), Error>,
) -> Result<Action, Error> {
    let decision = decide::decide(Observed {
        object,
        name_server: kind::name_server_of(object, context),
        winner: kind::conflict(object, context),
    });
    if let Some(held) = decision.hold
        && apply::finalizer(context, object, held).await?
    {
        // The object has another version now, and the change wakes it.
        return Ok(Action::await_change());
    }
    let (brokers, verdict) = match decision.step {
        Step::Rest => return Ok(Action::await_change()),
        Step::Say(verdict) => (None, verdict),
        Step::Remove(name_server) => {
            match remove::remove(object, name_server.as_deref(), context).await? {
                Some(verdict) => (None, verdict),
                None => return Ok(Action::await_change()),
            }
        }
        Step::Bring(name_server) => match credentials::sign(&name_server, context).await {
            Ok(()) => bring(&name_server).await?,
            Err(Error::NotYet(what)) => (None, Verdict::progressing("WaitingForKeys", what)),
            Err(error) => return Err(error),
        },
    };
    write(context, object, brokers, &verdict).await
}

/// Brings an object about: the brokers that have it, where they are known, and the verdict.
async fn bring<K: Kind>(
    object: &K,
    name_server: &NameServer,
    context: &Context,
) -> Result<(Option<Vec<String>>, Verdict), Error> {
    match bring::bring(object, name_server, context).await {
        Ok(brought) => {
            let silent = bring::silent(object, name_server, &brought, context).await;
            let verdict = decide::judge(object, &brought, &silent);
            Ok((Some(brought.brokers), verdict))
        }
        Err(error @ (Error::Cluster(_) | Error::ClusterAway(_))) => {
            let verdict = Verdict::progressing("ClusterUnreachable", error.to_string());
            Ok((None, verdict))
        }
        Err(Error::NotYet(what)) => Ok((None, Verdict::progressing("WaitingForBrokers", what))),
        Err(error) => Err(error),
    }
}

async fn write<K: Placed>(
    context: &Context,
    object: &K,
    brokers: Option<Vec<String>>,
    verdict: &Verdict,
) -> Result<Action, Error> {
    let mut status = object.status().cloned().unwrap_or_default();
    object.fill(&mut status, brokers);
    status::record(context, object, status, verdict).await?;
    let (shortest, longest) = if verdict.stalled { STALLED } else { WAITING };
    let pause = Duration::from_secs(shortest)..=Duration::from_secs(longest);
    // Objects of one cluster are looked at together, so that one survey of the brokers answers for all of them.
    let cluster = object.common().name_server;
    let cluster = cluster.map_or("", |reference| reference.name.as_str());
    let cluster = names::cluster_term(&object.namespace().unwrap_or_default(), cluster);
    Ok(requeue::next(object, verdict, pause, &cluster, time::now()))
}
