//! `search_path`: in which schemas a name without one is looked up.
//!
//! The engine looks up such names in one default schema. Where a session has another path than `public`, that is a schema
//! that there is not: its name lists the path, and what is found in it is found in the schemas of the path, in their order.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::TableType;

/// What the names of such schemas begin with.
pub(super) const SIGN: &str = "search_path:";
/// The path of whoever sets none.
pub(super) const DEFAULT: &str = "public";

/// The schemas that a path names, whether or not there are any of the name. `$user` is the user's own, which there never is.
pub(super) fn schemas(path: &str) -> Vec<String> {
    let names =
        path.split(',').map(str::trim).map(|name| match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
            Some(quoted) => quoted.to_owned(),
            None => name.to_lowercase(),
        });
    names.filter(|name| !name.is_empty() && name != "$user").collect()
}

/// The schema of the engine in which names are found by a path.
pub(super) fn default_schema(path: &str) -> String {
    let schemas = schemas(path);
    if schemas == [DEFAULT] { DEFAULT.to_owned() } else { format!("{SIGN}{}", schemas.join(",")) }
}

/// A catalogue with such schemas.
#[derive(Debug)]
pub(super) struct WithPaths(pub(super) Arc<dyn CatalogProvider>);

impl CatalogProvider for WithPaths {
    fn schema_names(&self) -> Vec<String> {
        self.0.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name.strip_prefix(SIGN) {
            Some(names) => Some(Arc::new(Path(names.split(',').filter_map(|name| self.0.schema(name)).collect()))),
            None => self.0.schema(name),
        }
    }
}

/// The schemas of a path that there are.
#[derive(Debug)]
struct Path(Vec<Arc<dyn SchemaProvider>>);

impl Path {
    fn holding(&self, table: &str) -> Option<&Arc<dyn SchemaProvider>> {
        self.0.iter().find(|schema| schema.table_exist(table))
    }
}

#[async_trait]
impl SchemaProvider for Path {
    fn table_names(&self) -> Vec<String> {
        self.0.iter().flat_map(|schema| schema.table_names()).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(schema) = self.holding(name) {
            return schema.table(name).await;
        }
        // One of them may know why it has no such table.
        for schema in &self.0 {
            schema.table(name).await?;
        }
        Ok(None)
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        match self.holding(name) {
            Some(schema) => schema.table_type(name).await,
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.holding(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_postgres_reads_it() {
        assert_eq!(schemas(" Segment, \"Public\" ,, \"$user\",landing"), ["segment", "Public", "landing"]);
        assert_eq!(default_schema("\"$user\", public"), "public");
        assert_eq!(default_schema("segment, public"), "search_path:segment,public");
        assert_eq!(default_schema(""), "search_path:");
    }
}
