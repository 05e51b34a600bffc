//! A signed request that somebody has recorded, sent once more. A signature has no time, so it is served again, but not on a plain connection
//! where the broker takes only TLS. Budget: 5 s.

use std::sync::Arc;

use rmq_broker::Deps;
use rmq_certificates::{Authority, Wanted};
use rmq_config::TlsMode;
use rmq_protocol::bodies::UserInfo;
use rmq_protocol::code::RequestCode;
use rmq_transport::{
    Caller, CallerConfig, RefuseIncoming, TcpConnector, TlsClient, TlsClientSettings, TlsConnector,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Client, PATIENCE, Rig};
use super::users::{ROOT, closed, signed, succeeds};

/// The bytes with which the super user makes a user.
async fn recorded() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let recording = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut frame = vec![0; 4];
        socket.read_exact(&mut frame).await.expect("a length");
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        frame.resize(4 + length as usize, 0);
        socket.read_exact(&mut frame[4..]).await.expect("a frame");
        frame
    });
    let client = Client::at(&at);
    let eve = UserInfo {
        password: Some("eve-password".to_owned()),
        user_type: Some("Super".to_owned()),
        ..UserInfo::default()
    };
    let fields = [("username", "eve")];
    let body = eve.to_json();
    let signature = rmq_protocol::signature::sign(ROOT.0, ROOT.1, &fields, &body);
    let fields = (fields, signature);
    let sent = client.try_call(RequestCode::AuthCreateUser, &fields, &body);
    sent.await.expect_err("nobody answers");
    recording.await.expect("recorded")
}

/// Sends the bytes on a plain connection; what comes back until it ends, or a whole frame.
async fn replayed(rig: &Rig, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(rig.broker.addr())
        .await
        .expect("connected");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let reading = async {
        let mut piece = [0; 4_096];
        // A reset ends it too.
        while let Ok(read @ 1..) = socket.read(&mut piece).await {
            answer.extend_from_slice(&piece[..read]);
            let length = answer
                .first_chunk()
                .map(|length| u32::from_be_bytes(*length));
            if length.is_some_and(|length| answer.len() >= 4 + length as usize) {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, reading).await;
    ended.expect("an answer, or the end");
    answer
}

async fn users(client: &Client) -> Vec<String> {
    let listed = signed(client, ROOT, RequestCode::AuthListUser, &(), b"").await;
    succeeds(&listed);
    let users = UserInfo::list_from_json(listed.body()).expect("users");
    users.into_iter().filter_map(|user| user.username).collect()
}

#[tokio::test]
async fn a_recorded_request_is_not_served_on_a_plain_connection_where_tls_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("test CA");
    let ca = authority.write(folder.path(), "ca");
    let files = authority.sign(&Wanted::names(&["127.0.0.1"]));
    let files = files.write(folder.path(), "server");
    let bytes = recorded().await;
    for (mode, is_served) in [(TlsMode::Permissive, true), (TlsMode::Enforcing, false)] {
        let rig = Rig::start_with(Deps::default(), |config| {
            closed(config);
            config.tls_mode = mode;
            config.tls_certificate_file.clone_from(&files.certificate);
            config.tls_key_file.clone_from(&files.key);
        })
        .await;
        let answer = String::from_utf8_lossy(&replayed(&rig, &bytes).await).into_owned();
        assert_eq!(
            answer.contains("\"code\":0"),
            is_served,
            "{mode:?}: {answer}"
        );
        let tls = TlsClient::open(TlsClientSettings {
            authorities: Some(ca.clone()),
            ..TlsClientSettings::default()
        });
        let tls = TlsConnector::new(Arc::new(TcpConnector), tls.expect("good files"));
        let client = Client(Caller::new(
            rig.broker.addr().to_string(),
            Arc::new(tls),
            CallerConfig::default(),
            Arc::new(RefuseIncoming),
        ));
        let expected: &[&str] = if is_served {
            &["eve", "root"]
        } else {
            &["root"]
        };
        assert_eq!(users(&client).await, expected, "{mode:?}");
        rig.stop().await;
    }
}
