//! TLS of the servers: what both have.

use std::path::Path;

use crate::problem::Problem;
use crate::value::{Field, Value};

/// Which connections a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain ones.
    Disabled,
    /// Plain ones, and those with TLS when there is a certificate.
    Permissive,
    /// Those with TLS.
    Enforcing,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsClientAuth {
    /// They are not asked.
    None,
    /// Those who have one show it.
    Optional,
    /// Those without one are refused.
    Require,
}

/// A type whose values are words.
macro_rules! words {
    ($type:ident, $($variant:ident $word:literal),+) => {
        impl $type {
            /// The words of the setting.
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl Field for $type {
            fn value(&self) -> Value {
                Value::Text(match self { $(Self::$variant => $word,)+ }.to_owned())
            }

            fn of(value: &Value) -> Option<Self> {
                match value {
                    $(Value::Text(word) if word == $word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words!(TlsMode, Disabled "disabled", Permissive "permissive", Enforcing "enforcing");
words!(TlsClientAuth, None "none", Optional "optional", Require "require");

/// The TLS of a server's ports, as its settings have it.
#[derive(Debug, Clone, Copy)]
pub struct TlsPorts<'a> {
    /// Which connections they take.
    pub mode: TlsMode,
    /// The file with the certificate; empty: there is none.
    pub certificate: &'a Path,
    /// The file with its key.
    pub key: &'a Path,
    /// The file with those who sign the certificates of clients.
    pub authorities: &'a Path,
    /// Whether clients show certificates.
    pub client_auth: TlsClientAuth,
    /// Whether the management port has TLS too.
    pub management: bool,
}

impl TlsPorts<'_> {
    /// Whether the ports speak TLS.
    #[must_use]
    pub fn speak_tls(&self) -> bool {
        self.mode != TlsMode::Disabled && !self.certificate.as_os_str().is_empty()
    }

    /// What does not go together.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        let mut problems = pair(
            ("tlsCertificateFile", self.certificate),
            ("tlsKeyFile", self.key),
        );
        let mut refuse = |text: &str| problems.push(Problem::Together(text.to_owned()));
        let has_certificate = is_set(self.certificate);
        if self.mode == TlsMode::Enforcing && !has_certificate {
            refuse(
                "tlsMode enforcing takes only TLS, and there is no certificate: set tlsCertificateFile and tlsKeyFile",
            );
        }
        if self.client_auth != TlsClientAuth::None && !is_set(self.authorities) {
            refuse(
                "tlsClientAuth asks clients for certificates, and nobody says who signs them: set tlsCaFile",
            );
        }
        if self.client_auth != TlsClientAuth::None && !has_certificate {
            refuse(
                "tlsClientAuth asks clients for certificates, and without a certificate of the server there is no TLS: set tlsCertificateFile and tlsKeyFile",
            );
        }
        if self.client_auth == TlsClientAuth::Require && self.mode != TlsMode::Enforcing {
            refuse(
                "tlsClientAuth require keeps out nobody whose connection is plain: set tlsMode to enforcing, or tlsClientAuth to optional",
            );
        }
        if self.management && !self.speak_tls() {
            refuse(
                "tlsManagement needs a certificate and a tlsMode other than disabled: set tlsCertificateFile and tlsKeyFile",
            );
        }
        problems
    }
}

/// TLS of the connections that a broker opens: to name servers, to its master, to the other members of its group.
#[derive(Debug, Clone, Copy)]
pub struct TlsOutgoing<'a> {
    /// Whether they have TLS.
    pub is_on: bool,
    /// The file with those who sign the certificates of servers; empty: whom the system trusts.
    pub authorities: &'a Path,
    /// The file with the own certificate; empty: there is none.
    pub certificate: &'a Path,
    /// The file with its key.
    pub key: &'a Path,
    /// The name in all certificates of servers; empty: the host that is connected to.
    pub server_name: &'a str,
}

impl TlsOutgoing<'_> {
    /// What does not go together.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = pair(
            ("tlsOutgoingCertificateFile", self.certificate),
            ("tlsOutgoingKeyFile", self.key),
        );
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        let is_any = is_set(self.authorities) || is_set(self.certificate);
        if !self.is_on && (is_any || !self.server_name.is_empty()) {
            problems.push(Problem::Together(
                "tlsOutgoing is false, so tlsOutgoingCaFile, tlsOutgoingCertificateFile and tlsOutgoingServerName mean nothing: set tlsOutgoing to true, or leave them out".to_owned(),
            ));
        }
        problems
    }
}

/// A certificate and its key are set together.
fn pair(one: (&str, &Path), other: (&str, &Path)) -> Vec<Problem> {
    let is_set = |(_, path): (&str, &Path)| !path.as_os_str().is_empty();
    let (set, missing) = match (is_set(one), is_set(other)) {
        (true, false) => (one.0, other.0),
        (false, true) => (other.0, one.0),
        _ => return Vec::new(),
    };
    vec![Problem::Together(format!(
        "{set} is set and {missing} is not: a certificate and its key belong together"
    ))]
}
