//! A statement's text: read, and refused where it could cost the server more than its own error.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Select, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use super::dialect;
use super::fault::Fault;

/// Operators in one expression: it is a tree as deep as they are many, and trees are walked by recursion.
const CHAIN: usize = 1_000;
/// `UNION`, `INTERSECT` and `EXCEPT` in one statement.
const UNIONS: usize = 200;
/// Tables in one statement.
const TABLES: usize = 200;
/// Into what the rows of a `MOVE` go.
pub(super) const NOWHERE: &str = "nowhere";
/// Statements in one text.
const STATEMENTS: usize = 1_000;

/// Reads statements as Postgres writes them.
pub(super) struct Reader {
    parser: PostgresCompatibilityParser,
    most: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// Reads texts of at most so many bytes.
    pub(super) fn new(most: u64) -> Self {
        Self { parser: PostgresCompatibilityParser::new(), most }
    }

    /// The statements of a text.
    ///
    /// # Errors
    /// 54000 for a text that is too long, 54001 for one that is too deep or names too many tables, 42601 for what is no SQL.
    pub(super) fn read(&self, text: &str) -> Result<Vec<Statement>, Fault> {
        if text.len() as u64 > self.most {
            let message = format!("the statement has {} bytes, and {} are taken", text.len(), self.most);
            return Err(Fault::new("54000", message)
                .hint("put long lists into a join, or raise `[serve] max_statement` in alluvial.toml"));
        }
        measure(text)?;
        // The parser knows no `MOVE`: it is a `FETCH` that goes nowhere.
        let moves = text.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("MOVE"));
        let fetch = if moves { text.trim_start().get(4..) } else { None };
        let fetch = fetch.filter(|rest| rest.starts_with(char::is_whitespace)).map(|rest| format!("FETCH{rest}"));
        let parsed = self.parser.parse(fetch.as_deref().unwrap_or(text));
        let mut statements = parsed.map_err(|error| Fault::new("42601", error.to_string()))?;
        if let (Some(_), Some(Statement::Fetch { into, .. })) = (&fetch, statements.first_mut()) {
            *into = Some(ObjectName::from(vec![Ident::new(NOWHERE)]));
        }
        if statements.len() > STATEMENTS {
            return Err(too_complex("statements", STATEMENTS));
        }
        for statement in &mut statements {
            dialect::translate(statement);
            let mut count = Relations(0);
            if statement.visit(&mut count).is_break() {
                return Err(too_complex("tables", TABLES));
            }
        }
        Ok(statements)
    }
}

fn too_complex(what: &str, most: usize) -> Fault {
    Fault::new("54001", format!("the statement is too complex: it has more than {most} {what}"))
        .hint("write `IN (…)` for a chain of `OR`, or split the statement")
}

/// Refuses what would become too deep a tree, before it becomes one.
fn measure(text: &str) -> Result<(), Fault> {
    // What is no SQL is refused by the parser, in better words.
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize() else { return Ok(()) };
    let (mut open, mut chain, mut unions) = (Vec::new(), 0_usize, 0_usize);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket => open.push(std::mem::take(&mut chain)),
            Token::RParen | Token::RBracket => chain = open.pop().unwrap_or_default() + 1,
            Token::Comma | Token::SemiColon => chain = 0,
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => unions += 1,
                Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::LIKE | Keyword::COLLATE => {
                    chain += 1
                }
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::FROM | Keyword::SELECT => chain = 0,
                _ => {}
            },
            Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Period => {}
            _ => chain += 1,
        }
        if chain > CHAIN {
            return Err(too_complex("operators in one expression", CHAIN));
        }
        if unions > UNIONS {
            return Err(too_complex("unions", UNIONS));
        }
    }
    Ok(())
}

/// Counts tables; a `FROM` of many becomes a deep tree of joins.
struct Relations(usize);

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.0 += select.from.iter().map(|from| 1 + from.joins.len()).sum::<usize>();
        if self.0 > TABLES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_become_a_deep_tree_is_refused_and_long_lists_are_not() {
        let reader = Reader::new(1 << 20);
        let state = |text: &str| reader.read(text).err().map(|fault| fault.state);
        let chain = |part: &str, by: &str, times: usize| vec![part; times].join(by);
        assert_eq!(state(&format!("SELECT {}", chain("1", " + ", 100_000))), Some("54001"));
        assert_eq!(state(&format!("SELECT 1 WHERE {}", chain("a = 1", " OR ", 10_000))), Some("54001"));
        assert_eq!(state(&chain("SELECT 1", " UNION ALL ", 1_000)), Some("54001"));
        assert_eq!(state(&format!("SELECT 1 FROM {}", chain("a", ", ", 1_000))), Some("54001"));
        assert_eq!(state(&format!("SELECT 1 FROM a JOIN {}", chain("a ON true", " JOIN ", 1_000))), Some("54001"));
        assert_eq!(state(&chain("SELECT 1", ";", 2_000)), Some("54001"));
        assert_eq!(state(&format!("SELECT 1{}", " ".repeat(2 << 20))), Some("54000"));
        assert_eq!(state("SELEC 1"), Some("42601"));
        assert!(state(&format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000))).is_some());
        assert_eq!(state(&format!("SELECT 1 WHERE a IN ({})", chain("'x'", ", ", 50_000))), None);
        assert_eq!(state(&format!("SELECT 1 WHERE {}", chain("a = 1", " OR ", 100))), None);
    }
}
