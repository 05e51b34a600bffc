//! How a group gets its master, and the members of a group as one text: `0=HOST:REPLICATION_PORT/HOST:CLIENT_PORT,1=…`.

use rmq_protocol::MemberId;

use crate::Configuration as _;
use crate::broker::BrokerConfig;
use crate::forms;
use crate::setting::Form;
use crate::value::{Field, Value};

/// How a group gets its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// By the configuration: broker id 0 is the master.
    Static,
    /// The members elect it; etcd holds who is master.
    Etcd,
    /// The members elect it; objects of Kubernetes hold who is master.
    Kubernetes,
    /// The members elect it; all of them are in one process, which holds who is master.
    Memory,
}

impl Election {
    const WORDS: [(Self, &'static str); 4] = [
        (Self::Static, "static"),
        (Self::Etcd, "etcd"),
        (Self::Kubernetes, "kubernetes"),
        (Self::Memory, "memory"),
    ];

    /// As the setting says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(election, _)| *election == self);
        word.map_or("", |(_, word)| word)
    }
}

impl Field for Election {
    fn value(&self) -> Value {
        Value::Text(self.word().to_owned())
    }

    fn of(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else {
            return None;
        };
        let election = Self::WORDS.iter().find(|(_, word)| word == text);
        election.map(|(election, _)| *election)
    }
}

/// How many members a group may have.
const MEMBERS_MAX: usize = 16;
/// How many members an etcd may have.
const ENDPOINTS_MAX: usize = 16;

/// The members of a group, or nothing.
pub(crate) const MEMBERS: Form = Form {
    expected: "1 to 16 members, SLOT=HOST:REPLICATION_PORT/HOST:CLIENT_PORT with commas, or empty",
    check: |text| members(text).map(drop),
};

/// The members of an etcd, or nothing.
pub(crate) const ENDPOINTS: Form = Form {
    expected: "1 to 16 addresses of an etcd, http://HOST:PORT or https://HOST:PORT with commas, or empty",
    check: |text| {
        let endpoints = endpoints(text);
        if endpoints.len() > ENDPOINTS_MAX {
            return Err(format!("there are {} addresses", endpoints.len()));
        }
        for endpoint in endpoints {
            let schemes = ["http://", "https://"].map(|scheme| endpoint.strip_prefix(scheme));
            let address = schemes.into_iter().flatten().next().unwrap_or_default();
            rmq_texts::server(address).map_err(|error| format!("{endpoint}: {error}"))?;
        }
        Ok(())
    },
};

/// What keys begin with.
pub(crate) const PREFIX: Form = Form {
    expected: "a text that begins with a slash and does not end with one, such as /rmq, of up to 255 bytes",
    check: |text| match text.starts_with('/') && !text.ends_with('/') && text.len() <= 255 {
        true => Ok(()),
        false => Err(String::new()),
    },
};

/// A member of a group whose master is elected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its slot: the `brokerId` of its configuration.
    pub id: MemberId,
    /// Where the other members reach it, `host:port`.
    pub replication: String,
    /// Where clients reach it, `host:port`.
    pub client: String,
}

/// The addresses of an etcd's members.
pub(crate) fn endpoints(text: &str) -> Vec<String> {
    let parts = text.split([',', ';']).map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The members, in the order of their slots; an empty text has none.
///
/// # Errors
/// What is wrong with the first member that is none, or with all of them together.
pub(crate) fn members(text: &str) -> Result<Vec<GroupMember>, String> {
    let mut members = Vec::new();
    for part in text.split([',', ';']).map(str::trim) {
        if !part.is_empty() {
            members.push(member(part)?);
        }
    }
    if members.len() > MEMBERS_MAX {
        return Err(format!("there are {} members", members.len()));
    }
    members.sort_by_key(|member| member.id);
    let mut addresses = Vec::new();
    for member in &members {
        addresses.extend([&member.replication, &member.client]);
    }
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            return Err(format!("{address} is there twice"));
        }
    }
    match members.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(format!("member {} is there twice", pair[0].id)),
        None => Ok(members),
    }
}

fn member(text: &str) -> Result<GroupMember, String> {
    let parts = text.split_once('=').and_then(|(id, addresses)| {
        let (replication, client) = addresses.split_once('/')?;
        let id = id.trim().parse().ok()?;
        Some((id, [replication, client].map(str::trim)))
    });
    let Some((id, addresses)) = parts.filter(|(id, _)| *id < MEMBERS_MAX as u64) else {
        return Err(format!(
            "{text:?} is not SLOT=HOST:REPLICATION_PORT/HOST:CLIENT_PORT with a slot from 0 to {}",
            MEMBERS_MAX - 1
        ));
    };
    let address = |text| rmq_texts::server(text).map_err(|error| error.to_string());
    let [replication, client] = addresses.map(address);
    Ok(GroupMember {
        id: MemberId(id),
        replication: replication?,
        client: client?,
    })
}

