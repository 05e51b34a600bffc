//! What TLS adds to the pods of servers: files of a Secret, and settings that name them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{SecretVolumeSource, Volume, VolumeMount};
use rmq_crds::{Scalar, ServerTls, ServerTlsClientCertificates};

use crate::tls::stage::Stage;

/// The volume with the files.
const VOLUME: &str = "tls";
/// Where the files are. The kubelet changes them when the Secret changes; a part that is mounted alone (subPath) it would not.
const FOLDER: &str = "/etc/rmq-tls";
/// Who may read the files: root and the group of the servers.
const FILE_MODE: i32 = 0o440;

/// TLS of the servers of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tls<'a> {
    pub(crate) stage: Stage,
    pub(crate) secret: &'a str,
    pub(crate) wanted: Option<&'a ServerTls>,
}

impl Tls<'_> {
    /// The settings of name servers.
    pub(crate) fn of_ports(&self) -> BTreeMap<String, Scalar> {
        let is_enforcing = self.stage == Stage::Enforces;
        let asked = self.wanted.map(|wanted| wanted.client_certificates);
        let client_auth = match asked.unwrap_or_default() {
            ServerTlsClientCertificates::None => "none",
            // Plain connections are let in without one meanwhile.
            ServerTlsClientCertificates::Required if is_enforcing => "require",
            ServerTlsClientCertificates::Optional | ServerTlsClientCertificates::Required => {
                "optional"
            }
        };
        let mode = match is_enforcing {
            true => "enforcing",
            false => "permissive",
        };
        let settings = [
            ("tlsMode", mode.to_owned()),
            ("tlsCertificateFile", file("tls.crt")),
            ("tlsKeyFile", file("tls.key")),
            ("tlsCaFile", file("ca.crt")),
            ("tlsClientAuth", client_auth.to_owned()),
        ];
        texts(settings)
    }

    /// The settings of brokers, which connect too.
    pub(crate) fn of_brokers(&self) -> BTreeMap<String, Scalar> {
        let mut settings = self.of_ports();
        if self.stage >= Stage::Connects {
            settings.insert("tlsOutgoing".to_owned(), Scalar::Bool(true));
            settings.extend(texts([
                ("tlsOutgoingCaFile", file("ca.crt")),
                ("tlsOutgoingCertificateFile", file("tls.crt")),
                ("tlsOutgoingKeyFile", file("tls.key")),
            ]));
        }
        settings
    }

    pub(crate) fn volume(&self) -> Volume {
        Volume {
            name: VOLUME.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(self.secret.to_owned()),
                default_mode: Some(FILE_MODE),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }
    }

    pub(crate) fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }
    }
}

fn file(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

fn texts<const N: usize>(settings: [(&str, String); N]) -> BTreeMap<String, Scalar> {
    let settings = settings.into_iter();
    settings
        .map(|(key, value)| (key.to_owned(), Scalar::Text(value)))
        .collect()
}

/// The Secret that the pods of a StatefulSet mount.
pub(crate) fn mounted(set: &StatefulSet) -> Option<String> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let mut volumes = pod.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == VOLUME)?;
    volume.secret.as_ref()?.secret_name.clone()
}
