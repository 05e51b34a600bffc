//! The end of a group: producers leave, consumers take what is left, then the group goes. Pure.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::controller::Action;
use rmq_crds::{BrokerGroup, DrainStatus, NameServer};

use crate::annotations;
use crate::apply;
use crate::conditions::Verdict;
use crate::events::News;

use super::backlog::Backlog;
use super::decision::{Decision, Step};
use super::observed::{Closing, Observed};
use super::quiet::QUIET;
use super::served;

/// Between two looks at the messages that are left.
const LOOK: Duration = Duration::from_secs(3);

/// Why the group goes at once, in words.
pub(super) fn released(observed: &Observed<'_>) -> Option<&'static str> {
    let object = observed.object;
    if !object.spec.drain.enabled {
        return Some("spec.drain.enabled is false");
    }
    if annotations::is(object, annotations::SKIP_DRAIN, "true") {
        return Some("the annotation says so");
    }
    let is_going = |name_server: &NameServer| name_server.metadata.deletion_timestamp.is_some();
    if observed.name_server.as_deref().is_none_or(is_going) {
        return Some("the cluster's NameServer object goes too");
    }
    // The rest is known when it was asked.
    let end = observed.end.as_ref()?;
    if end.namespace_ends {
        return Some("the namespace goes too");
    }
    if served::never(object, &observed.members, &observed.claims) && !end.is_shown {
        return Some("no broker of the group ever served");
    }
    let status = object.status.as_ref();
    let ever_had_one = status.is_some_and(|status| status.replicas > 0);
    (!ever_had_one && observed.members.is_empty()).then_some("the group never had a broker")
}

/// What is done about a group whose object is deleted.
pub(super) fn decide(observed: &Observed<'_>) -> Decision {
    let object = observed.object;
    if !apply::is_held(object) {
        return Decision::rest();
    }
    if let Some(why) = released(observed) {
        let news = News::normal("DrainSkipped", why);
        return Decision::finalizer(Step::Release, vec![news]);
    }
    let mut status = object.status.clone().unwrap_or_default();
    let mut events = Vec::new();
    if status.drain.is_none() {
        events.push(begins(object));
    }
    let since = status.drain.take().map(|drain| drain.since);
    let since = since.unwrap_or_else(|| observed.time());
    let waited = observed.now.duration_since(since.0);
    let closing = observed.end.as_ref().and_then(|end| end.closing.as_ref());
    let left = match closing {
        Some(Ok(closing)) => closing.left.clone(),
        _ => Backlog::default(),
    };
    if let Some(Ok(closing)) = closing
        && is_closed(closing)
        && left.messages == 0
    {
        events.push(News::normal("Drained", "all messages were consumed"));
        return Decision::finalizer(Step::Release, events);
    }
    if waited >= SignedDuration::from_secs(object.spec.drain.timeout_seconds) {
        events.push(timed_out(waited, closing));
        return Decision::finalizer(Step::Release, events);
    }
    let quiesce =
        SignedDuration::from_secs(object.spec.update_strategy.quiesce_timeout_seconds.into());
    let (message, refuse) = match closing {
        Some(Ok(closing)) => (
            message(closing, &ends(object, &since)),
            !closing.refuses && (is_quiet(closing) || waited >= quiesce),
        ),
        Some(Err(problem)) => (unknown(observed, &since, problem), false),
        None => (unknown(observed, &since, "the broker was not asked"), false),
    };
    let verdict = Verdict::progressing("Draining", message);
    status.rollout = None;
    status.drain = Some(DrainStatus {
        since,
        messages: left.messages,
        groups: left.groups,
    });
    Decision {
        step: Step::Close { refuse },
        events,
        ..Decision::status(status, verdict, Action::requeue(LOOK))
    }
}

/// Whether nothing can be stored any more.
fn is_closed(closing: &Closing) -> bool {
    closing.refuses && closing.open.is_none() && is_quiet(closing)
}

fn is_quiet(closing: &Closing) -> bool {
    closing.quiet.is_some_and(|quiet| quiet >= QUIET)
}

fn begins(object: &BrokerGroup) -> News {
    News::normal(
        "DrainStarted",
        format!(
            "broker {} takes no more messages; it goes when all were consumed, or in {} s",
            object.broker_name(),
            object.spec.drain.timeout_seconds
        ),
    )
}

fn timed_out(waited: SignedDuration, closing: Option<&Result<Closing, String>>) -> News {
    let seconds = waited.as_secs();
    let note = match closing {
        Some(Ok(closing)) => format!(
            "removed after {seconds} s although {} messages were not consumed",
            closing.left.messages
        ),
        Some(Err(problem)) => format!(
            "removed after {seconds} s; nobody knows how many messages were not consumed: {problem}"
        ),
        None => format!("removed after {seconds} s"),
    };
    News::warning("DrainTimedOut", note)
}

/// What the removal waits for.
fn message(closing: &Closing, ends: &str) -> String {
    let left = &closing.left;
    if left.messages > 0 {
        let groups = left.groups.join(", ");
        return format!(
            "{} messages are not consumed yet, by {groups}; {ends}",
            left.messages
        );
    }
    if !closing.refuses {
        return "producers move to other brokers".to_owned();
    }
    if let Some(open) = &closing.open {
        return open.clone();
    }
    match closing.quiet {
        Some(_) => "nothing more may be stored; a last look follows".to_owned(),
        None => "the broker does not say how many messages it has stored".to_owned(),
    }
}

/// Says that the broker or the name servers did not answer.
fn unknown(observed: &Observed<'_>, since: &Time, problem: &str) -> String {
    let why = observed.problem();
    let why = why.map_or(String::new(), |why| format!(" ({})", why.message));
    format!(
        "cannot tell what is left: {problem}{why}; the drain continues when the broker serves; {}",
        ends(observed.object, since)
    )
}

/// When the wait ends by itself, and how a person ends it.
fn ends(object: &BrokerGroup, since: &Time) -> String {
    let longest = SignedDuration::from_secs(object.spec.drain.timeout_seconds);
    let at = since.0.checked_add(longest);
    let at = at.map_or(String::new(), |at| format!("at {at:.0}, or at once "));
    format!(
        "the wait ends {at}with annotation {}=\"true\"",
        annotations::SKIP_DRAIN
    )
}
