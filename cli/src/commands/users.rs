//! Users and their rules, for `create`, `set` and `delete`.

use std::io::IsTerminal;

use clap::Args;
use rmq_access::{Acl, PolicyKind, ResourceKey, Secret, subject_of};
use rmq_client::ErrorKind;
use rmq_client::protocol::bodies::{AclEntry, AclInfo, AclPolicy, UserInfo};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::input;
use crate::output::Output;
use crate::write::WriteOptions;

/// Options of `create user`.
#[derive(Debug, Args)]
pub(crate) struct CreateUser {
    /// The name, which is the access key.
    name: String,
    /// The file with the password; - is stdin. Without it a password is made and printed.
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// May everything.
    #[arg(long = "super")]
    is_super: bool,
    /// Succeed without a change when the user exists.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
}

/// Options of `set user`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct SetUser {
    /// The name.
    name: String,
    /// The file with the new password; - is stdin.
    #[arg(long, value_name = "FILE", group = "change")]
    password_file: Option<String>,
    /// Serve requests of the user.
    #[arg(long, group = "change", conflicts_with = "disable")]
    enable: bool,
    /// Refuse requests of the user.
    #[arg(long, group = "change")]
    disable: bool,
    /// The user may everything.
    #[arg(long = "super", group = "change", conflicts_with = "normal")]
    is_super: bool,
    /// The user may what rules allow.
    #[arg(long, group = "change")]
    normal: bool,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
}

/// Options of `set acl`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("rules").required(true).multiple(true))]
pub(crate) struct SetAcl {
    /// The user.
    user: String,
    /// What the user may: Pub, Sub, Create, Update, Delete, Get, List or All, and on what: Topic:NAME, Topic:PREFIX*, Group:…, Cluster:…, *.
    #[arg(long, value_name = "ACTIONS=RESOURCE", group = "rules")]
    allow: Vec<String>,
    /// What the user may not, whatever else allows it.
    #[arg(long, value_name = "ACTIONS=RESOURCE", group = "rules")]
    deny: Vec<String>,
    /// The networks that these rules count for. Default: all.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    from: Vec<String>,
    /// Rules that are asked where no other rule matches.
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
}

/// Options of `delete user`.
#[derive(Debug, Args)]
pub(crate) struct DeleteUser {
    /// The name.
    name: String,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
}

/// Options of `delete acl`.
#[derive(Debug, Args)]
pub(crate) struct DeleteAcl {
    /// The user.
    user: String,
    /// The resource whose rule is deleted. Default: all rules of the user.
    resource: Option<String>,
    /// The rule is one of those that are asked where no other rule matches.
    #[arg(long, requires = "resource")]
    default: bool,
    #[command(flatten)]
    pub(crate) write: WriteOptions,
}

impl CreateUser {
    pub(crate) fn subject(&self) -> String {
        format!("user/{}", self.name)
    }
}

impl SetUser {
    pub(crate) fn subject(&self) -> String {
        format!("user/{}", self.name)
    }
}

impl SetAcl {
    pub(crate) fn subject(&self) -> String {
        format!("acl/{}", self.user)
    }
}

impl DeleteUser {
    pub(crate) fn subject(&self) -> String {
        format!("user/{}", self.name)
    }
}

impl DeleteAcl {
    pub(crate) fn subject(&self) -> String {
        format!("acl/{}", self.user)
    }
}

/// A password from a file or stdin, without the end of the line.
pub(crate) fn password(path: &str) -> Result<Secret, Failure> {
    if path == input::STDIN && std::io::stdin().is_terminal() {
        return Err(Failure::coded(
            &codes::INVALID,
            "a password is not typed where everybody sees it",
        )
        .try_this(
            "put the password into a file of your own, or pipe it: … --password-file - < FILE",
        ));
    }
    let bytes = input::open(path)?.bytes()?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::coded(&codes::INVALID, format!("\"{path}\" is no text")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::coded(
            &codes::INVALID,
            format!("\"{path}\" has no password"),
        )),
        password => Ok(Secret::new(password.to_owned())),
    }
}

pub(crate) async fn create_user(
    options: &CreateUser,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let name = &options.name;
    let (password, is_made) = match &options.password_file {
        Some(path) => (password(path)?, false),
        None => (Secret::random(), true),
    };
    let cluster = Cluster::connect(cluster, output).await?;
    let failed = |error| cluster.failed(format!("cannot create user \"{name}\""), error);
    let known = cluster.client.admin().users().await.map_err(failed)?;
    let has = |users: &Vec<UserInfo>| {
        users
            .iter()
            .any(|user| user.username.as_ref() == Some(name))
    };
    if known.values().any(has) {
        if options.if_not_exists {
            output.say(&format!("user/{name} exists"));
            return Ok(());
        }
        return Err(
            Failure::coded(&codes::INVALID, format!("user \"{name}\" exists already"))
                .try_this(format!("rmq-ctl set user {name} --password-file FILE")),
        );
    }
    if options.write.dry_run.is_some() {
        output.data(&format!("dry run: create user \"{name}\""));
        return Ok(());
    }
    let user = UserInfo {
        username: Some(name.clone()),
        password: Some(password.reveal().to_owned()),
        user_type: Some(if options.is_super { "Super" } else { "Normal" }.to_owned()),
        user_status: None,
    };
    let created = cluster.client.admin().create_user(&user).await;
    created.map_err(failed)?;
    output.say(&format!("user/{name} created"));
    if is_made {
        output.say("the password, which nobody shows again but to a super user:");
        output.value(password.reveal());
    }
    Ok(())
}

