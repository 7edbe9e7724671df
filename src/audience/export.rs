//! An export from beginning to end.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;
use serde::Serialize;
use serde_json::json;

use super::choose::{self, HoldOut, Use};
use super::deliver::{Writing, Written};
use super::door::{Ads, Door};
use super::format::{Channel, Format};
use super::ledger::{self, Record};
use super::members;
use crate::engine::statement::{Params, literal, plan_text};
use crate::error::{Error, Result};
use crate::snapshot::reading::Reading;
use crate::snapshot::setup::Project;

pub use super::deliver::{Destination, Place};

/// Is told how an export goes on.
pub trait Steps: Send {
    /// A step begins.
    fn begin(&mut self, step: &'static str);
    /// How many rows the present step is to write.
    fn expect(&mut self, rows: u64);
    /// How many it has written.
    fn rows(&mut self, rows: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Steps for Unwatched {
    fn begin(&mut self, _step: &'static str) {}
    fn expect(&mut self, _rows: u64) {}
    fn rows(&mut self, _rows: u64) {}
}

/// Whose members an export delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The members of one or several published segments.
    Segments(Vec<String>),
    /// Whoever a query names.
    Query(String),
}

/// Since when a difference is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The last export to the destination.
    Last,
    /// The last one on this day or before it.
    Day(NaiveDate),
}

/// An export as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whose members.
    pub whose: Whose,
    /// The segments whose members stay out.
    pub exclude: Vec<String>,
    /// The published day; the newest where none is given.
    pub as_of: Option<NaiveDate>,
    /// The name of the format.
    pub format: String,
    /// The share that is held out of this export, from 0 to 1.
    pub holdout: f64,
    /// Whether a customer goes only to the first of the segments, by priority; what lost to what is told.
    pub exclusive: bool,
    /// Whether only what changed is written.
    pub since: Option<Since>,
    /// Rows of a file, where the export is cut into several.
    pub rows_per_file: Option<u64>,
    /// Whether a byte order mark makes spreadsheets read UTF-8.
    pub bom: bool,
    /// Whether contact columns are blank where their channel may not be used. Only formats for no channel can do without,
    /// and the ledger tells who asked for it.
    pub consent_check: bool,
    /// Who asks.
    pub requested_by: String,
}

/// How many members came how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Members on the exported day, exclusions taken off.
    pub members: u64,
    /// Of those, deleted or erased since; they are in no later count.
    pub gone: u64,
    /// Who has an address that the channel can use.
    pub with_address: u64,
    /// And consented to it.
    pub consented: u64,
    /// And is not suppressed.
    pub not_suppressed: u64,
    /// One of those who share an address.
    pub one_per_address: u64,
    /// And is not held out.
    pub not_held_out: u64,
    /// Rows that are written; fewer than the step before only where a difference is.
    pub written: u64,
}

/// Members of a segment who went to another one, which comes before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The segment that they are in too.
    pub segment: String,
    /// The segment that they went to.
    pub to: String,
    /// How many.
    pub customers: u64,
}

/// What an export came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its id in the ledger; none of a dry run.
    pub export_id: Option<String>,
    /// The segments in the order in which they claim customers.
    pub segments: Vec<String>,
    /// The published day.
    pub as_of: NaiveDate,
    /// The format.
    pub format: String,
    /// The files, as people write them.
    pub files: Vec<String>,
    /// How many members came how far.
    pub counts: Counts,
    /// Rows to take off the destination, and customers to take off whose address is not known any more.
    pub removed: Option<(u64, u64)>,
    /// The state of consent to advertising of every row, for formats of that channel.
    pub ads_consent: Option<&'static str>,
    /// What went to a segment that comes before.
    pub lost: Vec<Lost>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Ten rows of what would be written, contact data masked.
#[derive(Debug)]
pub struct Sample {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
}

