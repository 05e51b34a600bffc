//! The grammar, from the loosest to the tightest operator, and what it refuses (`apache/rocketmq` `filter/.../SelectorParser.jj`,
//! `ComparisonExpression`).
//!
//! ```text
//! either  := all ( OR all )*
//! all     := equal ( AND equal )*
//! equal   := ordered ( ('=' | '<>') ordered | IS [NOT] NULL )*
//! ordered := unary ( ('>' | '>=' | '<' | '<=') unary
//!                  | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) text
//!                  | [NOT] BETWEEN unary AND unary
//!                  | [NOT] IN '(' text ( ',' text )* ')' )*
//! unary   := '+' unary | '-' unary | NOT unary | text | number | TRUE | FALSE | NULL | name | '(' either ')'
//! ```

use crate::lexer::{Lexer, Sign, Token, Word, Wrong};
use crate::problems::{Limits, ParseError, Problem};
use crate::tree::{Comparison, Expression, Search};
use crate::values::{Value, compare_numbers};

/// Characters of the expression that an error shows.
const SHOWN: usize = 20;

impl Expression {
    /// Reads an expression, which must be a condition.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str, limits: Limits) -> Result<Self, ParseError> {
        let read = || {
            let mut parser = Parser::new(text, limits)?;
            let whole = parser.either()?;
            if parser.token != Token::End {
                let expected = Problem::Expected("AND, OR, or the end of the expression");
                return Err((parser.at, expected));
            }
            Ok(whole.condition()?.expression)
        };
        read().map_err(|wrong| error(text, wrong))
    }
}

fn error(text: &str, (at, problem): Wrong) -> ParseError {
    let (before, after) = text.split_at(at);
    let mut shown: String = after.chars().take(SHOWN).collect();
    if shown.len() < after.len() {
        shown.push('…');
    }
    ParseError {
        position: before.chars().count() + 1,
        before: shown,
        problem,
    }
}

/// A part of an expression.
struct Part {
    expression: Expression,
    /// Levels of operators.
    height: usize,
    /// Where it begins, in bytes.
    at: usize,
}

impl Part {
    /// Itself, where a condition is needed.
    fn condition(self) -> Result<Self, Wrong> {
        if self.expression.is_condition() || matches!(self.expression, Expression::Property(_)) {
            return Ok(self);
        }
        Err((self.at, Problem::NoCondition))
    }

    /// Whether larger and smaller mean something for it.
    fn is_ordered(&self) -> bool {
        matches!(
            self.expression,
            Expression::Whole(_)
                | Expression::Fraction(_)
                | Expression::Property(_)
                | Expression::Negative(_)
        )
    }

    fn constant(&self) -> Option<Value<'static>> {
        match self.expression {
            Expression::Whole(number) => Some(Value::whole(number)),
            Expression::Fraction(number) => Some(Value::Double(number)),
            _ => None,
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    limits: Limits,
    token: Token<'a>,
    /// Where the token begins, in bytes.
    at: usize,
    terms: usize,
    /// Parentheses and signs that are open here.
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, limits: Limits) -> Result<Self, Wrong> {
        let mut lexer = Lexer::new(text);
        let (at, token) = lexer.next()?;
        Ok(Self {
            lexer,
            limits,
            token,
            at,
            terms: 0,
            nesting: 0,
        })
    }

    fn advance(&mut self) -> Result<(), Wrong> {
        (self.at, self.token) = self.lexer.next()?;
        Ok(())
    }

