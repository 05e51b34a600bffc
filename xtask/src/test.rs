//! `cargo xtask test`: everything that must hold, in an order that suits two cores.
//!
//! Everything is compiled once: tests, programs and the image come from one call to cargo in one profile. Then *lanes* run side by side,
//! each one step after the other: tests that mostly wait share the cores with what mostly computes.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use crate::facilities::{self, Fetch};
use crate::programs::{self, Program};
use crate::runner::{Output, Runner};
use crate::{client, images, tidy};

/// The package with the tests of the whole.
const E2E: &str = "rmq-e2e";
/// Suites that need Kubernetes. They mostly wait.
const ON_KUBERNETES: &[&str] = &["charts", "control_plane", "kubernetes"];
/// Suites with foreign clients and servers, the longest first.
const FOREIGN: &[&str] = &[
    "compat_java",
    "ctl_apache",
    "stats_apache",
    "differences",
    "compat_go",
    "compat_closed",
    "compat_tls",
    "compat_python",
    "compat_node",
    "compat_rust",
    "backup_s3",
    "groups",
];

/// Options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install what is missing for the foreign clients (as root on Debian).
    #[arg(long)]
    install: bool,
    /// Only what needs nothing but Rust and `protoc`.
    #[arg(long, conflicts_with = "install")]
    quick: bool,
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

pub(crate) fn cargo(root: &Path, args: &[&str]) -> Command {
    in_workspace(Command::new(cargo_program()), root, args)
}

/// Cargo with less right to the processor than tests with time limits have.
pub(crate) fn polite_cargo(root: &Path, args: &[&str]) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "10"]).arg(cargo_program());
    in_workspace(nice, root, args)
}

fn in_workspace(mut command: Command, root: &Path, args: &[&str]) -> Command {
    command.current_dir(root).args(args);
    // Variables of xtask's own package: build scripts that read them would run again, and all that depends on them.
    for (name, _) in std::env::vars_os() {
        let is_of_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_of_package {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo has a command that it does not bring along.
pub(crate) fn has_subcommand(root: &Path, name: &str) -> bool {
    let asked = cargo(root, &[name, "--version"]).output();
    asked.is_ok_and(|asked| asked.status.success())
}

pub(crate) fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let root = root();
    let runner = Runner::new(std::io::stdout());
    let mut fetches = Vec::new();
    if !options.quick {
        runner.timed("Debian packages and Go", || {
            facilities::ensure(options.install);
        });
        fetches = Fetch::start_all(&root);
    }
    let format = &mut cargo(&root, &["fmt", "--all", "--check"]);
    runner.step("format", Output::AsItComes, format);
    runner.check("tidy", &tidy::check());

    let built = runner.timed("build", || programs::build(&root));
    let programs = match built {
        Ok(programs) => programs,
        Err(problem) => {
            runner.check("build", &[problem]);
            Vec::new()
        }
    };
    let (whole, parts): (Vec<Program>, Vec<Program>) = programs
        .into_iter()
        .partition(|program| program.package == E2E && program.target != "rmq_e2e");
    std::thread::scope(|scope| {
        scope.spawn(|| crates(&root, &runner, &parts));
        if !options.quick && !whole.is_empty() {
            scope.spawn(|| of_the_whole(&root, &runner, options.install, &whole, fetches));
        }
    });

    if runner.summary() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What mostly computes: tests of single crates, lints, documentation.
fn crates(root: &Path, runner: &Runner, programs: &[Program]) {
    for program in programs {
        runner.step(&program.name(), Output::AtTheEnd, &mut program.command());
    }
    let args = ["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"];
    let mut doc = polite_cargo(root, &args);
    runner.step("tests in the documentation", Output::AtTheEnd, &mut doc);
    let args = ["clippy", "--quiet", "--workspace", "--all-targets"];
    let mut lints = polite_cargo(root, &args);
    lints.args(["--", "-D", "warnings"]);
    runner.step("lints", Output::AtTheEnd, &mut lints);
    // Known vulnerabilities are not asked for: that needs the network (`cargo deny check` does).
    let mut deny = polite_cargo(root, &["deny", "--offline", "check"]);
    deny.args(["bans", "licenses", "sources"]);
    if has_subcommand(root, "deny") {
        runner.step(
            "licences and sources of crates",
            Output::AtTheEnd,
            &mut deny,
        );
    }
    let args = ["doc", "--quiet", "--workspace", "--no-deps"];
    let mut pages = polite_cargo(root, &args);
    pages.env("RUSTDOCFLAGS", "-D warnings");
    runner.step("docs", Output::AtTheEnd, &mut pages);
    client::steps(root, runner);
}

/// Tests with real processes, foreign clients and Kubernetes.
fn of_the_whole(
    root: &Path,
    runner: &Runner,
    install: bool,
    programs: &[Program],
    fetches: Vec<Fetch>,
) {
    let binaries = target_dir(root).join("debug");
    let image = runner.timed("image", || images::pack(&binaries));
    let image = image.unwrap_or_else(|problem| {
        runner.check("image", &[problem]);
        PathBuf::new()
    });
    let run = |program: &Program| {
        let mut command = program.command();
        command
            .env("RMQ_E2E_BIN", &binaries)
            .env("RMQ_E2E_IMAGE", &image);
        if install {
            command.env("RMQ_TEST_INSTALL", "1");
        }
        runner.step(&program.name(), Output::AtTheEnd, &mut command);
    };
    let own: Vec<&Program> = programs
        .iter()
        .filter(|program| {
            let target = program.target.as_str();
            !ON_KUBERNETES.contains(&target) && !FOREIGN.contains(&target)
        })
        .collect();
    let named = |names: &'static [&'static str]| {
        names.iter().flat_map(|name| {
            let is_it = move |program: &&Program| program.target == *name;
            programs.iter().filter(is_it)
        })
    };
    let (kubernetes, others): (Vec<Fetch>, Vec<Fetch>) =
        fetches.into_iter().partition(Fetch::is_of_kubernetes);
    std::thread::scope(|scope| {
        scope.spawn(|| own.into_iter().for_each(run));
        scope.spawn(|| {
            runner.timed("waiting for Kubernetes to be built", || {
                kubernetes.into_iter().for_each(Fetch::finish);
            });
            named(ON_KUBERNETES).for_each(run);
        });
        scope.spawn(|| {
            runner.timed("waiting for parts of foreign clients", || {
                others.into_iter().for_each(Fetch::finish);
            });
            named(FOREIGN).for_each(run);
        });
    });
}
