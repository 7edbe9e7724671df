//! Computed attributes: queries of the project, `sql/attributes/<name>.sql`, whose columns become columns of the profile.
//!
//! A query reads the day's clean facts under the names of the published tables and sees nothing else. It is planned
//! against their schemas before anything is computed, and run after the profile and before the segments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use chrono::NaiveDate;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::MemTable;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::{DataFrame, SessionContext, cast, ident};
use sha2::{Digest, Sha256};

use super::catalogue::{Attribute, Catalogue, Named};
use crate::engine::Engine;
use crate::engine::statement::{Params, identifier, plan_text};
use crate::error::{Error, Result};
use crate::land::Landed;
use crate::schema::landed::{instant_type, list_type};

/// What a query may read.
mod tables;

use tables::{TABLES, schemas, tables_of_the_night};

/// Where a project's computed attributes are, as people write it.
pub const FOLDER: &str = "sql/attributes";

/// A file of [`FOLDER`].
#[derive(Debug, Clone)]
pub struct File {
    /// Its name as people write it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A query that was checked.
#[derive(Debug, Clone)]
struct Query {
    file: File,
    /// What it computes: each column's name and the type that it is kept as.
    columns: Vec<(String, DataType)>,
    /// The columns of tables that it reads.
    reads: BTreeSet<(String, String)>,
}

/// A project's computed attributes.
#[derive(Debug, Clone, Default)]
pub struct Computed {
    queries: Vec<Query>,
    /// What a segment can name.
    pub attributes: Vec<Attribute>,
}

/// The files of a project's folder, by name; none where there is no such folder.
///
/// # Errors
/// A folder or file that cannot be read, and one that is not UTF-8.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let folder = root.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::from(error).in_file(FOLDER)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::from(error).in_file(FOLDER))?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        if name.starts_with('.') || path.extension().is_none_or(|extension| extension != "sql") || path.is_dir() {
            continue;
        }
        let written = format!("{FOLDER}/{name}");
        let bytes = std::fs::read(&path).map_err(|error| Error::from(error).in_file(&written))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let error = Error::definition("attribute.not_utf8", "the file is not UTF-8");
            error.in_file(&written).with_hint("save it as UTF-8")
        })?;
        files.push(File { path: written, text });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Plans every file against the schemas of the tables, without reading a row. `catalogue` has what a name may not be.
/// Gives what is in order, and every fault.
///
/// # Errors
/// Schemas that the session refuses.
pub async fn check(
    engine: &Engine,
    files: Vec<File>,
    landed: &Landed,
    contact_fields: &BTreeSet<String>,
    catalogue: &Catalogue,
) -> Result<(Computed, Vec<Error>)> {
    let (mut computed, mut faults) = (Computed::default(), Vec::new());
    if files.is_empty() {
        return Ok((computed, faults));
    }
    let session = engine.session();
    for (name, columns) in schemas(landed, contact_fields) {
        let schema = Arc::new(Schema::new(columns));
        let empty = RecordBatch::new_empty(Arc::clone(&schema));
        session.register_table(name, Arc::new(MemTable::try_new(schema, vec![vec![empty]])?))?;
    }
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let frame = match plan(&session, &file).await {
            Ok(frame) => frame,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        let (columns, wrong) = columns_of(&file, &frame, catalogue, &mut taken);
        if !wrong.is_empty() {
            faults.extend(wrong);
            continue;
        }
        let about = HeadComment::of(&file.text);
        let digest = hex::encode(Sha256::digest(file.text.as_bytes()));
        for (name, data_type) in &columns {
            let meaning = about.of_column(name).unwrap_or_else(|| format!("computed by {}", file.path));
            computed.attributes.extend(Attribute::computed(name, data_type, &meaning, &digest));
        }
        let reads = reads(&session, &frame)?;
        computed.queries.push(Query { file, columns, reads });
    }
    Ok((computed, faults))
}

/// The columns that a query reads, with their tables.
fn reads(session: &SessionContext, frame: &DataFrame) -> Result<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    session.state().optimize(frame.logical_plan())?.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let fields = scan.projected_schema.fields().iter();
            found.extend(fields.map(|field| (scan.table_name.table().to_owned(), field.name().clone())));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Plans a file's query.
