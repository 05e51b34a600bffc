//! Every example in the help, run as it stands there against a real cluster that has what examples speak of.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::Dev;

/// Lines that take the screen, follow without end, or stand for a file of the user's.
const NOT_RUN: &[&str] = &[
    "rmq-ctl dev",
    "rmq-ctl top",
    " -w",
    "tail orders -f",
    "man -l",
    "source <(",
];
/// Lines whose work takes longer than a test waits; they are stopped.
const STOPPED: &[&str] = &[
    "rmq-ctl bench",
    "rmq-ctl tunnel",
    "rmq-ctl wait",
    "--wait",
    "--rate",
    "consume ",
];

fn examples() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    let page = std::fs::read_to_string(page).expect("a page");
    page.lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with("rmq-ctl ") || line.starts_with("echo "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_example_runs() {
    let dev = Dev::start();
    let home = tempfile::tempdir().expect("a folder");
    let here = tempfile::tempdir().expect("a folder");
    let manifest =
        "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: orders}\nspec: {queues: 8}\n";
    std::fs::create_dir(here.path().join("manifests")).expect("a folder");
    for name in ["topics.yaml", "cluster.yaml", "manifests/topics.yaml"] {
        std::fs::write(here.path().join(name), manifest).expect("a file");
    }
    std::fs::write(here.path().join("orders.jsonl"), "{\"body\":\"x\"}\n").expect("a file");
    for folder in [".zfunc", ".config/fish/completions"] {
        std::fs::create_dir_all(home.path().join(folder)).expect("a folder");
    }
    let program = Path::new(env!("CARGO_BIN_EXE_rmq-ctl"));
    let path = format!(
        "{}:{}",
        program.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let shell = |line: &str, seconds: u32| {
        Command::new("timeout")
            .args([&seconds.to_string(), "bash", "-c", line])
            .current_dir(here.path())
            .env("PATH", &path)
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .env("NAMESRV_ADDR", &dev.name_server)
            .env_remove("RMQ_URL")
            .env_remove("RMQ_CONTEXT")
            .stdin(Stdio::null())
            .output()
            .expect("bash runs")
    };
    let (mut run, mut parsed) = (0, 0);
    for example in examples() {
        if NOT_RUN.iter().any(|part| example.contains(part)) {
            // The unit tests parse it.
            parsed += 1;
            continue;
        }
        // What an example switched off is on again for the next one.
        let seed = "rmq-ctl broker undrain broker-a && rmq-ctl set broker broker-a brokerPermission=6 --yes && \
                    rmq-ctl create topic orders --if-not-exists && rmq-ctl set topic orders perm=rw && rmq-ctl create topic bench --if-not-exists && \
                    rmq-ctl create group billing --if-not-exists && \
                    rmq-ctl set group billing consume=true && seq 20 | rmq-ctl send orders --key order-17 --tag paid";
        let seeded = shell(seed, 60);
        assert!(
            seeded.status.success(),
            "{}",
            String::from_utf8_lossy(&seeded.stderr)
        );
        let is_stopped = STOPPED.iter().any(|part| example.contains(part));
        let output = shell(&example, if is_stopped { 2 } else { 60 });
        let err = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap_or(-1);
        assert!(
            !err.contains("panicked") && !err.contains("Usage:"),
            "{example}: {err}"
        );
        // It works, or it says with a code of its own why not: there is no such message, nobody confirmed, no such host.
        let is_explained = err.contains("error[RMQ-E")
            || err.contains("exists already")
            || err.contains("members online");
        let is_fine = code == 0
            || is_explained
            || (is_stopped && code == 124)
            || (example.contains("diff") && code == 1);
        assert!(is_fine, "{example} ended with {code}: {err}");
        run += 1;
    }
    assert!(run > 80 && parsed < 20, "{run} run, {parsed} only parsed");
}
