//! `rmq-ctl cheat`: recipes for tasks. Asks no server.

use clap::Args;

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of `cheat`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server.

Examples:
  rmq-ctl cheat
  rmq-ctl cheat lag")]
pub(crate) struct Options {
    /// The task. Default: all.
    task: Option<String>,
}

/// A task, what it is for, and its lines.
pub(crate) struct Recipe {
    pub(crate) task: &'static str,
    pub(crate) title: &'static str,
    pub(crate) lines: &'static [(&'static str, &'static str)],
}

/// All recipes.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        task: "start",
        title: "A cluster on this machine, and a first message",
        lines: &[
            ("rmq-ctl dev --tmp", "name server and broker in one process"),
            ("rmq-ctl create topic orders --queues 4", ""),
            ("rmq-ctl send orders 'hello' --key k1", ""),
            ("rmq-ctl tail orders --last 10", ""),
        ],
    },
    Recipe {
        task: "look",
        title: "What is there",
        lines: &[
            ("rmq-ctl get brokers -o wide", "versions, load, disks"),
            ("rmq-ctl get topics -w", "again and again, changes marked"),
            (
                "rmq-ctl describe topic orders",
                "settings, route, offsets, groups",
            ),
            (
                "rmq-ctl describe group billing",
                "settings, offsets, members, problems",
            ),
        ],
    },
    Recipe {
        task: "broken",
        title: "Something does not work",
        lines: &[
            ("rmq-ctl health", "is the cluster well"),
            (
                "rmq-ctl doctor orders -g billing",
                "why a topic or a group does not work from here",
            ),
            ("rmq-ctl explain RMQ-E017", "what an error code means"),
        ],
    },
    Recipe {
        task: "lag",
        title: "A group is behind",
        lines: &[
            ("rmq-ctl lag", "all groups, the worst first"),
            ("rmq-ctl lag billing -w --plot", "queue by queue, over time"),
            ("rmq-ctl get clients -g billing", "who is online"),
            (
                "rmq-ctl lag billing --fail-above 1000",
                "for scripts: exit code 10",
            ),
        ],
    },
    Recipe {
        task: "offsets",
        title: "Consume again, or not at all",
        lines: &[
            (
                "rmq-ctl offsets reset billing -t orders --to 2h",
                "shows what would change",
            ),
            (
                "rmq-ctl offsets reset billing -t orders --to 2h --yes",
                "does it; members are told",
            ),
            ("rmq-ctl offsets skip billing -t orders --yes", "to the end"),
            (
                "rmq-ctl offsets copy billing billing-2 -t orders --yes",
                "another group continues there",
            ),
        ],
    },
    Recipe {
        task: "dead",
        title: "Messages that no member could handle",
        lines: &[
            ("rmq-ctl dlq ls", "which groups have dead letters"),
            ("rmq-ctl dlq show billing --since 1h", "what they are"),
            (
                "rmq-ctl dlq resend billing --since 1h --rate 50 --yes",
                "once more, for this group alone",
            ),
        ],
    },
    Recipe {
        task: "find",
        title: "One message",
        lines: &[
            (
                "rmq-ctl find message -t orders --key order-17",
                "by business key",
            ),
            (
                "rmq-ctl describe message 7F00000100002A9F0000000000000064",
                "and who has consumed it",
            ),
            (
                "rmq-ctl tail orders --since 1h --grep order-17",
                "by what is in it",
            ),
        ],
    },
    Recipe {
        task: "copy",
        title: "Messages from here to there",
        lines: &[
            ("rmq-ctl tail orders --since 1d -o jsonl > orders.jsonl", ""),
            ("rmq-ctl send orders-copy --jsonl -f orders.jsonl", ""),
        ],
    },
    Recipe {
        task: "manifests",
        title: "Topics and groups as files",
        lines: &[
            ("rmq-ctl export > cluster.yaml", "what is there, as YAML"),
            (
                "rmq-ctl diff -f cluster.yaml",
                "exit code 1 when something differs",
            ),
            ("rmq-ctl apply -f cluster.yaml --dry-run", ""),
            ("rmq-ctl apply -f cluster.yaml --yes", ""),
        ],
    },
    Recipe {
        task: "failover",
        title: "Another master for a broker group",
        lines: &[
            (
                "rmq-ctl broker replication broker-a",
                "members, who is in sync, what is wrong",
            ),
            (
                "rmq-ctl broker switchover broker-a --to 1",
                "hands over, nothing is lost",
            ),
            (
                "rmq-ctl dev --tmp --replicas 3",
                "a group to try it with, on this machine",
            ),
        ],
    },
    Recipe {
        task: "maintain",
        title: "Take a broker out for a while",
        lines: &[
            (
                "rmq-ctl broker drain broker-a --wait=10m --yes",
                "no more writes; waits until all is consumed",
            ),
            ("rmq-ctl broker undrain broker-a", "writes again"),
        ],
    },
];

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let chosen: Vec<&Recipe> = match &options.task {
        None => RECIPES.iter().collect(),
        Some(task) => {
            let found: Vec<&Recipe> = RECIPES
                .iter()
                .filter(|recipe| recipe.task == *task)
                .collect();
            if found.is_empty() {
                let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.task).collect();
                return Err(Failure::coded(
                    &codes::NOT_FOUND,
                    format!("there is no recipe for \"{task}\""),
                )
                .because(format!("known tasks: {}", known.join(", "))));
            }
            found
        }
    };
    for (index, recipe) in chosen.iter().enumerate() {
        if index > 0 {
            output.data("");
        }
        output.data(&format!("# {}: {}", recipe.task, recipe.title));
        let width = recipe
            .lines
            .iter()
            .map(|(line, _)| line.len())
            .max()
            .unwrap_or(0);
        for (line, note) in recipe.lines {
            let text = if note.is_empty() {
                (*line).to_owned()
            } else {
                format!("{line:width$}  # {note}")
            };
            output.data(&text);
        }
    }
    Ok(())
}
