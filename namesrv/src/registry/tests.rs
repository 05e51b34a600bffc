//! The tables alone: no sockets, time as a number.

use rmq_protocol::bodies::{DataVersion, RegisterBrokerBody, TopicConfig};
use rmq_protocol::route::{QueueData, TopicRoute};

use super::register::Rejected;
use super::*;

mod masters;

const RULES: Rules = Rules {
    brokers_max: 10,
    topics_max: 100,
    entries_max: 200,
    drop_unregistered_topics: false,
};

fn registration(group: &str, id: i64, addr: &str, counter: i64, topics: &[&str]) -> Registration {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = DataVersion {
        counter,
        state_version: 0,
        timestamp: 1,
    };
    for topic in topics {
        table
            .topic_config_table
            .insert((*topic).to_owned(), TopicConfig::new(*topic, 4));
    }
    Registration {
        cluster: "c".to_owned(),
        group: group.to_owned(),
        id,
        addr: addr.to_owned(),
        ha_addr: format!("{addr}-ha"),
        zone: None,
        timeout_ms: None,
        enable_acting_master: None,
        epoch: None,
        body,
        is_part: false,
        peer: None,
    }
}

fn farewell<'a>(group: &'a str, id: i64, addr: &'a str) -> Farewell<'a> {
    Farewell {
        group,
        id,
        addr,
        epoch: None,
    }
}

fn route(registry: &Registry, topic: &str) -> Option<TopicRoute> {
    registry
        .route(topic, RouteRules::default)
        .map(|bytes| TopicRoute::from_json(&bytes).unwrap())
}

#[test]
fn routes_follow_every_change() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    assert_eq!(
        route(&registry, "t").unwrap().broker_datas[0].master(),
        Some("a:1")
    );
    assert_eq!(registry.sizes().encoded_routes, 1);

    // Another broker serves it too.
    registry
        .register(registration("b", 0, "b:1", 1, &["t", "v"]), 0, RULES)
        .unwrap();
    assert_eq!(route(&registry, "t").unwrap().queue_datas.len(), 2);

    // The same broker with another address: the old one is gone at once.
    registry
        .register(registration("a", 0, "a:2", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    assert_eq!(
        route(&registry, "t").unwrap().broker_datas[0].master(),
        Some("a:2")
    );
    assert_eq!(registry.sizes().brokers, 2);
    registry
        .unregister(farewell("a", 0, "a:1"))
        .expect("registered");
    assert!(
        route(&registry, "u").is_some(),
        "the old address says farewell late and takes nothing along"
    );

    // More queues need a new version.
    let mut more = registration("a", 0, "a:2", 2, &["t", "u"]);
    more.body
        .topic_config_serialize_wrapper
        .topic_config_table
        .insert("t".to_owned(), TopicConfig::new("t", 9));
    registry.register(more, 0, RULES).unwrap();
    assert_eq!(
        route(&registry, "t").unwrap().queue_datas[0].write_queue_nums,
        9
    );

    registry
        .unregister(farewell("a", 0, "a:2"))
        .expect("registered");
    assert!(route(&registry, "u").is_none());
    assert_eq!(route(&registry, "t").unwrap().broker_datas.len(), 1);
    registry.delete_topic("t", Some("elsewhere"));
    assert!(route(&registry, "t").is_some());
    registry.delete_topic("t", None);
    assert!(route(&registry, "t").is_none());
}

#[test]
fn a_registration_of_some_topics_keeps_the_others_unless_told() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    registry
        .register(registration("a", 0, "a:1", 2, &["t"]), 0, RULES)
        .unwrap();
    assert!(route(&registry, "u").is_some());
    let rules = Rules {
        drop_unregistered_topics: true,
        ..RULES
    };
    registry
        .register(registration("a", 0, "a:1", 3, &["t"]), 0, rules)
        .unwrap();
    assert!(route(&registry, "u").is_none() && route(&registry, "t").is_some());

    // Parts of one registration keep each other's topics.
    for (counter, topics) in [(4, ["a", "b"]), (5, ["c", "d"])] {
        let mut part = registration("a", 0, "a:1", counter, &topics);
        part.is_part = true;
        registry.register(part, 0, rules).unwrap();
    }
    for topic in ["a", "b", "c", "d", "t"] {
        assert!(route(&registry, topic).is_some(), "{topic}");
    }
}

