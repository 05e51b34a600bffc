//! Evaluation allocates nothing.

use rmq_filter::{Limits, Program};

#[test]
fn an_evaluation_allocates_nothing() {
    let many: Vec<String> = (0..20).map(|number| format!("p{number} IS NULL")).collect();
    for expression in [
        "amount > 100 AND region IN ('eu', 'us') AND kind = 'paid'",
        "amount BETWEEN 1.5 AND 1e3 OR NOT (kind CONTAINS 'x') OR amount > kind",
        &many.join(" AND "),
    ] {
        let program = Program::new(expression, Limits::default()).expect("valid");
        let properties = [
            ("amount", "250"),
            ("region", "eu"),
            ("kind", "paid"),
            ("KEYS", "k"),
        ];
        let count = allocation_counter::measure(|| {
            assert!(program.matches(properties.into_iter()));
        });
        assert_eq!(count.count_total, 0, "{expression}");
    }
}
