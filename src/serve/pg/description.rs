//! What is said of tables and columns: `pg_description`, `obj_description` and `col_description`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TableType, Volatility,
};
use datafusion::prelude::SessionContext;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::fresh::Rows;
use super::{PgCatalog, Told};

/// The number of `pg_class` itself, which says of a description what it describes.
const PG_CLASS: i32 = 1259;

impl PgCatalog {
    /// `obj_description` and `col_description`, which answer once [`PgCatalog::describe`] has been called.
    pub(in crate::serve) fn functions(self: &Arc<Self>) -> [ScalarUDF; 2] {
        ["obj_description", "col_description"].map(|name| {
            ScalarUDF::new_from_impl(Describing {
                name,
                of: Arc::clone(self),
                signature: Signature::variadic_any(Volatility::Stable),
            })
        })
    }

    /// Finds out which object has which description.
    pub(in crate::serve) async fn describe(&self, session: &SessionContext) -> DfResult<Told> {
        if let Some(told) = self.told.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(told);
        }
        let comments = Arc::clone(&self.comments.read().unwrap_or_else(PoisonError::into_inner));
        let classes =
            session.read_table(self.named("pg_class").await?)?.select_columns(&["oid", "relname", "relnamespace"])?;
        let spaces = session.read_table(self.named("pg_namespace").await?)?.select_columns(&["oid", "nspname"])?;
        let mut schemas = HashMap::new();
        for batch in spaces.collect().await? {
            for (oid, name) in numbered(&batch, 0, 1)? {
                schemas.insert(oid, name);
            }
        }
        let mut told = HashMap::new();
        for batch in classes.collect().await? {
            let spaces = batch.column(2).as_primitive_opt::<Int32Type>();
            for (row, (oid, table)) in numbered(&batch, 0, 1)?.into_iter().enumerate() {
                let schema = spaces.and_then(|spaces| schemas.get(&spaces.value(row)));
                let Some(schema) = schema else { continue };
                let Some(comments) = comments.0.get(&(schema.clone(), table)) else { continue };
                told.extend(comments.table.iter().map(|text| ((oid, 0), text.clone())));
                told.extend(comments.columns.iter().map(|(place, text)| ((oid, *place), text.clone())));
            }
        }
        let told = Arc::new(told);
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&told));
        Ok(told)
    }

    /// The rows of `pg_description`.
    async fn descriptions(&self) -> DfResult<RecordBatch> {
        let told = match self.current.list() {
            Some(_) => self.describe(&SessionContext::new_with_state(bare())).await?,
            None => Told::default(),
        };
        let mut rows: Vec<(&(i32, i32), &String)> = told.iter().collect();
        rows.sort();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|((oid, _), _)| *oid).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|_| PG_CLASS).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|((_, place), _)| *place).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|(_, text)| Some(text.as_str())).collect::<StringArray>()),
        ];
        Ok(RecordBatch::try_new(description_schema(), columns)?)
    }
}

/// The columns of `pg_description`.
fn description_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int32, false);
    let text = Field::new("description", DataType::Utf8, false);
    Arc::new(Schema::new(vec![number("objoid"), number("classoid"), number("objsubid"), text]))
}

/// `pg_description`: finding its rows reads `pg_class`, and that lists this table while it holds the numbers of all.
#[derive(Debug)]
pub(super) struct Descriptions(pub(super) Weak<PgCatalog>);

impl Rows for Descriptions {
    const KIND: TableType = TableType::Base;

    fn schema() -> SchemaRef {
        description_schema()
    }

    fn rows<'a>(&'a self, _state: &'a dyn Session) -> BoxFuture<'a, DfResult<Option<RecordBatch>>> {
        async {
            let Some(catalog) = self.0.upgrade() else { return Ok(None) };
            catalog.descriptions().await.map(Some)
        }
        .boxed()
    }
}

/// A session that knows nothing, for two tables that are read whole.
fn bare() -> SessionState {
    SessionStateBuilder::new().build()
}

/// A column of numbers beside one of names.
fn numbered(batch: &RecordBatch, number: usize, name: usize) -> DfResult<Vec<(i32, String)>> {
    let wrong = || DataFusionError::Internal("pg_class has other columns than it had".to_owned());
    let numbers = batch.column(number).as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
    let names = arrow::compute::cast(batch.column(name), &DataType::Utf8)?;
    let names = names.as_string_opt::<i32>().ok_or_else(wrong)?;
    Ok((0..batch.num_rows()).map(|row| (numbers.value(row), names.value(row).to_owned())).collect())
}

/// `obj_description(oid, …)` and `col_description(oid, place)`.
#[derive(Debug)]
struct Describing {
    name: &'static str,
    of: Arc<PgCatalog>,
    signature: Signature,
}

impl PartialEq for Describing {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.of, &other.of)
    }
}

impl Eq for Describing {}

impl std::hash::Hash for Describing {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Describing {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let told = self.of.told.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let number = |place: usize| -> DfResult<ArrayRef> {
            let Some(argument) = arguments.args.get(place) else {
                return Err(DataFusionError::Plan(format!("`{}` takes an oid", self.name)));
            };
            Ok(arrow::compute::cast(&argument.to_array(arguments.number_rows)?, &DataType::Int32)?)
        };
        let oids = number(0)?;
        let places = if self.name == "col_description" { Some(number(1)?) } else { None };
        let oids = oids.as_primitive::<Int32Type>();
        let mut texts = StringBuilder::new();
        for row in 0..arguments.number_rows {
            let place = places.as_ref().map_or(0, |places| places.as_primitive::<Int32Type>().value(row));
            let text = oids.is_valid(row).then(|| told.get(&(oids.value(row), place))).flatten();
            texts.append_option(text);
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}
