//! `cargo xtask test`: everything that must hold, in an order that suits two cores.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use crate::facilities::{self, Fetch};
use crate::runner::Runner;
use crate::tidy;

/// Options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install what is missing for the foreign clients (as root on Debian).
    #[arg(long)]
    install: bool,
    /// Only what needs nothing but Rust.
    #[arg(long, conflicts_with = "install")]
    quick: bool,
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

pub(crate) fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(args);
    command
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let root = root();
    let mut runner = Runner::default();
    let mut fetches = Vec::new();
    if !options.quick {
        facilities::ensure(options.install);
        fetches = Fetch::start_all(&root);
    }

    runner.step("format", &mut cargo(&root, &["fmt", "--all", "--check"]));
    let problems = tidy::check();
    for problem in &problems {
        println!("tidy: {problem}");
    }
    if problems.is_empty() {
        runner.counts.passed += 1;
    } else {
        runner.counts.failed += 1;
        runner
            .problems
            .push(format!("tidy: {} problems", problems.len()));
    }
    runner.step(
        "lints",
        &mut cargo(
            &root,
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
    );
    crate::client::steps(&root, &mut runner);
    runner.step(
        "docs",
        cargo(&root, &["doc", "--quiet", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    runner.step(
        "unit, property and in-process tests",
        &mut cargo(
            &root,
            &[
                "test",
                "--workspace",
                "--exclude",
                "rmq-e2e",
                "--no-fail-fast",
            ],
        ),
    );

    if !options.quick {
        let build = [
            "build",
            "--quiet",
            "--release",
            "-p",
            "rmq-broker",
            "-p",
            "rmq-namesrv",
            "-p",
            "rmq-ctl",
            "-p",
            "rmq-operator",
            // Users' programs, for a pod and for signals.
            "-p",
            "first-service",
            "-p",
            "order-service",
            "-p",
            "rmq-bench",
        ];
        runner.step("release binaries", &mut cargo(&root, &build));
        for fetch in fetches {
            fetch.finish();
        }
        let binaries = target_dir(&root).join("release");
        let image = match crate::images::pack() {
            Ok(image) => image,
            Err(error) => {
                println!("image: {error}");
                runner.counts.failed += 1;
                runner.problems.push("image".to_owned());
                PathBuf::new()
            }
        };
        let mut tests = cargo(&root, &["test", "-p", "rmq-e2e", "--no-fail-fast"]);
        tests
            .env("RMQ_E2E_BIN", &binaries)
            .env("RMQ_E2E_IMAGE", &image);
        if options.install {
            tests.env("RMQ_TEST_INSTALL", "1");
        }
        runner.step("real processes and foreign clients", &mut tests);
    }

    println!();
    for problem in &runner.problems {
        println!("failed: {problem}");
    }
    let counts = runner.counts;
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    if runner.problems.is_empty() && counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
