//! The place in a real etcd.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use futures_util::StreamExt;
use rmq_election::place::etcd::{EtcdConfig, EtcdPlace, EtcdTls};
use rmq_election::place::{Change, Place, PlaceError, Swap, Version};
use tokio::sync::watch;

use crate::proxy::{Proxied, Proxy};
use crate::suite::{BackEnd, BadWay, Is, PATIENCE, lease, next, read, record, soon};

/// The longest time of a call in these tests.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// An etcd with a folder of its own, on ports that the system chose. It ends with this value.
struct Etcd {
    process: Child,
    addr: SocketAddr,
    folder: Arc<tempfile::TempDir>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    /// Starts one on a new folder; `None` where there is no etcd, which is said.
    fn start() -> Option<Self> {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::start_on(&folder)
    }

    /// Starts one on a folder, and waits until it serves.
    fn start_on(folder: &Arc<tempfile::TempDir>) -> Option<Self> {
        Self::start_with(folder, "http://127.0.0.1:0", &[])
    }

    /// `clients`: the URL where clients come.
    fn start_with(folder: &Arc<tempfile::TempDir>, clients: &str, more: &[String]) -> Option<Self> {
        let any = "http://127.0.0.1:0";
        let spawned = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args([
                "--name",
                "one",
                "--initial-cluster",
                "one=http://127.0.0.1:0",
            ])
            .args(["--listen-client-urls", clients])
            .args(["--advertise-client-urls", clients])
            .args(more)
            .args([
                "--listen-peer-urls",
                any,
                "--initial-advertise-peer-urls",
                any,
            ])
            .args(["--heartbeat-interval", "10", "--election-timeout", "100"])
            .args(["--logger", "zap", "--log-outputs", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                eprintln!("skipped: etcd does not start: {error}; Debian's package is etcd-server");
                return None;
            }
        };
        let lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let (serves, addr) = std::sync::mpsc::channel();
        // Reads until the end, so that etcd never waits for a reader.
        std::thread::spawn(move || {
            let mut last = Vec::new();
            for line in lines.map_while(Result::ok) {
                if line.contains("serving client traffic")
                    && let Some(addr) = address_in(&line)
                {
                    // Told once.
                    let _ = serves.send(Ok(addr));
                }
                last.push(line);
                if last.len() > 20 {
                    last.remove(0);
                }
            }
            let _ = serves.send(Err(last.join("\n")));
        });
        let addr = match addr.recv_timeout(PATIENCE).expect("etcd starts or ends") {
            Ok(addr) => addr,
            Err(last) => panic!("etcd ended:\n{last}"),
        };
        let folder = Arc::clone(folder);
        Some(Self {
            process,
            addr,
            folder,
        })
    }

    /// Ends as a killed process does.
    fn kill(mut self) -> Arc<tempfile::TempDir> {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
        Arc::clone(&self.folder)
    }

    async fn client(&self, options: Option<ConnectOptions>) -> Client {
        Client::connect([self.addr.to_string()], options)
            .await
            .expect("the endpoint is right")
    }
}

/// The address in a line of etcd's log in JSON.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("\"address\":\"")?;
    after.split_once('"')?.0.parse().ok()
}

fn config(endpoints: &[SocketAddr]) -> EtcdConfig {
    EtcdConfig {
        endpoints: endpoints
            .iter()
            .map(|addr| format!("http://{addr}"))
            .collect(),
        prefix: "/rmq".to_owned(),
        cluster: "c".to_owned(),
        group: "g".to_owned(),
        timeout: TIMEOUT,
        user: None,
        tls: None,
    }
}

fn fixed(server: SocketAddr) -> watch::Receiver<SocketAddr> {
    watch::Sender::new(server).subscribe()
}

fn place(config: &EtcdConfig) -> Arc<dyn Place> {
    Arc::new(EtcdPlace::new(config).expect("a configuration"))
}

/// A group in an etcd of its own.
struct InEtcd(Etcd);

