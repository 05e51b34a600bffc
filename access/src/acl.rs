//! The rules of a user as they are written: policies with entries (apache/rocketmq `auth/.../authorization/model/Acl.java`). An entry is known
//! by its resource: a policy has at most one for each.

use std::fmt;

use rmq_protocol::bodies::{AclEntry, AclInfo, AclPolicy};

use crate::network::Network;
use crate::resource::{Actions, Kind, ResourceKey, ResourceKeyError};

/// What the subject of a user begins with: `User:name`.
const USER_SUBJECT: &str = "User:";

/// Networks of one entry.
const NETWORKS_MAX: usize = 64;

/// Allowed or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow,
    /// Refused, whatever else allows it.
    Deny,
}

impl Decision {
    /// As the original writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// Which policy: the default one is asked where the custom one has no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Asked first.
    Custom,
    /// Asked where no custom rule matches.
    Default,
}

impl PolicyKind {
    /// As the original writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Custom => "Custom",
            Self::Default => "Default",
        }
    }

    /// The policy of this name; none is the custom one.
    ///
    /// # Errors
    /// [`AclError::Policy`].
    pub fn named(name: Option<&str>) -> Result<Self, AclError> {
        match name {
            None | Some("") => Ok(Self::Custom),
            Some(name) if name.eq_ignore_ascii_case("Custom") => Ok(Self::Custom),
            Some(name) if name.eq_ignore_ascii_case("Default") => Ok(Self::Default),
            Some(name) => Err(AclError::Policy(shown(name))),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub resource: ResourceKey,
    /// The actions that it allows or refuses.
    pub actions: Actions,
    /// It counts for requests from these networks; for all when there is none.
    pub networks: Vec<Network>,
    /// Which of the two.
    pub decision: Decision,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} on {}",
            self.decision.name(),
            self.actions.names().join(","),
            self.resource
        )?;
        for (at, network) in self.networks.iter().enumerate() {
            f.write_str(if at == 0 { " from " } else { "," })?;
            network.fmt(f)?;
        }
        Ok(())
    }
}

/// Rules of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which.
    pub kind: PolicyKind,
    /// Its rules.
    pub entries: Vec<Entry>,
}

/// All rules of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    /// At most one of each kind, none of them empty.
    policies: Vec<Policy>,
}

/// What is wrong with rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclError {
    /// The subject is no user.
    #[error("the subject {0:?} is not a user: User:NAME")]
    Subject(String),
    /// There is no rule.
    #[error("the ACL has no policy with an entry")]
    Empty,
    /// Another kind of policy.
    #[error("policyType {0:?} is neither Custom nor Default")]
    Policy(String),
    /// Not a resource.
    #[error(transparent)]
    Resource(#[from] ResourceKeyError),
    /// No resource.
    #[error("an entry has no resource")]
    NoResource,
    /// Not an action.
    #[error(
        "entry {0}: the action {1:?} is none of All, Pub, Sub, Create, Update, Delete, Get and List"
    )]
    Action(ResourceKey, String),
    /// No action.
    #[error("entry {0}: it has no action")]
    NoAction(ResourceKey),
    /// Not a network.
    #[error(
        "entry {0}: the source {1:?} is neither an IP address nor a network such as 10.0.0.0/8"
    )]
    Source(ResourceKey, String),
    /// Too many networks.
    #[error("entry {0}: it has {1} sources, and {NETWORKS_MAX} are allowed")]
    Sources(ResourceKey, usize),
    /// Neither allowed nor refused.
    #[error("entry {0}: the decision {1:?} is neither Allow nor Deny")]
    Decision(ResourceKey, String),
}

/// A text of somebody else, at a length that fits an answer.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The user of a subject.
///
/// # Errors
/// [`AclError::Subject`].
pub fn user_of(subject: &str) -> Result<&str, AclError> {
    let user = subject
        .get(..USER_SUBJECT.len())
        .filter(|kind| kind.eq_ignore_ascii_case(USER_SUBJECT))
        .map(|_| &subject[USER_SUBJECT.len()..]);
    user.filter(|user| !user.is_empty())
        .ok_or_else(|| AclError::Subject(shown(subject)))
}

/// The subject of a user.
#[must_use]
pub fn subject_of(user: &str) -> String {
    format!("{USER_SUBJECT}{user}")
}

