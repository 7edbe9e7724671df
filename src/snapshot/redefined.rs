//! The segments of a published day by the definitions as they are now, over the profile and the lifecycle as published.
//!
//! The day that comes out is the one that a whole night would publish from the same landed files: its manifest names new
//! files of the segment tables and the day's own files of all others (those that only the newest day has, if it is that).
//! So whatever would make a whole night publish another profile leaves the day out, with the reason: other settings, landed
//! files that are not there any more as they were read, another lifecycle of the day before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use datafusion::prelude::SessionContext;

use super::compare::{Compared, Comparison};
use super::day::{self, Run, Steps, Summary};
use super::people::People;
use super::segments::{Computed, Prepared, compute};
use super::setup::Project;
use super::writing::Writing;
use crate::engine::Params;
use crate::engine::statement::plan_text;
use crate::error::Result;
use crate::lake::forgotten;
use crate::lake::manifest::{InputFile, Manifest, Previous, verify_file};
use crate::lake::snapshots::{PublishedDay, Snapshots};
use crate::land::{self, Landed};
use crate::profile::computed::Computed as ComputedAttributes;
use crate::profile::{self, Profiled};
use crate::schema::landed::Table;
use crate::schema::published::{self, Keeps};

/// The tables that are written again.
pub const TABLES: [&str; 5] = ["segments", "segment_members", "segment_changes", "segment_sizes", "segment_overlap"];

/// What became of a day.
#[derive(Debug)]
pub enum Redefined {
    /// Its segments are published.
    Now(Box<Summary>),
    /// They were published by these very definitions before.
    Unchanged(Box<PublishedDay>),
    /// The day stays as it is, for this reason.
    LeftOut(String),
}

/// Computes the segments of a published day and publishes them in the place of those that it has. Later days up to `until`
/// are about to be computed too; those after it are told as stale.
///
/// # Errors
/// Faults of definitions and of landed files; a published file that is damaged; `lake.day_changed` and
/// `snapshot.superseded` where another run publishes the day meanwhile. The day stays as it is then.
pub async fn publish(project: &Project, run: &Run, until: NaiveDate, steps: &mut dyn Steps) -> Result<Redefined> {
    let lake = &project.lake;
    let snapshots = Box::pin(Snapshots::read(lake)).await?.without(project.forgotten.objects());
    let Some(day) = snapshots.day(run.as_of) else { return Ok(left_out("it is not published")) };
    let standing = Box::pin(snapshots.manifest(day)).await?;
    let before = match snapshots.latest_before(run.as_of) {
        Some(day) => Some((day.clone(), Box::pin(snapshots.manifest(day)).await?)),
        None => None,
    };
    if let Some(why) = Box::pin(lacking(project, &standing, before.as_ref())).await? {
        return Ok(left_out(why));
    }
    let mut writing = Writing::begin(lake, &run.id, run.as_of, run.at).await?;
    steps.attempt(writing.attempt());
    let definitions = super::segments::definitions(project)?;

    steps.begin("land");
    let session = project.engine.night_session();
    let landing = project.landing(run.as_of, run.at);
    // What has been landed since is for a whole night to see.
    let read = inputs_of(&standing);
    let is_read = |table: Table, file: &land::LandedFile| {
        read.get(table.name()).is_some_and(|files| files.contains(project.below_lake(&file.name).as_str()))
    };
    let found = Box::pin(land::find_some(&session, &project.sources, &landing, is_read)).await?;
    if let Some(why) = changed_input(project, &standing, &day::inputs(project, &found.landed)) {
        return Ok(left_out(why));
    }
    let (catalogue, own) = Box::pin(super::segments::catalogue(project, &found.landed)).await?;
    let prepared = super::segments::prepare(project, definitions, &catalogue, run.as_of)?;
    let defined = day::definitions_of(project, &prepared);
    if let Some(why) = other_settings(&standing, &defined) {
        return Ok(left_out(why));
    }
    let previous = before.as_ref().map(|(day, _)| day.run_id.as_str());
    let same_day_before = standing.previous.as_ref().map(|previous| previous.run_id.as_str()) == previous;
    if !run.force && !day.stale && standing.definitions == defined && same_day_before {
        return Ok(Redefined::Unchanged(Box::new(day.clone())));
    }
    for file in ["customer_profile", "lifecycle"].iter().filter_map(|name| standing.tables.get(*name)) {
        for file in &file.files {
            Box::pin(verify_file(lake, file)).await?;
        }
    }
    let night = Night { project, session: &session, run, standing: &standing, prepared: &prepared };
    let Some((landed, profiled)) = Box::pin(night.tables(found, &landing, &own, steps)).await? else {
        return Ok(left_out(OTHER_PEOPLE));
    };
    super::before::previous_lifecycle(project, &session, before.as_ref().map(|(_, manifest)| manifest)).await?;

    steps.begin("segments");
    let as_of = datafusion::scalar::ScalarValue::Date32(Some(Date32Type::from_naive_date(run.as_of)));
    let people = Arc::new(People::read(&session, &Params::new().with("as_of", as_of)).await?);
    if people.len() as u64 != profiled.customers {
        return Ok(left_out(OTHER_PEOPLE));
    }
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

    let after = After { night: &night, snapshots: &snapshots, day, before: before.as_ref(), until };
    let sets = (&computed, &compared, &people);
    Box::pin(after.commit(&mut writing, sets, defined, (landed, profiled), steps)).await
}

