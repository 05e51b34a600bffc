//! `rmq-ctl whoami`: as whom this command signs, and what each broker says to that. Read-only.

use clap::Args;
use rmq_client::ErrorKind;

use crate::cluster::{Cluster, ClusterOptions, resolve};
use crate::codes;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::Output;

/// What a refusal of a user begins with who has been recognised (`rmq_access::Denied`).
const RECOGNISED: &str = "has no permission to access";

/// Options of `whoami`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exits with 4 when a broker does not recognise the user.

Examples:
  rmq-ctl whoami
  rmq-ctl whoami --context prod"
)]
pub(crate) struct Options {}

pub(crate) async fn run(
    _options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let place = resolve(cluster).await?;
    place.tell(output);
    let name = place.credentials.as_ref();
    let name = name.map(|credentials| credentials.access_key().to_owned());
    let Some(name) = name else {
        output.data("nobody: requests are not signed");
        output.say("rmq-ctl login USER gives this context a user");
        return Ok(());
    };
    output.data(&name);
    let cluster = Cluster::open(place, cluster).await?;
    let known = recognised(&cluster, &name, output).await?;
    match known {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Refused)),
    }
}

/// Says what each broker knows of the user. Whether all recognise the signature.
pub(crate) async fn recognised(
    cluster: &Cluster,
    name: &str,
    output: &Output,
) -> Result<bool, Failure> {
    let users = cluster.client.admin().user(name).await;
    let users = users.map_err(|error| cluster.failed("the name servers cannot be asked", error))?;
    let mut all = true;
    for (broker, user) in users {
        let said = match user {
            Ok(Some(user)) => {
                let status = match user.user_status.as_deref() {
                    Some("disable") => ", disabled",
                    _ => "",
                };
                format!("{}{status}", user.user_type.unwrap_or_default())
            }
            Ok(None) => "no such user; requests are served without one".to_owned(),
            Err(error) if error.kind() == ErrorKind::Denied => {
                let text = error.to_string();
                if text.contains(RECOGNISED) {
                    "recognised, and may not look at users".to_owned()
                } else {
                    all = false;
                    text
                }
            }
            Err(error) => {
                return Err(Failure::of(
                    "a broker cannot be asked",
                    &cluster.name,
                    error,
                ));
            }
        };
        output.say(&format!("{broker}: {said}"));
    }
    Ok(all)
}

/// The user is not recognised.
pub(crate) fn unrecognised(name: &str) -> Failure {
    Failure::coded(
        &codes::DENIED,
        format!("user \"{name}\" is not recognised by all brokers"),
    )
    .try_this("rmq-ctl doctor")
}
