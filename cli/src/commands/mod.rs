//! One module per verb: its options beside what it does.

pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod can_i;
pub(crate) mod cheat;
pub(crate) mod cluster;
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
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod lag;
pub(crate) mod login;
pub(crate) mod migrate;
pub(crate) mod mqadmin;
pub(crate) mod offsets;
pub(crate) mod recall;
pub(crate) mod restore;
pub(crate) mod send;
pub(crate) mod set;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod tunnel;
pub(crate) mod users;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod whoami;

/// `rmq-ctl options`: its help, which lists the options of every verb.
pub(crate) fn options(
    mut command: clap::Command,
    output: &crate::output::Output,
) -> Result<(), crate::error::Failure> {
    command.build();
    if let Some(options) = command.find_subcommand_mut("options") {
        output.block(options.render_long_help().to_string().trim_end());
    }
    Ok(())
}
