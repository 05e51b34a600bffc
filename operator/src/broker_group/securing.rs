//! TLS of the brokers of a group: how far they go now, and what the status says of it. Pure.

use rmq_crds::{BrokerGroupStatus, ServerTlsMode};

use crate::conditions::Verdict;
use crate::objects::tls::Tls;
use crate::tls::{self, OfBrokers, Span, Stage};

use super::observed::Observed;

/// What is decided about TLS.
#[derive(Debug)]
pub(super) struct Securing<'a> {
    /// What the pods have. None: they are plain.
    pub(super) tls: Option<Tls<'a>>,
    /// The pods as they are.
    span: Option<Span>,
    /// What the next step waits for.
    waits: Option<String>,
}

/// Decides how far the brokers go.
///
/// # Errors
/// The verdict when they cannot have the TLS that they need.
pub(super) fn decide<'a>(
    observed: &'a Observed<'_>,
    has_replicas: bool,
) -> Result<Securing<'a>, Verdict> {
    let object = observed.object;
    if let Some(problem) = &observed.tls.problem {
        return Err(Verdict::stalled(problem.reason, &*problem.message));
    }
    let wanted = object.spec.tls.as_ref();
    let own = observed.name();
    let groups = observed.spans.groups.iter();
    let (own, others): (Vec<_>, Vec<_>) = groups.cloned().partition(|(name, _)| *name == own);
    let span = own.first().map(|(_, span)| *span);
    // Name servers that are about to be made begin as their object wants.
    let begin = || {
        let spec = observed.name_server.as_ref().map(|object| &object.spec);
        let mode = spec.and_then(|spec| Some(spec.tls.as_ref()?.mode));
        let stage = match mode.unwrap_or(ServerTlsMode::Disabled) {
            ServerTlsMode::Disabled => Stage::Plain,
            ServerTlsMode::Permissive | ServerTlsMode::Enforcing => Stage::Accepts,
        };
        Span {
            least: stage,
            most: stage,
        }
    };
    let (stage, waits) = tls::of_brokers(&OfBrokers {
        wanted: wanted.map_or(ServerTlsMode::Disabled, |wanted| wanted.mode),
        own: span,
        has_replicas,
        distrusts: observed.tls.distrusts.as_deref(),
        name_servers: observed.spans.name_servers.unwrap_or_else(begin),
        others: &others,
    });
    let secret = observed.tls.secret.as_deref();
    let tls = match (stage, secret) {
        (Stage::Plain, _) => None,
        (stage, Some(secret)) => Some(Tls {
            stage,
            secret,
            wanted,
        }),
        (_, None) => {
            let why = waits.unwrap_or_default();
            let message = format!(
                "spec.tls: other servers of the cluster take only TLS, and these brokers would be reached by nobody: set spec.tls.mode ({why})"
            );
            return Err(Verdict::stalled("InvalidSpec", message));
        }
    };
    Ok(Securing { tls, span, waits })
}

impl Securing<'_> {
    /// Writes what there is of TLS into the status.
    pub(super) fn tell(&self, observed: &Observed<'_>, status: &mut BrokerGroupStatus) {
        let object = observed.object;
        let told = tls::Told {
            wanted: object.spec.tls.as_ref(),
            seen: &observed.tls,
            span: self.span,
            waits: self.waits.as_deref(),
            now: observed.now,
            generation: object.metadata.generation,
        };
        status.tls = tls::tell(&told, &mut status.conditions);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use rmq_crds::{BrokerGroup, Conditions as _, ServerTls};

    use super::*;
    use crate::observe::Problem;

    fn at(stage: Stage) -> Span {
        Span {
            least: stage,
            most: stage,
        }
    }

    fn group(mode: Option<ServerTlsMode>) -> BrokerGroup {
        let mut object: BrokerGroup = crate::yaml::case("broker-group-small");
        object.spec.tls = mode.map(|mode| ServerTls {
            mode,
            ..ServerTls::default()
        });
        object
    }

    fn has_secret(observed: &mut Observed<'_>) {
        let mut seen = tls::Seen::default();
        seen.secret = Some("a-broker-tls".to_owned());
        observed.tls = Arc::new(seen);
    }

    #[test]
    fn brokers_go_as_far_as_the_others_of_the_cluster_let_them() {
        let object = group(Some(ServerTlsMode::Enforcing));
        let mut observed = Observed::nothing(&object, Timestamp::UNIX_EPOCH);
        has_secret(&mut observed);
        let mut stage = |name_servers, other| {
            observed.spans.name_servers = Some(at(name_servers));
            observed.spans.groups = vec![("b".to_owned(), at(other))];
            let securing = decide(&observed, true).expect("a stage");
            (securing.tls.map(|tls| tls.stage), securing.waits.is_some())
        };
        let (plain, accepts) = (Stage::Plain, Stage::Accepts);
        assert_eq!(stage(plain, plain), (Some(Stage::Accepts), true));
        assert_eq!(stage(accepts, plain), (Some(Stage::Connects), true));
        assert_eq!(stage(accepts, accepts), (Some(Stage::Enforces), false));
    }

    #[test]
    fn a_group_that_nobody_could_reach_is_told_so() {
        let object = group(None);
        let mut observed = Observed::nothing(&object, Timestamp::UNIX_EPOCH);
        assert!(decide(&observed, true).expect("plain").tls.is_none());
        observed.spans.name_servers = Some(at(Stage::Enforces));
        let verdict = decide(&observed, true).expect_err("out of reach");
        assert!(verdict.stalled && verdict.message.contains("set spec.tls.mode"));
    }

    #[test]
    fn a_secret_that_cannot_be_used_stalls_and_leaves_no_trace_in_plain_groups() {
        let object = group(Some(ServerTlsMode::Permissive));
        let mut observed = Observed::nothing(&object, Timestamp::UNIX_EPOCH);
        let mut seen = tls::Seen::default();
        seen.problem = Some(Problem {
            reason: "SecretNotFound",
            message: "no Secret".to_owned(),
        });
        observed.tls = Arc::new(seen);
        let verdict = decide(&observed, true).expect_err("no Secret");
        assert_eq!((verdict.reason, verdict.stalled), ("SecretNotFound", true));

        has_secret(&mut observed);
        let securing = decide(&observed, true).expect("a stage");
        let mut status = BrokerGroupStatus::default();
        securing.tell(&observed, &mut status);
        let condition = status.conditions.of("TLS").expect("a condition");
        assert_eq!(condition.reason, "NoCertificate");
        assert!(status.tls.is_some());
        observed.tls = Arc::default();
        let plain = group(None);
        observed.object = &plain;
        let securing = decide(&observed, true).expect("plain");
        securing.tell(&observed, &mut status);
        assert!(status.conditions.is_empty() && status.tls.is_none());
    }
}