const OTHER_PEOPLE: &str = "the landed files give other customers than its profile has; run the day whole";

fn left_out(why: impl Into<String>) -> Redefined {
    Redefined::LeftOut(why.into())
}

/// Why a whole night would come to another profile or lifecycle, as far as the manifests tell; or what is not there any
/// more.
async fn lacking(
    project: &Project,
    standing: &Manifest,
    before: Option<&(PublishedDay, Manifest)>,
) -> Result<Option<String>> {
    for table in ["lifecycle", "segment_members"] {
        if !standing.tables.contains_key(table) {
            return Ok(Some(format!("`{table}` is not kept for so old a day")));
        }
    }
    if before.is_some_and(|(_, manifest)| !manifest.tables.contains_key("segment_members")) {
        return Ok(Some("the members of the day before it are not kept".to_owned()));
    }
    if standing.timezone != project.settings.project.zone.name() {
        return Ok(Some(format!("it was published for the time zone {}; run the day whole", standing.timezone)));
    }
    // A day before whose segments alone were published again has the lifecycle that this day goes on from.
    let files = |manifest: &Manifest| {
        let files = manifest.tables.get("lifecycle").map(|table| table.files.iter());
        files.into_iter().flatten().map(|file| (file.size, file.crc32c)).collect::<Vec<_>>()
    };
    let same = match (&standing.previous, before) {
        (None, None) => true,
        (Some(was), Some((day, _))) if was.run_id == day.run_id => true,
        (Some(was), Some((day, manifest))) if was.as_of == day.as_of => {
            match Manifest::read(&project.lake, &was.manifest).await {
                Ok(was) => files(&was) == files(manifest),
                Err(error) if error.code() == "lake.not_found" => false,
                Err(error) => return Err(error),
            }
        }
        _ => false,
    };
    Ok((!same).then(|| "the day before it has another lifecycle by now; run the day whole".to_owned()))
}

/// The paths that a day was computed from, by table.
fn inputs_of(standing: &Manifest) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (table, files) in &standing.inputs {
        all.entry(table).or_default().extend(files.iter().map(|file| file.path.as_str()));
    }
    all
}

/// What is not there any more as it was read.
fn changed_input(project: &Project, standing: &Manifest, found: &BTreeMap<String, Vec<InputFile>>) -> Option<String> {
    let none = Vec::new();
    let in_folder = project.lake.url().scheme() == "file";
    for (table, files) in &standing.inputs {
        let now = found.get(table).unwrap_or(&none);
        if let Some(file) = files.iter().find(|file| !now.iter().any(|now| is_same(file, now, in_folder))) {
            return Some(format!("{} is not there any more as it was read; run the day whole", file.path));
        }
    }
    None
}

/// Whether a landed file is as it was read. Of a file on a disk the tag is its inode, when it was written, and its size; a
/// lake that was copied or restored with its times is the same lake in other inodes.
fn is_same(was: &InputFile, now: &InputFile, in_folder: bool) -> bool {
    let on_disk = if was.path.contains("://") { was.path.starts_with("file://") } else { in_folder };
    let written = |tag: &Option<String>| tag.as_deref()?.split_once('-').map(|(_, written)| written.to_owned());
    let as_written = on_disk && written(&was.e_tag).is_some_and(|was| Some(was) == written(&now.e_tag));
    (&was.path, was.size) == (&now.path, now.size) && (was.e_tag == now.e_tag || as_written)
}