async fn plan(session: &SessionContext, file: &File) -> Result<DataFrame> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let planned = Box::pin(session.sql_with_options(&file.text, options)).await;
    let frame = planned.map_err(|error| wrong(Error::from(error), file))?;
    if let Some(function) = unrepeatable(frame.logical_plan())? {
        let message = format!("`{function}` gives another answer each time that it is asked");
        return Err(Error::definition("attribute.not_repeatable", message)
            .in_file(&file.path)
            .with_hint("take the day from `customer_profile.as_of`: all that can be read is from before its end"));
    }
    Ok(frame)
}

/// What is wrong with a query, with its file and the place that the parser names.
fn wrong(error: Error, file: &File) -> Error {
    let number = |after: &str| -> Option<u64> {
        let rest = error.message().split(after).nth(1)?;
        rest.split(|next: char| !next.is_ascii_digit()).next()?.parse().ok()
    };
    let told = Error::definition("attribute.sql", error.message().to_owned()).in_file(&file.path);
    let told = match number("Line: ") {
        Some(line) => told.at_line(line, number("Column: ")),
        None => told,
    };
    told.with_hint(format!("a query of an attribute reads {} and nothing else", TABLES.join(", ")))
}

/// A function in a plan that reads the clock or chance.
fn unrepeatable(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(function) = part
                    && function.func.signature().volatility != Volatility::Immutable
                {
                    found = Some(function.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The columns that a query computes, and what is wrong with them.
fn columns_of(
    file: &File,
    frame: &DataFrame,
    catalogue: &Catalogue,
    taken: &mut BTreeMap<String, String>,
) -> (Vec<(String, DataType)>, Vec<Error>) {
    let (mut columns, mut faults) = (Vec::new(), Vec::new());
    let mut fault = |code, message: String, hint: &str| {
        faults.push(Error::definition(code, message).in_file(&file.path).with_hint(hint));
    };
    let mut keys = 0;
    for field in frame.schema().fields() {
        let name = field.name().as_str();
        if name == "customer_id" {
            keys += 1;
            continue;
        }
        if !is_plain(name) {
            let message = format!("`{name}` cannot be the name of an attribute");
            fault("attribute.bad_name", message, "write `AS` and a name of lower-case letters, digits and `_`");
            continue;
        }
        if let Some(other) = taken.get(name) {
            let message = format!("`{name}` is computed by {other} already");
            fault("attribute.taken", message, "give one of the two another name");
            continue;
        }
        if !is_free(name, catalogue) {
            let message = format!("`{name}` is the name of something else");
            fault("attribute.taken", message, "write `AS` and a name that `alluvial attributes` does not list");
            continue;
        }
        match kept_as(field.data_type()) {
            Some(kept) => {
                taken.insert(name.to_owned(), file.path.clone());
                columns.push((name.to_owned(), kept));
            }
            None => {
                let message = format!("no clause can test `{name}`, whose type is {}", field.data_type());
                fault(
                    "attribute.bad_type",
                    message,
                    "cast it to text, a number, a date, a timestamp, a boolean or a list of texts",
                );
            }
        }
    }
    if keys != 1 {
        let message =
            if keys == 0 { "the query has no column `customer_id`" } else { "the query has several `customer_id`" };
        fault("attribute.no_customer", message.to_owned(), "write `SELECT customer_id, … GROUP BY customer_id`");
    } else if columns.is_empty() && faults.is_empty() {
        let error = Error::definition("attribute.no_column", "the query computes nothing beside `customer_id`");
        faults.push(error.in_file(&file.path).with_hint("add a column, which becomes an attribute of its name"));
    }
    (columns, faults)
}

/// Words that stand for something else in a query.
const KEYWORDS: [&str; 18] = [
    "and",
    "or",
    "not",
    "between",
    "in",
    "contains",
    "starts",
    "with",
    "is",
    "null",
    "matches",
    "not_matches",
    "true",
    "false",
    "today",
    "yesterday",
    "segment",
    "anniversary",
];

fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 63
        && name.bytes().all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == b'_')
        && !KEYWORDS.contains(&name)
}

fn is_free(name: &str, catalogue: &Catalogue) -> bool {
    let named = matches!(catalogue.resolve(name), Named::Unknown(_) | Named::NotLanded(_));
    named
        && !super::COMPUTED.contains(&name)
        && !catalogue.attributes().iter().any(|attribute| attribute.name.to_lowercase() == name)
}

/// The type that a column is kept as in the profile; `None` for what no clause can test.
fn kept_as(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean | DataType::Date32 => data_type.clone(),
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, _) => instant_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Dictionary(_, values) => return kept_as(values),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        whole if whole.is_integer() => DataType::Int64,
        number if number.is_floating() => DataType::Float64,
        DataType::List(element) | DataType::LargeList(element)
            if matches!(element.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) =>
        {
            list_type()
        }
        _ => return None,
    })
}

