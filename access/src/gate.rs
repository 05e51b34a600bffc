//! What each request passes: its signature, and the rules of its user.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rmq_protocol::code::{Action, RequestCode, Resource, Right};
use rmq_protocol::header::Header;
use rmq_protocol::names::group_of_retry_topic;
use rmq_protocol::signature::{ACCESS_KEY_FIELD, NotSigned};

use crate::account::{Account, Accounts, Recent};
use crate::acl::Decision;
use crate::named::names_of;
use crate::refusal::{Denied, Unauthenticated};
use crate::resource::{Actions, Kind};
use crate::user::UserKind;

/// Request codes that need no check: `105,106`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestCodes(BTreeSet<i32>);

impl RequestCodes {
    fn has(&self, code: RequestCode) -> bool {
        !self.0.is_empty() && self.0.contains(&code.as_i32())
    }
}

impl FromStr for RequestCodes {
    /// The part that is no code.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let codes = parts.map(|part| {
            let number = part
                .parse()
                .ok()
                .filter(|number| RequestCode::from_i32(*number).is_some());
            number.ok_or_else(|| part.chars().take(100).collect())
        });
        codes.collect::<Result<_, _>>().map(Self)
    }
}

/// What is checked, and with which users.
#[derive(Debug)]
pub struct Gate {
    /// The users.
    pub accounts: Arc<Accounts>,
    /// Rules count; otherwise each user may everything.
    pub authorizes: bool,
    /// Codes that are served without a signature.
    pub unsigned: RequestCodes,
    /// Codes that are served without a right.
    pub unruled: RequestCodes,
    /// The name of the cluster, which rights on `Cluster` are about.
    pub cluster: String,
}

/// A request that wants to pass.
#[derive(Debug)]
pub struct Request<'a> {
    /// What it asks for.
    pub code: RequestCode,
    /// The rights that the code needs, all of them.
    pub rights: &'static [Right],
    /// The header.
    pub header: &'a Header<'a>,
    /// The body.
    pub body: &'a [u8],
    /// Where it comes from.
    pub from: IpAddr,
    /// The subject of the certificate that the connection proves, if any.
    pub certificate: Option<&'a str>,
    /// A topic that it is about without naming it, as the server knows.
    pub about: Option<&'a str>,
}

/// Who passed.
#[derive(Debug, Clone)]
pub enum Passed {
    /// Anybody: the code needs no signature.
    Anybody,
    /// This user.
    User(Arc<Account>),
}

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPassed {
    /// Nobody knows who sent it.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// The user may not.
    #[error(transparent)]
    Denied(Box<Denied>),
}

impl Gate {
    /// Who sent the request, when they may.
    ///
    /// # Errors
    /// See [`NotPassed`].
    pub fn pass(&self, request: &Request<'_>, recent: &mut Recent) -> Result<Passed, NotPassed> {
        if self.unsigned.has(request.code) {
            return Ok(Passed::Anybody);
        }
        let account = self.authenticate(request, recent)?;
        if self.asks_rules(account, request.code) {
            self.authorize(account, request)?;
        }
        Ok(Passed::User(Arc::clone(account)))
    }

    /// Whether what a request with this code touches depends on the rules of its user.
    #[must_use]
    pub fn asks_rules(&self, account: &Account, code: RequestCode) -> bool {
        self.authorizes && account.user.kind == UserKind::Normal && !self.unruled.has(code)
    }

    /// Whether a request with this code is served without a signature.
    #[must_use]
    pub fn is_unsigned(&self, code: RequestCode) -> bool {
        self.unsigned.has(code)
    }

