//! The tables alone: no sockets, time as a number.

use rmq_protocol::bodies::{DataVersion, RegisterBrokerBody, TopicConfig};
use rmq_protocol::route::{QueueData, TopicRoute};

use super::register::Rejected;
use super::*;

const RULES: Rules = Rules {
    brokers_max: 10,
    topics_max: 100,
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
        timeout_ms: 1_000,
        enable_acting_master: None,
        body,
        peer: None,
    }
}

fn route(registry: &Registry, topic: &str) -> Option<TopicRoute> {
    registry
        .route(topic, || None)
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
    registry.unregister("a", 0, "a:1");
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

    registry.unregister("a", 0, "a:2");
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
    registry.expire(1_000);
    assert_eq!(registry.sizes().brokers, 2);
    registry.expire(1_001);
    assert_eq!((registry.sizes().brokers, registry.sizes().topics), (1, 2));
    assert_eq!(
        registry.same_version("a:1", version, 1_800),
        (true, Some(version))
    );
    registry.expire(2_700);
    assert_eq!(registry.same_version("b:1", version, 0), (false, None));
    registry.expire(2_801);
    assert_eq!(registry.sizes(), Sizes::default());
}

#[test]
fn wiped_brokers_cannot_be_written_until_given_back() {
    let registry = Registry::default();
    registry
        .register(registration("a", 0, "a:1", 1, &["t", "u"]), 0, RULES)
        .unwrap();
    assert_eq!(route(&registry, "t").unwrap().queue_datas[0].perm, 6);
    assert_eq!(registry.set_wiped("a", true), 2);
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
    assert_eq!(registry.register_topic("new", vec![queues("a")], 2), Err(2));
    registry
        .register_topic("new", vec![queues("a"), queues("nobody")], 3)
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
    registry.unregister("d", 0, "d:1");
    let bytes = registry.route_in_zone("t", "z1", None).unwrap();
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
fn older_states_do_not_override_newer_ones() {
    let registry = Registry::default();
    let mut new = registration("a", 0, "a:1", 5, &["t", "u"]);
    new.body
        .topic_config_serialize_wrapper
        .data_version
        .state_version = 2;
    registry.register(new, 0, RULES).unwrap();
    registry
        .register(registration("a", 0, "a:1", 9, &["v", "w"]), 0, RULES)
        .unwrap();
    assert!(route(&registry, "v").is_none());
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
