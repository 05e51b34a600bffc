//! What a broker has to change for a user to be as its object says. Pure.

use rmq_access::{Acl, Entry, PolicyKind, ResourceKey, Secret, subject_of};
use rmq_client::protocol::bodies::{AclEntry, AclInfo, AclPolicy, UserInfo};
use rmq_crds::{User, UserRight};

/// A user as it must be at all brokers.
pub(super) struct Wanted<'a> {
    pub(super) object: &'a User,
    pub(super) password: Secret,
    pub(super) rights: Acl,
}

/// A user as a broker has it.
#[derive(Default)]
pub(super) struct Has {
    /// None: there is no such user. The password is not told by brokers that serve everybody.
    pub(super) user: Option<UserInfo>,
    pub(super) rights: Acl,
    /// Whether the password is what it was given last, where the broker does not tell it.
    pub(super) is_given: bool,
}

/// What one broker has to change.
#[derive(Default)]
pub(super) struct Change {
    /// The user is missing.
    pub(super) creates: bool,
    /// The user is another one: what differs.
    pub(super) fields: Vec<&'static str>,
    /// Rights that are missing, or are others.
    pub(super) put: Option<AclInfo>,
    /// Rights that nobody wants.
    pub(super) delete: Vec<(PolicyKind, ResourceKey)>,
}

impl Change {
    pub(super) fn is_none(&self) -> bool {
        !self.creates && self.fields.is_empty() && self.put.is_none() && self.delete.is_empty()
    }

    /// What changes, in words, and without a password.
    pub(super) fn words(&self) -> String {
        let mut words: Vec<String> = self.fields.iter().map(|&field| field.to_owned()).collect();
        let put = self.put.iter().flat_map(|acl| &acl.policies);
        for entry in put.flat_map(|policy| &policy.entries) {
            let decision = entry.decision.as_deref().unwrap_or_default();
            let resource = entry.resource.as_deref().unwrap_or_default();
            words.push(format!(
                "{decision} {} on {resource}",
                entry.actions.join(",")
            ));
        }
        for (_, resource) in &self.delete {
            words.push(format!("nothing more on {resource}"));
        }
        words.join("; ")
    }
}

fn entry(right: &UserRight) -> AclEntry {
    AclEntry {
        actions: right
            .actions
            .iter()
            .map(|action| action.name().to_owned())
            .collect(),
        decision: Some(right.decision.name().to_owned()),
        resource: Some(right.resource()),
        source_ips: (!right.source_ips.is_empty()).then(|| right.source_ips.clone()),
    }
}

/// The rights of an object, or what is wrong with them.
pub(super) fn rights(object: &User) -> Result<Acl, String> {
    let mut all = Acl::default();
    for (at, right) in object.spec.rights.iter().enumerate() {
        let info = AclInfo {
            policies: vec![AclPolicy {
                entries: vec![entry(right)],
                policy_type: Some(right.policy.name().to_owned()),
            }],
            subject: Some(subject_of(object.user_name())),
        };
        let one = Acl::read(&info).map_err(|error| format!("spec.rights[{at}]: {error}"))?;
        let before = all.len();
        all.merge(one);
        if all.len() == before {
            return Err(format!(
                "spec.rights[{at}]: there is another right for {} before it; write one with all actions",
                right.resource()
            ));
        }
    }
    Ok(all)
}

