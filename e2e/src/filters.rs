//! SQL92 expressions beside the original's own evaluation: random ones over random properties, from a fixed beginning.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use rmq_filter::{Limits, Problem, Program};

/// Expressions of one comparison.
const CASES: usize = 30_000;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "_d", "$e", "A"];
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "2",
    "5",
    "5l",
    "10L",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "0.5",
    "2.5",
    "5.",
    ".5e1",
    "1e400",
    "0.0",
];
const TEXTS: [&str; 9] = [
    "''", "'5'", "'x'", "'it''s'", "'true'", "'TRUE'", "'a'", "'5.5'", "'ab'",
];
const VALUES: [&str; 24] = [
    "",
    "0",
    "1",
    "2",
    "5",
    "+5",
    "-5",
    "5.5",
    " 5",
    "5 ",
    "5d",
    "2.50",
    "1e3",
    "2147483648",
    "9223372036854775808",
    "x",
    "ab",
    "it's",
    "true",
    "TRUE",
    "NaN",
    "-Infinity",
    "-0",
    "five",
];
const WORDS: [&str; 30] = [
    "NOT",
    "and",
    "OR",
    "between",
    "IN",
    "TRUE",
    "false",
    "NULL",
    "is",
    "contains",
    "STARTSWITH",
    "endswith",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "(",
    ")",
    ",",
    "+",
    "-",
    "a",
    "5",
    "'x'",
    "/* x */",
    "'",
    "1.5",
    ";",
];

/// A value, an operand that is one more often than not, a condition: as the grammar has them, and sometimes not.
fn value(dice: &mut Dice, depth: usize) -> String {
    match dice.below(14) {
        0..=4 => dice.one(&NAMES).to_owned(),
        5..=7 => dice.one(&NUMBERS).to_owned(),
        8..=9 => dice.one(&TEXTS).to_owned(),
        10 => dice.one(&["TRUE", "false", "Null"]).to_owned(),
        11 => format!("-{}", value(dice, depth)),
        12 => format!("+ {}", value(dice, depth)),
        _ if depth > 0 => format!("({})", condition(dice, depth - 1)),
        _ => format!("({})", dice.one(&NAMES)),
    }
}

fn not(dice: &mut Dice) -> &'static str {
    dice.one(&["", "", "NOT "])
}

fn condition(dice: &mut Dice, depth: usize) -> String {
    let side = |dice: &mut Dice| value(dice, depth.saturating_sub(1));
    match dice.below(if depth > 0 { 14 } else { 9 }) {
        0..=2 => {
            let left = side(dice);
            format!("{left} {} {}", dice.one(&["=", "<>"]), side(dice))
        }
        3..=4 => {
            let left = side(dice);
            format!(
                "{left} {} {}",
                dice.one(&["<", "<=", ">", ">="]),
                side(dice)
            )
        }
        5 => {
            let of = side(dice);
            format!("{of} IS {}NULL", not(dice))
        }
        6 => {
            let (of, low) = (side(dice), side(dice));
            format!("{of} {}BETWEEN {low} AND {}", not(dice), side(dice))
        }
        7 => {
            let name = dice.one(&NAMES);
            let not = not(dice);
            let list: Vec<&str> = (0..=dice.below(7)).map(|_| dice.one(&TEXTS)).collect();
            format!("{name} {not}IN ({})", list.join(", "))
        }
        8 => {
            let of = side(dice);
            let word = dice.one(&["CONTAINS", "STARTSWITH", "ENDSWITH"]);
            format!("{of} {}{word} {}", not(dice), dice.one(&TEXTS))
        }
        9..=10 => {
            let left = condition(dice, depth - 1);
            format!("{left} AND {}", condition(dice, depth - 1))
        }
        11..=12 => {
            let left = condition(dice, depth - 1);
            format!("{left} OR {}", condition(dice, depth - 1))
        }
        _ => format!("NOT ({})", condition(dice, depth - 1)),
    }
}

struct Case {
    expression: String,
    properties: Vec<(&'static str, &'static str)>,
}

fn case(dice: &mut Dice) -> Case {
    let expression = if dice.below(5) == 0 {
        let words: Vec<&str> = (0..=dice.below(8)).map(|_| dice.one(&WORDS)).collect();
        words.join(" ")
    } else {
        condition(dice, 3)
    };
    let mut properties = Vec::new();
    for name in NAMES {
        if dice.below(3) > 0 {
            properties.push((name, dice.one(&VALUES)));
        }
    }
    Case {
        expression,
        properties,
    }
}

/// What this project says; `None` where the original passes over text that is refused here.
fn ours(case: &Case) -> Option<&'static str> {
    match Program::new(&case.expression, Limits::default()) {
        Ok(program) => Some(match program.evaluate(case.properties.iter().copied()) {
            Ok(Some(true)) => "true",
            Ok(Some(false)) => "false",
            Ok(None) => "null",
            Err(_) => "error",
        }),
        Err(error) => match error.problem {
            Problem::Expected(what) if what.contains("end of the expression") => None,
            _ => Some("refused"),
        },
    }
}

/// Whether the original, asked by `java`, says the same of every expression.
///
/// # Errors
/// The first expressions of which it says something else.
pub fn same(java: &mut Command) -> Result<(), String> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let cases: Vec<Case> = (0..CASES).map(|_| case(&mut dice)).collect();
    let mut input = String::new();
    for case in &cases {
        input.push_str(&case.expression);
        for (name, value) in &case.properties {
            let _ = write!(input, "\t{name}\t{value}");
        }
        input.push('\n');
    }
    let mut child = java
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("java cannot be run: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("stdin is piped")?;
    // It answers when it has read everything.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    written.map_err(|error| format!("the program does not read: {error}"))?;
    let answers = String::from_utf8_lossy(&output.stdout);
    let mut differ = Vec::new();
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    let mut lines = 0;
    for (case, theirs) in cases.iter().zip(answers.lines()) {
        lines += 1;
        let Some(ours) = ours(case) else { continue };
        *counts.entry(ours).or_default() += 1;
        if ours != theirs {
            let Case {
                expression,
                properties,
            } = case;
            differ.push(format!(
                "{expression} of {properties:?}: the original says {theirs}, this {ours}"
            ));
        }
    }
    if lines != CASES {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{lines} answers to {CASES} expressions: {said}"));
    }
    // Each kind of answer was compared often.
    for kind in ["true", "false", "null", "error", "refused"] {
        let count = counts.get(kind).copied().unwrap_or_default();
        if count < CASES / 50 {
            return Err(format!(
                "only {count} of {CASES} expressions say {kind}: {counts:?}"
            ));
        }
    }
    match differ.len() {
        0 => Ok(()),
        count => {
            differ.truncate(20);
            Err(format!("{count} expressions differ: {}", differ.join("; ")))
        }
    }
}
