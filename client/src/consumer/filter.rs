//! Which messages of a topic a subscription wants.

/// A filter by tags.
///
/// ```
/// use rmq_client::Filter;
///
/// assert_eq!(Filter::tags(["paid", "refunded"]), "paid || refunded".into());
/// assert_eq!(Filter::all(), "*".into());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter(String);

impl Filter {
    /// Every message.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Messages with one of these tags.
    pub fn tags<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Self {
        let tags: Vec<String> = tags
            .into_iter()
            .map(|tag| tag.as_ref().to_owned())
            .collect();
        Self::from(tags.join(" || ").as_str())
    }

    /// As brokers take it.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.0
    }

    /// Whether a message with this tag passes. Brokers filter by the tag's hash, so a client looks at the tag itself too.
    #[must_use]
    pub fn accepts(&self, tag: Option<&str>) -> bool {
        self.0 == "*"
            || tag.is_some_and(|tag| self.0.split("||").any(|wanted| wanted.trim() == tag))
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::all()
    }
}

impl From<&str> for Filter {
    /// `*`, or tags as `A || B`; nothing is everything.
    fn from(expression: &str) -> Self {
        let tags: Vec<&str> = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .collect();
        if tags.is_empty() || tags.contains(&"*") {
            Self::all()
        } else {
            Self(tags.join(" || "))
        }
    }
}

impl From<String> for Filter {
    fn from(expression: String) -> Self {
        expression.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_text() {
        // Both have the same hash.
        let filter = Filter::from(" Aa||B ");
        assert!(filter.accepts(Some("Aa")) && filter.accepts(Some("B")));
        assert!(!filter.accepts(Some("BB")) && !filter.accepts(None));
        assert!(Filter::from("").accepts(None) && Filter::from("a || *").accepts(Some("x")));
    }
}
