//! One day, from landed tables to the commit that publishes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type};
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::prelude::{DataFrame, SessionContext};
use sha2::{Digest, Sha256};

use super::compare::Comparison;
use super::held::Held;
use super::people::People;
use super::rows::{self, Size};
use super::segments::compute;
use super::setup::Project;
use super::ties;
use super::writing::Writing;
use crate::engine::statement::{identifier, plan_text};
use crate::engine::{Params, Statement};
use crate::error::{Error, Result};
use crate::lake::forgotten;
use crate::lake::manifest::{InputFile, Manifest, Previous};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::land::{self, Landed};
use crate::lifecycle;
use crate::profile::{self, Profiled};
use crate::schema::landed::Table;

/// Is told of the steps of a day.
pub trait Steps: Send {
    /// A step begins; the one before it is over.
    fn begin(&mut self, step: &'static str);
    /// How many rows the present step wrote or handed on.
    fn rows(&mut self, rows: u64);
    /// Which attempt at the day this is, from 1.
    fn attempt(&mut self, attempt: i64);
}

/// What a run is.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id, unique.
    pub id: String,
    /// The as-of date.
    pub as_of: NaiveDate,
    /// The present.
    pub at: DateTime<Utc>,
    /// Whether a published day is computed again though nothing that it depends on has changed.
    pub force: bool,
}

/// What became of a day.
#[derive(Debug)]
pub enum Published {
    /// It is published.
    Now(Box<Summary>),
    /// It was published before, from the same files and definitions and after the same day.
    Unchanged(Box<PublishedDay>),
    /// It is computed and written, and waits for a person, for these reasons.
    Held(Box<Summary>, Vec<String>),
}

/// What a day came to.
#[derive(Debug)]
pub struct Summary {
    /// The landed tables.
    pub landed: Landed,
    /// The profile.
    pub profiled: Profiled,
    /// Customers by lifecycle stage, in the order of the stages.
    pub stages: Vec<(String, u64)>,
    /// The segments' sizes; the day before that they are compared with, none on a segment's first day.
    pub sizes: Vec<(Size, Option<NaiveDate>)>,
    /// The published day before.
    pub previous: Option<NaiveDate>,
    /// Whether the day is what was known on it; none where that cannot be told.
    pub as_known: Option<bool>,
    /// Later published days that are stale now.
    pub stale: Vec<NaiveDate>,
    /// With which model the stages were scored, and the day whose buyers it was fitted to; none for the benchmark.
    pub model: (String, Option<NaiveDate>),
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What moved so much that a person should look, though it holds nothing.
    pub unusual: Vec<String>,
    /// Segments that moved by half without being edited.
    pub moved: Vec<String>,
    /// Rows by published table.
    pub rows: BTreeMap<String, u64>,
}

/// The stages in the order of a report.
pub const STAGES: [&str; 6] = ["loyal", "high_potential", "nurture_needed", "dormant", "churned", "prospect"];

/// The order of `order_items`, whose rows have no key; the few that agree in these columns are ordered by all others.
const LINE_ORDER: [&str; 3] = ["order_id", "line", "product_id"];

