//! What a certificate says.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Longest identity, bytes.
const IDENTITY_BYTES_MAX: usize = 255;

/// A certificate as far as it is read here.
pub(super) struct Certificate {
    /// Who its owner is; see [`identity`].
    pub(super) identity: Option<String>,
    /// The last second of its time, Unix.
    pub(super) not_after_s: i64,
}

pub(super) fn read(der: &CertificateDer<'_>) -> Result<Certificate, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    Ok(Certificate {
        identity: name(&certificate),
        not_after_s: certificate.validity().not_after.timestamp(),
    })
}

/// The one name of a certificate: the first URI of its subject alternative names, else the first DNS name there, else its common name.
fn name(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DNSName(dns) => Some(*dns),
        _ => None,
    });
    let common = || {
        certificate
            .subject()
            .iter_common_name()
            .next()?
            .as_str()
            .ok()
    };
    uri.or(dns).or_else(common).map(str::to_owned)
}

/// Who owns the certificate of a peer, whose chain was verified.
///
/// # Errors
/// It names nobody, or nobody who could be shown.
pub(super) fn identity(der: &CertificateDer<'_>) -> Result<Arc<str>, String> {
    let name = read(der)?.identity.unwrap_or_default();
    if name.is_empty() || name.len() > IDENTITY_BYTES_MAX || name.contains(char::is_control) {
        return Err(format!(
            "the client's certificate says no name of 1 to {IDENTITY_BYTES_MAX} bytes: it needs a URI or a DNS name as subject alternative name, or a common name"
        ));
    }
    Ok(name.into())
}
