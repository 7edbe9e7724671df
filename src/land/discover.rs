//! Which files a landed table consists of, and what each of them holds.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use crate::calendar::Zone;
use crate::error::Result;
use crate::lake::inspect;
use crate::schema::landed::Table;

/// Where the files of a table are looked for.
#[derive(Debug, Clone)]
pub struct Source {
    /// The landed table.
    pub table: Table,
    /// The address under which the store is registered with the engine.
    pub address: ObjectStoreUrl,
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder in the store.
    pub prefix: Path,
    /// Which of the paths below the folder count; none: all that end in `.parquet`.
    pub pattern: Option<glob::Pattern>,
}

impl Source {
    /// A file as people write it: its absolute path on a disk, its URL in another store.
    pub fn name(&self, path: &Path) -> String {
        match self.address.as_str().strip_prefix("file://") {
            Some(_) => format!("/{path}"),
            None => format!("{}/{path}", self.address.as_str().trim_end_matches('/')),
        }
    }
}

/// A landed file as it was found: the queries of a run read exactly these bytes.
#[derive(Debug, Clone)]
pub struct LandedFile {
    /// Its path in the store.
    pub path: Path,
    /// Its path or URL, as people write it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The store's tag for these bytes, where it gives one.
    pub etag: Option<String>,
    /// The `dt=` of its folder.
    pub dt: Option<NaiveDate>,
    /// The version time that its rows have from its folder: the end of that local day.
    pub version_at: Option<DateTime<Utc>>,
    /// The columns of the file.
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: u64,
}

/// Finds the files of a source, in path order, and reads what each holds.
///
/// # Errors
/// When the store cannot be listed; when a file is not whole Parquet (`lake.*`), named with what to do.
pub async fn discover(source: &Source, zone: Zone) -> Result<Vec<LandedFile>> {
    let mut found: Vec<ObjectMeta> = source
        .store
        .list(Some(&source.prefix))
        .try_filter(|meta| futures::future::ready(wanted(source, meta)))
        .try_collect()
        .await?;
    found.sort_by(|a, b| a.location.cmp(&b.location));
    let store = &source.store;
    futures::stream::iter(found.into_iter().map(|meta| {
        let name = source.name(&meta.location);
        inspect_file(Arc::clone(store), meta, name, zone)
    }))
    .buffered(8)
    .try_collect()
    .await
}

fn wanted(source: &Source, meta: &ObjectMeta) -> bool {
    let path = meta.location.as_ref();
    // Writers stage files under names that begin with a dot or an underscore.
    let hidden =
        meta.location.parts().skip(source.prefix.parts().count()).any(|part| part.as_ref().starts_with(['.', '_']));
    if hidden {
        return false;
    }
    match &source.pattern {
        Some(pattern) => {
            let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
            pattern.matches_with(path, options)
        }
        None => path.ends_with(".parquet"),
    }
}

async fn inspect_file(store: Arc<dyn ObjectStore>, meta: ObjectMeta, name: String, zone: Zone) -> Result<LandedFile> {
    let inspected = inspect::parquet(store.as_ref(), &meta.location, meta.size).await;
    let inspected = inspected.map_err(|error| error.with_file(name.as_str()))?;
    let dt = folder_day(&meta.location);
    Ok(LandedFile {
        rows: inspected.rows,
        path: meta.location,
        name,
        size: meta.size,
        etag: meta.e_tag,
        version_at: dt.filter(|day| crate::calendar::add_days(*day, 2).is_some()).map(|day| zone.cutoff(day)),
        dt,
        schema: inspected.schema,
    })
}

/// The day of a hive folder `dt=yyyy-mm-dd` in a path.
fn folder_day(path: &Path) -> Option<NaiveDate> {
    path.parts()
        .filter_map(|part| NaiveDate::parse_from_str(part.as_ref().strip_prefix("dt=")?, "%Y-%m-%d").ok())
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_people_write_them() {
        let source = |address: &str| Source {
            table: Table::Orders,
            address: ObjectStoreUrl::parse(address).unwrap(),
            store: Arc::new(object_store::memory::InMemory::new()),
            prefix: Path::default(),
            pattern: None,
        };
        let path = Path::from("shop/landing/orders/a b.parquet");
        assert_eq!(source("file:///").name(&path), "/shop/landing/orders/a b.parquet");
        assert_eq!(source("s3://bucket/").name(&path), "s3://bucket/shop/landing/orders/a b.parquet");
    }

    #[test]
    fn days_of_folders() {
        assert_eq!(
            folder_day(&Path::from("landing/orders/dt=2026-11-19/a.parquet")),
            NaiveDate::from_ymd_opt(2026, 11, 19)
        );
        assert_eq!(folder_day(&Path::from("landing/orders/dt=2026-13-19/a.parquet")), None);
    }
}