    /// Whether the token is this one; then it is taken.
    fn takes(&mut self, token: Token<'_>) -> Result<bool, Wrong> {
        let is_it = self.token == token;
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    fn must(&mut self, token: Token<'_>, expected: &'static str) -> Result<(), Wrong> {
        match self.takes(token)? {
            true => Ok(()),
            false => Err((self.at, Problem::Expected(expected))),
        }
    }

    /// A part one level above others.
    fn above(&self, at: usize, height: usize, expression: Expression) -> Result<Part, Wrong> {
        if height + 1 > self.limits.depth_max {
            return Err((at, Problem::Depth(self.limits.depth_max)));
        }
        Ok(Part {
            expression,
            height: height + 1,
            at,
        })
    }

    fn either(&mut self) -> Result<Part, Wrong> {
        self.chain(Word::Or, Expression::Or, Self::all)
    }

    fn all(&mut self) -> Result<Part, Wrong> {
        self.chain(Word::And, Expression::And, Self::equal)
    }

    fn chain(
        &mut self,
        word: Word,
        of: fn(Vec<Expression>) -> Expression,
        tighter: fn(&mut Self) -> Result<Part, Wrong>,
    ) -> Result<Part, Wrong> {
        let first = tighter(self)?;
        if self.token != Token::Word(word) {
            return Ok(first);
        }
        let first = first.condition()?;
        let (at, mut height) = (first.at, first.height);
        let mut parts = vec![first.expression];
        while self.takes(Token::Word(word))? {
            let part = tighter(self)?.condition()?;
            height = height.max(part.height);
            parts.push(part.expression);
        }
        self.above(at, height, of(parts))
    }

    fn equal(&mut self) -> Result<Part, Wrong> {
        let mut left = self.ordered()?;
        loop {
            let how = match self.token {
                Token::Sign(Sign::Equal) => Comparison::Equal,
                Token::Sign(Sign::NotEqual) => Comparison::NotEqual,
                Token::Word(Word::Is) => {
                    self.advance()?;
                    let not = self.takes(Token::Word(Word::Not))?;
                    self.must(Token::Word(Word::Null), "NULL or NOT NULL")?;
                    let of = Box::new(left.expression);
                    left = self.above(left.at, left.height, Expression::IsNull { of, not })?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.ordered()?;
            for side in [&left, &right] {
                if side.expression == Expression::Null {
                    return Err((side.at, Problem::EqualsNull));
                }
            }
            let is_value = matches!(
                right.expression,
                Expression::Text(_) | Expression::Whole(_) | Expression::Fraction(_)
            );
            if is_value && matches!(left.expression, Expression::Boolean(_)) {
                return Err((right.at, Problem::BooleanWithValue));
            }
            left = self.compared(how, left, right)?;
        }
    }

    fn compared(&self, how: Comparison, left: Part, right: Part) -> Result<Part, Wrong> {
        let height = left.height.max(right.height);
        let (first, second) = (Box::new(left.expression), Box::new(right.expression));
        self.above(left.at, height, Expression::Compare(how, first, second))
    }

    fn ordered(&mut self) -> Result<Part, Wrong> {
        let mut left = self.unary()?;
        loop {
            let how = match self.token {
                Token::Sign(Sign::Greater) => Comparison::Greater,
                Token::Sign(Sign::GreaterEqual) => Comparison::GreaterEqual,
                Token::Sign(Sign::Less) => Comparison::Less,
                Token::Sign(Sign::LessEqual) => Comparison::LessEqual,
                Token::Word(word) if is_after_value(word) => {
                    left = self.after_value(left)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.unary()?;
            check_ordered(&[&left, &right])?;
            left = self.compared(how, left, right)?;
        }
    }

    /// `BETWEEN`, `IN` and searches, each with `NOT` or without.
    fn after_value(&mut self, left: Part) -> Result<Part, Wrong> {
        let not = self.takes(Token::Word(Word::Not))?;
        let search = match self.token {
            Token::Word(Word::Between) => return self.between(left, not),
            Token::Word(Word::In) => return self.within(left, not),
            Token::Word(Word::Contains) => Search::Contains,
            Token::Word(Word::StartsWith) => Search::StartsWith,
            Token::Word(Word::EndsWith) => Search::EndsWith,
            _ => {
                let expected = "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after NOT";
                return Err((self.at, Problem::Expected(expected)));
            }
        };
        self.advance()?;
        let expression = Expression::Search {
            search,
            of: Box::new(left.expression),
            text: self.text()?,
            not,
        };
        self.above(left.at, left.height, expression)
    }

    fn between(&mut self, left: Part, not: bool) -> Result<Part, Wrong> {
        self.advance()?;
        let low = self.unary()?;
        self.must(
            Token::Word(Word::And),
            "AND and the second number of BETWEEN",
        )?;
        let high = self.unary()?;
        check_ordered(&[&left, &low, &high])?;
        if !not
            && let (Some(first), Some(last)) = (low.constant(), high.constant())
            && compare_numbers(first, last).is_some_and(std::cmp::Ordering::is_gt)
        {
            return Err((low.at, Problem::BetweenNothing));
        }
        let height = left.height.max(low.height).max(high.height);
        let expression = Expression::Between {
            of: Box::new(left.expression),
            low: Box::new(low.expression),
            high: Box::new(high.expression),
            not,
        };
        self.above(left.at, height, expression)
    }

    fn within(&mut self, left: Part, not: bool) -> Result<Part, Wrong> {
        self.advance()?;
        self.must(Token::Sign(Sign::Open), "\"(\" and texts after IN")?;
        let mut list = vec![self.text()?];
        while self.takes(Token::Sign(Sign::Comma))? {
            list.push(self.text()?);
        }
        self.must(Token::Sign(Sign::Close), "\",\" or \")\"")?;
        let Expression::Property(property) = left.expression else {
            return Err((left.at, Problem::InOfNoProperty));
        };
        self.above(
            left.at,
            left.height,
            Expression::In {
                property,
                list,
                not,
            },
        )
    }

    fn unary(&mut self) -> Result<Part, Wrong> {
        let at = self.at;
        match self.token {
            Token::Sign(Sign::Plus) => self.inside(Self::unary),
            Token::Sign(Sign::Minus) => {
                let of = self.inside(Self::unary)?;
                self.above(at, of.height, Expression::Negative(Box::new(of.expression)))
            }
            Token::Word(Word::Not) => {
                let of = self.inside(Self::unary)?.condition()?;
                self.above(at, of.height, Expression::Not(Box::new(of.expression)))
            }
            Token::Sign(Sign::Open) => {
                let of = self.inside(Self::either)?;
                self.must(Token::Sign(Sign::Close), "\")\"")?;
                Ok(of)
            }
            _ => self.term(),
        }
    }

    /// What follows the sign or parenthesis that is the token now.
    fn inside(&mut self, of: fn(&mut Self) -> Result<Part, Wrong>) -> Result<Part, Wrong> {
        if self.nesting >= self.limits.depth_max {
            return Err((self.at, Problem::Depth(self.limits.depth_max)));
        }
        self.nesting += 1;
        self.advance()?;
        let part = of(self)?;
        self.nesting -= 1;
        Ok(part)
    }

    fn term(&mut self) -> Result<Part, Wrong> {
        let at = self.at;
        let expression = match self.token {
            Token::Text(text) => Expression::Text(unquoted(text)),
            Token::Whole(number) => Expression::Whole(number),
            Token::Fraction(number) => Expression::Fraction(number),
            Token::Word(Word::True) => Expression::Boolean(true),
            Token::Word(Word::False) => Expression::Boolean(false),
            Token::Word(Word::Null) => Expression::Null,
            Token::Name(name) => Expression::Property(name.to_owned()),
            _ => return Err((at, Problem::Expected("a value"))),
        };
        self.terms += 1;
        if self.terms > self.limits.terms_max {
            return Err((at, Problem::Terms(self.limits.terms_max)));
        }
        self.advance()?;
        Ok(Part {
            expression,
            height: 0,
            at,
        })
    }

    /// A text, and nothing else.
    fn text(&mut self) -> Result<String, Wrong> {
        let Token::Text(text) = self.token else {
            return Err((self.at, Problem::Expected("a text in single quotes")));
        };
        self.advance()?;
        Ok(unquoted(text))
    }
}

fn is_after_value(word: Word) -> bool {
    matches!(
        word,
        Word::Not | Word::Between | Word::In | Word::Contains | Word::StartsWith | Word::EndsWith
    )
}

fn check_ordered(parts: &[&Part]) -> Result<(), Wrong> {
    match parts.iter().find(|part| !part.is_ordered()) {
        Some(part) => Err((part.at, Problem::NotOrdered)),
        None => Ok(()),
    }
}

fn unquoted(text: &str) -> String {
    text.replace("''", "'")
}
