//! Single rows: read from a statement that gives one, and built column by column.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Field, Schema};
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::dataframe::DataFrame;

use crate::error::{Error, Result};
use crate::schema::landed::instant_type;

/// Days since 1970-01-01, as Date32 has them.
pub(super) fn days_of(date: NaiveDate) -> i32 {
    Date32Type::from_naive_date(date)
}

/// The first row of a result.
pub(super) struct Row(RecordBatch, usize);

impl Row {
    /// A result of exactly one row.
    pub(super) async fn of(query: DataFrame) -> Result<Self> {
        let batch = whole(query).await?;
        if batch.num_rows() != 1 {
            let message = format!("a statement that gives one row gave {}", batch.num_rows());
            return Err(Error::definition("lifecycle.columns", message));
        }
        Ok(Self(batch, 0))
    }

    /// Every row of a result.
    pub(super) async fn all(query: DataFrame) -> Result<Vec<Self>> {
        let batch = whole(query).await?;
        Ok((0..batch.num_rows()).map(|row| Self(batch.clone(), row)).collect())
    }

    fn column(&self, name: &str, data_type: &DataType) -> Result<ArrayRef> {
        let column = self.0.column_by_name(name);
        let column = column.ok_or_else(|| {
            Error::definition("lifecycle.columns", format!("the column `{name}` is missing from a statement's row"))
        })?;
        Ok(arrow::compute::cast(&column.slice(self.1, 1), data_type)?)
    }

    pub(super) fn double(&self, name: &str) -> Result<Option<f64>> {
        let column = self.column(name, &DataType::Float64)?;
        let column = column.as_any().downcast_ref::<Float64Array>();
        Ok(column.filter(|column| column.is_valid(0)).map(|column| column.value(0)))
    }

    pub(super) fn count(&self, name: &str) -> Result<i64> {
        let column = self.column(name, &DataType::Int64)?;
        let column = column.as_any().downcast_ref::<Int64Array>();
        Ok(column.filter(|column| column.is_valid(0)).map_or(0, |column| column.value(0)))
    }

    /// Money in hundredths.
    pub(super) fn cents(&self, name: &str) -> Result<i128> {
        let column = self.column(name, &DataType::Decimal128(38, 2))?;
        let column = column.as_any().downcast_ref::<Decimal128Array>();
        Ok(column.filter(|column| column.is_valid(0)).map_or(0, |column| column.value(0)))
    }

    pub(super) fn date(&self, name: &str) -> Result<Option<NaiveDate>> {
        let column = self.column(name, &DataType::Date32)?;
        let column = column.as_any().downcast_ref::<Date32Array>();
        Ok(column.filter(|column| column.is_valid(0)).and_then(|column| column.value_as_date(0)))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        let column = self.column(name, &DataType::Boolean)?;
        let column = column.as_any().downcast_ref::<BooleanArray>();
        Ok(column.is_some_and(|column| column.is_valid(0) && column.value(0)))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        let column = self.column(name, &DataType::Utf8)?;
        let column = column.as_any().downcast_ref::<StringArray>();
        Ok(column.filter(|column| column.is_valid(0)).map(|column| column.value(0).to_owned()))
    }
}

async fn whole(query: DataFrame) -> Result<RecordBatch> {
    let schema = Arc::clone(query.schema().inner());
    let batches = Box::pin(query.collect()).await?;
    Ok(match batches.first() {
        Some(first) => concat_batches(&first.schema(), &batches)?,
        None => RecordBatch::new_empty(schema),
    })
}

/// A row in the making: a name and a value at a time.
#[derive(Default)]
pub(super) struct OneRow {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl OneRow {
    fn with(mut self, name: &str, column: ArrayRef) -> Self {
        self.fields.push(Field::new(name, column.data_type().clone(), true));
        self.columns.push(column);
        self
    }

    pub(super) fn text(self, name: &str, value: Option<&str>) -> Self {
        self.with(name, Arc::new(StringViewArray::from(vec![value])))
    }

    pub(super) fn double(self, name: &str, value: impl Into<Option<f64>>) -> Self {
        self.with(name, Arc::new(Float64Array::from(vec![value.into()])))
    }

    pub(super) fn count(self, name: &str, value: impl Into<Option<i64>>) -> Self {
        self.with(name, Arc::new(Int64Array::from(vec![value.into()])))
    }

    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        self.with(name, Arc::new(BooleanArray::from(vec![value])))
    }

    pub(super) fn date(self, name: &str, value: Option<NaiveDate>) -> Self {
        self.with(name, Arc::new(Date32Array::from(vec![value.map(days_of)])))
    }

    pub(super) fn cents(self, name: &str, value: Option<i128>) -> Result<Self> {
        let column = Decimal128Array::from(vec![value]).with_precision_and_scale(38, 2)?;
        Ok(self.with(name, Arc::new(column)))
    }

    pub(super) fn instant(self, name: &str, value: DateTime<Utc>) -> Self {
        let column = TimestampMicrosecondArray::from(vec![value.timestamp_micros()]).with_timezone("UTC");
        debug_assert_eq!(column.data_type(), &instant_type());
        self.with(name, Arc::new(column))
    }

    pub(super) fn finish(self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.columns)?)
    }
}
