//! What Postgres's SQL has and the engine does not, in the engine's words. The library's own rewrites come before.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, SelectItem, SetExpr, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut, visit_relations,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::pg::VECTORS;

/// What `psql` gathers about objects of which there are none: the roles of roles and of policies. The engine cannot plan
/// how it is asked.
const NEVER_ANY: [&str; 2] = ["pg_roles", "pg_auth_members"];
/// What columns could have of their own and never do: a sequence, a default, a collation.
const OF_NO_COLUMN: [&str; 3] = ["pg_sequence", "pg_attrdef", "pg_collation"];

/// Writes a statement, or a part of one, in the engine's words.
pub(super) fn translate(statement: &mut impl VisitMut) {
    // It never breaks off.
    let _whole = VisitMut::visit(statement, &mut Translation);
}

struct Translation;

impl VisitorMut for Translation {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => lower(name),
            TableFactor::Table { name, .. } => qualify(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let written = match expr {
            Expr::Function(function) => storage_options(function)
                .or_else(|| array_of(function))
                .or_else(|| subscripts(function))
                .or_else(|| local_time(function)),
            Expr::Cast { expr, data_type, .. } => vector(expr, data_type),
            Expr::Subquery(query) if of_no_column(query) => read("CAST(NULL AS VARCHAR)"),
            Expr::Subquery(query) => {
                look_up(query);
                None
            }
            Expr::BinaryOp { left, right, .. } => {
                no_function(left, right);
                None
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                escape(pattern, escape_char);
                None
            }
            _ => None,
        };
        if let Some(written) = written {
            *expr = written;
        }
        ControlFlow::Continue(())
    }
}

/// An expression of ours, which is always read.
fn read(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr()).ok()
}

/// `array_to_string(c.reloptions || …)`, by which psql's `\d+` asks how a table is stored: in no way that has options.
fn storage_options(function: &Function) -> Option<Expr> {
    let text = function.to_string();
    (text.starts_with("array_to_string(") && text.contains("unnest(tc.reloptions)")).then(|| read("''")).flatten()
}

/// A table of the catalogue that the library's own rewrite does not know.
fn qualify(name: &mut ObjectName) {
    if name.to_string().eq_ignore_ascii_case("pg_stat_activity") {
        name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
    }
}

/// The name of a function of tables, which the engine takes as it is written.
fn lower(name: &mut ObjectName) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(name) = part
            && name.quote_style.is_none()
        {
            name.value = name.value.to_lowercase();
        }
    }
}

/// `generate_subscripts(list, 1)`: the places of a list's elements, as rows.
fn subscripts(function: &Function) -> Option<Expr> {
    if !function.name.to_string().eq_ignore_ascii_case("generate_subscripts") {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(array)), FunctionArg::Unnamed(FunctionArgExpr::Expr(by))] =
        list.args.as_slice()
    else {
        return None;
    };
    if by.to_string() != "1" {
        return None;
    }
    let mut written = read("unnest(generate_series(CAST(1 AS BIGINT), CAST(array_length(NULL) AS BIGINT)))")?;
    let _whole = VisitMut::visit(&mut written, &mut Fill(Some(array.clone())));
    Some(written)
}

/// `localtimestamp`: the present, as a clock of the session's zone shows it.
fn local_time(function: &Function) -> Option<Expr> {
    let is_bare = matches!(function.args, FunctionArguments::None);
    (is_bare && function.name.to_string().eq_ignore_ascii_case("localtimestamp"))
        .then(|| read("to_local_time(now())"))
        .flatten()
}

/// The places of an index's columns as a text, which has spaces between them.
fn vector(expr: &Expr, data_type: &DataType) -> Option<Expr> {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => names.last()?,
        _ => return None,
    };
    let is_text = matches!(data_type, DataType::Varchar(_) | DataType::Text | DataType::CharacterVarying(_));
    if !is_text || !VECTORS.contains(&name.value.as_str()) {
        return None;
    }
    let mut written = read("array_to_string(NULL, ' ')")?;
    let _whole = VisitMut::visit(&mut written, &mut Fill(Some(expr.clone())));
    Some(written)
}

