//! Every option of every command: carried over, or refused by its name.

use super::translate::{Translated, given, options_of, translate};
use super::*;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn try_line(text: &str) -> Result<Translated, Failure> {
    let words = words(text);
    let row = ROWS.iter().find(|row| row.command == words[0]).unwrap();
    translate(row, &given(row.command, &words[1..])?)
}

fn line(text: &str) -> String {
    try_line(text)
        .unwrap_or_else(|failure| panic!("{text}: {failure:?}"))
        .line
}

#[test]
fn old_lines_become_new_ones() {
    for (old, new) in [
        ("topicList", "get topics"),
        (
            "updateTopic -c DefaultCluster -t orders -r 8 -w 8 -p 4",
            "create topic orders --or-change --queues 8 --perm r --broker-cluster DefaultCluster",
        ),
        (
            "updateTopic -b 10.0.0.1:10911 -t orders -r 8 -w 4",
            "create topic orders --or-change --queues 4 --read-queues 8 --broker 10.0.0.1:10911",
        ),
        (
            "updateTopic -c C -t orders -r 16",
            "create topic orders --or-change --queues 8 --read-queues 16 --broker-cluster C",
        ),
        (
            "updateTopic -c C -t orders -o false -a +message.type=FIFO",
            "create topic orders --or-change --attributes +message.type=FIFO --broker-cluster C",
        ),
        (
            "updateSubGroup -g G -s false",
            "create group G --or-change --no-consume --no-broadcast --no-from-min",
        ),
        (
            "updateSubGroup -g G -q 3 -d false -m true -r 2 -o true",
            "create group G --or-change --max-attempts 2 --retry-queues 3 --no-broadcast --ordered",
        ),
        (
            "updateSubGroup --groupName G --attributes=+a=b -d true -m true -s true",
            "create group G --or-change --attributes +a=b",
        ),
        (
            "queryMsgByKey -t orders -k order-17",
            "find message -t orders --key order-17 --max 64",
        ),
        (
            "queryMsgByKey -t orders -k paid -p T -m 5",
            "find message -t orders --tag paid --max 5",
        ),
        (
            "resetOffsetByTime -g g -t t -s 2026-01-31#09:00:00:000",
            "offsets reset g -t t --to '2026-01-31 09:00:00'",
        ),
        (
            "resetOffsetByTime -g g -t t -s now",
            "offsets reset g -t t --to latest",
        ),
        (
            "resetOffsetByTime -g g -t t -s -1",
            "offsets reset g -t t --to latest",
        ),
        (
            "resetOffsetByTime -g g -t t -s 0 -b b -q 1 -o 42",
            "offsets reset g -t t --to 42 --queue b/1",
        ),
        ("updateOrderConf -t t -m delete", "set topic t order-conf="),
        ("consumerProgress", "lag"),
        (
            "consumerProgress -g g -n a:9876;b:9876",
            "lag g --nameserver 'a:9876;b:9876'",
        ),
        (
            "queryMsgByOffset -t t -b broker-a -i 3 -o 42",
            "find message -t t --offset broker-a/3@42",
        ),
    ] {
        assert_eq!(line(old), new);
    }
}

#[test]
fn what_has_no_equivalent_is_refused_by_its_name() {
    for (old, option) in [
        ("updateTopic -c C -t t -o true", "-o has no equivalent"),
        ("updateTopic -c C -t t -r 4 -w 8", "-r 4 with -w 8"),
        ("updateTopic -c C -t t -r many", "-r many"),
        ("updateTopic -c C -t t -p 5", "-p 5"),
        ("updateTopic -c C -t t -x 5", "\"-x\""),
        ("updateTopic -c C -t t -r", "-r has no value"),
        ("updateTopic -c C -t t -t u", "-t is there twice"),
        ("updateSubGroup -g G -p {}", "-p has no equivalent"),
        (
            "resetOffsetByTime -g g -t t -s now -f false",
            "-f has no equivalent",
        ),
        (
            "resetOffsetByTime -g g -t t -s now -q 1",
            "-q has no equivalent",
        ),
        ("updateOrderConf -t t -m unset", "-m unset"),
        ("getNamesrvConfig -n a:1;b:1", "-n a:1;b:1"),
        ("topicList extra", "\"extra\""),
    ] {
        let failure = try_line(old).expect_err(old);
        assert!(failure.what().contains(option), "{old}: {}", failure.what());
        assert_ne!(failure.exit_code() as u8, 0);
    }
}

/// A value for an option that no default has.
fn sample(command: &str, name: &str) -> &'static str {
    match (command, name) {
        (_, "p") if command.starts_with("updateTopic") => "4",
        ("updateTopic", "r") => "77",
        ("updateTopic", "w") => "7",
        ("updateOrderConf", "m") => "put",
        ("resetOffsetByTime", "s") => "1234567890123",
        ("getNamesrvConfig", "n") => "other:1",
        _ => "77",
    }
}

#[test]
fn no_option_of_any_command_is_dropped() {
    let mut walked = 0;
    for row in ROWS {
        if matches!(row.here, Here::Out(_)) {
            continue;
        }
        let options = translate::options_of(row.command);
        let base = |without: &str| -> Given {
            let demanded = options.iter().filter(|option| option.is_demanded);
            demanded
                .filter(|option| option.name() != without)
                .map(|option| {
                    let name = option.name();
                    (name.to_owned(), sample(row.command, name).to_owned())
                })
                .collect()
        };
        for option in &options {
            let name = option.name();
            let without = base(name);
            let before = translate(row, &without)
                .unwrap_or_else(|failure| panic!("{} without {name}: {failure:?}", row.command));
            let values: &[&str] = match option.takes_value {
                true => &[sample(row.command, name), "true", "false"],
                false => &["true"],
            };
            let mut is_carried = false;
            for value in values {
                let mut with = without.clone();
                with.insert(name.to_owned(), (*value).to_owned());
                match translate(row, &with) {
                    Ok(done) => is_carried |= done != before,
                    Err(failure) => {
                        let shown = option.shown();
                        assert!(
                            failure.what().contains(&shown),
                            "{} {shown} {value}: {failure:?}",
                            row.command
                        );
                        is_carried = true;
                    }
                }
            }
            assert!(is_carried, "{} drops {}", row.command, option.shown());
            walked += 1;
        }
        // What the table says of options is said of real ones.
        for (name, _) in row.fates() {
            assert!(
                options.iter().any(|option| option.shown() == name),
                "{} has no option {name}",
                row.command
            );
        }
    }
    assert!(walked > 150, "{walked} options");
}

#[test]
fn the_table_has_the_commands_of_mqadmin() {
    let mut rows: Vec<&str> = ROWS.iter().map(|row| row.command).collect();
    rows.sort_unstable();
    let mut known: Vec<&str> = options::OPTIONS.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(rows, known);
    assert_eq!(options_of("switchTimerEngine").len(), 4);
}
