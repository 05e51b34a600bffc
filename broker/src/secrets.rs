//! What a broker is told in secret: the users of its configuration, with what it signs its own requests, and the key of stored passwords.

use std::path::Path;

use hmac::{Hmac, Mac};
use rmq_access::{SealingKey, Secret, User};
use rmq_config::{BrokerConfig, HiddenText};
use rmq_protocol::header::FieldSource;
use rmq_protocol::signature;
use sha2::Sha256;

use crate::start::StartError;

/// The secrets of a broker, read once at its start.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// Passwords are stored with it; `None`: as they are.
    pub(crate) sealing: Option<SealingKey>,
    /// Users who are there without being stored.
    pub(crate) users: Vec<User>,
    /// With what this broker signs.
    pub(crate) signer: Option<Signer>,
}

impl Secrets {
    /// Reads the settings, and the files that they name.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should. No text of a secret is in the error.
    pub(crate) fn read(config: &BrokerConfig) -> Result<Self, StartError> {
        let init = user(
            "initAuthenticationUser",
            &config.init_user,
            &config.init_user_file,
        )?;
        let inner = user(
            "innerClientAuthenticationCredentials",
            &config.inner_credentials,
            &config.inner_credentials_file,
        )?;
        let sealing = sealing(&config.user_secrets_key_file)
            .map_err(|why| StartError::Secret(format!("userSecretsKeyFile: {why}")))?;
        if config.authentication && sealing.is_none() {
            tracing::warn!(
                "passwords of users are stored as they are, and whoever reads the data of this broker reads them: set userSecretsKeyFile"
            );
        }
        let signer = inner.as_ref().and_then(Signer::of);
        Ok(Self {
            sealing,
            users: init.into_iter().chain(inner).collect(),
            signer,
        })
    }
}

fn user(key: &str, text: &HiddenText, path: &Path) -> Result<Option<User>, StartError> {
    let wrong = |why: String| StartError::Secret(format!("{key}: {why}"));
    let Some(text) = text.or_file(path).map_err(wrong)? else {
        return Ok(None);
    };
    let user = User::of_configuration(text.reveal());
    user.map(Some).map_err(|error| wrong(error.to_string()))
}

fn sealing(path: &Path) -> Result<Option<SealingKey>, String> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let key = SealingKey::read(&rmq_config::secret_file(path)?);
    key.map(Some)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// With what the broker signs its own requests.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    access_key: String,
    secret: Secret,
}

impl Signer {
    pub(crate) fn of(user: &User) -> Option<Self> {
        Some(Self {
            access_key: user.name.clone(),
            secret: user.password.clone()?,
        })
    }

    /// The beginning of a MAC with the secret key: of the access key.
    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        let key = self.secret.reveal().as_bytes();
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("a key of any length");
        mac.update(&(self.access_key.len() as u64).to_be_bytes());
        mac.update(self.access_key.as_bytes());
        mac
    }

    /// The fields that a request has beside its own.
    fn sign(&self, fields: &dyn FieldSource, body: &[u8]) -> Vec<(String, String)> {
        signature::sign(&self.access_key, self.secret.reveal(), fields, body)
    }
}

/// The fields of a request of this broker, signed when it has credentials.
pub(crate) fn signed<F: FieldSource>(
    signer: Option<&Signer>,
    fields: F,
    body: &[u8],
) -> (F, Signature) {
    let signature = signer.map(|signer| signer.sign(&fields, body));
    (fields, Signature(signature))
}

/// The fields of a signature, if there is one.
#[derive(Debug)]
pub(crate) struct Signature(Option<Vec<(String, String)>>);

impl FieldSource for Signature {
    fn visit(&self, sink: &mut dyn rmq_protocol::header::FieldSink) {
        if let Some(fields) = &self.0 {
            fields.visit(sink);
        }
    }

    fn is_present(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> BrokerConfig {
        BrokerConfig {
            inner_credentials: HiddenText::new(text.to_owned()),
            ..BrokerConfig::default()
        }
    }

    #[test]
    fn requests_are_signed_with_the_credentials() {
        let text = r#"{"accessKey":"inner","secretKey":"hidden"}"#;
        let secrets = Secrets::read(&config(text)).expect("credentials");
        assert_eq!(secrets.users[0].name, "inner");
        let fields = signed(secrets.signer.as_ref(), [("a", "1")], b"body");
        assert!(signature::is_signed_with("hidden", &fields, b"body"));
        assert!(!format!("{secrets:?} {fields:?}").contains("hidden\""));
        let unsigned = signed(None, (), b"");
        assert!(!unsigned.is_present());
    }

    #[test]
    fn files_hold_secrets_too_and_no_error_shows_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("user.json");
        std::fs::write(&path, "{\"username\":\"root\",\"password\":\"hidden\"}\n")
            .expect("written");
        let mut config = config("");
        config.init_user_file.clone_from(&path);
        let secrets = Secrets::read(&config).expect("a user");
        assert_eq!(secrets.users[0].name, "root");
        assert!(secrets.signer.is_none());
        std::fs::write(&path, "root:hidden").expect("written");
        let error = Secrets::read(&config).expect_err("no JSON").to_string();
        assert!(
            error.contains("initAuthenticationUser") && !error.contains("hidden"),
            "{error}"
        );
        config.init_user_file = folder.path().join("gone");
        let error = Secrets::read(&config).expect_err("no file").to_string();
        assert!(error.contains("gone"), "{error}");
        std::fs::write(&path, "short").expect("written");
        let config = BrokerConfig {
            user_secrets_key_file: path,
            ..BrokerConfig::default()
        };
        let error = Secrets::read(&config).expect_err("no key").to_string();
        assert!(error.contains("openssl rand -base64 32"), "{error}");
    }
}
