//! TLS on a port: both kinds of connections, who is who, what is refused and why, and certificates that change.

#![allow(clippy::print_stderr)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmq_certificates::{Authority, Files, Wanted};
use rmq_transport::{
    CallError, Caller, CallerConfig, ClientCertificates, Connector, Exchange, Identity,
    ManualClock, RefuseIncoming, Reloaded, Reply as _, ServeReport, ServerConfig, Service,
    SystemClock, TcpConnector, TlsClient, TlsClientSettings, TlsConnector, TlsServer,
    TlsServerSettings, bind, serve, serve_with,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const CALL_WITHIN: Duration = Duration::from_secs(20);

/// Answers with the identity of the peer, and behind it as many bytes as the request has.
struct WhoAmI;

impl Service for WhoAmI {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let mut answer = match exchange.peer.identity() {
            Identity::Certificate(name) => name.to_string(),
            other => format!("{other:?}"),
        }
        .into_bytes();
        answer.extend_from_slice(exchange.body);
        exchange.ok_body(&(), &answer);
    }
}

/// An authority with a folder of files.
struct Folder {
    dir: TempDir,
    authority: Authority,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("test CA");
        let _ = authority.write(dir.path(), "ca");
        Self { dir, authority }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn sign(&self, name: &str, wanted: &Wanted) -> Files {
        self.authority.sign(wanted).write(self.path(), name)
    }

    /// For a server at 127.0.0.1, with files named `server`.
    fn server(&self) -> TlsServerSettings {
        let files = self.sign("server", &Wanted::names(&["127.0.0.1", "localhost"]));
        TlsServerSettings {
            certificate: files.certificate,
            key: files.key,
            client_certificates: ClientCertificates::None,
            authorities: self.path().join("ca.crt"),
            takes_plain: true,
        }
    }

    fn client(&self) -> TlsClientSettings {
        TlsClientSettings {
            authorities: Some(self.path().join("ca.crt")),
            ..TlsClientSettings::default()
        }
    }
}

struct Server {
    addr: SocketAddr,
    tls: Arc<TlsServer>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<ServeReport>,
}

impl Server {
    async fn start(settings: TlsServerSettings) -> Self {
        Self::start_as(settings, |_| {}).await
    }

    async fn start_as(settings: TlsServerSettings, set: impl FnOnce(&mut ServerConfig)) -> Self {
        let tls = TlsServer::open(settings).expect("good files");
        let mut config = ServerConfig::new("test");
        set(&mut config);
        let (listener, addr) = bind("127.0.0.1:0").await.expect("bound");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve_with(
            listener,
            Arc::clone(&tls),
            Arc::new(WhoAmI),
            config,
            shutdown.clone(),
        ));
        Self {
            addr,
            tls,
            shutdown,
            task,
        }
    }

    async fn stop(self) -> ServeReport {
        self.shutdown.cancel();
        self.task.await.expect("no panic")
    }
}

fn caller(addr: SocketAddr, connector: Arc<dyn Connector>) -> Caller {
    Caller::new(
        addr.to_string(),
        connector,
        CallerConfig::default(),
        Arc::new(RefuseIncoming),
    )
}

fn connector(settings: TlsClientSettings) -> Arc<dyn Connector> {
    let tls = TlsClient::open(settings).expect("good files");
    Arc::new(TlsConnector::new(Arc::new(TcpConnector), tls))
}

fn tls_caller(addr: SocketAddr, settings: TlsClientSettings) -> Caller {
    caller(addr, connector(settings))
}

async fn ask(caller: &Caller) -> Result<String, CallError> {
    let answer = caller.call(10, &(), b"", CALL_WITHIN).await?;
    Ok(String::from_utf8(answer.body().to_vec()).expect("a name"))
}

async fn refused(caller: &Caller) -> String {
    ask(caller).await.expect_err("refused").to_string()
}

#[tokio::test]
async fn one_port_serves_both_kinds() {
    let folder = Folder::new();
    let server = Server::start(folder.server()).await;
    let plain = caller(server.addr, Arc::new(TcpConnector));
    let tls = tls_caller(server.addr, folder.client());
    for _ in 0..3 {
        assert_eq!(ask(&plain).await.expect("an answer"), "Unknown");
        assert_eq!(ask(&tls).await.expect("an answer"), "Unknown");
    }
    assert_eq!(server.tls.status().full, 1);
    assert_eq!(server.stop().await.accepted, 2);
}

