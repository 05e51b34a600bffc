//! The lines of a log.

use std::io::{self, Stderr, Write};

use rmq_texts::line;

/// Writes the lines of a log: each call is one record and ends its line. What others wrote into a record begins no line and steers no
/// terminal; the colours of the record itself (`ESC [ … m`) stay when the log has colours.
#[derive(Debug)]
pub struct LogWriter<W> {
    out: W,
    has_colours: bool,
}

impl LogWriter<Stderr> {
    /// A log on stderr. `has_colours` is what the log's formatter was told, such as [`stderr_has_colours`](crate::stderr_has_colours).
    #[must_use]
    pub fn stderr(has_colours: bool) -> Self {
        Self::new(io::stderr(), has_colours)
    }
}

impl<W: Write> LogWriter<W> {
    /// A log that goes to `out`.
    pub const fn new(out: W, has_colours: bool) -> Self {
        Self { out, has_colours }
    }

    fn escaped(&self, body: &str) -> String {
        let mut out = String::with_capacity(body.len() + 1);
        let mut rest = body;
        while self.has_colours
            && let Some(at) = rest.find('\u{1b}')
        {
            let (before, sequence) = rest.split_at(at);
            out.push_str(&line(before));
            let (own, after) = sequence.split_at(colour(sequence));
            out.push_str(own);
            rest = after;
            if own.is_empty() {
                out.push_str("\\u001b");
                rest = &sequence[1..];
            }
        }
        out.push_str(&line(rest));
        out
    }
}

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let (body, end) = match text.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (&*text, ""),
        };
        let mut out = self.escaped(body);
        out.push_str(end);
        self.out.write_all(out.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bytes of the sequence `ESC [ digits and ; m` at the beginning, 0 when there is none.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    let digits = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b';')
        .count();
    match rest.as_bytes().get(digits) {
        Some(b'm') => 2 + digits + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(has_colours: bool, record: &str) -> String {
        let mut out = Vec::new();
        LogWriter::new(&mut out, has_colours)
            .write_all(record.as_bytes())
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_of_a_log_is_one_line() {
        for has_colours in [true, false] {
            let logged = |record| logged(has_colours, record);
            assert_eq!(logged("INFO a\n"), "INFO a\n");
            assert_eq!(
                logged("WARN a\n2026 ERROR forged\u{1b}]0;x\u{7}\n"),
                "WARN a\\n2026 ERROR forged\\u001b]0;x\\u0007\n"
            );
            assert_eq!(logged("\u{1b}[2J\n"), "\\u001b[2J\n");
        }
    }

    #[test]
    fn colours_are_those_of_a_log_that_has_some() {
        let record = "\u{1b}[32m INFO\u{1b}[0m a\n";
        assert_eq!(logged(true, record), record);
        assert_eq!(logged(false, record), "\\u001b[32m INFO\\u001b[0m a\n");
    }
}
