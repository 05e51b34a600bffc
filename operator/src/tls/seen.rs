//! What a look sees of the TLS of servers, and what is due.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use rmq_crds::{NameServer, ServerTls, ServerTlsMode};

use crate::annotations;
use crate::clusters::Secured;
use crate::context::Context;
use crate::error::Error;
use crate::objects::names;
use crate::objects::tls::mounted;
use crate::observe::Problem;

use super::certificates::Bundle;
use super::rotation::{self, Authority, Certified, OfAuthority, OfServers};
use super::secrets::{self, Found};
use super::stage::{Span, Stage};

/// The servers of one object.
pub(crate) struct Servers<'a> {
    /// What the object wants.
    pub(crate) wanted: Option<&'a ServerTls>,
    /// The NameServer object of the cluster, which has the CA.
    pub(crate) name_server: &'a NameServer,
    /// Uid of the object.
    pub(crate) uid: &'a str,
    /// Their StatefulSet.
    pub(crate) workload: String,
    pub(crate) set: Option<&'a StatefulSet>,
    /// Hosts that a certificate of the operator is for.
    pub(crate) hosts: BTreeSet<String>,
    /// Hosts that clients and other servers connect to.
    pub(crate) reached_at: Vec<String>,
    /// Whether they connect to the name servers.
    pub(crate) are_brokers: bool,
}

/// What a look has seen. Servers that have no TLS, and had none, have nothing.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The Secret that pods mount.
    pub(crate) secret: Option<String>,
    /// Why pods cannot use it.
    pub(crate) problem: Option<Problem>,
    /// Why brokers cannot connect to the name servers with TLS.
    pub(crate) distrusts: Option<String>,
    /// Hosts that the certificate is not for.
    pub(crate) missing: Vec<String>,
    /// The certificate that pods have.
    pub(super) own: Option<Certified>,
    /// The CA of the operator, where it signs.
    pub(super) authority: Option<Authority>,
    made: Option<Made>,
}

/// A Secret that the operator makes.
#[derive(Debug)]
struct Made {
    found: Found,
    of_authority: Found,
    hosts: BTreeSet<String>,
    /// Whom the servers trust besides: who signs the name servers' certificate, where that is somebody else.
    trusted: Bundle,
    workload: String,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    authority: Option<OfAuthority>,
    /// With another CA it is decided again.
    servers: Option<OfServers>,
}

impl Seen {
    /// What is due now. Pure.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Due> {
        let made = self.made.as_ref()?;
        let authority = rotation::of_authority(self.authority.as_ref(), now);
        let servers = match &self.authority {
            None => Some(OfServers::Missing),
            Some(authority) => {
                let trusted = authority.trusted.clone().with(&made.trusted);
                rotation::of_servers(self.own.as_ref(), authority, &trusted, &made.hosts, now)
            }
        };
        let due = Due { authority, servers };
        (due.authority.is_some() || due.servers.is_some()).then_some(due)
    }
}

