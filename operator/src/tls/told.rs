//! What a status says of TLS: the condition `TLS`, and `status.tls`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use rmq_crds::{Condition, Conditions as _, ServerTls, ServerTlsMode, ServerTlsStatus};

use crate::metrics::Metrics;

use super::seen::Seen;
use super::stage::{Span, Stage};

/// The condition.
const TYPE: &str = "TLS";

/// What people are told.
pub(crate) struct Told<'a> {
    pub(crate) wanted: Option<&'a ServerTls>,
    pub(crate) seen: &'a Seen,
    /// How far the pods are.
    pub(crate) span: Option<Span>,
    /// What the next stage waits for.
    pub(crate) waits: Option<&'a str>,
    pub(crate) now: Timestamp,
    pub(crate) generation: Option<i64>,
}

/// The condition, and the part of the status. Servers without TLS, that want none, have neither.
pub(crate) fn tell(told: &Told<'_>, conditions: &mut Vec<Condition>) -> Option<ServerTlsStatus> {
    let Some(secret) = &told.seen.secret else {
        conditions.retain(|condition| condition.type_ != TYPE);
        return None;
    };
    let mode = told
        .span
        .map_or(ServerTlsMode::Disabled, |span| match span.most {
            // One plain server among others: plain clients are served everywhere, others not yet.
            _ if span.least == Stage::Plain => ServerTlsMode::Disabled,
            most => most.mode(),
        });
    let (holds, reason, message) = judge(told, secret, mode);
    let time = Time(told.now);
    conditions.set(TYPE, holds.into(), reason, message, told.generation, time);
    let own = told.seen.own.as_ref();
    let time = |second: i64| Timestamp::from_second(second).ok().map(Time);
    Some(ServerTlsStatus {
        mode,
        secret_name: secret.clone(),
        not_after: own.and_then(|own| time(own.own.says.not_after_s)),
    })
}

fn judge(told: &Told<'_>, secret: &str, mode: ServerTlsMode) -> (bool, &'static str, String) {
    let wanted = told
        .wanted
        .map_or(ServerTlsMode::Disabled, |wanted| wanted.mode);
    let Some(own) = &told.seen.own else {
        return (
            false,
            "NoCertificate",
            format!("Secret {secret} has no certificate yet"),
        );
    };
    let says = &own.own.says;
    let ends = Timestamp::from_second(says.not_after_s).unwrap_or(Timestamp::MAX);
    let renew = format!("renew it in Secret {secret}: servers take it without a restart");
    if says.is_over(1, 1, told.now) {
        let message = format!("the certificate has expired at {ends}; {renew}");
        return (false, "CertificateExpired", message);
    }
    if says.is_over(5, 6, told.now) {
        let message = format!("the certificate expires at {ends}; {renew}");
        return (false, "CertificateExpiresSoon", message);
    }
    if !told.seen.missing.is_empty() {
        let message = format!(
            "the certificate in Secret {secret} is not for {}: clients that verify cannot connect there",
            told.seen.missing.join(", ")
        );
        return (false, "NamesMissing", message);
    }
    if let Some(waits) = told.waits {
        return (false, "Waiting", waits.to_owned());
    }
    if mode != wanted {
        let message = format!("servers are restarted one by one: {mode} becomes {wanted}");
        return (false, "Changing", message);
    }
    let reason = match mode {
        ServerTlsMode::Disabled => "Disabled",
        ServerTlsMode::Permissive => "Permissive",
        ServerTlsMode::Enforcing => "Enforcing",
    };
    (
        true,
        reason,
        format!("the certificate in Secret {secret} is good until {ends}"),
    )
}

/// The figures of the ends of certificates.
pub(crate) fn metrics<K>(metrics: &Metrics, object: &K, seen: &Seen)
where
    K: Resource<DynamicType = ()> + HasStatus,
{
    let (kind, name) = (K::kind(&()), object.name_any());
    let namespace = object.namespace().unwrap_or_default();
    let own = seen.own.as_ref().map(|own| own.own.says.not_after_s);
    let signs = seen.authority.as_ref().map(|of| of.signs.says.not_after_s);
    metrics.certificate(&kind, &namespace, &name, "server", own);
    metrics.certificate(&kind, &namespace, &name, "authority", signs);
}