/// What else than segments is defined otherwise than for the day.
fn other_settings(standing: &Manifest, defined: &BTreeMap<String, String>) -> Option<String> {
    let beside = |all: &BTreeMap<String, String>| {
        let beside = all.iter().filter(|(name, _)| !name.starts_with("segment/"));
        beside.map(|(name, hash)| (name.clone(), hash.clone())).collect::<BTreeSet<_>>()
    };
    let (was, now) = (beside(&standing.definitions), beside(defined));
    let (name, _) = was.symmetric_difference(&now).next()?;
    let what = match name.split_once('/') {
        Some(("attribute", attribute)) => format!("the attribute `{attribute}` is"),
        Some(_) => format!("{name}.sql is"),
        None => "the settings are".to_owned(),
    };
    Some(format!("{what} not what it was published with; run the day whole"))
}

/// The tables of a night's session, from what is published.
struct Night<'a> {
    project: &'a Project,
    session: &'a SessionContext,
    run: &'a Run,
    standing: &'a Manifest,
    prepared: &'a Prepared,
}

impl Night<'_> {
    /// Gives the session what a night's has when it comes to the segments. Of the landed tables only those are settled that
    /// something reads; a profile that retention has dropped is computed again, and not kept. None: the landed files give
    /// another number of customers than the day has.
    async fn tables(
        &self,
        found: land::Found,
        landing: &land::Options,
        own: &ComputedAttributes,
        steps: &mut dyn Steps,
    ) -> Result<Option<(Landed, Profiled)>> {
        let Self { project, session, run, standing, prepared } = *self;
        let engine = &project.engine;
        let kept = standing.tables.contains_key("customer_profile");
        let behind = prepared.behind();
        let wanted = |table: Table| match table {
            Table::OrderItems => behind.lines,
            Table::Events => behind.events,
            Table::Products => behind.lines || behind.events,
            Table::Suppressions => false,
            _ => true,
        };
        let landed = Box::pin(land::settle_some(engine, session, found, landing, |t| !kept || wanted(t))).await?;
        steps.rows(landed.tables.values().map(|table| table.rows).sum());

        steps.begin("profile");
        self.view("lifecycle_today", "lifecycle").await?;
        let none = ComputedAttributes::default();
        let own = if kept { &none } else { own };
        let profiling = project.profiling(run.as_of, prepared.exclude.clone(), prepared.kept_rows(&landed, own));
        let profiled = if kept {
            let profiled = Box::pin(profile::rows_behind(engine, session, &landed, &profiling, behind)).await?;
            self.view("profile_facts", "customer_profile").await?;
            let sql = "SELECT c.customer_no, p.* FROM (SELECT customer_no, customer_id FROM customers) c \
                       JOIN profile_facts p ON p.customer_id = c.customer_id";
            session.register_table("profile", plan_text(session, sql, &Params::new()).await?.into_view())?;
            profiled
        } else {
            let profiled = Box::pin(profile::build(engine, session, &landed, &profiling)).await?;
            day::full_profile(session).await?;
            Box::pin(own.join(engine, session, run.as_of)).await?;
            profiled
        };
        let rows = standing.tables.get("lifecycle").map(crate::lake::manifest::TableFiles::rows);
        steps.rows(profiled.customers);
        Ok((rows == Some(profiled.customers)).then_some((landed, profiled)))
    }

    /// A table of the day as published, without `as_of`.
    async fn view(&self, name: &str, table: &str) -> Result<()> {
        let frame = self.session.read_table(super::before::table_of_day(self.project, table, self.standing)?)?;
        let columns = frame.schema().fields().iter().map(|field| field.name().clone());
        let columns: Vec<String> = columns.filter(|name| name != published::AS_OF).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        self.session.register_table(name, frame.select_columns(&columns)?.into_view())?;
        Ok(())
    }
}

/// What a day is published after, and in the place of.
struct After<'a> {
    night: &'a Night<'a>,
    snapshots: &'a Snapshots,
    day: &'a PublishedDay,
    before: Option<&'a (PublishedDay, Manifest)>,
    until: NaiveDate,
}