/// Looks at the Secrets of servers.
pub(crate) async fn look(
    context: &Context,
    servers: Servers<'_>,
    now: Timestamp,
) -> Result<Seen, Error> {
    let namespace = servers.name_server.namespace().unwrap_or_default();
    let wanted = servers.wanted.filter(|wanted| is_on(wanted));
    let named = wanted.and_then(|wanted| wanted.secret_name.clone());
    let own = names::certificates(&servers.workload);
    let secret = match (wanted, &named) {
        (Some(_), Some(named)) => named.clone(),
        (Some(_), None) => own.clone(),
        // Servers that are on their way back to plain still have files.
        (None, _) => match servers.set.and_then(mounted) {
            Some(mounted) => mounted,
            None => return Ok(Seen::default()),
        },
    };
    let found = secrets::read(context, &namespace, &secret).await?;
    let is_made = match wanted {
        Some(_) => named.is_none(),
        None => secret == own && !found.is_foreign(servers.uid),
    };
    let read = found.data().map(Certified::read);
    let mut seen = Seen {
        secret: Some(secret.clone()),
        own: read.clone().and_then(Result::ok),
        ..Seen::default()
    };
    let of_name_servers = match servers.are_brokers {
        true => shown_by_name_servers(context, servers.name_server).await?,
        false => None,
    };
    if is_made {
        seen.made = Some(Made {
            of_authority: authority(context, servers.name_server, &mut seen).await?,
            found,
            hosts: servers.hosts,
            trusted: of_name_servers
                .as_ref()
                .map(|shown| shown.trusted.clone().at(now))
                .unwrap_or_default(),
            workload: servers.workload,
        });
    } else if wanted.is_some() {
        seen.problem = match (found.is_there(), read) {
            (false, _) => Some(Problem {
                reason: "SecretNotFound",
                message: format!(
                    "spec.tls.secretName: there is no Secret {secret} in this namespace; make it (type kubernetes.io/tls with tls.crt, tls.key and ca.crt, as cert-manager does), or leave the name out"
                ),
            }),
            (true, Some(Ok(_))) => None,
            (true, read) => {
                let why = read.and_then(Result::err);
                let why = why.unwrap_or_else(|| "it has no data".to_owned());
                Some(Problem {
                    reason: "InvalidSecret",
                    message: format!("spec.tls.secretName: Secret {secret}: {why}"),
                })
            }
        };
        if let Some(own) = &seen.own {
            let lacks = |host: &&String| !own.own.says.is_for(host);
            seen.missing = servers.reached_at.iter().filter(lacks).cloned().collect();
        }
    }
    let host = names::name_servers_host(&servers.name_server.name_any(), &namespace);
    if let (Some(own), Some(shown), None) = (&seen.own, &of_name_servers, &seen.made)
        && let Err(error) = own.trusted.verifies(&shown.own, &host, now)
    {
        seen.distrusts = Some(format!(
            "brokers connect with TLS when ca.crt of Secret {secret} verifies the certificate of the name servers for {host}: {error}"
        ));
    }
    Ok(seen)
}

fn is_on(wanted: &ServerTls) -> bool {
    wanted.mode != ServerTlsMode::Disabled
}

/// The CA of the cluster, as it is stored.
async fn authority(
    context: &Context,
    name_server: &NameServer,
    seen: &mut Seen,
) -> Result<Found, Error> {
    let namespace = name_server.namespace().unwrap_or_default();
    let name = names::authority(&name_server.name_any());
    let found = secrets::read(context, &namespace, &name).await?;
    seen.authority = match found.data().map(Authority::read) {
        None => None,
        Some(Ok(authority)) => Some(authority),
        Some(Err(error)) => {
            tracing::warn!(namespace, "Secret {name} is made anew: {error}");
            None
        }
    };
    Ok(found)
}

/// The certificate of the name servers. None: they have none, or it cannot be read.
async fn shown_by_name_servers(
    context: &Context,
    name_server: &NameServer,
) -> Result<Option<Certified>, Error> {
    let Some(wanted) = name_server.spec.tls.as_ref().filter(|wanted| is_on(wanted)) else {
        return Ok(None);
    };
    let workload = names::name_servers(&name_server.name_any());
    let made = || names::certificates(&workload);
    let secret = wanted.secret_name.clone().unwrap_or_else(made);
    let namespace = name_server.namespace().unwrap_or_default();
    let found = secrets::read(context, &namespace, &secret).await?;
    Ok(found.data().and_then(|data| Certified::read(data).ok()))
}

