//! Looks at a broker group: reads the watches, and asks only what the next step depends on. Nothing is changed here.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use rmq_client::protocol::bodies::GroupStatus;
use rmq_crds::{BrokerGroup, ElectionAckMode, NameServer, RolloutStep};

use crate::annotations;
use crate::apply;
use crate::context::Context;
use crate::credentials;
use crate::error::Error;
use crate::fetch;
use crate::objects::{advertised, names};
use crate::observe;
use crate::time;
use crate::tls;

use super::children;
use super::memory::Memory;
use super::observed::{Closing, End, LeaseSeen, Member, Observed, Other};
use super::quiet::Purpose;
use super::view::View;
use super::{backlog, drain, leases, nodes, restore, served};

/// `brokerPermission` of a broker that refuses messages.
pub(super) const READ: &str = "4";

/// Slots that a group may have.
const SLOTS: i32 = 16;

/// One look.
pub(super) async fn look<'a>(
    object: &'a BrokerGroup,
    context: &'a Context,
    memory: &Memory,
) -> Result<Observed<'a>, Error> {
    let mut observed = watched(object, context, memory);
    let Some(name_server) = observed.name_server.clone() else {
        return Ok(observed);
    };
    if let Err(error) = credentials::sign(&name_server, context).await {
        tracing::warn!(
            namespace = observed.namespace(),
            name = observed.name(),
            "requests to brokers are not signed: {error}"
        );
    }
    if object.metadata.deletion_timestamp.is_some() {
        end(&mut observed, &name_server, context, memory).await;
    } else if !annotations::is(object, annotations::PAUSED, "true") {
        secured(&mut observed, &name_server, context).await?;
        observed.missing = missing(&observed, context).await;
        if observed.object.spec.replicas > 1 || observed.election.is_some() {
            observed.lease = leases::look(&observed, context, &memory.leases).await;
        }
        observed.told = told(&observed, &name_server, context).await;
        nodes::look(&mut observed, context).await;
        restarting(&mut observed, &name_server, context, memory).await;
    }
    Ok(observed)
}

/// Looks at the certificates, and has the operator's own connections follow them.
async fn secured(
    observed: &mut Observed<'_>,
    name_server: &NameServer,
    context: &Context,
) -> Result<(), Error> {
    let object = observed.object;
    let (namespace, name) = (observed.namespace(), observed.name());
    let workload = names::brokers(&name);
    let slots = 0..SLOTS.min(object.spec.replicas.max(1));
    let services = slots
        .clone()
        .map(|slot| names::external_of(&workload, slot));
    let roles = [names::MASTER, names::REPLICA].map(|role| names::role_service(&workload, role));
    let services: Vec<String> = services.chain(roles).collect();
    let mut hosts = names::hosts(&workload, &services, &namespace);
    let inside = slots.map(|slot| {
        let pod = names::pod(&workload, slot);
        names::host(&pod, &workload, &namespace)
    });
    let mut reached_at: Vec<String> = inside.collect();
    if object.spec.listeners.external.is_some() {
        let told = observed.advertised.iter().flatten();
        let told = told.filter_map(|told| told.host.clone());
        let nodes = observed.members.iter();
        let nodes = nodes.filter_map(|member| member.node.clone());
        let outside: Vec<String> = told.chain(nodes).collect();
        hosts.extend(outside.iter().cloned());
        reached_at.extend(outside);
    }
    let servers = tls::Servers {
        wanted: object.spec.tls.as_ref(),
        name_server,
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        workload,
        set: observed.set.as_deref(),
        hosts,
        reached_at,
        are_brokers: true,
    };
    observed.tls = Arc::new(tls::look(context, servers, observed.now).await?);
    let (seen, spans) = (&observed.tls, &observed.spans);
    let source = format!("{}/{name}", names::BROKER);
    tls::secure(context, name_server, &source, spans, seen).await;
    Ok(())
}

