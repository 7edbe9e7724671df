//! Statements that are prepared by SQL: `PREPARE`, `EXECUTE`, `DEALLOCATE`. What is executed is the text with its parameters put
//! in, and is planned as any other: over the newest state.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Statement, Value, VisitMut, VisitorMut, visit_expressions,
};

use crate::serve::fault::Fault;
use crate::serve::session::is_query;

/// Statements that one connection may have prepared.
const MOST: usize = 1_000;
/// Bytes that a statement may have with its parameters put in.
const LONGEST: usize = 1 << 20;

/// The statements of one connection.
#[derive(Debug, Default)]
pub(super) struct Named(Mutex<HashMap<String, Prepared>>);

#[derive(Debug, Clone)]
struct Prepared {
    types: Vec<DataType>,
    statement: Statement,
    /// How many parameters it has.
    parameters: usize,
}

impl Named {
    /// Keeps one.
    ///
    /// # Errors
    /// 25006 for anything but a query, 42P05 where there is one of that name, 53400 for too many.
    pub(super) fn prepare(&self, name: &str, types: &[DataType], statement: &Statement) -> Result<(), Fault> {
        if !is_query(statement) {
            return Err(Fault::read_only());
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(name) {
            return Err(Fault::new("42P05", format!("there is a prepared statement `{name}` already"))
                .hint(format!("`DEALLOCATE {name}` first")));
        }
        if all.len() >= MOST {
            return Err(Fault::new("53400", format!("there are {MOST} prepared statements already")));
        }
        let mut parameters = types.len();
        let _whole = visit_expressions(statement, |expr| {
            parameters = parameters.max(place(expr).unwrap_or(0));
            ControlFlow::<()>::Continue(())
        });
        all.insert(name.to_owned(), Prepared { types: types.to_vec(), statement: statement.clone(), parameters });
        Ok(())
    }

    /// The statement that an `EXECUTE` stands for; any other stands for itself.
    ///
    /// # Errors
    /// 26000 where there is none of that name, 42601 for another number of parameters than it has, 54000 for what becomes too
    /// long.
    pub(super) fn resolved(&self, statement: Statement) -> Result<Statement, Fault> {
        let Statement::Execute { name: Some(name), parameters, immediate: false, using, .. } = &statement else {
            return Ok(statement);
        };
        let name = name.to_string().replace('"', "");
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let Some(found) = found else {
            return Err(Fault::new("26000", format!("there is no prepared statement `{name}`")));
        };
        if parameters.len() != found.parameters || !using.is_empty() {
            let message = format!("`{name}` has {} parameters, and {} are given", found.parameters, parameters.len());
            return Err(Fault::new("42601", message));
        }
        let values: Vec<Expr> =
            parameters.iter().enumerate().map(|(at, value)| cast(value, found.types.get(at))).collect();
        let mut filled = found.statement;
        let mut filling =
            Filling { values: values.iter().map(|value| (value.to_string().len(), value)).collect(), left: LONGEST };
        match VisitMut::visit(&mut filled, &mut filling) {
            ControlFlow::Continue(()) => Ok(filled),
            ControlFlow::Break(()) => Err(Fault::new("54000", "with its parameters the statement is too long")),
        }
    }

    /// Lets one go, or all; whether there was any.
    pub(super) fn deallocate(&self, name: Option<&str>) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match name {
            Some(name) => all.remove(name).is_some(),
            None => {
                all.clear();
                true
            }
        }
    }
}

/// Which parameter an expression is.
fn place(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok().filter(|place| (1..=65_535).contains(place))
}

/// A value as its parameter's type, where that was said.
fn cast(value: &Expr, data_type: Option<&DataType>) -> Expr {
    let nested = Box::new(Expr::Nested(Box::new(value.clone())));
    match data_type {
        None => *nested,
        Some(data_type) => {
            Expr::Cast { kind: CastKind::Cast, expr: nested, data_type: data_type.clone(), array: false, format: None }
        }
    }
}

/// Puts values where the parameters are.
struct Filling<'a> {
    /// With how long each is.
    values: Vec<(usize, &'a Expr)>,
    /// Bytes that may still be put in.
    left: usize,
}

impl VisitorMut for Filling<'_> {
    type Break = ();

    // Afterwards, so that what is put in is not looked through again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some((length, value)) = place(expr).and_then(|place| self.values.get(place - 1)) {
            let Some(left) = self.left.checked_sub(*length) else { return ControlFlow::Break(()) };
            self.left = left;
            *expr = (*value).clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn statement(text: &str) -> Statement {
        Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap().remove(0)
    }

    #[test]
    fn what_is_prepared_by_name_is_executed_with_its_parameters() {
        let named = Named::default();
        let run = |text: &str| match statement(text) {
            Statement::Prepare { name, data_types, statement } => {
                named.prepare(&name.value, &data_types, &statement).map(|()| String::new())
            }
            other => named.resolved(other).map(|statement| statement.to_string()),
        };
        let state = |text: &str| run(text).unwrap_err().state;
        run("PREPARE a (text) AS SELECT $1, $2 FROM t WHERE x = $1").unwrap();
        assert_eq!(
            run("EXECUTE a('o''k', 1 + 2)").unwrap(),
            "SELECT CAST(('o''k') AS TEXT), (1 + 2) FROM t WHERE x = CAST(('o''k') AS TEXT)"
        );
        assert_eq!(run("SELECT $1").unwrap(), "SELECT $1");
        assert_eq!(state("PREPARE a AS SELECT 1"), "42P05");
        assert_eq!(state("EXECUTE a(1)"), "42601");
        assert_eq!(state("EXECUTE b(1)"), "26000");
        assert_eq!(state("PREPARE c AS DELETE FROM t"), "25006");
        let long = format!("EXECUTE a('{}', 1)", "x".repeat(LONGEST * 2 / 3));
        assert_eq!(state(&long), "54000");
        assert!(named.deallocate(Some("a")) && !named.deallocate(Some("a")));
        assert_eq!(state("EXECUTE a(1, 2)"), "26000");
    }
}
