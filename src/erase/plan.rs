//! What holds people who were forgotten: landed files, files of published tables that something names, and those that
//! nothing names any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use chrono::{DateTime, NaiveDate, Utc};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::files::{self, TableFile};
use super::matcher::{Matcher, telling};
use super::people::Identities;
use super::receipt::{Export, LandedPart, Receipt};
use crate::engine::statement::{Params, literal, plan_text};
use crate::error::Result;
use crate::lake::forgotten::{Forgotten, Known};
use crate::lake::snapshots::Snapshots;
use crate::lake::{Lake, Object};
use crate::land::{self, OfForgotten};
use crate::schema::landed::Table;
use crate::schema::published::{self, AS_OF};
use crate::snapshot::reading::Reading;
use crate::snapshot::setup::Project;
use crate::snapshot::upkeep;

/// Files read at once.
const AT_ONCE: usize = 8;
/// The shortest value that is looked for inside a text.
const TELLING: usize = 4;

/// Values as people write them, for texts that may quote them; a pass that goes on after a crash has none.
#[derive(Debug, Default)]
pub(super) struct Clear(Vec<String>);

impl Clear {
    pub(super) fn of(identities: &Identities) -> Self {
        let values = [Known::Id, Known::Email, Known::Phone].into_iter().flat_map(|known| identities.of(known));
        Self(values.filter(|value| value.chars().count() >= TELLING).map(|value| value.to_lowercase()).collect())
    }

    fn is_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().any(|value| text.contains(value.as_str()))
    }
}

/// A landed file that holds somebody.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) table: Table,
    pub(super) of: OfForgotten,
    /// Below the lake's root; elsewhere as people write it.
    pub(super) path: String,
}

impl Landed {
    pub(super) fn told(&self) -> LandedPart {
        let named: BTreeSet<&u64> = self.of.named.values().flatten().collect();
        LandedPart {
            file: self.path.clone(),
            table: self.table.name().to_owned(),
            rows: self.of.rows.len() as u64,
            named: named.len() as u64,
            size: self.of.file.size,
            e_tag: self.of.file.etag.clone(),
        }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Landed files in the lake.
    pub(super) landed: Vec<Landed>,
    /// Landed files outside of it.
    pub(super) elsewhere: Vec<Landed>,
    /// Files of published tables that a manifest, a held day or a table's newest version names.
    pub(super) named: Vec<TableFile>,
    /// Those that nothing names: old versions, and what died on the way.
    pub(super) unnamed: Vec<TableFile>,
    /// The exports that contained somebody.
    pub(super) exports: BTreeSet<String>,
    /// The exports whose query names somebody.
    pub(super) queries: BTreeSet<String>,
}

impl Plan {
    /// Whether nothing in the lake is to be erased.
    pub(super) fn is_empty(&self) -> bool {
        self.landed.is_empty() && self.named.is_empty() && self.unnamed.is_empty()
    }

    /// Tells of the exports that contained somebody.
    pub(super) async fn tell_exports(&self, project: &Project, receipt: &mut Receipt) -> Result<()> {
        receipt.queries = self.queries.clone();
        if self.exports.is_empty() {
            return Ok(());
        }
        let reading = Box::pin(Reading::open(project)).await?;
        let ids: Vec<String> = self.exports.iter().map(|id| literal(id)).collect();
        let sql = format!(
            "SELECT export_id, as_of, format, destination, created_at FROM exports \
             WHERE export_id IN ({}) ORDER BY created_at, export_id",
            ids.join(", ")
        );
        for batch in plan_text(&reading.session, &sql, &Params::new()).await?.collect().await? {
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8))
                .collect::<std::result::Result<_, _>>()?;
            for row in 0..batch.num_rows() {
                let text = |column: usize| {
                    let values = columns.get(column)?.as_string_opt::<i32>()?;
                    values.is_valid(row).then(|| values.value(row).to_owned())
                };
                receipt.exports.push(Export {
                    export_id: text(0).unwrap_or_default(),
                    as_of: text(1),
                    format: text(2),
                    destination: text(3),
                    created_at: text(4),
                });
            }
        }
        let told: BTreeSet<String> = receipt.exports.iter().map(|export| export.export_id.clone()).collect();
        let others = self.exports.difference(&told);
        receipt.exports.extend(others.map(|id| Export { export_id: id.clone(), ..Export::default() }));
        Ok(())
    }
}

/// What the passes in `open` have written anew, and what they know of queries, with a plan's own.
pub(super) fn matcher(forgotten: &Arc<Forgotten>, open: &[Receipt], plan: &Plan) -> Matcher {
    let told = open.iter().flat_map(|receipt| receipt.landed.iter().map(|part| part.file.clone()));
    let queries = open.iter().flat_map(|receipt| receipt.queries.iter().cloned());
    Matcher {
        forgotten: Arc::clone(forgotten),
        files: told.chain(plan.landed.iter().map(|landed| landed.path.clone())).collect(),
        queries: queries.chain(plan.queries.iter().cloned()).collect(),
    }
}

