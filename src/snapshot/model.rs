//! With which model a day is scored, and fitting one.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use sha2::{Digest, Sha256};

use super::day::{Run, Steps};
use super::rows;
use super::setup::Project;
use super::writing::Writing;
use crate::engine::Statement;
use crate::error::{Error, Result};
use crate::lake::manifest::{InputFile, Manifest};
use crate::lake::provider::DayTable;
use crate::land;
use crate::lifecycle::fit::{self, Learned, Model};
use crate::lifecycle::models::{self, Known, Provenance};
use crate::lifecycle::score::Population;
use crate::lifecycle::{Classifier, health::Health};
use crate::profile;
use crate::schema::landed::Table;

/// The model of a day.
pub(super) struct Chosen {
    pub(super) classifier: Classifier,
    /// The day whose buyers it was fitted to; none for the benchmark.
    pub(super) fitted_on: Option<chrono::NaiveDate>,
    /// The row of `lifecycle_models`, where the day fitted it itself.
    pub(super) fresh: Option<arrow::array::RecordBatch>,
    order_days: Arc<dyn TableProvider>,
}

/// What `alluvial lifecycle fit` and the job's step came to.
#[derive(Debug)]
pub enum Fitted {
    /// A model, kept.
    Model(Box<Model>),
    /// Too little history: nothing was kept, and the benchmark goes on.
    TooLittle(Population),
}

/// The model that had been fitted by the day: the one that the day was published with, if it is `published`; else the
/// newest; where there is none and the shop is large enough, one that is fitted now, to the session's `orders`.
pub(super) async fn of_the_day(
    project: &Project,
    session: &SessionContext,
    run: &Run,
    writing: &Writing<'_>,
    published: Option<&str>,
    inputs: &BTreeMap<String, Vec<InputFile>>,
) -> Result<Chosen> {
    let order_days = order_days(project, session).await?;
    let mut known = None;
    if let Some(name) = published {
        known = Box::pin(newest(project, session, run.as_of, writing, Some(name))).await?;
    }
    if known.is_none() {
        known = Box::pin(newest(project, session, run.as_of, writing, None)).await?;
    }
    if let Some(Known { classifier, fitted_on }) = known {
        return Ok(Chosen { classifier, fitted_on: Some(fitted_on), fresh: None, order_days });
    }
    match Box::pin(learn(project, &order_days, run, false)).await? {
        Learned::Model(model) => {
            let manifest = Manifest::new(run.as_of, &run.id, project.settings.project.zone.name());
            let fresh = model.row(&provenance(run, Some(manifest.path()), inputs))?;
            let fitted_on = Some(model.fitted_on);
            Ok(Chosen { classifier: model.classifier, fitted_on, fresh: Some(fresh), order_days })
        }
        Learned::TooLittle(_) => {
            Ok(Chosen { classifier: Classifier::benchmark(), fitted_on: None, fresh: None, order_days })
        }
    }
}

impl Chosen {
    /// How the model does on the 90 days before the day.
    pub(super) async fn health(&self, project: &Project, run: &Run) -> Result<Option<Health>> {
        let engine = &project.engine;
        let texts = |statement: &Statement| engine.text(statement);
        let settings = &project.settings.lifecycle;
        let order_days = Arc::clone(&self.order_days);
        Box::pin(fit::recent_health(engine, order_days, run.as_of, settings, &self.classifier, &texts)).await
    }
}

/// The name of the newest model that had been fitted by a day.
pub(super) async fn newest_name(
    project: &Project,
    session: &SessionContext,
    as_of: chrono::NaiveDate,
    writing: &Writing<'_>,
) -> Result<Option<String>> {
    Ok(Box::pin(newest(project, session, as_of, writing, None)).await?.map(|known| known.classifier.name))
}

async fn newest(
    project: &Project,
    session: &SessionContext,
    as_of: chrono::NaiveDate,
    writing: &Writing<'_>,
    named: Option<&str>,
) -> Result<Option<Known>> {
    let (published, table) = writing.opened("lifecycle_models")?;
    let rows = session.read_table(Arc::new(DayTable::of_log(&project.lake, published, table)?))?;
    models::newest(rows, as_of, named).await
}

