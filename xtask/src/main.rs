//! Tasks of the project, run as `cargo xtask <task>`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program talks to its terminal"
)]

mod chaos;
mod client;
mod cluster;
mod facilities;
mod images;
mod limits;
mod programs;
mod runner;
mod sbom;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check and test everything.
    Test(test::Options),
    /// Check the rules that the compiler does not hold.
    Tidy,
    /// Write the container image as an OCI archive, and beside it the programs with their lists of what they are made of (CycloneDX) and SHA-256.
    Images {
        /// Take the release programs as they are.
        #[arg(long)]
        no_build: bool,
    },
    /// Write the lists of what the programs are made of (CycloneDX) into a folder.
    Sbom {
        /// The folder.
        #[arg(long)]
        to: std::path::PathBuf,
    },
    /// Let groups of brokers lose their masters, disks and networks, again and again (as root).
    Chaos(chaos::Options),
    /// A real Kubernetes on this machine.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
}

fn ended<T>(done: Result<T, String>) -> ExitCode {
    match done {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    match Args::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Images { no_build: true } => ended(images::pack(&images::released())),
        Task::Images { no_build: false } => ended(images::build()),
        Task::Sbom { to } => ended(images::list(&to)),
        Task::Chaos(options) => chaos::run(&options),
        Task::Cluster(what) => cluster::run(what),
        Task::Tidy => {
            let problems = tidy::check();
            for problem in &problems {
                eprintln!("tidy: {problem}");
            }
            if problems.is_empty() {
                println!("tidy: all rules hold");
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
