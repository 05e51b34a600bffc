//! Words, names, numbers, texts and signs.

use crate::problems::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
}

const WORDS: [(&str, Word); 12] = [
    ("NOT", Word::Not),
    ("AND", Word::And),
    ("OR", Word::Or),
    ("BETWEEN", Word::Between),
    ("IN", Word::In),
    ("TRUE", Word::True),
    ("FALSE", Word::False),
    ("NULL", Word::Null),
    ("IS", Word::Is),
    ("CONTAINS", Word::Contains),
    ("STARTSWITH", Word::StartsWith),
    ("ENDSWITH", Word::EndsWith),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Word(Word),
    Name(&'a str),
    Whole(i64),
    Fraction(f64),
    /// As it stands between its quotes: a quote is written twice.
    Text(&'a str),
    Sign(Sign),
    End,
}

/// Where something is wrong, in bytes, and what.
pub(crate) type Wrong = (usize, Problem);

/// Reads one token after the other.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Behind the end of the last line that has one: what is not there is not looked for at each token.
    lines_end: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            lines_end: text.rfind(['\n', '\r']).map_or(0, |at| at + 1),
        }
    }

    /// The next token and where it begins.
    pub(crate) fn next(&mut self) -> Result<(usize, Token<'a>), Wrong> {
        self.skip()?;
        let begin = self.at;
        let rest = &self.text[begin..];
        let bytes = rest.as_bytes();
        let Some(first) = bytes.first() else {
            return Ok((begin, Token::End));
        };
        let (length, token) = match first {
            b'\'' => {
                let length = text_length(bytes).ok_or((begin, Problem::OpenText))?;
                (length, Token::Text(&rest[1..length - 1]))
            }
            b'0'..=b'9' => number(rest).map_err(|problem| (begin, problem))?,
            b'.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => {
                number(rest).map_err(|problem| (begin, problem))?
            }
            byte if is_in_name(*byte) => {
                let length = bytes.iter().take_while(|byte| is_in_name(**byte)).count();
                let name = &rest[..length];
                let word = WORDS
                    .iter()
                    .find(|(word, _)| word.eq_ignore_ascii_case(name));
                let token = word.map_or(Token::Name(name), |(_, word)| Token::Word(*word));
                (length, token)
            }
            _ => {
                let (length, sign) = sign(bytes).ok_or((begin, Problem::Character))?;
                (length, Token::Sign(sign))
            }
        };
        self.at = begin + length;
        Ok((begin, token))
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Result<(), Wrong> {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - blank.len();
            // Without an end of the line after them they are two signs, as in the original.
            let is_line = blank.starts_with("--") && self.at < self.lines_end;
            let length = if is_line && let Some(end) = blank.find(['\n', '\r']) {
                end
            } else if let Some(comment) = blank.strip_prefix("/*") {
                let end = comment.find("*/").ok_or((self.at, Problem::OpenComment))?;
                end + 4
            } else {
                return Ok(());
            };
            self.at += length;
        }
    }
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// Bytes of a text with its quotes.
fn text_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\'')? + 1;
        match bytes.get(at) {
            Some(b'\'') => at += 1,
            _ => return Some(at),
        }
    }
}

fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// Bytes of `E5`, `e-5`; 0 when there is no exponent.
fn exponent(bytes: &[u8]) -> usize {
    if !matches!(bytes.first(), Some(b'e' | b'E')) {
        return 0;
    }
    let sign = usize::from(matches!(bytes.get(1), Some(b'+' | b'-')));
    match digits(&bytes[1 + sign..]) {
        0 => 0,
        count => 1 + sign + count,
    }
}

fn number(rest: &str) -> Result<(usize, Token<'_>), Problem> {
    let bytes = rest.as_bytes();
    let whole = digits(bytes);
    let point = match bytes.get(whole) {
        Some(b'.') => 1 + digits(&bytes[whole + 1..]),
        _ => 0,
    };
    let length = whole + point + exponent(&bytes[whole + point..]);
    if length > whole {
        let number: f64 = rest[..length].parse().map_err(|_| Problem::Fraction)?;
        // apache/rocketmq `ConstantExpression.createFloat`.
        if number <= 0.0 || !number.is_finite() {
            return Err(Problem::Fraction);
        }
        return Ok((length, Token::Fraction(number)));
    }
    // A number that begins with 0 is 0 alone.
    let whole = if bytes[0] == b'0' { 1 } else { whole };
    let number: i64 = rest[..whole].parse().map_err(|_| Problem::WholeNumber)?;
    let suffix = number != 0 && matches!(bytes.get(whole), Some(b'l' | b'L'));
    Ok((whole + usize::from(suffix), Token::Whole(number)))
}

fn sign(bytes: &[u8]) -> Option<(usize, Sign)> {
    let second = bytes.get(1);
    Some(match (bytes.first()?, second) {
        (b'<', Some(b'>')) => (2, Sign::NotEqual),
        (b'<', Some(b'=')) => (2, Sign::LessEqual),
        (b'<', _) => (1, Sign::Less),
        (b'>', Some(b'=')) => (2, Sign::GreaterEqual),
        (b'>', _) => (1, Sign::Greater),
        (b'=', _) => (1, Sign::Equal),
        (b'(', _) => (1, Sign::Open),
        (b')', _) => (1, Sign::Close),
        (b',', _) => (1, Sign::Comma),
        (b'+', _) => (1, Sign::Plus),
        (b'-', _) => (1, Sign::Minus),
        _ => return None,
    })
}
