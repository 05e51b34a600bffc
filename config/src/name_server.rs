//! The settings of a name server.

use std::path::PathBuf;

use crate::forms;
use crate::problem::Problem;
use crate::row::settings;
use crate::setting::{choice, flag, number, text};
use crate::tls::{TlsClientAuth, TlsMode, TlsPorts};
use crate::value::HiddenText;

settings! {
    /// Settings of a name server. `docs/reference/configuration.md` has them as a table.
    NameServerConfig of "rmq-namesrv", variables "RMQ_NAMESRV_", together together;

    /// Where clients and brokers connect, host:port; port 0 lets the system choose.
    "listen" listen: String = "0.0.0.0:9876".to_owned() =>
        text(forms::NAMED_ADDRESS).operator("the port is fixed");
    /// Where /livez, /readyz, /metrics and /version are served, host:port; empty: nowhere. Every client that reaches this address reads what the server knows: 0.0.0.0:9878 is for networks where all may.
    "management" management: String = "127.0.0.1:9878".to_owned() =>
        text(forms::NAMED_ADDRESS_OR_NONE).operator("the port is fixed");
    /// File that keeps key-value settings; empty: they are lost when it stops.
    "kvConfigPath" kv_config_path: String = String::new() =>
        text(forms::ANY).upstream_too().operator("name servers keep no data");
    /// Routes carry the fixed queues of order topics.
    "orderMessageEnable" order_message_enable: bool = false =>
        flag().upstream_too().live();
    /// Members of a broker group are told when another member has the lowest id.
    "notifyMinBrokerIdChanged" notify_min_broker_id_changed: bool = false =>
        flag().upstream_too().live();
    /// A topic that a broker no longer registers is dropped at once. Only for brokers that always register all their topics.
    "deleteTopicWithBrokerRegistration" delete_topic_with_broker_registration: bool = false =>
        flag().upstream_too().live();
    /// A broker group without its master shows its lowest replica in the master's place, for reading, where its brokers allow that.
    "supportActingMaster" support_acting_master: bool = false =>
        flag().upstream_too().live();
    /// The list of all topics may be asked for.
    "enableAllTopicList" enable_all_topic_list: bool = true =>
        flag().upstream_too().live();
    /// Lists of the topics of one cluster and of system topics may be asked for.
    "enableTopicList" enable_topic_list: bool = true =>
        flag().upstream_too().live();
    /// After a start, routes are refused until brokers had time to register.
    "needWaitForService" need_wait_for_service: bool = false =>
        flag().upstream_too();
    /// How long routes are refused then.
    "waitSecondsForService" wait_seconds_for_service: i64 = 45 =>
        number(&[(0, 3_600)]).unit("seconds").upstream_too();
    /// Time between looks for silent brokers.
    "scanNotActiveBrokerInterval" scan_interval_ms: i64 = 5_000 =>
        number(&[(100, 600_000)]).unit("milliseconds").upstream_too();
    /// Silence after which a broker is dropped that registers without a time of its own.
    "brokerTimeoutMillis" broker_timeout_ms: i64 = 120_000 =>
        number(&[(1_000, 3_600_000)]).unit("milliseconds").live();
    /// Registered broker addresses.
    "brokersMax" brokers_max: i64 = 10_000 =>
        number(&[(1, 1_000_000)]).live();
    /// Registered topics.
    "topicsMax" topics_max: i64 = 1_000_000 =>
        number(&[(1, 10_000_000)]).live();
    /// Pairs of a topic and a broker group.
    "routeEntriesMax" route_entries_max: i64 = 5_000_000 =>
        number(&[(1, 100_000_000)]).live();
    /// Bytes of all key-value settings.
    "kvBytesMax" kv_bytes_max: i64 = 16 * 1024 * 1024 =>
        number(&[(0, 1 << 30)]).unit("bytes").live();
    /// Open connections.
    "connectionsMax" connections_max: i64 = 20_000 =>
        number(&[(1, 1_000_000)]);
    /// Open connections of one address other than loopback.
    "connectionsPerSourceMax" connections_per_source_max: i64 = 1_000 =>
        number(&[(1, 1_000_000)]);
    /// Bytes that all connections hold together, of what was received in part and of what waits to be sent; 0: a quarter of what the control group or the machine has.
    "memoryBytes" memory_bytes: i64 = 0 =>
        number(&[(0, 0), (64 << 20, 1 << 40)]).unit("bytes");
    /// Which connections the ports take: disabled (plain ones), permissive (plain ones, and with a certificate also those with TLS), enforcing (those with TLS). The first byte of a connection decides.
    "tlsMode" tls_mode: TlsMode = TlsMode::Permissive =>
        choice(TlsMode::WORDS).upstream("tls.server.mode").field("spec.tls");
    /// File with the certificate (PEM) of this server, and behind it those that lead to its authority; empty: no TLS. It is read again when it changes.
    "tlsCertificateFile" tls_certificate_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.server.certPath").field("spec.tls");
    /// File with the key (PEM, not encrypted) of the certificate. It is read again when it changes.
    "tlsKeyFile" tls_key_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.server.keyPath").field("spec.tls");
    /// File with the certificates (PEM) of those who sign the certificates of clients. It is read again when it changes.
    "tlsCaFile" tls_ca_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.server.trustCertPath").field("spec.tls");
    /// Whether clients show certificates: none (they are not asked), optional (one that is shown must be good), require (who shows none is refused; needs tlsMode enforcing).
    "tlsClientAuth" tls_client_auth: TlsClientAuth = TlsClientAuth::None =>
        choice(TlsClientAuth::WORDS).upstream("tls.server.need.client.auth").field("spec.tls");
    /// Whether the management port has TLS too, and then nothing else; its clients need no certificate.
    "tlsManagement" tls_management: bool = false =>
        flag().operator("Kubernetes asks for health without TLS");
    /// How often the files of certificates are looked at.
    "tlsReloadMs" tls_reload_ms: u64 = 10_000 =>
        number(&[(100, 86_400_000)]).unit("milliseconds");
    /// TLS handshakes of a port that run at once; more wait for a place.
    "tlsHandshakesMax" tls_handshakes_max: usize = 512 =>
        number(&[(1, 65_536)]);
    /// Longest time of a TLS handshake, the wait for a place included. A handshake that has taken a tenth of it gives its place to one that waits.
    "tlsHandshakeTimeoutMs" tls_handshake_timeout_ms: u64 = 10_000 =>
        number(&[(100, 600_000)]).unit("milliseconds");
    /// Whether each request must be signed by a user, or come by a connection whose certificate names one; those of authenticationWhitelist need none.
    "authenticationEnabled" authentication: bool = false =>
        flag().field("spec.authentication");
    /// Whether users other than super users may only do what their rules in usersFile allow. Needs authenticationEnabled.
    "authorizationEnabled" authorization: bool = false =>
        flag().field("spec.authorization");
    /// A super user: JSON, {"username":"NAME","password":"…"}.
    "initAuthenticationUser" init_user: HiddenText = HiddenText::default() =>
        text(forms::USER).secret().operator("the Secret of spec.authentication has it");
    /// The file with what initAuthenticationUser is otherwise.
    "initAuthenticationUserFile" init_user_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("the Secret of spec.authentication has it");
    /// Who registers brokers, a super user: JSON, {"accessKey":"NAME","secretKey":"…"}, as the brokers have it.
    "innerClientAuthenticationCredentials" inner_credentials: HiddenText = HiddenText::default() =>
        text(forms::USER).secret().operator("the Secret of spec.authentication has it");
    /// The file with what innerClientAuthenticationCredentials is otherwise.
    "innerClientAuthenticationCredentialsFile" inner_credentials_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("the Secret of spec.authentication has it");
    /// The file with further users and their rules: JSON, {"users":[…],"acls":[…]} with the bodies of codes 3001 and 3006.
    "usersFile" users_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).field("spec.authentication.usersSecretName");
    /// Codes of requests that are served without a signature, with commas. 105: clients ask for routes, and name servers do not know the users of brokers.
    "authenticationWhitelist" authentication_whitelist: String = "105".to_owned() =>
        text(forms::REQUEST_CODES);
    /// Codes of requests that every user may send, with commas.
    "authorizationWhitelist" authorization_whitelist: String = String::new() =>
        text(forms::REQUEST_CODES);
    /// Which user alone registers a broker group, GROUP=USER with commas; *=USER is about all groups that are not named. Without it, a group that is not named here belongs to the user who registered it first, while it is registered.
    "brokerIdentities" broker_identities: String = String::new() =>
        text(forms::IDENTITIES);
    /// Failed signatures of one address in a second; the answers to more are delayed by a second each.
    "authenticationFailuresPerSecond" authentication_failures_per_second: u32 = 10 =>
        number(&[(1, 100_000)]);
    /// How long requests may take that are being answered when it stops.
    "drainTimeoutMillis" drain_timeout_ms: i64 = 5_000 =>
        number(&[(0, 600_000)]).unit("milliseconds");
}

impl NameServerConfig {
    /// The TLS of its ports.
    #[must_use]
    pub fn tls_ports(&self) -> TlsPorts<'_> {
        TlsPorts {
            mode: self.tls_mode,
            certificate: &self.tls_certificate_file,
            key: &self.tls_key_file,
            authorities: &self.tls_ca_file,
            client_auth: self.tls_client_auth,
            management: self.tls_management,
        }
    }

    /// Which user alone registers which broker group.
    #[must_use]
    pub fn broker_identity_list(&self) -> Vec<(String, String)> {
        // A list that cannot be understood was refused before.
        forms::identities(&self.broker_identities).unwrap_or_default()
    }
}

fn together(config: &NameServerConfig) -> Vec<Problem> {
    let mut problems: Vec<Problem> = forms::two_addresses(&config.listen, &config.management)
        .into_iter()
        .chain(config.tls_ports().problems())
        .collect();
    problems.extend(forms::access_problems(
        (config.authentication, config.authorization),
        [
            (&config.init_user, &config.init_user_file),
            (&config.inner_credentials, &config.inner_credentials_file),
        ],
    ));
    problems
}
