//! Users and their rights (codes 3001 to 3010).

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BodyError, bodies, from_slice, lenient};

/// A user. `Debug` hides the password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// `enable` or `disable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
    /// `Super` or `Normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserInfo")
            .field("username", &self.username)
            .field("user_type", &self.user_type)
            .field("user_status", &self.user_status)
            .finish_non_exhaustive()
    }
}

/// Rights to one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclEntry {
    /// `Pub`, `Sub`, `Create`, ...
    #[serde(deserialize_with = "lenient::or_null")]
    pub actions: Vec<String>,
    /// `Allow` or `Deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// `Topic:name`, `Group:name`, `Cluster:name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Networks that it holds for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ips: Option<Vec<String>>,
}

/// Rights of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclPolicy {
    /// By resource.
    #[serde(deserialize_with = "lenient::or_null")]
    pub entries: Vec<AclEntry>,
    /// `Custom` or `Default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<String>,
}

/// Rights of one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclInfo {
    /// The rights.
    #[serde(deserialize_with = "lenient::or_null")]
    pub policies: Vec<AclPolicy>,
    /// `User:name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

bodies! { UserInfo: plain; AclInfo: plain; }

impl UserInfo {
    /// Users as the answer to code 3005 has them: nothing when there are none.
    #[must_use]
    pub fn list_to_json(users: &[Self]) -> Vec<u8> {
        list_to_json(users)
    }

    /// Reads [`list_to_json`](Self::list_to_json).
    ///
    /// # Errors
    /// When it is not such a list.
    pub fn list_from_json(bytes: &[u8]) -> Result<Vec<Self>, BodyError> {
        list_from_json("the users", bytes)
    }
}

impl AclInfo {
    /// Rights as the answer to code 3010 has them: nothing when there are none.
    #[must_use]
    pub fn list_to_json(acls: &[Self]) -> Vec<u8> {
        list_to_json(acls)
    }

    /// Reads [`list_to_json`](Self::list_to_json).
    ///
    /// # Errors
    /// When it is not such a list.
    pub fn list_from_json(bytes: &[u8]) -> Result<Vec<Self>, BodyError> {
        list_from_json("the rights", bytes)
    }
}

fn list_to_json<T: Serialize>(list: &[T]) -> Vec<u8> {
    if list.is_empty() {
        return Vec::new();
    }
    serde_json::to_vec(list).expect("plain data always serialises")
}

fn list_from_json<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<Vec<T>, BodyError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    from_slice(what, bytes)
}
