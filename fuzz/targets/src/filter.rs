//! SQL92 filters.

use rmq_filter::{Expression, Limits, Problem, Program};
use rmq_protocol::message::properties;

/// An expression up to the first zero byte, and a property string behind it.
pub(crate) fn filter(data: &[u8]) {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (text, rest) = data.split_at(end);
    let (Ok(text), Ok(pairs)) = (
        std::str::from_utf8(text),
        std::str::from_utf8(rest.get(1..).unwrap_or_default()),
    ) else {
        return;
    };
    let expression = match Expression::parse(text, Limits::default()) {
        Ok(expression) => expression,
        Err(error) => {
            assert!(
                error.position >= 1 && error.position <= text.chars().count() + 1,
                "{error}"
            );
            assert!(error.to_string().len() < 1_024, "{error}");
            return;
        }
    };
    let program = Program::of(&expression);
    let says = program.evaluate(properties::iter(pairs));
    assert_eq!(
        program.matches(properties::iter(pairs)),
        says == Ok(Some(true))
    );
    let not = Program::of(&Expression::Not(Box::new(expression.clone())));
    let says_not = not.evaluate(properties::iter(pairs));
    assert_eq!(says_not, says.map(|truth| truth.map(|truth| !truth)));
    let printed = expression.to_string();
    match Expression::parse(&printed, Limits::default()) {
        Ok(again) => assert_eq!(again, expression, "{printed}"),
        // What is printed has parentheses that nobody wrote.
        Err(error) => assert!(
            matches!(error.problem, Problem::Depth(_)),
            "{printed}: {error}"
        ),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    const PROPERTIES: &str =
        "a\u{1}5\u{2}b\u{1}x'y\u{2}region\u{1}eu\u{2}amount\u{1}2.5\u{2}t\u{1}true\u{2}";
    let expressions = [
        "a > 5",
        "amount >= 2.5 AND region IN ('eu', 'us')",
        "NOT (a BETWEEN 3 AND 7 OR b IS NOT NULL)",
        "b = 'x''y' or a <> 9223372036854775807",
        "region NOT IN ('de') and t = TRUE",
        "b CONTAINS 'x' AND b NOT STARTSWITH 'y' OR region ENDSWITH 'u'",
        "-a < -1.5e3 AND (a) = 0x1F",
        "a /* comment */ IS NULL -- the end",
        "((((a = 1) = TRUE) IS NULL) OR c NOT BETWEEN -1 AND 1)",
        "TRUE AND (FALSE OR NULL IS NULL)",
        "$x_1 <= 1d AND y = 5l AND z = 1.0f",
    ];
    // Long ones, which are read in one pass.
    let list = format!("region IN ({}'x')", "'eu', ".repeat(12_000));
    let signs = format!("a = {}5\n", "-- ".repeat(20_000));
    let seeds = expressions.into_iter().chain([&*list, &*signs]);
    seeds
        .map(|expression| format!("{expression}\0{PROPERTIES}").into_bytes())
        .collect()
}
