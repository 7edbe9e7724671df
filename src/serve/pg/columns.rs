//! `information_schema`: the engine's, but for `columns`, which has the columns and the words of Postgres.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::TableType;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_postgres::pgwire::api::Type;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Current;
use super::fresh::{Fresh, Rows};

/// The schema's name.
const NAME: &str = "information_schema";
/// The columns of `columns`, as in Postgres; those that are numbers are listed below.
const COLUMNS: [&str; 44] = [
    "table_catalog",
    "table_schema",
    "table_name",
    "column_name",
    "ordinal_position",
    "column_default",
    "is_nullable",
    "data_type",
    "character_maximum_length",
    "character_octet_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "interval_type",
    "interval_precision",
    "character_set_catalog",
    "character_set_schema",
    "character_set_name",
    "collation_catalog",
    "collation_schema",
    "collation_name",
    "domain_catalog",
    "domain_schema",
    "domain_name",
    "udt_catalog",
    "udt_schema",
    "udt_name",
    "scope_catalog",
    "scope_schema",
    "scope_name",
    "maximum_cardinality",
    "dtd_identifier",
    "is_self_referencing",
    "is_identity",
    "identity_generation",
    "identity_start",
    "identity_increment",
    "identity_maximum",
    "identity_minimum",
    "identity_cycle",
    "is_generated",
    "generation_expression",
    "is_updatable",
];
const NUMBERS: [&str; 9] = [
    "ordinal_position",
    "character_maximum_length",
    "character_octet_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "interval_precision",
    "maximum_cardinality",
];

/// The schema.
#[derive(Debug)]
pub(in crate::serve) struct Information(pub(super) Current);

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        self.0.list().map(|list| InformationSchemaProvider::new(list).table_names()).unwrap_or_default()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match (name, self.0.list()) {
            ("columns", _) => Ok(Some(Arc::new(Fresh(Columns(self.0.clone()))))),
            (_, Some(list)) => InformationSchemaProvider::new(list).table(name).await,
            _ => Ok(None),
        }
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.list().is_some_and(|list| InformationSchemaProvider::new(list).table_exist(name))
    }
}

/// `information_schema.columns`.
#[derive(Debug)]
struct Columns(Current);

fn schema() -> SchemaRef {
    let field = |name: &&str| {
        let data_type = if NUMBERS.contains(name) { DataType::Int32 } else { DataType::Utf8 };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
}

/// A column of a table.
struct Row {
    schema: String,
    table: String,
    place: usize,
    name: String,
    is_nullable: bool,
    data_type: DataType,
    pg_type: Type,
}

/// A type in the words of SQL.
fn words(of: &Type) -> &str {
    match *of {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::VARCHAR => "character varying",
        Type::TIME => "time without time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ if of.name().starts_with('_') => "ARRAY",
        _ => of.name(),
    }
}

impl Row {
    fn text(&self, column: &str) -> Option<String> {
        let text = match column {
            "table_catalog" | "udt_catalog" => super::CATALOG,
            "table_schema" => &self.schema,
            "table_name" => &self.table,
            "column_name" => &self.name,
            "is_nullable" => yes(self.is_nullable),
            "data_type" => words(&self.pg_type),
            "udt_schema" => "pg_catalog",
            "udt_name" => self.pg_type.name(),
            "dtd_identifier" => return Some(self.place.to_string()),
            "is_self_referencing" | "is_identity" | "identity_cycle" | "is_updatable" => yes(false),
            "is_generated" => "NEVER",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn number(&self, column: &str) -> Option<i32> {
        let (precision, radix, scale) = match (&self.pg_type, &self.data_type) {
            (&Type::INT2, _) => (Some(16), Some(2), Some(0)),
            (&Type::INT4, _) => (Some(32), Some(2), Some(0)),
            (&Type::INT8, _) => (Some(64), Some(2), Some(0)),
            (&Type::FLOAT4, _) => (Some(24), Some(2), None),
            (&Type::FLOAT8, _) => (Some(53), Some(2), None),
            (&Type::NUMERIC, DataType::Decimal128(precision, scale)) => {
                (Some(i32::from(*precision)), Some(10), Some(i32::from(*scale)))
            }
            (&Type::NUMERIC, _) => (None, Some(10), None),
            _ => (None, None, None),
        };
        match column {
            "ordinal_position" => i32::try_from(self.place).ok(),
            "numeric_precision" => precision,
            "numeric_precision_radix" => radix,
            "numeric_scale" => scale,
            // No text has a length that it may not pass.
            "character_octet_length" if self.pg_type == Type::TEXT => Some(1 << 30),
            "datetime_precision" => match self.pg_type {
                Type::DATE => Some(0),
                Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => Some(6),
                _ => None,
            },
            _ => None,
        }
    }
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "YES" } else { "NO" }
}

impl Columns {
    async fn found(&self) -> DfResult<Vec<Row>> {
        let mut rows = Vec::new();
        let mut schemas = self.0.schema_names(super::CATALOG).await?.unwrap_or_default();
        schemas.retain(|schema| schema != NAME);
        schemas.sort();
        for schema in schemas {
            for table in self.0.table_names(super::CATALOG, &schema).await?.unwrap_or_default() {
                let Some(columns) = self.0.table_schema(super::CATALOG, &schema, &table).await? else { continue };
                for (place, field) in columns.fields().iter().enumerate() {
                    rows.push(Row {
                        schema: schema.clone(),
                        table: table.clone(),
                        place: place + 1,
                        name: field.name().clone(),
                        is_nullable: field.is_nullable(),
                        data_type: field.data_type().clone(),
                        pg_type: into_pg_type(field.data_type()).unwrap_or(Type::UNKNOWN),
                    });
                }
            }
        }
        Ok(rows)
    }
}

impl Rows for Columns {
    fn schema() -> SchemaRef {
        schema()
    }

    fn rows<'a>(&'a self, _state: &'a dyn Session) -> BoxFuture<'a, DfResult<Option<RecordBatch>>> {
        async {
            let found = self.found().await?;
            let columns = COLUMNS.iter().map(|column| -> ArrayRef {
                match NUMBERS.contains(column) {
                    true => Arc::new(found.iter().map(|row| row.number(column)).collect::<Int32Array>()),
                    false => Arc::new(found.iter().map(|row| row.text(column)).collect::<StringArray>()),
                }
            });
            Ok(Some(RecordBatch::try_new(schema(), columns.collect())?))
        }
        .boxed()
    }
}
