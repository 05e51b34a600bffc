//! The connection of a pod to the API server, with the pod's account.
//!
//! `kube` makes clients from configurations too, with plugins, expressions and YAML. What these need is in the memory of every broker,
//! 250 KiB of relocated constants, whether or not it has an election: so the broker has no use for a kubeconfig.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use tower::{BoxError, service_fn};

const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";
/// Where Kubernetes puts the account of a pod.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Kubernetes renews the token while the pod runs, and sometimes the certificates.
const READ_AGAIN: Duration = Duration::from_secs(60);

type Http = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// Who a pod is for the API server, and where that is.
pub(super) struct Account {
    server: Authority,
    folder: PathBuf,
}

impl Account {
    /// The account of the pod that this process runs in.
    pub(super) fn of_pod() -> Result<Self, String> {
        let variable = |name| {
            env::var(name).map_err(|_| {
                format!(
                    "the environment does not name the API server ({name}): a broker with `election: kubernetes` runs in a pod; outside of \
                     Kubernetes use `election: etcd`"
                )
            })
        };
        let (host, port) = (variable(HOST)?, variable(PORT)?);
        // An address of IPv6 has colons of its own.
        let server = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let server = Authority::try_from(server.as_str())
            .map_err(|error| format!("{HOST} and {PORT} are no address, {server}: {error}"))?;
        Ok(Self {
            server,
            folder: PathBuf::from(FOLDER),
        })
    }

    /// A client that acts for the account. It sends nothing again by itself.
    pub(super) fn client(self, namespace: &str, timeout: Duration) -> Result<Client, String> {
        let connection = Connection::open(self, timeout)?;
        let service = service_fn(move |request| {
            let prepared = connection.prepare(request);
            async move {
                let (http, request) = prepared?;
                http.request(request).await.map_err(BoxError::from)
            }
        });
        Ok(Client::new(service, namespace))
    }

    fn token(&self) -> Result<HeaderValue, String> {
        let path = self.folder.join("token");
        let token = read(&path)?;
        let token = format!("Bearer {}", String::from_utf8_lossy(&token).trim());
        let mut header = HeaderValue::try_from(token)
            .map_err(|_| format!("{} holds no token", path.display()))?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn certificates(&self) -> Result<Vec<u8>, String> {
        read(&self.folder.join("ca.crt"))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        format!(
            "cannot read the account of the pod, {}: {error}; the pod needs a service account whose token is mounted",
            path.display()
        )
    })
}

/// What requests are sent with.
struct Connection {
    account: Account,
    timeout: Duration,
    kept: Mutex<Kept>,
}

/// What was read last.
struct Kept {
    read_at: Instant,
    token: HeaderValue,
    certificates: Vec<u8>,
    http: Http,
}

impl Connection {
    fn open(account: Account, timeout: Duration) -> Result<Self, String> {
        let certificates = account.certificates()?;
        let kept = Kept {
            read_at: Instant::now(),
            token: account.token()?,
            http: http(&certificates, timeout)?,
            certificates,
        };
        Ok(Self {
            account,
            timeout,
            kept: Mutex::new(kept),
        })
    }

    fn prepare(&self, mut request: Request<Body>) -> Result<(Http, Request<Body>), http::Error> {
        let (http, token) = self.current();
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.account.server.clone());
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().insert(header::AUTHORIZATION, token);
        Ok((http, request))
    }

    fn current(&self) -> (Http, HeaderValue) {
        let mut kept = self.kept.lock();
        if kept.read_at.elapsed() >= READ_AGAIN {
            kept.read_at = Instant::now();
            // Files that cannot be read now leave what they held: the API server says whether it still accepts that.
            if let Ok(token) = self.account.token() {
                kept.token = token;
            }
            if let Ok(certificates) = self.account.certificates()
                && certificates != kept.certificates
                && let Ok(http) = http(&certificates, self.timeout)
            {
                kept.certificates = certificates;
                kept.http = http;
            }
        }
        (kept.http.clone(), kept.token.clone())
    }
}

