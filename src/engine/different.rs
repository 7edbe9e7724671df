//! Columns whose values hardly repeat: a dictionary costs them a look-up for every value, and is given up half-way.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use parquet::schema::types::ColumnPath;

use crate::error::Result;

/// Rows that are looked at.
const SAMPLE: usize = 2_048;

/// Columns of Parquet in which more than three of four of a batch's first values are different, with their types. Lists have
/// none: their elements repeat, or are few.
///
/// # Errors
/// None that input can cause.
pub fn mostly_different(batch: &RecordBatch) -> Result<Vec<(ColumnPath, DataType)>> {
    let sample = batch.slice(0, batch.num_rows().min(SAMPLE));
    let mut found = Vec::new();
    for (field, column) in sample.schema().fields().iter().zip(sample.columns()) {
        look(vec![field.name().clone()], column, &mut found)?;
    }
    Ok(found)
}

fn look(path: Vec<String>, column: &ArrayRef, found: &mut Vec<(ColumnPath, DataType)>) -> Result<()> {
    match column.data_type() {
        DataType::Struct(fields) => {
            for (field, part) in fields.iter().zip(column.as_struct().columns()) {
                let mut path = path.clone();
                path.push(field.name().clone());
                look(path, part, found)?;
            }
        }
        kind if kind.is_nested() || matches!(kind, DataType::Boolean | DataType::Null | DataType::Dictionary(..)) => {}
        kind => {
            let values = column.len() - column.null_count();
            if values > 0 && distinct(column)? * 4 > values * 3 {
                found.push((ColumnPath::new(path), kind.clone()));
            }
        }
    }
    Ok(())
}

/// How many different values a column has, nulls left out.
fn distinct(column: &ArrayRef) -> Result<usize> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(column))?;
    let values: HashSet<&[u8]> =
        (0..column.len()).filter(|row| column.is_valid(*row)).map(|row| rows.row(row).data()).collect();
    Ok(values.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray, StringViewArray, StructArray};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    #[test]
    fn ids_are_and_categories_are_not() {
        let numbers = 0..100_i64;
        let ids: ArrayRef = Arc::new(StringViewArray::from_iter_values(numbers.clone().map(|n| format!("c{n}"))));
        let kinds: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("k{}", n % 70))));
        let few: ArrayRef = Arc::new(Int64Array::from_iter(numbers.clone().map(|n| (n % 10 == 0).then_some(n))));
        let missing: ArrayRef = Arc::new(Int64Array::from(vec![None; 100]));
        let lists: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(numbers.map(|n| Some(vec![Some(n)]))));
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let both: ArrayRef = Arc::new(StructArray::from(vec![
            (field("id", &ids), Arc::clone(&ids)),
            (field("kind", &kinds), Arc::clone(&kinds)),
        ]));
        let columns =
            [("id", ids), ("kind", kinds), ("few", few), ("missing", missing), ("lists", lists), ("both", both)];
        let columns = columns.map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let found: Vec<String> = mostly_different(&batch).unwrap().iter().map(|(path, _)| path.string()).collect();
        assert_eq!(found, ["id", "few", "both.id"]);
        assert!(mostly_different(&batch.slice(0, 0)).unwrap().is_empty());
    }
}
