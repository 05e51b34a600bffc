//! What a check costs: `cargo bench -p rmq-access`. A signature beside its hashing, and a right among 10,000 entries.

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use rmq_access::{Acl, Actions, Decision, Entry, Kind, PolicyKind, Rules};
use rmq_protocol::code::Action;
use rmq_protocol::frame::HeaderEncoding;
use rmq_protocol::header::{Fields, Header, Language};
use rmq_protocol::signature::{SigningKey, sign};

const ROUNDS: u32 = 200_000;

/// The best of five, nanoseconds for each call.
fn best(mut call: impl FnMut()) -> f64 {
    let round = |call: &mut dyn FnMut()| {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            call();
        }
        began.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
    };
    (0..5).map(|_| round(&mut call)).fold(f64::MAX, f64::min)
}

fn main() {
    signatures();
    rights();
}

fn signatures() {
    let properties = "KEYS\u{1}order-1\u{2}UNIQ_KEY\u{1}7F0000010000000000000000000000AB\u{2}";
    let own = [
        ("a", "producers"),
        ("b", "orders"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "3"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
        ("n", "broker-a"),
    ];
    let key = SigningKey::new("a-secret-key-of-a-user");
    for bytes in [0, 1_024] {
        let body = vec![b'x'; bytes];
        let added = sign("ann", "a-secret-key-of-a-user", &own, &body);
        let mut all = own.to_vec();
        all.extend(
            added
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let header = Header {
            encoding: HeaderEncoding::Binary,
            code: 310,
            language: Language::Java,
            version: 513,
            opaque: 1,
            flag: 0,
            remark: None,
            fields: Fields::from_pairs(&all),
        };
        let whole = best(|| assert!(key.check(black_box(&header), black_box(&body)).is_ok()));
        // The same bytes in one piece: what the hash alone takes.
        let values: String = own.iter().map(|(_, value)| *value).collect();
        let mut content = values.into_bytes();
        content.extend(b"ann");
        content.extend(&body);
        let alone = Header {
            fields: Fields::from_pairs(&[("Signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")]),
            ..header.clone()
        };
        let hashing =
            best(|| assert!(black_box(key.check(black_box(&alone), black_box(&content))).is_err()));
        println!(
            "signature of a message of {bytes} bytes: {whole:.0} ns, of which {hashing:.0} ns hash; {:.0} ns beside it",
            whole - hashing
        );
    }
}

fn rights() {
    let mut acl = Acl::default();
    for number in 0..10_000 {
        let resource = match number % 10 {
            0 => format!("Topic:team-{number}-*"),
            _ => format!("Topic:orders-{number}"),
        };
        let entry = Entry {
            resource: resource.parse().expect("a resource"),
            actions: Actions::of(&[Action::Pub, Action::Sub]),
            networks: Vec::new(),
            decision: Decision::Allow,
        };
        acl.put(PolicyKind::Custom, entry);
    }
    let began = Instant::now();
    let rules = Rules::of(&acl);
    println!("10,000 entries compiled in {:?}", began.elapsed());
    let from: IpAddr = "10.0.0.1".parse().expect("an address");
    let send = Actions::one(Action::Pub);
    for (what, name) in [
        ("a name", "orders-7777"),
        ("a prefix", "team-9990-events"),
        ("nothing", "somewhere-else"),
    ] {
        let took = best(|| {
            black_box(rules.allow(Kind::Topic, black_box(Some(name)), send, from));
        });
        println!("right by {what} among 10,000 entries: {took:.0} ns");
    }
}