/// Exports an audience: chooses whom the channel may reach, writes them to `destination`, and records who was treated and
/// who was held out. `claimed` are segments that come before in the same delivery: their members are not in it.
///
/// # Errors
/// A segment, day or format that is not there; faults of a query; `audience.no_consent` and `audience.ads_requires` where
/// nothing says who consented; what the store refuses. Nothing is written then.
pub async fn export(
    project: &Project,
    request: &Request,
    claimed: &[String],
    destination: &Destination,
    at: DateTime<Utc>,
    steps: &mut dyn Steps,
) -> Result<Report> {
    let chosen = Box::pin(Chosen::new(project, request, claimed, at, steps)).await?;
    let shown = match destination {
        Destination::File(place) => place.shown(),
        Destination::Stream(_) => "-".to_owned(),
    };
    let export_id = export_id(at);
    let difference = match (request.since, destination) {
        (None, _) => None,
        (Some(_), Destination::Stream(_)) => {
            return Err(Error::usage("audience.since_stream", "a difference is two files, and a stream is one")
                .with_hint("write `--to FILE`: what to add goes to FILE.add, what to remove to FILE.remove"));
        }
        (Some(since), Destination::File(place)) => {
            let found = Box::pin(chosen.difference(since, &shown)).await?;
            Some((place.clone(), found))
        }
    };
    steps.begin("write");
    let mut report = chosen.report(request);
    let mut pending: Vec<Written> = Vec::new();
    let outcome = Box::pin(async {
        match &difference {
            None => {
                let rows = choose::rows_sql("(SELECT * FROM chosen WHERE NOT is_held)", chosen.used(request), false);
                steps.expect(report.counts.not_held_out);
                pending.push(chosen.write(request, destination, &rows, steps).await?);
            }
            Some((place, difference)) => {
                let add = Destination::File(place.with_word("add"));
                let rows = choose::rows_sql(&difference.added, chosen.used(request), false);
                pending.push(chosen.write(request, &add, &rows, steps).await?);
                let remove = Destination::File(place.with_word("remove"));
                let rows = choose::rows_sql(&difference.removed, Use::All, false);
                let removed = chosen.write(request, &remove, &rows, steps).await?;
                report.removed = Some((removed.rows, difference.all_removed.saturating_sub(removed.rows)));
                pending.push(removed);
            }
        }
        steps.begin("record");
        report.counts.written = pending.first().map_or(0, |written| written.rows);
        let treated = format!(
            "SELECT {} AS export_id, customer_id, CASE WHEN is_held THEN 'holdout' ELSE 'treatment' END AS variant FROM chosen",
            literal(&export_id)
        );
        let stream = plan_text(&chosen.session, &treated, &Params::new()).await?.execute_stream().await?;
        ledger::write_members(&project.lake, &export_id, chosen.day, stream).await
    })
    .await;
    let members = match outcome {
        Ok(members) => members,
        Err(error) => {
            for written in pending {
                written.abort().await;
            }
            return Err(error);
        }
    };
    for written in pending {
        let (_, files) = written.publish().await?;
        report.files.extend(files);
    }
    let record = Record {
        export_id: export_id.clone(),
        segments: report.segments.clone(),
        query: match &request.whose {
            Whose::Query(query) => Some(query.clone()),
            Whose::Segments(_) => None,
        },
        as_of: chosen.day,
        format: request.format.clone(),
        destination: shown,
        requested_by: request.requested_by.clone(),
        created_at: at,
        counts: counts_json(request, &report),
    };
    Box::pin(ledger::keep(&project.lake, &record, members)).await?;
    report.export_id = Some(export_id);
    Ok(report)
}

/// Where files go, as it is written: `{as_of}` stands for the day, `{segment}` for a segment's id.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// A path or URL.
    pub to: &'a str,
    /// The clouds' usual variables.
    pub cloud: &'a BTreeMap<String, String>,
    /// Where relative paths begin.
    pub base: &'a Path,
}

/// Exports to files: one export, or with `{segment}` in the path one a segment.
///
/// # Errors
/// Those of [`export`] and of [`Place::open`].
pub async fn deliver(
    project: &Project,
    request: &Request,
    target: &Target<'_>,
    at: DateTime<Utc>,
    steps: &mut dyn Steps,
) -> Result<Vec<Report>> {
    let reading = Box::pin(Reading::open(project)).await?;
    let day = reading.day(request.as_of)?.as_of;
    let to = target.to.replace("{as_of}", &day.to_string());
    let request = Request { as_of: Some(day), ..request.clone() };
    let segments = match &request.whose {
        Whose::Segments(ids) if to.contains("{segment}") => members::ranked(&reading, ids, day).await?,
        Whose::Query(_) if to.contains("{segment}") => {
            return Err(Error::usage("audience.destination", "a query has no id to stand for `{segment}`")
                .with_hint("name the file, or save the query as a segment"));
        }
        _ => {
            let place = Destination::File(Place::open(&to, target.cloud, target.base)?);
            return Ok(vec![export(project, &request, &[], &place, at, steps).await?]);
        }
    };
    let mut lost = Vec::new();
    if request.exclusive && segments.len() > 1 {
        lost = members::losses(&reading, &segments, day).await?;
    }
    let mut reports = Vec::new();
    for (place, id) in segments.iter().enumerate() {
        // Ids are letters, digits, dashes and underscores: none leads out of the folder.
        let file = Destination::File(Place::open(&to.replace("{segment}", id), target.cloud, target.base)?);
        let one = Request { whose: Whose::Segments(vec![id.clone()]), ..request.clone() };
        let claimed = if request.exclusive { segments.get(..place).unwrap_or_default() } else { &[] };
        let mut report = export(project, &one, claimed, &file, at, steps).await?;
        report.lost = lost.iter().filter(|lost| lost.segment == *id).cloned().collect();
        reports.push(report);
    }
    Ok(reports)
}