/// Computes a day and publishes it.
///
/// # Errors
/// Faults of definitions, of landed files and of too many rows; nothing is published then, and the last published day
/// stands. `snapshot.superseded` where a later attempt at the day has published meanwhile.
pub async fn publish(project: &Project, run: &Run, steps: &mut dyn Steps) -> Result<Published> {
    let lake = &project.lake;
    let engine = &project.engine;
    let session = engine.night_session();
    let snapshots = Box::pin(Snapshots::read(lake)).await?.without(project.forgotten.objects());
    let mut writing = Writing::begin(lake, &run.id, run.as_of, run.at).await?;
    steps.attempt(writing.attempt());
    let definitions = super::segments::definitions(project)?;
    let before = match snapshots.latest_before(run.as_of) {
        Some(day) => Some((day.clone(), Box::pin(snapshots.manifest(day)).await?)),
        None => None,
    };

    steps.begin("land");
    let landing = project.landing(run.as_of, run.at);
    let found = Box::pin(land::find(&session, &project.sources, &landing)).await?;
    let (catalogue, own) = Box::pin(super::segments::catalogue(project, &found.landed)).await?;
    let prepared = super::segments::prepare(project, definitions, &catalogue, run.as_of)?;
    if !run.force
        && let Some(day) = snapshots.day(run.as_of)
        && unchanged(project, &snapshots, day, before.as_ref(), &found.landed, &prepared).await?
        && same_model(project, &session, &snapshots, day, &writing).await?
    {
        return Ok(Published::Unchanged(Box::new(day.clone())));
    }
    let landed = Box::pin(land::settle(engine, &session, found, &landing)).await?;
    if !landed.has(Table::Customers) && !landed.has(Table::Orders) {
        let (customers, orders) = (project.place_of(Table::Customers), project.place_of(Table::Orders));
        let message = format!("no customers and no orders are landed: there are none in {customers} and in {orders}");
        return Err(Error::input("snapshot.nothing_landed", message)
            .with_hint("land a file with `alluvial land orders FILE`, or try `alluvial demo` first"));
    }
    steps.rows(landed.tables.values().map(|table| table.rows).sum());

    steps.begin("profile");
    let profiling = project.profiling(run.as_of, prepared.exclude.clone(), prepared.kept_rows(&landed, &own));
    let profiled = Box::pin(profile::build(engine, &session, &landed, &profiling)).await?;
    if profiled.customers == 0 {
        return Err(nobody(project, run).await?);
    }
    steps.rows(profiled.customers);

    steps.begin("lifecycle");
    super::before::previous_lifecycle(project, &session, before.as_ref().map(|(_, manifest)| manifest)).await?;
    let texts = |statement: &Statement| engine.text(statement);
    let inputs = inputs(project, &landed);
    let published = match snapshots.day(run.as_of).filter(|_| !run.force) {
        Some(day) => Box::pin(snapshots.manifest(day)).await?.model,
        None => None,
    };
    let chosen = super::model::of_the_day(project, &session, run, &writing, published.as_deref(), &inputs);
    let chosen = Box::pin(chosen).await?;
    let settings = &project.settings.lifecycle;
    let scored = Box::pin(lifecycle::score(&session, run.as_of, settings, &chosen.classifier, &texts)).await?;
    let health = scored.health_row(run.as_of, chosen.health(project, run).await?.as_ref())?;
    let history_days = scored.population.history_days(run.as_of);
    let scores = engine.materialize_sorted(&session, "lifecycle_today", scored.rows, &["customer_id"]).await?;
    let transitions = lifecycle::transitions(&session, &texts).await?;
    full_profile(&session).await?;
    Box::pin(own.join(engine, &session, run.as_of)).await?;
    steps.rows(scores.rows);

    steps.begin("segments");
    let as_of = datafusion::scalar::ScalarValue::Date32(Some(Date32Type::from_naive_date(run.as_of)));
    let people = Arc::new(People::read(&session, &Params::new().with("as_of", as_of)).await?);
    let computed = Box::pin(compute(project, &session, &snapshots, &prepared)).await?;
    let comparison = Comparison {
        project,
        session: &session,
        snapshots: &snapshots,
        before: before.as_ref(),
        prepared: &prepared,
        people: &people,
        as_of: run.as_of,
    };
    let compared = Box::pin(comparison.of(&computed)).await?;
    steps.rows(computed.segments.iter().map(|segment| segment.members.len()).sum());

    steps.begin("write");
    let newest = snapshots.latest().is_none_or(|latest| latest.as_of <= run.as_of);
    let mut written = 0;
    written += writing.write("customer_profile", published_profile(&session).await?.execute_stream().await?).await?;
    if newest {
        written += writing
            .write(
                "customer_contacts",
                sorted(&session, "contacts", &["customer_no"], "customer_id").await?.execute_stream().await?,
            )
            .await?;
        let orders = columns(&session, "orders", &["_version", "customer_no"]).await?;
        written +=
            writing.write("orders", engine.in_order(&session, "orders_in_order", orders, &["order_id"]).await?).await?;
        let lines = columns(&session, "order_items", &["customer_no"]).await?;
        let lines = engine.in_order(&session, "order_items_in_order", lines, &LINE_ORDER).await?;
        written += writing.write("order_items", ties::settled(lines, &LINE_ORDER)?).await?;
    }
    let lifecycle_rows = session
        .table("lifecycle_today")
        .await?
        .sort(vec![datafusion::prelude::col("customer_id").sort(true, false)])?;
    written += writing.write("lifecycle", lifecycle_rows.execute_stream().await?).await?;
    written += writing.write("lifecycle_transitions", transitions.execute_stream().await?).await?;
    written += writing.write("lifecycle_health", rows::stream(health.schema(), std::iter::once(Ok(health)))).await?;
    if let Some(model) = chosen.fresh {
        writing.write("lifecycle_models", rows::stream(model.schema(), std::iter::once(Ok(model)))).await?;
    }
    let previous = before.as_ref().map(|(day, _)| day.as_of);
    written += compared.write(&mut writing, &computed, &people, previous).await?;
    let mut manifest = Manifest::new(run.as_of, &run.id, project.settings.project.zone.name());
    manifest.previous = before.as_ref().map(|(day, _)| Previous {
        as_of: day.as_of,
        run_id: day.run_id.clone(),
        manifest: day.manifest.clone(),
    });
    manifest.definitions = definitions_of(project, &prepared);
    manifest.model = Some(chosen.classifier.name.clone());
    manifest.inputs = inputs;
    let fresh = super::rejects::fresh(project, &session, &snapshots, &writing, &manifest, &landed.rejects).await?;
    writing.write("rejects", rows::rejects(&fresh, &run.id)?).await?;
    let stages = stages(&session).await?;
    let lacking = required_fields(project, &session, &profiled).await?;
    steps.rows(written);

    steps.begin("publish");
    writing.describe(&mut manifest)?;
    let definition_hash = hash_of(&manifest.definitions);
    let path = manifest.keep(lake).await?;
    let as_known = as_known(&profiled, &landed, run.as_of);
    let row_counts: BTreeMap<String, u64> =
        manifest.tables.iter().map(|(name, files)| (name.clone(), files.rows())).collect();

    let mut warnings = landed.warnings.clone();
    warnings.extend(project.unfound(&landed));
    warnings.extend(profiled.warnings.iter().cloned());
    warnings.extend(prepared.warnings.iter().cloned());
    warnings.extend(lacking);
    let members = compared.sizes.iter().map(|(size, _)| (size.segment.as_str(), size.members));
    warnings.extend(super::segments::too_small(members, &prepared));
    for statement in lifecycle::statements::STATEMENTS.iter().filter(|own| engine.override_of(own).is_some()) {
        warnings.push(format!("sql/{}.sql is the project's own", statement.name));
    }
    if profiled.buyers == 0 {
        warnings.push("no counted order before the cutoff: everybody is a prospect".to_owned());
    }
    if profiled.buyers > 0 && history_days < 180 {
        warnings.push(format!("{history_days} days of history: stages are provisional below 180"));
    }
    let relabelled = before.is_some() && !super::label::relabelled(&session, &people).await?.is_empty();
    let mut verdict = super::guard::Verdict::default();
    if let Some((_, before)) = &before {
        let guarded = super::guard::Day {
            project,
            session: &session,
            as_of: run.as_of,
            before,
            landed: &landed,
            people: &people,
            relabelled,
        };
        verdict = Box::pin(guarded.measured()).await?.verdict();
        if let Some(exempt) = exempt(&snapshots, run.as_of, &manifest, before) {
            warnings
                .extend(verdict.holds.drain(..).map(|held| format!("{held}; {exempt}, so that the day is not held")));
        }
    }
    let edited = |id: &str| edited(before.as_ref().map(|(_, manifest)| manifest), &manifest, id);
    let moved = super::guard::moved(&compared.sizes, edited);
    warnings.extend(verdict.unusual.iter().cloned());
    warnings.extend(moved.iter().map(|(_, told)| told.clone()));
    let mut summary = Summary {
        landed,
        profiled,
        stages,
        sizes: compared.sizes,
        previous,
        as_known,
        stale: Vec::new(),
        model: (chosen.classifier.name, chosen.fitted_on),
        warnings,
        unusual: verdict.unusual.into_iter().chain(moved.iter().map(|(_, told)| told.clone())).collect(),
        moved: moved.into_iter().map(|(id, _)| id).collect(),
        rows: row_counts.clone(),
    };
    if !verdict.holds.is_empty() {
        let held = Held {
            nonce: uuid::Uuid::now_v7().simple().to_string(),
            as_of: run.as_of,
            run_id: run.id.clone(),
            at: run.at,
            attempt: writing.attempt(),
            reasons: verdict.holds.clone(),
            manifest: path,
            previous_as_of: previous,
            as_known,
            timezone: manifest.timezone.clone(),
            definition_hash,
            tables: writing.files()?,
        };
        held.keep(lake).await?;
        return Ok(Published::Held(Box::new(summary), verdict.holds));
    }

    forgotten::unchanged(lake, project.forgotten.objects()).await?;
    let table_versions = writing.commit(&definition_hash, &path).await?;
    let day = PublishedDay {
        as_of: run.as_of,
        previous_as_of: previous,
        run_id: run.id.clone(),
        published_at: run.at,
        as_known,
        stale: false,
        timezone: project.settings.project.zone.name().to_owned(),
        manifest: path,
        table_versions,
        row_counts: row_counts.clone(),
        definition_hash,
    };
    let stale: Vec<NaiveDate> =
        snapshots.days().iter().map(|later| later.as_of).filter(|later| *later > run.as_of).collect();
    writing.publish(&snapshots, &day, &manifest, &stale).await?;
    summary.stale = stale;
    Ok(Published::Now(Box::new(summary)))
}