/// What the watches and the memory have.
fn watched<'a>(object: &'a BrokerGroup, context: &'a Context, memory: &Memory) -> Observed<'a> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let cluster = &object.spec.name_server_ref.name;
    let stores = &context.stores;
    let workload = names::brokers(&name);
    let listener = object.spec.listeners.external.as_ref();
    let of_slot = |slot| {
        let service = names::external_of(&workload, slot);
        let service = stores.services.get(&namespace, &service);
        listener.and_then(|listener| advertised(listener, service.as_deref()))
    };
    let election = stores.elections.get(&namespace, &workload);
    let set = stores.stateful_sets.get(&namespace, &workload);
    let others = stores.groups_of(&namespace, cluster).into_iter();
    let others = others.filter(|group| group.name_any() != name);
    let others = others.map(|group| {
        let pods = stores.pods_of(&namespace, &group.name_any());
        let is_up = !pods.is_empty() && pods.iter().all(|pod| observe::is_ready(pod));
        Other { group, is_up }
    });
    let pods = stores.pods_of(&namespace, &name);
    let view = election.as_deref().map(View::of);
    let epoch = view.as_ref().map_or(0, |view| view.epoch);
    let members = pods.iter().map(|pod| {
        let member = Member::of(pod, set.as_deref());
        let settings = memory.live.answer(object, epoch, &member.uid);
        Member { settings, ..member }
    });
    Observed {
        object,
        default_image: &context.image,
        now: time::now(),
        name_server: stores.name_servers.get(&namespace, cluster),
        others: others.collect(),
        advertised: (0..SLOTS).map(of_slot).collect(),
        view,
        election,
        lease: LeaseSeen::There,
        told: None,
        members: members.collect(),
        set,
        claims: stores.claims_of(&namespace, &name),
        nodes: BTreeMap::new(),
        stranded: BTreeMap::new(),
        segment_bytes: segment_bytes(&namespace, &workload, context),
        restorer: restore::restorer(&stores.restorers_of(&namespace, &name)),
        missing: None,
        turn: None,
        quiet: None,
        missing_at: Vec::new(),
        tls: Arc::default(),
        spans: tls::spans(context, &namespace, cluster),
        end: None,
    }
}

/// What the brokers' files say of the size of segments.
fn segment_bytes(namespace: &str, workload: &str, context: &Context) -> Option<String> {
    let files = context.stores.config_maps.get(namespace, workload)?;
    let file = files.data.as_ref()?.values().next()?;
    let mut lines = file.lines();
    let said = lines.find_map(|line| line.strip_prefix("segmentBytes: "));
    let said = said.map(|text| text.trim_matches(['"', '\'']).to_owned());
    Some(said.unwrap_or_else(|| children::default_of("segmentBytes")))
}

/// Asks for events when a pod or a volume is missing.
async fn missing(observed: &Observed<'_>, context: &Context) -> Option<observe::Problem> {
    let claims: Vec<_> = observed.claims.iter().map(|claim| &**claim).collect();
    let wanted = observed.object.spec.replicas;
    if !observe::missing_pods(observed.set.as_deref(), wanted)
        && !claims.iter().any(|claim| observe::is_pending(claim))
    {
        return None;
    }
    let workload = names::brokers(&observed.name());
    fetch::why_missing(context, &observed.namespace(), &workload, &claims).await
}

/// Asks the master how far the others are, where that is not what it was: while one of them is not in sync, and where acknowledgements do not
/// wait for them.
async fn told(
    observed: &Observed<'_>,
    name_server: &NameServer,
    context: &Context,
) -> Option<GroupStatus> {
    let view = observed.view.as_ref()?;
    let is_whole = view.members.is_subset(&view.in_sync);
    let waits_for_set = view.ack_mode.is_none_or(ElectionAckMode::is_in_sync);
    if is_whole && waits_for_set {
        return None;
    }
    let master = observed.client_address(view.serving()?)?;
    let addresses = names::name_server_addresses(name_server);
    let client = context.clusters.client(&addresses).await.ok()?;
    client.admin().group_status(&master).await.ok()
}

