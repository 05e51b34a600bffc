//! Users and their rules.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{AclInfo, UserInfo};
use rmq_protocol::requests::{
    AuthCreateUser, AuthDeleteAcl, AuthDeleteUser, AuthGetAcl, AuthGetUser, AuthListAcl,
    AuthListUser, AuthUpdateAcl, AuthUpdateUser,
};

use super::Admin;
use crate::error::Error;

/// What the subject of a user begins with.
const USER_SUBJECT: &str = "User:";

impl Admin {
    /// Creates a user at every master: `password` is needed; without a type the user is `Normal`, and without a status enabled.
    ///
    /// # Errors
    /// When a broker has such a user, or refuses; brokers before it have the user then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them.
    pub async fn create_user(&self, user: &UserInfo) -> Result<(), Error> {
        let name = user.username.as_deref().unwrap_or_default();
        let request = AuthCreateUser {
            username: Some(name.into()),
        };
        self.at_all(&request, &user.to_json(), || {
            format!("creating user \"{name}\"")
        })
        .await
    }

    /// Changes a user at every master. What is absent stays as it is.
    ///
    /// # Errors
    /// When a broker has no such user, or refuses; brokers before it have the change then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn update_user(&self, user: &UserInfo) -> Result<(), Error> {
        let name = user.username.as_deref().unwrap_or_default();
        let request = AuthUpdateUser {
            username: Some(name.into()),
        };
        self.at_all(&request, &user.to_json(), || {
            format!("changing user \"{name}\"")
        })
        .await
    }

    /// Deletes a user with the rules at every master.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn delete_user(&self, name: &str) -> Result<(), Error> {
        let request = AuthDeleteUser {
            username: Some(name.into()),
        };
        self.at_all(&request, b"", || format!("deleting user \"{name}\""))
            .await
    }

    /// The users of each master, by broker name. Passwords come only to a super user whose requests are signed.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn users(&self) -> Result<BTreeMap<String, Vec<UserInfo>>, Error> {
        let mut found = BTreeMap::new();
        for (name, broker) in self.masters(None).await? {
            let answer = broker.call(&AuthListUser { filter: None }, b"").await;
            let answer = answer.map_err(|error| error.doing("listing the users"))?;
            found.insert(name, UserInfo::list_from_json(answer.body())?);
        }
        Ok(found)
    }

    /// A user as each broker's master knows it, by broker name: the user, nothing where there is none, or why the master did not say.
    ///
    /// # Errors
    /// When no broker is registered, or no name server answers.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn user(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, Result<Option<UserInfo>, Error>>, Error> {
        let mut found = BTreeMap::new();
        for (broker, remote) in self.masters(None).await? {
            let request = AuthGetUser {
                username: Some(name.into()),
            };
            let answer = remote.call(&request, b"").await;
            let user = answer.and_then(|answer| match answer.body().is_empty() {
                true => Ok(None),
                false => Ok(Some(UserInfo::from_json(answer.body())?)),
            });
            found.insert(broker, user);
        }
        Ok(found)
    }

    /// Adds rules to those of a user at every master, each in the place of one of the same resource. The subject is `User:NAME`.
    ///
    /// # Errors
    /// When a broker has no such user, or refuses a rule; brokers before it have the rules then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn put_acl(&self, acl: &AclInfo) -> Result<(), Error> {
        let subject = acl.subject.as_deref().unwrap_or_default();
        let request = AuthUpdateAcl {
            subject: Some(subject.into()),
        };
        self.at_all(&request, &acl.to_json(), || {
            format!("setting the rules of \"{subject}\"")
        })
        .await
    }

    /// Deletes the rules of a user at every master: all of them, or the one of a `resource` in a `policy` (`Custom`, `Default`; absent: `Custom`).
    ///
    /// # Errors
    /// When a broker has no such user or rule.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them.
    pub async fn delete_acl(
        &self,
        user: &str,
        policy: Option<&str>,
        resource: Option<&str>,
    ) -> Result<(), Error> {
        let request = AuthDeleteAcl {
            subject: Some(format!("{USER_SUBJECT}{user}").into()),
            policy_type: policy.map(Into::into),
            resource: resource.map(Into::into),
        };
        self.at_all(&request, b"", || {
            format!("deleting rules of user \"{user}\"")
        })
        .await
    }

    /// Creates a user at the masters of these brokers, as [`create_user`](Self::create_user) does at all.
    ///
    /// # Errors
    /// When a broker has such a user, or refuses; brokers before it have the user then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them.
    pub async fn create_user_at(&self, brokers: &[String], user: &UserInfo) -> Result<(), Error> {
        let name = user.username.as_deref().unwrap_or_default();
        let request = AuthCreateUser {
            username: Some(name.into()),
        };
        self.at(brokers, &request, &user.to_json(), || {
            format!("creating user \"{name}\"")
        })
        .await
    }

    /// Changes a user at the masters of these brokers. What is absent stays as it is.
    ///
    /// # Errors
    /// When a broker has no such user, or refuses; brokers before it have the change then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn update_user_at(&self, brokers: &[String], user: &UserInfo) -> Result<(), Error> {
        let name = user.username.as_deref().unwrap_or_default();
        let request = AuthUpdateUser {
            username: Some(name.into()),
        };
        self.at(brokers, &request, &user.to_json(), || {
            format!("changing user \"{name}\"")
        })
        .await
    }

    /// Adds rules to those of a user at the masters of these brokers, each in the place of one of the same resource.
    ///
    /// # Errors
    /// When a broker has no such user, or refuses a rule; brokers before it have the rules then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn put_acl_at(&self, brokers: &[String], acl: &AclInfo) -> Result<(), Error> {
        let subject = acl.subject.as_deref().unwrap_or_default();
        let request = AuthUpdateAcl {
            subject: Some(subject.into()),
        };
        self.at(brokers, &request, &acl.to_json(), || {
            format!("setting the rules of \"{subject}\"")
        })
        .await
    }

    /// Deletes the rule of a resource at the masters of these brokers.
    ///
    /// # Errors
    /// When a broker has no such user or rule.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them.
    pub async fn delete_acl_at(
        &self,
        brokers: &[String],
        user: &str,
        policy: &str,
        resource: &str,
    ) -> Result<(), Error> {
        let request = AuthDeleteAcl {
            subject: Some(format!("{USER_SUBJECT}{user}").into()),
            policy_type: Some(policy.into()),
            resource: Some(resource.into()),
        };
        self.at(brokers, &request, b"", || {
            format!("deleting the rule of user \"{user}\" for {resource}")
        })
        .await
    }

    /// The rules of a user at a broker's master; `None`: the user has none.
    ///
    /// # Errors
    /// When the broker has no such user, does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn acl_at(&self, broker: &str, user: &str) -> Result<Option<AclInfo>, Error> {
        let named = [broker.to_owned()];
        let mut masters = self.masters_named(None, &named).await?.into_iter();
        let Some((_, remote)) = masters.next() else {
            return Ok(None);
        };
        let request = AuthGetAcl {
            subject: Some(format!("{USER_SUBJECT}{user}").into()),
        };
        let answer = remote.call(&request, b"").await;
        let answer = answer
            .map_err(|error| error.doing(&format!("reading the rules of user \"{user}\"")))?;
        match answer.body().is_empty() {
            true => Ok(None),
            false => Ok(Some(AclInfo::from_json(answer.body())?)),
        }
    }

    /// The rules of all users at each master, by broker name.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn acls(&self) -> Result<BTreeMap<String, Vec<AclInfo>>, Error> {
        let mut found = BTreeMap::new();
        for (name, broker) in self.masters(None).await? {
            let request = AuthListAcl {
                subject_filter: None,
                resource_filter: None,
            };
            let answer = broker.call(&request, b"").await;
            let answer = answer.map_err(|error| error.doing("listing the rules"))?;
            found.insert(name, AclInfo::list_from_json(answer.body())?);
        }
        Ok(found)
    }

    /// Asks every master for the same, one after the other.
    async fn at_all<'r>(
        &self,
        request: &(impl rmq_protocol::requests::Request<'r> + Sync),
        body: &[u8],
        doing: impl Fn() -> String,
    ) -> Result<(), Error> {
        self.at(&[], request, body, doing).await
    }

    /// Asks the masters of these brokers for the same, one after the other; of all when none is named.
    async fn at<'r>(
        &self,
        brokers: &[String],
        request: &(impl rmq_protocol::requests::Request<'r> + Sync),
        body: &[u8],
        doing: impl Fn() -> String,
    ) -> Result<(), Error> {
        for (_, broker) in self.masters_named(None, brokers).await? {
            let asked = broker.call(request, body).await;
            asked.map_err(|error| error.doing(&doing()))?;
        }
        Ok(())
    }
}
