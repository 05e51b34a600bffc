//! Evaluations a second on one core, of properties as brokers store them.
//!
//! `cargo bench -p rmq-filter`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use rmq_filter::{Limits, Program};
use rmq_protocol::message::properties;

const PROPERTIES: [(&str, &str); 10] = [
    ("KEYS", "order-20931 customer-118"),
    ("amount", "250"),
    ("region", "eu-west"),
    ("WAIT", "true"),
    ("TAGS", "paid"),
    ("UNIQ_KEY", "7F0000010A3C18B4AAC2187B1C4A0000"),
    ("CLUSTER", "DefaultCluster"),
    ("MSG_REGION", "DefaultRegion"),
    ("TRACE_ON", "true"),
    ("__CRC32#", "1029384756"),
];

const EXPRESSIONS: [(&str, &str); 4] = [
    ("one term", "amount > 100"),
    (
        "three terms",
        "amount > 100 AND region = 'eu-west' AND TAGS = 'paid'",
    ),
    (
        "three terms, the last is false",
        "amount > 100 AND region STARTSWITH 'eu' AND TAGS IN ('open', 'closed')",
    ),
    (
        "three terms of doubles",
        "amount BETWEEN 1.5 AND 300.5 AND amount > 2.5",
    ),
];

const ROUNDS: u32 = 500_000;

fn main() {
    let stored = properties::join(PROPERTIES);
    println!("| expression | ns | evaluations a second and core |");
    println!("| --- | --- | --- |");
    for (name, text) in EXPRESSIONS {
        let program = Program::new(text, Limits::default()).expect("a valid expression");
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let began = Instant::now();
            for _ in 0..ROUNDS {
                black_box(program.matches(properties::iter(black_box(&stored))));
            }
            best = best.min(began.elapsed().as_secs_f64());
        }
        let each = best / f64::from(ROUNDS);
        println!("| {name} | {:.0} | {:.1} M |", each * 1e9, 1e-6 / each);
    }
    let text = EXPRESSIONS[1].1;
    let began = Instant::now();
    for _ in 0..ROUNDS / 10 {
        drop(black_box(Program::new(black_box(text), Limits::default())));
    }
    let each = began.elapsed().as_secs_f64() / f64::from(ROUNDS / 10);
    println!("\nreading three terms: {:.1} µs", each * 1e6);
}