/// What an export would come to, and ten of its rows with contact data masked. Nothing is written or recorded.
///
/// # Errors
/// Those of [`export`].
pub async fn dry_run(
    project: &Project,
    request: &Request,
    claimed: &[String],
    at: DateTime<Utc>,
    steps: &mut dyn Steps,
) -> Result<(Report, Sample)> {
    let chosen = Box::pin(Chosen::new(project, request, claimed, at, steps)).await?;
    let first = "(SELECT * FROM chosen WHERE NOT is_held ORDER BY customer_id LIMIT 10)";
    let rows = choose::rows_sql(first, chosen.used(request), true);
    let sql = choose::mapped_sql(&chosen.session, &chosen.format, &rows).await?;
    let frame = plan_text(&chosen.session, &sql, &Params::new()).await?;
    let schema = std::sync::Arc::clone(frame.schema().inner());
    let mut report = chosen.report(request);
    report.counts.written = report.counts.not_held_out;
    Ok((report, Sample { schema, rows: frame.collect().await? }))
}

/// Ids that sort by time.
fn export_id(at: DateTime<Utc>) -> String {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, at.timestamp_subsec_nanos());
    uuid::Uuid::new_v7(stamp).simple().to_string()
}

fn counts_json(request: &Request, report: &Report) -> String {
    let mut counts = json!(report.counts);
    counts["holdout"] = json!(request.holdout);
    if !request.consent_check {
        counts["consent_check"] = json!(false);
    }
    if let Some(state) = report.ads_consent {
        counts["ads_consent"] = json!(state);
    }
    if let Some((removed, unknown)) = report.removed {
        counts["removed"] = json!(removed);
        counts["removed_without_address"] = json!(unknown);
    }
    counts.to_string()
}

/// An audience whose every member is settled, in a session of its own.
struct Chosen<'a> {
    project: &'a Project,
    session: SessionContext,
    reading: Reading,
    format: Format,
    ads: Ads,
    day: NaiveDate,
    counts: Counts,
    segments: Vec<String>,
    lost: Vec<Lost>,
    warnings: Vec<String>,
}

/// What changed since an earlier export, as queries in parentheses.
struct Difference {
    added: String,
    removed: String,
    all_removed: u64,
}

impl<'a> Chosen<'a> {
    async fn new(
        project: &'a Project,
        request: &Request,
        claimed: &[String],
        at: DateTime<Utc>,
        steps: &mut dyn Steps,
    ) -> Result<Self> {
        let engine = &project.engine;
        let format = Format::load(engine, &request.format)?;
        if !request.consent_check && format.channel != Channel::None {
            return Err(Error::usage(
                "audience.consent_check",
                format!("`{}` is made for a channel, and is never written without asking for consent", format.name),
            )
            .with_hint("only formats for no channel can do without: `extended`, `parquet`, `jsonl`"));
        }
        steps.begin("members");
        let reading = Box::pin(Reading::open(project)).await?;
        let day = reading.day(request.as_of)?.as_of;
        let found = Box::pin(members::members(project, &reading, request, claimed, day, at)).await?;
        let frame = plan_text(&reading.session, &found.sql, &Params::new()).await?;
        engine.materialize(&reading.session, "members", frame, false).await?;
        let segments = match &request.whose {
            Whose::Segments(ids) => members::ranked(&reading, ids, day).await?,
            Whose::Query(_) => Vec::new(),
        };

        steps.begin("consent");
        let session = engine.night_session();
        for table in ["members", "customer_contacts"] {
            session.register_table(table, reading.session.table_provider(table).await?)?;
        }
        let profile = format!("SELECT * FROM customer_profile WHERE as_of = DATE '{day}'");
        let profile = plan_text(&reading.session, &profile, &Params::new()).await?;
        session.register_table("profile_day", profile.into_view())?;
        let ads = Door { project, session: &session, at }.open(&format, request.consent_check).await?;
        let settings = &project.settings;
        let salt = settings.exports.holdout_salt.clone().unwrap_or_else(|| settings.project.name.clone());
        let held = HoldOut { share: request.holdout, global: settings.exports.holdout, global_salt: salt };
        let counts = Box::pin(choose::choose(engine, &session, &format, ads, &held)).await?;
        let (lost, mut warnings) = (found.lost, found.warnings);
        if !request.consent_check {
            warnings.push("consent was not asked for: contact columns hold addresses that may not be used".to_owned());
        }
        Ok(Self { project, session, reading, format, ads, day, counts, segments, lost, warnings })
    }

