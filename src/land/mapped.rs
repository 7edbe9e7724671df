//! Files of another program in the contract's shape: a mapping is an SQL file from the raw columns, all text, to the
//! contract's. Its head says which export it reads and names that export's columns.
//!
//! The raw files are read whole into one table, `raw`, of text columns beside `_file` and `_row`; the statement's rows are
//! written as one Parquet file with the same bytes for the same rows, which is then landed as any other file is.

/// Functions that the statements call.
mod functions;
/// What a mapping's head says.
mod head;
/// Raw files as one table of text.
mod raw;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::TableOptions;
use crate::diagnostic::nearest;
use crate::engine::Engine;
use crate::engine::statement::{Params, identifier, plan_text};
use crate::error::{Error, Result};
use crate::schema::landed::Table;
use head::Head;

/// The platforms that have mappings, each with its statements by table.
pub const PLATFORMS: &[(&str, &[(Table, &str)])] = &[
    (
        "shopify",
        &[
            (Table::Orders, include_str!("../../sql/imports/shopify/orders.sql")),
            (Table::OrderItems, include_str!("../../sql/imports/shopify/order_items.sql")),
            (Table::Customers, include_str!("../../sql/imports/shopify/customers.sql")),
            (Table::Products, include_str!("../../sql/imports/shopify/products.sql")),
        ],
    ),
    (
        "woocommerce",
        &[
            (Table::Orders, include_str!("../../sql/imports/woocommerce/orders.sql")),
            (Table::OrderItems, include_str!("../../sql/imports/woocommerce/order_items.sql")),
            (Table::Customers, include_str!("../../sql/imports/woocommerce/customers.sql")),
            (Table::Products, include_str!("../../sql/imports/woocommerce/products.sql")),
        ],
    ),
    (
        "magento",
        &[
            (Table::Orders, include_str!("../../sql/imports/magento/orders.sql")),
            (Table::OrderItems, include_str!("../../sql/imports/magento/order_items.sql")),
            (Table::Customers, include_str!("../../sql/imports/magento/customers.sql")),
            (Table::Products, include_str!("../../sql/imports/magento/products.sql")),
        ],
    ),
    (
        "volusion",
        &[
            (Table::Orders, include_str!("../../sql/imports/volusion/orders.sql")),
            (Table::OrderItems, include_str!("../../sql/imports/volusion/order_items.sql")),
            (Table::Customers, include_str!("../../sql/imports/volusion/customers.sql")),
            (Table::Products, include_str!("../../sql/imports/volusion/products.sql")),
        ],
    ),
    ("klaviyo", &[(Table::Customers, include_str!("../../sql/imports/klaviyo/customers.sql"))]),
    ("mailchimp", &[(Table::Customers, include_str!("../../sql/imports/mailchimp/customers.sql"))]),
    ("ga4", &[(Table::Events, include_str!("../../sql/imports/ga4/events.sql"))]),
    ("segment", &[(Table::Events, include_str!("../../sql/imports/segment/events.sql"))]),
    (
        "online-retail",
        &[
            (Table::Orders, include_str!("../../sql/imports/online-retail/orders.sql")),
            (Table::OrderItems, include_str!("../../sql/imports/online-retail/order_items.sql")),
            (Table::Customers, include_str!("../../sql/imports/online-retail/customers.sql")),
        ],
    ),
];

/// From the raw columns of some export to the columns of a landed table.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The table that it fills.
    pub table: Table,
    /// The file that it comes from, for people.
    pub origin: String,
    text: String,
    head: Head,
}

/// What a mapping made of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Rows in the raw files.
    pub raw_rows: u64,
    /// Rows in the contract's shape.
    pub rows: u64,
    /// Raw columns that nothing reads, and what a mapping left out on purpose.
    pub notes: Vec<String>,
}

