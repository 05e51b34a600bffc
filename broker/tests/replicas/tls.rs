//! A group whose every connection has TLS: clients', name servers', and those between its members.

use std::path::Path;
use std::sync::Arc;

use rmq_broker::{AckMode, BrokerConfig, BrokerServer, Deps, RunningBroker, StartError};
use rmq_certificates::{Authority, Files, Wanted};
use rmq_config::{TlsClientAuth, TlsMode};
use rmq_namesrv::{NameServer, NameServerConfig};
use rmq_protocol::code::RequestCode;
use rmq_transport::{
    Caller, CallerConfig, RefuseIncoming, TcpConnector, TlsClient, TlsClientSettings, TlsConnector,
};
use tempfile::TempDir;

use crate::rig::{Group, eventually};
use crate::support::{Client, config, message, pull};

/// An authority, and one certificate for all servers of 127.0.0.1.
struct Certificates {
    folder: TempDir,
    server: Files,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("group CA");
        let _ = authority.write(folder.path(), "ca");
        let wanted = Wanted::names(&["127.0.0.1"]).common_name("broker");
        let server = authority.sign(&wanted).write(folder.path(), "server");
        Self { folder, server }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Everything has TLS, and both sides of each connection show certificates.
    fn set(&self, config: &mut BrokerConfig) {
        let ca = self.path().join("ca.crt");
        config.tls_mode = TlsMode::Enforcing;
        config
            .tls_certificate_file
            .clone_from(&self.server.certificate);
        config.tls_key_file.clone_from(&self.server.key);
        config.tls_ca_file.clone_from(&ca);
        config.tls_client_auth = TlsClientAuth::Require;
        config.tls_outgoing = true;
        config.tls_outgoing_ca_file = ca;
        config
            .tls_outgoing_certificate_file
            .clone_from(&self.server.certificate);
        config.tls_outgoing_key_file.clone_from(&self.server.key);
        // With credentials, members prove to each other within TLS that they have them.
        let inner = r#"{"accessKey":"inner","secretKey":"inner-password"}"#;
        config.inner_credentials = rmq_broker::HiddenText::new(inner.to_owned());
    }

    fn client(&self, broker: &RunningBroker) -> Client {
        let tls = TlsClient::open(TlsClientSettings {
            authorities: Some(self.path().join("ca.crt")),
            certificate: Some((self.server.certificate.clone(), self.server.key.clone())),
            ..TlsClientSettings::default()
        });
        let connector = TlsConnector::new(Arc::new(TcpConnector), tls.expect("good files"));
        Client(Caller::new(
            broker.addr().to_string(),
            Arc::new(connector),
            CallerConfig::default(),
            Arc::new(RefuseIncoming),
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_registers_and_copies_over_tls_alone() {
    let certificates = Certificates::new();
    let mut name_server = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    name_server.tls_mode = TlsMode::Enforcing;
    name_server
        .tls_certificate_file
        .clone_from(&certificates.server.certificate);
    name_server
        .tls_key_file
        .clone_from(&certificates.server.key);
    name_server.tls_ca_file = certificates.path().join("ca.crt");
    name_server.tls_client_auth = TlsClientAuth::Require;
    let deps = rmq_namesrv::Deps::default();
    let name_server = NameServer::start(name_server, deps)
        .await
        .expect("it starts");
    let group = Group::start(1, |config| {
        certificates.set(config);
        config.name_servers = name_server.local_addr().to_string();
        config.ack_mode = AckMode::InSync;
        config.auto_create_topic = true;
    })
    .await;
    group.master.broker.registered().await;
    group.replicas[0].broker.registered().await;
    // An acknowledgement waits for the replica, which has the message by TLS or not at all.
    let (master, replica) = (
        certificates.client(&group.master.broker),
        certificates.client(&group.replicas[0].broker),
    );
    eventually("the replica is in sync", async || {
        let sent = master.send(&message("orders", 0, ""), b"first").await;
        sent.is_ok()
    })
    .await;
    for number in 0..200 {
        let body = format!("{number}").repeat(1_000);
        master.put("orders", "", &body).await;
    }
    eventually("the replica shows them", async || {
        let of = [("topic", "orders"), ("queueId", "0")];
        let end = replica.call(RequestCode::GetMaxOffset, &of, &[]).await;
        let header = end.header();
        let mut fields = header.fields.iter();
        let end = fields.find(|(name, _)| *name == "offset");
        end.is_some_and(|(_, end)| end.to_cow().parse::<i64>().is_ok_and(|end| end >= 201))
    })
    .await;
    let pulled = replica.pull(&pull("orders", 0, 0)).await;
    assert!(!pulled.records.is_empty());
    // Who speaks plain gets nothing.
    let plain = group.master.client();
    let refused = plain
        .try_call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("takes only TLS"), "{refused}");
    group.stop().await;
    name_server.shutdown().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_all_at_once() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    certificates.set(&mut config);
    config.tls_key_file = certificates.path().join("nowhere.key");
    config.tls_ca_file = certificates.path().join("empty.crt");
    std::fs::write(&config.tls_ca_file, "").expect("written");
    config.tls_outgoing_certificate_file = certificates.path().join("nowhere.crt");
    let started = BrokerServer::start(config, Deps::default()).await;
    let error = started.expect_err("it does not start");
    assert!(
        matches!(&error, StartError::Tls(error) if error.problems().len() == 3),
        "{error}"
    );
    let text = error.to_string();
    for key in [
        "(tlsKeyFile)",
        "(tlsCaFile)",
        "(tlsOutgoingCertificateFile)",
    ] {
        assert!(text.contains(key), "{text}");
    }
}
