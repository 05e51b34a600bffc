//! `rmq-ctl explain`: what an error code means. Asks no server.

use clap::Args;

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server.

Examples:
  rmq-ctl explain RMQ-E017
  rmq-ctl explain            # all codes")]
pub(crate) struct Options {
    /// The code, as an error shows it. Default: a list of all.
    code: Option<String>,
}

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let Some(asked) = &options.code else {
        for code in codes::ALL {
            output.data(&format!("{}  {}", code.id, code.title));
        }
        return Ok(());
    };
    let Some(code) = codes::find(asked) else {
        return Err(
            Failure::coded(&codes::NOT_FOUND, format!("there is no code \"{asked}\""))
                .try_this("rmq-ctl explain   (lists all)"),
        );
    };
    output.data(&format!(
        "{}: {} (exit code {})\n\n{}\n\nWhat to do: {}",
        code.id, code.title, code.exit as u8, code.why, code.what_to_do
    ));
    Ok(())
}