/// Why a day is not held whatever it looks like: it is compared with a day of other settings, or it is published already.
fn exempt(snapshots: &Snapshots, as_of: NaiveDate, manifest: &Manifest, before: &Manifest) -> Option<&'static str> {
    let of_the_day = |manifest: &Manifest| {
        let named = manifest.definitions.iter().filter(|(name, _)| !name.starts_with("segment/"));
        named.map(|(name, hash)| (name.clone(), hash.clone())).collect::<Vec<_>>()
    };
    if snapshots.day(as_of).is_some() {
        return Some("it is published already");
    }
    (of_the_day(manifest) != of_the_day(before)).then_some("settings have changed since the day before")
}

/// Whether a segment's definition is another one than on the day before.
pub(super) fn edited(before: Option<&Manifest>, manifest: &Manifest, id: &str) -> bool {
    let name = format!("segment/{id}");
    before.is_none_or(|before| before.definitions.get(&name) != manifest.definitions.get(&name))
}

/// Why a day has no customers: it is before the first of them, or they are all left out.
async fn nobody(project: &Project, run: &Run) -> Result<Error> {
    let session = project.engine.session();
    let landing = project.landing(run.as_of, run.at);
    let found = Box::pin(land::find(&session, &project.sources, &landing)).await?;
    let times = |column: &str, table| format!("SELECT {column} AS at FROM ({})", found.rows_sql(table, &landing));
    let sql = format!(
        "SELECT min(local_date(at, $zone)) AS first FROM ({} UNION ALL {})",
        times("created_at", Table::Customers),
        times("ordered_at", Table::Orders)
    );
    let zone = Params::new().with("zone", project.settings.project.zone.name());
    let mut first = None;
    for batch in plan_text(&session, &sql, &zone).await?.collect().await? {
        let days = batch.column(0).as_primitive::<Date32Type>();
        first = first.or((0..days.len()).filter(|row| days.is_valid(*row)).find_map(|row| days.value_as_date(row)));
    }
    let message = format!("nobody is a customer as of {}", run.as_of);
    Ok(match first.filter(|first| *first > run.as_of) {
        Some(first) => Error::input("snapshot.before_data", format!("{message}: the first one came on {first}"))
            .with_hint(format!("take an as-of date from {first} on")),
        None => Error::input("snapshot.nobody", message).with_hint(
            "look at `[customers] exclude` and at the landed `deleted_at`; `alluvial check` says what is landed",
        ),
    })
}

