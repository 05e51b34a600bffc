//! A name server with TLS: who gets in, what its management port says, and a certificate that is renewed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rmq_certificates::{Authority, Wanted};
use rmq_config::{TlsClientAuth, TlsMode};
use rmq_namesrv::{Deps, NameServer, NameServerConfig, StartError};
use rmq_protocol::code::RequestCode;
use rmq_transport::{
    CallError, Caller, CallerConfig, RefuseIncoming, TcpConnector, TlsClient, TlsClientSettings,
    TlsConnector,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

struct Folder(TempDir);

impl Folder {
    fn new() -> (Self, NameServerConfig) {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let config = NameServerConfig {
            listen: "127.0.0.1:0".to_owned(),
            management: "127.0.0.1:0".to_owned(),
            tls_mode: TlsMode::Enforcing,
            tls_certificate_file: folder.path("server.crt"),
            tls_key_file: folder.path("server.key"),
            tls_management: true,
            tls_reload_ms: 100,
            ..NameServerConfig::default()
        };
        folder.renew("ca");
        (folder, config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new authority, written to `ca`, signs a new certificate of the server. It comes as Kubernetes brings it: at once.
    fn renew(&self, ca: &str) {
        let authority = Authority::new("test CA");
        let _ = authority.write(self.0.path(), ca);
        let signed = authority.sign(&Wanted::names(&["127.0.0.1"]));
        let _ = signed.write(self.0.path(), "server");
    }

    fn tls(&self, ca: &str) -> Arc<TlsClient> {
        TlsClient::open(TlsClientSettings {
            authorities: Some(self.path(ca)),
            ..TlsClientSettings::default()
        })
        .expect("good files")
    }
}

fn caller(server: &rmq_namesrv::RunningNameServer, tls: Arc<TlsClient>) -> Caller {
    Caller::new(
        server.local_addr().to_string(),
        Arc::new(TlsConnector::new(Arc::new(TcpConnector), tls)),
        CallerConfig::default(),
        Arc::new(RefuseIncoming),
    )
}

async fn ask(caller: &Caller) -> Result<(), CallError> {
    let code = RequestCode::GetBrokerClusterInfo.as_i32();
    caller.call(code, &(), &[], PATIENCE).await.map(drop)
}

async fn scrape(server: &rmq_namesrv::RunningNameServer, tls: &Arc<TlsClient>) -> String {
    let addr = server.management_addr().expect("a management port");
    let socket = TcpStream::connect(addr).await.expect("connected");
    let mut stream = tls
        .shake(socket, &addr.to_string(), None)
        .await
        .expect("TLS");
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("asked");
    stream.flush().await.expect("asked");
    let mut text = String::new();
    // The other side may leave the goodbye of TLS out.
    let _ = stream.read_to_string(&mut text).await;
    text
}

#[tokio::test]
async fn clients_and_the_management_port_have_tls() {
    let (folder, config) = Folder::new();
    let server = NameServer::start(config, Deps::default())
        .await
        .expect("it starts");
    let tls = folder.tls("ca.crt");
    ask(&caller(&server, Arc::clone(&tls)))
        .await
        .expect("an answer");
    let text = scrape(&server, &tls).await;
    for line in [
        "rocketmq_tls_certificate_not_after_seconds{use=\"server\"} ",
        "rocketmq_tls_certificate_stale 0",
        "rocketmq_tls_handshakes_total{result=\"full\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // Nothing plain is answered there.
    let addr = server.management_addr().expect("a management port");
    let mut plain = TcpStream::connect(addr).await.expect("connected");
    plain
        .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
        .await
        .expect("asked");
    let mut answer = Vec::new();
    // An alert, or nothing.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
    let (folder, config) = Folder::new();
    let server = NameServer::start(config, Deps::default())
        .await
        .expect("it starts");
    let before = caller(&server, folder.tls("ca.crt"));
    ask(&before).await.expect("an answer");
    folder.renew("new-ca");
    let new = folder.tls("new-ca.crt");
    let waiting = async {
        // Another caller each time: one that failed pauses.
        while ask(&caller(&server, Arc::clone(&new))).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the new certificate is taken");
    ask(&before).await.expect("the old connection lives");
    assert_eq!(before.connections(), 1);
    std::fs::write(folder.path("server.key"), "nothing").expect("written");
    let waiting = async {
        while !scrape(&server, &new)
            .await
            .contains("rocketmq_tls_certificate_stale 1")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the broken key is told");
    ask(&caller(&server, new))
        .await
        .expect("the certificate of before");
    server.shutdown().await;
}

#[tokio::test]
async fn what_does_not_go_together_is_refused() {
    let (folder, mut config) = Folder::new();
    std::fs::remove_file(folder.path("server.crt")).expect("removed");
    std::fs::remove_file(folder.path("server.key")).expect("removed");
    let started = NameServer::start(config.clone(), Deps::default()).await;
    let error = started.expect_err("no files");
    assert!(
        matches!(&error, StartError::Tls(error) if error.problems().len() == 2),
        "{error}"
    );
    config.tls_key_file = PathBuf::new();
    config.tls_client_auth = TlsClientAuth::Require;
    let error = NameServer::start(config, Deps::default())
        .await
        .expect_err("half a pair");
    let text = error.to_string();
    assert!(
        text.contains("tlsCertificateFile is set and tlsKeyFile is not"),
        "{text}"
    );
    assert!(text.contains("set tlsCaFile"), "{text}");
}