/// Makes what is due: first the CA, which belongs to the NameServer object, then the certificate of `owner`.
pub(crate) async fn carry_out<K>(
    context: &Context,
    owner: &K,
    name_server: &NameServer,
    seen: &Seen,
    due: Due,
    now: Timestamp,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let Some(made) = &seen.made else {
        return Ok(());
    };
    let failed = |error| Error::Certificate(error);
    let mut authority = seen.authority.clone();
    if let Some(what) = due.authority {
        let name = name_server.name_any();
        let after = rotation::follow(what, authority.as_ref(), &name, now).map_err(failed)?;
        let labels = names::labels(names::NAME_SERVER, &name, &name);
        let secret = names::authority(&name);
        let data = after.data();
        secrets::write(
            context,
            name_server,
            &secret,
            &labels,
            &made.of_authority,
            data,
        )
        .await?;
        tracing::info!(secret, ?what, "the CA of the cluster is another one");
        authority = Some(after);
    }
    let Some(authority) = authority else {
        return Ok(());
    };
    let trusted = authority.trusted.clone().with(&made.trusted);
    let own = seen.own.as_ref();
    let Some(what) = rotation::of_servers(own, &authority, &trusted, &made.hosts, now) else {
        return Ok(());
    };
    let name = &made.workload;
    let after = rotation::renew(what, own, &authority, &trusted, name, &made.hosts, now);
    let data = after.map_err(failed)?.data();
    let component = match K::kind(&()) == NameServer::kind(&()) {
        true => names::NAME_SERVER,
        false => names::BROKER,
    };
    let labels = names::labels(component, &owner.name_any(), &name_server.name_any());
    let secret = names::certificates(name);
    secrets::write(context, owner, &secret, &labels, &made.found, data).await?;
    tracing::info!(secret, "another certificate: {what}");
    Ok(())
}

/// The stage of a pod.
pub(crate) fn of_pod(pod: &Pod) -> Stage {
    Stage::of(pod.annotations().get(annotations::TLS))
}

/// The stage of the pods that a StatefulSet makes.
pub(crate) fn of_template(set: &StatefulSet) -> Stage {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let metadata = template.and_then(|template| template.metadata.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    Stage::of(annotations.and_then(|annotations| annotations.get(annotations::TLS)))
}

/// How far the servers of a cluster are.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// None: there are none yet.
    pub(crate) name_servers: Option<Span>,
    /// The broker groups that have brokers, by name.
    pub(crate) groups: Vec<(String, Span)>,
}

/// How far the servers of a cluster are.
pub(crate) fn spans(context: &Context, namespace: &str, name_server: &str) -> Spans {
    let stores = &context.stores;
    let span = |component: &str, object: &str, workload: &str| {
        let set = stores.stateful_sets.get(namespace, workload);
        let pods = stores.pods.of(&names::term(component, namespace, object));
        let pods = pods.iter().map(|pod| of_pod(pod));
        Span::of(pods.chain(set.as_deref().map(of_template)))
    };
    let groups = stores.groups_of(namespace, name_server).into_iter();
    let groups = groups.filter_map(|group| {
        let name = group.name_any();
        let span = span(names::BROKER, &name, &names::brokers(&name))?;
        Some((name, span))
    });
    Spans {
        name_servers: span(
            names::NAME_SERVER,
            name_server,
            &names::name_servers(name_server),
        ),
        groups: groups.collect(),
    }
}

/// Whether the operator connects to the servers of a cluster with TLS: where one takes nothing else, and where all take it. Pure.
pub(crate) fn uses_tls(spans: &Spans) -> bool {
    let all = || {
        let groups = spans.groups.iter().map(|(_, span)| span);
        groups.chain(&spans.name_servers)
    };
    let mut enforcing = all();
    enforcing.any(|span| span.most == Stage::Enforces)
        || (all().next().is_some() && all().all(|span| span.least >= Stage::Accepts))
}

/// Has the connections of the operator to a cluster follow what was seen of the servers `source`.
pub(crate) async fn secure(
    context: &Context,
    name_server: &NameServer,
    source: &str,
    spans: &Spans,
    seen: &Seen,
) {
    let namespace = name_server.namespace().unwrap_or_default();
    let host = names::name_servers_host(&name_server.name_any(), &namespace);
    let secured = seen.own.as_ref().map(|own| Secured {
        trusted: own.trusted.pem(),
        certificate: own.own.certificate.clone(),
        key: own.own.key.clone(),
    });
    let clusters = &context.clusters;
    clusters
        .secure(&host, uses_tls(spans), source, secured)
        .await;
}