/// Whether a value is asked of what no column has. Tools ask it by the row outside, which the engine plans of aggregates
/// only. Extended statistics, which psql asks for by a function of another row, are never there either.
fn of_no_column(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    match select.from.first().map(|from| &from.relation) {
        Some(TableFactor::Table { name, .. }) => {
            let name = name.to_string().to_lowercase();
            OF_NO_COLUMN.contains(&name.rsplit('.').next().unwrap_or_default())
                || name == "unnest" && query.to_string().contains("unnest(stxkeys)")
        }
        _ => false,
    }
}

/// A value that is looked up in `pg_catalog` by the row outside: the engine wants an aggregate, so that there is one at most.
/// What is looked up by its number has one at most anyway.
fn look_up(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Some(TableFactor::Table { name, .. }) = select.from.first().map(|from| &from.relation) else { return };
    let of_catalog = name.to_string().to_lowercase().rsplit('.').next().is_some_and(|name| name.starts_with("pg_"));
    if !of_catalog || select.selection.is_none() || query.limit_clause.is_some() {
        return;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_mut_slice()
    else {
        return;
    };
    if matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        && let Some(mut largest) = read("max(NULL)")
    {
        let _whole = VisitMut::visit(&mut largest, &mut Fill(Some(value.clone())));
        *value = largest;
    }
}

/// `typreceive <> 0`: a function's number in Postgres, where 0 is none; here its name, where none is `-`.
fn no_function(left: &Expr, right: &mut Expr) {
    let name = match left {
        Expr::Identifier(name) => &name.value,
        Expr::CompoundIdentifier(names) => match names.last() {
            Some(name) => &name.value,
            None => return,
        },
        _ => return,
    };
    let is_none =
        matches!(right, Expr::Value(value) if matches!(&value.value, Value::Number(number, _) if number == "0"));
    if is_none && ["typreceive", "typsend", "typinput", "typoutput"].contains(&name.as_str()) {
        *right = Expr::Value(Value::SingleQuotedString("-".to_owned()).with_empty_span());
    }
}

/// `ARRAY(SELECT …)` as an aggregate.
fn array_of(function: &mut Function) -> Option<Expr> {
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let FunctionArguments::Subquery(query) = &mut function.args else { return None };
    if asks_for_roles(query) {
        return read("arrow_cast(make_array(), 'List(Utf8)')");
    }
    let mut written = read("(SELECT array_agg(one) FROM (SELECT 1) AS every(one))")?;
    if let Expr::Subquery(outer) = &mut written
        && let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|from| &mut from.relation)
    {
        std::mem::swap(subquery, query);
    }
    Some(written)
}

