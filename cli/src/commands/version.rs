//! `rmq-ctl version`. Read-only.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::Failure;
use crate::output::Output;

/// Options of `version`.
#[derive(Debug, Args)]
#[command(
    after_help = "Asks no server.\n\nExamples:\n  rmq-ctl version\n  rmq-ctl version -o json"
)]
pub(crate) struct Options {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A line for people.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    api_version: &'static str,
    kind: &'static str,
    client: &'static str,
}

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let version = Version {
        api_version: "rmq-ctl/v1",
        kind: "Version",
        client: env!("CARGO_PKG_VERSION"),
    };
    match options.output {
        Format::Text => output.data(&format!("rmq-ctl {}", version.client)),
        Format::Json => {
            output.data(
                &serde_json::to_string(&version).expect("a struct of strings is always valid JSON"),
            );
        }
    }
    Ok(())
}