/// A client that trusts these certificates (PEM) and no others.
fn http(certificates: &[u8], timeout: Duration) -> Result<Http, String> {
    let wrong = |problem: String| format!("the certificates of the API server: {problem}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(certificates) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(timeout));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(legacy::Client::builder(TokioExecutor::new()).build(connector))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;

    use k8s_openapi::api::coordination::v1 as coordination;
    use kube::Api;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, Stream};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);
    const NOT_FOUND: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"NotFound","code":404}"#;

    /// Makes an authority and a certificate by it for 127.0.0.1. Returns the authority's own, and what a server has.
    fn authority(folder: &Path, name: &str) -> (Vec<u8>, Arc<ServerConfig>) {
        let path = |end: &str| folder.join(format!("{name}.{end}"));
        let make = |kind: &str, more: &[&str]| {
            let made = Command::new("openssl")
                .current_dir(folder)
                .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
                .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj"])
                .arg(format!("/CN={name}-{kind}"))
                .args(more)
                .arg("-keyout")
                .arg(path(&format!("{kind}.key")))
                .arg("-out")
                .arg(path(&format!("{kind}.crt")))
                .output();
            let made = made.expect("openssl starts");
            assert!(made.status.success(), "{made:?}");
        };
        make("ca", &[]);
        let (ca, key) = (path("ca.crt"), path("ca.key"));
        let by = ["-CA", ca.to_str().expect("text"), "-CAkey"];
        let for_host = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext"];
        let mut more = by.to_vec();
        more.push(key.to_str().expect("text"));
        more.extend(for_host);
        more.push("subjectAltName=IP:127.0.0.1");
        make("server", &more);
        let certificate = CertificateDer::from_pem_file(path("server.crt")).expect("readable");
        let key = PrivateKeyDer::from_pem_file(path("server.key")).expect("readable");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        let authority = fs::read(ca).expect("readable");
        (authority, Arc::new(server.expect("a certificate")))
    }

    /// Answers one request with "not found", and returns its head.
    fn asked(server: &TcpListener, tls: &Arc<ServerConfig>) -> std::io::Result<String> {
        let (mut stream, _) = server.accept()?;
        let mut connection = ServerConnection::new(Arc::clone(tls)).expect("a connection");
        let mut stream = Stream::new(&mut connection, &mut stream);
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let bytes = NOT_FOUND.len();
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n{NOT_FOUND}"
        );
        stream.write_all(answer.as_bytes())?;
        stream.flush()?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    #[tokio::test]
    async fn requests_carry_the_token_and_trust_the_certificates_that_the_files_have_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, first_tls) = authority(folder.path(), "first");
        let (second, second_tls) = authority(folder.path(), "second");
        let token = |text| fs::write(folder.path().join("token"), text).expect("written");
        let trust = |pem: &[u8]| fs::write(folder.path().join("ca.crt"), pem).expect("written");
        token("one\n");
        trust(&first);
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
        let addr = listener.local_addr().expect("an address").to_string();
        let account = Account {
            server: Authority::try_from(addr.as_str()).expect("an authority"),
            folder: folder.path().to_owned(),
        };
        let client = account.client("shop", TIMEOUT).expect("a client");
        let leases: Api<coordination::Lease> = Api::namespaced(client, "shop");
        let ask = async |tls: &Arc<ServerConfig>| {
            let (listener, tls) = (Arc::clone(&listener), Arc::clone(tls));
            let asked = tokio::task::spawn_blocking(move || asked(&listener, &tls));
            let (head, answer) = tokio::join!(asked, leases.get_opt("orders"));
            let head = head.expect("no panic");
            assert_eq!(head.is_ok(), answer.is_ok(), "{head:?} {answer:?}");
            head
        };
        let head_of = async |tls| ask(tls).await.expect("a request");
        let later = async || {
            tokio::time::pause();
            tokio::time::advance(READ_AGAIN).await;
            tokio::time::resume();
        };

        let head = head_of(&first_tls).await;
        let path = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/orders";
        assert!(
            head.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(head.contains("authorization: Bearer one\r\n"), "{head}");
        token("two");
        assert!(head_of(&first_tls).await.contains("Bearer one\r\n"));
        later().await;
        assert!(head_of(&first_tls).await.contains("Bearer two\r\n"));
        // What can no longer be read leaves what was read last.
        fs::remove_file(folder.path().join("token")).expect("removed");
        assert!(
            ask(&second_tls).await.is_err(),
            "an authority that nobody trusts"
        );
        trust(&second);
        later().await;
        assert!(head_of(&second_tls).await.contains("Bearer two\r\n"));
        assert!(ask(&first_tls).await.is_err(), "an authority of before");
    }

    #[test]
    fn an_account_without_files_says_what_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let wrong = || {
            let account = Account {
                server: Authority::from_static("kubernetes.default.svc:443"),
                folder: folder.path().to_owned(),
            };
            account.client("shop", TIMEOUT).err().expect("refused")
        };
        assert!(wrong().contains("ca.crt"));
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(folder.path().join("ca.crt"), pem).expect("written");
        assert!(wrong().contains("token"));
        fs::write(folder.path().join("token"), "one").expect("written");
        assert!(wrong().contains("certificates of the API server"));
    }
}