impl Acl {
    /// Reads what a request has.
    ///
    /// # Errors
    /// See [`AclError`].
    pub fn read(info: &AclInfo) -> Result<Self, AclError> {
        let mut acl = Self::default();
        for policy in &info.policies {
            let kind = PolicyKind::named(policy.policy_type.as_deref())?;
            for entry in &policy.entries {
                acl.put(kind, read_entry(entry)?);
            }
        }
        if acl.policies.is_empty() {
            return Err(AclError::Empty);
        }
        Ok(acl)
    }

    /// As answers and the log have it.
    #[must_use]
    pub fn to_info(&self, user: &str) -> AclInfo {
        let policies = self.policies.iter().map(|policy| AclPolicy {
            policy_type: Some(policy.kind.name().to_owned()),
            entries: policy.entries.iter().map(entry_info).collect(),
        });
        AclInfo {
            policies: policies.collect(),
            subject: Some(subject_of(user)),
        }
    }

    /// The policies.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The entries of a policy.
    #[must_use]
    pub fn entries(&self, kind: PolicyKind) -> &[Entry] {
        let policy = self.policies.iter().find(|policy| policy.kind == kind);
        policy.map_or(&[], |policy| policy.entries.as_slice())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies
            .iter()
            .map(|policy| policy.entries.len())
            .sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Adds an entry, or replaces the one of the same resource.
    pub fn put(&mut self, kind: PolicyKind, entry: Entry) {
        let at = self.policies.iter().position(|policy| policy.kind == kind);
        let at = at.unwrap_or_else(|| {
            self.policies.push(Policy {
                kind,
                entries: Vec::new(),
            });
            self.policies.len() - 1
        });
        let entries = &mut self.policies[at].entries;
        match entries
            .iter_mut()
            .find(|known| known.resource == entry.resource)
        {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
    }

    /// Adds the entries of another one, each in the place of one of the same resource.
    pub fn merge(&mut self, other: Self) {
        for policy in other.policies {
            for entry in policy.entries {
                self.put(policy.kind, entry);
            }
        }
    }

    /// Removes the entry of a resource; whether there was one.
    pub fn remove(&mut self, kind: PolicyKind, resource: &ResourceKey) -> bool {
        let before = self.len();
        for policy in &mut self.policies {
            if policy.kind == kind {
                policy.entries.retain(|entry| entry.resource != *resource);
            }
        }
        self.policies.retain(|policy| !policy.entries.is_empty());
        self.len() != before
    }

    /// Only entries whose resource has this text.
    #[must_use]
    pub fn filtered(&self, text: &str) -> Self {
        let mut filtered = self.clone();
        for policy in &mut filtered.policies {
            policy
                .entries
                .retain(|entry| entry.resource.to_string().contains(text));
        }
        filtered
            .policies
            .retain(|policy| !policy.entries.is_empty());
        filtered
    }

    /// The rule that decides about one action, asked entry by entry: what [`Rules`](crate::Rules) says faster, with its reason.
    #[must_use]
    pub fn deciding(
        &self,
        kind: Kind,
        name: Option<&str>,
        action: Actions,
        from: std::net::IpAddr,
    ) -> Option<(PolicyKind, &Entry)> {
        [PolicyKind::Custom, PolicyKind::Default]
            .into_iter()
            .find_map(|policy| {
                let matching = self.entries(policy).iter().filter(|entry| {
                    entry.resource.covers(kind, name)
                        && !(entry.actions & action).is_empty()
                        && (entry.networks.is_empty()
                            || entry.networks.iter().any(|network| network.contains(from)))
                });
                let found = matching.min_by_key(|entry| entry.decision == Decision::Allow);
                found.map(|entry| (policy, entry))
            })
    }
}

fn read_entry(info: &AclEntry) -> Result<Entry, AclError> {
    let resource: ResourceKey = match info.resource.as_deref() {
        None | Some("") => return Err(AclError::NoResource),
        Some(text) => text.trim().parse()?,
    };
    let mut actions = Actions::NONE;
    for name in &info.actions {
        let name = name.trim();
        let named = Actions::named(name);
        actions |= named.ok_or_else(|| AclError::Action(resource.clone(), shown(name)))?;
    }
    if actions.is_empty() {
        return Err(AclError::NoAction(resource));
    }
    let sources = info.source_ips.as_deref().unwrap_or_default();
    if sources.len() > NETWORKS_MAX {
        return Err(AclError::Sources(resource, sources.len()));
    }
    let mut networks = Vec::with_capacity(sources.len());
    for source in sources {
        let network = source.trim().parse();
        networks.push(network.map_err(|()| AclError::Source(resource.clone(), shown(source)))?);
    }
    let decision = match info.decision.as_deref() {
        Some(name) if name.eq_ignore_ascii_case("Allow") => Decision::Allow,
        Some(name) if name.eq_ignore_ascii_case("Deny") => Decision::Deny,
        other => {
            let other = shown(other.unwrap_or_default());
            return Err(AclError::Decision(resource, other));
        }
    };
    Ok(Entry {
        resource,
        actions,
        networks,
        decision,
    })
}

fn entry_info(entry: &Entry) -> AclEntry {
    let networks = entry.networks.iter().map(ToString::to_string).collect();
    AclEntry {
        actions: entry.actions.names(),
        decision: Some(entry.decision.name().to_owned()),
        resource: Some(entry.resource.to_string()),
        source_ips: Some(networks).filter(|networks: &Vec<String>| !networks.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(resource: &str, actions: &[&str], decision: &str) -> AclEntry {
        AclEntry {
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            decision: Some(decision.to_owned()),
            resource: Some(resource.to_owned()),
            source_ips: None,
        }
    }

    fn info(kind: Option<&str>, entries: Vec<AclEntry>) -> AclInfo {
        AclInfo {
            policies: vec![AclPolicy {
                entries,
                policy_type: kind.map(ToOwned::to_owned),
            }],
            subject: None,
        }
    }

    #[test]
    fn an_entry_is_known_by_its_resource() {
        let mut acl = Acl::read(&info(None, vec![entry("Topic:a", &["Pub"], "Allow")]));
        let acl = acl.as_mut().expect("rules");
        let more = info(
            Some("custom"),
            vec![
                entry("Topic:a", &["Sub", "GET"], "DENY"),
                entry("Group:*", &["All"], "Allow"),
            ],
        );
        acl.merge(Acl::read(&more).expect("rules"));
        let other = info(Some("Default"), vec![entry("*", &["List"], "Allow")]);
        acl.merge(Acl::read(&other).expect("rules"));
        let known = acl.to_info("ann");
        assert_eq!(known.subject.as_deref(), Some("User:ann"));
        let entries: Vec<String> = acl
            .policies()
            .iter()
            .flat_map(|policy| policy.entries.iter().map(ToString::to_string))
            .collect();
        assert_eq!(
            entries,
            [
                "Deny Sub,Get on Topic:a",
                "Allow All on Group:*",
                "Allow List on *"
            ]
        );
        assert_eq!(Acl::read(&known), Ok(acl.clone()));
        let topic: ResourceKey = "Topic:a".parse().expect("a resource");
        assert!(!acl.remove(PolicyKind::Default, &topic));
        assert!(acl.remove(PolicyKind::Custom, &topic));
        assert_eq!(acl.len(), 2);
        assert_eq!(acl.filtered("Group").len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let of = |entry| Acl::read(&info(None, vec![entry])).map(|_| ());
        let mut with_source = entry("Topic:a", &["Pub"], "Allow");
        with_source.source_ips = Some(vec!["here".to_owned()]);
        for (wrong, expected) in [
            (
                entry("Queue:a", &["Pub"], "Allow"),
                "\"Queue:a\" is no resource",
            ),
            (entry("Topic:a", &[], "Allow"), "it has no action"),
            (entry("Topic:a", &["Any"], "Allow"), "the action \"Any\""),
            (
                entry("Topic:a", &["Pub"], "Maybe"),
                "the decision \"Maybe\"",
            ),
            (with_source, "the source \"here\""),
        ] {
            let error = of(wrong).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(Acl::read(&info(None, vec![])), Err(AclError::Empty));
        assert!(Acl::read(&info(Some("Mine"), vec![entry("*", &["All"], "Allow")])).is_err());
        assert_eq!(user_of("User:ann"), Ok("ann"));
        assert!(user_of("User:").is_err() && user_of("Role:a").is_err() && user_of("é:").is_err());
    }
}
