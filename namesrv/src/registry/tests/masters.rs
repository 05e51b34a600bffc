//! Elected masters: the highest epoch of a group counts.

use super::*;

fn elected(id: i64, addr: &str, epoch: i64) -> Registration {
    let mut new = registration("a", id, addr, 1, &["t", "u"]);
    new.epoch = Some(epoch);
    new
}

fn members(registry: &Registry) -> String {
    let members = registry.member_group("c", "a").broker_addrs;
    let members = members.iter().map(|(id, addr)| format!("{id}={addr}"));
    members.collect::<Vec<_>>().join(" ")
}

fn register(registry: &Registry, new: Registration) -> Result<(), Rejected> {
    registry.register(new, 0, RULES).map(drop)
}

#[test]
fn a_newer_master_takes_the_place_of_the_old_one_at_once() {
    let registry = Registry::default();
    register(&registry, elected(0, "a:1", 1)).unwrap();
    for (id, addr) in [(2, "a:2"), (3, "a:3")] {
        register(&registry, registration("a", id, addr, 1, &["t", "u"])).unwrap();
    }
    assert_eq!(members(&registry), "0=a:1 2=a:2 3=a:3");
    // The old master's topics are of a newer state: the epoch decides, not that.
    let mut newer = elected(0, "a:2", 2);
    newer
        .body
        .topic_config_serialize_wrapper
        .data_version
        .state_version = -1;
    register(&registry, newer).unwrap();
    assert_eq!(members(&registry), "0=a:2 3=a:3", "its old id left with it");
    assert_eq!(
        route(&registry, "t").unwrap().broker_datas[0].master(),
        Some("a:2")
    );

    // The old one says what it did not hear yet.
    let refused = register(&registry, elected(0, "a:1", 1)).unwrap_err();
    let Rejected::Superseded(by) = &refused else {
        panic!("{refused}");
    };
    assert_eq!((by.highest, by.master.as_str()), (2, "a:2"));
    let text = refused.to_string();
    assert!(
        text.contains("epoch 2 of a:2") && text.contains("a:1 says epoch 1"),
        "{text}"
    );
    assert!(text.contains("10 minutes"), "{text}");
    registry.heartbeat("a:1", 5);
    assert_eq!(members(&registry), "0=a:2 3=a:3");

    // It comes back as what it is now.
    register(&registry, registration("a", 1, "a:1", 1, &["t", "u"])).unwrap();
    assert_eq!(members(&registry), "0=a:2 1=a:1 3=a:3");
    register(&registry, elected(0, "a:1", 3)).unwrap();
    assert_eq!(members(&registry), "0=a:1 3=a:3");
}

#[test]
fn a_farewell_of_the_past_takes_nobody_out() {
    let registry = Registry::default();
    register(&registry, elected(0, "a:1", 3)).unwrap();
    let of_epoch = |epoch| Farewell {
        epoch: Some(epoch),
        ..farewell("a", 0, "a:1")
    };
    // Sent before it lost its place and won it again, and late.
    let late = registry.unregister(of_epoch(2)).unwrap_err().to_string();
    assert!(
        late.contains("nothing was unregistered") && late.contains("epoch 3"),
        "{late}"
    );
    assert_eq!(members(&registry), "0=a:1");
    registry.unregister(of_epoch(3)).unwrap();
    assert_eq!(members(&registry), "");
}

#[test]
fn an_epoch_outlives_its_masters_registration() {
    let registry = Registry::default();
    register(&registry, elected(0, "a:1", 4)).unwrap();
    registry.expire(1_001, 1_000);
    assert_eq!(members(&registry), "");
    for _ in 0..2 {
        let refused = register(&registry, elected(0, "a:2", 3)).unwrap_err();
        assert!(matches!(refused, Rejected::Superseded(_)), "{refused}");
    }
    // The same epoch is the same master, wherever it is now.
    register(&registry, elected(0, "a:3", 4)).unwrap();
    registry.unregister(farewell("a", 0, "a:3")).unwrap();
    registry.expire(2_000, 1_000);
    registry.expire(2_000 + epochs::LEFT_MS_MAX, 1_000);
    register(&registry, elected(0, "a:2", 1)).unwrap();
    assert_eq!(members(&registry), "0=a:2");
}

/// Brokers of Apache RocketMQ, and masters by configuration: they are taken as they always were.
#[test]
fn brokers_without_an_epoch_are_taken_as_ever() {
    let registry = Registry::default();
    register(&registry, elected(0, "a:1", 9)).unwrap();
    register(&registry, registration("a", 0, "a:2", 1, &["t", "u"])).unwrap();
    assert_eq!(members(&registry), "0=a:2");
    registry.unregister(farewell("a", 0, "a:2")).unwrap();
    // Only a master speaks with its epoch.
    register(&registry, elected(1, "a:4", 1)).unwrap();
    assert_eq!(members(&registry), "1=a:4");
    let refused = register(&registry, elected(0, "a:3", 8)).unwrap_err();
    assert!(refused.to_string().contains("epoch 9 of a:1"), "{refused}");
}
