//! What another published day says, in the names of this one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, Schema};
use chrono::NaiveDate;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionContext, col, lit};

use super::changes::{self, Before};
use super::people::People;
use super::setup::Project;
use crate::engine::Params;
use crate::engine::statement::{identifier, plan_text};
use crate::error::{Error, Result};
use crate::lake::manifest::Manifest;
use crate::lake::provider::DayTable;
use crate::lifecycle;
use crate::schema::published;

/// What the day before says of a segment's definition.
pub(super) struct DefinitionBefore {
    pub(super) query: String,
    pub(super) store: Option<String>,
    pub(super) hash: String,
    pub(super) defined_on: Option<NaiveDate>,
}

/// One table of a published day.
pub(super) fn table_of_day(project: &Project, name: &str, manifest: &Manifest) -> Result<Arc<DayTable>> {
    let table = published::named(name)
        .ok_or_else(|| Error::internal("snapshot.table", format!("the contract has no table `{name}`")))?;
    Ok(Arc::new(DayTable::over(&project.lake, &table, std::slice::from_ref(manifest))?))
}

/// `previous_lifecycle`: the rows of the day before, of a merged customer under the name that goes on; and
/// `successors` of that day's customers.
pub(super) async fn previous_lifecycle(
    project: &Project,
    session: &SessionContext,
    before: Option<&Manifest>,
) -> Result<()> {
    let name = "previous_lifecycle";
    let Some(manifest) = before else {
        let table = MemTable::try_new(lifecycle::columns::lifecycle(), vec![vec![]])?;
        session.register_table(name, Arc::new(table))?;
        return Ok(());
    };
    let table = table_of_day(project, "lifecycle", manifest)?;
    session.register_table("lifecycle_before", table)?;
    let gone = "SELECT l.customer_id AS id FROM lifecycle_before l \
                LEFT ANTI JOIN customers c ON c.customer_id = l.customer_id";
    successors(project, session, gone, "successors").await?;
    let frame = plan_text(session, &carried_sql(), &Params::new()).await?;
    session.register_table(name, frame.into_view())?;
    Ok(())
}

/// SQL for the rows of `lifecycle_before` in the names of this day, from the session's `successors`. What is held in memory
/// are the few who go on under another name: everybody else passes by, with the columns that a statement asks for.
fn carried_sql() -> String {
    let columns: Vec<String> =
        lifecycle::columns::lifecycle().fields().iter().map(|field| identifier(field.name())).collect();
    let others: Vec<String> =
        columns.iter().filter(|column| *column != "\"customer_id\"").map(|column| format!("l.{column}")).collect();
    let (columns, others) = (columns.join(", "), others.join(", "));
    // The stage of a merged person follows the id with the older history.
    let touched = "(SELECT id FROM successors UNION SELECT root FROM successors)";
    format!(
        "WITH persons AS (SELECT coalesce(s.root, l.customer_id) AS customer_id, l.customer_id AS was, {others} \
                     FROM successors s RIGHT JOIN \
                       (SELECT l.* FROM {touched} t JOIN lifecycle_before l ON t.id = l.customer_id) l ON s.id = l.customer_id), \
         ranked AS (SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY first_order_on NULLS LAST, stage_since, was) AS place \
                    FROM persons) \
         SELECT {columns} FROM {touched} t RIGHT ANTI JOIN lifecycle_before l ON t.id = l.customer_id \
         UNION ALL SELECT {columns} FROM ranked WHERE place = 1"
    )
}

