//! What a commit writes into the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use chrono::{Datelike, NaiveDate};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Action, Add, MetadataExt, Protocol, Transaction, new_metadata};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use serde_json::json;

use crate::error::{Error, Kind, Result};
use crate::lake::parts::folder;
use crate::lake::schema::{to_delta, widened};
use crate::lake::table::log::{columns, live};
use crate::lake::table::{Commit, Table};
use crate::schema::published::{AS_OF, Keeps};

/// The transaction id that keeps a newest-day table from going back to an older day.
pub(super) const NEWEST: &str = "newest";

/// A later day is a larger number.
pub(super) fn newest_version(days: &[NaiveDate]) -> i64 {
    days.iter().max().map_or(0, |day| i64::from(day.num_days_from_ce()))
}

fn generic(error: Error) -> DeltaTableError {
    DeltaTableError::GenericError { source: Box::new(error) }
}

impl Table {
    /// The first version: protocol and metadata, nothing else. Of two who create, one does, and both go on from it.
    pub(super) async fn create(&self, commit: &Commit<'_>) -> Result<DeltaTableState> {
        let by_day = self.published.by_day();
        let as_of = by_day.then(|| Arc::new(Field::new(AS_OF, DataType::Date32, true)));
        let fields: Vec<_> = as_of.into_iter().chain(commit.schema.fields().iter().cloned()).collect();
        let partitions: &[&str] = if by_day { &[AS_OF] } else { &[] };
        // What a later optimise by whatever tool must not put into the log either.
        let settings: &[(&str, &str)] =
            if self.published.contact { &[("delta.dataSkippingNumIndexedCols", "0")] } else { &[] };
        let metadata = new_metadata(&to_delta(&Schema::new(fields))?, partitions, settings.iter().copied())
            .and_then(|metadata| metadata.with_name(self.published.name.to_owned()))
            .map_err(|e| Error::internal("lake.delta", e.to_string()).with_source(e))?;
        let protocol: Protocol = serde_json::from_value(json!({"minReaderVersion": 1, "minWriterVersion": 2}))
            .map_err(|e| Error::internal("lake.delta", e.to_string()).with_source(e))?;
        let operation = DeltaOperation::Create {
            mode: SaveMode::ErrorIfExists,
            location: self.log.store.root_url().clone(),
            protocol: protocol.clone(),
            metadata: metadata.clone(),
        };
        // A create that loses must not go on and commit as version 1, which it does unless retries are 0.
        let created = CommitBuilder::default()
            .with_max_retries(0)
            .with_actions(vec![Action::Protocol(protocol), Action::Metadata(metadata)])
            .with_app_metadata([("runId".to_owned(), json!(commit.run_id))].into())
            .build(None, self.log.store.clone(), operation)
            .await;
        // Whatever became of it: there is a version 0 now, or the table cannot be written.
        match self.log.load(Some(0)).await {
            Ok(state) => Ok(state),
            Err(unreadable) => Err(match created {
                Err(error) => self.log.refused(error, (Kind::Transient, "lake.commit")),
                Ok(_) => unreadable,
            }),
        }
    }

    /// Tries once, from `base`; what became of a failure is not known.
    pub(super) async fn try_commit(
        &self,
        base: &DeltaTableState,
        commit: &Commit<'_>,
        nonce: &str,
    ) -> Result<u64, DeltaTableError> {
        let name = self.published.name;
        let by_day = self.published.by_day();
        let at = commit.at.timestamp_millis();
        let mut actions = Vec::new();
        let existing = columns(base).map_err(generic)?;
        if let Some(wider) = widened(&existing, &commit.schema).map_err(generic)? {
            let as_of = by_day.then(|| Arc::new(Field::new(AS_OF, DataType::Date32, true)));
            let fields: Vec<_> = as_of.into_iter().chain(wider.fields().iter().cloned()).collect();
            let schema = to_delta(&Schema::new(fields)).map_err(generic)?;
            actions.push(Action::Metadata(base.metadata().clone().with_schema(&schema)?));
        }
        let added: Vec<String> = commit
            .files
            .iter()
            .map(|file| file.path.strip_prefix(&format!("{}/", folder(name, None))).unwrap_or(&file.path).to_owned())
            .collect();
        let replaced = self.replaced(base, commit);
        for (path, view) in live(base, |_| true) {
            // A path that is added again is replaced by the addition itself.
            if replaced.contains_key(&path) && !added.contains(&path) {
                let mut remove = view.remove_action(true);
                remove.deletion_timestamp = Some(at);
                actions.push(Action::Remove(remove));
            }
        }
        for (path, file) in added.iter().zip(commit.files) {
            let day = path.strip_prefix(&format!("{AS_OF}=")).and_then(|rest| rest.split('/').next());
            let values = by_day.then(|| (AS_OF.to_owned(), day.map(str::to_owned)));
            actions.push(Action::Add(Add {
                path: path.clone(),
                partition_values: values.into_iter().collect(),
                size: i64::try_from(file.size).unwrap_or(i64::MAX),
                modification_time: at,
                data_change: true,
                // Nothing of a person's may stand in the log, which outlives an erasure: the count only.
                stats: Some(json!({"numRecords": file.rows}).to_string()),
                ..Add::default()
            }));
        }
        let transactions = [
            (commit.fence.app.as_str(), Some(commit.fence.attempt)),
            (NEWEST, (self.published.keeps == Keeps::Newest).then(|| newest_version(commit.days))),
        ];
        let transactions = transactions
            .into_iter()
            .filter_map(|(app, version)| Some(Transaction::new_with_last_update(app, version?, Some(at))))
            .collect();
        let days: Vec<String> = commit.days.iter().map(|day| format!("{AS_OF} = '{day}'")).collect();
        let append = self.published.keeps == Keeps::Appended;
        let operation = DeltaOperation::Write {
            mode: if append { SaveMode::Append } else { SaveMode::Overwrite },
            partition_by: by_day.then(|| vec![AS_OF.to_owned()]),
            predicate: (self.published.keeps == Keeps::Days).then(|| days.join(" OR ")),
        };
        let properties = CommitProperties::default()
            .with_metadata(BTreeMap::from([
                ("runId".to_owned(), json!(commit.run_id)),
                ("nonce".to_owned(), json!(nonce)),
                ("definitionHash".to_owned(), json!(commit.definition_hash)),
                ("source".to_owned(), json!(commit.source)),
            ]))
            .with_application_transactions(transactions)
            .with_max_retries(0)
            // Checkpoints and the cleaning of the log are upkeep, never part of publishing; `None` would clean.
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let base: &dyn TableReference = base;
        let finalized = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(base), self.log.store.clone(), operation)
            .await?;
        Ok(finalized.version())
    }
}
