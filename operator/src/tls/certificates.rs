//! Certificates: what they say, and how they are made. Keys are ECDSA P-256.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// How long a certificate of servers is good: 90 days.
pub(crate) const SERVER_LASTS: Duration = Duration::from_secs(90 * 86_400);
/// How long a CA is good: three years.
pub(crate) const AUTHORITY_LASTS: Duration = Duration::from_secs(3 * 365 * 86_400);
/// A certificate is good from this much before it is made on: the clocks of clients may be late.
const BEFORE: Duration = Duration::from_secs(600);
/// Most bytes of a key of a Secret. Kubernetes lets a Secret have 1 MiB.
const BYTES_MAX: usize = 256 * 1024;

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) not_before_s: i64,
    /// Its last second, Unix.
    pub(crate) not_after_s: i64,
    /// The hosts that it is for: DNS names in small letters, and addresses.
    pub(crate) names: BTreeSet<String>,
}

impl Says {
    fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let names = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        });
        let validity = certificate.validity();
        Ok(Self {
            not_before_s: validity.not_before.timestamp(),
            not_after_s: validity.not_after.timestamp(),
            names: names.collect(),
        })
    }

    /// Whether `parts` of `whole` of its time are over. An expired one has all its parts over.
    pub(crate) fn is_over(&self, parts: i64, whole: i64, now: Timestamp) -> bool {
        let lasts = self.not_after_s.saturating_sub(self.not_before_s).max(0);
        let due = self.not_before_s.saturating_add(lasts / whole * parts);
        now.as_second() >= due.min(self.not_after_s)
    }

    /// Whether a client that connects to this host takes the certificate.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let above = host.split_once('.').map(|(_, above)| format!("*.{above}"));
        self.names.contains(&host) || above.is_some_and(|above| self.names.contains(&above))
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some(address.to_string())
}

/// A certificate with its key, in PEM, and what it says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The certificate, and behind it those that lead to its authority.
    pub(crate) certificate: String,
    /// The key in PKCS #8.
    pub(crate) key: String,
    pub(crate) says: Says,
}

impl fmt::Debug for Pair {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.says.fmt(f)
    }
}

impl Pair {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// Why they cannot be used together.
    pub(crate) fn read(certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain = certificates(certificate)?;
        let leaf = chain.first().ok_or("there is no certificate")?;
        let says = Says::of(leaf)?;
        if key.len() > BYTES_MAX {
            return Err(format!("the key has more than {BYTES_MAX} bytes"));
        }
        let der = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "the key is no PEM key that is not encrypted".to_owned())?;
        // Its keys match, or it says why it cannot be used.
        CertifiedKey::from_der(chain, der, &algorithms()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".into(),
            error => error.to_string(),
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            certificate: text(certificate),
            key: text(key),
            says,
        })
    }
}

/// The certificates of a PEM text.
///
/// # Errors
/// It is none, or none of its parts is a certificate.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.len() > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("it is no PEM text: {error}"))?;
    match read.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(read),
    }
}

/// Certificates of those who are trusted, in PEM. The same certificate stands there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bundle(Vec<CertificateDer<'static>>);

impl Bundle {
    /// # Errors
    /// The text has no certificate, or something else.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, String> {
        let mut bundle = Self::default();
        for certificate in certificates(pem)? {
            Says::of(&certificate)?;
            bundle.add(certificate);
        }
        Ok(bundle)
    }

    fn add(&mut self, certificate: CertificateDer<'static>) {
        if !self.0.contains(&certificate) {
            self.0.push(certificate);
        }
    }

    /// Those of both.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        for certificate in &other.0 {
            self.add(certificate.clone());
        }
        self
    }

    /// Those whose time is not over.
    pub(crate) fn at(mut self, now: Timestamp) -> Self {
        self.0.retain(|certificate| {
            Says::of(certificate).is_ok_and(|says| says.not_after_s > now.as_second())
        });
        self
    }

    /// Whether each of these is trusted.
    #[cfg(test)]
    pub(crate) fn has(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| self.0.contains(wanted))
    }

    pub(crate) fn pem(&self) -> String {
        let encode = |der: &CertificateDer<'_>| {
            pem::encode_config(
                &pem::Pem::new("CERTIFICATE", der.to_vec()),
                pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
            )
        };
        self.0.iter().map(encode).collect()
    }

    /// Whether a client that trusts these takes this certificate for this host now. The error says why not.
    pub(crate) fn verifies(&self, pair: &Pair, host: &str, now: Timestamp) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(algorithms()))
                .build()
                .map_err(|error| error.to_string())?;
        let chain = certificates(pair.certificate.as_bytes())?;
        let (leaf, more) = chain.split_first().ok_or("there is no certificate")?;
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
        let now = UnixTime::since_unix_epoch(now);
        verifier
            .verify_server_cert(leaf, more, &name, &[], now)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

/// Makes a CA.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn authority(name: &str, now: Timestamp) -> Result<Pair, String> {
    let mut params = params(now, now_plus(now, AUTHORITY_LASTS))?;
    // A CA that follows another one of the same name must have another name: clients look for it by its name.
    let name = format!("{name} {}", now.strftime("%Y-%m-%d %H:%M:%S"));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = key()?;
    let signed = params.self_signed(&key).map_err(text)?;
    Pair::read(signed.pem().as_bytes(), key.serialize_pem().as_bytes())
}