fn asks_for_roles(query: &Query) -> bool {
    visit_relations(query, |relation| {
        let name = relation.to_string().to_lowercase();
        let name = name.rsplit('.').next().unwrap_or_default();
        if NEVER_ANY.contains(&name) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .is_break()
}

/// `LIKE pattern ESCAPE 'c'`: the engine knows no character but the backslash.
fn escape(pattern: &mut Expr, escape_char: &mut Option<ValueWithSpan>) {
    let Some(Value::SingleQuotedString(by)) = escape_char.as_ref().map(|escape| &escape.value) else { return };
    if by == "\\" || by.chars().count() != 1 {
        return;
    }
    let by = by.replace('\'', "''");
    // What is escaped twice stands for itself; meanwhile it is a character that no text has.
    let template = format!(
        "replace(replace(replace(replace(NULL, '\\', '\\\\'), '{by}{by}', chr(1)), '{by}', '\\'), chr(1), '{by}')"
    );
    let Some(mut written) = read(&template) else { return };
    let _whole = VisitMut::visit(&mut written, &mut Fill(Some(pattern.clone())));
    *pattern = written;
    *escape_char = None;
}

/// Puts an expression where a template has `NULL`.
struct Fill(Option<Expr>);

impl VisitorMut for Fill {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Value(value) if value.value == Value::Null)
            && let Some(filling) = self.0.take()
        {
            *expr = filling;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap();
        translate(&mut statements);
        statements[0].to_string()
    }

    #[test]
    fn an_array_of_a_query_is_an_aggregate() {
        assert_eq!(
            written("SELECT ARRAY(SELECT segment FROM segments) AS ids"),
            "SELECT (SELECT array_agg(one) FROM (SELECT segment FROM segments) AS every (one)) AS ids"
        );
        let of_roles = written("SELECT array(SELECT rolname FROM pg_catalog.pg_roles) AS roles");
        assert_eq!(of_roles, "SELECT arrow_cast(make_array(), 'List(Utf8)') AS roles");
    }

    #[test]
    fn functions_of_tables_are_named_in_any_case() {
        assert_eq!(
            written("SELECT * FROM GENERATE_SERIES(1, 7) AS n, \"Odd\"(1)"),
            "SELECT * FROM generate_series(1, 7) AS n, \"Odd\"(1)"
        );
        assert_eq!(
            written("SELECT pg_stat_activity.pid FROM pg_stat_activity"),
            "SELECT pg_stat_activity.pid FROM pg_catalog.pg_stat_activity"
        );
        assert_eq!(written("SELECT LocalTimestamp, now()"), "SELECT to_local_time(now()), now()");
    }

    #[test]
    fn places_of_columns_are_rows_and_texts() {
        assert_eq!(
            written(
                "SELECT unnest(i.indkey), generate_subscripts(i.indkey, 1), i.indkey::varchar, i.n::varchar FROM pg_index i"
            ),
            "SELECT unnest(i.indkey), unnest(generate_series(CAST(1 AS BIGINT), CAST(array_length(i.indkey) AS BIGINT))), \
             array_to_string(i.indkey, ' '), i.n::VARCHAR FROM pg_index i"
        );
    }

    #[test]
    fn what_is_looked_up_in_the_catalogue_can_be_planned() {
        let value = "(SELECT d.adbin FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid)";
        assert_eq!(
            written(&format!("SELECT {value} FROM pg_attribute a")),
            "SELECT CAST(NULL AS VARCHAR) FROM pg_attribute a"
        );
        assert_eq!(
            written("SELECT (SELECT t.typname FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid) FROM pg_attribute a"),
            "SELECT (SELECT max(t.typname) FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid) FROM pg_attribute a"
        );
        assert_eq!(
            written("SELECT oid FROM pg_type WHERE typreceive != 0 AND oid <> 0"),
            "SELECT oid FROM pg_type WHERE typreceive <> '-' AND oid <> 0"
        );
        let kept = "SELECT (SELECT max(members) FROM segment_sizes) AS most";
        assert_eq!(written(kept), kept);
    }

    #[tokio::test]
    async fn patterns_mean_the_same_whatever_escapes_in_them() {
        let context = datafusion::execution::SessionStateBuilder::new().with_default_features().build();
        let context = datafusion::prelude::SessionContext::new_with_state(context);
        for (text, pattern, by, like) in [
            ("pg_class", "pg/_%", "/", true),
            ("pgXclass", "pg/_%", "/", false),
            ("a/b", "a//_", "/", true),
            ("a\\b", "a\\b", "/", true),
            ("50%", "50#%", "#", true),
            ("500", "50#%", "#", false),
        ] {
            let sql = written(&format!("SELECT '{text}' LIKE '{pattern}' ESCAPE '{by}'"));
            let batches = Box::pin(context.sql(&sql)).await.unwrap().collect().await.unwrap();
            let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            assert_eq!(shown.contains("true"), like, "{sql}\n{shown}");
        }
    }
}