/// Whether a published day would come out the same: same files, same definitions, same day before.
async fn unchanged(
    project: &Project,
    snapshots: &Snapshots,
    day: &PublishedDay,
    before: Option<&(PublishedDay, Manifest)>,
    landed: &Landed,
    prepared: &super::segments::Prepared,
) -> Result<bool> {
    let manifest = Box::pin(snapshots.manifest(day)).await?;
    let previous = manifest.previous.as_ref().map(|previous| previous.run_id.as_str());
    Ok(!day.stale
        && manifest.inputs == inputs(project, landed)
        && manifest.definitions == definitions_of(project, prepared)
        && manifest.timezone == project.settings.project.zone.name()
        && previous == before.map(|(day, _)| day.run_id.as_str()))
}

/// Whether a published day would be scored with the model that it has. It keeps the one that it was published with; only
/// the benchmark gives way to one that has been fitted since.
async fn same_model(
    project: &Project,
    session: &SessionContext,
    snapshots: &Snapshots,
    day: &PublishedDay,
    writing: &Writing<'_>,
) -> Result<bool> {
    let model = Box::pin(snapshots.manifest(day)).await?.model;
    let benchmark = lifecycle::Classifier::benchmark().name;
    if model.as_ref() != Some(&benchmark) {
        return Ok(true);
    }
    Ok(super::model::newest_name(project, session, day.as_of, writing).await?.is_none())
}

