//! What people with a kubeconfig see whose API server does not answer, and those without one.

mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::{Run, program};

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: lab
contexts: [{{name: lab, context: {{cluster: lab, user: me, namespace: shop}}}}]
clusters: [{{name: lab, cluster: {{server: \"{server}\"}}}}]
users: [{{name: me, user: {{}}}}]
"
    )
}

#[test]
fn an_api_server_that_is_silent_holds_nobody_up_for_long() {
    // It accepts, as the system does that for it, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("kubeconfig");
    let server = format!("https://{}", silent.local_addr().expect("bound"));
    std::fs::write(&file, kubeconfig(&server)).expect("a file");
    let run = |args: &[&str], with: bool| {
        let mut command = program();
        command.args(args).env("HOME", home.path());
        command
            .env("XDG_CONFIG_HOME", home.path())
            .env_remove("KUBECONFIG");
        if with {
            command.env("KUBECONFIG", &file);
        }
        command.current_dir(home.path());
        Run::new(args, command.output().expect("it runs"))
    };
    let began = Instant::now();
    let asked = run(&["-v", "--timeout", "1s", "get", "topics"], true);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(asked.err.contains("did not answer within"), "{}", asked.err);
    assert!(
        asked.err.contains("localhost:9876 (the usual address)"),
        "{}",
        asked.err
    );
    let none = run(&["-v", "--timeout", "1s", "get", "topics"], false);
    assert!(
        !none.err.to_lowercase().contains("kubernetes"),
        "{}",
        none.err
    );
    // A wrong name is found without any server.
    run(&["--kube-context", "other", "get", "topics"], true)
        .fails(2, &["error[RMQ-E003]", "other"]);
    run(&["--kube-context", "lab", "get", "topics"], false).fails(2, &["there is no kubeconfig"]);
}

#[test]
fn contexts_remember_a_kubernetes() {
    let home = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let mut command = program();
        command
            .args(args)
            .env("XDG_CONFIG_HOME", home.path())
            .current_dir(home.path());
        Run::new(args, command.output().expect("it runs"))
    };
    run(&[
        "config",
        "set-context",
        "shop",
        "--kube-context",
        "lab",
        "-n",
        "shop",
        "--cluster",
        "main",
    ])
    .ok();
    let listed = run(&["config", "get-contexts"]).ok();
    assert_eq!(
        listed,
        "CURRENT  NAME  PLACE\n*        shop  kubernetes: context lab, namespace shop, NameServer main\n"
    );
    run(&["config", "set-context", "none"])
        .fails(2, &["--kube-context NAME", "--nameserver HOST:9876"]);
}
