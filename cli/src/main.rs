//! `rmq-ctl`: the command line of rmq.

mod args;
mod brokers;
mod causes;
mod changes;
mod cluster;
mod codes;
mod commands;
mod completion;
mod config;
mod connect_help;
#[cfg(test)]
mod docs;
mod error;
mod exit_code;
mod facts;
mod input;
mod kubernetes;
mod manifest;
mod messages;
mod numbers;
mod output;
mod permissions;
mod plot;
mod program;
mod render;
mod runtime;
mod stop;
mod tls;
mod when;
mod write;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Args, Command};
use crate::cluster::ClusterOptions;
use crate::error::Failure;
use crate::output::Output;
use crate::program::is_plugin;
use crate::runtime::on_cluster;

fn main() -> ExitCode {
    clap_complete::CompleteEnv::with_factory(Args::command).complete();
    let args =
        Args::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    let output = Output::new(args.color, args.verbose > 0, args.quiet);
    init_logs(&args, output.has_colours());
    let cluster = &args.cluster;
    let mut left = if args.command.is_repeatable() {
        cluster.retries
    } else {
        0
    };
    let mut pause = RETRY_PAUSE;
    let done = loop {
        match run(&args.command, cluster, &output) {
            Err(failure) if left > 0 && failure.is_passing() => {
                left -= 1;
                output.error(&failure);
                output.say(&format!(
                    "trying again in {pause:?} ({left} more tries after this one)"
                ));
                std::thread::sleep(pause);
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
            }
            done => break done,
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            error.exit_code().into()
        }
    }
}

/// First pause of --retries, and the longest; they double.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
const RETRY_PAUSE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// The command line. A plugin of kubectl says so in its help.
fn command() -> clap::Command {
    let command = with_short_help(Args::command());
    if is_plugin() {
        command.bin_name("kubectl rmq").display_name("kubectl-rmq")
    } else {
        command
    }
}

/// `-h` leaves out the options that every verb takes and says where they are; `--help` has all.
fn with_short_help(mut command: clap::Command) -> clap::Command {
    const OPTIONS: &str = "Global options: rmq-ctl help options";
    let whole = command.get_after_help().cloned().unwrap_or_default();
    let short = match whole.to_string() {
        text if text.is_empty() => OPTIONS.to_owned(),
        text => format!("{text}\n\n{OPTIONS}"),
    };
    command = command.after_help(short).after_long_help(whole);
    command.mut_subcommands(with_short_help)
}

fn run(command: &Command, cluster: &ClusterOptions, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Apply(options) => on_cluster(commands::apply::apply(options, cluster, output)),
        Command::Backup(options) => on_cluster(commands::backup::run(options, cluster, output)),
        Command::Bench(options) => on_cluster(commands::bench::run(options, cluster, output)),
        Command::Broker(options) => on_cluster(commands::broker::broker(options, cluster, output)),
        Command::CanI(options) => on_cluster(commands::can_i::run(options, cluster, output)),
        Command::Cheat(options) => commands::cheat::run(options, output),
        Command::Cluster(options) => on_cluster(commands::cluster::run(options, cluster, output)),
        Command::Completion(options) => {
            commands::completion::completion(options, Args::command(), output)
        }
        Command::Config(options) => commands::config::run(options, cluster, output),
        Command::Consume(options) => on_cluster(commands::consume::run(options, cluster, output)),
        Command::Create(options) => on_cluster(commands::create::run(options, cluster, output)),
        Command::Delete(options) => on_cluster(commands::delete::run(options, cluster, output)),
        Command::Describe(options) => on_cluster(commands::describe::run(options, cluster, output)),
        Command::Dev(options) => commands::dev::run(options.clone(), output),
        Command::Diff(options) => on_cluster(commands::apply::diff(options, cluster, output)),
        Command::Dlq(options) => on_cluster(commands::dlq::run(options, cluster, output)),
        Command::Doctor(options) => on_cluster(commands::doctor::run(options, cluster, output)),
        Command::Explain(options) => commands::explain::run(options, output),
        Command::Export(options) => on_cluster(commands::export::run(options, cluster, output)),
        Command::Find(options) => on_cluster(commands::find::run(options, cluster, output)),
        Command::Get(options) => on_cluster(commands::get::run(options, cluster, output)),
        Command::Health(options) => on_cluster(commands::health::run(options, cluster, output)),
        Command::Lag(options) => on_cluster(commands::lag::run(options, cluster, output)),
        Command::Login(options) => on_cluster(commands::login::run(options, cluster, output)),
        Command::Manual(options) => commands::completion::manual(options, Args::command(), output),
        Command::Migrate(options) => commands::migrate::run(options, output),
        Command::Mqadmin(options) => commands::mqadmin::run(options, output),
        Command::Options(_) => commands::options(Args::command(), output),
        Command::Offsets(options) => on_cluster(commands::offsets::run(options, cluster, output)),
        Command::Recall(options) => on_cluster(commands::recall::run(options, cluster, output)),
        Command::Restore(options) => on_cluster(commands::restore::run(options, output)),
        Command::Send(options) => on_cluster(commands::send::run(options, cluster, output)),
        Command::Set(options) => on_cluster(commands::set::run(options, cluster, output)),
        Command::Tail(options) => on_cluster(commands::tail::run(options, cluster, output)),
        Command::Top(options) => on_cluster(commands::top::run(options, cluster, output)),
        Command::Trace(options) => on_cluster(commands::trace::run(options, cluster, output)),
        Command::Tunnel(options) => commands::tunnel::run(options, cluster, output),
        Command::Version(options) => commands::version::run(options, output),
        Command::Wait(options) => on_cluster(stop::unless_stopped(
            "waiting",
            commands::wait::run(options, cluster, output),
        )),
        Command::Whoami(options) => on_cluster(commands::whoami::run(options, cluster, output)),
    }
}

/// Logs go to stderr. `RMQ_LOG` (a `tracing` filter such as `rmq_broker=debug`) wins over `-v` and `--quiet`.
fn init_logs(args: &Args, has_colours: bool) {
    let level = match (args.quiet, args.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RMQ_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let filter = match "rmq_rpc=trace".parse() {
        Ok(rpc) if args.trace_rpc => filter.add_directive(rpc),
        _ => filter,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colours)
        .with_writer(move || rmq_process::LogWriter::stderr(has_colours))
        .with_target(args.verbose > 0)
        .init();
}