impl After<'_> {
    /// Writes and commits the segment tables, and publishes the day with them and with its other tables as they are.
    async fn commit(
        &self,
        writing: &mut Writing<'_>,
        (computed, compared, people): (&Computed, &Compared, &Arc<People>),
        defined: BTreeMap<String, String>,
        (landed, profiled): (Landed, Profiled),
        steps: &mut dyn Steps,
    ) -> Result<Redefined> {
        let Night { project, session, run, standing, prepared } = *self.night;
        steps.begin("write");
        let previous = self.before.map(|(day, _)| day.as_of);
        steps.rows(compared.write(writing, computed, people, previous).await?);

        steps.begin("publish");
        let fresh = Manifest::new(run.as_of, &run.id, standing.timezone.clone());
        let mut manifest = Manifest {
            previous: self.before.map(|(day, _)| Previous {
                as_of: day.as_of,
                run_id: day.run_id.clone(),
                manifest: day.manifest.clone(),
            }),
            definitions: defined,
            model: standing.model.clone(),
            inputs: standing.inputs.clone(),
            tables: standing.tables.clone(),
            ..fresh
        };
        // As a whole night leaves them alone where a later day is published.
        if self.snapshots.latest().is_some_and(|latest| latest.as_of > run.as_of) {
            let is_newest_only = |name: &str| published::named(name).is_some_and(|table| table.keeps == Keeps::Newest);
            manifest.tables.retain(|name, _| !is_newest_only(name));
        }
        writing.describe(&mut manifest)?;
        let definition_hash = day::hash_of(&manifest.definitions);
        let path = manifest.keep(&project.lake).await?;
        forgotten::unchanged(&project.lake, project.forgotten.objects()).await?;
        let mut table_versions = self.day.table_versions.clone();
        table_versions.extend(writing.commit(&definition_hash, &path).await?);
        let rows: BTreeMap<String, u64> =
            manifest.tables.iter().map(|(name, files)| (name.clone(), files.rows())).collect();
        let day = PublishedDay {
            previous_as_of: previous,
            run_id: run.id.clone(),
            published_at: run.at,
            stale: false,
            manifest: path,
            table_versions,
            row_counts: rows.clone(),
            definition_hash,
            ..self.day.clone()
        };
        let later: Vec<NaiveDate> =
            self.snapshots.days().iter().map(|later| later.as_of).filter(|later| *later > run.as_of).collect();
        let over = self.snapshots.clone().over(self.day);
        writing.publish(&over, &day, &manifest, &later).await?;

        let mut warnings = landed.warnings.clone();
        warnings.extend(prepared.warnings.iter().cloned());
        let members = compared.sizes.iter().map(|(size, _)| (size.segment.as_str(), size.members));
        warnings.extend(super::segments::too_small(members, prepared));
        let before = self.before.map(|(_, manifest)| manifest);
        let moved = super::guard::moved(&compared.sizes, |id| day::edited(before, &manifest, id));
        warnings.extend(moved.iter().map(|(_, told)| told.clone()));
        Ok(Redefined::Now(Box::new(Summary {
            landed,
            profiled,
            stages: day::stages(session).await?,
            sizes: compared.sizes.clone(),
            previous,
            as_known: day.as_known,
            stale: later.into_iter().filter(|later| *later > self.until).collect(),
            model: (manifest.model.clone().unwrap_or_default(), None),
            warnings,
            unusual: moved.iter().map(|(_, told)| told.clone()).collect(),
            moved: moved.into_iter().map(|(id, _)| id).collect(),
            rows,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_that_was_copied_with_its_times_is_the_same_lake() {
        let file = |path: &str, tag: &str| InputFile {
            path: path.to_owned(),
            size: 9,
            e_tag: (!tag.is_empty()).then(|| tag.to_owned()),
        };
        let same =
            |was: &str, now: &str, in_folder| is_same(&file("landing/a", was), &file("landing/a", now), in_folder);
        assert!(same("1f-64a-9", "2e-64a-9", true), "another inode");
        assert!(!same("1f-64a-9", "1f-64b-9", true), "written again");
        assert!(!same("\"md5-2\"", "\"other-2\"", false), "a bucket's tag is of the content");
        assert!(same("", "", false) && !same("", "1f-64a-9", true));
        let elsewhere = |was, now| is_same(&file("s3://b/a", was), &file("s3://b/a", now), true);
        assert!(elsewhere("a-2", "a-2") && !elsewhere("a-2", "b-2"));
        assert!(!is_same(&file("landing/a", "1-1-9"), &file("landing/b", "1-1-9"), true));
    }
}
