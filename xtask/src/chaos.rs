//! `cargo xtask chaos`: the suite `groups` of `e2e/` for longer, with what it takes to write again after each fault.

use std::process::ExitCode;

use clap::Args;

use crate::test::{cargo, root};

/// Options of `chaos`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often a master is killed. All other faults happen a tenth as often.
    #[arg(long, default_value_t = 200)]
    cycles: u32,
    /// Only groups with this in their name.
    group: Option<String>,
}

/// Runs on a machine that does nothing else: the time to the first write is checked, too.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut command = cargo(
        &root(),
        &["test", "-p", "rmq-e2e", "--test", "groups", "--"],
    );
    command
        .args(&options.group)
        .env("RMQ_CHAOS_CYCLES", options.cycles.to_string())
        .env("RMQ_CHAOS_TIMES", "1")
        .env("RMQ_TEST_INSTALL", "1");
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}