#[test]
fn a_farewell_with_another_id_takes_nobody_out() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    let refused = registry
        .unregister(farewell("a", 1, "a:1"))
        .expect_err("id 0 is there")
        .to_string();
    assert!(
        refused.contains("a:1") && refused.contains("id 0"),
        "{refused}"
    );
    assert!(route(&registry, "t").is_some());
    // Who is not there, or in another group, changes nothing either.
    for (group, id, addr) in [("a", 0, "a:9"), ("a", 1, "a:9"), ("b", 0, "a:1")] {
        assert!(
            registry
                .unregister(farewell(group, id, addr))
                .unwrap()
                .is_none()
        );
    }
    assert!(route(&registry, "t").is_some());
    registry
        .unregister(farewell("a", 0, "a:1"))
        .expect("registered");
    assert!(route(&registry, "t").is_none());
}

#[test]
fn replicas_learn_their_master_and_own_no_topics() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    let told = registry
        .register(registration("a", 1, "a:2", 1, &["t", "x"]), 0, RULES)
        .unwrap();
    assert_eq!(
        (told.master_addr.as_deref(), told.ha_server_addr.as_deref()),
        (Some("a:1"), Some("a:1-ha"))
    );
    assert!(route(&registry, "x").is_none());
    let addrs = &route(&registry, "t").unwrap().broker_datas[0].broker_addrs;
    assert_eq!(addrs.values().collect::<Vec<_>>(), ["a:1", "a:2"]);

    // The replica takes the master's place under its own address: it has one id only.
    registry
        .register(registration("a", 0, "a:2", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    let group = registry.member_group("c", "a");
    assert_eq!(
        group.broker_addrs.into_iter().collect::<Vec<_>>(),
        [(0, "a:2".to_owned())]
    );
}

#[test]
fn silence_drops_a_broker_and_signs_of_life_keep_it() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    registry
        .register(registration("b", 0, "b:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    registry.heartbeat("a:1", 900);
    let version = DataVersion {
        counter: 1,
        state_version: 0,
        timestamp: 1,
    };
    registry.expire(1_000, 1_000);
    assert_eq!(registry.sizes().brokers, 2);
    registry.expire(1_001, 1_000);
    assert_eq!((registry.sizes().brokers, registry.sizes().topics), (1, 2));
    assert_eq!(
        registry.same_version("a:1", version, 1_800),
        (true, Some(version))
    );
    registry.expire(2_700, 1_000);
    assert_eq!(registry.same_version("b:1", version, 0), (false, None));
    registry.expire(2_801, 1_000);
    assert_eq!(registry.sizes(), Sizes::default());

    // A setting that changes counts at once, but not for who named a time.
    let own = Registration {
        timeout_ms: Some(60_000),
        ..registration("d", 0, "d:1", 1, &["t", "u"])
    };
    for new in [registration("c", 0, "c:1", 1, &["t", "u"]), own] {
        registry.register(new, 0, RULES).unwrap();
    }
    for (timeout_ms, brokers) in [(10_000, 2), (1_000, 1)] {
        registry.expire(5_000, timeout_ms);
        assert_eq!(registry.sizes().brokers, brokers);
    }
}

#[test]
fn wiped_brokers_cannot_be_written_until_given_back() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    assert_eq!(route(&registry, "t").unwrap().queue_datas[0].perm, 6);
    assert_eq!(registry.set_wiped("a", true), (2, Some(false)));
    assert_eq!(route(&registry, "t").unwrap().queue_datas[0].perm, 4);
    registry
        .register(registration("a", 0, "a:1", 2, &["t", "u"]), 0, RULES)
        .unwrap();
    assert_eq!(
        route(&registry, "t").unwrap().queue_datas[0].perm,
        4,
        "a registration does not give it back"
    );
    registry.set_wiped("a", false);
    assert_eq!(route(&registry, "t").unwrap().queue_datas[0].perm, 6);
}

/// As with Apache's name servers a restart ends the wipe; the broker that registers learns of it.
#[test]
fn a_wiped_broker_that_restarts_is_told_that_it_is_written_again() {
    let registry = Registry::default();
    let register = || {
        let new = registration("a", 0, "a:1", 1, &["t", "u"]);
        let registered = registry.register(new, 0, RULES).unwrap();
        registered.reply().write_perm_given_again
    };
    for (wipe, told) in [(false, None), (true, Some(true)), (false, None)] {
        register();
        registry.set_wiped("a", wipe);
        assert_eq!(register(), None, "it never left");
        registry.unregister(farewell("a", 0, "a:1")).unwrap();
        assert_eq!(register(), told);
        assert_eq!(route(&registry, "t").unwrap().queue_datas[0].perm, 6);
    }
}

#[test]
fn limits_and_odd_registrations_are_refused() {
    let registry = Registry::default();
    let one = registry.register(registration("a", 0, "a:1", 1, &["t"]), 0, RULES);
    assert_eq!(one.unwrap_err(), Rejected::OneTopic);
    let rules = Rules {
        brokers_max: 1,
        topics_max: 2,
        ..RULES
    };
    let many = registry.register(registration("a", 0, "a:1", 1, &["t", "u", "v"]), 0, rules);
    assert_eq!(many.unwrap_err(), Rejected::Topics { topics: 3, max: 2 });
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, rules)
        .unwrap();
    let second = registry.register(registration("b", 0, "b:1", 1, &["t", "u"]), 0, rules);
    assert_eq!(second.unwrap_err(), Rejected::Brokers { brokers: 1 });
    let queues = |broker: &str| QueueData {
        broker_name: broker.to_owned(),
        perm: 6,
        ..QueueData::default()
    };
    assert_eq!(
        registry.register_topic("new", vec![queues("a")], rules),
        Err(Rejected::Topics { topics: 3, max: 2 })
    );
    registry
        .register_topic("new", vec![queues("a"), queues("nobody")], RULES)
        .unwrap();
    assert_eq!(route(&registry, "new").unwrap().queue_datas.len(), 1);
}