impl InEtcd {
    async fn new() -> Option<Self> {
        Etcd::start().map(Self)
    }

    fn place(&self) -> EtcdPlace {
        EtcdPlace::new(&config(&[self.0.addr])).expect("a configuration")
    }

    async fn delete(&self, key: &str) {
        let mut client = self.0.client(None).await;
        client.delete(key, None).await.expect("deleted");
    }
}

impl BackEnd for InEtcd {
    fn way(&self) -> Arc<dyn Place> {
        Arc::new(self.place())
    }

    async fn bad_way(&self) -> impl BadWay {
        let proxy = Proxy::to(fixed(self.0.addr)).await;
        let place = place(&config(&[proxy.addr()]));
        Proxied { proxy, place }
    }

    async fn delete_record(&self) {
        self.delete(self.place().record_key()).await;
    }

    async fn delete_lease(&self) {
        self.delete(self.place().lease_key()).await;
    }
}

tests_of!(InEtcd::new());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_record_is_an_error_and_stays() {
    let Some(back_end) = InEtcd::new().await else {
        return;
    };
    let place = back_end.place();
    let mut client = back_end.0.client(None).await;
    let way = back_end.way();
    let long = vec![b'{'; 70_000];
    for (text, expected) in [
        (&b"\x00\xff garbage"[..], "expected value"),
        (b"", "EOF"),
        (br#"{"format":1,"epoch":"many"}"#, "expected u64"),
        (br#"{"format":2,"novel":true}"#, "its format is 2"),
        (&long, "70000 bytes"),
    ] {
        let put = client
            .put(place.record_key(), text, None)
            .await
            .expect("put");
        let revision = put.header().expect("a header").revision();
        // Not the one that is there: the swap loses, and has to say to what.
        let before = Version(u64::try_from(revision - 1).expect("revisions are positive"));
        let read = soon("an answer", way.read()).await.unwrap_err();
        let swapped = way.compare_and_swap(Some(before), record(9, 1));
        let swapped = soon("an answer", swapped).await.unwrap_err();
        let mut changes = way.watch();
        let watched = soon("an answer", changes.next())
            .await
            .expect("an item")
            .unwrap_err();
        for error in [read, swapped, watched] {
            assert!(matches!(error, PlaceError::Invalid { .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains(expected) && text.contains("etcdctl get /rmq/c/g/election"),
                "{text}"
            );
        }
        assert!(soon("an answer", changes.next()).await.is_none());
        let now = client
            .get(place.record_key(), None)
            .await
            .expect("an answer");
        assert_eq!(now.kvs()[0].value(), text, "nothing wrote over it");
    }
    // A watch that runs meets it, too.
    client
        .delete(place.record_key(), None)
        .await
        .expect("deleted");
    let mut changes = way.watch();
    for _ in 0..2 {
        next(&mut changes).await;
    }
    client
        .put(place.lease_key(), "[]", None)
        .await
        .expect("put");
    let error = soon("an answer", changes.next())
        .await
        .expect("an item")
        .unwrap_err();
    assert!(error.to_string().contains("/lease"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_killed_comes_back_with_everything() {
    let Some(etcd) = Etcd::start() else { return };
    let server = watch::Sender::new(etcd.addr);
    let proxy = Proxy::to(server.subscribe()).await;
    let place = place(&config(&[proxy.addr()]));
    let made = place
        .compare_and_swap(None, record(1, 0))
        .await
        .expect("an answer");
    let Swap::Won(version) = made else {
        panic!("{made:?}");
    };
    let mut changes = place.watch();
    for _ in 0..2 {
        next(&mut changes).await;
    }

    let folder = etcd.kill();
    let began = Instant::now();
    for error in [
        place.read().await.unwrap_err(),
        place
            .compare_and_swap(Some(version), record(2, 0))
            .await
            .unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains(&proxy.addr().to_string()), "{text}");
    }
    assert!(began.elapsed() < 4 * TIMEOUT, "every call has a bound");
    let ended = soon("the end of the watch", async {
        while let Some(Ok(_)) = changes.next().await {}
    });
    ended.await;
    drop(changes);

    let etcd = Etcd::start_on(&folder).expect("it started before");
    server.send_replace(etcd.addr);
    let mut changes = place.watch();
    let seen = next(&mut changes).await;
    assert!(
        matches!(&seen, Change::Record(Some(now)) if now.version == version && now.value == record(1, 0)),
        "{seen:?}"
    );
    let swapped = place.compare_and_swap(Some(version), record(2, 0)).await;
    assert!(
        matches!(swapped, Ok(Swap::Won(next)) if next > version),
        "{swapped:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_endpoint_of_several_is_enough() {
    let Some(etcd) = Etcd::start() else { return };
    // Nobody listens on the one, whose port is held, and the other never answers.
    let held = tokio::net::TcpSocket::new_v4().expect("a socket");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let gone = held.local_addr().expect("an address");
    let silent = Proxy::to(fixed(etcd.addr)).await;
    silent.is_now(Is::WithoutAnswers);

    // Nothing was sent to the first one: the second one is asked for the change.
    let first = place(&config(&[gone, etcd.addr]));
    let made = first.compare_and_swap(None, record(1, 0)).await;
    let Ok(Swap::Won(version)) = made else {
        panic!("{made:?}");
    };

    let slow = place(&config(&[silent.addr(), etcd.addr]));
    assert_eq!(read(&slow).await.map(|now| now.version), Some(version));
    let slow = place(&config(&[silent.addr(), etcd.addr]));
    let unknown = slow.compare_and_swap(Some(version), record(2, 0)).await;
    let Err(PlaceError::Unknown { problem, .. }) = &unknown else {
        panic!("{unknown:?}");
    };
    assert!(problem.contains(&silent.addr().to_string()), "{problem}");
    // The next call asks the endpoint that answers.
    let now = read(&slow).await.expect("a record");
    let swapped = slow.compare_and_swap(Some(now.version), record(3, 0)).await;
    assert!(matches!(swapped, Ok(Swap::Won(_))), "{swapped:?}");

    // A watch continues at another endpoint.
    let proxy = Proxy::to(fixed(etcd.addr)).await;
    let moving = place(&config(&[proxy.addr(), etcd.addr]));
    let mut changes = moving.watch();
    for _ in 0..2 {
        next(&mut changes).await;
    }
    proxy.is_now(Is::Cut);
    slow.swap_lease(None, lease(Some(1), 0))
        .await
        .expect("an answer");
    assert!(matches!(next(&mut changes).await, Change::Lease(Some(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_with_users_takes_those_it_knows() {
    let Some(etcd) = Etcd::start() else { return };
    let mut client = etcd.client(None).await;
    client
        .user_add("root", "secret", None)
        .await
        .expect("added");
    client
        .user_grant_role("root", "root")
        .await
        .expect("granted");
    client
        .user_add("rmq", "password", None)
        .await
        .expect("added");
    client.role_add("rmq").await.expect("added");
    let all = Permission::new(PermissionType::Readwrite, "/rmq/").with_prefix();
    client
        .role_grant_permission("rmq", all)
        .await
        .expect("granted");
    client.user_grant_role("rmq", "rmq").await.expect("granted");
    client.auth_enable().await.expect("enabled");

    let as_user = |user: Option<(&str, &str)>, prefix: &str| {
        let config = EtcdConfig {
            user: user.map(|(name, password)| (name.to_owned(), password.to_owned())),
            prefix: prefix.to_owned(),
            ..config(&[etcd.addr])
        };
        place(&config)
    };
    let known = as_user(Some(("rmq", "password")), "/rmq");
    let made = known.compare_and_swap(None, record(1, 0)).await;
    assert!(matches!(made, Ok(Swap::Won(_))), "{made:?}");
    let mut changes = known.watch();
    assert!(matches!(next(&mut changes).await, Change::Record(Some(_))));
    next(&mut changes).await;
    known
        .swap_lease(None, lease(Some(0), 0))
        .await
        .expect("an answer");
    assert!(matches!(next(&mut changes).await, Change::Lease(Some(_))));

    for (user, prefix, expected) in [
        (Some(("rmq", "wrong")), "/rmq", "user and password"),
        (None, "/rmq", "needs a user and password"),
        (
            Some(("rmq", "password")),
            "/other",
            "the right to read and write",
        ),
    ] {
        let place = as_user(user, prefix);
        let began = Instant::now();
        for error in [
            place.read().await.unwrap_err(),
            place
                .compare_and_swap(None, record(1, 0))
                .await
                .unwrap_err(),
        ] {
            assert!(matches!(error, PlaceError::Failed { .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains(expected) && text.contains(&etcd.addr.to_string()),
                "{text}"
            );
            assert!(
                !text.contains("password\")") && !text.contains("wrong"),
                "{text}"
            );
        }
        assert!(began.elapsed() < TIMEOUT, "a refusal needs no patience");
    }
}

/// A certificate and its key, as files.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// An authority (`by` nobody), or a certificate for 127.0.0.1 by an authority.
    fn make(folder: &Path, name: &str, by: Option<&Self>) -> Result<Self, String> {
        let [certificate, key] = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj"])
            .arg(format!("/CN={name}"));
        if let Some(by) = by {
            openssl
                .arg("-CA")
                .arg(&by.certificate)
                .arg("-CAkey")
                .arg(&by.key);
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
        }
        let made = openssl
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output();
        let made = made.map_err(|error| format!("openssl does not start: {error}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        Ok(Self { certificate, key })
    }

    /// An authority, an etcd's certificate by it, and a member's.
    fn make_all(folder: &Path) -> Result<[Self; 3], String> {
        let authority = Self::make(folder, "authority", None)?;
        let etcd = Self::make(folder, "etcd", Some(&authority))?;
        let member = Self::make(folder, "member", Some(&authority))?;
        Ok([authority, etcd, member])
    }

    fn option(&self, name: &str) -> String {
        format!("--{name}={}", self.certificate.display())
    }

    fn pem(&self) -> (Vec<u8>, Vec<u8>) {
        let read = |path: &Path| std::fs::read(path).expect("a file");
        (read(&self.certificate), read(&self.key))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_with_tls_is_reached_by_those_who_trust_it() {
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    let [authority, server, member] = match Certificate::make_all(folder.path()) {
        Ok(made) => made,
        Err(problem) => {
            eprintln!("skipped: {problem}");
            return;
        }
    };
    let secured = [
        server.option("cert-file"),
        format!("--key-file={}", server.key.display()),
        authority.option("trusted-ca-file"),
        "--client-cert-auth".to_owned(),
    ];
    let Some(etcd) = Etcd::start_with(&folder, "https://127.0.0.1:0", &secured) else {
        return;
    };
    let with = |ca: &Certificate, identity: Option<&Certificate>| {
        let config = EtcdConfig {
            endpoints: vec![format!("https://{}", etcd.addr)],
            tls: Some(EtcdTls {
                ca: Some(ca.pem().0),
                identity: identity.map(Certificate::pem),
                server_name: None,
            }),
            ..config(&[])
        };
        place(&config)
    };
    let trusted = with(&authority, Some(&member));
    let made = trusted.compare_and_swap(None, record(1, 0)).await;
    assert!(matches!(made, Ok(Swap::Won(_))), "{made:?}");
    let mut changes = trusted.watch();
    assert!(matches!(next(&mut changes).await, Change::Record(Some(_))));
    let other = Certificate::make(folder.path(), "other", None).expect("openssl works");
    for (place, expected) in [
        (with(&other, Some(&member)), "certificate"),
        // The etcd hangs up on who shows no certificate.
        (with(&authority, None), ""),
    ] {
        let error = soon("an answer", place.read())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&etcd.addr.to_string()) && error.contains(expected),
            "{error}"
        );
    }
}
