//! Reads Secrets by name and writes those of the operator. There is no list and no watch: nobody else's Secret is ever seen.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};

use crate::context::Context;
use crate::credentials;
use crate::error::Error;
use crate::objects::names::{FIELD_MANAGER, Labels};
use crate::objects::{is_owned_by, metadata};

use super::rotation::Data;

/// The type of Secrets with a certificate and its key.
const TYPE: &str = "kubernetes.io/tls";

/// A Secret as it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// What there is. None: there is no such Secret.
    secret: Option<Secret>,
}

impl Found {
    pub(crate) fn is_there(&self) -> bool {
        self.secret.is_some()
    }

    pub(crate) fn data(&self) -> Option<&Data> {
        self.secret.as_ref()?.data.as_ref()
    }

    /// Whether somebody else made it.
    pub(crate) fn is_foreign(&self, uid: &str) -> bool {
        let secret = self.secret.as_ref();
        secret.is_some_and(|secret| !is_owned_by(secret, uid))
    }
}

/// Reads one Secret.
pub(crate) async fn read(context: &Context, namespace: &str, name: &str) -> Result<Found, Error> {
    let secret = credentials::fetch(context, namespace, name).await?;
    Ok(Found { secret })
}

/// Makes a Secret of `owner`, or replaces what it had. A Secret that was changed since it was read is a conflict, and the next look reads it
/// again.
pub(crate) async fn write<K>(
    context: &Context,
    owner: &K,
    name: &str,
    labels: &Labels,
    found: &Found,
    data: Data,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let namespace = owner.namespace().unwrap_or_default();
    let uid = owner.uid().unwrap_or_default();
    if found.is_foreign(&uid) {
        return Err(Error::NameTaken(format!(
            "Secret \"{name}\" exists and does not belong to this object: delete it, rename this object, or name the Secret in spec.tls.secretName"
        )));
    }
    let mut secret = Secret {
        metadata: metadata(owner, name.to_owned(), labels),
        type_: Some(TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    let before = found.secret.as_ref();
    secret.metadata.resource_version = before.and_then(ResourceExt::resource_version);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let written = match before {
        None => api.create(&params, &secret).await,
        Some(_) => api.replace(name, &params, &secret).await,
    };
    written
        .map(drop)
        .map_err(Error::doing(format!("writing Secret \"{name}\"")))
}