#[test]
fn zones_keep_their_brokers_and_those_without_a_master() {
    let registry = Registry::default();
    for (group, id, zone) in [("a", 0, Some("z1")), ("b", 0, Some("z2")), ("d", 0, None)] {
        let mut new = registration(group, id, &format!("{group}:1"), 1, &["t", "u"]);
        new.zone = zone.map(str::to_owned);
        registry.register(new, 0, RULES).unwrap();
    }
    registry
        .register(registration("d", 1, "d:2", 1, &[]), 0, RULES)
        .unwrap();
    registry
        .unregister(farewell("d", 0, "d:1"))
        .expect("registered");
    let bytes = registry
        .route_in_zone("t", "z1", RouteRules::default())
        .unwrap();
    let route = TopicRoute::from_json(&bytes).unwrap();
    let names: Vec<_> = route
        .broker_datas
        .iter()
        .map(|data| data.broker_name.as_str())
        .collect();
    assert_eq!(names, ["a", "d"]);
    assert_eq!(route.queue_datas.len(), 2);
}

#[test]
fn an_address_with_an_older_state_does_not_take_a_newer_ones_place() {
    let registry = Registry::default();
    let of_state = |addr: &str, state| {
        let mut new = registration("a", 0, addr, 5, &["t", "u"]);
        new.body
            .topic_config_serialize_wrapper
            .data_version
            .state_version = state;
        new
    };
    let master = || {
        route(&registry, "t").unwrap().broker_datas[0]
            .master()
            .map(str::to_owned)
    };
    registry.register(of_state("a:1", 2), 0, RULES).unwrap();
    registry.register(of_state("a:2", 1), 0, RULES).unwrap();
    assert_eq!(master().as_deref(), Some("a:1"));
    registry.register(of_state("a:2", 2), 0, RULES).unwrap();
    assert_eq!(master().as_deref(), Some("a:2"));
    // The same address may start over: nothing else has its name.
    registry.register(of_state("a:2", 0), 0, RULES).unwrap();
    registry.register(of_state("a:3", 1), 0, RULES).unwrap();
    assert_eq!(master().as_deref(), Some("a:3"));
    assert_eq!(registry.sizes().brokers, 1);
}

#[test]
fn a_full_name_server_still_takes_brokers_that_moved() {
    let registry = Registry::default();
    let rules = Rules {
        brokers_max: 1,
        topics_max: 2,
        entries_max: 2,
        ..RULES
    };
    for port in 1..5 {
        registry
            .register(
                registration("a", 0, &format!("a:{port}"), 1, &["t", "u"]),
                0,
                rules,
            )
            .unwrap();
        let addr = format!("a:{port}");
        assert_eq!(
            route(&registry, "t").unwrap().broker_datas[0].master(),
            Some(addr.as_str())
        );
    }
}

