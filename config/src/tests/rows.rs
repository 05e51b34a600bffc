//! What holds for every row of both servers.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{argument, load, own};
use crate::row::Row;
use crate::setting::Takes;
use crate::{BrokerConfig, ConfigError, Configuration, NameServerConfig, Upstream, Value};

/// Values that a setting takes.
fn good<C: Configuration>(row: &Row<C>) -> BoxedStrategy<Value> {
    let texts = |texts: &[&str]| {
        let texts: Vec<_> = texts
            .iter()
            .map(|text| Value::Text((*text).to_owned()))
            .collect();
        prop::sample::select(texts).boxed()
    };
    match row.setting.takes {
        Takes::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
        Takes::Ratio => (0.0..=1.0).prop_map(Value::Ratio).boxed(),
        Takes::Choice(words) => texts(words),
        Takes::Number {
            ranges,
            multiple_of,
        } => prop::sample::select(ranges.to_vec())
            .prop_flat_map(|(min, max)| {
                prop_oneof![Just(min), Just(max), min..=max].prop_map(move |n| n)
            })
            .prop_map(move |number| Value::Number(number / multiple_of * multiple_of))
            .boxed(),
        Takes::Text(_) => match row.setting.key {
            "clusterName" | "brokerName" => "[%|a-zA-Z0-9_-]{1,40}".prop_map(Value::Text).boxed(),
            "listen" => texts(&["0.0.0.0:1", "[::1]:0", "127.0.0.1:65535"]),
            "management" => texts(&["", "0.0.0.0:2", "[::]:3"]),
            "replicationListen" => texts(&["", "none", "0.0.0.0:2", "[::]:0"]),
            "replicationMaster" => texts(&["", "h:1", "10.0.0.1:10912", "[::1]:3"]),
            "advertise" => texts(&["", "h", "h.shop.svc", "10.0.0.1", "::1"]),
            "nameServers" => texts(&["", "a:1;b:2,c", "rmq://a:1", "[::1]:1"]),
            "delayLevels" => texts(&["1s", " 1s  5m 2h 1d"]),
            "members" => texts(&["", "0=a:1/a:2", "15=[::1]:1/h:2; 0=10.0.0.1:1/10.0.0.1:2,"]),
            "etcdEndpoints" => texts(&["", "http://a:1", "https://[::1]:1, http://b:2"]),
            "etcdPrefix" => texts(&["/rmq", "/a/b"]),
            "etcdUser"
            | "etcdPasswordFile"
            | "etcdCaFile"
            | "etcdCertificateFile"
            | "etcdKeyFile"
            | "tlsCertificateFile"
            | "tlsKeyFile"
            | "tlsCaFile"
            | "tlsOutgoingCaFile"
            | "tlsOutgoingCertificateFile"
            | "tlsOutgoingKeyFile" => texts(&["", "x", "/a b/c.pem"]),
            "etcdServerName" | "electionNamespace" | "electionName" | "tlsOutgoingServerName" => {
                texts(&["", "a-b.c"])
            }
            // Nobody is shown them, and so nobody reads them again.
            "initAuthenticationUser" | "innerClientAuthenticationCredentials" => texts(&[""]),
            "initAuthenticationUserFile"
            | "innerClientAuthenticationCredentialsFile"
            | "userSecretsKeyFile"
            | "usersFile" => texts(&["", "/a b/c.json"]),
            "authenticationWhitelist" | "authorizationWhitelist" => texts(&["", "105", "10, 310,"]),
            "brokerIdentities" => texts(&["", "a=b", "a=b, c=d,", "*=b, a=c"]),
            // Any text is fine, whatever is in it.
            "region" => "\\PC{0,60}".prop_map(Value::Text).boxed(),
            "kvConfigPath" => any::<String>().prop_map(Value::Text).boxed(),
            "dataDir" => "\\PC{1,40}".prop_map(Value::Text).boxed(),
            key => panic!("say here which texts {key} takes"),
        },
    }
}

