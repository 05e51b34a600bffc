//! `cargo xtask cluster`: a real Kubernetes on this machine.

use std::process::ExitCode;

use clap::Subcommand;
use rmq_lab::Lab;

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Build what is missing and start a cluster with our images (as root). It goes on until `down`.
    Up {
        /// Nodes, 1 to 3.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
        nodes: u8,
    },
    /// Stop it and remove its data.
    Down,
    /// Build Kubernetes, CoreDNS and Helm, and start nothing.
    Build,
    /// Run kubectl against it.
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run Helm against it.
    #[command(disable_help_flag = true)]
    Helm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Power a node off or on.
    Node {
        #[arg(value_enum)]
        what: Power,
        /// Its number.
        #[arg(value_parser = clap::value_parser!(u8).range(1..=3))]
        node: u8,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Power {
    /// Off, all at once.
    Kill,
    /// On.
    Up,
}

pub(crate) fn run(what: Cluster) -> ExitCode {
    let done = match what {
        Cluster::Up { nodes } => up(nodes),
        Cluster::Down => Lab::clear(),
        Cluster::Build => rmq_lab::build(),
        Cluster::Kubectl { args } => return tool("kubectl", &args),
        Cluster::Helm { args } => return tool("helm", &args),
        Cluster::Node { what, node } => match what {
            Power::Kill => Lab::running().and_then(|lab| lab.kill_node(node)),
            Power::Up => Lab::running().and_then(|lab| lab.start_node(node)),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn up(nodes: u8) -> Result<(), String> {
    if let Some(missing) = rmq_lab::missing() {
        return Err(missing);
    }
    // Before the image is built: that takes minutes.
    if Lab::running().is_ok() {
        return Err("a cluster runs already; stop it first: cargo xtask cluster down".to_owned());
    }
    let image = crate::images::build()?;
    let lab = Lab::up(nodes, &[image])?;
    println!("{}", lab.kubectl(&["get", "nodes"])?);
    println!("export KUBECONFIG={}", lab.kubeconfig().display());
    println!("image: {}", crate::images::NAME);
    lab.keep()
}

fn tool(name: &str, args: &[String]) -> ExitCode {
    let status = Lab::running().and_then(|lab| {
        let status = lab.tool(name).args(args).status();
        status.map_err(|error| format!("{name}: {error}"))
    });
    match status {
        // As the tool itself would end.
        Ok(status) => status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