    /// Whether a user may do one of the actions to one of the topics: the queues that a stored message is in. A topic of retries stands for its
    /// group.
    ///
    /// # Errors
    /// [`NotPassed::Denied`], of the first of them.
    pub fn pass_one_of<'t>(
        &self,
        account: &Account,
        topics: impl IntoIterator<Item = &'t str>,
        actions: Actions,
        from: IpAddr,
    ) -> Result<(), NotPassed> {
        let mut first = None;
        for topic in topics {
            match self.check_topic(account, topic, actions, of_retries(actions), from) {
                Ok(()) => return Ok(()),
                Err(why) => first = first.or(Some(why)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn authenticate<'r>(
        &self,
        request: &Request<'_>,
        recent: &'r mut Recent,
    ) -> Result<&'r Arc<Account>, Unauthenticated> {
        let key = request.header.fields.get(ACCESS_KEY_FIELD);
        let key = key.as_ref().filter(|key| !key.is_empty());
        let (name, is_certified) = match (key, request.certificate) {
            (Some(key), _) => (key.to_cow(), false),
            (None, Some(subject)) => (subject.into(), true),
            (None, None) => return Err(Unauthenticated::NoUser),
        };
        let shown = || name.chars().take(255).collect::<String>();
        let account = recent.get(&self.accounts, &name);
        let account = account.ok_or_else(|| Unauthenticated::Unknown(shown()))?;
        if !account.user.enabled {
            return Err(Unauthenticated::Disabled(shown()));
        }
        if !is_certified {
            let key = account.user.signing_key();
            let key = key.ok_or_else(|| Unauthenticated::Sealed(shown()))?;
            key.check(request.header, request.body)
                .map_err(|why| match why {
                    NotSigned::Missing => Unauthenticated::NotSigned(shown()),
                    NotSigned::Wrong => Unauthenticated::Wrong(shown()),
                })?;
        }
        Ok(account)
    }

    fn authorize(&self, account: &Account, request: &Request<'_>) -> Result<(), NotPassed> {
        let mut names = names_of(request.code, &request.header.fields, request.body);
        if let Some(topic) = request.about {
            names.topics.clear();
            names.topics.push(topic.into());
        }
        let of_group = request
            .rights
            .iter()
            .find(|right| right.on == Resource::Group);
        let is_empty = names.topics.is_empty() && names.groups.is_empty();
        for right in request.rights {
            let actions = Actions::of(right.actions);
            let check = |kind, name: Option<&str>, actions| {
                self.check(account, kind, name, actions, request.from)
            };
            match right.on {
                Resource::Cluster => check(Kind::Cluster, Some(&self.cluster), actions)?,
                Resource::Topic | Resource::Group if is_empty && names.may_be_empty => {}
                Resource::Topic | Resource::Group if is_empty => {
                    check(right.on.into(), None, actions)?;
                }
                Resource::Topic => {
                    let of_group = match of_group {
                        Some(right) => Actions::of(right.actions),
                        None => of_retries(actions),
                    };
                    for topic in &names.topics {
                        self.check_topic(account, topic, actions, of_group, request.from)?;
                    }
                }
                Resource::Group => {
                    for group in &names.groups {
                        check(Kind::Group, Some(group), actions)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Retries belong to their group, and need `of_group` there.
    fn check_topic(
        &self,
        account: &Account,
        topic: &str,
        actions: Actions,
        of_group: Actions,
        from: IpAddr,
    ) -> Result<(), NotPassed> {
        match group_of_retry_topic(topic) {
            Some(group) => self.check(account, Kind::Group, Some(group), of_group, from),
            None => self.check(account, Kind::Topic, Some(topic), actions, from),
        }
    }

    fn check(
        &self,
        account: &Account,
        kind: Kind,
        name: Option<&str>,
        actions: Actions,
        from: IpAddr,
    ) -> Result<(), NotPassed> {
        if account.rules.allow(kind, name, actions, from) {
            return Ok(());
        }
        Err(NotPassed::Denied(Box::new(denied(
            account, kind, name, actions, from,
        ))))
    }

    /// Whether a user may, with the reason when not: what `can-i` asks.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may(
        account: &Account,
        kind: Kind,
        name: Option<&str>,
        actions: Actions,
        from: IpAddr,
    ) -> Result<(), Denied> {
        let is_super = account.user.kind == UserKind::Super;
        if is_super || account.rules.allow(kind, name, actions, from) {
            return Ok(());
        }
        Err(denied(account, kind, name, actions, from))
    }
}

/// Who sends to the topic of a group's retries gives a message back: members of the group do.
fn of_retries(actions: Actions) -> Actions {
    let send = Actions::one(Action::Pub);
    if (actions & send).is_empty() {
        return actions;
    }
    actions.without(send) | Actions::one(Action::Sub)
}

#[cold]
fn denied(
    account: &Account,
    kind: Kind,
    name: Option<&str>,
    actions: Actions,
    from: IpAddr,
) -> Denied {
    let rule = account.acl.deciding(kind, name, actions, from);
    let refusing = rule.filter(|(_, entry)| entry.decision == Decision::Deny);
    Denied {
        user: account.user.name.clone(),
        actions,
        kind,
        name: name.map(|name| name.chars().take(255).collect()),
        from,
        rule: refusing.map(|(policy, entry)| format!("{}: {entry}", policy.name())),
    }
}
