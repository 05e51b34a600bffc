//! Measurements that start groups of brokers run to their end.

use std::process::Command;

use rmq_e2e::process::binary;

#[test]
fn what_a_replica_costs_is_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let broker = binary("rmq-broker");
    let server = format!(
        "{} --listen 127.0.0.1:{{port}} --management 127.0.0.1:{{management}} --data {{dir}} --set segmentBytes=4194304",
        broker.display()
    );
    let out = Command::new(binary("rmq-bench"))
        .args(["--json", "replication", "--server", &server, "--work-dir"])
        .arg(dir.path())
        .args([
            "--rounds",
            "1",
            "--duration",
            "0.2",
            "--mib",
            "8",
            "--pairs",
            "1",
        ])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{out:?}");
    for figure in [
        "added p50 / reference",
        "8x32 msg/s inSync / alone",
        "cpu replica / alone",
        "1x1 replica switches/msg",
        "catch-up / slower",
        "beside load: catch-up MB/s",
        "p99 written file / alone",
        "p99 catch-up / alone",
    ] {
        assert!(said.contains(figure), "{figure} in {said}");
    }
    let left = std::fs::read_dir(dir.path()).expect("listed").count();
    assert_eq!(left, 0, "everything is removed");
}
