//! TLS to a cluster: options, and what a context remembers of them.

use std::path::{Path, PathBuf};

use clap::Args;
use rmq_client::Tls;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::error::Failure;

/// Options of TLS. Each of them turns it on.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TlsOptions {
    /// Connect with TLS, and trust whom the system trusts unless --tls-ca says otherwise.
    #[arg(long, global = true, hide_short_help = true, help_heading = "TLS")]
    tls: bool,

    /// Connect with TLS, and trust those whose certificates (PEM) are in this file.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        help_heading = "TLS"
    )]
    tls_ca: Option<PathBuf>,

    /// Connect with TLS, and show this certificate (PEM) where a server asks for one.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        help_heading = "TLS",
        requires = "tls_key"
    )]
    tls_certificate: Option<PathBuf>,

    /// The key (PEM) of --tls-certificate.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        help_heading = "TLS",
        requires = "tls_certificate"
    )]
    tls_key: Option<PathBuf>,

    /// Connect with TLS, to servers whose certificates have this name. Default: the host that is connected to.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "NAME",
        help_heading = "TLS"
    )]
    tls_server_name: Option<String>,

    /// Connect with TLS, and believe any server: whoever stands in between reads and changes everything. A context does not remember it.
    #[arg(long, global = true, hide_short_help = true, help_heading = "TLS")]
    danger_accept_any_server: bool,
}

/// TLS as a context has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TlsRef {
    /// File with those who are trusted; absent: whom the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    /// File with the own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate_file: Option<PathBuf>,
    /// File with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    /// The name in all certificates of servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
}

impl TlsOptions {
    fn is_set(&self) -> bool {
        self.tls
            || self.danger_accept_any_server
            || self.tls_server_name.is_some()
            || [&self.tls_ca, &self.tls_certificate]
                .into_iter()
                .any(Option::is_some)
    }

    /// What the options say; `None`: nothing.
    pub(crate) fn read(&self) -> Option<Tls> {
        if !self.is_set() {
            return None;
        }
        let named = TlsRef {
            ca_file: self.tls_ca.clone(),
            certificate_file: self.tls_certificate.clone(),
            key_file: self.tls_key.clone(),
            server_name: self.tls_server_name.clone(),
        };
        let tls = named.read();
        Some(match self.danger_accept_any_server {
            true => tls.danger_accept_any_server(),
            false => tls,
        })
    }

    /// What a context remembers of the options, with whole paths.
    ///
    /// # Errors
    /// A file that is not there.
    pub(crate) fn remembered(&self) -> Result<Option<TlsRef>, Failure> {
        if !self.is_set() {
            return Ok(None);
        }
        let whole = |path: &Option<PathBuf>| path.as_deref().map(whole).transpose();
        Ok(Some(TlsRef {
            ca_file: whole(&self.tls_ca)?,
            certificate_file: whole(&self.tls_certificate)?,
            key_file: whole(&self.tls_key)?,
            server_name: self.tls_server_name.clone(),
        }))
    }
}

fn whole(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| {
        Failure::coded(&codes::IO, "the file for TLS cannot be read")
            .fact("file", path.display())
            .cause(&error)
    })
}

impl TlsRef {
    /// As the client takes it.
    pub(crate) fn read(&self) -> Tls {
        let mut tls = Tls::new();
        if let Some(path) = &self.ca_file {
            tls = tls.ca_file(path);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate_file, &self.key_file) {
            tls = tls.certificate_files(certificate, key);
        }
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name);
        }
        tls
    }
}