    fn used(&self, request: &Request) -> Use {
        if request.consent_check { Use::Allowed(self.format.channel) } else { Use::All }
    }

    fn report(&self, request: &Request) -> Report {
        Report {
            export_id: None,
            segments: self.segments.clone(),
            as_of: self.day,
            format: request.format.clone(),
            files: Vec::new(),
            counts: self.counts,
            removed: None,
            ads_consent: (self.format.channel == Channel::Ads).then(|| self.ads.state()),
            lost: self.lost.clone(),
            warnings: self.warnings.clone(),
        }
    }

    async fn write(
        &self,
        request: &Request,
        destination: &Destination,
        rows: &str,
        steps: &mut dyn Steps,
    ) -> Result<Written> {
        let sql = choose::mapped_sql(&self.session, &self.format, rows).await?;
        let stream = plan_text(&self.session, &sql, &Params::new()).await?.execute_stream().await?;
        let writing = Writing {
            destination,
            format: &self.format,
            rows_per_file: request.rows_per_file,
            bom: request.bom,
            lanes: self.project.engine.limits().threads.max(1),
        };
        Box::pin(writing.write(stream, steps)).await
    }

    /// What changed since the last export to the destination; everything is new where there was none.
    async fn difference(&self, since: Since, shown: &str) -> Result<Difference> {
        let zone = self.project.settings.project.zone;
        let before = match since {
            Since::Last => None,
            Since::Day(day) => Some(zone.cutoff(day)),
        };
        let last = ledger::last_to(&self.reading, shown, &self.format.name, before).await?;
        let members = format!(
            "SELECT customer_id FROM export_members WHERE export_id = {} AND variant = 'treatment'",
            literal(last.as_deref().unwrap_or_default())
        );
        let frame = plan_text(&self.reading.session, &members, &Params::new()).await?;
        self.project.engine.materialize(&self.reading.session, "last_members", frame, false).await?;
        self.session.register_table("last_members", self.reading.session.table_provider("last_members").await?)?;
        let now = "(SELECT * FROM chosen WHERE NOT is_held)";
        let gone =
            format!("SELECT l.customer_id FROM last_members l LEFT ANTI JOIN {now} c ON c.customer_id = l.customer_id");
        let all = plan_text(&self.session, &format!("SELECT count(*) FROM ({gone})"), &Params::new()).await?;
        // Whoever left no address cannot be found at the destination: such people are counted, not written.
        let (address, known) = match self.format.channel {
            Channel::Email => ("d.email_key", "d.email_key IS NOT NULL"),
            Channel::Sms => ("d.phone_key", "d.phone_key IS NOT NULL"),
            Channel::Ads => ("coalesce(d.email_key, d.phone_key)", "coalesce(d.email_key, d.phone_key) IS NOT NULL"),
            Channel::Post | Channel::None => ("CAST(NULL AS VARCHAR)", "true"),
        };
        // An address that another customer keeps on the list stays there.
        let removed = format!(
            "(SELECT g.* FROM (\
               SELECT l.customer_id, CAST(NULL AS VARCHAR) AS segment, d.customer_id AS record_id, {address} AS address, \
                      true AS email_ok, true AS sms_ok, true AS post_ok, d.email_consent_at, d.email_consent_source, d.sms_consent_at \
               FROM (SELECT l.customer_id, coalesce(r.root, l.customer_id) AS person FROM roots r RIGHT JOIN ({gone}) l ON r.id = l.customer_id) l \
               JOIN (SELECT * FROM door_records WHERE is_main) d ON d.person = l.person WHERE {known}) g \
             LEFT ANTI JOIN {now} c ON c.address = g.address)"
        );
        Ok(Difference {
            added: format!("(SELECT c.* FROM {now} c LEFT ANTI JOIN last_members l ON l.customer_id = c.customer_id)"),
            removed,
            all_removed: choose::first_count(&all.collect().await?),
        })
    }
}
