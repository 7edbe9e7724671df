//! An audience whose every member is settled, and what is done with it: written, streamed, recorded, compared with the last one.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt;
use serde_json::json;

use super::choose::{self, HoldOut};
use super::deliver::{Destination, Writing, Written};
use super::door::{Ads, Door};
use super::export::{Counts, Lost, Report, Request, Since, Steps, Whose};
use super::format::{Channel, Format};
use super::ledger::{self, Record};
use super::members;
use super::places::Places;
use super::row::{self, Use};
use crate::engine::Dropping;
use crate::engine::statement::{Params, literal, plan_text};
use crate::error::{Error, Result};
use crate::snapshot::reading::Reading;
use crate::snapshot::setup::Project;

/// Whoever is written, as a query in parentheses.
pub(super) const WRITTEN: &str = "(SELECT * FROM chosen WHERE NOT is_held)";

/// An audience whose every member is settled, in a session of its own.
pub(super) struct Chosen<'a> {
    project: &'a Project,
    pub(super) session: SessionContext,
    reading: Reading,
    pub(super) format: Format,
    ads: Ads,
    day: NaiveDate,
    counts: Counts,
    segments: Vec<String>,
    lost: Vec<Lost>,
    warnings: Vec<String>,
    /// What both sessions left on the disk goes with this.
    _scratch: [Dropping; 2],
}

/// A part of the rows that has a file of its own.
pub(super) struct Part {
    /// What its name has before the endings; none where all rows are one file.
    pub(super) word: Option<&'static str>,
    /// SQL over `chosen`.
    pub(super) condition: &'static str,
}

/// What changed since an earlier export, as queries in parentheses.
pub(super) struct Difference {
    pub(super) added: String,
    pub(super) removed: String,
    pub(super) all_removed: u64,
}

impl<'a> Chosen<'a> {
    pub(super) async fn new(
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
        let of_reading = engine.dropping(&reading.session);
        let day = reading.day(request.as_of)?.as_of;
        let found = Box::pin(members::members(project, &reading, request, claimed, day, at)).await?;
        let mut places = Places::of(plan_text(&reading.session, &found.sql, &Params::new()).await?).await?;
        let segments = match &request.whose {
            Whose::Segments(ids) => members::ranked(&reading, ids, day).await?,
            Whose::Query(_) => Vec::new(),
        };

        steps.begin("consent");
        let session = engine.night_session();
        let scratch = [of_reading, engine.dropping(&session)];
        session.register_table("customer_contacts", reading.session.table_provider("customer_contacts").await?)?;
        let profile = format!("SELECT * FROM customer_profile WHERE as_of = DATE '{day}'");
        let profile = plan_text(&reading.session, &profile, &Params::new()).await?;
        session.register_table("profile_published", profile.into_view())?;
        let door = Door { project, session: &session, at };
        let ads = door.open(&format, request.consent_check).await?;
        places.follow(&session).await?;
        let settings = &project.settings;
        let salt = settings.exports.holdout_salt.clone().unwrap_or_else(|| settings.project.name.clone());
        let held = HoldOut { share: request.holdout, global: settings.exports.holdout, global_salt: salt };
        let counts = Box::pin(choose::choose(&door, &Arc::new(places), &format, ads, &held)).await?;
        let (lost, mut warnings) = (found.lost, found.warnings);
        if !request.consent_check {
            warnings.push("consent was not asked for: contact columns hold addresses that may not be used".to_owned());
        }
        Ok(Self { project, session, reading, format, ads, day, counts, segments, lost, warnings, _scratch: scratch })
    }

    pub(super) fn used(&self, request: &Request) -> Use {
        if request.consent_check { Use::Allowed(self.format.channel) } else { Use::All }
    }

    pub(super) fn report(&self, request: &Request) -> Report {
        Report {
            export_id: None,
            segments: self.segments.clone(),
            as_of: self.day,
            format: request.format.clone(),
            already: false,
            files: Vec::new(),
            counts: self.counts,
            removed: None,
            ads_consent: (self.format.channel == Channel::Ads).then(|| self.ads.state()),
            split: Vec::new(),
            lost: self.lost.clone(),
            warnings: self.warnings.clone(),
        }
    }

    pub(super) async fn write(
        &self,
        request: &Request,
        destination: &Destination,
        rows: &str,
        steps: &mut dyn Steps,
    ) -> Result<Written> {
        let stream = self.rows(rows).await?;
        Box::pin(self.writing(request, destination).write(stream, steps)).await
    }

    /// Rows as the format has them, as they are computed.
    async fn rows(&self, rows: &str) -> Result<SendableRecordBatchStream> {
        Ok(self.mapped(rows).await?.execute_stream().await?)
    }

    /// Rows as the format has them.
    pub(super) async fn mapped(&self, rows: &str) -> Result<DataFrame> {
        let sql = row::mapped_sql(&self.session, &self.format, rows).await?;
        plan_text(&self.project.engine.in_step(&self.session), &sql, &Params::new()).await
    }

    fn writing<'b>(&'b self, request: &Request, destination: &'b Destination) -> Writing<'b> {
        Writing {
            destination,
            format: &self.format,
            rows_per_file: request.rows_per_file,
            bom: request.bom,
            lanes: self.project.engine.limits().threads.max(1),
        }
    }

