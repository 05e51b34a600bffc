//! Whether servers know who asks, and why not: a wrong key and a missing right look alike to a client, and are not.

use rmq_client::protocol::requests::GetBrokerClusterInfo;
use rmq_client::{Error, ErrorKind};

use crate::cluster::Cluster;
use crate::facts::check::Check;

/// Whether the name servers answer those who administrate.
pub(super) async fn name_servers(cluster: &Cluster, addresses: &[String]) -> Vec<Check> {
    let mut checks = Vec::new();
    for addr in addresses {
        let asked = cluster.client.remote(addr);
        let asked = asked.call(&GetBrokerClusterInfo {}, b"").await;
        if let Err(error) = asked
            && error.kind() == ErrorKind::Denied
        {
            checks.push(refused(cluster, format!("nameserver/{addr}"), &error));
        }
    }
    checks
}

/// Whether the brokers recognise who asks. Those that ask nobody say nothing.
pub(super) async fn brokers(cluster: &Cluster) -> Vec<Check> {
    let name = cluster.signs_as.as_deref().unwrap_or("rmq-ctl");
    let users = cluster.client.admin().user(name).await.unwrap_or_default();
    let refused = users.into_iter().filter_map(|(broker, user)| {
        let error = user.err()?;
        let is_denied = error.kind() == ErrorKind::Denied;
        is_denied.then(|| refused(cluster, format!("broker/{broker}"), &error))
    });
    refused.collect()
}

fn refused(cluster: &Cluster, subject: String, error: &Error) -> Check {
    let says = explained(&error.to_string(), cluster.signs_as.as_deref());
    Check::new("access", subject, false, says)
}

/// What a refusal means, and what to do. Its text is that of `rmq_access`, which begins as Apache RocketMQ's.
fn explained(text: &str, user: Option<&str>) -> String {
    let name = user.unwrap_or("USER");
    match user {
        None => format!(
            "requests must be signed there, and this context signs none: rmq-ctl login USER ({text})"
        ),
        Some(_) if text.contains("has no permission to access") => format!(
            "the key of user \"{name}\" is right, and a right is missing: rmq-ctl set acl {name} --allow …, as a user who may ({text})"
        ),
        Some(_) if text.contains("is not found") => format!(
            "there is no user \"{name}\" there: rmq-ctl create user {name}, as a user who may; a name server has the users of its own configuration ({text})"
        ),
        Some(_) if text.contains("is disabled") => {
            format!(
                "user \"{name}\" is disabled: rmq-ctl set user {name} --enable, as a user who may ({text})"
            )
        }
        Some(_) if text.contains("check signature failed") => format!(
            "the secret key of user \"{name}\" is not the one that the server knows: rmq-ctl login {name} with the right one. Clocks do not matter: a signature has no time ({text})"
        ),
        Some(_) => format!("the server does not allow it ({text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_and_a_missing_right_are_told_apart() {
        for (text, user, expected) in [
            ("username cannot be null", None, "rmq-ctl login USER"),
            (
                "User:ann is not found",
                Some("ann"),
                "rmq-ctl create user ann",
            ),
            ("User:ann is disabled", Some("ann"), "--enable"),
            (
                "check signature failed: …",
                Some("ann"),
                "Clocks do not matter",
            ),
            (
                "User:ann has no permission to access Cluster:prod",
                Some("ann"),
                "the key of user \"ann\" is right, and a right is missing",
            ),
        ] {
            let says = explained(text, user);
            assert!(says.contains(expected), "{says}");
        }
    }
}
