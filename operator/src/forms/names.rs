//! Names as Kubernetes takes them.

const SUBDOMAIN_LENGTH: usize = 253;
const LABEL_LENGTH: usize = 63;

pub(super) fn is_small(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A name of most objects: DNS-1123 subdomain.
pub(super) fn subdomain(text: &str) -> Result<(), String> {
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(is_small)
            && part.bytes().last().is_some_and(is_small)
            && part.bytes().all(|byte| is_small(byte) || byte == b'-')
    };
    if text.len() <= SUBDOMAIN_LENGTH && text.split('.').all(is_part) {
        return Ok(());
    }
    Err(format!(
        "is no name of an object: up to {SUBDOMAIN_LENGTH} small letters, digits, - and ., with a letter or digit at both ends of each part"
    ))
}

/// A label's value, and the name in its key.
pub(super) fn label(text: &str) -> Result<(), String> {
    let is_end = |byte: u8| byte.is_ascii_alphanumeric();
    let fits = text.len() <= LABEL_LENGTH
        && text.bytes().next().is_some_and(is_end)
        && text.bytes().last().is_some_and(is_end)
        && text
            .bytes()
            .all(|byte| is_end(byte) || b"-_.".contains(&byte));
    if fits {
        return Ok(());
    }
    Err(format!(
        "is not of 1 to {LABEL_LENGTH} letters, digits, -, _ and ., with a letter or digit at both ends"
    ))
}

/// A label's key, and everything that is written like one: a name, with a domain and a slash before it or without.
pub(super) fn qualified(text: &str) -> Result<(), String> {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    if domain.is_none_or(|domain| subdomain(domain).is_ok()) && label(name).is_ok() {
        return Ok(());
    }
    Err(format!(
        "is not NAME or DOMAIN/NAME, with a name of 1 to {LABEL_LENGTH} letters, digits, -, _ and ."
    ))
}
