//! `rmq-ctl can-i`: whether a user may, and by which rule. Read-only: the rules are read from the brokers and asked here.

use std::net::IpAddr;

use clap::Args;
use rmq_access::{Actions, Decision, Kind};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::facts::users;
use crate::output::Output;

/// Options of `can-i`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exits with 4 when the user may not, at any of the brokers.

Actions: pub (send), sub (consume), create, update, delete, get, list. A resource is a topic, or topic/NAME, group/NAME, cluster/NAME.

Examples:
  rmq-ctl can-i send orders --as checkout
  rmq-ctl can-i consume group/billing --as checkout --from 10.1.2.3"
)]
pub(crate) struct Options {
    /// What the user would do.
    action: String,
    /// What the user would do it to.
    resource: String,
    /// The user. Default: who this context signs as.
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// Where the request would come from.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
}

/// What a broker says.
struct Verdict {
    broker: String,
    may: bool,
    why: String,
}

fn parse_action(text: &str) -> Result<Actions, Failure> {
    let name = match text.to_lowercase().as_str() {
        "send" | "produce" | "publish" => "pub",
        "consume" | "receive" | "subscribe" => "sub",
        _ => text,
    };
    let action = Actions::named(name).filter(|actions| *actions != Actions::ALL);
    action.ok_or_else(|| {
        Failure::coded(&codes::INVALID, format!("\"{text}\" is no action"))
            .because("actions are pub (send), sub (consume), create, update, delete, get and list")
    })
}

/// A type and a name; without a name all of the type are meant.
fn parse_resource(text: &str) -> Result<(Kind, Option<String>), Failure> {
    let (kind, name) = match text.split_once(['/', ':']) {
        None => (Kind::Topic, text),
        Some((word, name)) => {
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| kind.name().eq_ignore_ascii_case(word));
            let kind = kind.ok_or_else(|| {
                Failure::coded(&codes::INVALID, format!("\"{text}\" is no resource"))
                    .because("a resource is a topic, or topic/NAME, group/NAME or cluster/NAME")
            })?;
            (kind, name)
        }
    };
    Ok((kind, (name != "*").then(|| name.to_owned())))
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let action = parse_action(&options.action)?;
    let (kind, name) = parse_resource(&options.resource)?;
    let cluster = Cluster::connect(cluster, output).await?;
    let user = options.user.as_ref().or(cluster.signs_as.as_ref());
    let user = user.cloned().ok_or_else(|| {
        Failure::coded(&codes::INVALID, "no user is named")
            .because("this context signs no requests")
            .try_this("--as USER")
    })?;
    let known = users::known(&cluster, &user).await?;
    if known.is_empty() {
        return Err(
            Failure::coded(&codes::NOT_FOUND, format!("there is no user \"{user}\""))
                .fact("asked", &cluster.name)
                .try_this("rmq-ctl get users"),
        );
    }
    let mut may_not = false;
    for known in &known {
        let verdict = verdict(known, kind, name.as_deref(), action, options.from);
        may_not |= !verdict.may;
        let word = if verdict.may { "yes" } else { "no" };
        output.data(&format!("{word}  {}: {}", verdict.broker, verdict.why));
    }
    match may_not {
        true => Err(Failure::silent(Exit::Refused)),
        false => Ok(()),
    }
}

fn verdict(
    known: &users::Known,
    kind: Kind,
    name: Option<&str>,
    action: Actions,
    from: IpAddr,
) -> Verdict {
    let (may, why) = if !known.is_enabled {
        (false, "the user is disabled".to_owned())
    } else if known.is_super {
        (true, "a super user may everything".to_owned())
    } else {
        match known.acl.deciding(kind, name, action, from) {
            Some((policy, entry)) => (
                entry.decision == Decision::Allow,
                format!("{entry} ({})", policy.name()),
            ),
            None => (
                false,
                format!(
                    "no rule allows {action} on {}:{}",
                    kind.name(),
                    name.unwrap_or("*")
                ),
            ),
        }
    };
    Verdict {
        broker: known.broker.clone(),
        may,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_and_resources_are_read_as_people_say_them() {
        for (text, action) in [("send", "PUB"), ("Consume", "SUB"), ("get", "GET")] {
            assert_eq!(parse_action(text).expect(text).to_string(), action);
        }
        assert!(parse_action("all").is_err() && parse_action("fly").is_err());
        let of = |text| parse_resource(text).ok();
        assert_eq!(of("orders"), Some((Kind::Topic, Some("orders".to_owned()))));
        assert_eq!(of("group/g"), Some((Kind::Group, Some("g".to_owned()))));
        assert_eq!(of("Topic:*"), Some((Kind::Topic, None)));
        assert_eq!(of("queue/x"), None);
    }
}