/// Texts that a setting does not take.
fn bad<C>(row: &Row<C>) -> Vec<String> {
    let mut bad: Vec<String> = match row.setting.takes {
        Takes::Flag => ["yes", "1", "TRUE"].map(str::to_owned).to_vec(),
        Takes::Ratio => ["-0.1", "1.01", "NaN", "inf", "half"]
            .map(str::to_owned)
            .to_vec(),
        Takes::Choice(_) => ["Sync", "sometimes"].map(str::to_owned).to_vec(),
        Takes::Number {
            ranges,
            multiple_of,
        } => {
            let is_inside = |number: i64| {
                ranges
                    .iter()
                    .any(|(min, max)| (*min..=*max).contains(&number))
            };
            let mut all: Vec<i64> = ranges
                .iter()
                .flat_map(|(min, max)| [*min - 1, *max + 1])
                .filter(|number| !is_inside(*number))
                .collect();
            if multiple_of > 1 {
                all.extend(ranges.iter().map(|(min, _)| *min + 1));
            }
            let mut all: Vec<String> = all.iter().map(i64::to_string).collect();
            all.extend(["abc", "1.5", "0x6", "6 6", "99999999999999999999"].map(str::to_owned));
            all
        }
        Takes::Text(_) => match row.setting.key {
            "clusterName" | "brokerName" => ["a\nb", " "].map(str::to_owned).to_vec(),
            "listen" => [
                "",
                "nowhere",
                "10911",
                "[::1]",
                "0.0.0.0:70000",
                "http://h:1",
            ]
            .map(str::to_owned)
            .to_vec(),
            "management" | "replicationListen" | "replicationMaster" => {
                ["x", "http://0.0.0.0:1", "0.0.0.0:1 0.0.0.0:2"]
                    .map(str::to_owned)
                    .to_vec()
            }
            "advertise" => [
                "http://h",
                "h:1",
                "a,b",
                "0.0.0.0",
                "::",
                "10.0.0.256",
                "h..svc",
            ]
            .map(str::to_owned)
            .to_vec(),
            "nameServers" => ["a:1 b:2", "http://h:1", "a:0", "a:70000", "::1:9876", "a:x"]
                .map(str::to_owned)
                .to_vec(),
            "delayLevels" => [
                "",
                "1",
                "s",
                "0s",
                "-1s",
                "1x",
                "1s 2y",
                "99999999999999999d",
            ]
            .map(str::to_owned)
            .into_iter()
            .chain([["1s"; 65].join(" ")])
            .collect(),
            "dataDir" => vec![String::new()],
            "members" => [
                "a:1/a:2",
                "0=a:1",
                "0=a:1/a",
                "0=a/a:2",
                "16=a:1/a:2",
                "-1=a:1/a:2",
                "0=a:1/a:1",
                "0=a:1/a:2,0=b:1/b:2",
                "0=a:1/a:2,1=a:1/b:2",
                "0=a:0/a:2",
            ]
            .map(str::to_owned)
            .to_vec(),
            "etcdEndpoints" => ["a:1", "http://a", "ftp://a:1", "http://u@a:1"]
                .map(str::to_owned)
                .into_iter()
                .chain([vec!["http://a:1"; 17].join(",")])
                .collect(),
            "etcdPrefix" => ["", "/", "rmq", "/rmq/"].map(str::to_owned).to_vec(),
            "etcdServerName" | "electionNamespace" | "electionName" | "tlsOutgoingServerName" => {
                ["a/b", "a:1", "-"].map(str::to_owned).to_vec()
            }
            "region" => vec!["a".repeat(256), "a\u{1}b".to_owned()],
            _ => return Vec::new(),
        },
    };
    if !matches!(row.setting.takes, Takes::Text(_)) {
        bad.push(String::new());
    }
    bad
}

