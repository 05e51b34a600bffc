//! The configuration file: contexts, each a cluster under a name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rmq_client::Credentials;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::error::Failure;
use crate::kubernetes::KubernetesRef;
use crate::tls::TlsRef;

/// A file in the project, found upwards from the working folder.
const PROJECT_FILE: &str = ".rmq.yaml";

/// Contexts and which of them is used.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Context {
    /// Name servers, as --nameserver takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nameserver: Option<String>,
    /// The Kubernetes that it is in, and is reached through; without addresses the NameServer object says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes: Option<KubernetesRef>,
    /// The credentials that sign requests; absent: requests are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<CredentialsRef>,
    /// TLS; absent: connections are plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsRef>,
}

/// Where the keys are: never in this file itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum CredentialsRef {
    /// A `tools.yml` as mqadmin has it: accessKey and secretKey.
    ToolsYml(PathBuf),
    /// Names of two environment variables.
    Env {
        access_key: String,
        secret_key: String,
    },
}

/// A `tools.yml` of mqadmin.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolsYml {
    access_key: Option<String>,
    secret_key: Option<String>,
}

impl CredentialsRef {
    /// The keys themselves.
    pub(crate) fn read(&self) -> Result<Credentials, Failure> {
        match self {
            Self::ToolsYml(path) => {
                let failed = |failure: Failure| failure.fact("file", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| {
                    failed(
                        Failure::coded(&codes::CONFIG, "the credentials cannot be read")
                            .cause(&error),
                    )
                })?;
                let keys: ToolsYml = crate::yaml::read(&text).map_err(|error| {
                    failed(
                        Failure::coded(&codes::CONFIG, "the credentials cannot be read")
                            .cause(&error),
                    )
                })?;
                match (keys.access_key, keys.secret_key) {
                    (Some(access), Some(secret)) => Ok(Credentials::new(access, secret)),
                    _ => Err(failed(
                        Failure::coded(&codes::CONFIG, "the credentials cannot be used")
                            .because("accessKey or secretKey is missing"),
                    )),
                }
            }
            Self::Env {
                access_key,
                secret_key,
            } => {
                let read = |name: &String| {
                    std::env::var(name).map_err(|error| {
                        Failure::coded(&codes::CONFIG, "the credentials cannot be read")
                            .fact("variable", name)
                            .cause(&error)
                    })
                };
                Ok(Credentials::new(read(access_key)?, read(secret_key)?))
            }
        }
    }
}

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The project's when there is one, else the user's.
    Nearest,
    /// The user's, which `config` changes.
    User,
}

impl Config {
    /// The configuration and its place; empty when there is no file.
    pub(crate) fn load(source: Source) -> Result<(Self, PathBuf), Failure> {
        let path = match source {
            Source::Nearest => project_file().map_or_else(user_file, Ok)?,
            Source::User => user_file()?,
        };
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            Failure::coded(&codes::CONFIG, "the configuration cannot be read")
                .fact("file", path.display())
                .cause(error)
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Self::default(), path));
            }
            Err(error) => return Err(unusable(&error)),
        };
        if text.trim().is_empty() {
            return Ok((Self::default(), path));
        }
        match crate::yaml::read(&text) {
            Ok(config) => Ok((config, path)),
            Err(error) => Err(unusable(&error)),
        }
    }

    /// Writes it whole, or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        let beside = path.with_extension("yaml.new");
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&beside, crate::yaml::write(self)))
            .and_then(|()| std::fs::rename(&beside, path))
            .map_err(|error| {
                Failure::coded(&codes::CONFIG, "the configuration cannot be written")
                    .fact("file", path.display())
                    .cause(&error)
            })
    }

    /// The named context, or the current one when there is one.
    pub(crate) fn context(
        &self,
        asked: Option<&str>,
        path: &Path,
    ) -> Result<Option<(&str, &Context)>, Failure> {
        let Some(name) = asked.or(self.current_context.as_deref()) else {
            return Ok(None);
        };
        match self.contexts.get_key_value(name) {
            Some((name, context)) => Ok(Some((name, context))),
            None => Err(self.no_context(name, path)),
        }
    }

    pub(crate) fn empty_context(&self, name: &str, path: &Path) -> Failure {
        Failure::coded(
            &codes::CONFIG,
            format!("context \"{name}\" says no cluster"),
        )
        .fact("file", path.display())
        .because("it has neither nameserver nor kubernetes")
        .try_this(format!(
            "rmq-ctl config set-context {name} --nameserver HOST:9876"
        ))
    }

    pub(crate) fn no_context(&self, name: &str, path: &Path) -> Failure {
        let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        Failure::coded(&codes::CONFIG, format!("there is no context \"{name}\""))
            .fact("file", path.display())
            .because(format!("known contexts: {known}"))
            .try_this(format!(
                "rmq-ctl config set-context {name} --nameserver HOST:9876"
            ))
    }
}

fn project_file() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors()
        .map(|folder| folder.join(PROJECT_FILE))
        .find(|file| file.is_file())
}

fn user_file() -> Result<PathBuf, Failure> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_CONFIG_HOME")
        .or_else(|| Some(folder("HOME")?.join(".config")))
        .map(|folder| folder.join("rmq").join("config.yaml"))
        .ok_or_else(|| {
            Failure::coded(
                &codes::CONFIG,
                "the place of the configuration is not known",
            )
            .because("neither XDG_CONFIG_HOME nor HOME is set")
        })
}
