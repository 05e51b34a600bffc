//! The password of a user, and the Secret that workloads mount (a service binding: servicebinding.io).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use rmq_access::{PASSWORD_BYTES_MAX, Secret};
use rmq_crds::{NameServer, User};

use crate::conditions::Verdict;
use crate::context::Context;
use crate::credentials;
use crate::error::Error;
use crate::objects::names::{self, FIELD_MANAGER};
use crate::objects::{is_owned_by, metadata};

const PASSWORD: &str = "password";

/// Name of the Secret for workloads.
pub(super) fn name(object: &User) -> String {
    names::binding(&object.name_any())
}

/// The password of the user, which is in the Secret for workloads from now on. The inner error: a person has to mend a Secret.
pub(super) async fn password(
    object: &User,
    name_server: &NameServer,
    context: &Context,
) -> Result<Result<Secret, Verdict>, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let binding = name(object);
    let has = credentials::fetch(context, &namespace, &binding).await?;
    let uid = object.uid().unwrap_or_default();
    if has.as_ref().is_some_and(|has| !is_owned_by(has, &uid)) {
        return Err(Error::NameTaken(format!(
            "Secret \"{binding}\" exists and does not belong to this object: delete it, or rename this object"
        )));
    }
    let password = match &object.spec.password_secret {
        Some(named) => {
            let found = match named.name == binding {
                true => None,
                false => credentials::fetch(context, &namespace, &named.name).await?,
            };
            let Some(found) = found else {
                let message = format!(
                    "spec.passwordSecret.name: there is no Secret {} in this namespace; create it, or leave passwordSecret out and the operator makes a password",
                    named.name
                );
                return Ok(Err(Verdict::stalled("SecretNotFound", message)));
            };
            match read(&found, &named.key) {
                Ok(password) => password,
                Err(why) => {
                    let message = format!("spec.passwordSecret: Secret {}: {why}", named.name);
                    return Ok(Err(Verdict::stalled("SecretInvalid", message)));
                }
            }
        }
        None => {
            let kept = has.as_ref().and_then(|has| read(has, PASSWORD).ok());
            kept.unwrap_or_else(Secret::random)
        }
    };
    let data = binding_of(object, name_server, &password);
    if has.and_then(|has| has.data).as_ref() != Some(&data) {
        write(context, object, &binding, data).await?;
    }
    Ok(Ok(password))
}

/// A password of a Secret. The error does not tell it.
fn read(secret: &SecretObject, key: &str) -> Result<Secret, String> {
    let text = credentials::text(secret, key)?;
    match text.len() {
        0..=PASSWORD_BYTES_MAX => Ok(Secret::new(text.to_owned())),
        length => Err(format!(
            "{key} has {length} bytes, and {PASSWORD_BYTES_MAX} are allowed"
        )),
    }
}

/// What workloads are told.
fn binding_of(
    object: &User,
    name_server: &NameServer,
    password: &Secret,
) -> BTreeMap<String, ByteString> {
    let namespace = name_server.namespace().unwrap_or_default();
    let host = names::name_servers_host(&name_server.name_any(), &namespace);
    let port = names::NAME_SERVER_PORT;
    let entries = [
        ("type", "rocketmq".to_owned()),
        ("provider", "rmq".to_owned()),
        ("nameServer", format!("{host}:{port}")),
        ("host", host),
        ("port", port.to_string()),
        ("username", object.user_name().to_owned()),
        (PASSWORD, password.reveal().to_owned()),
    ];
    let bytes = |(key, text): (&str, String)| (key.to_owned(), ByteString(text.into_bytes()));
    entries.into_iter().map(bytes).collect()
}

async fn write(
    context: &Context,
    object: &User,
    name: &str,
    data: BTreeMap<String, ByteString>,
) -> Result<(), Error> {
    let labels = names::Labels::from([
        ("app.kubernetes.io/name".to_owned(), "rmq".to_owned()),
        ("app.kubernetes.io/instance".to_owned(), object.name_any()),
        (
            "app.kubernetes.io/managed-by".to_owned(),
            FIELD_MANAGER.to_owned(),
        ),
    ]);
    let wanted = SecretObject {
        metadata: metadata(object, name.to_owned(), &labels),
        data: Some(data),
        type_: Some("servicebinding.io/rocketmq".to_owned()),
        ..SecretObject::default()
    };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<SecretObject> = Api::namespaced(context.client.clone(), &namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch(name, &params, &Patch::Apply(&wanted)).await;
    written.map_err(Error::doing(format!("writing Secret \"{name}\"")))?;
    let note = format!("Secret {name} has the name servers, the user name and the password");
    context.events.note(object, "BindingWritten", note).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_get_the_entries_of_a_service_binding() {
        let mut name_server: NameServer = crate::yaml::case("name-server-small");
        name_server.metadata.namespace = Some("shop".to_owned());
        let user = User::new("checkout", rmq_crds::UserSpec::default());
        let password = Secret::new("planted".to_owned());
        let data = binding_of(&user, &name_server, &password);
        let secret = SecretObject {
            data: Some(data),
            ..SecretObject::default()
        };
        let text = |key| credentials::text(&secret, key).map(str::to_owned);
        assert_eq!(text("type").as_deref(), Ok("rocketmq"));
        assert_eq!(text("provider").as_deref(), Ok("rmq"));
        assert_eq!(text("username").as_deref(), Ok("checkout"));
        assert_eq!(text("password").as_deref(), Ok("planted"));
        let host = text("host").expect("a host");
        assert!(host.contains("-namesrv") && host.contains("shop"), "{host}");
        assert_eq!(text("nameServer"), Ok(format!("{host}:9876")));
    }

    #[test]
    fn a_password_that_cannot_be_used_is_not_told() {
        let secret = |text: &str| SecretObject {
            data: Some([("p".to_owned(), ByteString(text.into()))].into()),
            ..SecretObject::default()
        };
        let good = read(&secret("planted\n"), "p").map(|found| found.reveal().to_owned());
        assert_eq!(good.as_deref(), Ok("planted"));
        let long = read(&secret(&"planted".repeat(200)), "p").map(drop);
        assert_eq!(
            long,
            Err("p has 1400 bytes, and 1024 are allowed".to_owned())
        );
        assert_eq!(
            read(&secret("x"), "q").map(drop),
            Err("it has no q".to_owned())
        );
    }
}
