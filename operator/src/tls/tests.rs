//! Servers whose files are as the operator makes them, and settings as their pods have them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rmq_broker::{BrokerConfig, BrokerServer, RunningBroker};
use rmq_client::{Client, Message, Tls};
use rmq_config::Configuration;
use rmq_crds::{Scalar, ServerTls, ServerTlsClientCertificates, ServerTlsMode};
use rmq_namesrv::{NameServer, NameServerConfig, RunningNameServer};

use super::rotation::{self, Authority, Certified, OfAuthority};
use super::stage::Stage;
use crate::objects::{names, tls};

/// Beyond this a test is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

fn now() -> Timestamp {
    crate::time::now()
}

/// Puts a certificate into a folder, as a mounted Secret is there. A renewal is there at once, file by file.
fn mount(folder: &Path, certified: &Certified) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (name, bytes) in certified.data() {
        let new = folder.join(format!("{name}.new"));
        std::fs::write(&new, &bytes.0).expect("written");
        std::fs::rename(&new, folder.join(name)).expect("renamed");
    }
}

/// Certificates of a workload, signed by this CA.
fn certified(authority: &Authority, workload: &str) -> Certified {
    let hosts = names::hosts(workload, &[], "shop");
    let trusted = &authority.trusted;
    let due = rotation::of_servers(None, authority, trusted, &hosts, now()).expect("missing");
    let made = rotation::renew(due, None, authority, trusted, workload, &hosts, now());
    made.expect("signed")
}

/// The settings of a pod, with its files in this folder.
fn load<C: Configuration>(
    settings: impl IntoIterator<Item = (String, Scalar)>,
    folder: &Path,
    more: &[(&str, String)],
) -> C {
    let folder = folder.display().to_string();
    let settings = settings.into_iter().map(|(key, value)| {
        let value = value.to_string();
        (key, value.replace("/etc/rmq-tls", &folder))
    });
    let more = more
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    let all: Vec<(String, String)> = settings.chain(more).collect();
    C::load(None, [], &all).expect("settings that go together")
}

const ENFORCING: ServerTls = ServerTls {
    mode: ServerTlsMode::Enforcing,
    client_certificates: ServerTlsClientCertificates::Required,
    secret_name: None,
};

fn of_pod() -> tls::Tls<'static> {
    tls::Tls {
        stage: Stage::Enforces,
        secret: "any",
        wanted: Some(&ENFORCING),
    }
}

async fn name_server(folder: &Path) -> RunningNameServer {
    let more = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("management", String::new()),
        ("tlsReloadMs", "100".to_owned()),
    ];
    let config: NameServerConfig = load(of_pod().of_ports(), folder, &more);
    let started = NameServer::start(config, rmq_namesrv::Deps::default()).await;
    started.expect("a name server")
}

async fn broker(folder: &Path, data: &Path, name_server: &RunningNameServer) -> RunningBroker {
    let port = name_server.local_addr().port();
    let more = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("management", String::new()),
        ("dataDir", data.display().to_string()),
        ("nameServers", format!("localhost:{port}")),
        ("autoCreateTopic", "true".to_owned()),
        ("segmentBytes", "16777216".to_owned()),
        ("tlsReloadMs", "100".to_owned()),
    ];
    let config: BrokerConfig = load(of_pod().of_brokers(), folder, &more);
    let started = BrokerServer::start(config, rmq_broker::Deps::default()).await;
    started.expect("a broker")
}

/// Connects as the operator does, and sends. What does not work yet is tried again.
async fn sends(name_server: &RunningNameServer, shows: &Certified, body: &str) {
    let address = format!("localhost:{}", name_server.local_addr().port());
    let attempt = async || {
        let tls = Tls::new()
            .ca_pem(shows.trusted.pem())
            .certificate_pem(shows.own.certificate.as_str(), shows.own.key.as_str());
        let client = Client::builder(&*address).tls(tls).connect().await?;
        let sent = client
            .producer()
            .send(Message::new("orders", body.to_owned()))
            .await;
        client.shutdown().await;
        sent
    };
    let begun = std::time::Instant::now();
    loop {
        match attempt().await {
            Ok(_) => return,
            Err(error) if begun.elapsed() > PATIENCE => panic!("{body}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_these_files_speak_tls_alone_and_follow_each_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let (at_names, at_brokers) = (folder.path().join("names"), folder.path().join("brokers"));
    let make = |what, before: Option<&Authority>| {
        let after = rotation::follow(what, before, "main", now()).expect("a CA");
        Authority::read(&after.data()).expect("as it is stored")
    };
    let first = make(OfAuthority::Make, None);
    mount(&at_names, &certified(&first, "main-namesrv"));
    mount(&at_brokers, &certified(&first, "a-broker"));
    let name_server = name_server(&at_names).await;
    let broker = broker(&at_brokers, &folder.path().join("data"), &name_server).await;
    let client = certified(&first, "operator");
    sends(&name_server, &client, "first").await;

    // Neither who speaks plain gets in, nor who shows no certificate.
    let address = format!("localhost:{}", name_server.local_addr().port());
    let refused = async |builder: rmq_client::ClientBuilder| {
        let client = builder.connect().await?;
        let sent = client.producer().send(Message::new("orders", "x")).await;
        client.shutdown().await;
        sent
    };
    assert!(refused(Client::builder(&*address)).await.is_err());
    let nameless = Tls::new().ca_pem(client.trusted.pem());
    assert!(
        refused(Client::builder(&*address).tls(nameless))
            .await
            .is_err()
    );

    // The CA that follows is trusted first, and signs then. Who has the bundle of the first of the two steps goes on.
    let announced = make(OfAuthority::Announce, Some(&first));
    mount(&at_names, &certified(&announced, "main-namesrv"));
    mount(&at_brokers, &certified(&announced, "a-broker"));
    let client = certified(&announced, "operator");
    sends(&name_server, &client, "announced").await;
    let second = make(OfAuthority::Succeed, Some(&announced));
    assert_ne!(second.signs, first.signs);
    // One after the other: servers of both CAs talk to each other meanwhile.
    mount(&at_names, &certified(&second, "main-namesrv"));
    sends(&name_server, &client, "half-way").await;
    mount(&at_brokers, &certified(&second, "a-broker"));
    sends(&name_server, &client, "second").await;
    sends(&name_server, &certified(&second, "operator"), "third").await;
    broker.shutdown().await.expect("it ends");
    name_server.shutdown().await;
}
