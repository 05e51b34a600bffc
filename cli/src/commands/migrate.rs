//! `rmq-ctl migrate`: what Apache RocketMQ's files are here. Asks no server.

use clap::{Args, Subcommand};
use rmq_config::original;

use crate::codes;
use crate::error::Failure;
use crate::input::{self, STDIN};
use crate::output::Output;

/// Options of `migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server and changes nothing.

Examples:
  rmq-ctl migrate config /opt/rocketmq/conf/broker.conf > broker.yaml
  rmq-ctl migrate config /opt/rocketmq/conf/broker.conf --quiet")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a broker.conf of Apache RocketMQ as a file of rmq-broker's settings, and say on stderr what is not taken over.
    Config {
        /// The file; - is stdin.
        file: String,
    },
}

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let What::Config { file } = &options.what;
    let origin = if file == STDIN {
        "stdin"
    } else {
        file.as_str()
    };
    let bytes = input::open(file)?.bytes()?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::coded(&codes::INVALID, format!("{origin} is no UTF-8 text")).cause(&error)
    })?;
    let read = original::read(origin, &text);
    if let Some(problem) = read.problems.first() {
        return Err(
            Failure::coded(&codes::INVALID, format!("cannot take {origin} over"))
                .because(problem.to_string()),
        );
    }
    output.block(read.to_yaml().trim_end());
    for left in &read.left {
        output.say(&left.to_string());
    }
    output.say(&format!(
        "{} settings taken over, {} keys not",
        read.taken.len(),
        read.left.len()
    ));
    Ok(())
}
