//! Files of a table in the place of others, in one version, whatever days they are of: without some of their rows, or with the
//! rows of several.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Action, Add, LogicalFileView};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use serde_json::json;

use super::{ATTEMPTS, Table};
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::lake::parts::{DataFile, folder};
use crate::lake::table::log::{day_of, live};
use crate::schema::published::{AS_OF, Published};

/// What a commit of other files says of itself.
pub(super) struct Change<'a> {
    /// Who makes it.
    pub(super) run_id: &'a str,
    /// Why.
    pub(super) source: &'a str,
    /// Whether rows are where they were not, and are the same.
    pub(super) moves_rows: bool,
}

/// The removal of a file.
pub(super) fn removed(view: &LogicalFileView, data_change: bool, at: DateTime<Utc>) -> Action {
    let mut remove = view.remove_action(data_change);
    remove.deletion_timestamp = Some(at.timestamp_millis());
    Action::Remove(remove)
}

impl Table {
    /// Replaces files of the newest version, each by one that holds some of its rows or by none, and leaves alone what others
    /// do meanwhile. Files that the version does not name are passed over, so that it can be done again. Gives whether
    /// anything was replaced.
    ///
    /// # Errors
    /// Those of [`Table::open`]; `lake.commit` where the log could not be written, `lake.moved` where others commit all the
    /// time.
    pub async fn replace_files(
        lake: &Lake,
        published: &Published,
        replaced: &BTreeMap<String, Option<DataFile>>,
        run_id: &str,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let change = Change { run_id, source: "forget", moves_rows: false };
        Box::pin(Self::change(lake, published, &change, |table, base| table.replacing(base, replaced, at))).await
    }

    /// Commits the actions that `actions` finds for the newest version, anew on top of whatever others commit meanwhile. Gives
    /// whether anything was committed: not where there is nothing to do.
    pub(super) async fn change(
        lake: &Lake,
        published: &Published,
        change: &Change<'_>,
        actions: impl Fn(&Table, &DeltaTableState) -> Vec<Action>,
    ) -> Result<bool> {
        let mut table = Box::pin(Table::open(lake, published)).await?;
        let nonce = uuid::Uuid::now_v7().to_string();
        for _ in 0..ATTEMPTS {
            let Some(base) = &table.base else { return Ok(false) };
            let actions = actions(&table, base);
            if actions.is_empty() {
                return Ok(false);
            }
            let failed = match Box::pin(table.try_change(base, actions, change, &nonce)).await {
                Ok(()) => return Ok(true),
                Err(error) => error,
            };
            let latest = Box::pin(Table::open(lake, published)).await?;
            let (was, is) = (base.version(), latest.version().unwrap_or(0));
            if is > was && latest.log.find(was + 1..=is, "nonce", &nonce).await?.is_some() {
                return Ok(true);
            }
            if is == was {
                return Err(table.log.refused(failed, (Kind::Transient, "lake.commit")));
            }
            table = latest;
        }
        Err(Error::new(Kind::Transient, "lake.moved", format!("others commit to `{}` all the time", published.name))
            .with_hint("do it again when no job runs"))
    }

    fn replacing(
        &self,
        base: &DeltaTableState,
        replaced: &BTreeMap<String, Option<DataFile>>,
        at: DateTime<Utc>,
    ) -> Vec<Action> {
        let prefix = format!("{}/", folder(self.published.name, None));
        let mut actions = Vec::new();
        for (path, view) in live(base, |_| true) {
            let Some(file) = replaced.get(&format!("{prefix}{path}")) else { continue };
            actions.push(removed(&view, true, at));
            if let Some(file) = file {
                actions.push(self.added(file, day_of(&view), true, at));
            }
        }
        actions
    }

    /// The addition of a file of a day.
    pub(super) fn added(
        &self,
        file: &DataFile,
        as_of: Option<NaiveDate>,
        data_change: bool,
        at: DateTime<Utc>,
    ) -> Action {
        let prefix = format!("{}/", folder(self.published.name, None));
        let values = self.published.by_day().then(|| (AS_OF.to_owned(), as_of.map(|day| day.to_string())));
        Action::Add(Add {
            path: file.path.strip_prefix(&prefix).unwrap_or(&file.path).to_owned(),
            partition_values: values.into_iter().collect(),
            size: i64::try_from(file.size).unwrap_or(i64::MAX),
            modification_time: at.timestamp_millis(),
            data_change,
            stats: Some(json!({"numRecords": file.rows}).to_string()),
            ..Add::default()
        })
    }

    async fn try_change(
        &self,
        base: &DeltaTableState,
        actions: Vec<Action>,
        change: &Change<'_>,
        nonce: &str,
    ) -> Result<(), DeltaTableError> {
        let operation = if change.moves_rows {
            DeltaOperation::Optimize { predicate: None, target_size: i64::MAX }
        } else {
            DeltaOperation::Write {
                mode: SaveMode::Overwrite,
                partition_by: self.published.by_day().then(|| vec![AS_OF.to_owned()]),
                predicate: None,
            }
        };
        let properties = CommitProperties::default()
            .with_metadata([
                ("runId".to_owned(), json!(change.run_id)),
                ("nonce".to_owned(), json!(nonce)),
                ("source".to_owned(), json!(change.source)),
            ])
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let base: &dyn TableReference = base;
        CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(base), self.log.store.clone(), operation)
            .await
            .map(drop)
    }
}
