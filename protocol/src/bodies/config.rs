//! Configuration as tools read and write it (codes 25, 26, 318, 319): Java's properties text, a `name=value` a line.

use super::BodyError;

/// Most lines that are read.
const LINES_MAX: usize = 10_000;

/// Reads properties text. Comments and empty lines are skipped; `\` escapes of Java's own writer are resolved.
///
/// # Errors
/// When it is not UTF-8 or has a line without a separator.
pub fn parse_properties(bytes: &[u8]) -> Result<Vec<(String, String)>, BodyError> {
    let invalid = |reason: String| BodyError::Binary {
        what: "properties text",
        reason,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with('!') {
            continue;
        }
        if pairs.len() == LINES_MAX {
            return Err(invalid(format!("it has more than {LINES_MAX} lines")));
        }
        let at =
            separator(line).ok_or_else(|| invalid(format!("line {} has no '='", index + 1)))?;
        pairs.push((
            unescape(line[..at].trim_end()),
            unescape(line[at + 1..].trim_start()),
        ));
    }
    Ok(pairs)
}

/// Writes properties text. Blanks at the ends of names and values are left out, and line breaks become blanks.
#[must_use]
pub fn write_properties<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Vec<u8> {
    let mut out = String::new();
    for (name, value) in pairs {
        push_escaped(&mut out, name, &['=', ':']);
        out.push('=');
        push_escaped(&mut out, value, &[]);
        out.push('\n');
    }
    out.into_bytes()
}

/// Appends a text that is read back as it is: a backslash begins an escape, and in a name `ends` would end it.
fn push_escaped(out: &mut String, text: &str, ends: &[char]) {
    // A line break would start another pair.
    let text = text.replace(['\r', '\n'], " ");
    let text = text.trim();
    if !ends.is_empty() && text.starts_with(['#', '!']) {
        // A comment begins so.
        out.push('\\');
    }
    for character in text.chars() {
        if character == '\\' || ends.contains(&character) {
            out.push('\\');
        }
        out.push(character);
    }
}

fn separator(line: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'=' | b':' => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let rest = characters.as_str();
                let digits = rest
                    .get(..4)
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok());
                match digits.and_then(char::from_u32) {
                    Some(resolved) => {
                        out.push(resolved);
                        characters = rest[4..].chars();
                    }
                    None => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_text_is_read_and_written() {
        let text = b"# comment\n\nfileReservedTime=72\npath=/a\\:b\\=c\nname : v\\u0041\n";
        let pairs = parse_properties(text).unwrap();
        let expected = [
            ("fileReservedTime", "72"),
            ("path", "/a:b=c"),
            ("name", "vA"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(write_properties([("a", "1\n2"), ("b", "")]), b"a=1 2\nb=\n");
        let odd = [("#a=b:c", "d:\\e=f"), ("!", "\\"), ("", "#")];
        let text = write_properties(odd);
        assert_eq!(text, b"\\#a\\=b\\:c=d:\\\\e=f\n\\!=\\\\\n=#\n");
        let odd = odd.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse_properties(&text).unwrap(), odd);
        assert!(parse_properties(b"nothing here").is_err());
        assert!(parse_properties(b"\xff=1").is_err());
    }
}
