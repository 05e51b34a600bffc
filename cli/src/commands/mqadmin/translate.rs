//! A line of mqadmin, word for word.

use std::collections::BTreeMap;

use super::options::{self, Flag};
use super::rows::{Fate, Here, Row};
use crate::codes;
use crate::error::Failure;

/// Options that were given: values by the option's name in the table.
pub(crate) type Given = BTreeMap<String, String>;

/// A line of this program, and what there is to say about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    pub(super) line: String,
    pub(super) notes: Vec<String>,
}

const NAME_SERVERS: Flag = Flag {
    letter: "n",
    long: "namesrvAddr",
    takes_value: true,
    is_demanded: false,
};

/// Options of a command, with the one that all have.
pub(super) fn options_of(command: &str) -> Vec<Flag> {
    let mut all = options::of(command);
    if !all
        .iter()
        .any(|option| option.letter == NAME_SERVERS.letter)
    {
        all.push(NAME_SERVERS);
    }
    all
}

/// Options as mqadmin's parser reads them: `-t VALUE`, `--topic VALUE` or `--topic=VALUE`.
pub(super) fn given(command: &str, args: &[String]) -> Result<Given, Failure> {
    let known = options_of(command);
    let mut given = Given::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (arg.as_str(), None),
        };
        let option = known.iter().find(|option| {
            name.strip_prefix("--") == Some(option.long)
                || (!option.letter.is_empty() && name.strip_prefix('-') == Some(option.letter))
        });
        let Some(option) = option else {
            let all: Vec<String> = known.iter().map(Flag::shown).collect();
            let what = format!("mqadmin {command} has no option \"{arg}\"");
            return Err(Failure::coded(&codes::INVALID, what)
                .because(format!("its options: {}", all.join(" "))));
        };
        let value = match (option.takes_value, inline) {
            (false, None) => "true".to_owned(),
            (false, Some(_)) => {
                let what = format!("{} takes no value", option.shown());
                return Err(Failure::coded(&codes::INVALID, what));
            }
            (true, Some(value)) => value,
            (true, None) => args.next().cloned().ok_or_else(|| {
                Failure::coded(&codes::INVALID, format!("{} has no value", option.shown()))
            })?,
        };
        if given.insert(option.name().to_owned(), value).is_some() {
            let what = format!("{} is there twice", option.shown());
            return Err(Failure::coded(&codes::INVALID, what));
        }
    }
    Ok(given)
}

/// What a command with these options is here. An option without an equivalent is an error that names it.
pub(super) fn translate(row: &Row, given: &Given) -> Result<Translated, Failure> {
    let (line, fates) = match &row.here {
        Here::Out(why) => {
            let what = format!("mqadmin {} has no counterpart", row.command);
            return Err(Failure::coded(&codes::NOT_FOUND, what).because(*why));
        }
        Here::Line(line, fates) => (*line, *fates),
        Here::Choice(option, lines, fates) => {
            let value = given.get(*option).map_or("", String::as_str);
            let found = lines
                .iter()
                .find(|(of, _)| *of == value || (*of == "*" && !value.is_empty()));
            match found {
                Some((_, line)) => (*line, *fates),
                // Without the option: the first, for the table.
                None if value.is_empty() => (lines[0].1, *fates),
                None => {
                    let known: Vec<&str> = lines.iter().map(|(of, _)| *of).collect();
                    let what = format!("-{option} {value} has no equivalent");
                    return Err(Failure::coded(&codes::INVALID, what)
                        .because(format!("known: {}", known.join(", "))));
                }
            }
        }
    };
    let chosen = match &row.here {
        Here::Choice(option, ..) => Some(*option),
        _ => None,
    };
    let mut used = Vec::new();
    let mut line = fill(line, given, &mut used)?;
    let mut notes = Vec::new();
    for option in options_of(row.command) {
        let name = option.name();
        let Some(value) = given.get(name) else {
            continue;
        };
        if used.contains(&name) || chosen == Some(name) {
            continue;
        }
        if name == NAME_SERVERS.letter {
            line.push_str(&format!(" --nameserver {}", quoted_always(value)));
            continue;
        }
        let fate = fates.iter().find(|(of, _)| *of == name);
        let why = match fate.map(|(_, fate)| fate) {
            Some(Fate::Same(why)) => {
                notes.push(format!("{} is not needed: {why}", option.shown()));
                continue;
            }
            Some(Fate::Unless(neutral, _)) if value.eq_ignore_ascii_case(neutral) => continue,
            Some(Fate::No(why) | Fate::Unless(_, why)) => *why,
            None => "this version knows no way to say it",
        };
        let what = format!("{} has no equivalent in {}", option.shown(), row.command);
        return Err(Failure::coded(&codes::INVALID, what)
            .fact("value", value)
            .because(why)
            .try_this(format!(
                "rmq-ctl mqadmin {} without {}",
                row.command,
                option.shown()
            )));
    }
    Ok(Translated { line, notes })
}

