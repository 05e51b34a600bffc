//! What commands read: files, and stdin, which is `-` wherever a file or a list of values is asked for. The one place for both.

use std::io::{BufRead, BufReader, Read};

use crate::codes;
use crate::error::Failure;

/// How stdin is written on a command line.
pub(crate) const STDIN: &str = "-";
/// How messages name it.
const NAME: &str = "stdin";

/// Largest text that is read as a whole.
pub(crate) const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A file or stdin, with its name for messages.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) reader: Box<dyn BufRead + Send>,
}

/// Opens a file, or stdin for `-`.
pub(crate) fn open(path: &str) -> Result<Input, Failure> {
    if path == STDIN {
        return Ok(Input {
            name: NAME.to_owned(),
            reader: Box::new(BufReader::new(std::io::stdin())),
        });
    }
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Input {
        name: path.to_owned(),
        reader: Box::new(BufReader::new(file)),
    })
}

pub(crate) fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::coded(&codes::IO, format!("cannot read \"{name}\"")).cause(error)
}

impl Input {
    /// All bytes, [`BYTES_MAX`] at most.
    pub(crate) fn bytes(self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.reader
            .take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&self.name, &error))?;
        if bytes.len() as u64 > BYTES_MAX {
            let what = format!("\"{}\" has more than {BYTES_MAX} bytes", self.name);
            return Err(Failure::coded(&codes::INVALID, what));
        }
        Ok(bytes)
    }

    /// The lines that say something: no empty ones, no comments (`# …`).
    fn lines(self) -> Result<Vec<String>, Failure> {
        let name = self.name.clone();
        let text = String::from_utf8(self.bytes()?).map_err(|error| {
            Failure::coded(&codes::INVALID, format!("\"{name}\" is no text")).cause(&error)
        })?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(lines.map(str::to_owned).collect())
    }
}

/// Values of a command line, where `-` stands for the lines of stdin.
pub(crate) fn values(given: &[String]) -> Result<Vec<String>, Failure> {
    let Some(at) = given.iter().position(|value| value == STDIN) else {
        return Ok(given.to_vec());
    };
    once(given)?;
    let mut all = given.to_vec();
    all.splice(at..=at, open(STDIN)?.lines()?);
    Ok(all)
}

/// Stdin can be read once only.
pub(crate) fn once(given: &[String]) -> Result<(), Failure> {
    if given.iter().filter(|value| *value == STDIN).count() < 2 {
        return Ok(());
    }
    Err(Failure::coded(
        &codes::INVALID,
        "stdin (-) can be read once only",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_something() {
        let input = |text: &'static str| Input {
            name: "t".to_owned(),
            reader: Box::new(text.as_bytes()),
        };
        let lines = input("a=1\r\n\n  # no\n b\n").lines().expect("lines");
        assert_eq!(lines, ["a=1", "b"]);
        assert_eq!(input("").lines().expect("lines"), [""; 0]);
    }

    #[test]
    fn stdin_is_named_once() {
        let given = |values: &[&str]| -> Vec<String> {
            values.iter().map(|value| (*value).to_owned()).collect()
        };
        assert!(once(&given(&["a", "-"])).is_ok());
        assert!(once(&given(&["-", "-"])).is_err());
        // Without it stdin is not touched.
        assert_eq!(values(&given(&["a", "--"])).expect("values"), ["a", "--"]);
    }
}