pub(crate) async fn set_user(
    options: &SetUser,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let name = &options.name;
    let password = options.password_file.as_deref().map(password);
    let password = password.transpose()?;
    let word = |is: bool, word: &str| is.then(|| word.to_owned());
    let user = UserInfo {
        username: Some(name.clone()),
        password: password.map(|password| password.reveal().to_owned()),
        user_type: word(options.is_super, "Super").or(word(options.normal, "Normal")),
        user_status: word(options.enable, "enable").or(word(options.disable, "disable")),
    };
    let cluster = Cluster::connect(cluster, output).await?;
    let what = match &user {
        UserInfo {
            user_status: Some(status),
            ..
        } if status == "disable" => {
            format!("refuse all requests of user \"{name}\"")
        }
        UserInfo {
            password: Some(_), ..
        } => {
            format!("change the password of user \"{name}\": clients with the old one are refused")
        }
        _ => format!("change user \"{name}\""),
    };
    if !options.write.agreed(&what, None, output)? {
        return Ok(());
    }
    let changed = cluster.client.admin().update_user(&user).await;
    changed.map_err(|error| cluster.failed(format!("cannot change user \"{name}\""), error))?;
    output.say(&format!("user/{name} changed"));
    Ok(())
}

pub(crate) async fn delete_user(
    options: &DeleteUser,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let name = &options.name;
    let cluster = Cluster::connect(cluster, output).await?;
    let what = format!("delete user \"{name}\" with the rules");
    if !options.write.agreed(&what, Some(name), output)? {
        return Ok(());
    }
    let failed = |error| cluster.failed(format!("cannot delete user \"{name}\""), error);
    let users = cluster.client.admin().users().await.map_err(failed)?;
    let has = |users: &Vec<UserInfo>| {
        users
            .iter()
            .any(|user| user.username.as_ref() == Some(name))
    };
    if !users.values().any(has) {
        return Err(
            Failure::coded(&codes::NOT_FOUND, format!("there is no user \"{name}\""))
                .fact("asked", &cluster.name),
        );
    }
    let deleted = cluster.client.admin().delete_user(name).await;
    deleted.map_err(failed)?;
    output.say(&format!("user/{name} deleted"));
    Ok(())
}

/// `Pub,Sub=Topic:orders`.
fn parse_rule(text: &str, decision: &str, from: &[String]) -> Result<AclEntry, Failure> {
    let (actions, resource) = text.split_once('=').ok_or_else(|| {
        Failure::coded(
            &codes::INVALID,
            format!("\"{text}\" is not ACTIONS=RESOURCE"),
        )
        .try_this("--allow Pub,Sub=Topic:orders")
    })?;
    Ok(AclEntry {
        actions: actions
            .split(',')
            .map(|action| action.trim().to_owned())
            .collect(),
        decision: Some(decision.to_owned()),
        resource: Some(resource.to_owned()),
        source_ips: (!from.is_empty()).then(|| from.to_vec()),
    })
}

pub(crate) async fn set_acl(
    options: &SetAcl,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let user = &options.user;
    let policy = match options.default {
        true => PolicyKind::Default,
        false => PolicyKind::Custom,
    };
    let mut entries = Vec::new();
    for (rules, decision) in [(&options.allow, "Allow"), (&options.deny, "Deny")] {
        for text in rules {
            entries.push(parse_rule(text, decision, &options.from)?);
        }
    }
    let info = AclInfo {
        policies: vec![AclPolicy {
            entries,
            policy_type: Some(policy.name().to_owned()),
        }],
        subject: Some(subject_of(user)),
    };
    let acl = Acl::read(&info)
        .map_err(|error| Failure::coded(&codes::INVALID, "a rule cannot be used").cause(&error))?;
    let cluster = Cluster::connect(cluster, output).await?;
    let rules: Vec<String> = acl
        .entries(policy)
        .iter()
        .map(ToString::to_string)
        .collect();
    let what = format!("give user \"{user}\" these rules: {}", rules.join("; "));
    if options.write.dry_run.is_some() {
        output.data(&format!("dry run: {what}"));
        return Ok(());
    }
    let put = cluster.client.admin().put_acl(&acl.to_info(user)).await;
    put.map_err(|error| no_user(&cluster, user, error))?;
    for rule in rules {
        output.say(&format!("acl/{user}: {rule}"));
    }
    Ok(())
}

fn no_user(cluster: &Cluster, user: &str, error: rmq_client::Error) -> Failure {
    let is_missing = error.kind() == ErrorKind::NotFound;
    let failure = cluster.failed(format!("cannot change the rules of user \"{user}\""), error);
    match is_missing {
        true => failure.try_this(format!("rmq-ctl create user {user}")),
        false => failure,
    }
}

pub(crate) async fn delete_acl(
    options: &DeleteAcl,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let user = &options.user;
    let resource = options.resource.as_deref().map(str::parse::<ResourceKey>);
    let resource = resource.transpose().map_err(|error| {
        Failure::coded(&codes::INVALID, "the resource cannot be used").cause(&error)
    })?;
    let policy = options.default.then(|| PolicyKind::Default.name());
    let cluster = Cluster::connect(cluster, output).await?;
    let what = match &resource {
        Some(resource) => format!("delete the rule of user \"{user}\" for {resource}"),
        None => format!("delete all rules of user \"{user}\""),
    };
    if !options.write.agreed(&what, None, output)? {
        return Ok(());
    }
    let resource = resource.map(|resource| resource.to_string());
    let deleted = cluster
        .client
        .admin()
        .delete_acl(user, policy, resource.as_deref())
        .await;
    deleted.map_err(|error| no_user(&cluster, user, error))?;
    output.say(&format!("acl/{user} changed"));
    Ok(())
}
