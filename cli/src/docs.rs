//! Pages of docs/ that are made from the code, and the check that they are current.
//! `RMQ_UPDATE_DOCS=1 cargo test -p rmq-ctl` writes them.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};

use crate::args::Args;
use crate::codes;

/// The same for every program of ours: `rmq-process`.
const SIGNALS: &str = "
## Ctrl-C and SIGTERM

Every program treats both signals in the same way, the servers and the operator too. The first signal ends a program gently, the second one at once. A log or a message on stderr says when a stop takes time.

| program | the first signal | exit code | the second signal |
| --- | --- | --- | --- |
| `rmq-namesrv` | answers what is in flight, closes its connections | 0 | at once, 130 (SIGINT) or 143 (SIGTERM) |
| `rmq-broker` | leaves the routes, answers what is in flight, writes everything to disk | 0; 1 when the last messages could not be written | the same; the next start reads the end of the log again, and no acknowledged message is lost |
| `rmq-operator` | finishes what it does, gives up the Lease | 0 | the same |
| `rmq-ctl dev` | as the servers | 0 | the same |
| `rmq-ctl` `tunnel`, `top`, `tail --follow`, `consume`, `--watch` | leaves the group, commits offsets, closes connections | 0 | the same |
| `rmq-ctl` `send`, `dlq resend` | finishes what is in flight, says how many were sent | 130 or 143 | the same; what was in flight may be stored or not |
| `rmq-ctl` `wait`, `bench`, `tail`, `consume --max`, `consume --exit-when-drained`, `health --wait`, `broker drain --wait` | ends before it came to its end; `bench` prints what it measured | 130 or 143 | the same |
| other verbs | end at once, as the system does it | the signal; a shell shows 130 or 143 | |
| `rmq-bench` | ends the servers that it started and removes its directories | 130 or 143; `reference` 0 | the same |
| a service with `rmq_client::stop_signal` | finishes what is being handled, commits offsets, leaves the group | as the service says | the same |
";

/// `docs/reference/errors.md`.
fn errors() -> String {
    let mut page = String::from(
        "# Errors of `rmq-ctl`\n\nEach error has a code that stays the same from version to version. `rmq-ctl explain CODE` prints what stands here.\nThe exit codes are 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 unreachable or timed out, 6 conflict, 7 some of it was done, 10 a check found a problem, 130 or 143 ended by a signal.\n",
    );
    page.push_str(SIGNALS);
    for code in codes::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n**{}** (exit code {})\n\n{}\n\n*What to do:* {}\n",
            code.id, code.title, code.exit as u8, code.why, code.what_to_do
        );
    }
    page
}

/// `docs/reference/cli.md`.
fn cli() -> String {
    let mut page = String::from(
        "# `rmq-ctl`\n\nWhat `rmq-ctl VERB --help` prints. Every verb also takes the options of `rmq-ctl` itself.\n",
    );
    let mut root = Args::command().term_width(100);
    root.build();
    verb(&root, "rmq-ctl", &mut page);
    page
}

