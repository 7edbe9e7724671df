//! Files of a table written anew without some of their rows: in one version, whatever days they are of.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Action, Add};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use serde_json::json;

use super::{ATTEMPTS, Table};
use crate::error::{Error, Kind, Result};
use crate::lake::Lake;
use crate::lake::parts::{DataFile, folder};
use crate::lake::table::log::{day_of, live};
use crate::schema::published::{AS_OF, Published};

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
        let mut table = Box::pin(Table::open(lake, published)).await?;
        let nonce = uuid::Uuid::now_v7().to_string();
        for _ in 0..ATTEMPTS {
            let Some(base) = &table.base else { return Ok(false) };
            let actions = table.replacing(base, replaced, at);
            if actions.is_empty() {
                return Ok(false);
            }
            let failed = match Box::pin(table.try_replace(base, actions, run_id, &nonce)).await {
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
            let mut remove = view.remove_action(true);
            remove.deletion_timestamp = Some(at.timestamp_millis());
            actions.push(Action::Remove(remove));
            let Some(file) = file else { continue };
            let values = self.published.by_day().then(|| (AS_OF.to_owned(), day_of(&view).map(|day| day.to_string())));
            actions.push(Action::Add(Add {
                path: file.path.strip_prefix(&prefix).unwrap_or(&file.path).to_owned(),
                partition_values: values.into_iter().collect(),
                size: i64::try_from(file.size).unwrap_or(i64::MAX),
                modification_time: at.timestamp_millis(),
                data_change: true,
                stats: Some(json!({"numRecords": file.rows}).to_string()),
                ..Add::default()
            }));
        }
        actions
    }

    async fn try_replace(
        &self,
        base: &DeltaTableState,
        actions: Vec<Action>,
        run_id: &str,
        nonce: &str,
    ) -> Result<(), DeltaTableError> {
        let operation = DeltaOperation::Write {
            mode: SaveMode::Overwrite,
            partition_by: self.published.by_day().then(|| vec![AS_OF.to_owned()]),
            predicate: None,
        };
        let properties = CommitProperties::default()
            .with_metadata([
                ("runId".to_owned(), json!(run_id)),
                ("nonce".to_owned(), json!(nonce)),
                ("source".to_owned(), json!("forget")),
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
