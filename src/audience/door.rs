//! What the newest landed data says about consent, validity and suppressions: asked anew by every export.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::Date32Type;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::format::{Channel, Format};
use super::functions;
use crate::config::AdsRequires;
use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};
use crate::land;
use crate::profile;
use crate::schema::landed::Table;
use crate::snapshot::setup::Project;

const ENDED: &str = include_str!("../../sql/audience/ended.sql");
const HEIRS: &str = include_str!("../../sql/audience/heirs.sql");
const STOPS: &str = include_str!("../../sql/audience/stops.sql");
const RECORDS: &str = include_str!("../../sql/audience/records.sql");
const EMAIL_ENDED: &str = include_str!("../../sql/audience/email_ended.sql");
const PHONE_ENDED: &str = include_str!("../../sql/audience/phone_ended.sql");
const ADS_DENIED: &str = include_str!("../../sql/audience/ads_denied.sql");
const SUPPRESSED: &str = include_str!("../../sql/audience/suppressed.sql");
const OTHERS: &str = include_str!("../../sql/audience/others.sql");
/// What advertising needs of a row, and the word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ads {
    /// Whether `ads_consent` is landed at all.
    landed: bool,
    /// What stands for it where it is not: of nobody, or of some customers.
    otherwise: AdsRequires,
}

impl Ads {
    /// The condition over the columns of `flags.sql`.
    pub(super) fn condition(self) -> &'static str {
        match (self.landed, self.otherwise) {
            (_, AdsRequires::AdsConsent) => "(ads_granted AND NOT ads_denied)",
            (true, AdsRequires::EmailConsent) => "((ads_granted OR (ads_unknown AND email_may)) AND NOT ads_denied)",
            (false, AdsRequires::EmailConsent) => "(email_may AND NOT ads_denied)",
            (true, AdsRequires::None) => "((ads_granted OR ads_unknown) AND NOT ads_denied)",
            (false, AdsRequires::None) => "NOT ads_denied",
        }
    }

    /// Whether some rows may have consented, and others not have been asked.
    pub(super) fn is_mixed(self) -> bool {
        self.landed && self.otherwise != AdsRequires::AdsConsent
    }

    /// The state of consent that the rows of an export have.
    pub(super) fn state(self) -> &'static str {
        match self.otherwise {
            AdsRequires::AdsConsent => "granted",
            _ if self.landed => "mixed",
            AdsRequires::EmailConsent | AdsRequires::None => "unspecified",
        }
    }
}

/// The door of one export.
pub(super) struct Door<'a> {
    /// The project.
    pub(super) project: &'a Project,
    /// The export's session; it has `customer_contacts`.
    pub(super) session: &'a SessionContext,
    /// The present.
    pub(super) at: DateTime<Utc>,
}