/// Replaces the session's `profile` by itself with the columns of the lifecycle. It is a view: to join a few columns again
/// for every reader costs less than to write all of them down once more.
pub(super) async fn full_profile(session: &SessionContext) -> Result<()> {
    let Some(facts) = session.deregister_table("profile")? else {
        return Err(Error::internal("snapshot.profile", "the profile was not built"));
    };
    session.deregister_table("profile_facts")?;
    session.register_table("profile_facts", facts)?;
    let sql = "SELECT p.*, l.stage AS lifecycle_stage, l.p_order_90d, l.p_order_365d, l.p_alive, l.expected_orders, \
                      l.predicted_value, l.predicted_spend_tier, l.churn_risk, l.predicted_next_order_date \
               FROM lifecycle_today l JOIN profile_facts p ON l.customer_id = p.customer_id";
    session.register_table("profile", plan_text(session, sql, &Params::new()).await?.into_view())?;
    Ok(())
}

/// The published columns of the profile, sorted.
async fn published_profile(session: &SessionContext) -> Result<DataFrame> {
    sorted(session, "profile", &["customer_no", "has_email", "has_phone"], "customer_id").await
}

/// A table of the session without some columns, in order.
async fn sorted(session: &SessionContext, table: &str, without: &[&str], by: &str) -> Result<DataFrame> {
    Ok(columns(session, table, without).await?.sort(vec![datafusion::prelude::col(by).sort(true, false)])?)
}

/// A table of the session without some columns.
async fn columns(session: &SessionContext, table: &str, without: &[&str]) -> Result<DataFrame> {
    let frame = session.table(table).await?;
    let fields = frame.schema().fields().iter().map(|field| field.name().as_str());
    let kept: Vec<String> = fields.filter(|name| !without.contains(name)).map(identifier).collect();
    plan_text(session, &format!("SELECT {} FROM {table}", kept.join(", ")), &Params::new()).await
}

