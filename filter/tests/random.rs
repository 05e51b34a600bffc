//! Random texts and random expressions.

use proptest::prelude::*;
use rmq_filter::{Comparison, Expression, Limits, Program, Search};

/// Pieces of expressions in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "TRUE",
            "false",
            "null",
            "NOT",
            "and",
            "OR",
            "between",
            "IN",
            "is",
            "CONTAINS",
            "startswith",
            "EndsWith",
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
            "--",
            "/*",
            "*/",
            "'",
            "''",
            "'x'",
            "5",
            "0",
            "5.5",
            "1e9",
            "9999999999",
            "9l",
            "\n",
            ".",
            ";",
            "ü",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

fn name() -> impl Strategy<Value = String> {
    "[a-e_$][a-e0-9_$]{0,2}"
}

/// Values that numbers are compared with.
fn number() -> impl Strategy<Value = Expression> {
    prop_oneof![
        (0..=3_i64).prop_map(Expression::Whole),
        any::<i64>().prop_map(|number| Expression::Whole(number.checked_abs().unwrap_or(0))),
        (1..=8_u8).prop_map(|number| Expression::Fraction(f64::from(number) / 2.0)),
        any::<f64>()
            .prop_map(f64::abs)
            .prop_filter("a double", |number| *number > 0.0 && number.is_finite())
            .prop_map(Expression::Fraction),
        name().prop_map(Expression::Property),
    ]
}

fn ordered() -> impl Strategy<Value = Expression> {
    prop_oneof![
        3 => number(),
        1 => number().prop_map(|of| Expression::Negative(Box::new(of))),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[0-3'a]{0,2}", "\\PC{0,4}"]
}

fn value() -> impl Strategy<Value = Expression> {
    prop_oneof![
        ordered(),
        text().prop_map(Expression::Text),
        any::<bool>().prop_map(Expression::Boolean)
    ]
}

/// Conditions that the parser takes.
fn condition() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Expression::Boolean),
        1 => name().prop_map(Expression::Property),
        4 => (prop::sample::select(vec![Comparison::Greater, Comparison::GreaterEqual, Comparison::Less, Comparison::LessEqual]), ordered(), ordered())
            .prop_map(|(how, left, right)| Expression::Compare(how, Box::new(left), Box::new(right))),
        3 => (name(), value(), any::<bool>()).prop_map(|(name, right, not)| {
            let how = if not { Comparison::NotEqual } else { Comparison::Equal };
            Expression::Compare(how, Box::new(Expression::Property(name)), Box::new(right))
        }),
        2 => (value(), any::<bool>()).prop_map(|(of, not)| Expression::IsNull { of: Box::new(of), not }),
        2 => (ordered(), name(), ordered(), any::<bool>()).prop_map(|(of, low, high, not)| Expression::Between {
            of: Box::new(of),
            low: Box::new(Expression::Property(low)),
            high: Box::new(high),
            not,
        }),
        2 => (name(), prop::collection::vec(text(), 1..8), any::<bool>())
            .prop_map(|(property, list, not)| Expression::In { property, list, not }),
        2 => (prop::sample::select(vec![Search::Contains, Search::StartsWith, Search::EndsWith]), value(), text(), any::<bool>())
            .prop_map(|(search, of, text, not)| Expression::Search { search, of: Box::new(of), text, not }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Or),
            inner.clone().prop_map(|of| Expression::Not(Box::new(of))),
            inner.prop_map(|of| Expression::IsNull {
                of: Box::new(of),
                not: false
            }),
        ]
    })
}

fn properties() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof!["[0-3]", "[0-9.]{1,3}", text(), Just("true".to_owned())];
    prop::collection::vec((name(), value), 0..6)
}

fn evaluate(program: &Program, properties: &[(String, String)]) -> String {
    let pairs = properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    format!("{:?}", program.evaluate(pairs))
}

/// Each token is looked at once: 100,000 of them are read while a test waits, in a build without optimisation too.
#[test]
fn a_long_list_is_read_in_one_pass() {
    let list = format!("a IN ({}'x')", "'eu', ".repeat(50_000));
    let began = std::time::Instant::now();
    let expression = Expression::parse(&list, Limits::default()).expect("a list");
    assert!(matches!(expression, Expression::In { list, .. } if list.len() == 50_001));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    // Comments end where their line ends, and are minus signs where none ends.
    for (text, is_read) in [
        ("a = 1 -- b\n AND c = 2", true),
        ("a = 1 -- b", false),
        ("-- a\n-- b\na = --1", true),
        ("a = 1 --\n", true),
        ("a = 1 --", false),
    ] {
        let read = Expression::parse(text, Limits::default());
        assert_eq!(read.is_ok(), is_read, "{text:?}: {read:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_ends_the_parser(text in pieces(), properties in properties()) {
        match Program::new(&text, Limits::default()) {
            Ok(program) => drop(evaluate(&program, &properties)),
            Err(error) => prop_assert!(error.position <= text.chars().count() + 1, "{error}"),
        }
    }

    #[test]
    fn what_was_printed_is_read_as_the_same(condition in condition()) {
        let text = condition.to_string();
        let again = Expression::parse(&text, Limits::default());
        prop_assert_eq!(again.as_ref(), Ok(&condition), "{}", text);
    }

    #[test]
    fn negations_and_order_of_parts_mean_the_same(first in condition(), second in condition(), properties in properties()) {
        let says = |expression: Expression| evaluate(&Program::of(&expression), &properties);
        let not = |of: &Expression| Expression::Not(Box::new(of.clone()));
        // De Morgan, with NULL and with what cannot be compared: both sides ask the same parts in the same order.
        let both = vec![first.clone(), second.clone()];
        prop_assert_eq!(
            says(not(&Expression::And(both.clone()))),
            says(Expression::Or(vec![not(&first), not(&second)])),
        );
        prop_assert_eq!(says(not(&not(&first))), says(Expression::And(vec![first.clone(), first.clone()])));
        // One is true of NULL and what is not, unless it cannot be said.
        let is_null = says(Expression::IsNull { of: Box::new(first.clone()), not: false });
        let says_first = says(first);
        prop_assert_eq!(is_null == "Ok(Some(true))", says_first == "Ok(None)");
        prop_assert_eq!(is_null.starts_with("Err"), says_first.starts_with("Err"));
    }
}
