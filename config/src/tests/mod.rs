//! The layers, changes while a server runs, and the messages.

mod original;
mod rows;

use crate::kubernetes::{Given, Kubernetes, passed_problems};
use crate::{
    BrokerConfig, ConfigError, Configuration, Election, Flush, GroupMember, NameServerConfig,
    Problem,
};

fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn load<C: Configuration>(
    yaml: &str,
    environment: &[(&str, &str)],
    arguments: &[(&str, &str)],
) -> Result<C, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), yaml).expect("written");
    C::load(Some(file.path()), own(environment), &own(arguments))
}

fn argument<C: Configuration>(key: &str, value: &str) -> Result<C, ConfigError> {
    load("", &[], &[(key, value)])
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    fn said<C: Configuration + std::fmt::Debug>(key: &str) -> String {
        argument::<C>(key, "1").expect_err(key).to_string()
    }
    for row in BrokerConfig::rows() {
        let key = row.setting.key;
        // A letter is missing, or is there twice.
        for at in 1..key.len() {
            for wrong in [
                format!("{}{}", &key[..at], &key[at + 1..]),
                format!("{}{}", &key[..=at], &key[at..]),
            ] {
                if BrokerConfig::settings().any(|setting| setting.key == wrong) {
                    continue;
                }
                let said = said::<BrokerConfig>(&wrong);
                assert!(said.contains(&format!("{wrong:?}")), "{said}");
                assert!(said.contains("did you mean"), "{said}");
            }
        }
    }
    assert_eq!(
        said::<BrokerConfig>("brokerNme"),
        "the command line: there is no setting \"brokerNme\"; did you mean \"brokerName\"?"
    );
    // As Apache RocketMQ calls it.
    assert!(said::<BrokerConfig>("fileReservedTime").contains("did you mean \"retentionHours\"?"));
    assert_eq!(
        said::<NameServerConfig>("topicMax"),
        "the command line: there is no setting \"topicMax\"; did you mean \"topicsMax\"?"
    );
    assert!(said::<NameServerConfig>("xyz").ends_with("rmq-namesrv --print-config lists all"));
    let by_variable = load::<NameServerConfig>("", &[("RMQ_NAMESRV_LISTENN", "x")], &[]);
    assert_eq!(
        by_variable.expect_err("unknown").to_string(),
        "RMQ_NAMESRV_LISTENN: there is no setting \"listenn\"; did you mean \"listen\"?"
    );
}

#[test]
fn later_layers_win() {
    let config: BrokerConfig = load(
        "brokerName: one\nflush: sync\nretentionHours: 5\n",
        &[
            ("RMQ_BROKER_BROKER_NAME", "two"),
            ("PATH", "x"),
            ("RMQ_BROKER_PORT", "tcp://10.0.0.1:10911"),
            ("RMQ_BROKER_SERVICE_HOST", "10.0.0.1"),
            ("RMQ_BROKER_SERVICE_PORT", "10911"),
            ("RMQ_BROKER_SERVICE_PORT_REMOTING", "10911"),
            ("RMQ_BROKER_A_PORT_10911_TCP_PORT", "10911"),
            ("RMQ_BROKER_0_PORT_10911_TCP_ADDR", "10.0.0.1"),
        ],
        &[("retentionHours", "7")],
    )
    .expect("valid");
    assert_eq!(
        (
            config.broker_name.as_str(),
            config.flush,
            config.retention_hours
        ),
        ("two", Flush::Sync, 7)
    );
}

