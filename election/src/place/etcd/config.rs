//! Which etcd, and which group in it.

use std::fmt;
use std::time::Duration;

/// Endpoints of an etcd, at most.
const ENDPOINTS_MAX: usize = 16;
/// Longest name or address in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Which etcd, and which group in it.
#[derive(Clone)]
pub struct EtcdConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT` of the etcd's members, 1 to 16. One that fails is left for the next one.
    pub endpoints: Vec<String>,
    /// What all keys begin with, without a slash at the end, for example `/rmq`.
    pub prefix: String,
    /// The cluster's name.
    pub cluster: String,
    /// The broker group's name.
    pub group: String,
    /// The longest time of a call, all its endpoints together.
    pub timeout: Duration,
    /// Name and password, where the etcd asks for them.
    pub user: Option<(String, String)>,
    /// For endpoints with `https`.
    pub tls: Option<EtcdTls>,
}

/// How the connection to an etcd is secured.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// Who signs the etcd's certificates, PEM; `None`: whom the system trusts.
    pub ca: Option<Vec<u8>>,
    /// The own certificate and its key, PEM, where the etcd asks for them.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name in the etcd's certificates, where that is not the endpoint's host.
    pub server_name: Option<String>,
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("cluster", &self.cluster)
            .field("group", &self.group)
            .field("timeout", &self.timeout)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// A place cannot be made of this configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("etcd: {0}")]
pub struct WrongEtcdConfig(String);

impl EtcdConfig {
    /// Whether this can be right.
    pub(super) fn check(&self) -> Result<(), WrongEtcdConfig> {
        let wrong = |text: String| Err(WrongEtcdConfig(text));
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return wrong(format!(
                "{} endpoints: 1 to {ENDPOINTS_MAX} are needed, as http://HOST:2379",
                self.endpoints.len()
            ));
        }
        for endpoint in &self.endpoints {
            let host = endpoint
                .strip_prefix("http://")
                .or_else(|| endpoint.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.contains('@'))
                || endpoint.len() > NAME_BYTES_MAX
            {
                return wrong(format!(
                    "endpoint {endpoint:?} is not of the form http://HOST:PORT or https://HOST:PORT"
                ));
            }
            if endpoint.starts_with("http://") && self.tls.is_some() {
                return wrong(format!(
                    "there are settings for TLS, but endpoint {endpoint} is without it: write https://"
                ));
            }
        }
        for (what, name) in [("cluster", &self.cluster), ("group", &self.group)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return wrong(format!(
                    "the name of the {what} must have 1 to {NAME_BYTES_MAX} bytes"
                ));
            }
        }
        if self.prefix.is_empty()
            || self.prefix.ends_with('/')
            || self.prefix.len() > NAME_BYTES_MAX
        {
            return wrong(format!(
                "the prefix of the keys must have 1 to {NAME_BYTES_MAX} bytes and no slash at the end, as /rmq; it is {:?}",
                self.prefix
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EtcdConfig {
        EtcdConfig {
            endpoints: vec!["http://10.0.0.1:2379".to_owned()],
            prefix: "/rmq".to_owned(),
            cluster: "c".to_owned(),
            group: "g".to_owned(),
            timeout: Duration::from_secs(1),
            user: None,
            tls: None,
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_right_is_refused() {
        let refused = |change: &dyn Fn(&mut EtcdConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        for (text, expected) in [
            (refused(&|config| config.endpoints.clear()), "0 endpoints"),
            (
                refused(&|config| config.endpoints = vec!["http://h".to_owned(); 17]),
                "17 endpoints",
            ),
            (
                refused(&|config| config.endpoints[0] = "10.0.0.1:2379".to_owned()),
                "endpoint \"10.0.0.1:2379\" is not of the form",
            ),
            (
                refused(&|config| config.tls = Some(EtcdTls::default())),
                "write https://",
            ),
            (refused(&|config| config.group.clear()), "name of the group"),
            (
                refused(&|config| config.prefix = "/rmq/".to_owned()),
                "no slash at the end",
            ),
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let secret = EtcdConfig {
            user: Some(("rmq".to_owned(), "hidden".to_owned())),
            ..config()
        };
        let shown = format!("{secret:?}");
        assert!(
            shown.contains("rmq") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
