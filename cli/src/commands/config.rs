//! `rmq-ctl config`: contexts. Changes only the user's configuration file.

use clap::{Args, Subcommand};
use rmq_client::ClusterUrl;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::config::{Config, Context, CredentialsRef, Source};
use crate::error::Failure;
use crate::input;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::runtime::on_cluster;

/// Options of `config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes only the configuration file of this user; `test` connects.

Examples:
  rmq-ctl config set-context prod --nameserver ns-0:9876,ns-1:9876
  rmq-ctl config set-context shop --kube-context prod -n shop --cluster main
  rmq-ctl config use-context prod
  rmq-ctl config import /opt/rocketmq/conf/tools.yml --into prod
  rmq-ctl config test prod
  rmq-ctl config get-contexts"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the contexts; a star marks the current one.
    GetContexts {
        #[command(flatten)]
        render: RenderOptions,
    },
    /// Print the current context's name.
    CurrentContext,
    /// Make a context the current one.
    UseContext {
        /// Its name.
        name: String,
    },
    /// Add or change a context: --nameserver gives the addresses, --kube-context (with -n and --cluster) a cluster in Kubernetes; the options of TLS belong to it.
    SetContext {
        /// Its name.
        name: String,
    },
    /// Remove a context.
    DeleteContext {
        /// Its name.
        name: String,
    },
    /// Use the credentials of an mqadmin `tools.yml` in a context. The keys stay in that file.
    Import {
        /// The file, such as conf/tools.yml of a RocketMQ installation.
        file: std::path::PathBuf,
        /// The context. Default: the current one.
        #[arg(long, value_name = "NAME")]
        into: Option<String>,
    },
    /// Connect to a context's cluster. Default: the current one.
    Test {
        /// The context.
        name: Option<String>,
    },
    /// Print the configuration file that is used, and its path.
    View,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ContextItem {
    name: String,
    is_current: bool,
    /// Addresses, or a place in Kubernetes.
    place: String,
}

fn contexts(config: &Config) -> Listing {
    let rows = config.contexts.iter().map(|(name, context)| {
        let item = ContextItem {
            name: name.clone(),
            is_current: config.current_context.as_ref() == Some(name),
            place: match (&context.nameserver, &context.kubernetes) {
                (Some(addr), None) => addr.clone(),
                (Some(addr), Some(kubernetes)) => format!("{addr} {}", kubernetes.summary()),
                (None, Some(kubernetes)) => kubernetes.summary(),
                (None, None) => "-".to_owned(),
            },
        };
        let mark = if item.is_current { "*" } else { "" };
        let cells = vec![mark.to_owned(), name.clone(), item.place.clone()];
        Row::new(name.clone(), cells, &item)
    });
    Listing {
        kind: "ContextList",
        schema: schema_of::<ContextItem>,
        noun: "context",
        columns: &["CURRENT", "NAME", "PLACE"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "there are no contexts; rmq-ctl config set-context NAME --nameserver HOST:9876 makes one".to_owned(),
    }
}

pub(crate) fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let source = match options.what {
        What::GetContexts { .. } | What::CurrentContext | What::View | What::Test { .. } => {
            Source::Nearest
        }
        _ => Source::User,
    };
    let (mut config, path) = Config::load(source)?;
    match &options.what {
        What::GetContexts { render } => return render.list(&contexts(&config), output),
        What::CurrentContext => {
            let current = config.context(None, &path)?;
            let (name, _) = current.ok_or_else(|| {
                Failure::coded(&codes::CONFIG, "there is no current context")
                    .fact("file", path.display())
                    .try_this("rmq-ctl config use-context NAME")
            })?;
            output.data(name);
            return Ok(());
        }
        What::View => {
            output.say(&format!("# {}", path.display()));
            output.value(crate::yaml::write(&config).trim_end());
            return Ok(());
        }
        What::UseContext { name } => {
            if !config.contexts.contains_key(name) {
                return Err(config.no_context(name, &path));
            }
            config.current_context = Some(name.clone());
        }
        What::SetContext { name } => {
            if cluster.nameserver.is_none() && !cluster.wants_kubernetes() {
                return Err(Failure::coded(
                    &codes::INVALID,
                    "a context needs the address of its name servers, or a Kubernetes",
                )
                .try_this(format!(
                    "rmq-ctl config set-context {name} --nameserver HOST:9876"
                ))
                .try_this(format!(
                    "rmq-ctl config set-context {name} --kube-context NAME -n NAMESPACE --cluster NAME"
                )));
            }
            let parsed = cluster.nameserver.as_deref().map(str::parse::<ClusterUrl>);
            parsed.transpose().map_err(|error: rmq_client::UrlError| {
                Failure::coded(&codes::INVALID, "the address of the cluster cannot be used")
                    .cause(&error)
            })?;
            let mut kubernetes = cluster.wants_kubernetes().then(|| cluster.kubernetes());
            if let Some(path) = kubernetes.as_mut().and_then(|of| of.kubeconfig.as_mut()) {
                *path = path.canonicalize().map_err(|error| {
                    Failure::coded(&codes::IO, "the kubeconfig cannot be read")
                        .fact("file", path.display())
                        .cause(&error)
                })?;
            }
            let credentials = config
                .contexts
                .get(name)
                .and_then(|context| context.credentials.clone());
            let context = Context {
                nameserver: cluster.nameserver.clone(),
                kubernetes,
                credentials,
                tls: cluster.tls.remembered()?,
            };
            config.contexts.insert(name.clone(), context);
            // The first one is surely meant.
            config.current_context.get_or_insert(name.clone());
        }
        What::Import { file, .. } if file.as_os_str() == input::STDIN => {
            return Err(
                Failure::coded(&codes::INVALID, "credentials cannot be read from stdin")
                    .because("the context remembers the file, and the keys stay in there"),
            );
        }
        What::Import { file, into } => {
            let file = file.canonicalize().map_err(|error| {
                Failure::coded(&codes::IO, "the credentials cannot be read")
                    .fact("file", file.display())
                    .cause(&error)
            })?;
            let credentials = CredentialsRef::ToolsYml(file);
            let access_key = credentials.read()?.access_key().to_owned();
            let current = config.context(into.as_deref(), &path)?;
            let Some((name, _)) = current else {
                return Err(
                    Failure::coded(&codes::CONFIG, "there is no current context")
                        .try_this("rmq-ctl config set-context NAME --nameserver HOST:9876"),
                );
            };
            let name = name.to_owned();
            if let Some(context) = config.contexts.get_mut(&name) {
                context.credentials = Some(credentials);
            }
            output.say(&format!("context \"{name}\" signs as \"{access_key}\""));
        }
        What::Test { name } => {
            let mut options = cluster.clone();
            if let Some(name) = name {
                options.context = Some(name.clone());
            }
            return on_cluster(async {
                let cluster = Cluster::connect(&options, output).await?;
                let info = cluster.client.cluster_info().await;
                let info =
                    info.map_err(|error| cluster.failed("cannot list the brokers", error))?;
                output.data(&format!(
                    "{} answers, {} broker groups",
                    cluster.name,
                    info.broker_addr_table.len()
                ));
                Ok(())
            });
        }
        What::DeleteContext { name } => {
            if config.contexts.remove(name).is_none() {
                return Err(config.no_context(name, &path));
            }
            if config.current_context.as_ref() == Some(name) {
                config.current_context = None;
            }
        }
    }
    config.save(&path)?;
    output.say(&format!("wrote {}", path.display()));
    Ok(())
}
