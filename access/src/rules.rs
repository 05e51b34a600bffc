//! The rules of a user, compiled: what is asked for each request.
//!
//! ```text
//! name ─┬─ literal: one look-up
//!       ├─ prefixes: one look-up for each length of a prefix, the longest first; an entry has what all shorter ones say too
//!       └─ all of the type, everything: two words
//! ```
//! Of rules without source networks there is nothing but two sets of actions: those allowed and those refused. A refusal counts before what
//! allows, whichever of the two is more special; the custom policy is asked before the default one.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::acl::{Acl, Decision, Entry, PolicyKind};
use crate::network::Network;
use crate::resource::{Actions, Kind, Pattern, ResourceKey};

/// The rules of a user.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    custom: Compiled,
    default: Compiled,
}

/// One policy.
#[derive(Debug, Clone, Default)]
struct Compiled {
    kinds: [OfKind; Kind::ALL.len()],
}

/// What a policy says of one type. What it says of everything is in each type.
#[derive(Debug, Clone, Default)]
struct OfKind {
    literal: HashMap<Box<str>, Says, RandomState>,
    prefix: HashMap<Box<str>, Says, RandomState>,
    /// Lengths of the prefixes, the longest first.
    lengths: Box<[usize]>,
    any: Says,
}

/// What rules say of one name.
#[derive(Debug, Clone, Default)]
struct Says {
    allowed: Actions,
    refused: Actions,
    /// Those that count for some networks.
    from: Vec<Networked>,
}

#[derive(Debug, Clone)]
struct Networked {
    networks: Box<[Network]>,
    actions: Actions,
    decision: Decision,
}

impl Says {
    fn add(&mut self, entry: &Entry) {
        if !entry.networks.is_empty() {
            self.from.push(Networked {
                networks: entry.networks.as_slice().into(),
                actions: entry.actions,
                decision: entry.decision,
            });
            return;
        }
        match entry.decision {
            Decision::Allow => self.allowed |= entry.actions,
            Decision::Deny => self.refused |= entry.actions,
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.allowed |= other.allowed;
        self.refused |= other.refused;
        self.from.extend(other.from.iter().cloned());
    }

    #[inline]
    fn tell(&self, from: IpAddr, allowed: &mut Actions, refused: &mut Actions) {
        *allowed |= self.allowed;
        *refused |= self.refused;
        for rule in &self.from {
            if rule.networks.iter().any(|network| network.contains(from)) {
                match rule.decision {
                    Decision::Allow => *allowed |= rule.actions,
                    Decision::Deny => *refused |= rule.actions,
                }
            }
        }
    }
}

impl OfKind {
    fn of(entries: &[Entry], kind: Kind) -> Self {
        let mut own = Self::default();
        for entry in entries {
            match &entry.resource {
                ResourceKey::Everything => own.any.add(entry),
                ResourceKey::Of(other, _) if *other != kind => {}
                ResourceKey::Of(_, Pattern::Any) => own.any.add(entry),
                ResourceKey::Of(_, Pattern::Literal(name)) => {
                    own.literal
                        .entry(name.as_str().into())
                        .or_default()
                        .add(entry);
                }
                ResourceKey::Of(_, Pattern::Prefix(name)) => {
                    own.prefix
                        .entry(name.as_str().into())
                        .or_default()
                        .add(entry);
                }
            }
        }
        let mut lengths: Vec<usize> = own.prefix.keys().map(|prefix| prefix.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        // The shortest first: each takes what the next shorter one has gathered.
        let mut names: Vec<Box<str>> = own.prefix.keys().cloned().collect();
        names.sort_unstable_by_key(|name| name.len());
        for name in names {
            let shorter = lengths.iter().rev().filter(|length| **length < name.len());
            let shorter = shorter
                .filter_map(|length| own.prefix.get(name.get(..*length)?))
                .next()
                .cloned();
            if let (Some(shorter), Some(says)) = (shorter, own.prefix.get_mut(&name)) {
                says.add_all(&shorter);
            }
        }
        lengths.reverse();
        own.lengths = lengths.into();
        own
    }

    #[inline]
    fn tell(&self, name: Option<&str>, from: IpAddr) -> (Actions, Actions) {
        let (mut allowed, mut refused) = (Actions::NONE, Actions::NONE);
        self.any.tell(from, &mut allowed, &mut refused);
        let Some(name) = name else {
            return (allowed, refused);
        };
        if !self.literal.is_empty()
            && let Some(says) = self.literal.get(name)
        {
            says.tell(from, &mut allowed, &mut refused);
        }
        for length in &self.lengths {
            if let Some(prefix) = name.get(..*length)
                && let Some(says) = self.prefix.get(prefix)
            {
                says.tell(from, &mut allowed, &mut refused);
                break;
            }
        }
        (allowed, refused)
    }
}

impl Compiled {
    fn of(entries: &[Entry]) -> Self {
        Self {
            kinds: Kind::ALL.map(|kind| OfKind::of(entries, kind)),
        }
    }
}

impl Rules {
    /// The rules of an ACL.
    #[must_use]
    pub fn of(acl: &Acl) -> Self {
        Self {
            custom: Compiled::of(acl.entries(PolicyKind::Custom)),
            default: Compiled::of(acl.entries(PolicyKind::Default)),
        }
    }

