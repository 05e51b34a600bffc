//! The place that holds who is master, as the configuration names it.

use std::sync::Arc;
#[cfg(any(feature = "etcd", feature = "kubernetes"))]
use std::time::Duration;

use rmq_config::{BrokerConfig, Election};
use rmq_election::machine::Timings;
use rmq_election::place::Place;

use crate::start::{Deps, StartError};

#[cfg(feature = "etcd")]
const FILE_BYTES: u64 = 64 << 10;

/// The place of a group, and how people call it.
///
/// # Errors
/// The configuration names none that this process has, or a file that it names cannot be read.
pub(super) fn place_of(
    config: &BrokerConfig,
    deps: &Deps,
    timings: &Timings,
) -> Result<(Arc<dyn Place>, String), StartError> {
    let text = match config.election {
        Election::Etcd => format!("etcd {}", config.etcd_endpoints),
        Election::Kubernetes => format!(
            "BrokerGroupElection {}/{}",
            config.election_namespace, config.election_name
        ),
        Election::Static | Election::Memory => "this process".to_owned(),
    };
    if let Some(place) = &deps.place {
        return Ok((Arc::clone(place), text));
    }
    let place = match config.election {
        Election::Static | Election::Memory => Err(
            "election memory is for members that are all in one process, as in tests and rmq-ctl dev: use etcd or kubernetes"
                .to_owned(),
        ),
        Election::Etcd => etcd(config, timings),
        Election::Kubernetes => kubernetes(config, timings),
    };
    let place = place.map_err(StartError::Election)?;
    Ok((place, text))
}

#[cfg(feature = "etcd")]
fn etcd(config: &BrokerConfig, timings: &Timings) -> Result<Arc<dyn Place>, String> {
    use rmq_election::place::etcd::{EtcdConfig, EtcdPlace, EtcdTls};

    let read = |key: &str, path: &std::path::Path| {
        let content = || {
            use std::io::Read as _;
            let mut content = Vec::new();
            let file = std::fs::File::open(path)?;
            file.take(FILE_BYTES).read_to_end(&mut content)?;
            Ok(content)
        };
        content().map_err(|error: std::io::Error| {
            format!("{key}: {} cannot be read: {error}", path.display())
        })
    };
    let given = |path: &std::path::Path| !path.as_os_str().is_empty();
    let user = match config.etcd_user.is_empty() {
        true => None,
        false => {
            let password = read("etcdPasswordFile", &config.etcd_password_file)?;
            let password = String::from_utf8(password).map_err(|_| {
                format!(
                    "etcdPasswordFile: {} is no text",
                    config.etcd_password_file.display()
                )
            })?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            Some((config.etcd_user.clone(), password))
        }
    };
    let endpoints = config.etcd_endpoint_list();
    let tls = match endpoints.iter().any(|one| one.starts_with("https://")) {
        false => None,
        true => Some(EtcdTls {
            ca: match given(&config.etcd_ca_file) {
                true => Some(read("etcdCaFile", &config.etcd_ca_file)?),
                false => None,
            },
            identity: match given(&config.etcd_certificate_file) {
                true => Some((
                    read("etcdCertificateFile", &config.etcd_certificate_file)?,
                    read("etcdKeyFile", &config.etcd_key_file)?,
                )),
                false => None,
            },
            server_name: match config.etcd_server_name.is_empty() {
                true => None,
                false => Some(config.etcd_server_name.clone()),
            },
        }),
    };
    let place = EtcdPlace::new(&EtcdConfig {
        endpoints,
        prefix: config.etcd_prefix.clone(),
        cluster: config.cluster_name.clone(),
        group: config.broker_name.clone(),
        timeout: Duration::from_millis(timings.away_ms),
        user,
        tls,
    });
    place
        .map(|place| Arc::new(place) as Arc<dyn Place>)
        .map_err(|wrong| wrong.to_string())
}

#[cfg(not(feature = "etcd"))]
fn etcd(_: &BrokerConfig, _: &Timings) -> Result<Arc<dyn Place>, String> {
    Err("this program was built without etcd".to_owned())
}

#[cfg(feature = "kubernetes")]
fn kubernetes(config: &BrokerConfig, timings: &Timings) -> Result<Arc<dyn Place>, String> {
    use rmq_election::place::kubernetes::KubernetesPlace;

    let (namespace, name) = (&config.election_namespace, &config.election_name);
    let timeout = Duration::from_millis(timings.away_ms);
    let place = KubernetesPlace::connect(namespace, name, timeout);
    place
        .map(|place| Arc::new(place) as Arc<dyn Place>)
        .map_err(|error| error.to_string())
}

#[cfg(not(feature = "kubernetes"))]
fn kubernetes(_: &BrokerConfig, _: &Timings) -> Result<Arc<dyn Place>, String> {
    Err("this program was built without Kubernetes".to_owned())
}