    /// The files that the rows go to: one, or one for each state of consent where a platform takes it by file.
    pub(super) fn parts(&self) -> Vec<Part> {
        if self.format.split_by_consent && self.ads.is_mixed() {
            let part = |word, condition| Part { word: Some(word), condition };
            return vec![part("granted", "ads_granted"), part("unspecified", "NOT ads_granted")];
        }
        vec![Part { word: None, condition: "true" }]
    }

    /// Gives the rows to whoever asked for their bytes. What is given cannot be taken back, whatever becomes of the rest: the
    /// ledger has the delivery before the first byte leaves.
    pub(super) async fn stream(
        &self,
        request: &Request,
        destination: &Destination,
        export_id: &str,
        at: DateTime<Utc>,
        steps: &mut dyn Steps,
    ) -> Result<Report> {
        if self.parts().len() > 1 {
            let message = format!("`{}` has a file for each state of consent, and a stream is one", self.format.name);
            return Err(Error::usage("audience.split_stream", message).with_hint(
                "export to a file, or write `ads_requires = \"ads_consent\"` under `[exports]`: then all rows have consented",
            ));
        }
        let mut report = self.report(request);
        report.counts.written = report.counts.not_held_out;
        let mut rows = self.rows(&row::rows_sql(WRITTEN, self.used(request), false)).await?;
        let writing = self.writing(request, destination);
        // Rows come sorted: once there is one, hardly anything can fail any more.
        let first = rows.next().await.transpose().map_err(|error| writing.without_values(error.into()))?;
        steps.begin("record");
        let members = self.members(export_id).await?;
        self.keep(request, export_id, &report, destination.shown(), at, members).await?;
        report.export_id = Some(export_id.to_owned());
        steps.recorded(&report);
        steps.begin("write");
        steps.expect(report.counts.not_held_out);
        let schema = rows.schema();
        let rows = futures::stream::iter(first.map(Ok)).chain(rows);
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        Box::pin(writing.write(rows, steps)).await?;
        Ok(report)
    }

    /// Writes who is treated and who is held out; the ledger does not have it yet.
    pub(super) async fn members(&self, export_id: &str) -> Result<ledger::Pending> {
        let treated = format!(
            "SELECT {} AS export_id, customer_id, CASE WHEN is_held THEN 'holdout' ELSE 'treatment' END AS variant FROM chosen",
            literal(export_id)
        );
        let stream = plan_text(&self.session, &treated, &Params::new()).await?.execute_stream().await?;
        Box::pin(ledger::write_members(&self.project.lake, export_id, self.day, stream)).await
    }

    /// Records the export.
    pub(super) async fn keep(
        &self,
        request: &Request,
        export_id: &str,
        report: &Report,
        destination: String,
        at: DateTime<Utc>,
        members: ledger::Pending,
    ) -> Result<()> {
        let record = Record {
            export_id: export_id.to_owned(),
            segments: report.segments.clone(),
            query: match &request.whose {
                Whose::Query(query) => Some(query.clone()),
                Whose::Segments(_) => None,
            },
            as_of: self.day,
            format: request.format.clone(),
            destination,
            requested_by: request.requested_by.clone(),
            created_at: at,
            counts: counts_json(request, report),
        };
        Box::pin(ledger::keep(&self.project.lake, &record, members)).await
    }

    /// What changed since the last export to the destination; everything is new where there was none.
    pub(super) async fn difference(&self, since: Since, shown: &str) -> Result<Difference> {
        let zone = self.project.settings.project.zone;
        let before = match since {
            Since::Last => None,
            Since::Day(day) => Some(zone.cutoff(day)),
        };
        let last = ledger::last_to(&self.reading, shown, self.day, &self.format.name, before).await?;
        let members = format!(
            "SELECT customer_id FROM export_members WHERE export_id = {} AND variant = 'treatment'",
            literal(last.as_deref().unwrap_or_default())
        );
        let frame = plan_text(&self.reading.session, &members, &Params::new()).await?;
        self.project.engine.materialize(&self.reading.session, "last_members", frame, false).await?;
        self.session.register_table("last_members", self.reading.session.table_provider("last_members").await?)?;
        let now = WRITTEN;
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
               SELECT l.customer_id, CAST(NULL AS VARCHAR) AS segment, {address} AS address_key, \
                      true AS email_ok, true AS sms_ok, true AS post_ok, d.* EXCEPT (customer_id) \
               FROM (SELECT l.customer_id, coalesce(r.root, l.customer_id) AS person FROM roots r RIGHT JOIN ({gone}) l ON r.id = l.customer_id) l \
               JOIN (SELECT * FROM door_records WHERE is_main) d ON d.person = l.person WHERE {known}) g \
             LEFT ANTI JOIN {now} c ON c.address_key = g.address_key)"
        );
        Ok(Difference {
            added: format!("(SELECT c.* FROM last_members l RIGHT ANTI JOIN {now} c ON l.customer_id = c.customer_id)"),
            removed,
            all_removed: choose::first_count(&all.collect().await?),
        })
    }
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
    for (state, rows) in &report.split {
        counts[*state] = json!(rows);
    }
    if let Some((removed, unknown)) = report.removed {
        counts["removed"] = json!(removed);
        counts["removed_without_address"] = json!(unknown);
    }
    counts.to_string()
}
