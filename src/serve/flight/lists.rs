//! Lists: catalogues, schemas, tables, keys, types, and what the server can do.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables, Nullable,
    Searchable, SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
};
use datafusion::catalog::CatalogProvider;
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use tonic::Status;

use super::{plain, status};
use crate::schema::published::{AS_OF, named};
use crate::serve::fault::Fault;
use crate::serve::pg::CATALOG;
use crate::serve::state::newest_only;

type Result<T> = std::result::Result<T, Status>;

fn failed(error: FlightError) -> Status {
    Status::internal(error.to_string())
}

fn arrow_failed(error: ArrowError) -> Status {
    Status::internal(error.to_string())
}

fn catalog(context: &SessionContext) -> Result<Arc<dyn CatalogProvider>> {
    context.catalog(CATALOG).ok_or_else(|| Status::internal("there is no catalogue"))
}

/// The schemas that are listed: what is Postgres's own is of no use here.
fn schemas(catalog: &Arc<dyn CatalogProvider>) -> Vec<String> {
    let mut names = catalog.schema_names();
    names.retain(|name| !["information_schema", "pg_catalog"].contains(&name.as_str()));
    names.sort();
    names
}

pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build().map_err(failed)
}

pub(super) fn db_schemas(query: CommandGetDbSchemas, context: &SessionContext) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for schema in schemas(&catalog(context)?) {
        builder.append(CATALOG, schema);
    }
    builder.build().map_err(failed)
}

pub(super) async fn tables(query: CommandGetTables, context: &SessionContext) -> Result<RecordBatch> {
    let with_columns = query.include_schema;
    let mut builder = query.into_builder();
    let catalog = catalog(context)?;
    for schema in schemas(&catalog) {
        let Some(provider) = catalog.schema(&schema) else { continue };
        let mut names = provider.table_names();
        names.sort();
        for name in names {
            let refused = |error: datafusion::error::DataFusionError| status(Fault::from(error));
            let kind = match provider.table_type(&name).await.map_err(refused)? {
                Some(TableType::View) => "VIEW",
                _ => "TABLE",
            };
            let columns = match with_columns {
                true => provider.table(&name).await.map_err(refused)?.map(|table| plain(&table.schema())),
                false => None,
            };
            let columns = columns.unwrap_or_else(|| Arc::new(Schema::empty()));
            builder.append(CATALOG, &schema, &name, kind, &columns).map_err(failed)?;
        }
    }
    builder.build().map_err(failed)
}

pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append("TABLE");
    builder.append("VIEW");
    builder.build().map_err(failed)
}

pub(super) fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

/// What no two rows of a table share: nothing enforces it but the night that writes them.
pub(super) fn primary_keys(query: &CommandGetPrimaryKeys) -> Result<RecordBatch> {
    let base = query.table.strip_suffix("_latest").unwrap_or(&query.table);
    let mut key: Vec<&str> = Vec::new();
    if let Some(table) = named(base).filter(|table| !table.key.is_empty()) {
        if base == query.table && !newest_only(base) {
            key.push(AS_OF);
        }
        key.extend(table.key);
    } else if query.db_schema.as_deref() == Some("segment") {
        key.push("customer_id");
    }
    let rows = key.len();
    let same = |text: &str| Arc::new(StringArray::from(vec![text.to_owned(); rows])) as ArrayRef;
    let sequence: Vec<i32> = (1..).take(rows).collect();
    let columns = vec![
        same(CATALOG),
        same(query.db_schema.as_deref().unwrap_or("public")),
        same(&query.table),
        Arc::new(StringArray::from(key)) as ArrayRef,
        same(&format!("{}_key", query.table)),
        Arc::new(Int32Array::from(sequence)) as ArrayRef,
    ];
    RecordBatch::try_new(primary_keys_schema(), columns).map_err(arrow_failed)
}

/// No table refers to another.
pub(super) fn no_keys() -> Result<RecordBatch> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let schema = Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]));
    let columns = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(StringArray::from(Vec::<String>::new())) as ArrayRef,
        DataType::Int32 => Arc::new(Int32Array::from(Vec::<i32>::new())) as ArrayRef,
        _ => Arc::new(UInt8Array::from(Vec::<u8>::new())) as ArrayRef,
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).map_err(arrow_failed)
}

static INFO: LazyLock<Option<SqlInfoData>> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Alluvial");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    info.build().ok()
});

/// What the server can do.
pub(super) fn info() -> Result<&'static SqlInfoData> {
    INFO.as_ref().ok_or_else(|| Status::internal("what the server can do cannot be told"))
}

static TYPES: LazyLock<Option<XdbcTypeInfoData>> = LazyLock::new(|| {
    let kinds = [
        ("VARCHAR", XdbcDataType::XdbcVarchar, None, Some("'")),
        ("BIGINT", XdbcDataType::XdbcBigint, Some(64), None),
        ("INTEGER", XdbcDataType::XdbcInteger, Some(32), None),
        ("DOUBLE", XdbcDataType::XdbcDouble, Some(53), None),
        ("DECIMAL", XdbcDataType::XdbcDecimal, Some(38), None),
        ("BOOLEAN", XdbcDataType::XdbcBit, Some(1), None),
        ("DATE", XdbcDataType::XdbcDate, Some(10), Some("'")),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, Some(29), Some("'")),
    ];
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, kind, size, quote) in kinds {
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type: kind,
            column_size: size,
            literal_prefix: quote.map(str::to_owned),
            literal_suffix: quote.map(str::to_owned),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: kind == XdbcDataType::XdbcVarchar,
            searchable: Searchable::Full,
            local_type_name: Some(name.to_owned()),
            sql_data_type: kind,
            ..XdbcTypeInfo::default()
        });
    }
    types.build().ok()
});

/// The types of columns.
pub(super) fn types() -> Result<&'static XdbcTypeInfoData> {
    TYPES.as_ref().ok_or_else(|| Status::internal("the types cannot be told"))
}
