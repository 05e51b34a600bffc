//! The table of request codes: complete, and written down in `docs/reference/compatibility.md`. Budget: 1 s.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::RangeInclusive;

use rmq_broker::{RequestRow, Roles, Served, request_table};
use rmq_protocol::RequestCode;

/// The page, and the lines between which the table stands.
const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/reference/compatibility.md"
);
const BEGIN: &str = "<!-- The broker's requests. Generated: RMQ_UPDATE_DOCS=1 cargo test -p rmq-broker request_codes -->\n";
const END: &str = "<!-- End of the broker's requests. -->\n";

/// The request codes of Apache RocketMQ 5.5.0, without those of lite topics and of the access control before 5.0.
const KNOWN: &[RangeInclusive<i32>] = &[
    10..=15,
    17..=18,
    21..=23,
    25..=43,
    45..=47,
    60..=61,
    100..=106,
    200..=217,
    219..=225,
    300..=329,
    343..=343,
    345..=345,
    351..=355,
    361..=361,
    370..=370,
    400..=402,
    513..=513,
    901..=908,
    1001..=1018,
    2001..=2004,
    3001..=3010,
    200_050..=200_056,
    200_151..=200_151,
];

#[test]
fn every_known_request_code_has_one_row() {
    let rows: Vec<i32> = request_table().map(|row| row.code.as_i32()).collect();
    let distinct: BTreeSet<i32> = rows.iter().copied().collect();
    assert_eq!((rows.len(), distinct.len()), (182, 182));
    let known: Vec<i32> = KNOWN.iter().cloned().flatten().collect();
    assert_eq!(known.len(), 158);
    let missing: Vec<&i32> = known
        .iter()
        .filter(|code| !distinct.contains(code))
        .collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}

#[test]
fn every_request_that_a_broker_may_serve_needs_a_right() {
    for row in request_table() {
        let may_serve = matches!(row.served, Served::Here | Served::NotYet);
        assert_eq!(may_serve, !row.rights.is_empty(), "{}", row.code);
    }
}

#[test]
fn what_changes_something_is_for_the_master() {
    for (code, roles) in [
        (RequestCode::SendMessageV2, Roles::Master),
        (RequestCode::DeleteTopicInBroker, Roles::Master),
        (RequestCode::ConsumerSendMsgBack, Roles::PassedOn),
        (RequestCode::LockBatchMq, Roles::PassedOn),
    ] {
        let row = request_table().find(|row| row.code == code);
        assert_eq!(row.map(|row| row.roles), Some(roles), "{code}");
    }
}

fn names(rows: &[RequestRow], wanted: impl Fn(Served) -> bool) -> String {
    let names = rows.iter().filter(|row| wanted(row.served));
    let names = names.map(|row| format!("{} `{}`", row.code.as_i32(), row.code.name()));
    names.collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let mut rows: Vec<RequestRow> = request_table().collect();
    rows.sort_by_key(|row| row.code.as_i32());
    let mut text = String::from("| code | request | rights | role |\n| --- | --- | --- | --- |\n");
    for row in rows.iter().filter(|row| row.served == Served::Here) {
        let rights: Vec<String> = row.rights.iter().map(ToString::to_string).collect();
        let roles = match row.roles {
            Roles::Master => "master",
            Roles::PassedOn => "master; a replica passes it on",
            _ => "any",
        };
        let (code, name) = (row.code.as_i32(), row.code.name());
        let rights = rights.join(", ");
        writeln!(text, "| {code} | `{name}` | {rights} | {roles} |").expect("a string takes it");
    }
    let not_yet = names(&rows, |served| served == Served::NotYet);
    let elsewhere = names(&rows, |served| matches!(served, Served::Elsewhere(_)));
    let mut unneeded = String::from("| code | request | why |\n| --- | --- | --- |\n");
    for row in &rows {
        if let Served::Unneeded(because) = row.served {
            let (code, name) = (row.code.as_i32(), row.code.name());
            writeln!(unneeded, "| {code} | `{name}` | {because} |").expect("a string takes it");
        }
    }
    let nowhere = names(&rows, |served| served == Served::Nowhere);
    write!(
        text,
        "\nNot there yet (code 3): {not_yet}.\n\nBrokers of Apache RocketMQ serve these, and brokers here need not (code 3, with the reason):\n\n{unneeded}\nFor name servers, controllers, broker containers and clients (code 3): {elsewhere}.\n\n\
         Without a handler in Apache RocketMQ 5.5.0 (code 3): {nowhere}.\n"
    )
    .expect("a string takes it");
    text
}

#[test]
fn request_codes_are_written_down() {
    let current = std::fs::read_to_string(PAGE).expect("the page");
    let (before, rest) = current
        .split_once(BEGIN)
        .expect("the line of the beginning");
    let (_, after) = rest.split_once(END).expect("the line of the end");
    let wanted = [before, BEGIN, &page(), END, after].concat();
    if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &wanted).expect("the page can be written");
        return;
    }
    assert!(
        current == wanted,
        "docs/reference/compatibility.md is not current: RMQ_UPDATE_DOCS=1 cargo test -p rmq-broker request_codes"
    );
}