/// Asks what the restart waits for.
async fn restarting(
    observed: &mut Observed<'_>,
    name_server: &NameServer,
    context: &Context,
    memory: &Memory,
) {
    let status = observed.object.status.as_ref();
    let Some(rollout) = status.and_then(|status| status.rollout.as_ref()) else {
        return;
    };
    let addresses = names::name_server_addresses(name_server);
    let broker = observed.object.broker_name();
    match rollout.step {
        RolloutStep::Quiescing => {
            let uid = observed.object.uid().unwrap_or_default();
            let purpose = Purpose::Restart(rollout.pod_uid.clone());
            // The count begins when the broker is out of the routes.
            if !memory.quiet.has_begun(&uid, &purpose) {
                return;
            }
            let asked = async {
                let admin = context.clusters.client(&addresses).await?.admin();
                let quiet = memory.quiet.ask(&admin, broker, &uid, purpose).await;
                quiet.map_err(Error::from)
            };
            observed.quiet = asked.await.ok().flatten();
        }
        RolloutStep::SwitchingOver | RolloutStep::Stopping => {}
        RolloutStep::Starting => {
            observed.missing_at = context.clusters.missing_at(&addresses, broker).await;
        }
    }
}

/// Asks what the removal depends on, and no more than that: each answer may release the group.
async fn end(
    observed: &mut Observed<'_>,
    name_server: &NameServer,
    context: &Context,
    memory: &Memory,
) {
    let object = observed.object;
    if !apply::is_held(object) || drain::released(observed).is_some() {
        return;
    }
    let addresses = names::name_server_addresses(name_server);
    let namespace_ends = fetch::is_terminating(context, &observed.namespace()).await;
    let never = served::never(object, &observed.members, &observed.claims);
    let is_shown = never && is_shown(object, &addresses, context).await;
    observed.end = Some(End {
        namespace_ends,
        is_shown,
        closing: None,
    });
    if drain::released(observed).is_some() {
        return;
    }
    let closing = closing(object, &addresses, context, memory).await;
    if let Some(end) = &mut observed.end {
        end.closing = Some(closing.map_err(|error| error.to_string()));
    }
}

/// Whether a name server shows the broker.
async fn is_shown(object: &BrokerGroup, addresses: &[String], context: &Context) -> bool {
    let shown = addresses
        .iter()
        .map(|addr| context.clusters.brokers_at(addr));
    let shown = futures_util::future::join_all(shown).await;
    let mut shown = shown.into_iter().flatten();
    shown.any(|brokers| brokers.contains(object.broker_name()))
}

/// Asks the broker and the name servers how far the broker is closed. The refusal of the broker alone does not count: a message that it was
/// taking may still be stored. So no name server may let producers write there, and then nothing may be stored for
/// [`QUIET`](super::quiet::QUIET).
async fn closing(
    object: &BrokerGroup,
    addresses: &[String],
    context: &Context,
    memory: &Memory,
) -> Result<Closing, Error> {
    let client = context.clusters.client(addresses).await?;
    let admin = client.admin();
    let broker = object.broker_name();
    let uid = object.uid().unwrap_or_default();
    let quiet = &memory.quiet;
    let config = admin.broker_config(broker).await?;
    let mut closing = Closing {
        refuses: config
            .get("brokerPermission")
            .is_some_and(|permission| permission == READ),
        ..Closing::default()
    };
    if closing.refuses {
        if !quiet.has_begun(&uid, &Purpose::Closed) {
            closing.open = context.clusters.writable_at(addresses, broker).await;
        }
        if closing.open.is_none() {
            closing.quiet = quiet.ask(&admin, broker, &uid, Purpose::Closed).await?;
        }
    } else {
        quiet.end(&uid, &Purpose::Closed);
        // The count begins when the broker is out of the routes.
        if quiet.has_begun(&uid, &Purpose::Leaving) {
            closing.quiet = quiet.ask(&admin, broker, &uid, Purpose::Leaving).await?;
        }
    }
    closing.left = backlog::left(&client, broker).await?;
    Ok(closing)
}