    /// Whether one of the `wanted` actions on this resource is allowed to a request from this address; `None`: on all resources of the type.
    #[must_use]
    #[inline]
    pub fn allow(&self, kind: Kind, name: Option<&str>, wanted: Actions, from: IpAddr) -> bool {
        let (allowed, refused) = self.custom.kinds[kind as usize].tell(name, from);
        if !(wanted & allowed.without(refused)).is_empty() {
            return true;
        }
        let left = wanted.without(allowed | refused);
        if left.is_empty() {
            return false;
        }
        let (allowed, refused) = self.default.kinds[kind as usize].tell(name, from);
        !(left & allowed.without(refused)).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmq_protocol::code::Action;

    use super::*;

    fn entry(resource: &str, actions: &[Action], decision: Decision) -> Entry {
        Entry {
            resource: resource.parse().expect(resource),
            actions: Actions::of(actions),
            networks: Vec::new(),
            decision,
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn may(acl: &Acl, name: &str, action: Action) -> bool {
        Rules::of(acl).allow(Kind::Topic, Some(name), Actions::one(action), HERE)
    }

    #[test]
    fn nothing_is_allowed_by_default_and_a_refusal_counts_first() {
        let mut acl = Acl::default();
        assert!(!may(&acl, "orders", Action::Pub));
        let allowed = [Action::Pub, Action::Get];
        acl.put(
            PolicyKind::Custom,
            entry("Topic:orders-*", &allowed, Decision::Allow),
        );
        assert!(may(&acl, "orders-eu", Action::Pub));
        assert!(!may(&acl, "orders", Action::Pub));
        assert!(!may(&acl, "orders-eu", Action::Sub));
        // A wider refusal too.
        acl.put(
            PolicyKind::Custom,
            entry("Topic:*", &[Action::Pub], Decision::Deny),
        );
        assert!(!may(&acl, "orders-eu", Action::Pub));
        assert!(may(&acl, "orders-eu", Action::Get));
    }

    #[test]
    fn the_default_policy_is_asked_where_no_custom_rule_matches() {
        let mut acl = Acl::default();
        let pub_sub = [Action::Pub, Action::Sub];
        acl.put(PolicyKind::Default, entry("*", &pub_sub, Decision::Deny));
        acl.put(
            PolicyKind::Custom,
            entry("Topic:a", &[Action::Pub], Decision::Allow),
        );
        acl.put(
            PolicyKind::Default,
            entry("Topic:b", &[Action::Get], Decision::Allow),
        );
        assert!(may(&acl, "a", Action::Pub));
        assert!(!may(&acl, "a", Action::Sub));
        assert!(may(&acl, "b", Action::Get));
    }

    #[test]
    fn rules_may_count_for_networks_only() {
        let mut acl = Acl::default();
        let mut inside = entry("Topic:a", &[Action::Pub], Decision::Allow);
        inside.networks = vec!["10.0.0.0/8".parse().expect("a network")];
        acl.put(PolicyKind::Custom, inside);
        let rules = Rules::of(&acl);
        let from = |address: &str| {
            let address = address.parse().expect(address);
            rules.allow(Kind::Topic, Some("a"), Actions::one(Action::Pub), address)
        };
        assert!(from("10.1.2.3") && from("::ffff:10.1.2.3"));
        assert!(!from("11.1.2.3"));
    }

    fn resources() -> impl Strategy<Value = String> {
        let name = "[ab]{1,4}";
        prop_oneof![
            1 => Just("*".to_owned()),
            1 => Just("Topic:*".to_owned()),
            4 => name.prop_map(|name| format!("Topic:{name}")),
            6 => name.prop_map(|name| format!("Topic:{name}*")),
            1 => name.prop_map(|name| format!("Group:{name}")),
        ]
    }

    fn entries() -> impl Strategy<Value = (bool, String, u8, bool, bool)> {
        let bits = 1u8..128;
        (
            any::<bool>(),
            resources(),
            bits,
            any::<bool>(),
            any::<bool>(),
        )
    }

    proptest! {
        /// The compiled rules say what one finds entry by entry.
        #[test]
        fn compiled_rules_say_what_the_entries_say(
            entries in prop::collection::vec(entries(), 0..12),
            name in "[abc]{0,5}",
            all in any::<bool>(),
            inside in any::<bool>(),
        ) {
            let mut acl = Acl::default();
            for (custom, resource, bits, refuses, networked) in entries {
                let actions = [
                    Action::Pub, Action::Sub, Action::Create, Action::Update, Action::Delete, Action::Get, Action::List,
                ];
                let actions: Vec<Action> = actions.into_iter().filter(|action| bits & (1 << *action as u8) != 0).collect();
                let kind = if custom { PolicyKind::Custom } else { PolicyKind::Default };
                let decision = if refuses { Decision::Deny } else { Decision::Allow };
                let mut entry = entry(&resource, &actions, decision);
                if networked {
                    entry.networks.push("10.0.0.0/8".parse().expect("a network"));
                }
                acl.put(kind, entry);
            }
            let rules = Rules::of(&acl);
            let from: IpAddr = if inside { "10.0.0.1" } else { "11.0.0.1" }.parse().expect("an address");
            let name = (!all).then_some(name.as_str());
            for action in [Action::Pub, Action::Update, Action::List] {
                let wanted = Actions::one(action);
                let expected = acl
                    .deciding(Kind::Topic, name, wanted, from)
                    .is_some_and(|(_, entry)| entry.decision == Decision::Allow);
                prop_assert_eq!(rules.allow(Kind::Topic, name, wanted, from), expected);
            }
            let both = Actions::of(&[Action::Pub, Action::Sub]);
            let either = [Action::Pub, Action::Sub]
                .into_iter()
                .any(|action| rules.allow(Kind::Topic, name, Actions::one(action), from));
            prop_assert_eq!(rules.allow(Kind::Topic, name, both, from), either);
        }
    }
}
