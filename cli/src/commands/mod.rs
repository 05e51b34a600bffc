//! One module per verb: its options beside what it does.

pub(crate) mod apply;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod cheat;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod consume;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod dev;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod find;
pub(crate) mod get;
mod group_checks;
pub(crate) mod health;
pub(crate) mod lag;
mod lookup;
mod members;
pub(crate) mod mqadmin;
pub(crate) mod offsets;
pub(crate) mod send;
pub(crate) mod set;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod tunnel;
pub(crate) mod version;
mod versions;
pub(crate) mod wait;

use clap::CommandFactory;

/// `rmq-ctl options`: its help, which lists what every verb takes.
pub(crate) fn options(output: &crate::output::Output) -> Result<(), crate::error::Failure> {
    let mut command = crate::args::Args::command();
    command.build();
    if let Some(options) = command.find_subcommand_mut("options") {
        output.block(options.render_long_help().to_string().trim_end());
    }
    Ok(())
}