#[test]
fn every_problem_is_named_with_its_key() {
    let error = load::<BrokerConfig>(
        "brokerNme: x\nflush: sometimes\n",
        &[("RMQ_BROKER_BROKER_ID", "-1")],
        &[("retentionHours", "many"), ("segmentBytes", "5")],
    )
    .expect_err("wrong");
    assert_eq!(error.problems.len(), 5, "{error}");
    assert!(error.is_unknown() && !error.needs_restart());
    let text = error.to_string();
    for part in [
        "\"brokerNme\"",
        "did you mean \"brokerName\"",
        "flush must be",
        "RMQ_BROKER_BROKER_ID: brokerId must be",
        "the command line: retentionHours must be",
        "segmentBytes must be",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let wrong = BrokerConfig {
        max_message_bytes: 0,
        disk_full_ratio: f64::NAN,
        ..BrokerConfig::default()
    };
    let error = wrong.validate().expect_err("wrong").to_string();
    assert!(
        error.starts_with(
            "diskFullRatio must be a number from 0 to 1, not \"NaN\"\nmaxMessageBytes must be"
        ),
        "{error}"
    );
}

#[test]
fn settings_that_do_not_go_together_are_named_together() {
    for (listen, management, is_fine) in [
        ("0.0.0.0:1", "0.0.0.0:2", true),
        ("0.0.0.0:0", "0.0.0.0:0", true),
        ("0.0.0.0:1", "", true),
        ("0.0.0.0:1", "0.0.0.0:1", false),
    ] {
        let arguments = [("listen", listen), ("management", management)];
        let broker = load::<BrokerConfig>("", &[], &arguments);
        let name_server = load::<NameServerConfig>("", &[], &arguments);
        assert_eq!(broker.is_ok(), is_fine, "{broker:?}");
        assert_eq!(name_server.is_ok(), is_fine, "{name_server:?}");
        if let Err(error) = broker {
            assert_eq!(
                error.to_string(),
                "listen and management are both 0.0.0.0:1: give one of them another port"
            );
        }
    }
}

#[test]
fn an_ack_mode_promises_what_its_name_says() {
    for (mode, min_in_sync, listen, outcome) in [
        ("memory", "0", "", Ok(1)),
        ("flushed", "1", "none", Ok(1)),
        ("inSync", "0", "", Ok(2)),
        // What the master alone has: asked for by its number.
        ("inSync", "1", "", Ok(1)),
        ("inSyncFlushed", "3", "127.0.0.1:0", Ok(3)),
        ("flushed", "2", "", Err("minInSync 2 promises nothing")),
        ("inSync", "2", "none", Err("lets nobody copy")),
    ] {
        let arguments = [
            ("ackMode", mode),
            ("minInSync", min_in_sync),
            ("replicationListen", listen),
        ];
        let config = load::<BrokerConfig>("", &[], &arguments);
        match (config, outcome) {
            (Ok(config), Ok(members)) => {
                assert_eq!(config.in_sync_min(), members, "{mode}");
                assert_eq!(config.is_flushed(), mode.to_lowercase().contains("flushed"));
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, _) => panic!("{mode} {min_in_sync} {listen:?}: {found:?}"),
        }
    }
}

#[test]
fn an_election_has_what_it_needs_and_nothing_else() {
    const THREE: &str = "0=a:1/a:2,1=b:1/b:2,2=c:1/c:2";
    let etcd = [
        ("election", "etcd"),
        ("members", THREE),
        ("etcdEndpoints", "http://e:2379"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let arguments: Vec<_> = etcd.iter().chain(more).copied().collect();
        load::<BrokerConfig>("", &[], &arguments)
    };
    let config = with(&[("brokerId", "2"), ("ackMode", "inSync")]).expect("fine");
    assert!(config.is_elected() && config.election == Election::Etcd);
    let of = |member: &GroupMember| (member.id.0, member.client.clone());
    let members: Vec<_> = config.member_list().iter().map(of).collect();
    assert_eq!(members[2], (2, "c:2".to_owned()));
    assert_eq!(config.etcd_endpoint_list(), ["http://e:2379"]);
    for (more, said) in [
        (
            &[("brokerId", "3")][..],
            "members has no member 3, which is this broker's brokerId",
        ),
        (
            &[("members", "0=a:1/a:2"), ("ackMode", "inSync")],
            "no write would ever be taken: 2 members have to be in sync, and members has 1",
        ),
        (
            &[("replicationListen", "none")],
            "election etcd needs a port for the other members",
        ),
        (
            &[("replicationMaster", "a:1")],
            "replicationMaster has no effect with election etcd: leave it out, or set election to static",
        ),
        (
            &[("replicaLagMs", "5000")],
            "replicaLagMs has no effect with election etcd",
        ),
        (
            &[("etcdEndpoints", "")],
            "election etcd needs etcdEndpoints",
        ),
        (&[("etcdUser", "u")], "etcdUser needs etcdPasswordFile, too"),
        (
            &[("etcdKeyFile", "k")],
            "etcdKeyFile needs etcdCertificateFile, too",
        ),
        (
            &[("etcdCaFile", "c")],
            "etcdCaFile is for connections with TLS, and http://e:2379 in etcdEndpoints is one without",
        ),
        (
            &[("electionName", "n")],
            "electionName has no effect with election etcd: leave it out, or set election to kubernetes",
        ),
        (
            &[("election", "static")],
            "members has no effect with election static: leave it out, or set election to etcd or memory",
        ),
        (
            &[("election", "kubernetes")],
            "members has no effect with election kubernetes",
        ),
        (
            &[
                ("election", "kubernetes"),
                ("members", ""),
                ("etcdEndpoints", ""),
            ],
            "election kubernetes needs electionNamespace\nelection kubernetes needs electionName",
        ),
        (
            &[
                ("election", "kubernetes"),
                ("brokerId", "16"),
                ("electionName", "n"),
            ],
            "brokerId 16 is no slot of a member",
        ),
        (
            &[("election", "memory")],
            "etcdEndpoints has no effect with election memory",
        ),
    ] {
        let error = with(more).expect_err(said).to_string();
        assert!(error.contains(said), "{more:?}: {error}");
    }
    let lease = argument::<BrokerConfig>("leaseMs", "6000").expect_err("static");
    let said = "set election to etcd or kubernetes or memory";
    assert!(lease.to_string().contains(said), "{lease}");
}

#[test]
fn files_are_read_as_kubectl_reads_them() {
    let text = "\u{feff}# settings\r\nbrokerName: b\r\nretentionHours: null\r\nregion:\r\ntopicsMax: \"7\"\r\ngroupsMax: 1_000\r\ndiskFullRatio: 1\r\n";
    let config: BrokerConfig = load(text, &[], &[]).expect("valid");
    let usual = BrokerConfig::default();
    assert_eq!(config.broker_name, "b");
    assert_eq!(
        (config.retention_hours, config.region),
        (usual.retention_hours, usual.region)
    );
    assert_eq!(
        (config.topics_max, config.groups_max, config.disk_full_ratio),
        (7, 1_000, 1.0)
    );
    for (yaml, why) in [
        (
            "retentionHours: 1\nretentionHours: 2\n",
            "retentionHours is there twice",
        ),
        ("retentionHours: [72]\n", "retentionHours must be"),
        ("retentionHours: {a: 1}\n", "retentionHours must be"),
        ("retentionHours: 72.5\n", "retentionHours must be"),
        ("retentionHours: true\n", "retentionHours must be"),
        ("region: 1.10\n", "write it in quotes"),
        ("flush: true\n", "write it in quotes"),
        ("- retentionHours\n", "KEY: VALUE"),
        ("a: 1\n---\nb: 2\n", "several documents"),
    ] {
        let error = load::<BrokerConfig>(yaml, &[], &[])
            .expect_err(yaml)
            .to_string();
        assert!(error.contains(why), "{yaml:?}: {error}");
    }
    let nowhere = BrokerConfig::load(Some("/nowhere.yaml".as_ref()), [], &[]);
    let error = nowhere.expect_err("no file").to_string();
    assert!(
        error.starts_with("/nowhere.yaml: it cannot be read: "),
        "{error}"
    );
}

#[test]
fn lists_are_understood() {
    for (text, list) in [
        ("", &[][..]),
        ("a:1;b:2,c", &["a:1", "b:2", "c:9876"]),
        ("rmq://a:1", &["a:1"]),
        ("[::1]:1;[::1]:1", &["[::1]:1"]),
    ] {
        let config: BrokerConfig = argument("nameServers", text).expect(text);
        assert_eq!(config.name_server_list(), list, "{text}");
    }
    let config: BrokerConfig = argument("delayLevels", "1s 5m 2h 1d").expect("valid");
    assert_eq!(config.delays_ms(), [1_000, 300_000, 7_200_000, 86_400_000]);
    for listen in ["[::1]:0", "localhost:1"] {
        argument::<NameServerConfig>("listen", listen).expect(listen);
    }
    // What a broker is called is another setting.
    let error = argument::<BrokerConfig>("listen", "localhost:1").expect_err("a name");
    assert!(error.to_string().contains("advertise"), "{error}");
}

#[test]
fn a_running_server_changes_all_or_nothing() {
    let config = NameServerConfig::default();
    let changed = config
        .update(
            "the request",
            &own(&[("orderMessageEnable", "true"), ("brokersMax", "3")]),
        )
        .expect("live");
    assert!(changed.order_message_enable && changed.brokers_max == 3);
    let changes = own(&[
        ("brokersMax", "3"),
        ("kvConfigPath", "/etc/passwd"),
        ("topicsMax", "0"),
        ("nonsense", "1"),
    ]);
    let error = config.update("the request", &changes).expect_err("fixed");
    assert!(error.needs_restart() && error.is_unknown());
    assert_eq!(
        error.to_string(),
        "kvConfigPath can only be set at the start: change the configuration of rmq-namesrv and restart it\n\
         the request: topicsMax must be a number from 1 to 10000000, not \"0\"\n\
         the request: there is no setting \"nonsense\"; rmq-namesrv --print-config lists all"
    );
    let restart = |problem: &&Problem| matches!(problem, Problem::NeedsRestart { .. });
    assert_eq!(error.problems.iter().filter(restart).count(), 1);
}

#[test]
fn other_names_and_forms_are_those_of_apache() {
    let pairs = BrokerConfig {
        flush: Flush::Sync,
        disk_full_ratio: 0.9,
        ..BrokerConfig::default()
    }
    .upstream_pairs();
    for pair in [
        ("flushDiskType", "SYNC_FLUSH"),
        ("diskSpaceWarningLevelRatio", "90"),
        ("fileReservedTime", "72"),
        ("listenPort", "10911"),
        ("maxMessageSize", "4194304"),
    ] {
        assert!(
            pairs
                .iter()
                .any(|(name, value)| (*name, value.as_str()) == pair),
            "{pair:?}: {pairs:?}"
        );
    }
    assert!(pairs.iter().all(|(name, _)| *name != "topicsMax"));
}

#[test]
fn settings_of_a_custom_resource_are_checked_with_a_way_out() {
    let given = |text: &str, is_text| Given {
        text: text.to_owned(),
        is_text,
    };
    let problems = passed_problems::<BrokerConfig>(
        "spec.config.extra",
        [
            ("flushByte", given("1", false)),
            ("dataDir", given("/x", true)),
            ("brokerId", given("1", false)),
            ("fastPort", given("yes", true)),
            ("segmentBytes", given("7", false)),
            ("region", given("7", false)),
            ("delayLevels", given("1s 2s", true)),
            ("flushBytes", given("4096", false)),
            ("connectionsMax", given("5", true)),
        ],
    );
    assert_eq!(
        problems,
        [
            "spec.config.extra.flushByte is no key of the configuration; did you mean flushBytes?",
            "spec.config.extra.dataDir is set by the operator; use spec.storage",
            "spec.config.extra.brokerId is set by the operator; leave it out: the operator numbers the brokers",
            "spec.config.extra.fastPort must be true or false, not \"yes\"",
            "spec.config.extra.segmentBytes must be a number of bytes from 65536 to 1073741824, a multiple of 4096, not \"7\"",
            "spec.config.extra.region must be a text of up to 255 bytes without control characters, not \"7\": write it in quotes",
        ]
    );
    let open = BrokerConfig::settings().filter(|s| s.kubernetes == Kubernetes::Open);
    assert!(open.count() > 15);
}

#[test]
fn secrets_are_not_shown() {
    let user = r#"{"username":"root","password":"hunter2"}"#;
    let config = argument::<BrokerConfig>("initAuthenticationUser", user).expect("a user");
    assert!(config.init_user.reveal().contains("hunter2"));
    let pairs = |pairs: Vec<(&str, String)>| format!("{pairs:?}");
    for shown in [
        config.to_yaml(),
        format!("{config:?}"),
        pairs(config.pairs()),
        pairs(config.upstream_pairs()),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for wrong in ["hunter2", r#"{"password":"hunter2"}"#] {
        let error = argument::<BrokerConfig>("initAuthenticationUser", wrong).expect_err(wrong);
        let error = error.to_string();
        assert!(
            error.contains("(hidden)") && !error.contains("hunter2"),
            "{error}"
        );
    }
    let as_object = format!("initAuthenticationUser: {user}");
    let error = load::<BrokerConfig>(&as_object, &[], &[]).expect_err("no text");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn rules_need_to_know_whose_they_are() {
    let error = argument::<BrokerConfig>("authorizationEnabled", "true").expect_err("alone");
    assert!(
        error.to_string().contains("needs authenticationEnabled"),
        "{error}"
    );
    let both = [
        (
            "initAuthenticationUser",
            r#"{"username":"a","password":"b"}"#,
        ),
        ("initAuthenticationUserFile", "x"),
    ];
    let error = load::<NameServerConfig>("", &[], &both).expect_err("both");
    assert!(error.to_string().contains("are both set"), "{error}");
    for (key, wrong) in [
        ("authenticationWhitelist", "10,9999"),
        ("brokerIdentities", "a"),
    ] {
        assert!(argument::<NameServerConfig>(key, wrong).is_err(), "{key}");
    }
}
