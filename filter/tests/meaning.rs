//! What expressions say of properties: the table of `rocketmq-filter` 5.5.0, which `e2e/tests/compat_java.rs` asks beside this crate.

use rmq_filter::{Incomparable, Limits, ParseError, Problem, Program};

/// `name=value`, separated by commas.
fn pairs(properties: &str) -> impl Iterator<Item = (&str, &str)> + Clone {
    properties
        .split(',')
        .filter_map(|pair| pair.split_once('='))
}

fn says(expression: &str, properties: &str) -> Result<Option<bool>, Incomparable> {
    let program = Program::new(expression, Limits::default())
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    program.evaluate(pairs(properties))
}

const TRUE: Result<Option<bool>, Incomparable> = Ok(Some(true));
const FALSE: Result<Option<bool>, Incomparable> = Ok(Some(false));
const NULL: Result<Option<bool>, Incomparable> = Ok(None);
const ERROR: Result<Option<bool>, Incomparable> = Err(Incomparable);

#[test]
fn expressions_mean_what_they_mean_to_the_original() {
    for (expression, properties, expected) in [
        // Missing properties.
        ("a = 'x'", "", NULL),
        ("a <> 'x'", "", NULL),
        ("'x' = a", "", FALSE),
        ("'x' <> a", "", TRUE),
        ("a = b", "", TRUE),
        ("a <> b", "", FALSE),
        ("a > 1", "", NULL),
        ("1 > a", "", NULL),
        ("a IS NULL", "", TRUE),
        ("a IS NOT NULL", "a=", TRUE),
        ("a IN ('x')", "", NULL),
        ("a NOT IN ('x')", "", NULL),
        ("a CONTAINS 'x'", "", FALSE),
        ("a NOT CONTAINS 'x'", "", FALSE),
        ("a STARTSWITH 'x'", "", FALSE),
        ("a NOT ENDSWITH 'x'", "", FALSE),
        ("a BETWEEN 1 AND 2", "", NULL),
        ("a NOT BETWEEN 1 AND 2", "", NULL),
        // Three values.
        ("a = 'x' AND b = 'y'", "b=z", FALSE),
        ("a = 'x' AND b = 'y'", "b=y", NULL),
        ("a = 'x' OR b = 'y'", "b=y", TRUE),
        ("a = 'x' OR b = 'y'", "b=z", NULL),
        ("NOT (a = 'x')", "", NULL),
        ("NOT (a = 'x')", "a=y", TRUE),
        ("NULL", "", NULL),
        ("NOT NULL", "", NULL),
        ("NULL IS NULL", "", TRUE),
        ("TRUE", "", TRUE),
        // What a literal makes of a text.
        ("a > 5", "a=6", TRUE),
        ("a > 5", "a=5.5", ERROR),
        ("a > 5", "a= 6", ERROR),
        ("a > 5.0", "a= 6 ", TRUE),
        ("a > 5.0", "a=6d", TRUE),
        ("a = 5", "a=+5", TRUE),
        ("a = 5", "a=", ERROR),
        ("a = '5'", "a=+5", FALSE),
        ("a = 2147483647", "a=2147483648", ERROR),
        ("a = 2147483648", "a=2147483648", TRUE),
        ("a = 5l", "a=5", TRUE),
        ("a = TRUE", "a=True", TRUE),
        ("a = FALSE", "a=anything", TRUE),
        ("TRUE = a", "a=true", ERROR),
        ("5 = TRUE", "", FALSE),
        ("'5' = 5", "", TRUE),
        ("5 = 'x'", "", ERROR),
        ("5 = 5.0", "", TRUE),
        ("a > b", "a=10,b=9", TRUE),
        ("a > b", "a=x,b=9", ERROR),
        ("a > b", "a=-0,b=0", FALSE),
        ("a < b", "a=-0,b=0", TRUE),
        ("a = b", "a=5,b=5.0", FALSE),
        ("a > 0.5", "a=NaN", TRUE),
        // What is not asked cannot fail.
        ("x = 1 OR a > 5", "x=1,a=z", TRUE),
        ("a > 5 OR x = 1", "x=1,a=z", ERROR),
        ("x = 2 AND a > 5", "x=1,a=z", FALSE),
        ("b > (-(c = 5))", "c=x", NULL),
        ("b = (-(c = 5))", "c=x", ERROR),
        // Signs and NOT bind tightest.
        ("a > -5", "a=-4", TRUE),
        ("a > - -5", "a=6", TRUE),
        ("-a = 5", "a=5", NULL),
        ("+a = 5", "a=5", TRUE),
        ("NOT a = 'x'", "a=y", ERROR),
        ("NOT a", "a=true", TRUE),
        ("a", "a=true", FALSE),
        ("a", "", NULL),
        // Ranges, lists, texts.
        ("a BETWEEN 1 AND 2.5", "a=2", TRUE),
        ("a BETWEEN 1 AND 2", "a=3", FALSE),
        ("a BETWEEN -1 AND -3", "a=2", FALSE),
        ("a NOT BETWEEN 3 AND 1", "a=2", TRUE),
        ("a NOT BETWEEN 1 AND 3", "a=2", FALSE),
        ("a BETWEEN b AND c", "a=2,c=3", NULL),
        ("a BETWEEN b AND c", "a=4,c=3", FALSE),
        ("(a) in ('y', 'x')", "a=x", TRUE),
        ("a not in ('y', 'x')", "a=z", TRUE),
        ("a IN ('x') = TRUE", "a=x", TRUE),
        ("a CONTAINS 'b'", "a=abc", TRUE),
        ("a NOT CONTAINS 'b'", "a=abc", FALSE),
        ("a startswith 'ab'", "a=abc", TRUE),
        ("a NOT STARTSWITH 'b'", "a=abc", TRUE),
        ("a EndsWith 'bc'", "a=abc", TRUE),
        ("a CONTAINS ''", "a=abc", FALSE),
        ("a NOT CONTAINS ''", "a=abc", FALSE),
        ("5 NOT CONTAINS 'x'", "", FALSE),
        ("(FALSE = a) ENDSWITH 'x'", "a=b", ERROR),
        ("(FALSE = a) ENDSWITH ''", "a=b", FALSE),
        ("a = 'it''s'", "a=it's", TRUE),
        ("a = 'grün'", "a=grün", TRUE),
        // Names, comments, blanks.
        ("_$a1 = 'x'", "_$a1=x", TRUE),
        ("A = 'x'", "a=x", NULL),
        ("/* ' ** */ a\n= -- it is\n 'x'", "a=x", TRUE),
        ("a = 'x' -- to the end\n", "a=x", TRUE),
        ("a = 5.", "a=5", TRUE),
        ("a = .5E+1", "a=5", TRUE),
        ("a is null is null", "", FALSE),
        ("(a = b) = 'true'", "a=1,b=1", ERROR),
        ("a = (b = c)", "a=true,b=x,c=x", TRUE),
        // Of two the later.
        ("a = 'y'", "a=x,a=y", TRUE),
    ] {
        assert_eq!(
            says(expression, properties),
            expected,
            "{expression} of {properties:?}"
        );
    }
}