/// The landed rows of people who were forgotten, by file; only those files that are `wanted` are read.
pub(super) async fn landed(
    project: &Project,
    forgotten: &Arc<Forgotten>,
    at: DateTime<Utc>,
    wanted: impl Fn(Table, &land::LandedFile) -> bool,
) -> Result<(Vec<Landed>, Vec<Landed>)> {
    let session = project.engine.session();
    session.register_udf(forgotten.function());
    let today = project.settings.project.zone.local_date(at);
    let options = land::Options { without_forgotten: false, ..project.landing(today, at) };
    let found = Box::pin(land::find_some(&session, &project.sources, &options, wanted)).await?;
    let (mut inside, mut elsewhere) = (Vec::new(), Vec::new());
    for table in Table::ALL {
        let ours =
            project.sources.iter().any(|source| source.table == table && source.address == project.lake.store_url());
        for of in Box::pin(found.of_forgotten(&session, table, &options)).await? {
            let path = project.below_lake(&of.file.name);
            if ours && path != of.file.name {
                inside.push(Landed { table, of, path });
            } else {
                elsewhere.push(Landed { table, of, path });
            }
        }
    }
    Ok((inside, elsewhere))
}

/// Looks through everything.
pub(super) async fn plan(
    project: &Project,
    forgotten: &Arc<Forgotten>,
    open: &[Receipt],
    clear: &Clear,
    at: DateTime<Utc>,
) -> Result<Plan> {
    let lake = &project.lake;
    let mut plan = Plan::default();
    (plan.landed, plan.elsewhere) = Box::pin(landed(project, forgotten, at, |_, _| true)).await?;
    // Listed before what is named is looked up: what is named in between is found by the next look.
    let objects = lake.list("tables").await?;
    let snapshots = Box::pin(Snapshots::read(lake)).await?;
    let named = Box::pin(upkeep::named(lake, &snapshots)).await?;
    let mut candidates = Vec::new();
    for object in objects {
        let Some(file) = table_file(&object) else { continue };
        if file.table.name == "exports" && !clear.0.is_empty() {
            plan.queries.append(&mut naming(lake, &file, clear).await?);
        }
        candidates.push(file);
    }
    let matcher = matcher(forgotten, open, &plan);
    let looked = candidates.into_iter().map(|file| look(lake, file, &matcher).boxed());
    let looked: Vec<_> = futures::stream::iter(looked.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
    for (file, exports) in looked {
        if file.rows == 0 {
            continue;
        }
        plan.exports.extend(exports);
        if named.contains(&file.below) { plan.named.push(file) } else { plan.unnamed.push(file) }
    }
    Ok(plan)
}

/// A data file of a table that may hold people.
fn table_file(object: &Object) -> Option<TableFile> {
    let mut parts = object.path.strip_prefix("tables/")?.split('/');
    let table = published::named(parts.next()?)?;
    telling(&table)?;
    let rest: Vec<&str> = parts.collect();
    if rest.contains(&"_delta_log") || !object.path.ends_with(".parquet") {
        return None;
    }
    let as_of = rest.iter().find_map(|part| part.strip_prefix(AS_OF)?.strip_prefix('=')?.parse::<NaiveDate>().ok());
    Some(TableFile { table, as_of, below: object.path.clone(), size: object.size, rows: 0 })
}

/// Counts the rows of a file that are somebody's. A file that was removed meanwhile holds nobody.
async fn look(lake: &Lake, mut file: TableFile, matcher: &Matcher) -> Result<(TableFile, BTreeSet<String>)> {
    let columns = telling(&file.table).unwrap_or_default();
    let (name, mut rows, mut exports) = (file.table.name, 0, BTreeSet::new());
    let read = files::read(lake, &file.below, file.size, columns, |batch| {
        let gone = matcher.of_forgotten(name, batch)?;
        rows += gone.true_count() as u64;
        if name == "export_members" && gone.true_count() > 0 {
            exports.append(&mut matcher.exports(batch, &gone)?);
        }
        Ok(())
    });
    match read.await {
        Err(error) if error.code() == "lake.not_found" => {}
        other => other?,
    }
    file.rows = rows;
    Ok((file, exports))
}

/// The exports whose query names somebody.
async fn naming(lake: &Lake, file: &TableFile, clear: &Clear) -> Result<BTreeSet<String>> {
    let mut naming = BTreeSet::new();
    files::read(lake, &file.below, file.size, &["export_id", "query"], |batch| {
        let texts = |name: &str| {
            let column = batch.column_by_name(name);
            column.map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8)).transpose()
        };
        if let (Some(ids), Some(queries)) = (texts("export_id")?, texts("query")?) {
            let (ids, queries) = (ids.as_string::<i32>(), queries.as_string::<i32>());
            let named = (0..batch.num_rows()).filter(|row| queries.is_valid(*row) && clear.is_in(queries.value(*row)));
            naming.extend(named.map(|row| ids.value(row).to_owned()));
        }
        Ok(())
    })
    .await?;
    Ok(naming)
}