/// Makes a certificate for servers of these names, which they show as clients too. It is not good for longer than the CA.
///
/// # Errors
/// A name that no certificate can have, or a CA that cannot sign.
pub(crate) fn sign(
    authority: &Pair,
    common_name: &str,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<Pair, String> {
    let ends = now_plus(now, SERVER_LASTS).min(authority.says.not_after_s);
    let mut params = params(now, ends)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let refused = |error| format!("{name:?} is no host name: {error}");
                SanType::DnsName(name.as_str().try_into().map_err(refused)?)
            }
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let signs = KeyPair::from_pem(&authority.key).map_err(text)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signs).map_err(text)?;
    let key = key()?;
    let signed = params.signed_by(&key, &issuer).map_err(text)?;
    Pair::read(signed.pem().as_bytes(), key.serialize_pem().as_bytes())
}

fn key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(text)
}

fn params(now: Timestamp, not_after_s: i64) -> Result<CertificateParams, String> {
    let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).map_err(text);
    let before = i64::try_from(BEFORE.as_secs()).unwrap_or(0);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = at(now.as_second() - before)?;
    params.not_after = at(not_after_s)?;
    Ok(params)
}

fn now_plus(now: Timestamp, lasts: Duration) -> i64 {
    let lasts = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
    now.as_second().saturating_add(lasts)
}

/// The algorithms, whatever the process has chosen.
fn algorithms() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    const NOW: i64 = 1_800_000_000;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_for_its_names_for_its_time_and_by_its_authority() {
        let day = 86_400;
        let authority = super::authority("main", at(NOW)).expect("a CA");
        let other = super::authority("main", at(NOW + 1)).expect("another");
        let wanted = names(&[
            "*.a-broker.shop.svc",
            "broker.example",
            "10.1.2.3",
            "fd00::1",
        ]);
        let pair = sign(&authority, "a-broker", &wanted, at(NOW)).expect("signed");
        assert_eq!(pair.says.names, wanted);
        assert_eq!(pair.says.not_after_s, NOW + 90 * day);
        let trusts = |pair: &Pair| Bundle::read(pair.certificate.as_bytes()).expect("a bundle");
        let bundle = trusts(&authority);
        for host in [
            "a-broker-0.a-broker.shop.svc",
            "broker.example",
            "10.1.2.3",
            "fd00::1",
        ] {
            assert!(pair.says.is_for(host), "{host}");
            bundle
                .verifies(&pair, host, at(NOW))
                .unwrap_or_else(|error| panic!("{host}: {error}"));
        }
        for host in ["a-broker.shop.svc", "x.y.a-broker.shop.svc", "10.1.2.4"] {
            assert!(!pair.says.is_for(host), "{host}");
            assert!(bundle.verifies(&pair, host, at(NOW)).is_err(), "{host}");
        }
        let host = "broker.example";
        bundle
            .verifies(&pair, host, at(NOW - 500))
            .expect("a late clock");
        assert!(bundle.verifies(&pair, host, at(NOW + 91 * day)).is_err());
        assert!(trusts(&other).verifies(&pair, host, at(NOW)).is_err());
        let both = trusts(&other).with(&bundle);
        both.verifies(&pair, host, at(NOW))
            .expect("both are trusted");
        assert_eq!(Bundle::read(both.pem().as_bytes()), Ok(both.clone()));
        assert!(both.has(&bundle) && !bundle.has(&both));
        assert_eq!(both.clone().with(&bundle), both, "each stands there once");
        assert_eq!(both.at(at(NOW + 4 * 365 * day)), Bundle::default());
    }

    #[test]
    fn a_certificate_ends_with_its_authority() {
        let authority = super::authority("main", at(NOW)).expect("a CA");
        let late = authority.says.not_after_s - 1_000;
        let pair = sign(&authority, "a", &names(&["a.example"]), at(late)).expect("signed");
        assert_eq!(pair.says.not_after_s, authority.says.not_after_s);
    }

    #[test]
    fn parts_of_its_time() {
        let says = Says {
            not_before_s: 1_000,
            not_after_s: 1_900,
            names: BTreeSet::new(),
        };
        assert!(!says.is_over(2, 3, at(1_599)) && says.is_over(2, 3, at(1_600)));
        assert!(!says.is_over(5, 6, at(1_749)) && says.is_over(5, 6, at(1_750)));
        assert!(says.is_over(1, 1, at(1_900)));
    }

    #[test]
    fn what_cannot_be_used_says_why_and_shows_no_key() {
        let one = super::authority("a", at(NOW)).expect("a CA");
        let other = super::authority("b", at(NOW)).expect("a CA");
        let read = |certificate: &str, key: &str| {
            Pair::read(certificate.as_bytes(), key.as_bytes()).expect_err("wrong")
        };
        assert!(read(&one.certificate, &other.key).contains("not that of the certificate"));
        assert!(read(&one.certificate, "no").contains("no PEM key"));
        assert!(read("no", &one.key).contains("no certificate"));
        let long = "x".repeat(BYTES_MAX + 1);
        assert!(read(&long, &one.key).contains("bytes"));
        assert!(read(&one.certificate, &long).contains("bytes"));
        assert!(!format!("{one:?}").contains("PRIVATE"));
        let no_host = sign(&one, "a", &names(&["\u{e4}"]), at(NOW));
        assert!(no_host.expect_err("no host").contains("no host name"));
    }
}
