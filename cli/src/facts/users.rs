//! Users and their rules, as the masters have them.

use std::collections::BTreeMap;

use rmq_access::{Acl, user_of};
use rmq_client::protocol::bodies::AclInfo;
use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `users`.
pub(crate) const NOUN: Noun = Noun {
    name: "users",
    aliases: &["user", "u"],
    about: "Users, who sign requests",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

/// `acls`.
pub(crate) const ACLS: Noun = Noun {
    name: "acls",
    aliases: &["acl"],
    about: "What users may do; names are those of users",
    names: Names::Chosen,
    list: |asked| Box::pin(list_acls(asked)),
};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct UserItem {
    name: String,
    /// `Super` or `Normal`.
    r#type: String,
    /// `enable` or `disable`.
    status: String,
    /// The broker groups that have the user so.
    brokers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AclItem {
    user: String,
    /// `Custom`, or `Default`: asked where no custom rule matches.
    policy: String,
    /// `Topic:orders`, `Topic:orders-*`, `Group:*`, `*`.
    resource: String,
    actions: Vec<String>,
    /// `Allow` or `Deny`.
    decision: String,
    /// Networks that it counts for; none: all.
    sources: Vec<String>,
    /// The broker groups that have the rule so.
    brokers: Vec<String>,
}

impl AclItem {
    /// Whether it is the same rule, at whichever brokers.
    fn is_same(&self, other: &Self) -> bool {
        let brokers = Vec::new();
        Self {
            brokers: brokers.clone(),
            ..self.clone()
        } == Self {
            brokers,
            ..other.clone()
        }
    }
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let users = cluster.client.admin().users().await;
    let users = users.map_err(|error| cluster.failed("cannot list the users", error))?;
    let mut items: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    for (broker, users) in users {
        for user in users {
            let key = (
                user.username.unwrap_or_default(),
                user.user_type.unwrap_or_default(),
                user.user_status.unwrap_or_default(),
            );
            items.entry(key).or_default().push(broker.clone());
        }
    }
    let items = items
        .into_iter()
        .map(|((name, r#type, status), brokers)| UserItem {
            name,
            r#type,
            status,
            brokers,
        });
    let rows = items.map(|item| {
        let cells = vec![
            item.name.clone(),
            item.r#type.clone(),
            item.status.clone(),
            item.brokers.join(","),
        ];
        Row::new(item.name.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "UserList",
        schema: schema_of::<UserItem>,
        noun: "user",
        columns: &["NAME", "TYPE", "STATUS", "BROKERS"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "there are no users; rmq-ctl create user NAME makes one".to_owned(),
    })
}

async fn list_acls(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let acls = cluster.client.admin().acls().await;
    let acls = acls.map_err(|error| cluster.failed("cannot list the rules", error))?;
    let mut items: Vec<AclItem> = Vec::new();
    for (broker, acls) in acls {
        for item in acls.iter().flat_map(items_of) {
            let known = items.iter_mut().find(|known| known.is_same(&item));
            match known {
                Some(known) => known.brokers.push(broker.clone()),
                None => items.push(AclItem {
                    brokers: vec![broker.clone()],
                    ..item
                }),
            }
        }
    }
    items.sort();
    let rows = items.into_iter().map(|item| {
        let cells = vec![
            item.user.clone(),
            item.decision.clone(),
            item.actions.join(","),
            item.resource.clone(),
            item.sources.join(","),
            item.policy.clone(),
            item.brokers.join(","),
        ];
        Row::new(item.user.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "AclList",
        schema: schema_of::<AclItem>,
        noun: "acl",
        columns: &[
            "USER", "DECISION", "ACTIONS", "RESOURCE", "SOURCES", "POLICY", "BROKERS",
        ],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "no user has rules; rmq-ctl set acl USER --allow ACTIONS=RESOURCE gives some"
            .to_owned(),
    })
}

fn items_of(info: &AclInfo) -> Vec<AclItem> {
    let subject = info.subject.as_deref().unwrap_or_default();
    let user = user_of(subject).unwrap_or(subject);
    let item = |policy: &str, entry: &rmq_client::protocol::bodies::AclEntry| AclItem {
        user: user.to_owned(),
        policy: policy.to_owned(),
        resource: entry.resource.clone().unwrap_or_default(),
        actions: entry.actions.clone(),
        decision: entry.decision.clone().unwrap_or_default(),
        sources: entry.source_ips.clone().unwrap_or_default(),
        brokers: Vec::new(),
    };
    info.policies
        .iter()
        .flat_map(|policy| {
            let kind = policy.policy_type.as_deref().unwrap_or("Custom");
            policy.entries.iter().map(move |entry| item(kind, entry))
        })
        .collect()
}

/// What each master says of a user's rights: type, whether enabled, rules.
pub(crate) struct Known {
    pub(crate) broker: String,
    pub(crate) is_super: bool,
    pub(crate) is_enabled: bool,
    pub(crate) acl: Acl,
}

/// A user at each master that has the user.
pub(crate) async fn known(cluster: &Cluster, name: &str) -> Result<Vec<Known>, Failure> {
    let failed = |error| cluster.failed(format!("cannot read the rules of user \"{name}\""), error);
    let admin = cluster.client.admin();
    let users = admin.users().await.map_err(failed)?;
    let acls = admin.acls().await.map_err(failed)?;
    let found = users.into_iter().filter_map(|(broker, users)| {
        let user = users
            .into_iter()
            .find(|user| user.username.as_deref() == Some(name))?;
        let of_user = acls.get(&broker)?.iter().find(|acl| {
            let subject = acl.subject.as_deref().unwrap_or_default();
            user_of(subject) == Ok(name)
        });
        let is = |text: &Option<String>, word: &str| {
            text.as_deref()
                .is_some_and(|text| text.eq_ignore_ascii_case(word))
        };
        Some(Known {
            is_super: is(&user.user_type, "Super"),
            is_enabled: !is(&user.user_status, "disable"),
            // A rule that this version does not understand allows nothing.
            acl: of_user
                .and_then(|info| Acl::read(info).ok())
                .unwrap_or_default(),
            broker,
        })
    });
    Ok(found.collect())
}
