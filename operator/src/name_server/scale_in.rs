//! Fewer name servers: the last ones go when the others know every broker.

use std::collections::BTreeSet;

use rmq_crds::NameServer;

use crate::annotations;
use crate::context::Context;
use crate::objects::names;

/// Brokers that a name server shows. None when it does not answer.
pub(super) type Shown = Option<BTreeSet<String>>;

/// Whether the first `has` name servers are asked before some of them go.
pub(super) fn is_asked(object: &NameServer, has: i32) -> bool {
    has > object.spec.replicas && !annotations::is(object, annotations::SKIP_DRAIN, "true")
}

/// What each of the first `has` name servers shows.
pub(super) async fn ask(object: &NameServer, has: i32, context: &Context) -> Vec<(String, Shown)> {
    let addresses = names::addresses_of(object, has);
    let shown = addresses
        .iter()
        .map(|addr| context.clusters.brokers_at(addr));
    let shown = futures_util::future::join_all(shown).await;
    addresses.into_iter().zip(shown).collect()
}

/// Why all of the first `has` name servers must stay for now. Pure.
pub(super) fn held(object: &NameServer, has: i32, answers: &[(String, Shown)]) -> Option<String> {
    if !is_asked(object, has) {
        return None;
    }
    let stay = object.spec.replicas;
    let lacks = lacking(answers, usize::try_from(stay).unwrap_or(0));
    let lacks = (!lacks.is_empty()).then(|| lacks.join("; "))?;
    Some(format!(
        "{has} name servers stay until the first {stay} know all brokers: {lacks}; annotation {}=\"true\" ends the wait",
        annotations::SKIP_DRAIN
    ))
}

/// The brokers that any name server shows and one of the first `stay` does not, in words.
fn lacking(answers: &[(String, Shown)], stay: usize) -> Vec<String> {
    let all: BTreeSet<&String> = answers
        .iter()
        .filter_map(|(_, shown)| shown.as_ref())
        .flatten()
        .collect();
    let lacks = |(addr, shown): &(String, Shown)| match shown {
        None => Some(format!("{addr} does not answer")),
        Some(shown) => {
            let missing: Vec<&str> = all
                .iter()
                .filter(|broker| !shown.contains(**broker))
                .map(|broker| broker.as_str())
                .collect();
            (!missing.is_empty()).then(|| format!("{addr} does not show {}", missing.join(", ")))
        }
    };
    answers.iter().take(stay).filter_map(lacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(addr: &str, shown: Option<&[&str]>) -> (String, Shown) {
        let shown = shown.map(|shown| shown.iter().map(|broker| (*broker).to_owned()).collect());
        (addr.to_owned(), shown)
    }

    #[test]
    fn those_that_stay_must_know_what_those_that_go_know() {
        let both = Some(&["a", "b"][..]);
        let whole = [answer("0", both), answer("1", both), answer("2", both)];
        assert!(lacking(&whole, 1).is_empty());
        let new = [answer("0", Some(&["a"])), answer("1", both)];
        assert_eq!(lacking(&new, 1), ["0 does not show b"]);
        let away = [answer("0", None), answer("1", both)];
        assert_eq!(lacking(&away, 1), ["0 does not answer"]);
        // A name server that goes need not answer.
        let gone = [answer("0", both), answer("1", None)];
        assert!(lacking(&gone, 1).is_empty());
    }
}
