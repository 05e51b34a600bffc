//! Users (apache/rocketmq `auth/.../authentication/model/User.java`).

use rmq_protocol::bodies::UserInfo;
use rmq_protocol::signature::SigningKey;
use serde::Deserialize;

use crate::secret::Secret;

/// Longest name of a user, bytes.
pub const USER_NAME_BYTES_MAX: usize = 255;
/// Longest password, bytes.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// What rules mean for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    /// May everything.
    Super,
    /// May what rules allow.
    Normal,
}

impl UserKind {
    /// As the original writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Super => "Super",
            Self::Normal => "Normal",
        }
    }
}

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, which is the access key of requests.
    pub name: String,
    /// What rules mean for this user.
    pub kind: UserKind,
    /// Requests of a user who is not enabled are refused.
    pub enabled: bool,
    /// `None`: what is stored cannot be opened, and no signature is right.
    pub password: Option<Secret>,
    key: Option<SigningKey>,
}

/// What is wrong with a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// No name.
    #[error("the username is blank")]
    NoName,
    /// The name is too long, or has letters that no name has.
    #[error(
        "the username has 1 to {USER_NAME_BYTES_MAX} bytes, without white space and control characters"
    )]
    Name,
    /// No password.
    #[error("the password is blank")]
    NoPassword,
    /// The password is too long.
    #[error("the password has {0} bytes, and {PASSWORD_BYTES_MAX} are allowed")]
    Password(usize),
    /// Another type.
    #[error("the user type {0:?} is neither Super nor Normal")]
    Kind(String),
    /// Another status.
    #[error("the user status {0:?} is neither enable nor disable")]
    Status(String),
    /// Not JSON with a name and a password.
    #[error(
        "it is not JSON as {{\"username\":\"NAME\",\"password\":\"…\"}} (or accessKey and secretKey)"
    )]
    Json,
}

impl User {
    /// A user who is enabled.
    ///
    /// # Errors
    /// The name or the password may not be so.
    pub fn new(name: &str, password: Secret, kind: UserKind) -> Result<Self, UserError> {
        check_name(name)?;
        check_password(password.reveal())?;
        Ok(Self::stored(name, Some(password), kind, true))
    }

    /// A user as the log has it.
    #[must_use]
    pub fn stored(name: &str, password: Option<Secret>, kind: UserKind, enabled: bool) -> Self {
        let key = password
            .as_ref()
            .map(|password| SigningKey::new(password.reveal()));
        Self {
            name: name.to_owned(),
            kind,
            enabled,
            password,
            key,
        }
    }

    /// A super user of a configuration: JSON with `username` and `password`, or with `accessKey` and `secretKey`
    /// (`initAuthenticationUser`, `innerClientAuthenticationCredentials`).
    ///
    /// # Errors
    /// The text is no such JSON, or the name or the password may not be so.
    pub fn of_configuration(json: &str) -> Result<Self, UserError> {
        #[derive(Deserialize)]
        struct Configured {
            #[serde(alias = "accessKey")]
            username: String,
            #[serde(alias = "secretKey")]
            password: String,
        }
        let configured: Configured = serde_json::from_str(json).map_err(|_| UserError::Json)?;
        let password = Secret::new(configured.password);
        Self::new(&configured.username, password, UserKind::Super)
    }