/// The session's table `name` (id, root): who goes on for the ids that the query `wanted` gives, which are no
/// customers any more. A merged customer goes on as the one merged into; a guest who has an account now, as whoever has
/// the guest's address, or else the guest's orders.
async fn successors(project: &Project, session: &SessionContext, wanted: &str, name: &str) -> Result<()> {
    let guests = format!("SELECT id FROM ({wanted}) WHERE starts_with(id, 'guest:') LIMIT 1");
    let guests = plan_text(session, &guests, &Params::new()).await?.collect().await?;
    let mut sql = format!("SELECT r.id, r.root FROM roots r JOIN ({wanted}) w ON w.id = r.id");
    // Addresses are hashed for this only where a guest is missing.
    if guests.iter().any(|batch| batch.num_rows() > 0) {
        sql = format!(
            "{sql} UNION ALL SELECT id, root FROM ( \
               SELECT k.id, k.root, row_number() OVER (PARTITION BY k.id ORDER BY k.place, k.root) AS first \
               FROM (SELECT guest_id(address) AS id, customer_id AS root, 0 AS place FROM addresses \
                     UNION ALL \
                     SELECT guest_id(coalesce(lower(email), phone)), customer_id, 1 FROM orders_owned \
                     WHERE coalesce(email, phone) IS NOT NULL AND NOT starts_with(customer_id, 'guest:')) k \
               JOIN ({wanted}) w ON w.id = k.id) WHERE first = 1"
        );
    }
    let frame = plan_text(session, &sql, &Params::new()).await?;
    project.engine.materialize(session, name, frame, false).await?;
    Ok(())
}

/// The numbers of those who go on for the customers of the day before.
pub(super) async fn merged_since_the_day_before(
    session: &SessionContext,
    people: &People,
) -> Result<BTreeMap<String, u32>> {
    merged_numbers(session, "successors", people).await
}

/// The numbers of those who go on for `gone`, customers of whatever day.
pub(super) async fn merged_since(
    project: &Project,
    session: &SessionContext,
    gone: &[String],
    people: &People,
) -> Result<BTreeMap<String, u32>> {
    if gone.is_empty() {
        return Ok(BTreeMap::new());
    }
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
    let ids: StringArray = gone.iter().map(Some).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids)])?;
    session.deregister_table("gone_since")?;
    session.register_table("gone_since", Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))?;
    successors(project, session, "SELECT id FROM gone_since", "successors_since").await?;
    merged_numbers(session, "successors_since", people).await
}

async fn merged_numbers(session: &SessionContext, table: &str, people: &People) -> Result<BTreeMap<String, u32>> {
    let mut merged = BTreeMap::new();
    let sql = format!("SELECT id, root FROM {table} ORDER BY id");
    for batch in plan_text(session, &sql, &Params::new()).await?.collect().await? {
        let ids = cast(batch.column(0), &DataType::Utf8View)?;
        let roots = cast(batch.column(1), &DataType::Utf8View)?;
        let (ids, roots) = (ids.as_string_view(), roots.as_string_view());
        for row in 0..batch.num_rows() {
            if let Some(number) = people.number(roots.value(row), &mut 0) {
                merged.insert(ids.value(row).to_owned(), number);
            }
        }
    }
    Ok(merged)
}

/// The people whom `[customers] exclude` leaves out of this day.
pub(super) async fn excluded(session: &SessionContext) -> Result<BTreeSet<String>> {
    let sql = "SELECT customer_id FROM people WHERE left_out = 'excluded'";
    let mut excluded = BTreeSet::new();
    for batch in plan_text(session, sql, &Params::new()).await?.collect().await? {
        let ids = cast(batch.column(0), &DataType::Utf8View)?;
        excluded.extend(ids.as_string_view().iter().flatten().map(str::to_owned));
    }
    Ok(excluded)
}

/// The definitions of a published day, by segment.
pub(super) async fn definitions(
    project: &Project,
    session: &SessionContext,
    manifest: &Manifest,
) -> Result<BTreeMap<String, DefinitionBefore>> {
    let table = table_of_day(project, "segments", manifest)?;
    let columns = ["segment", "query", "store", "definition_hash", "defined_on"];
    let frame = session.read_table(table)?.select_columns(&columns)?;
    let mut known = BTreeMap::new();
    for batch in frame.collect().await? {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (ids, queries, stores, hashes) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let (ids, queries) = (ids.as_string::<i32>(), queries.as_string::<i32>());
        let (stores, hashes) = (stores.as_string::<i32>(), hashes.as_string::<i32>());
        let days = batch.column(4).as_primitive::<Date32Type>();
        for row in 0..batch.num_rows() {
            let before = DefinitionBefore {
                query: queries.value(row).to_owned(),
                store: stores.is_valid(row).then(|| stores.value(row).to_owned()),
                hash: hashes.value(row).to_owned(),
                defined_on: days.is_valid(row).then(|| days.value_as_date(row)).flatten(),
            };
            known.insert(ids.value(row).to_owned(), before);
        }
    }
    Ok(known)
}