/// Fills in a line; `used` gets the options that it has.
fn fill<'p>(pattern: &'p str, given: &Given, used: &mut Vec<&'p str>) -> Result<String, Failure> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['[', '{']) {
        out.push_str(&rest[..at]);
        let is_optional = rest[at..].starts_with('[');
        let close = if is_optional { ']' } else { '}' };
        let Some(end) = rest[at..].find(close).map(|end| at + end) else {
            break;
        };
        let inner = &rest[at + 1..end];
        if !is_optional {
            out.push_str(&value(inner, given, used)?);
        } else if names(inner).all(|name| given.contains_key(name)) {
            out.push_str(&fill(inner, given, used)?);
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The options that stand in a part of a line.
fn names(part: &str) -> impl Iterator<Item = &str> {
    part.split('{').skip(1).map(name)
}

fn name(slot: &str) -> &str {
    slot.split([':', '!', '|', '?', '=', '~', '}'])
        .next()
        .unwrap_or_default()
}

fn value<'p>(slot: &'p str, given: &Given, used: &mut Vec<&'p str>) -> Result<String, Failure> {
    let name = name(slot);
    let rest = &slot[name.len()..];
    if rest == "!queues" {
        used.extend(["w", "r"]);
        return queues(given);
    }
    used.push(name);
    let found = given.get(name);
    let is_true = found.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    let text_if = |holds: bool, text: &str| {
        Ok(if holds {
            text.to_owned()
        } else {
            String::new()
        })
    };
    if let Some(text) = rest.strip_prefix('?') {
        return text_if(found.is_some(), text);
    }
    if let Some(text) = rest.strip_prefix("=true:") {
        return text_if(is_true, text);
    }
    if let Some(text) = rest.strip_prefix("=false:") {
        return text_if(found.is_some() && !is_true, text);
    }
    if let Some(text) = rest.strip_prefix("~true:") {
        return text_if(!is_true, text);
    }
    let (form, default) = match rest.split_once('|') {
        Some((form, default)) => (form, Some(default)),
        None => (rest, None),
    };
    let Some(value) = found else {
        return Ok(match (default, form) {
            (Some(default), _) => default.to_owned(),
            (None, "!perm") => "rw".to_owned(),
            (None, "!time" | "!reset") => "TIME".to_owned(),
            (None, "!one") => "ADDRESS".to_owned(),
            (None, form) => form.strip_prefix(':').unwrap_or("VALUE").to_owned(),
        });
    };
    Ok(match form {
        "!perm" => perm(value)?.to_owned(),
        "!time" => quoted(&time(value, "now")),
        "!reset" => quoted(&time(value, "latest")),
        "!one" if value.contains([';', ',']) => {
            let what = format!("-{name} {value} has no equivalent");
            return Err(Failure::coded(&codes::INVALID, what)
                .because("one name server at a time is described"));
        }
        _ => quoted(value),
    })
}

/// Write and read queues: mqadmin takes 8 for what is not given.
fn queues(given: &Given) -> Result<String, Failure> {
    let number = |name: &str| -> Result<Option<u32>, Failure> {
        let Some(value) = given.get(name) else {
            return Ok(None);
        };
        let number = value.trim().parse().ok();
        let number = number.filter(|number| (1..=1024).contains(number));
        number.map(Some).ok_or_else(|| {
            Failure::coded(
                &codes::INVALID,
                format!("-{name} {value} has no equivalent"),
            )
            .because("a topic has 1 to 1024 queues at each broker")
        })
    };
    let (write, read) = (number("w")?, number("r")?);
    if write.is_none() && read.is_none() {
        return Ok(String::new());
    }
    let (write, read) = (write.unwrap_or(8), read.unwrap_or(8));
    if read < write {
        let what = format!("-r {read} with -w {write} has no equivalent");
        return Err(Failure::coded(&codes::INVALID, what)
            .because("messages of the queues that are written and not read could not be read")
            .try_this(format!("-r {write} -w {write}")));
    }
    if read == write {
        return Ok(format!("--queues {write}"));
    }
    Ok(format!("--queues {write} --read-queues {read}"))
}

fn perm(value: &str) -> Result<&'static str, Failure> {
    match value.trim() {
        "6" => Ok("rw"),
        "4" => Ok("r"),
        "2" => Ok("w"),
        "0" => Ok("-"),
        other => Err(
            Failure::coded(&codes::INVALID, format!("-p {other} has no equivalent"))
                .because("the permissions are 6 (read and write), 4 (read), 2 (write) and 0"),
        ),
    }
}

/// `2026-01-31#09:00:00:000`, `now`, -1 and milliseconds as they are written here.
fn time(value: &str, now: &str) -> String {
    if matches!(value, "now" | "currentTimeMillis" | "-1") {
        return now.to_owned();
    }
    match value.split_once('#') {
        Some((date, time)) => {
            let mut parts = time.splitn(4, ':');
            let mut part = || parts.next().unwrap_or("00");
            format!("{date} {}:{}:{}", part(), part(), part())
        }
        None => value.to_owned(),
    }
}

fn quoted(value: &str) -> String {
    let is_plain = value
        .chars()
        .all(|letter| letter.is_alphanumeric() || "-_./:@%,=+".contains(letter));
    if is_plain && !value.is_empty() {
        value.to_owned()
    } else {
        quoted_always(value)
    }
}

fn quoted_always(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
