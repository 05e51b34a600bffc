//! `rmq-ctl mqadmin`: what an old `mqadmin` line is called here. Asks no server and runs nothing.

mod options;
mod rows;
mod translate;

use clap::Args;

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

pub(crate) use rows::{Fate, Here, ROWS, Row};
pub(crate) use translate::Given;

/// Options of `mqadmin`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server.

Examples:
  rmq-ctl mqadmin topicList -n ns-0:9876
  rmq-ctl mqadmin updateTopic -n ns-0:9876 -c DefaultCluster -t orders -r 8 -w 8
  rmq-ctl mqadmin            # the whole table")]
pub(crate) struct Options {
    /// The command and its options, as mqadmin takes them. Default: the table of all commands.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "LINE"
    )]
    line: Vec<String>,
}

impl Row {
    /// The lines for people, with the names of what has to be filled in; none when there is no counterpart.
    pub(crate) fn lines(&self) -> Vec<String> {
        let with = |option: Option<(&str, &str)>| {
            let given = option.filter(|(_, value)| !value.is_empty());
            let given = given.map(|(option, value)| {
                let value = if value == "*" { "VALUE" } else { value };
                (option.to_owned(), value.to_owned())
            });
            self.line(&given.into_iter().collect()).ok()
        };
        match &self.here {
            Here::Out(_) => Vec::new(),
            Here::Line(..) => with(None).into_iter().collect(),
            Here::Choice(option, lines, _) => lines
                .iter()
                .filter_map(|(value, _)| with(Some((option, value))))
                .collect(),
        }
    }

    /// The line with these options.
    pub(crate) fn line(&self, given: &Given) -> Result<String, Failure> {
        translate::translate(self, given).map(|done| done.line)
    }

    /// Options that no line has, and what becomes of them.
    pub(crate) fn fates(&self) -> Vec<(String, Fate)> {
        let (Here::Line(_, fates) | Here::Choice(_, _, fates)) = self.here else {
            return Vec::new();
        };
        let options = translate::options_of(self.command);
        let shown = |name: &str| {
            let option = options.iter().find(|option| option.name() == name);
            option.map_or_else(|| name.to_owned(), options::Flag::shown)
        };
        fates
            .iter()
            .map(|(name, fate)| (shown(name), *fate))
            .collect()
    }
}

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let Some((command, args)) = options.line.split_first() else {
        for row in ROWS {
            output.data(&format!("{:34} {}", row.command, row.what));
            for line in row.lines() {
                output.data(&format!("{:34}   rmq-ctl {line}", ""));
            }
            if let Here::Out(why) = row.here {
                output.data(&format!("{:34}   - ({why})", ""));
            }
        }
        return Ok(());
    };
    let Some(row) = ROWS
        .iter()
        .find(|row| row.command.eq_ignore_ascii_case(command))
    else {
        let known: Vec<String> = ROWS.iter().map(|row| row.command.to_owned()).collect();
        let mut failure = Failure::coded(
            &codes::NOT_FOUND,
            format!("mqadmin has no command \"{command}\""),
        );
        if let Some(close) = crate::cluster::closest(command, &known) {
            failure = failure.try_this(format!("rmq-ctl mqadmin {close}   (close match)"));
        }
        return Err(failure);
    };
    // Help is the lines themselves.
    if args.iter().any(|arg| arg == "-h" || arg == "--help") {
        for line in row.lines() {
            output.data(&format!("rmq-ctl {line}"));
        }
        for (option, fate) in row.fates() {
            let (Fate::No(why) | Fate::Unless(_, why) | Fate::Same(why)) = fate;
            output.data(&format!("  {option}: {why}"));
        }
        return Ok(());
    }
    let given = match row.here {
        Here::Out(_) => Given::new(),
        _ => translate::given(row.command, args)?,
    };
    let done = translate::translate(row, &given)?;
    output.data(&format!("rmq-ctl {}", done.line));
    for note in &done.notes {
        output.say(note);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