/// The members of a published day, by segment.
pub(super) async fn members(
    project: &Project,
    session: &SessionContext,
    manifest: &Manifest,
    people: &People,
) -> Result<BTreeMap<String, Before>> {
    let table = table_of_day(project, "segment_members", manifest)?;
    let frame = session.read_table(table)?.select_columns(&["segment", "customer_id"])?;
    changes::members_before(frame, people).await
}

/// The members of one segment on a published day.
pub(super) async fn members_of(
    project: &Project,
    session: &SessionContext,
    manifest: &Manifest,
    segment: &str,
    people: &People,
) -> Result<Before> {
    let table = table_of_day(project, "segment_members", manifest)?;
    let frame = session.read_table(table)?.filter(col("segment").eq(lit(segment)))?;
    let frame = frame.select_columns(&["segment", "customer_id"])?;
    Ok(changes::members_before(frame, people).await?.remove(segment).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Date32Array, StringViewArray, new_null_array};
    use datafusion::physical_plan::ExecutionPlan;
    use datafusion::physical_plan::joins::HashJoinExec;

    use super::*;
    use crate::engine::{Engine, Limits};

    /// A session whose day before has four customers; `b` and `c` are `a` now, and `x` is `new`.
    async fn session() -> SessionContext {
        let session =
            Engine::new(Limits { memory: 1 << 30, threads: 2, spill: None }, Vec::new(), None).unwrap().night_session();
        let rows = 5;
        let schema = lifecycle::columns::lifecycle();
        let columns = schema.fields().iter().map(|field| match field.name().as_str() {
            "customer_id" => Arc::new(StringViewArray::from(vec!["a", "b", "c", "d", "x"])) as ArrayRef,
            "stage" => Arc::new(StringViewArray::from(vec!["loyal", "dormant", "churned", "prospect", "loyal"])),
            "first_order_on" => Arc::new(Date32Array::from(vec![Some(60), Some(50), Some(70), None, Some(55)])),
            _ => new_null_array(field.data_type(), rows),
        });
        let before = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
        session
            .register_table("lifecycle_before", Arc::new(MemTable::try_new(schema, vec![vec![before]]).unwrap()))
            .unwrap();
        let successors = "SELECT arrow_cast(id, 'Utf8View') AS id, arrow_cast(root, 'Utf8View') AS root \
                          FROM (VALUES ('b', 'a'), ('c', 'a'), ('x', 'new')) AS t(id, root)";
        let kept = session.sql(successors).await.unwrap().cache().await.unwrap();
        session.register_table("successors", kept.into_view()).unwrap();
        session
    }

    #[tokio::test]
    async fn a_merged_person_has_the_stage_of_the_older_history() {
        let session = session().await;
        let sql = format!("SELECT customer_id || ' ' || stage AS told FROM ({}) ORDER BY 1", carried_sql());
        let rows = session.sql(&sql).await.unwrap().collect().await.unwrap();
        let told: Vec<String> = rows
            .iter()
            .flat_map(|batch| {
                let told = cast(batch.column(0), &DataType::Utf8).unwrap();
                told.as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(told, ["a dormant", "d prospect", "new loyal"]);
    }

    /// A join collects its left side whole: a million customers with all that is said of them do not fit.
    #[tokio::test]
    async fn the_day_before_is_never_collected() {
        let session = session().await;
        let plan = session.sql(&carried_sql()).await.unwrap().create_physical_plan().await.unwrap();
        let mut joins = 0;
        let mut rest: Vec<Arc<dyn ExecutionPlan>> = vec![plan];
        while let Some(node) = rest.pop() {
            if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                joins += 1;
                let held = join.left().schema();
                assert!(held.field_with_name("stage").is_err(), "{held:?}");
            }
            rest.extend(node.children().into_iter().cloned());
        }
        assert!(joins >= 2, "{joins}");
    }
}
