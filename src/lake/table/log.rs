//! The Delta log, read through the lake's own store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use chrono::NaiveDate;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Action, LogicalFileView};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::table::state::DeltaTableState;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::lake::parts::folder;
use crate::lake::schema::{from_delta, without_as_of};
use crate::lake::{Lake, wrapped};
use crate::schema::published::AS_OF;

/// The log of one table.
#[derive(Clone)]
pub(super) struct Log {
    table: &'static str,
    pub(super) store: LogStoreRef,
}

impl Log {
    pub(super) fn new(lake: &Lake, table: &'static str) -> Result<Self> {
        let url = lake.url_of(&folder(table, None));
        let options = StorageConfig::default();
        let below = options.decorate_store(lake.log_store(), &url)?;
        Ok(Self { table, store: default_logstore(Arc::from(below), lake.log_store(), &url, &options) })
    }

    /// The table at a version, or at the newest. The replay of a log is kept off the caller's stack.
    pub(super) async fn load(&self, version: Option<u64>) -> Result<DeltaTableState> {
        let loaded = Box::pin(DeltaTableState::try_new(self.store.as_ref(), version)).await;
        loaded.map_err(|error| self.refused(error, (Kind::Storage, "lake.delta")))
    }

    /// The version number that the log holds for a transaction id.
    pub(super) async fn transaction(&self, state: &DeltaTableState, app: &str) -> Result<Option<i64>> {
        let found = Box::pin(state.transaction_version(self.store.as_ref(), app)).await;
        found.map_err(|error| self.refused(error, (Kind::Storage, "lake.delta")))
    }

    /// What a commit says of itself; `None` once the log is cleaned that far.
    pub(super) async fn info(&self, version: u64) -> Result<Option<BTreeMap<String, Value>>> {
        let refused = |error| self.refused(error, (Kind::Storage, "lake.delta"));
        let Some(bytes) = self.store.read_commit_entry(version).await.map_err(refused)? else { return Ok(None) };
        let actions = get_actions(version, &bytes).map_err(refused)?;
        Ok(actions.into_iter().find_map(|action| match action {
            Action::CommitInfo(info) => Some(info.info.into_iter().collect()),
            _ => None,
        }))
    }

    /// The newest of `versions` whose commit says `key` = `value` of itself.
    pub(super) async fn find(
        &self,
        versions: std::ops::RangeInclusive<u64>,
        key: &str,
        value: &str,
    ) -> Result<Option<u64>> {
        for version in versions.rev() {
            if self.info(version).await?.is_some_and(|info| info.get(key).and_then(Value::as_str) == Some(value)) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// A failure of Delta Lake's library, classified by the store's refusal inside it, if there is one.
    pub(super) fn refused(&self, error: DeltaTableError, fallback: (Kind, &'static str)) -> Error {
        wrapped(error, fallback, &format!("{}/_delta_log", folder(self.table, None)))
    }
}

/// The columns of a version, without `as_of`.
pub(super) fn columns(state: &DeltaTableState) -> Result<Schema> {
    Ok(without_as_of(&from_delta(state.schema().as_ref())?))
}

/// The files of a version, by path below the table's folder.
pub(super) fn live(
    state: &DeltaTableState,
    which: impl Fn(&LogicalFileView) -> bool,
) -> BTreeMap<String, LogicalFileView> {
    state.log_data().iter().filter(|view| which(view)).map(|view| (view.path().into_owned(), view)).collect()
}

/// The day that a file is about.
pub(super) fn day_of(view: &LogicalFileView) -> Option<NaiveDate> {
    view.partition_values_map().remove(AS_OF).flatten()?.parse().ok()
}

/// Whether there is a table, after a look at its newest commit: an empty one opens without complaint, at an older day.
pub(super) async fn check_newest_commit(lake: &Lake, table: &str) -> Result<bool> {
    let objects = lake.list(&format!("{}/_delta_log", folder(table, None))).await?;
    let is_commit = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.len() == 25 && name.ends_with(".json") && name.bytes().take(20).all(|byte| byte.is_ascii_digit())
    };
    let Some(newest) = objects.iter().rfind(|object| is_commit(&object.path)) else {
        return Ok(objects.iter().any(|object| object.path.ends_with(".checkpoint.parquet")));
    };
    let bytes = lake.get(&newest.path).await?;
    if bytes.trim_ascii().is_empty() || get_actions(0, &bytes).is_err() {
        return Err(Error::storage("lake.torn_commit", format!("the newest commit of `{table}` is torn"))
            .in_file(newest.path.clone())
            .with_hint("delete this file, then run the day again: the commit before it is whole"));
    }
    Ok(true)
}