impl Door<'_> {
    /// Reads the newest landed data: the session gets `roots`, `door_records`, `email_ended`, `phone_ended`, `ads_denied` and
    /// `suppressed`.
    ///
    /// # Errors
    /// `audience.no_consent` where nothing is landed about the consent that the format needs; landed files that cannot be
    /// read.
    pub(super) async fn open(&self, format: &Format, checks: bool) -> Result<Ads> {
        let (project, session) = (self.project, self.session);
        functions::register(session);
        let zone = project.settings.project.zone;
        let options = project.landing(zone.local_date(self.at), self.at);
        let found = Box::pin(land::find(session, &project.sources, &options)).await?;
        let events = found.rows_sql(Table::Events, &options);
        let orders = found.rows_sql(Table::Orders, &options);
        let landed = Box::pin(land::settle_people(&project.engine, session, found, &options)).await?;
        let present = landed.table(Table::Customers).present;
        let ads = self.needs(format, &present, checks)?;

        Box::pin(profile::identities(&project.engine, session)).await?;
        let now = ScalarValue::TimestampMicrosecond(Some(self.at.timestamp_micros()), Some("UTC".into()));
        let today = ScalarValue::Date32(Some(Date32Type::from_naive_date(zone.local_date(self.at))));
        let params = Params::new().with("now", now);
        self.view("door_events", &format!("SELECT * FROM ({events}) WHERE occurred_at <= $now"), &params).await?;
        self.view("door_orders", &orders, &Params::new()).await?;
        self.keep("ended", ENDED, &Params::new()).await?;
        // Parsing phones is dear: without need only those are read that consent or advertising asks about.
        let all_phones = !checks || format.channel == Channel::Ads || landed.has(Table::Suppressions);
        self.keep("heirs", HEIRS, &Params::new()).await?;
        // Contact data are read again where they are asked for rather than written down.
        self.view("door_records", RECORDS, &params.with("all_phones", all_phones)).await?;
        self.view("no_record", "SELECT * FROM door_records WHERE false", &Params::new()).await?;
        self.keep("door_stops", STOPS, &Params::new()).await?;
        self.keep_few("email_ended", EMAIL_ENDED, &Params::new()).await?;
        self.keep_few("phone_ended", PHONE_ENDED, &Params::new()).await?;
        self.keep_few("ads_denied", ADS_DENIED, &Params::new()).await?;
        self.keep("suppressed", SUPPRESSED, &Params::new().with("today", today)).await?;
        Ok(ads)
    }

    /// Gives the session `door_others`: who of its `rest` is known by orders alone.
    ///
    /// # Errors
    /// Landed files that cannot be read.
    pub(super) async fn others(&self) -> Result<()> {
        self.keep("door_others", OTHERS, &Params::new()).await?;
        Ok(())
    }

    /// Whether a table of the session has a row.
    ///
    /// # Errors
    /// What the query says.
    pub(super) async fn has(&self, table: &str) -> Result<bool> {
        let rows =
            plan_text(self.session, &format!("SELECT 1 FROM {table} LIMIT 1"), &Params::new()).await?.collect().await?;
        Ok(rows.iter().any(|batch| batch.num_rows() > 0))
    }

    /// What advertising needs; refuses a format whose consent nobody landed.
    fn needs(&self, format: &Format, present: &BTreeSet<String>, checks: bool) -> Result<Ads> {
        let lacks = |column: &str, what: &str| {
            Error::input(
                "audience.no_consent",
                format!("nothing is landed about consent to {what}, which `{}` needs", format.name),
            )
            .in_file("alluvial.toml")
            .with_hint(format!(
                "say which landed column it is: `[tables.customers.columns]` `{column} = \"…\"`, with the values that the \
                 contract knows"
            ))
        };
        let has = |column: &str| present.contains(column);
        let landed = has("ads_consent");
        let written = self.project.settings.exports.ads_requires;
        let ads = written.or(landed.then_some(AdsRequires::AdsConsent));
        let settled = Ads { landed, otherwise: ads.unwrap_or(AdsRequires::AdsConsent) };
        if !checks {
            return Ok(settled);
        }
        match (format.channel, ads) {
            (Channel::Email, _) | (Channel::Ads, Some(AdsRequires::EmailConsent)) if !has("email_consent") => {
                Err(lacks("email_consent", "e-mail"))
            }
            (Channel::Sms, _) if !has("sms_consent") => Err(lacks("sms_consent", "text messages")),
            (Channel::Ads, Some(AdsRequires::AdsConsent)) if !landed => {
                Err(lacks("ads_consent", "advertising"))
            }
            (Channel::Ads, None) => Err(Error::definition(
                "audience.ads_requires",
                format!("`{}` needs consent to advertising: `ads_consent` is not landed, and nothing says what stands for it", format.name),
            )
            .in_file("alluvial.toml")
            .with_hint(
                "land `ads_consent`, or write under `[exports]` what your law asks: `ads_requires = \"ads_consent\"`, \
                 `\"email_consent\"` or `\"none\"`",
            )),
            _ => Ok(settled),
        }
    }

    /// Gives the session a view.
    ///
    /// # Errors
    /// What the planner says.
    pub(super) async fn view(&self, name: &str, sql: &str, params: &Params) -> Result<()> {
        let frame = plan_text(self.session, sql, params).await?;
        self.session.register_table(name, frame.into_view())?;
        Ok(())
    }

    /// Keeps a query's rows as a table of the session, and says how many they are.
    ///
    /// # Errors
    /// What the query and the disk say.
    pub(super) async fn keep(&self, name: &str, sql: &str, params: &Params) -> Result<u64> {
        let frame = plan_text(self.session, sql, params).await?;
        Ok(self.project.engine.materialize(self.session, name, frame, false).await?.rows)
    }

    /// [`Door::keep`] of rows that most shops have none of. The planner is told so: every join moves all rows of its other
    /// side.
    ///
    /// # Errors
    /// Those of [`Door::keep`].
    pub(super) async fn keep_few(&self, name: &str, sql: &str, params: &Params) -> Result<u64> {
        let rows = self.keep(name, sql, params).await?;
        if rows == 0 {
            let none = self.session.table(name).await?.filter(datafusion::prelude::lit(false))?.into_view();
            self.session.deregister_table(name)?;
            self.session.register_table(name, none)?;
        }
        Ok(rows)
    }
}