    /// The user that a request describes, with what it leaves out taken from `known`.
    ///
    /// # Errors
    /// See [`UserError`].
    pub fn described(name: &str, info: &UserInfo, known: Option<&Self>) -> Result<Self, UserError> {
        check_name(name)?;
        let kind = match info.user_type.as_deref() {
            None | Some("") => known.map_or(UserKind::Normal, |known| known.kind),
            Some(kind) if kind.eq_ignore_ascii_case("Super") => UserKind::Super,
            Some(kind) if kind.eq_ignore_ascii_case("Normal") => UserKind::Normal,
            Some(kind) => return Err(UserError::Kind(kind.chars().take(100).collect())),
        };
        let enabled = match info.user_status.as_deref() {
            None | Some("") => known.is_none_or(|known| known.enabled),
            Some(status) if status.eq_ignore_ascii_case("enable") => true,
            Some(status) if status.eq_ignore_ascii_case("disable") => false,
            Some(status) => return Err(UserError::Status(status.chars().take(100).collect())),
        };
        let password = match info.password.as_deref() {
            None | Some("") => match known {
                Some(known) => known.password.clone(),
                None => return Err(UserError::NoPassword),
            },
            Some(password) => {
                check_password(password)?;
                Some(Secret::new(password.to_owned()))
            }
        };
        Ok(Self::stored(name, password, kind, enabled))
    }

    /// As answers have it, with the password only where `with_password` says so.
    #[must_use]
    pub fn to_info(&self, with_password: bool) -> UserInfo {
        let password = self.password.as_ref().filter(|_| with_password);
        let status = if self.enabled { "enable" } else { "disable" };
        UserInfo {
            password: password.map(|password| password.reveal().to_owned()),
            user_status: Some(status.to_owned()),
            user_type: Some(self.kind.name().to_owned()),
            username: Some(self.name.clone()),
        }
    }

    /// What signatures of this user are checked with.
    #[must_use]
    pub fn signing_key(&self) -> Option<&SigningKey> {
        self.key.as_ref()
    }
}

fn check_name(name: &str) -> Result<(), UserError> {
    if name.is_empty() {
        return Err(UserError::NoName);
    }
    let is_odd = |letter: char| letter.is_control() || letter.is_whitespace();
    if name.len() > USER_NAME_BYTES_MAX || name.contains(is_odd) {
        return Err(UserError::Name);
    }
    Ok(())
}

fn check_password(password: &str) -> Result<(), UserError> {
    match password.len() {
        0 => Err(UserError::NoPassword),
        1..=PASSWORD_BYTES_MAX => Ok(()),
        length => Err(UserError::Password(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(password: &str, kind: &str, status: &str) -> UserInfo {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        UserInfo {
            password: some(password),
            user_status: some(status),
            user_type: some(kind),
            username: None,
        }
    }

    #[test]
    fn what_a_change_leaves_out_stays() {
        let ann = User::described("ann", &info("one", "", ""), None).expect("a user");
        assert_eq!((ann.kind, ann.enabled), (UserKind::Normal, true));
        let changed = User::described("ann", &info("", "super", "disable"), Some(&ann));
        let changed = changed.expect("a user");
        assert_eq!((changed.kind, changed.enabled), (UserKind::Super, false));
        let password = changed.password.as_ref().map(|password| password.reveal());
        assert_eq!(password, Some("one"));
        assert_eq!(changed.to_info(false).password, None);
        assert_eq!(changed.to_info(true).password.as_deref(), Some("one"));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_shows() {
        let long = "secret".repeat(200);
        for (name, wrong) in [
            ("", info("p", "", "")),
            ("a b", info("p", "", "")),
            ("a", info("", "", "")),
            ("a", info(&long, "", "")),
            ("a", info("p", "Root", "")),
            ("a", info("p", "", "off")),
        ] {
            let error = User::described(name, &wrong, None).expect_err(name);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let ann = User::new("ann", Secret::new("hunter2".to_owned()), UserKind::Normal);
        assert!(!format!("{ann:?}").contains("hunter2"), "{ann:?}");
    }

    #[test]
    fn users_of_a_configuration_are_super() {
        for json in [
            r#"{"username":"ann","password":"p"}"#,
            r#"{"accessKey":"ann","secretKey":"p"}"#,
        ] {
            let user = User::of_configuration(json).expect(json);
            assert_eq!((user.name.as_str(), user.kind), ("ann", UserKind::Super));
        }
        assert_eq!(
            User::of_configuration("ann:hunter2").err(),
            Some(UserError::Json)
        );
    }
}
