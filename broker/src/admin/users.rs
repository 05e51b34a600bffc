//! Users and their rules: made, changed, deleted and described (apache/rocketmq `AdminBrokerProcessor`, codes 3001 to 3010).

use std::sync::Arc;

use rmq_access::{Account, Acl, PolicyKind, ResourceKey, User, UserKind};
use rmq_process::Asker;
use rmq_protocol::bodies::{AclInfo, UserInfo};

use super::refusal::UserRefusal;
use crate::audit;
use crate::broker::Broker;
use crate::users::Changed;

/// Who asks, for what only some may: the audit's, and the account when requests are signed.
#[derive(Clone)]
pub(crate) struct By {
    pub(crate) asker: Asker,
    /// `None`: nobody is asked who they are.
    pub(crate) account: Option<Arc<Account>>,
}

impl By {
    /// Whether it is a super user, or nobody is asked who they are.
    fn is_super(&self) -> bool {
        let account = self.account.as_ref();
        account.is_none_or(|account| account.user.kind == UserKind::Super)
    }

    /// Whether passwords may be told: to a super user who has proved to be one.
    fn may_read_passwords(&self) -> bool {
        let account = self.account.as_ref();
        account.is_some_and(|account| account.user.kind == UserKind::Super)
    }

    /// Only a super user makes, changes or deletes one.
    fn check_super(&self, user: Option<&User>) -> Result<(), UserRefusal> {
        let is_super = user.is_some_and(|user| user.kind == UserKind::Super);
        match is_super && !self.is_super() {
            true => Err(UserRefusal::OnlySuper),
            false => Ok(()),
        }
    }

    /// Nobody but a super user changes the own rules.
    fn check_own(&self, user: &str) -> Result<(), UserRefusal> {
        let own = self.account.as_ref();
        match !self.is_super() && own.is_some_and(|account| account.user.name == user) {
            true => Err(UserRefusal::OwnRules(user.to_owned())),
            false => Ok(()),
        }
    }
}

/// A user as the audit has it: without the password.
fn told(user: &User) -> Option<String> {
    audit::text(&user.to_info(false))
}

/// Creates a user.
///
/// # Errors
/// There is such a user, the user may not be so, or cannot be stored.
pub(crate) async fn create(
    broker: &Broker,
    by: &By,
    name: &str,
    info: &UserInfo,
) -> Result<(), UserRefusal> {
    let user = User::described(name, info, None).map_err(UserRefusal::of)?;
    by.check_super(Some(&user))?;
    let user = broker.users.create(name, info).await?;
    by.asker.changed("user created", name, None, told(&user));
    Ok(())
}

/// Changes a user.
///
/// # Errors
/// There is no such user, the user may not be so, or cannot be stored.
pub(crate) async fn update(
    broker: &Broker,
    by: &By,
    name: &str,
    info: &UserInfo,
) -> Result<(), UserRefusal> {
    let known = broker.users.get(name);
    let known = known.as_ref().map(|account| &*account.user);
    by.check_super(known)?;
    let wanted = User::described(name, info, known).map_err(UserRefusal::of);
    by.check_super(wanted.as_ref().ok())?;
    let Changed { before, after } = broker.users.update(name, info).await?;
    let (before, after) = (before.as_ref(), after.as_ref());
    let what = match info.password.as_deref().unwrap_or_default() {
        "" => "user changed",
        _ => "user changed, with the password",
    };
    by.asker
        .changed(what, name, before.and_then(told), after.and_then(told));
    Ok(())
}

/// Deletes a user with the rules. One that there is not is deleted already.
///
/// # Errors
/// The user is of the configuration, or the change cannot be stored.
pub(crate) async fn delete(broker: &Broker, by: &By, name: &str) -> Result<(), UserRefusal> {
    let known = broker.users.get(name);
    by.check_super(known.as_ref().map(|account| &*account.user))?;
    match broker.users.delete(name).await? {
        Some(user) => {
            by.asker.changed("user deleted", name, told(&user), None);
            Ok(())
        }
        None if known.is_some() => Err(UserRefusal::Configured(name.to_owned())),
        None => Ok(()),
    }
}

/// A user as an answer has it.
pub(crate) fn one(broker: &Broker, by: &By, name: &str) -> Option<UserInfo> {
    let account = broker.users.get(name)?;
    Some(account.user.to_info(by.may_read_passwords()))
}

/// The users whose names have this text.
pub(crate) fn list(broker: &Broker, by: &By, filter: &str) -> Vec<UserInfo> {
    let with_password = by.may_read_passwords();
    let all = broker.users.all().into_iter();
    all.filter(|account| account.user.name.contains(filter))
        .map(|account| account.user.to_info(with_password))
        .collect()
}

/// Adds rules to those of a user.
///
/// # Errors
/// There is no such user, a rule may not be so, or they cannot be stored.
pub(crate) async fn put_acl(
    broker: &Broker,
    by: &By,
    user: &str,
    info: &AclInfo,
) -> Result<(), UserRefusal> {
    by.check_own(user)?;
    let changed = broker.users.put_acl(user, info).await?;
    tell("rules changed", by, user, &changed);
    Ok(())
}

/// Deletes the rules of a user, or the one of a resource.
///
/// # Errors
/// There is no such user or rule, or the change cannot be stored.
pub(crate) async fn delete_acl(
    broker: &Broker,
    by: &By,
    user: &str,
    policy: PolicyKind,
    resource: Option<ResourceKey>,
) -> Result<(), UserRefusal> {
    by.check_own(user)?;
    let changed = broker.users.delete_acl(user, policy, resource).await?;
    tell("rules deleted", by, user, &changed);
    Ok(())
}

fn tell(what: &'static str, by: &By, user: &str, changed: &Changed<Acl>) {
    let text = |acl: &Option<Acl>| audit::text(&acl.as_ref()?.to_info(user));
    by.asker
        .changed(what, user, text(&changed.before), text(&changed.after));
}

/// The rules of a user; `None`: the user has none.
///
/// # Errors
/// There is no such user.
pub(crate) fn acl(broker: &Broker, user: &str) -> Result<Option<AclInfo>, UserRefusal> {
    let account = broker.users.get(user);
    let account = account.ok_or_else(|| UserRefusal::Unknown(user.to_owned()))?;
    Ok((!account.acl.is_empty()).then(|| account.acl.to_info(user)))
}

/// The rules of users with these texts in subject and resource.
pub(crate) fn acls(broker: &Broker, subject: &str, resource: &str) -> Vec<AclInfo> {
    let all = broker.users.all().into_iter();
    let with_rules = all.filter(|account| {
        !account.acl.is_empty() && rmq_access::subject_of(&account.user.name).contains(subject)
    });
    with_rules
        .filter_map(|account| {
            let acl = account.acl.filtered(resource);
            (!acl.is_empty()).then(|| acl.to_info(&account.user.name))
        })
        .collect()
}
