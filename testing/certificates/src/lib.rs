//! Certificates for tests: an authority in memory, and what it signs, as PEM files.
//!
//! Everything panics when it fails: without certificates there is nothing to test. Keys are ECDSA P-256.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate shall say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    common_name: Option<String>,
    names: Vec<String>,
    uris: Vec<String>,
    is_expired: bool,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// The key in PKCS #8.
    pub key: String,
}

/// Where a certificate and its key are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Wanted {
    /// For these DNS names and addresses.
    #[must_use]
    pub fn names(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// With this common name.
    #[must_use]
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// With this URI among the names.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// Its time was over in 2021.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.is_expired = true;
        self
    }
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for servers and clients.
    #[must_use]
    pub fn sign(&self, wanted: &Wanted) -> Signed {
        let mut params = CertificateParams::new(wanted.names.clone()).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = &wanted.common_name {
            params
                .distinguished_name
                .push(DnType::CommonName, name.as_str());
        }
        for uri in &wanted.uris {
            let uri = uri.as_str().try_into().expect("a URI");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if wanted.is_expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes its own certificate to `NAME.crt` in a folder.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.crt"));
        std::fs::write(&path, self.pem()).expect("written");
        path
    }
}

impl Signed {
    /// Writes it to `NAME.crt` and `NAME.key` in a folder, over what is there.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> Files {
        let files = Files {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.certificate, &self.certificate).expect("written");
        std::fs::write(&files.key, &self.key).expect("written");
        files
    }
}
