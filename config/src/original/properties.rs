//! The format of Java's `Properties`: `key=value`, `key: value` or `key value`, comments with `#` and `!`, lines that go on after `\`.

/// The pairs, in the order of the file.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut whole = line.trim_start().to_owned();
        if whole.is_empty() || whole.starts_with(['#', '!']) {
            continue;
        }
        while goes_on(&whole) {
            whole.pop();
            whole.push_str(lines.next().unwrap_or_default().trim_start());
        }
        out.push(pair(&whole));
    }
    out
}

/// Whether an odd number of backslashes is at the end.
fn goes_on(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    backslashes % 2 == 1
}

fn pair(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let end = line
        .find(|letter: char| {
            let ends = !is_escaped && matches!(letter, '=' | ':' | ' ' | '\t' | '\u{c}');
            is_escaped = !is_escaped && letter == '\\';
            ends
        })
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    // The original cuts blanks off both ends when it fills its settings.
    (unescaped(key), unescaped(value.trim()))
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                out.extend(code.and_then(char::from_u32));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn files_are_read_as_java_reads_them() {
        let text = "# a comment\n! another\n\nbrokerName = broker-a \nflushDiskType:SYNC_FLUSH\nlistenPort 10911\n\
             messageDelayLevel=1s \\\n    5s\nkey\\ with\\:blank=a\\=b\\\\\nempty\nunicode=\\u00fc\n";
        let expected = [
            ("brokerName", "broker-a"),
            ("flushDiskType", "SYNC_FLUSH"),
            ("listenPort", "10911"),
            ("messageDelayLevel", "1s 5s"),
            ("key with:blank", "a=b\\"),
            ("empty", ""),
            ("unicode", "ü"),
        ];
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(pairs(text), expected);
    }
}