impl Wanted<'_> {
    /// The user as requests have it.
    pub(super) fn info(&self) -> UserInfo {
        let spec = &self.object.spec;
        UserInfo {
            username: Some(self.object.user_name().to_owned()),
            password: Some(self.password.reveal().to_owned()),
            user_type: Some(if spec.is_super { "Super" } else { "Normal" }.to_owned()),
            user_status: Some(if spec.enabled { "enable" } else { "disable" }.to_owned()),
        }
    }

    /// What a broker has to change.
    pub(super) fn change(&self, has: &Has) -> Change {
        let mut change = Change::default();
        let wanted = self.info();
        match &has.user {
            None => change.creates = true,
            Some(user) => {
                let is_same = |own: &Option<String>, other: &Option<String>| match (own, other) {
                    (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
                    _ => false,
                };
                let has_password = match &user.password {
                    Some(password) => password == self.password.reveal(),
                    None => has.is_given,
                };
                for (field, holds) in [
                    ("password", has_password),
                    ("super", is_same(&user.user_type, &wanted.user_type)),
                    ("enabled", is_same(&user.user_status, &wanted.user_status)),
                ] {
                    if !holds {
                        change.fields.push(field);
                    }
                }
            }
        }
        let mut missing = Acl::default();
        for kind in [PolicyKind::Custom, PolicyKind::Default] {
            let (own, other) = (self.rights.entries(kind), has.rights.entries(kind));
            let of = |all: &[Entry], resource: &ResourceKey| {
                all.iter().find(|one| one.resource == *resource).cloned()
            };
            for entry in own {
                if of(other, &entry.resource).as_ref() != Some(entry) {
                    missing.put(kind, entry.clone());
                }
            }
            let unwanted = other.iter().map(|entry| &entry.resource);
            let unwanted = unwanted.filter(|resource| of(own, resource).is_none());
            change
                .delete
                .extend(unwanted.map(|resource| (kind, resource.clone())));
        }
        if !missing.is_empty() {
            change.put = Some(missing.to_info(self.object.user_name()));
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use rmq_crds::UserSpec;
    use serde_json::{Value, json};

    use super::*;

    fn object(spec: Value) -> User {
        let spec: UserSpec = serde_json::from_value(spec).expect("a spec");
        User::new("checkout", spec)
    }

    fn wanted(object: &User) -> Wanted<'_> {
        Wanted {
            object,
            password: Secret::new("planted".to_owned()),
            rights: rights(object).expect("rights"),
        }
    }

    fn has(wanted: &Wanted<'_>) -> Has {
        Has {
            user: Some(wanted.info()),
            rights: wanted.rights.clone(),
            is_given: false,
        }
    }

    #[test]
    fn what_differs_is_changed_and_nothing_else() {
        let object = object(json!({"rights": [
            {"topic": "orders", "actions": ["Pub", "Get"]},
            {"group": "billing-*", "actions": ["Sub"], "decision": "Deny", "sourceIps": ["10.0.0.0/8"]},
            {"cluster": "*", "actions": ["Get"], "policy": "Default"},
        ]}));
        let wanted = wanted(&object);
        assert!(wanted.change(&has(&wanted)).is_none());

        let new = wanted.change(&Has::default());
        assert!(new.creates && new.delete.is_empty());
        let words = new.words();
        assert!(words.contains("Deny Sub on Group:billing-*"), "{words}");
        assert!(!words.contains("planted"), "{words}");

        let mut other = has(&wanted);
        let user = other.user.as_mut().expect("a user");
        user.password = Some("other".to_owned());
        user.user_status = Some("disable".to_owned());
        let change = wanted.change(&other);
        assert_eq!(change.fields, ["password", "enabled"]);
        assert!(change.put.is_none() && !change.creates);

        let mut other = has(&wanted);
        let topic: ResourceKey = "Topic:orders".parse().expect("a resource");
        assert!(other.rights.remove(PolicyKind::Custom, &topic));
        let extra = json!({"rights": [{"topic": "*", "actions": ["All"]}]});
        let extra: UserSpec = serde_json::from_value(extra).expect("a spec");
        other
            .rights
            .merge(rights(&User::new("checkout", extra)).expect("rights"));
        let change = wanted.change(&other);
        let words = change.words();
        assert_eq!(
            words,
            "Allow Pub,Get on Topic:orders; nothing more on Topic:*"
        );
    }

    #[test]
    fn a_password_that_is_not_told_is_known_by_what_was_given() {
        let object = object(json!({"super": true}));
        let wanted = wanted(&object);
        let mut other = has(&wanted);
        let user = other.user.as_mut().expect("a user");
        user.password = None;
        assert_eq!(wanted.change(&other).fields, ["password"]);
        other.is_given = true;
        assert!(wanted.change(&other).is_none());
    }

    #[test]
    fn wrong_rights_are_named_by_their_place() {
        for (rights_of, wanted) in [
            (
                json!([{"topic": "a", "actions": ["Pub"], "sourceIps": ["home"]}]),
                "spec.rights[0]: entry Topic:a: the source \"home\"",
            ),
            (
                json!([{"topic": "a", "actions": ["Pub"]}, {"topic": "a", "actions": ["Sub"]}]),
                "spec.rights[1]: there is another right for Topic:a",
            ),
            (
                json!([{"topic": "a*b", "actions": ["Pub"]}]),
                "spec.rights[0]",
            ),
        ] {
            let error = rights(&object(json!({"rights": rights_of}))).expect_err(wanted);
            assert!(error.starts_with(wanted), "{error}");
        }
        let both = json!({"rights": [
            {"topic": "a", "actions": ["Pub"]},
            {"topic": "a", "actions": ["Sub"], "policy": "Default"},
        ]});
        assert_eq!(rights(&object(both)).map(|acl| acl.len()), Ok(2));
    }
}