#[tokio::test]
async fn large_frames_and_many_small_ones_go_through() {
    let folder = Folder::new();
    let server = Server::start(folder.server()).await;
    let tls = tls_caller(server.addr, folder.client());
    for bytes in [1_usize << 10, 300 << 10, 5 << 20, 12 << 20] {
        let body: Vec<u8> = (0..bytes).map(|at| (at * 7) as u8).collect();
        let answer = tls.call(10, &(), &body, CALL_WITHIN).await;
        let answer = answer.expect("an answer");
        assert_eq!(&answer.body()[..7], b"Unknown");
        assert!(answer.body()[7..] == body, "{bytes} bytes come back");
    }
    let calls = (0..500).map(|number: u32| {
        let tls = tls.clone();
        tokio::spawn(async move {
            let body = vec![number as u8; 1_000 + number as usize];
            let answer = tls.call(10, &(), &body, CALL_WITHIN).await;
            assert_eq!(&answer.expect("an answer").body()[7..], body);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("answered");
    }
    assert_eq!(tls.connections(), 1);
    server.stop().await;
}

#[tokio::test]
async fn an_enforcing_port_tells_plain_clients_why() {
    let folder = Folder::new();
    let mut settings = folder.server();
    settings.takes_plain = false;
    let server = Server::start(settings).await;
    let plain = caller(server.addr, Arc::new(TcpConnector));
    let why = refused(&plain).await;
    assert!(why.contains("takes only TLS"), "{why}");
    let tls = tls_caller(server.addr, folder.client());
    assert_eq!(ask(&tls).await.expect("an answer"), "Unknown");
    server.stop().await;
}

#[tokio::test]
async fn a_plain_port_does_not_take_tls_and_the_client_says_so() {
    let folder = Folder::new();
    let (listener, addr) = bind("127.0.0.1:0").await.expect("bound");
    let shutdown = CancellationToken::new();
    let config = ServerConfig::new("plain");
    let served = tokio::spawn(serve(listener, Arc::new(WhoAmI), config, shutdown.clone()));
    let why = refused(&tls_caller(addr, folder.client())).await;
    assert!(why.contains("plain connections"), "{why}");
    shutdown.cancel();
    served.await.expect("no panic");
    // A server that says something else than TLS.
    let (listener, addr) = bind("127.0.0.1:0").await.expect("bound");
    let talks = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("accepted");
        socket
            .write_all(b"HTTP/1.1 400\r\n\r\n")
            .await
            .expect("said");
        let mut rest = Vec::new();
        // Whatever the client does.
        let _ = socket.read_to_end(&mut rest).await;
    });
    let talker = tls_caller(addr, folder.client());
    let why = refused(&talker).await;
    assert!(why.contains("not with TLS"), "{why}");
    talker.close();
    talks.await.expect("no panic");
}

#[tokio::test]
async fn a_client_says_what_is_wrong_with_the_certificate_of_a_server() {
    let folder = Folder::new();
    let server = Server::start(folder.server()).await;
    // Another authority.
    let stranger = Folder::new();
    let why = refused(&tls_caller(server.addr, stranger.client())).await;
    assert!(why.contains("unknown CA"), "{why}");
    // Another name.
    let mut settings = folder.client();
    settings.server_name = Some("broker.example".to_owned());
    let why = refused(&tls_caller(server.addr, settings.clone())).await;
    assert!(
        why.contains("for 127.0.0.1, localhost, and not for broker.example")
            || why.contains("for localhost, 127.0.0.1, and not for broker.example"),
        "{why}"
    );
    settings.server_name = Some("localhost".to_owned());
    assert!(ask(&tls_caller(server.addr, settings)).await.is_ok());
    // Believed whatever it says.
    let mut settings = stranger.client();
    settings.authorities = None;
    settings.danger_accept_any_server = true;
    assert!(ask(&tls_caller(server.addr, settings)).await.is_ok());
    server.stop().await;
    // Its time is over.
    let mut settings = folder.server();
    let old = folder.sign("old", &Wanted::names(&["127.0.0.1"]).expired());
    (settings.certificate, settings.key) = (old.certificate, old.key);
    let server = Server::start(settings).await;
    let why = refused(&tls_caller(server.addr, folder.client())).await;
    assert!(
        why.contains("has expired") && why.contains("days ago"),
        "{why}"
    );
    server.stop().await;
}

#[tokio::test]
async fn clients_are_known_by_their_certificates() {
    let folder = Folder::new();
    let wanted = [
        (
            "uri",
            Wanted::names(&["a.example"])
                .uri("spiffe://example/orders")
                .common_name("c"),
            "spiffe://example/orders",
        ),
        (
            "dns",
            Wanted::names(&["orders.example", "b.example"]).common_name("c"),
            "orders.example",
        ),
        ("common", Wanted::default().common_name("orders"), "orders"),
    ];
    for how in [ClientCertificates::Optional, ClientCertificates::Required] {
        let mut settings = folder.server();
        settings.client_certificates = how;
        let server = Server::start(settings).await;
        for (file, wanted, identity) in &wanted {
            let files = folder.sign(file, wanted);
            let mut settings = folder.client();
            settings.certificate = Some((files.certificate, files.key));
            let caller = tls_caller(server.addr, settings.clone());
            assert_eq!(ask(&caller).await.expect("an answer"), *identity);
            // A session that is resumed knows it too.
            let connector = connector(settings);
            for _ in 0..2 {
                let caller = caller_over(server.addr, &connector);
                assert_eq!(ask(&caller).await.expect("an answer"), *identity);
            }
        }
        let nobody = tls_caller(server.addr, folder.client());
        match how {
            ClientCertificates::Optional => {
                assert_eq!(ask(&nobody).await.expect("an answer"), "Unknown");
            }
            _ => {
                let why = refused(&nobody).await;
                assert!(why.contains("requires a client certificate"), "{why}");
            }
        }
        // Signed by somebody else.
        let stranger = Folder::new();
        let files = stranger.sign("client", &Wanted::names(&["orders.example"]));
        let mut settings = folder.client();
        settings.certificate = Some((files.certificate, files.key));
        let why = refused(&tls_caller(server.addr, settings)).await;
        assert!(
            why.contains("certificate") && why.contains("the other side"),
            "{why}"
        );
        // A certificate that names nobody.
        let files = folder.sign("nobody", &Wanted::default());
        let mut settings = folder.client();
        settings.certificate = Some((files.certificate, files.key));
        assert!(ask(&tls_caller(server.addr, settings)).await.is_err());
        server.stop().await;
    }
}

fn caller_over(addr: SocketAddr, connector: &Arc<dyn Connector>) -> Caller {
    caller(addr, Arc::clone(connector))
}

#[tokio::test]
async fn sessions_are_resumed_until_the_certificate_changes() {
    let folder = Folder::new();
    let server = Server::start(folder.server()).await;
    let connector = connector(folder.client());
    for _ in 0..3 {
        let caller = caller_over(server.addr, &connector);
        assert_eq!(ask(&caller).await.expect("an answer"), "Unknown");
    }
    let status = server.tls.status();
    assert_eq!((status.full, status.resumed), (1, 2));
    folder.server();
    assert_eq!(server.tls.reload(), Reloaded::Changed);
    assert!(ask(&caller_over(server.addr, &connector)).await.is_ok());
    let status = server.tls.status();
    assert_eq!((status.full, status.resumed, status.failed), (2, 2, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_connections_run() {
    let folder = Folder::new();
    let server = Server::start(folder.server()).await;
    let before = tls_caller(server.addr, folder.client());
    assert!(ask(&before).await.is_ok());
    assert_eq!(server.tls.reload(), Reloaded::Unchanged);
    // Another authority signs for another name: only who knows it gets in.
    let other = Folder::new();
    let new = other.authority.sign(&Wanted::names(&["new.example"]));
    let _ = new.write(folder.path(), "server");
    assert_eq!(server.tls.reload(), Reloaded::Changed);
    let why = refused(&tls_caller(server.addr, folder.client())).await;
    assert!(why.contains("unknown CA"), "{why}");
    let mut settings = other.client();
    settings.server_name = Some("new.example".to_owned());
    assert!(ask(&tls_caller(server.addr, settings)).await.is_ok());
    // The connection of before lives.
    assert!(ask(&before).await.is_ok());
    assert_eq!(before.connections(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_bad_new_file_changes_nothing_and_is_told() {
    let folder = Folder::new();
    let settings = folder.server();
    let server = Server::start(settings.clone()).await;
    let not_after_s = server.tls.status().not_after_s;
    let good = (
        std::fs::read(&settings.certificate).expect("read"),
        std::fs::read(&settings.key).expect("read"),
    );
    let told = |reloaded: Reloaded| match reloaded {
        Reloaded::Kept(problems) => problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        other => panic!("{other:?}"),
    };
    let old = folder.authority.sign(&Wanted::names(&["a"]).expired());
    let other = folder.authority.sign(&Wanted::names(&["a"]));
    for (certificate, key, why) in [
        (
            "no certificate".to_owned(),
            other.key.clone(),
            "it has no certificate",
        ),
        (
            other.certificate.clone(),
            "no key".to_owned(),
            "it has no key",
        ),
        (
            old.certificate.clone(),
            old.key.clone(),
            "has expired, and the certificate in use has not",
        ),
        (
            old.certificate.clone(),
            other.key.clone(),
            "not the key of the certificate",
        ),
    ] {
        std::fs::write(&settings.certificate, certificate).expect("written");
        std::fs::write(&settings.key, key).expect("written");
        let text = told(server.tls.reload());
        assert!(text.contains(why), "{text}");
        // And again, until it is mended.
        assert_eq!(told(server.tls.reload()), text);
        assert!(server.tls.status().is_stale);
        assert!(ask(&tls_caller(server.addr, folder.client())).await.is_ok());
    }
    std::fs::remove_file(&settings.key).expect("removed");
    let text = told(server.tls.reload());
    assert!(text.contains("cannot be read"), "{text}");
    std::fs::write(&settings.certificate, good.0).expect("written");
    std::fs::write(&settings.key, good.1).expect("written");
    assert_eq!(server.tls.reload(), Reloaded::Changed);
    let status = server.tls.status();
    assert!(!status.is_stale);
    assert_eq!(status.not_after_s, not_after_s);
    server.stop().await;
}

#[test]
fn all_that_is_wrong_with_files_is_told_at_once() {
    let folder = Folder::new();
    let mut settings = folder.server();
    std::fs::write(&settings.certificate, "nothing").expect("written");
    settings.key = folder.path().join("missing.key");
    settings.client_certificates = ClientCertificates::Required;
    settings.authorities = folder.path().join("empty.crt");
    std::fs::write(&settings.authorities, "").expect("written");
    let problems = TlsServer::open(settings).expect_err("three problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    let text = texts.join("\n");
    for part in [
        "the certificate file",
        "the key file",
        "missing.key",
        "the CA file",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let encrypted = folder.path().join("encrypted.key");
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&encrypted, pem).expect("written");
    let mut settings = folder.server();
    settings.key = encrypted;
    let problems = TlsServer::open(settings).expect_err("an encrypted key");
    assert!(
        problems[0].to_string().contains("is encrypted"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn garbage_and_half_handshakes_end_their_connection_alone() {
    let folder = Folder::new();
    let clock = ManualClock::at(1_000_000);
    let server = Server::start_as(folder.server(), |config| {
        config.clock = Arc::new(clock.clone());
    })
    .await;
    let good = tls_caller(server.addr, folder.client());
    assert!(ask(&good).await.is_ok());
    // A first byte of TLS, and then none.
    let mut garbage = vec![0x16_u8];
    garbage.extend((0..5_000_u32).map(|at| (at * 31) as u8));
    // A record that says 16 KiB of a ClientHello of 64 KiB, again and again.
    let mut huge = Vec::new();
    for part in 0..6_u8 {
        huge.extend([0x16, 3, 1, 0x40, 0]);
        huge.extend(if part == 0 {
            [1, 0, 0xff, 0xff]
        } else {
            [0; 4]
        });
        huge.extend(vec![0; 0x4000 - 4]);
    }
    for hello in [garbage, huge] {
        let mut socket = TcpStream::connect(server.addr).await.expect("connected");
        // The server may have closed it in between.
        let _ = socket.write_all(&hello).await;
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest[0] == 0x15, "an alert, if anything");
    }
    // Half a handshake and the end.
    let mut half = TcpStream::connect(server.addr).await.expect("connected");
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.expect("sent");
    half.shutdown().await.expect("ended");
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest).await;
    assert_eq!(server.tls.status().failed, 3);
    // Half a handshake, and silence.
    let mut silent = TcpStream::connect(server.addr).await.expect("connected");
    silent.write_all(&[0x16, 3]).await.expect("sent");
    let mut other = silent_until(&mut silent, &clock).await;
    assert!(ask(&good).await.is_ok());
    other.clear();
    assert_eq!(good.connections(), 1);
    server.stop().await;
}

/// Moves the clock until the server closes the connection.
async fn silent_until(silent: &mut TcpStream, clock: &ManualClock) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut reading = std::pin::pin!(silent.read_to_end(&mut rest));
    loop {
        tokio::select! {
            biased;
            _ = &mut reading => break,
            () = tokio::task::yield_now() => clock.advance(Duration::from_secs(1)),
        }
    }
    rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_handshakes_keep_nobody_out() {
    let folder = Folder::new();
    let server = Server::start_as(folder.server(), |config| {
        config.clock = Arc::new(SystemClock);
        config.limits.handshakes_max = 64;
        config.limits.handshake_timeout = Duration::from_secs(2);
    })
    .await;
    let before = tls_caller(server.addr, folder.client());
    assert!(ask(&before).await.is_ok());
    let mut slow = Vec::new();
    for _ in 0..2_000 {
        let mut socket = TcpStream::connect(server.addr).await.expect("connected");
        socket.write_all(&[0x16, 3, 1]).await.expect("sent");
        slow.push(socket);
    }
    // Who is connected notices nothing, plain connections neither, and a new one gets its turn.
    assert!(ask(&before).await.is_ok());
    let plain = caller(server.addr, Arc::new(TcpConnector));
    assert!(ask(&plain).await.is_ok());
    let after = tls_caller(server.addr, folder.client());
    assert!(ask(&after).await.is_ok());
    // Each of the slow ones is closed.
    for mut socket in slow {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    }
    assert_eq!(before.connections(), 1);
    server.stop().await;
}

#[tokio::test]
async fn huge_client_certificates_are_refused() {
    let folder = Folder::new();
    let mut settings = folder.server();
    settings.client_certificates = ClientCertificates::Required;
    let server = Server::start(settings).await;
    // A chain of more than 64 KiB.
    let files = folder.sign("huge", &Wanted::names(&["huge.example"]));
    let mut chain = std::fs::read_to_string(&files.certificate).expect("read");
    for _ in 0..200 {
        chain.push_str(&folder.authority.pem());
    }
    std::fs::write(&files.certificate, chain).expect("written");
    let mut settings = folder.client();
    settings.certificate = Some((files.certificate, files.key));
    assert!(ask(&tls_caller(server.addr, settings)).await.is_err());
    let files = folder.sign("small", &Wanted::names(&["small.example"]));
    let mut settings = folder.client();
    settings.certificate = Some((files.certificate, files.key));
    let small = tls_caller(server.addr, settings);
    assert_eq!(ask(&small).await.expect("an answer"), "small.example");
    assert_eq!(server.tls.status().failed, 1);
    server.stop().await;
}

/// Asks openssl's client for a renegotiation, which TLS 1.2 still has.
#[tokio::test]
async fn renegotiation_is_refused() {
    let folder = Folder::new();
    let server = Server::start(folder.server()).await;
    let mut openssl = tokio::process::Command::new("openssl");
    openssl
        .args(["s_client", "-tls1_2", "-connect", &server.addr.to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    let Ok(mut client) = openssl.spawn() else {
        assert!(std::env::var_os("CI").is_none(), "openssl is needed");
        eprintln!("skipped: there is no openssl");
        return;
    };
    let mut input = client.stdin.take().expect("piped");
    let mut output = client.stdout.take().expect("piped");
    let mut said = Vec::new();
    // Its report of the handshake ends so.
    while !said.ends_with(b"---\n") || !String::from_utf8_lossy(&said).contains("Extended master") {
        let mut byte = [0];
        assert_eq!(
            output.read(&mut byte).await.expect("read"),
            1,
            "{}",
            String::from_utf8_lossy(&said)
        );
        said.push(byte[0]);
    }
    input.write_all(b"R\n").await.expect("asked");
    let ended = tokio::time::timeout(CALL_WITHIN, client.wait_with_output()).await;
    let ended = ended.expect("in time").expect("ended");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(
        text.contains("no renegotiation") || text.contains("unexpected"),
        "{text}"
    );
    assert!(ask(&tls_caller(server.addr, folder.client())).await.is_ok());
    server.stop().await;
}