#[test]
fn what_a_broker_writes_freely_has_bounds() {
    let registry = Registry::default();
    let refused = |change: &dyn Fn(&mut RegisterBrokerBody)| {
        let mut new = registration("a", 0, "a:1", 1, &["t", "u"]);
        change(&mut new.body);
        registry.register(new, 0, RULES).unwrap_err().to_string()
    };
    let topic = |name: &str| {
        let name = name.to_owned();
        move |body: &mut RegisterBrokerBody| {
            let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
            table.insert(name.clone(), TopicConfig::new(&name, 1));
        }
    };
    let long = "n".repeat(256);
    for (text, expected) in [
        (refused(&topic("")), "a topic has no name"),
        (
            refused(&topic(&long)),
            "the name of a topic has 256 bytes, the limit is 255",
        ),
        (
            refused(&|body| body.filter_server_list = vec!["x".to_owned(); 65]),
            "65 filter servers, the limit is 64",
        ),
        (
            refused(&|body| body.filter_server_list = vec![long.clone()]),
            "the address of a filter server has 256 bytes",
        ),
        (
            refused(&|body| {
                body.topic_config_serialize_wrapper
                    .topic_queue_mapping_info_map =
                    Some(serde_json::json!({"t": {"bname": "x".repeat(70_000)}}));
            }),
            "the mapping of a static topic has 70012 bytes",
        ),
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(registry.sizes(), Sizes::default());

    // Mappings of topics that it does not have are not kept.
    let mut new = registration("a", 0, "a:1", 1, &["t", "u"]);
    new.body
        .topic_config_serialize_wrapper
        .topic_queue_mapping_info_map =
        Some(serde_json::json!({"t": {"totalQueues": 1}, "other": {"totalQueues": 1}}));
    registry.register(new, 0, RULES).unwrap();
    assert!(
        route(&registry, "t")
            .unwrap()
            .topic_queue_mapping_by_broker
            .is_some()
    );
    assert_eq!(registry.tables.read().mappings.len(), 1);

    let rules = Rules {
        entries_max: 3,
        ..RULES
    };
    let more = registry.register(registration("b", 0, "b:1", 1, &["t", "u"]), 0, rules);
    assert_eq!(more.unwrap_err(), Rejected::Entries { entries: 4, max: 3 });
}

#[test]
fn a_replica_acts_for_its_master_where_that_is_wanted() {
    let registry = Registry::default();
    for id in [0, 1, 2] {
        let mut new = registration(
            "a",
            id,
            &format!("a:{id}"),
            1,
            &["t", "%SYNC_BROKER_MEMBER_%a"],
        );
        new.enable_acting_master = Some(true);
        registry.register(new, 0, RULES).unwrap();
    }
    let seen = |topic, acting_masters| {
        // As after a change of settings.
        registry.forget_routes();
        let rules = || RouteRules {
            order: None,
            acting_masters,
        };
        let route = TopicRoute::from_json(&registry.route(topic, rules).unwrap()).unwrap();
        let addrs = route.broker_datas[0].broker_addrs.clone();
        let addrs: Vec<_> = addrs
            .into_iter()
            .map(|(id, addr)| format!("{id}={addr}"))
            .collect();
        (route.queue_datas[0].perm, addrs.join(" "))
    };
    assert_eq!(seen("t", true), (6, "0=a:0 1=a:1 2=a:2".to_owned()));
    registry
        .unregister(farewell("a", 0, "a:0"))
        .expect("registered");
    assert_eq!(seen("t", false), (4, "1=a:1 2=a:2".to_owned()));
    assert_eq!(seen("t", true), (4, "0=a:1 2=a:2".to_owned()));
    assert_eq!(seen("%SYNC_BROKER_MEMBER_%a", true).1, "1=a:1 2=a:2");
    // The replica registers again, and the master comes back: all as before.
    for id in [1, 0] {
        let mut new = registration(
            "a",
            id,
            &format!("a:{id}"),
            1,
            &["t", "%SYNC_BROKER_MEMBER_%a"],
        );
        new.enable_acting_master = Some(true);
        registry.register(new, 0, RULES).unwrap();
    }
    assert_eq!(seen("t", true), (6, "0=a:0 1=a:1 2=a:2".to_owned()));
}

/// Anything in any order: the tables agree with each other, and a kept route with one made now.
#[test]
fn tables_agree_after_any_history() {
    let registry = Registry::default();
    let mut noise = 7_u32;
    let mut random = |below: u32| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 16) % below
    };
    let topics = ["t0", "t1", "t2", "t3"];
    let mut highest = ["a", "b", "d"].map(|group| (group, None));
    for step in 0..6_000 {
        let group = ["a", "b", "d"][random(3) as usize];
        let id = i64::from(random(3));
        let addr = format!("x:{}", random(6));
        match random(12) {
            0..=5 => {
                let wanted = &topics[..random(5) as usize];
                let mut new = registration(group, id, &addr, i64::from(random(3)), wanted);
                new.enable_acting_master = [None, Some(false), Some(true)][random(3) as usize];
                new.zone = [None, Some("z".to_owned())][random(2) as usize].clone();
                new.epoch = [None, Some(i64::from(1 + random(4)))][random(2) as usize];
                new.body.filter_server_list = vec!["f".to_owned(); random(2) as usize];
                for topic in new
                    .body
                    .topic_config_serialize_wrapper
                    .topic_config_table
                    .values_mut()
                {
                    topic.write_queue_nums = 1 + random(2) as i32;
                }
                if random(3) == 0 {
                    new.body
                        .topic_config_serialize_wrapper
                        .topic_queue_mapping_info_map =
                        Some(serde_json::json!({"t0": {"totalQueues": random(3)}}));
                }
                let rules = Rules {
                    drop_unregistered_topics: random(2) == 0,
                    topics_max: 3,
                    brokers_max: 4,
                    entries_max: 6,
                };
                // Some are refused.
                let _ = registry.register(new, step, rules);
            }
            6 => drop(registry.unregister(Farewell {
                epoch: [None, Some(i64::from(1 + random(4)))][random(2) as usize],
                ..farewell(group, id, &addr)
            })),
            7 => drop(registry.expire(step - i64::from(random(900)), 1_000)),
            8 => drop(registry.set_wiped(group, random(2) == 0)),
            9 => registry.delete_topic(
                topics[random(4) as usize],
                [None, Some("c")][random(2) as usize],
            ),
            10 => {
                let queues = QueueData {
                    broker_name: group.to_owned(),
                    perm: 6,
                    ..QueueData::default()
                };
                let _ = registry.register_topic(topics[random(4) as usize], vec![queues], RULES);
            }
            _ => registry.heartbeat(&addr, step),
        }
        for topic in topics {
            let kept = registry.route(topic, RouteRules::default);
            let now = registry.tables.read().route(topic, RouteRules::default());
            assert_eq!(
                kept.as_deref(),
                now.map(|route| route.to_json()).as_deref(),
                "step {step}"
            );
        }
        let tables = registry.tables.read();
        let members: usize = tables
            .groups
            .values()
            .map(|group| group.members.len())
            .sum();
        assert_eq!(members, tables.live.len(), "step {step}");
        for (addr, live) in &tables.live {
            assert_eq!(
                tables.groups[&live.group].members[&live.id], *addr,
                "step {step}"
            );
        }
        assert!(
            tables
                .groups
                .values()
                .all(|group| !group.members.is_empty())
        );
        for (topic, groups) in tables.topics.iter() {
            assert!(
                groups.keys().all(|group| tables.groups.contains_key(group)),
                "{topic} at step {step}"
            );
        }
        for (topic, groups) in &tables.mappings {
            assert!(
                groups.keys().all(|group| tables.topics.has(topic, group)),
                "{topic} at step {step}"
            );
        }
        assert!(tables.live.len() <= 4 && tables.topics.len() <= 4);
        // An epoch is never lowered, and waits to be forgotten only where its group is gone.
        for (group, highest) in &mut highest {
            let now = tables.epochs.get(group).map(|known| known.epoch);
            assert!(now >= *highest, "{group} at step {step}");
            *highest = now;
        }
        let (_, left) = tables.epochs.len();
        let gone = |(group, highest): &(&str, Option<i64>)| {
            highest.is_some() && !tables.groups.contains_key(*group)
        };
        assert_eq!(
            left,
            highest.iter().filter(|of| gone(of)).count(),
            "step {step}"
        );
    }
}

#[test]
fn lists_name_what_is_there() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    assert_eq!(registry.all_topics().topic_list, ["t", "u"]);
    assert_eq!(registry.topics_of_cluster("c").topic_list.len(), 2);
    assert!(registry.topics_of_cluster("x").topic_list.is_empty());
    assert_eq!(registry.system_topics().topic_list, ["a", "c"]);
    assert!(registry.unit_topics(UnitTopics::Unit).topic_list.is_empty());
    let info = registry.cluster_info();
    assert_eq!(info.cluster_addr_table["c"], ["a"]);
}