#[test]
fn only_true_matches() {
    for (expression, properties) in [("a > 5", "a=x"), ("a > 5", ""), ("a > 5", "a=4")] {
        let program = Program::new(expression, Limits::default()).expect("valid");
        assert!(
            !program.matches(pairs(properties)),
            "{expression} of {properties:?}"
        );
    }
}

#[test]
fn more_properties_than_one_pass_finds_are_found() {
    let expression: Vec<String> = (0..40)
        .map(|number| format!("p{number} = '{number}'"))
        .collect();
    let properties: Vec<(String, String)> = (0..40)
        .flat_map(|number| {
            [(0, 99), (1, number)].map(|(_, value)| (format!("p{number}"), value.to_string()))
        })
        .collect();
    let program = Program::new(&expression.join(" AND "), Limits::default()).expect("valid");
    let pairs = properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    assert_eq!(program.evaluate(pairs.clone()), TRUE);
    assert_eq!(
        program.evaluate(pairs.filter(|(name, _)| *name != "p39")),
        NULL
    );
}

fn refused(expression: &str, limits: Limits) -> ParseError {
    match Program::new(expression, limits) {
        Ok(_) => panic!("{expression} is taken"),
        Err(error) => error,
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (expression, says) in [
        ("", "at character 1, the end: expected a value"),
        ("a = ", "at character 5, the end: expected a value"),
        (
            "ä = 1",
            "at character 1, \"ä = 1\": no part of an expression begins with this character",
        ),
        (
            "a = 'grün' ;",
            "at character 12, \";\": no part of an expression begins with this character",
        ),
        (
            "a = 1 b = 2",
            "at character 7, \"b = 2\": expected AND, OR, or the end of the expression",
        ),
        (
            "a = 1)",
            "at character 6, \")\": expected AND, OR, or the end of the expression",
        ),
        (
            "007 = a",
            "at character 2, \"07 = a\": expected AND, OR, or the end of the expression",
        ),
        ("(a = 1", "at character 7, the end: expected \")\""),
        (
            "a = 'x",
            "at character 5, \"'x\": the text has no end; a text stands in single quotes, and a quote in it is written twice",
        ),
        (
            "a = 1 /* x",
            "at character 7, \"/* x\": the comment has no end",
        ),
        (
            "a = 9223372036854775808",
            "at character 5, \"9223372036854775808\": the number is larger than 9223372036854775807",
        ),
        (
            "a = 0.0",
            "at character 5, \"0.0\": a number with a fraction must lie between 4.9E-324 and 1.7976931348623157E308; 0 is written without a fraction",
        ),
        (
            "a = 1e400",
            "at character 5, \"1e400\": a number with a fraction must lie between 4.9E-324 and 1.7976931348623157E308; 0 is written without a fraction",
        ),
        (
            "5",
            "at character 1, \"5\": a number or a text is no condition; compare it with something",
        ),
        (
            "a = 1 AND 'x'",
            "at character 11, \"'x'\": a number or a text is no condition; compare it with something",
        ),
        (
            "-a",
            "at character 1, \"-a\": a number or a text is no condition; compare it with something",
        ),
        (
            "a > '5'",
            "at character 5, \"'5'\": only numbers and properties can be larger or smaller",
        ),
        (
            "a > TRUE",
            "at character 5, \"TRUE\": only numbers and properties can be larger or smaller",
        ),
        (
            "a > (b = c)",
            "at character 6, \"b = c)\": only numbers and properties can be larger or smaller",
        ),
        (
            "a > 1 > 2",
            "at character 1, \"a > 1 > 2\": only numbers and properties can be larger or smaller",
        ),
        (
            "a = NULL",
            "at character 5, \"NULL\": nothing is equal to NULL; use IS NULL or IS NOT NULL",
        ),
        (
            "TRUE = 5",
            "at character 8, \"5\": TRUE and FALSE cannot be compared with a number or a text",
        ),
        (
            "5 IN ('x')",
            "at character 1, \"5 IN ('x')\": IN needs a property at its left",
        ),
        (
            "a IN ()",
            "at character 7, \")\": expected a text in single quotes",
        ),
        (
            "a IN (5)",
            "at character 7, \"5)\": expected a text in single quotes",
        ),
        (
            "a IN ('x' 'y')",
            "at character 11, \"'y')\": expected \",\" or \")\"",
        ),
        ("a IS 5", "at character 6, \"5\": expected NULL or NOT NULL"),
        (
            "a NOT 5",
            "at character 7, \"5\": expected BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after NOT",
        ),
        (
            "a BETWEEN 3 AND 2.5",
            "at character 11, \"3 AND 2.5\": the first number of BETWEEN is larger than the second one",
        ),
        (
            "a BETWEEN 3",
            "at character 12, the end: expected AND and the second number of BETWEEN",
        ),
        (
            "a CONTAINS b",
            "at character 12, \"b\": expected a text in single quotes",
        ),
        (
            "a = 1 AND bbbbbbbbbbbbbbbbbbbbbbbbb ?",
            "at character 37, \"?\": no part of an expression begins with this character",
        ),
    ] {
        assert_eq!(
            refused(expression, Limits::default()).to_string(),
            says,
            "{expression}"
        );
    }
}

#[test]
fn expressions_have_limits() {
    let limits = Limits {
        terms_max: 4,
        depth_max: 3,
    };
    for fits in [
        "a = 1 OR b = 2",
        "((a = 1))",
        "NOT (NOT a)",
        "a IS NULL IS NULL IS NULL",
        "a IN ('1','2','3','4','5')",
    ] {
        Program::new(fits, limits).unwrap_or_else(|error| panic!("{fits}: {error}"));
    }
    for (expression, problem) in [
        ("a = 1 OR b = 2 OR c = 3", Problem::Terms(4)),
        ("((((a = 1))))", Problem::Depth(3)),
        ("- - - -5 = a", Problem::Depth(3)),
        ("+ + + +5 = a", Problem::Depth(3)),
        ("NOT NOT NOT NOT a", Problem::Depth(3)),
        ("a IS NULL IS NULL IS NULL IS NULL", Problem::Depth(3)),
    ] {
        assert_eq!(refused(expression, limits).problem, problem, "{expression}");
    }
    let deep = "(".repeat(100_000);
    assert_eq!(
        refused(&deep, Limits::default()).problem,
        Problem::Depth(64)
    );
    let wide = vec!["a = 1"; 255].join(" AND ");
    Program::new(&wide, Limits::default()).expect("510 terms");
}