/// The comment at the beginning of a file: what its columns mean. A line `name: …` is about that column only.
struct HeadComment {
    whole: String,
    lines: BTreeMap<String, String>,
}

impl HeadComment {
    fn of(text: &str) -> Self {
        let (mut whole, mut lines) = (Vec::new(), BTreeMap::new());
        for line in text.lines().map(str::trim).skip_while(|line| line.is_empty()) {
            let Some(said) = line.strip_prefix("--").map(str::trim) else { break };
            match said.split_once(':') {
                Some((name, meaning)) if is_plain(name) => {
                    lines.insert(name.to_owned(), meaning.trim().to_owned());
                }
                _ => whole.push(said),
            }
        }
        Self { whole: whole.join(" ").trim().to_owned(), lines }
    }

    fn of_column(&self, name: &str) -> Option<String> {
        let own = self.lines.get(name).unwrap_or(&self.whole);
        (!own.is_empty()).then(|| own.clone())
    }
}

impl Computed {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// The files, as people write them.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().map(|query| query.file.path.as_str())
    }

    /// The columns of a table that the queries read.
    pub fn reads<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.queries.iter().flat_map(|query| &query.reads);
        all.filter(move |(of, _)| of == table).map(|(_, column)| column.as_str())
    }

    /// Runs every query over the session's day and adds its columns to the session's `profile`. A customer whom a query
    /// does not return lacks its columns.
    ///
    /// # Errors
    /// `attribute.several_rows` for a query that returns a customer twice; what a query fails with, with its file.
    pub async fn join(&self, engine: &Engine, session: &SessionContext, as_of: NaiveDate) -> Result<()> {
        if self.queries.is_empty() {
            return Ok(());
        }
        let own = engine.night_session();
        for (name, sql) in tables_of_the_night(session, as_of).await? {
            own.register_table(name, plan_text(session, &sql, &Params::new()).await?.into_view())?;
        }
        let (mut columns, mut from) = (String::new(), "profile p".to_owned());
        for (number, query) in self.queries.iter().enumerate() {
            let (table, alias) = (format!("attribute_{number}"), format!("a{number}"));
            query.keep(engine, session, &own, &table).await?;
            for (name, _) in &query.columns {
                columns.push_str(&format!(", {alias}.{}", identifier(name)));
            }
            from = format!("{table} {alias} RIGHT JOIN ({from}) ON {alias}.customer_id = p.customer_id");
        }
        let sql = format!("SELECT p.*{columns} FROM {from} ORDER BY p.customer_id");
        let frame = plan_text(session, &sql, &Params::new()).await?;
        engine.materialize_sorted(session, "profile", frame, &["customer_no", "customer_id"]).await?;
        Ok(())
    }
}

impl Query {
    /// Runs the query in `own` and keeps its result as a table of `session`.
    async fn keep(&self, engine: &Engine, session: &SessionContext, own: &SessionContext, table: &str) -> Result<()> {
        let of_file = |error: Error| error.in_file(&self.file.path);
        let frame = plan(own, &self.file).await?;
        let kept = std::iter::once(("customer_id", &DataType::Utf8View))
            .chain(self.columns.iter().map(|(name, data_type)| (name.as_str(), data_type)))
            .map(|(name, data_type)| cast(ident(name), data_type.clone()).alias(name));
        let frame = frame
            .select(kept.collect::<Vec<_>>())
            .and_then(|frame| frame.filter(ident("customer_id").is_not_null()))
            .map_err(|error| of_file(Error::from(error)))?;
        engine.materialize(session, table, frame, false).await.map_err(of_file)?;
        let several = format!("SELECT customer_id FROM {table} GROUP BY customer_id HAVING count(*) > 1");
        let several = plan_text(session, &several, &Params::new()).await?.count().await?;
        if several > 0 {
            let message = format!("the query returns more than one row for {several} customers");
            return Err(of_file(Error::definition("attribute.several_rows", message))
                .with_hint("write `GROUP BY customer_id`, so that there is one row a customer"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
