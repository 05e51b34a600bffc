//! Property strings with changes, and copies of stored messages.

use rmq_protocol::message::{properties, property};

/// The property string with some properties set (`Some`) or removed (`None`). The record's checksum is always left out: the store
/// makes a new one.
pub(crate) fn with(text: &str, changes: &[(&str, Option<&str>)]) -> String {
    let mut builder = properties::Builder::new();
    builder.extend_except(text, |name| {
        name == property::CRC32 || changes.iter().any(|(changed, _)| *changed == name)
    });
    for (name, value) in changes {
        if let Some(value) = value {
            builder.push(name, value);
        }
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_set_removed_and_kept() {
        let text = "A\u{1}1\u{2}B\u{1}2\u{2}__CRC32#\u{1}0123456789\u{2}";
        assert_eq!(
            with(text, &[("A", None), ("B", Some("3")), ("C", Some("4"))]),
            "B\u{1}3\u{2}C\u{1}4\u{2}"
        );
        assert_eq!(with("", &[]), "");
    }
}
