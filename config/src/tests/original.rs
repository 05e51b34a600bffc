//! `broker.conf` of Apache RocketMQ.

use std::collections::BTreeSet;

use crate::original::{self, Fate};
use crate::{BrokerConfig, Configuration as _};

fn taken(text: &str) -> Vec<(&'static str, String)> {
    let read = original::read("broker.conf", text);
    assert_eq!(read.problems, []);
    let taken = read.taken.into_iter();
    taken.map(|taken| (taken.key, taken.value)).collect()
}

fn left(text: &str) -> Vec<String> {
    let left = original::read("broker.conf", text).left.into_iter();
    left.map(|left| left.to_string()).collect()
}

#[test]
fn the_file_that_the_original_ships_is_taken_over() {
    let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\nfileReservedTime = 48\n\
         brokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n";
    let expected = [
        ("clusterName", "DefaultCluster"),
        ("brokerName", "broker-a"),
        ("brokerId", "0"),
        ("retentionHours", "48"),
        ("flush", "async"),
    ];
    let expected: Vec<_> = expected.map(|(key, value)| (key, value.to_owned())).into();
    assert_eq!(taken(text), expected);
    assert_eq!(
        left(text),
        [
            "deleteWhen=04 is not taken over: segments are removed as soon as their time is over, without a time of day and without a load to spread"
        ]
    );
    let yaml = original::read("broker.conf", text).to_yaml();
    assert!(
        yaml.contains("# fileReservedTime=48\nretentionHours: 48\n"),
        "{yaml}"
    );
    assert!(
        yaml.contains("# brokerName=broker-a\nbrokerName: \"broker-a\"\n"),
        "{yaml}"
    );
}

#[test]
fn an_address_that_is_none_is_told() {
    for (text, key) in [
        ("listenPort=10921\nbindAddress=broker a", "listen"),
        ("bindAddress=[x", "listen"),
    ] {
        let read = original::read("broker.conf", text);
        assert_eq!(read.problems.len(), 1, "{text}");
        let problem = read.problems[0].to_string();
        assert!(problem.contains("broker.conf, bindAddress"), "{problem}");
        assert!(read.taken.iter().all(|taken| taken.key != key), "{text}");
    }
}

#[test]
fn values_are_written_in_our_form() {
    for (text, expected) in [
        ("listenPort=10921", vec![("listen", "0.0.0.0:10921")]),
        (
            "bindAddress=10.0.0.1\nlistenPort=10921",
            vec![("listen", "10.0.0.1:10921")],
        ),
        ("bindAddress=10.0.0.1", vec![("listen", "10.0.0.1:10911")]),
        (
            "haListenPort=10922",
            vec![("replicationListen", "0.0.0.0:10922")],
        ),
        (
            "metricsPromExporterPort=5557\nmetricsPromExporterHost=10.0.0.1",
            vec![("management", "10.0.0.1:5557")],
        ),
        ("flushDiskType=SYNC_FLUSH", vec![("flush", "sync")]),
        (
            "accessMessageInMemoryMaxRatio=40",
            vec![("memoryReadRatio", "0.4")],
        ),
        (
            "diskSpaceCleanForciblyRatio=85",
            vec![("diskEvictRatio", "0.85")],
        ),
        (
            "brokerRole=SYNC_MASTER",
            vec![("ackMode", "inSync"), ("minInSync", "1")],
        ),
        (
            "minInSyncReplicas=2\nbrokerRole=SYNC_MASTER",
            vec![("minInSync", "2"), ("ackMode", "inSync")],
        ),
        ("brokerRole=SLAVE\nbrokerId=1", vec![("brokerId", "1")]),
        (
            "maxMessageSize=1\nmaxMessageSize=65536",
            vec![("maxMessageBytes", "65536")],
        ),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(key, value)| (key, value.to_owned()))
            .collect();
        assert_eq!(taken(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_taken_over_has_a_reason() {
    for (text, why) in [
        ("sendMessageThreadPoolNums=16", "no pools of threads"),
        ("storePathRootDir=/data", "in another format"),
        ("minInSyncReplicas=2", "brokerRole is not SYNC_MASTER"),
        ("brokerRole=SLAVE", "a brokerId above 0"),
        (
            "brokerRole=MASTER",
            "none of ASYNC_MASTER, SYNC_MASTER and SLAVE",
        ),
        ("fileReservedTimes=48", "did you mean fileReservedTime?"),
        ("quiteAnother=1", "has no such key"),
        (
            "metricsPromExporterHost=10.0.0.1",
            "no metricsPromExporterPort",
        ),
    ] {
        let left = left(text);
        assert!(left.len() == 1 && left[0].contains(why), "{text}: {left:?}");
        assert_eq!(
            taken(text)
                .iter()
                .filter(|(key, _)| *key != "brokerId")
                .count(),
            0,
            "{text}"
        );
    }
}

#[test]
fn a_value_that_a_setting_does_not_take_is_a_problem_with_its_key() {
    let read = original::read(
        "broker.conf",
        "flushDiskType=SOMETIMES\nfileReservedTime=two\n",
    );
    let problems: Vec<String> = read.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("broker.conf, flushDiskType: flush must be"),
        "{problems:?}"
    );
    assert!(
        problems[1].starts_with("broker.conf, fileReservedTime: retentionHours must be"),
        "{problems:?}"
    );
}

#[test]
fn a_file_is_a_layer_as_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.conf");
    std::fs::write(
        &file,
        "brokerName=broker-z\nfileReservedTime=48\ndeleteWhen=04\n",
    )
    .expect("written");
    let arguments = [("retentionHours".to_owned(), "24".to_owned())];
    let config = BrokerConfig::load(Some(&file), [], &arguments).expect("valid");
    assert_eq!(
        (config.broker_name.as_str(), config.retention_hours),
        ("broker-z", 24)
    );
    let left = original::left(Some(&file));
    assert!(
        left.len() == 1 && left[0].contains("broker.conf: deleteWhen=04"),
        "{left:?}"
    );
    std::fs::write(&file, "fileReservedTime=never\n").expect("written");
    let error = BrokerConfig::load(Some(&file), [], &[]).expect_err("invalid");
    assert!(error.to_string().contains("fileReservedTime"), "{error}");
    let missing = BrokerConfig::load(Some(&folder.path().join("none.conf")), [], &[]);
    assert!(
        missing
            .expect_err("no file")
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn each_key_has_one_fate() {
    let keys = original::keys();
    let names: BTreeSet<&str> = keys.iter().map(|(key, _)| *key).collect();
    assert_eq!(names.len(), keys.len());
    assert!(keys.len() > 490, "{}", keys.len());
    for (key, fate) in keys {
        if let Fate::Setting(ours) = fate {
            assert!(
                BrokerConfig::settings().any(|setting| setting.key == ours),
                "{key}"
            );
        }
    }
}