/// The landed files that were read, by table.
pub(super) fn inputs(project: &Project, landed: &Landed) -> BTreeMap<String, Vec<InputFile>> {
    let list = |summary: &land::TableSummary| {
        summary
            .files
            .iter()
            .map(|file| InputFile { path: project.below_lake(&file.name), size: file.size, e_tag: file.etag.clone() })
            .collect()
    };
    landed.tables.iter().map(|(table, summary)| (table.name().to_owned(), list(summary))).collect()
}

/// A warning for every required field that customers lack.
async fn required_fields(project: &Project, session: &SessionContext, profiled: &Profiled) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (name, _) in project.settings.fields.iter().filter(|(_, field)| field.required) {
        let known = profiled.properties.contains_key(name);
        let column = if known { profile::property_column(name) } else { name.clone() };
        let lacking = match lacking(session, &column).await? {
            Some(lacking) => lacking,
            None => profiled.customers,
        };
        if lacking > 0 {
            warnings.push(format!("`{name}` is required, and {lacking} of {} customers lack it", profiled.customers));
        }
    }
    Ok(warnings)
}

/// How many customers have no value in a column of the profile or of the contacts; none where neither has it.
async fn lacking(session: &SessionContext, column: &str) -> Result<Option<u64>> {
    for table in ["profile", "contacts"] {
        let frame = session.table(table).await?;
        if frame.schema().has_column_with_unqualified_name(column) {
            let lacking = frame.filter(datafusion::prelude::ident(column).is_null())?.count().await?;
            return Ok(Some(lacking as u64));
        }
    }
    Ok(None)
}

/// The hash of every definition that the day depends on, by its name.
pub(super) fn definitions_of(project: &Project, prepared: &super::segments::Prepared) -> BTreeMap<String, String> {
    let digest = |text: &str| hex::encode(Sha256::digest(text.as_bytes()));
    let mut all: BTreeMap<String, String> =
        prepared.hashes().map(|(id, hash)| (format!("segment/{id}"), hash.to_owned())).collect();
    all.extend(prepared.computed().map(|(name, hash)| (format!("attribute/{name}"), hash.to_owned())));
    all.insert("settings".to_owned(), digest(&project.settings.fingerprint()));
    for statement in profile::STATEMENTS.iter().chain(&lifecycle::statements::STATEMENTS) {
        if let Some(path) = project.engine.override_of(statement)
            && let Ok(text) = std::fs::read_to_string(path)
        {
            all.insert(format!("sql/{}", statement.name), digest(&text));
        }
    }
    all
}

pub(super) fn hash_of(definitions: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    for (name, hash) in definitions {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(hash.as_bytes());
        hasher.update([b'\n']);
    }
    hex::encode(hasher.finalize())
}

/// Whether the day is what was known on it: false where a later version had to serve, none where some row has no version
/// time and newer data than the day's is landed.
fn as_known(profiled: &Profiled, landed: &Landed, as_of: NaiveDate) -> Option<bool> {
    if profiled.versions.later > 0 {
        return Some(false);
    }
    let newest = landed.newest_on.is_none_or(|newest| newest <= as_of);
    if profiled.versions.unknown > 0 && !newest { None } else { Some(true) }
}

pub(super) async fn stages(session: &SessionContext) -> Result<Vec<(String, u64)>> {
    let sql = "SELECT stage, count(*) AS customers FROM lifecycle_today GROUP BY stage";
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let batches: Vec<RecordBatch> = plan_text(session, sql, &Params::new()).await?.collect().await?;
    for batch in &batches {
        let stage = cast(batch.column(0), &DataType::Utf8)?;
        let customers = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..batch.num_rows() {
            let count = u64::try_from(customers.value(row)).unwrap_or(0);
            found.insert(stage.as_string::<i32>().value(row).to_owned(), count);
        }
    }
    Ok(STAGES.iter().map(|stage| ((*stage).to_owned(), found.get(*stage).copied().unwrap_or(0))).collect())
}
