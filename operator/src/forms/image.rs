//! References of images as registries have them.

use super::names::is_small;

/// Characters of an image's name without tag and digest.
const NAME_LENGTH: usize = 255;
const TAG_LENGTH: usize = 128;

/// A reference of an image as registries have it: `registry/name:tag`, or with a digest.
pub(crate) fn reference(text: &str) -> Result<(), String> {
    let form = check(text);
    form.map_err(|why| {
        format!(
            "is no reference of an image: {why}; write name:tag, registry/name:tag or name@sha256:…"
        )
    })
}

fn check(text: &str) -> Result<(), String> {
    if text.contains("://") {
        return Err("it has a scheme".to_owned());
    }
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let (algorithm, hex) = digest.split_once(':').unwrap_or_default();
        let wanted = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return Err(format!("the digest {digest:?} does not begin with sha256:")),
        };
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != wanted || !hex.bytes().all(is_hex) {
            return Err(format!(
                "the digest has not {wanted} digits from 0 to 9 and a to f"
            ));
        }
    }
    // Behind the last slash a colon begins the tag, before it a registry's port.
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match text[last..].find(':') {
        Some(colon) => (&text[..last + colon], Some(&text[last + colon + 1..])),
        None => (text, None),
    };
    if let Some(tag) = tag {
        let is_tag = !tag.is_empty()
            && tag.len() <= TAG_LENGTH
            && !tag.starts_with(['.', '-'])
            && tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !is_tag {
            return Err(format!(
                "the tag {tag:?} is not of 1 to {TAG_LENGTH} letters, digits, _, . and -"
            ));
        }
    }
    if name.len() > NAME_LENGTH {
        return Err(format!("the name is longer than {NAME_LENGTH} characters"));
    }
    let has_upper = |text: &str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    let path = match name.split_once('/') {
        Some((first, path))
            if first.contains(['.', ':']) || first == "localhost" || has_upper(first) =>
        {
            registry(first)?;
            path
        }
        _ => name,
    };
    for part in path.split('/') {
        if has_upper(part) {
            return Err(format!("{part:?} has capital letters"));
        }
        if !is_path_part(part) {
            return Err(format!(
                "{part:?} is not of small letters and digits, with . or _ or __ or - between them"
            ));
        }
    }
    Ok(())
}

fn registry(text: &str) -> Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    rmq_texts::reachable_host(bare.unwrap_or(host))
        .map_err(|error| format!("its registry: {error}"))?;
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match port {
        Some(port) if !is_port(port) => Err(format!("{port:?} is no port of a registry")),
        _ => Ok(()),
    }
}

fn is_path_part(text: &str) -> bool {
    let is_alphanumeric =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let ends =
        text.bytes().next().is_some_and(is_small) && text.bytes().last().is_some_and(is_small);
    let mut between = text
        .split(is_alphanumeric)
        .filter(|between| !between.is_empty());
    ends && between.all(|between| {
        matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_images() {
        let digest = format!("@sha256:{}", "0f".repeat(32));
        for good in [
            "rmq",
            "rmq:0.1.0",
            "library/rmq:0.1.0",
            "registry.example.com/team/rmq:v1_2.3-x",
            "registry.example.com:5000/rmq",
            "localhost/rmq",
            "localhost:5000/rmq:latest",
            "10.0.0.1:5000/a/b/c",
            "[fd00::1]:5000/rmq",
            "REGISTRY/rmq",
            "a__b/c.d/e--f:_",
            &format!("rmq{digest}"),
            &format!("registry.example.com/rmq:1{digest}"),
        ] {
            assert_eq!(reference(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "\"\" is not of small letters"),
            ("rmq:", "the tag \"\""),
            ("rmq:latest ", "the tag \"latest \""),
            (" rmq", "\" rmq\" is not of small letters"),
            ("rmq:1:2", "the tag \"1:2\""),
            ("rmq:-1", "the tag \"-1\""),
            ("rmq:é", "the tag \"é\""),
            ("RMQ", "\"RMQ\" has capital letters"),
            ("team/Rmq:1", "\"Rmq\" has capital letters"),
            ("http://registry.example.com/rmq", "it has a scheme"),
            ("docker://rmq", "it has a scheme"),
            ("team//rmq", "\"\" is not of small letters"),
            ("team/rmq/", "\"\" is not of small letters"),
            ("rmq-", "\"rmq-\" is not of small letters"),
            ("a..b", "\"a..b\" is not of small letters"),
            ("a___b", "\"a___b\" is not of small letters"),
            ("registry.example.com:0/rmq", "\"0\" is no port"),
            ("registry.example.com:x/rmq", "\"x\" is no port"),
            ("registry..com/rmq", "its registry"),
            ("0.0.0.0:5000/rmq", "its registry"),
            ("rmq@sha256:0f", "64 digits"),
            ("rmq@0f", "does not begin with sha256:"),
            ("rmq@sha1:0f", "does not begin with sha256:"),
            (
                &format!("rmq{}", digest.to_uppercase().replace("SHA", "sha")),
                "64 digits",
            ),
            (&"a".repeat(256), "longer than 255"),
            (&format!("rmq:{}", "a".repeat(129)), "1 to 128"),
        ] {
            let error = reference(bad).expect_err(bad);
            assert!(error.contains(why), "{bad:?}: {error}");
            assert!(error.contains("write name:tag"), "{bad:?}: {error}");
        }
    }
}