async fn order_days(project: &Project, session: &SessionContext) -> Result<Arc<dyn TableProvider>> {
    let engine = &project.engine;
    let texts = |statement: &Statement| engine.text(statement);
    let days = fit::order_days(session, &project.settings.lifecycle, &texts).await?;
    engine.materialize(session, "order_days", days, false).await?;
    Ok(session.table_provider("order_days").await?)
}

async fn learn(
    project: &Project,
    order_days: &Arc<dyn TableProvider>,
    run: &Run,
    suspended_before: bool,
) -> Result<Learned> {
    let engine = &project.engine;
    let texts = |statement: &Statement| engine.text(statement);
    fit::learn(engine, order_days, run.as_of, &project.settings.lifecycle, suspended_before, &texts).await
}

fn provenance(run: &Run, input_manifest: Option<String>, inputs: &BTreeMap<String, Vec<InputFile>>) -> Provenance {
    let mut hash = Sha256::new();
    for (table, files) in inputs {
        for file in files {
            hash.update(format!("{table}\0{}\0{}\0{:?}\n", file.path, file.size, file.e_tag));
        }
    }
    let inputs_hash = hex::encode(hash.finalize());
    Provenance { run_id: run.id.clone(), fitted_at: run.at, input_manifest, inputs_hash }
}

/// Fits a model to what is landed as of a day, and keeps it in `lifecycle_models`.
///
/// # Errors
/// Faults of definitions and of landed files, as a day has them; nothing is kept then.
pub async fn fit_day(project: &Project, run: &Run, steps: &mut dyn Steps) -> Result<Fitted> {
    let engine = &project.engine;
    let session = engine.night_session();
    // A run that publishes a day may fit for it too: this append is another one.
    let run_id = format!("{}-fit", run.id);
    let mut writing = Writing::begin(&project.lake, &run_id, run.as_of, run.at).await?;

    steps.begin("land");
    let landing = project.landing(run.as_of, run.at);
    let found = Box::pin(land::find(&session, &project.sources, &landing)).await?;
    let (catalogue, _) = Box::pin(super::segments::catalogue(project, &found.landed)).await?;
    let definitions = super::segments::definitions(project)?;
    let prepared = super::segments::prepare(project, definitions, &catalogue, run.as_of)?;
    let landed = Box::pin(land::settle(engine, &session, found, &landing)).await?;
    if !landed.has(Table::Orders) {
        let message = format!("no orders are landed: there are none in {}", project.place_of(Table::Orders));
        return Err(Error::input("lifecycle.no_orders", message)
            .with_hint("land a file with `alluvial land orders FILE`, or try `alluvial demo` first"));
    }
    steps.rows(landed.tables.values().map(|table| table.rows).sum());

    steps.begin("profile");
    let profiling = project.profiling(run.as_of, prepared.exclude.clone(), profile::KeptRows::default());
    let profiled = Box::pin(profile::build(engine, &session, &landed, &profiling)).await?;
    steps.rows(profiled.customers);

    steps.begin("fit");
    let before = Box::pin(newest(project, &session, run.as_of, &writing, None)).await?;
    let suspended_before = before.as_ref().is_some_and(|known| known.classifier.churn_label_suspended);
    let order_days = order_days(project, &session).await?;
    let model = match Box::pin(learn(project, &order_days, run, suspended_before)).await? {
        Learned::Model(model) => model,
        Learned::TooLittle(population) => return Ok(Fitted::TooLittle(population)),
    };
    // The same once more is no news.
    if before.is_some_and(|known| known.classifier.name == model.classifier.name) {
        return Ok(Fitted::Model(model));
    }
    let row = model.row(&provenance(run, None, &super::day::inputs(project, &landed)))?;
    writing.write("lifecycle_models", rows::stream(row.schema(), std::iter::once(Ok(row)))).await?;
    writing.commit("", "").await?;
    steps.rows(1);
    Ok(Fitted::Model(model))
}
