//! Why a request is not served: nobody knows who sent it, or they may not.

use std::fmt;
use std::net::IpAddr;

use crate::resource::{Actions, Kind};

/// Why nobody knows who sent a request. The texts begin as those of `apache/rocketmq DefaultAuthenticationHandler`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// No user.
    #[error(
        "username cannot be null: the request is not signed, and this server asks for a signature (authenticationEnabled); give the client an access key and its secret key"
    )]
    NoUser,
    /// A user that there is not.
    #[error(
        "User:{0} is not found: there is no such access key at this server; rmq-ctl get users lists them"
    )]
    Unknown(String),
    /// A user who is not enabled.
    #[error("User:{0} is disabled: rmq-ctl set user {0} --enable changes that")]
    Disabled(String),
    /// A user without a signature.
    #[error("check signature failed: the request names user {0} and has no signature")]
    NotSigned(String),
    /// Another key.
    #[error(
        "check signature failed: the signature of user {0} was not made with the secret key that this server knows, or the request was changed on its way"
    )]
    Wrong(String),
    /// The stored password cannot be opened.
    #[error(
        "check signature failed: this server cannot open the stored password of user {0}; see its log (userSecretsKeyFile)"
    )]
    Sealed(String),
}

impl Unauthenticated {
    /// A word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }

    /// All words.
    pub const REASONS: [&'static str; 6] = [
        "no_user",
        "unknown_user",
        "disabled",
        "not_signed",
        "wrong_signature",
        "sealed",
    ];

    /// The place of the word in [`REASONS`](Self::REASONS).
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::NoUser => 0,
            Self::Unknown(_) => 1,
            Self::Disabled(_) => 2,
            Self::NotSigned(_) => 3,
            Self::Wrong(_) => 4,
            Self::Sealed(_) => 5,
        }
    }
}

/// A user who may not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied {
    /// Who.
    pub user: String,
    /// Each of these actions would have been enough.
    pub actions: Actions,
    /// The type of the resource.
    pub kind: Kind,
    /// Its name; `None`: all of this type.
    pub name: Option<String>,
    /// Where the request came from.
    pub from: IpAddr,
    /// The rule that refuses it, with its policy; `None`: no rule allows it.
    pub rule: Option<String>,
}

/// Begins as `apache/rocketmq AclAuthorizationHandler`.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (self.kind.name(), self.name.as_deref().unwrap_or("*"));
        write!(
            f,
            "User:{} has no permission to access {kind}:{name} from {}: it needs {}, and ",
            self.user, self.from, self.actions
        )?;
        match &self.rule {
            Some(rule) => write!(f, "a rule refuses that ({rule})"),
            None => f.write_str("no rule allows that"),
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use rmq_protocol::code::Action;

    use super::*;

    #[test]
    fn a_refusal_names_user_action_resource_and_rule() {
        let mut denied = Denied {
            user: "ann".to_owned(),
            actions: Actions::of(&[Action::Pub]),
            kind: Kind::Topic,
            name: Some("orders".to_owned()),
            from: "10.0.0.1".parse().expect("an address"),
            rule: None,
        };
        assert_eq!(
            denied.to_string(),
            "User:ann has no permission to access Topic:orders from 10.0.0.1: it needs PUB, and no rule allows that"
        );
        denied.rule = Some("Custom: Deny Pub on Topic:*".to_owned());
        assert!(
            denied
                .to_string()
                .ends_with("a rule refuses that (Custom: Deny Pub on Topic:*)")
        );
    }
}