/// What is wrong with the settings of an election, together.
pub(crate) fn problems(config: &BrokerConfig) -> Vec<String> {
    let mut problems = Vec::new();
    let mut refuse = |text: String| problems.push(text);
    let election = config.election;
    let word = election.word();
    for (needs, keys) in KEYS {
        let is_for = |needed: &Election| *needed == election;
        for key in keys.iter().filter(|_| !needs.iter().any(is_for)) {
            if is_changed(config, key) {
                let words: Vec<&str> = needs.iter().map(|needed| needed.word()).collect();
                let words = words.join(" or ");
                refuse(format!(
                    "{key} has no effect with election {word}: leave it out, or set election to {words}"
                ));
            }
        }
    }
    if election == Election::Static {
        return problems;
    }
    let me = config.broker_id;
    if me >= MEMBERS_MAX as i64 {
        refuse(format!(
            "brokerId {me} is no slot of a member: with election {word} brokerId is from 0 to {}",
            MEMBERS_MAX - 1
        ));
    }
    if config.replication_listen == forms::NO_REPLICATION {
        refuse(format!(
            "election {word} needs a port for the other members, and replicationListen is {}",
            forms::NO_REPLICATION
        ));
    }
    if election != Election::Kubernetes {
        // A list that cannot be understood was refused before.
        let members = config.member_list();
        if config.own_member().is_none() {
            refuse(format!(
                "members has no member {me}, which is this broker's brokerId: with election {word} every broker of the group has the same members, SLOT=HOST:REPLICATION_PORT/HOST:CLIENT_PORT with commas"
            ));
        } else if config.in_sync_min() > members.len() {
            refuse(format!(
                "no write would ever be taken: {} members have to be in sync, and members has {}; set minInSync, or ackMode to memory or flushed",
                config.in_sync_min(),
                members.len()
            ));
        }
    }
    if election == Election::Etcd {
        let endpoints = config.etcd_endpoint_list();
        if endpoints.is_empty() {
            refuse("election etcd needs etcdEndpoints, as http://10.0.0.1:2379".to_owned());
        }
        let pairs = [
            ("etcdUser", "etcdPasswordFile"),
            ("etcdPasswordFile", "etcdUser"),
            ("etcdCertificateFile", "etcdKeyFile"),
            ("etcdKeyFile", "etcdCertificateFile"),
        ];
        for (key, other) in pairs {
            if is_changed(config, key) && !is_changed(config, other) {
                refuse(format!("{key} needs {other}, too"));
            }
        }
        let plain = endpoints.iter().find(|one| one.starts_with("http://"));
        if let (Some(endpoint), Some(key)) = (plain, TLS.iter().find(|key| is_changed(config, key)))
        {
            refuse(format!(
                "{key} is for connections with TLS, and {endpoint} in etcdEndpoints is one without: write https://"
            ));
        }
    }
    if election == Election::Kubernetes {
        for key in ["electionNamespace", "electionName"] {
            if !is_changed(config, key) {
                refuse(format!("election kubernetes needs {key}"));
            }
        }
    }
    problems
}

const TLS: [&str; 4] = [
    "etcdCaFile",
    "etcdCertificateFile",
    "etcdKeyFile",
    "etcdServerName",
];

/// Settings that only some kinds of election look at.
const KEYS: [(&[Election], &[&str]); 6] = [
    (
        &[Election::Etcd, Election::Kubernetes, Election::Memory],
        &["leaseMs", "replicaReconnectMs"],
    ),
    (&[Election::Etcd, Election::Memory], &["members"]),
    (
        &[Election::Etcd],
        &[
            "etcdEndpoints",
            "etcdPrefix",
            "etcdUser",
            "etcdPasswordFile",
            TLS[0],
            TLS[1],
            TLS[2],
            TLS[3],
        ],
    ),
    (
        &[Election::Kubernetes],
        &["electionNamespace", "electionName"],
    ),
    (
        &[Election::Static],
        &["replicationMaster", "replicaLagBytes", "replicaLagMs"],
    ),
    // Where clients reach a member is in members.
    (
        &[Election::Static, Election::Kubernetes],
        &["advertise", "advertisePort"],
    ),
];

/// Whether a setting has another value than its default.
fn is_changed(config: &BrokerConfig, key: &str) -> bool {
    let row = BrokerConfig::rows()
        .iter()
        .find(|row| row.setting.key == key);
    row.is_some_and(|row| (row.get)(config) != (row.get)(&BrokerConfig::default()))
}