fn of_both(mut check: impl FnMut(&'static str, Checked)) {
    check("broker", checked::<BrokerConfig>());
    check("name server", checked::<NameServerConfig>());
}

/// What a test of all rows needs of a configuration, without its type.
struct Checked {
    settings: Vec<&'static crate::Setting>,
    pairs: Vec<(&'static str, String)>,
}

fn checked<C: Configuration>() -> Checked {
    Checked {
        settings: C::settings().collect(),
        pairs: C::default().pairs(),
    }
}

#[test]
fn every_row_is_whole() {
    of_both(|server, Checked { settings, pairs }| {
        let keys: BTreeSet<&str> = settings.iter().map(|setting| setting.key).collect();
        assert_eq!(
            keys.len(),
            settings.len(),
            "{server}: each key is there once"
        );
        let upstream: Vec<&str> = settings.iter().filter_map(|s| s.upstream_name()).collect();
        let different: BTreeSet<&&str> = upstream.iter().collect();
        assert_eq!(different.len(), upstream.len(), "{server}: {upstream:?}");
        for setting in &settings {
            let key = setting.key;
            assert!(setting.about().ends_with('.'), "{key}: {}", setting.about());
            assert!(!setting.about().contains('\n'), "{key}: one line");
            if setting.is_live {
                let is_as_it_is = !matches!(setting.upstream, Upstream::Written(..));
                assert!(is_as_it_is, "{key} is read as it is written");
            }
            if let Some(owner) = settings
                .iter()
                .find(|other| other.key != key && other.upstream_name() == Some(key))
            {
                panic!("{server}: {key} is the name of {} elsewhere", owner.key);
            }
        }
        assert_eq!(pairs.len(), settings.len());
    });
    BrokerConfig::default().validate().expect("the defaults");
    NameServerConfig::default()
        .validate()
        .expect("the defaults");
}

/// A value of every setting comes back from the printed file, from a variable, from an argument, and where the setting is live from a request.
fn comes_back<C: Configuration + PartialEq + std::fmt::Debug>() {
    for row in C::rows() {
        let (setting, key) = (&row.setting, row.setting.key);
        let mut runner = TestRunner::new(Config {
            cases: 48,
            failure_persistence: None,
            ..Config::default()
        });
        let held = runner.run(&good(row), |value| {
            let mut config = C::default();
            prop_assert!((row.set)(&mut config, &value), "{key} holds {value}");
            prop_assert_eq!(&(row.get)(&config), &value);
            if config.validate().is_err() {
                // A value that needs another setting beside it.
                return Ok(());
            }
            let text = value.to_string();
            // What a variable cannot hold.
            let read: C = load(&config.to_yaml(), &[], &[]).expect("the printed file");
            prop_assert_eq!(&read, &config);
            prop_assert_eq!(&argument::<C>(key, &text).expect("an argument"), &config);
            let variable = crate::layers::variable::<C>(key);
            let by_variable: C = load("", &[(&variable, &text)], &[]).expect("a variable");
            let is_link = by_variable == C::default() && text.contains("://");
            prop_assert!(is_link || by_variable == config, "{} {:?}", variable, text);
            if setting.is_live {
                for name in [Some(key), setting.upstream_name()].into_iter().flatten() {
                    let changed = C::default().update("a request", &own(&[(name, &text)]));
                    prop_assert_eq!(&changed.expect(name), &config);
                }
            }
            Ok(())
        });
        held.unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}

#[test]
fn every_value_of_a_broker_comes_back() {
    comes_back::<BrokerConfig>();
}

#[test]
fn every_value_of_a_name_server_comes_back() {
    comes_back::<NameServerConfig>();
}

fn is_refused<C: Configuration + PartialEq + std::fmt::Debug>() {
    for row in C::rows() {
        let (setting, key) = (&row.setting, row.setting.key);
        for text in bad(row) {
            let problem = match setting.read("here", &text, true) {
                Err(problem) => problem.to_string(),
                Ok(value) => panic!("{key} takes {value:?}"),
            };
            assert!(
                problem.starts_with(&format!("here: {key} must be ")),
                "{problem}"
            );
            assert!(problem.contains(&format!("not {text:?}")), "{problem}");
            if let Takes::Number { ranges, .. } = setting.takes {
                for end in ranges.iter().flat_map(|(min, max)| [min, max]) {
                    assert!(problem.contains(&end.to_string()), "{end}: {problem}");
                }
                assert!(problem.contains(setting.unit), "{problem}");
            }
            argument::<C>(key, &text).expect_err(key);
            let yaml = format!("{key}: {}\n", Value::Text(text.clone()).to_yaml());
            load::<C>(&yaml, &[], &[]).expect_err(key);
            let changed = C::default().update("a request", &own(&[(key, &text)]));
            let error = changed.expect_err(key);
            assert_eq!(error.needs_restart(), !setting.is_live, "{error}");
        }
    }
}

#[test]
fn what_a_setting_does_not_take_is_refused_with_key_value_and_range() {
    is_refused::<BrokerConfig>();
    is_refused::<NameServerConfig>();
    let text = |error: ConfigError| error.to_string();
    for (key, value, said) in [
        (
            "maxMessageBytes",
            "0",
            "the command line: maxMessageBytes must be a number of bytes from 1 to 16777216, not \"0\"",
        ),
        (
            "memoryBytes",
            "9",
            "the command line: memoryBytes must be 0, or a number of bytes from 67108864 to 1125899906842624, not \"9\"",
        ),
        (
            "segmentBytes",
            "65537",
            "the command line: segmentBytes must be a number of bytes from 65536 to 1073741824, a multiple of 4096, not \"65537\"",
        ),
        (
            "permission",
            "3",
            "the command line: permission must be 0, 2, 4 or 6, not \"3\"",
        ),
        (
            "brokerId",
            "-1",
            "the command line: brokerId must be a number from 0 to 2147483647, not \"-1\"",
        ),
        (
            "flush",
            "never",
            "the command line: flush must be async or sync, not \"never\"",
        ),
        (
            "delayLevels",
            "1s 2y",
            "the command line: delayLevels must be 1 to 64 delays, each a number and s, m, h or d, such as 1s 30s 5m, not \"1s 2y\": delay level 2 is \"2y\"; expected a number and s, m, h or d, such as 30s",
        ),
    ] {
        assert_eq!(
            text(argument::<BrokerConfig>(key, value).expect_err(key)),
            said
        );
    }
    assert_eq!(
        text(argument::<NameServerConfig>("topicsMax", "0").expect_err("0")),
        "the command line: topicsMax must be a number from 1 to 10000000, not \"0\""
    );
}
