//! Users and their rules: 3001 to 3010 (apache/rocketmq `AdminBrokerProcessor`).

use std::sync::Arc;

use rmq_access::{PolicyKind, ResourceKey, user_of};
use rmq_protocol::bodies::{AclInfo, UserInfo};
use rmq_protocol::requests::{
    AuthCreateAcl, AuthCreateUser, AuthDeleteAcl, AuthDeleteUser, AuthGetAcl, AuthGetUser,
    AuthListAcl, AuthListUser, AuthUpdateAcl, AuthUpdateUser,
};
use rmq_transport::{Exchange, Reply};

use crate::admin::refusal::UserRefusal;
use crate::admin::users::{self, By};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::refusal::{FormRefusal, Handled, Refusal};
use crate::handlers::{change, decode};
use crate::reply::Answer;

fn by(broker: &Broker, exchange: &Exchange<'_>) -> By {
    By {
        asker: exchange.asker(),
        account: broker
            .access
            .as_ref()
            .and_then(|access| access.account_of(exchange)),
    }
}

/// The name in a header.
fn named(name: Option<std::borrow::Cow<'_, str>>) -> Result<String, Refusal> {
    match name {
        Some(name) if !name.trim().is_empty() => Ok(name.into_owned()),
        _ => Err(UserRefusal::Blank.into()),
    }
}

/// The user of a subject in a header.
fn subject(subject: Option<std::borrow::Cow<'_, str>>) -> Result<String, Refusal> {
    let user = user_of(subject.as_deref().unwrap_or_default());
    Ok(user.map_err(UserRefusal::of)?.to_owned())
}

/// The user in a body. What is wrong with it is not told in its own words: they may be the password.
fn user_info(body: &[u8]) -> Result<UserInfo, Refusal> {
    UserInfo::from_json(body).map_err(|_| UserRefusal::Body.into())
}

fn acl_info(body: &[u8]) -> Result<AclInfo, Refusal> {
    let info = AclInfo::from_json(body);
    Ok(info.map_err(|error| FormRefusal::Admin("the ACL", error))?)
}

pub(crate) fn create(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthCreateUser<'_> = decode(exchange)?;
    let (name, info) = (named(request.username)?, user_info(exchange.body)?);
    let by = by(broker, exchange);
    change(broker, exchange, async move |broker| {
        users::create(&broker, &by, &name, &info).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn update(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthUpdateUser<'_> = decode(exchange)?;
    let (name, info) = (named(request.username)?, user_info(exchange.body)?);
    let by = by(broker, exchange);
    change(broker, exchange, async move |broker| {
        users::update(&broker, &by, &name, &info).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn delete(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthDeleteUser<'_> = decode(exchange)?;
    let name = named(request.username)?;
    let by = by(broker, exchange);
    change(broker, exchange, async move |broker| {
        users::delete(&broker, &by, &name).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn one(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthGetUser<'_> = decode(exchange)?;
    let name = named(request.username)?;
    let user = users::one(broker, &by(broker, exchange), &name);
    // The original answers with nothing for a user that there is not.
    let body = user.map(|user| user.to_json()).unwrap_or_default();
    exchange.ok_body(&(), &body);
    Ok(())
}

pub(crate) fn list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthListUser<'_> = decode(exchange)?;
    let filter = request.filter.as_deref().unwrap_or_default();
    let users = users::list(broker, &by(broker, exchange), filter);
    exchange.ok_body(&(), &UserInfo::list_to_json(&users));
    Ok(())
}

pub(crate) fn create_acl(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthCreateAcl<'_> = decode(exchange)?;
    put_acl(broker, exchange, request.subject)
}

pub(crate) fn update_acl(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthUpdateAcl<'_> = decode(exchange)?;
    put_acl(broker, exchange, request.subject)
}

/// Both codes do the same, as in the original.
fn put_acl(
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    of: Option<std::borrow::Cow<'_, str>>,
) -> Handled {
    let info = acl_info(exchange.body)?;
    // As the original: the body's counts before the header's.
    let of = info.subject.clone().map(Into::into).or(of);
    let user = subject(of)?;
    let by = by(broker, exchange);
    change(broker, exchange, async move |broker| {
        users::put_acl(&broker, &by, &user, &info).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn delete_acl(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthDeleteAcl<'_> = decode(exchange)?;
    let user = subject(request.subject)?;
    let policy = PolicyKind::named(request.policy_type.as_deref()).map_err(UserRefusal::of)?;
    let resource = match request.resource.as_deref().unwrap_or_default().trim() {
        "" => None,
        text => Some(text.parse::<ResourceKey>().map_err(UserRefusal::of)?),
    };
    let by = by(broker, exchange);
    change(broker, exchange, async move |broker| {
        users::delete_acl(&broker, &by, &user, policy, resource).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn acl(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthGetAcl<'_> = decode(exchange)?;
    let acl = users::acl(broker, &subject(request.subject)?)?;
    let body = acl.map(|acl| acl.to_json()).unwrap_or_default();
    exchange.ok_body(&(), &body);
    Ok(())
}

pub(crate) fn acls(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: AuthListAcl<'_> = decode(exchange)?;
    let subject = request.subject_filter.as_deref().unwrap_or_default();
    let resource = request.resource_filter.as_deref().unwrap_or_default();
    let acls = users::acls(broker, subject, resource);
    exchange.ok_body(&(), &AclInfo::list_to_json(&acls));
    Ok(())
}
