//! The Rust client rocketmq-client-rust against our servers: `compat list`, or `compat NAME_SERVER [SCENARIO...]`. It prints `ok SCENARIO` or
//! `FAILED SCENARIO: why`, one line each. The topics `rust-SCENARIO` are there, with two queues.

#![recursion_limit = "512"]

mod cluster;
mod consume;
mod send;
mod transactions;

use std::fmt::Debug;

use cluster::Cluster;

type Outcome = Result<(), String>;

const SCENARIOS: [&str; 8] = [
    "poll",
    "push_delayed",
    "push_orderly",
    "push_retry",
    "push_sql",
    "push_tags",
    "send_and_push",
    "transactions",
];

fn equal<T: PartialEq + Debug>(what: &str, expected: T, found: T) -> Outcome {
    match expected == found {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, found {found:?}")),
    }
}

async fn run(cluster: &Cluster, scenario: &str) -> Outcome {
    match scenario {
        "poll" => consume::poll(cluster).await,
        "push_delayed" => consume::push_delayed(cluster).await,
        "push_orderly" => consume::push_orderly(cluster).await,
        "push_retry" => consume::push_retry(cluster).await,
        "push_sql" => consume::push_sql(cluster).await,
        "push_tags" => consume::push_tags(cluster).await,
        "send_and_push" => consume::send_and_push(cluster).await,
        "transactions" => transactions::transactions(cluster).await,
        unknown => Err(format!("there is no scenario {unknown}")),
    }
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let Some(name_server) = words.next() else {
        eprintln!("usage: compat list | NAME_SERVER [SCENARIO...]");
        std::process::exit(2);
    };
    if name_server == "list" {
        for scenario in SCENARIOS {
            println!("{scenario}");
        }
        return;
    }
    let named: Vec<String> = words.collect();
    let cluster = match Cluster::new(name_server) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let mut has_failed = false;
    for scenario in SCENARIOS {
        if !named.is_empty() && !named.iter().any(|name| name == scenario) {
            continue;
        }
        match run(&cluster, scenario).await {
            Ok(()) => println!("ok {scenario}"),
            Err(why) => {
                has_failed = true;
                println!("FAILED {scenario}: {}", why.replace('\n', " "));
            }
        }
    }
    // Its tasks end with the process.
    std::process::exit(i32::from(has_failed));
}
