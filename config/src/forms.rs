//! The forms of texts that settings take.

use std::net::SocketAddr;
use std::path::PathBuf;

use rmq_protocol::{RequestCode, names};

use crate::delay_levels;
use crate::problem::Problem;
use crate::setting::Form;
use crate::value::HiddenText;

/// Any text.
pub(crate) const ANY: Form = Form {
    expected: "a text",
    check: |_| Ok(()),
};

/// A user with a password, or nothing. What is wrong with it is told without its text.
pub(crate) const USER: Form = Form {
    expected: r#"JSON such as {"username":"NAME","password":"…"} or {"accessKey":"NAME","secretKey":"…"}, or empty"#,
    check: |text| {
        let user: serde_json::Value = match text {
            "" => return Ok(()),
            text => serde_json::from_str(text).unwrap_or_default(),
        };
        let has = |name: &str| user[name].as_str().is_some_and(|text| !text.is_empty());
        expect((has("username") && has("password")) || (has("accessKey") && has("secretKey")))
    },
};

/// Request codes, or nothing.
pub(crate) const REQUEST_CODES: Form = Form {
    expected: "request codes separated by commas, such as 105,106, or empty",
    check: |text| {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let is_code = |part: &str| {
            let number = part.parse().ok();
            number.and_then(RequestCode::from_i32).is_some()
        };
        let wrong = parts.clone().find(|part| !is_code(part));
        wrong.map_or(Ok(()), |part| {
            Err(format!("there is no request code {part:?}"))
        })
    },
};

/// `GROUP=USER` with commas, or nothing.
pub(crate) const IDENTITIES: Form = Form {
    expected: "broker groups and their users, GROUP=USER separated by commas (*=USER: all others), or empty",
    check: |text| identities(text).map(drop),
};

/// Reads such a list.
pub(crate) fn identities(text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (group, user) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is not GROUP=USER"))?;
        if group != "*" {
            told(names::BrokerName::parse(group))?;
        }
        match user {
            "" => Err(format!("{part:?} names no user")),
            user => Ok((group.to_owned(), user.to_owned())),
        }
    });
    pairs.collect()
}

/// A region: a property of messages, whose separators are control characters.
pub(crate) const REGION: Form = Form {
    expected: "a text of up to 255 bytes without control characters",
    check: |text| expect(text.len() <= 255 && !text.contains(char::is_control)),
};

/// A text that is not empty.
pub(crate) const FOLDER: Form = Form {
    expected: "a folder",
    check: |text| expect(!text.is_empty()),
};

/// An address of this machine and a port; port 0 lets the system choose.
pub(crate) const ADDRESS: Form = Form {
    expected: "an address of this machine and a port, such as 0.0.0.0:10911 (every address)",
    check: |text| expect(text.parse::<SocketAddr>().is_ok()),
};

/// The same, or nothing.
pub(crate) const ADDRESS_OR_NONE: Form = Form {
    expected: "an address of this machine and a port, such as 0.0.0.0:10999 (every address), or empty",
    check: |text| expect(text.is_empty() || text.parse::<SocketAddr>().is_ok()),
};

/// An address or a name of this machine, and a port; port 0 lets the system choose.
pub(crate) const NAMED_ADDRESS: Form = Form {
    expected: "an address and a port, such as 0.0.0.0:9876 (every address)",
    check: |text| expect(is_named_address(text)),
};

/// The same, or nothing.
pub(crate) const NAMED_ADDRESS_OR_NONE: Form = Form {
    expected: "an address and a port, such as 0.0.0.0:9878 (every address), or empty",
    check: |text| expect(text.is_empty() || is_named_address(text)),
};

/// What `replicationListen` says when nobody copies.
pub(crate) const NO_REPLICATION: &str = "none";

/// Where members copy the log; nothing, or nowhere.
pub(crate) const REPLICATION_ADDRESS: Form = Form {
    expected: "an address of this machine and a port, such as 0.0.0.0:10912 (every address), none, or empty",
    check: |text| {
        expect(text.is_empty() || text == NO_REPLICATION || text.parse::<SocketAddr>().is_ok())
    },
};

/// A host that others can reach, without a port, or nothing.
pub(crate) const HOST_OR_NONE: Form = Form {
    expected: "a host name or an address, without a port",
    check: |text| match text {
        "" => Ok(()),
        text => told(rmq_texts::reachable_host(text)),
    },
};

/// A list of name servers, or nothing.
pub(crate) const NAME_SERVERS: Form = Form {
    expected: "addresses of name servers, HOST:PORT separated by semicolons",
    check: |text| told(rmq_texts::name_servers(text)),
};

/// The name of a cluster.
pub(crate) const CLUSTER_NAME: Form = Form {
    expected: "the name of a cluster",
    check: |text| told(names::ClusterName::parse(text)),
};

/// The name of a broker group.
pub(crate) const BROKER_NAME: Form = Form {
    expected: "the name of a broker group",
    check: |text| told(names::BrokerName::parse(text)),
};

/// Delays of the delay levels.
pub(crate) const DELAY_LEVELS: Form = Form {
    expected: "1 to 64 delays, each a number and s, m, h or d, such as 1s 30s 5m",
    check: |text| match delay_levels::parse(text) {
        Ok(levels) if (1..=64).contains(&levels.len()) => Ok(()),
        Ok(levels) => Err(format!("there are {} delays", levels.len())),
        Err(error) => Err(error.to_string()),
    },
};

fn expect(holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(String::new()) }
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

/// `HOST:PORT` with any port.
fn is_named_address(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    text.parse::<SocketAddr>().is_ok()
        || parts.is_some_and(|(host, port)| {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            rmq_texts::host(host).is_ok() && is_number && port.parse::<u16>().is_ok()
        })
}

/// One address cannot be for clients and for the management port.
pub(crate) fn two_addresses(listen: &str, management: &str) -> Option<Problem> {
    let is_chosen = listen.ends_with(":0");
    (listen == management && !is_chosen).then(|| {
        Problem::Together(format!(
            "listen and management are both {listen}: give one of them another port"
        ))
    })
}

/// What is wrong with the settings of access together: `on` has authentication and authorization, `users` a text and a file each.
pub(crate) fn access_problems(
    on: (bool, bool),
    users: [(&HiddenText, &PathBuf); 2],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let (false, true) = on {
        problems.push(
            "authorizationEnabled needs authenticationEnabled: without a signature nobody knows whose rules count"
                .to_owned(),
        );
    }
    let keys = [
        "initAuthenticationUser",
        "innerClientAuthenticationCredentials",
    ];
    for ((text, file), key) in users.into_iter().zip(keys) {
        if !text.is_empty() && !file.as_os_str().is_empty() {
            problems.push(format!("{key} and {key}File are both set: leave one out"));
        }
    }
    problems.into_iter().map(Problem::Together).collect()
}