fn verb(command: &Command, path: &str, page: &mut String) {
    let is_root = !path.contains(' ');
    let mut shown = command.clone().mut_args(|argument| {
        let is_shown = is_root || !argument.is_global_set();
        argument.hide(!is_shown)
    });
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(
        page,
        "\n## {path}\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    );
    for inner in command.get_subcommands() {
        if inner.get_name() != "help" {
            verb(inner, &format!("{path} {}", inner.get_name()), page);
        }
    }
}

/// `docs/reference/mqadmin.md`.
fn mqadmin() -> String {
    use crate::commands::mqadmin::{Fate, Here, ROWS};
    let mut page = String::from(
        "# From `mqadmin` to `rmq-ctl`\n\nThe real `mqadmin` works with our servers too. `rmq-ctl mqadmin LINE` says what a line is here: each option is carried over, or the line is refused and the option named.\n\n| mqadmin | what it does | here |\n| --- | --- | --- |\n",
    );
    for row in ROWS {
        let lines = row.lines().into_iter();
        let lines: Vec<String> = lines.map(|line| format!("`rmq-ctl {line}`")).collect();
        let here = match row.here {
            Here::Out(why) => format!("not here: {why}"),
            _ => lines.join(" or "),
        };
        let _ = writeln!(page, "| {} | {} | {here} |", row.command, row.what);
    }
    page.push_str(
        "\n## Options without an equivalent\n\n| mqadmin | option | why, and what to use |\n| --- | --- | --- |\n",
    );
    for row in ROWS {
        for (option, fate) in row.fates() {
            let says = match fate {
                Fate::No(why) => why.to_owned(),
                Fate::Unless(value, why) => format!("refused unless `{value}`: {why}"),
                Fate::Same(why) => format!("not needed: {why}"),
            };
            let says = says.replace('|', "\\|");
            let _ = writeln!(page, "| {} | `{option}` | {says} |", row.command);
        }
    }
    page
}

/// Compares a generated page with the one under docs/, or writes it when `RMQ_UPDATE_DOCS` is set.
fn check(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(page);
    if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("docs/ can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/{page} is not current: run RMQ_UPDATE_DOCS=1 cargo test -p rmq-ctl"
    );
}

#[test]
fn the_page_of_errors_is_current() {
    check("reference/errors.md", &errors());
}

#[test]
fn the_page_of_verbs_is_current() {
    check("reference/cli.md", &cli());
}

#[test]
fn options_do_not_clash() {
    Args::command().debug_assert();
    fn walk(command: &Command, above: &[String]) {
        let mut names = above.to_vec();
        for argument in command.get_arguments() {
            let id = argument.get_id().to_string();
            if !argument.is_global_set() {
                assert!(
                    !above.contains(&id),
                    "{} has an option {id} that is global too",
                    command.get_name()
                );
            } else {
                names.push(id);
            }
        }
        for inner in command.get_subcommands() {
            walk(inner, &names);
        }
    }
    walk(&Args::command(), &[]);
}

#[test]
fn the_page_of_mqadmin_is_current() {
    check("reference/mqadmin.md", &mqadmin());
}

/// Whether a line is one that this program understands.
fn parses(line: &str) {
    if let Err(error) = Args::command().try_get_matches_from(words(line)) {
        panic!("{line}: {error}");
    }
}

#[test]
fn every_line_of_the_parity_table_parses() {
    use crate::commands::mqadmin::{Given, ROWS};
    for row in ROWS {
        for line in row.lines() {
            let line = line
                .replace("TIME", "10m")
                .replace("@OFFSET", "@1")
                .replace("--to VALUE", "--to 1");
            parses(&format!("rmq-ctl {line}"));
        }
        // With options, as far as they can stand together.
        for letters in ["acdegiklmoqrstvw", "abdgkmprtvw", "tgb", "attributes"] {
            let mut all = Given::new();
            let names: Vec<&str> = match letters {
                "attributes" => vec!["attributes", "g"],
                letters => letters.split("").filter(|name| !name.is_empty()).collect(),
            };
            for name in names {
                let value = match (row.command, name) {
                    ("printMsg" | "printMsgByQueue" | "queryMsgByKey", "b" | "e")
                    | ("consumeMessage" | "resetOffsetByTime", "s" | "e") => {
                        "2026-01-31#09:00:00:000"
                    }
                    ("updateTopic" | "updateTopicPerm", "p") => "4",
                    ("updateTopic", "a") | (_, "attributes") => "+a=b,-c",
                    ("updateOrderConf", "m") => "put",
                    _ => "16",
                };
                all.insert(name.to_owned(), value.to_owned());
            }
            // One with a refused option is of no interest here.
            if let Ok(line) = row.line(&all) {
                let line = line.replace("TIME", "10m").replace("@OFFSET", "@1");
                parses(&format!("rmq-ctl {line}"));
            }
        }
    }
}

#[test]
fn every_line_of_the_recipes_parses() {
    for recipe in crate::commands::cheat::RECIPES {
        for (line, _) in recipe.lines {
            parses(line.split(" > ").next().unwrap_or_default());
        }
    }
}

#[test]
fn every_verb_says_whether_it_changes_anything() {
    const SAYS: [&str; 3] = ["Reads only", "Changes ", "Asks no server"];
    fn walk(command: &Command, path: &str, above: bool, silent: &mut Vec<String>) {
        let after = command.get_after_help().map(ToString::to_string);
        let says = above
            || SAYS
                .iter()
                .any(|says| after.as_ref().is_some_and(|after| after.contains(says)));
        let inner: Vec<&Command> = command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
            .collect();
        for inner in &inner {
            walk(inner, &format!("{path} {}", inner.get_name()), says, silent);
        }
        if inner.is_empty() && !says {
            silent.push(path.to_owned());
        }
    }
    let mut silent = Vec::new();
    walk(&Args::command(), "rmq-ctl", false, &mut silent);
    assert!(silent.is_empty(), "{silent:?}");
}

/// One rule: `-` is stdin wherever a command reads a file or a list of values, and its help says so.
#[test]
fn what_reads_takes_stdin() {
    /// Read for a reason of their own: the kubeconfig by its library, the credentials and what TLS needs again at each use, and lines of another program.
    const NOT: &[&str] = &[
        "kubeconfig",
        "import/file",
        "mqadmin/line",
        "tunnel/command",
        "tls_ca",
        "tls_certificate",
        "tls_key",
    ];
    fn walk(command: &Command, silent: &mut Vec<String>) {
        for argument in command.get_arguments() {
            let is_file = argument
                .get_value_names()
                .is_some_and(|names| names.iter().any(|name| *name == "FILE"))
                || argument.get_id() == "file";
            let is_list = argument.is_positional()
                && argument.get_possible_values().is_empty()
                && argument
                    .get_num_args()
                    .is_some_and(|range| range.max_values() > 1);
            let help = argument.get_help().map(ToString::to_string);
            let says = help
                .is_some_and(|help| help.contains("- is stdin") || help.contains("- for stdin"));
            let name = format!("{}/{}", command.get_name(), argument.get_id());
            let is_not = NOT
                .iter()
                .any(|not| name == *not || argument.get_id() == *not);
            if (is_file || is_list) && !says && !is_not {
                silent.push(name);
            }
        }
        for inner in command.get_subcommands() {
            walk(inner, silent);
        }
    }
    let mut root = Args::command();
    root.build();
    let mut silent = Vec::new();
    walk(&root, &mut silent);
    silent.retain(|name| !name.starts_with("help/"));
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn short_help_is_short() {
    fn walk(command: &mut Command, path: &str) {
        let short = command.render_help().to_string();
        let long = command.render_long_help().to_string();
        assert!(
            short.contains("Global options: rmq-ctl help options"),
            "{path}: {short}"
        );
        assert!(!short.contains("--nameserver <"), "{path}: {short}");
        let has_none = path.ends_with(" help") || path.contains(" help ");
        assert!(
            has_none || long.contains("--nameserver <"),
            "{path}: {long}"
        );
        let names: Vec<String> = command
            .get_subcommands()
            .map(|inner| inner.get_name().to_owned())
            .collect();
        for name in names.iter().filter(|name| *name != "help") {
            if let Some(inner) = command.find_subcommand_mut(name) {
                walk(inner, &format!("{path} {name}"));
            }
        }
    }
    let mut root = crate::command();
    root.build();
    walk(&mut root, "rmq-ctl");
}

#[test]
fn every_verb_has_two_examples_that_parse() {
    fn walk(command: &Command, path: &str) {
        let inner: Vec<&Command> = command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
            .collect();
        for inner in &inner {
            walk(inner, &format!("{path} {}", inner.get_name()));
        }
        let after = command.get_after_help().map(ToString::to_string);
        let examples: Vec<String> = after
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| line.contains("rmq-ctl "))
            .map(str::to_owned)
            .collect();
        let is_leaf = inner.is_empty() && path.matches(' ').count() == 1;
        assert!(
            !is_leaf || examples.len() >= 2 || path == "rmq-ctl version",
            "{path} has fewer than two examples"
        );
        for example in examples {
            let line = example.split(" #").next().unwrap_or_default();
            for line in line.split(" | ") {
                let line = line.split(" > ").next().unwrap_or_default();
                let line = line.replace("source <(", "").replace(')', "");
                if line.trim_start().starts_with("rmq-ctl ") {
                    parses(line.trim());
                }
            }
        }
    }
    walk(&Args::command(), "rmq-ctl");
}

/// The runbook has a section for each finding about members, and its lines are lines of this program.
#[test]
fn the_page_of_failover_knows_all_findings() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate/failover.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .collect();
    for id in crate::facts::checks::members::IDS {
        assert!(sections.contains(id), "{id} has no section");
    }
    let unknown = |section: &&&str| !crate::facts::checks::members::IDS.contains(section);
    assert_eq!(sections.iter().find(unknown), None);
    let lines = page.lines().filter_map(|line| line.strip_prefix("$ "));
    for line in lines.filter(|line| line.starts_with("rmq-ctl ")) {
        parses(line);
    }
}

/// Words as a shell sees them, for quotes of one kind.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            match words.last_mut() {
                // Joined to the word before: a='b'.
                Some(last) if !line_ends_with_space(line, index) => {
                    let last: &mut String = last;
                    last.push_str(part);
                }
                _ => words.push(part.to_owned()),
            }
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn line_ends_with_space(line: &str, quotes: usize) -> bool {
    let before: Vec<&str> = line.split('\'').take(quotes).collect();
    before.join("'").ends_with(' ')
}