impl Mapping {
    /// The built-in mapping of a platform for a table; a project's `sql/imports/<platform>/<table>.sql` goes before it.
    ///
    /// # Errors
    /// `land.unknown_platform` and `land.no_mapping`, with what there is; `land.bad_mapping` for a head that says nothing.
    pub fn of(platform: &str, table: Table, overrides: Option<&Path>) -> Result<Self> {
        let origin = format!("sql/imports/{platform}/{}.sql", table.name());
        let Some((_, tables)) = PLATFORMS.iter().find(|(name, _)| *name == platform) else {
            let names: Vec<&str> = PLATFORMS.iter().map(|(name, _)| *name).collect();
            let error = Error::usage("land.unknown_platform", format!("there is no mapping of `{platform}`"));
            return Err(match nearest(platform, names.iter().copied()) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint(format!("there are {}; or write one, `--map FILE.sql`", names.join(", "))),
            });
        };
        if let Some(own) =
            overrides.map(|folder| folder.join("imports").join(platform).join(format!("{}.sql", table.name())))
            && own.is_file()
        {
            return Self::read(&own, &origin, table);
        }
        let Some((_, text)) = tables.iter().find(|(known, _)| *known == table) else {
            let names: Vec<&str> = tables.iter().map(|(table, _)| table.name()).collect();
            return Err(Error::usage("land.no_mapping", format!("`{platform}` has no mapping to {}", table.name()))
                .with_hint(format!("it has one to {}; or write one, `--map FILE.sql`", names.join(", "))));
        };
        Self::parse(&origin, text, table)
    }

    /// A mapping of a person's own.
    ///
    /// # Errors
    /// A file that cannot be read; `land.bad_mapping`.
    pub fn read(path: &Path, origin: &str, table: Table) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::from(error).in_file(origin))?;
        Self::parse(origin, &text, table)
    }

    fn parse(origin: &str, text: &str, table: Table) -> Result<Self> {
        let head = Head::parse(text).map_err(|error| error.in_file(origin))?;
        Ok(Self { table, origin: origin.to_owned(), text: text.to_owned(), head })
    }

    /// The other table that a platform's export of orders fills, if it fills one.
    pub fn beside(platform: &str, table: Table) -> Option<Table> {
        let (_, tables) = PLATFORMS.iter().find(|(name, _)| *name == platform)?;
        let (_, text) = tables.iter().find(|(known, _)| *known == Table::OrderItems)?;
        (table == Table::Orders && text.contains("-- Beside: orders")).then_some(Table::OrderItems)
    }

    /// Reads raw files and writes what the mapping makes of them to `to`, a Parquet file.
    ///
    /// # Errors
    /// `land.not_this_export` for a file that lacks a column which the export has; faults of the files, each with its file,
    /// line and column; what DataFusion says of the statement.
    pub async fn apply(
        &self,
        engine: &Engine,
        files: &[PathBuf],
        settings: &TableOptions,
        to: &Path,
    ) -> Result<Mapped> {
        if settings.money_minor {
            return Err(Error::definition(
                "land.mapped_minor",
                format!(
                    "mappings give money in major units, and the project reads {} in minor ones",
                    self.table.name()
                ),
            )
            .in_file("alluvial.toml")
            .with_hint("take `money = \"minor\"` out of the table's settings"));
        }
        let session = engine.session();
        functions::register(&session);
        let folder = tempfile::tempdir()?;
        let raw = raw::read(&session, &self.head, files, folder.path()).await?;
        let mut notes = Vec::new();
        let (extras, mut text) = (raw.unknown.clone(), self.text.clone());
        if self.table == Table::Customers && text.contains("/*properties*/") {
            let mut taken: BTreeSet<String> =
                self.table.columns().iter().map(|column| column.name.to_owned()).collect();
            let list: String = extras
                .iter()
                .filter_map(|name| {
                    let property = property_name(name);
                    let fresh = !property.is_empty() && taken.insert(property.clone());
                    fresh.then(|| format!(", {} AS {}", identifier(name), identifier(&property)))
                })
                .collect();
            text = text.replace("/*properties*/", &list);
        } else if !extras.is_empty() {
            let names: Vec<String> = extras.iter().map(|name| format!("`{name}`")).collect();
            notes.push(format!("nothing reads the columns {}", names.join(", ")));
        }
        let frame = plan_text(&session, &text, &Params::new()).await.map_err(|error| error.in_file(&*self.origin))?;
        let written = self.write(frame.execute_stream().await?, settings, to).await;
        let rows = written.map_err(|error| self.without_values(error))?;
        for (what, sql) in &self.head.left_out {
            let sql = format!("SELECT count(*) FROM raw WHERE {sql}");
            let batches =
                plan_text(&session, &sql, &Params::new()).await.map_err(|error| error.in_file(&*self.origin))?;
            let counted = batches.collect().await?;
            let count = counted.first().filter(|batch| batch.num_rows() > 0).and_then(|batch| {
                let column = cast(batch.column(0), &DataType::Int64).ok()?;
                Some(arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&column).value(0))
            });
            if let Some(count) = count.filter(|count| *count > 0) {
                notes.push(format!("{count} rows are left out: {what}"));
            }
        }
        Ok(Mapped { raw_rows: raw.rows, rows, notes })
    }

    /// What could not be computed says which value it was, and that may be personal.
    fn without_values(&self, error: Error) -> Error {
        if !["engine.query", "engine.arrow"].contains(&error.code()) {
            return error;
        }
        Error::input("land.mapping", "a value of some row could not be computed by the mapping")
            .in_file(self.origin.clone())
            .with_hint(
                "read numbers and dates with `TRY_CAST`, and leave what is no such thing to the run, which rejects it",
            )
    }

    async fn write(
        &self,
        mut stream: datafusion::execution::SendableRecordBatchStream,
        settings: &TableOptions,
        to: &Path,
    ) -> Result<u64> {
        let schema = stream.schema();
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| {
                // The project reads the contract's columns under these names.
                let name = settings.columns.get(field.name()).unwrap_or(field.name());
                Field::new(name, stored(field.data_type()), true)
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let mut writer = ArrowWriter::try_new(File::create(to)?, Arc::clone(&schema), Some(properties))?;
        let mut rows = 0;
        while let Some(batch) = stream.next().await.transpose()? {
            let columns = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(column, field)| cast(column, field.data_type()))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
            rows += batch.num_rows() as u64;
        }
        writer.close()?;
        Ok(rows)
    }
}

/// What every reader of Parquet knows.
fn stored(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::List(field) => match stored(field.data_type()) {
            DataType::Utf8 => crate::schema::landed::list_type(),
            _ => kind.clone(),
        },
        other => other.clone(),
    }
}

/// A raw column's name as that of a custom property.
fn property_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapping_says_what_it_reads() {
        for (platform, tables) in PLATFORMS {
            for (table, text) in *tables {
                let mapping = Mapping::of(platform, *table, None).unwrap();
                assert!(!mapping.head.required.is_empty(), "{platform}/{}", table.name());
                assert!(text.contains("http"), "{platform}/{} cites its columns", table.name());
                assert!(text.contains("ORDER BY"), "{platform}/{} gives the same bytes every time", table.name());
            }
        }
    }

    #[test]
    fn raw_names_become_properties() {
        assert_eq!(property_name("Shoe Size (EU)"), "shoe_size_eu");
        assert_eq!(property_name("Größe"), "größe");
        assert_eq!(property_name("--"), "");
    }
}
