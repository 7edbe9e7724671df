//! What products were landed with, looked up row by row. Products are few beside the rows that name them: a join would take
//! every row along, and the columns of every row's product.

use std::hash::{Hash, Hasher};
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;
use hashbrown::HashMap;

use super::codes::{Codes, is_short};
use super::columns::KeyColumn;
use crate::segments::compile::program::{Key, Lookup};
use crate::segments::compile::{PRODUCT_CATEGORY, PRODUCT_LABELS};

/// The products of a shop, and where each id stands.
#[derive(Debug)]
pub(super) struct Products {
    /// `product_id`, `category`, `labels`.
    rows: RecordBatch,
    /// Short ids by their views, which hold all of them, and long ones.
    by_view: HashMap<u128, u32>,
    by_id: HashMap<String, u32>,
    /// What they and their codes take of the engine's memory.
    held: Option<MemoryReservation>,
}

/// What the codes of a product take, but for the id and the codes themselves: in a list, and in a map that all scans share.
const BYTES_OF_PRODUCT: usize = 160;

impl Products {
    fn new(rows: RecordBatch, held: Option<MemoryReservation>) -> Result<Self> {
        let ids = cast(rows.column(0), &DataType::Utf8View)?;
        let ids = ids.as_string_view();
        let (mut by_view, mut by_id) = (HashMap::new(), HashMap::new());
        for ((place, id), view) in (0_u32..).zip(ids).zip(ids.views()) {
            match id {
                Some(_) if is_short(*view) => by_view.insert(*view, place),
                Some(id) => by_id.insert(id.to_owned(), place),
                None => None,
            };
        }
        Ok(Self { by_view, by_id, rows, held })
    }

    /// Those that a statement gives: `product_id`, `category` and `labels`.
    ///
    /// # Errors
    /// What the statement fails with, and products that do not fit into memory.
    pub(super) async fn read(session: &SessionContext, sql: &str) -> Result<Arc<Self>> {
        let frame = Box::pin(session.sql(sql)).await?;
        let schema = Arc::clone(frame.schema().inner());
        let rows = concat_batches(&schema, &frame.collect().await?)?;
        let held = MemoryConsumer::new("products").register(&session.runtime_env().memory_pool);
        held.try_grow(2 * rows.get_array_memory_size())?;
        Ok(Arc::new(Self::new(rows, Some(held))?))
    }

    /// Functions that look products up.
    pub(super) fn functions(self: &Arc<Self>) -> Vec<ScalarUDF> {
        FUNCTIONS.iter().map(|(name, column)| OfProduct::function(name, *column, self)).collect()
    }

    /// By id, the codes of a key that stand for the product's value, where they are any: a path is its category, and a list its
    /// labels.
    ///
    /// # Errors
    /// Columns of other types, and codes that do not fit into memory.
    pub(super) fn codes(&self, key: &Key) -> Result<Vec<(String, Vec<u32>)>> {
        let column = usize::from(key.lookup == Lookup::Elements) + 1;
        let mut values = KeyColumn::read(key.lookup, Some(self.rows.column(column)), None)?;
        let mut codes = Codes::new(key);
        codes.begin_batch();
        let ids = cast(self.rows.column(0), &DataType::Utf8View)?;
        let mut all = Vec::new();
        let mut bytes = 0;
        let places = self.places(self.rows.column(0))?;
        for ((row, id), place) in ids.as_string_view().iter().enumerate().zip(&places) {
            // Whichever row of an id is looked up is the one that counts here, too.
            let Some(id) = id.filter(|_| place.is_some_and(|place| place as usize == row)) else { continue };
            let list = values.list_of(&mut codes, row);
            let own = codes.list(list as usize);
            if !own.is_empty() {
                all.push((id.to_owned(), own.to_vec()));
                bytes += 2 * id.len() + size_of_val(own) + BYTES_OF_PRODUCT;
            }
        }
        if let Some(held) = &self.held {
            held.try_grow(bytes)?;
        }
        Ok(all)
    }

    /// The row of each id; none where no product has it.
    fn places(&self, ids: &ArrayRef) -> Result<UInt32Array> {
        let ids = cast(ids, &DataType::Utf8View)?;
        let ids = ids.as_string_view();
        let place = |(row, view): (usize, &u128)| {
            if ids.is_null(row) {
                return None;
            }
            let known = if is_short(*view) { self.by_view.get(view) } else { self.by_id.get(ids.value(row)) };
            known.copied()
        };
        Ok(ids.views().iter().enumerate().map(place).collect())
    }
}

/// `segment_product_category(product_id)` and `segment_product_labels(product_id)`. The function carries the products, so a plan
/// that is sent elsewhere is sent with them, once for every mention of the function.
#[derive(Debug)]
pub(super) struct OfProduct {
    name: &'static str,
    column: usize,
    products: Arc<Products>,
    signature: Signature,
}

const FUNCTIONS: [(&str, usize); 2] = [(PRODUCT_CATEGORY, 1), (PRODUCT_LABELS, 2)];

impl OfProduct {
    fn function(name: &'static str, column: usize, products: &Arc<Products>) -> ScalarUDF {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { name, column, products: Arc::clone(products), signature })
    }

    /// Whether a function of that name is one of them.
    pub(super) fn is(name: &str) -> bool {
        FUNCTIONS.iter().any(|(known, _)| *known == name)
    }

    /// The function as bytes.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let rows = &self.products.rows;
        let mut writer = StreamWriter::try_new(bytes, rows.schema_ref())?;
        writer.write(rows)?;
        Ok(writer.finish()?)
    }

    /// The function of that name that was written as bytes.
    pub(super) fn read(name: &str, bytes: &[u8]) -> Result<ScalarUDF> {
        let unknown = || exec_datafusion_err!("`{name}` came without its products");
        let (name, column) = FUNCTIONS.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
        let rows = StreamReader::try_new(Cursor::new(bytes), None)?.next().ok_or_else(unknown)??;
        Ok(Self::function(name, *column, &Arc::new(Products::new(rows, None)?)))
    }
}

impl PartialEq for OfProduct {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.products, &other.products)
    }
}

impl Eq for OfProduct {}

impl Hash for OfProduct {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for OfProduct {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.products.rows.column(self.column).data_type().clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ids] = arguments.args.as_slice() else { return exec_err!("`{}` takes one argument", self.name) };
        let places = self.products.places(&ids.to_array(arguments.number_rows)?)?;
        let values = take(self.products.rows.column(self.column), &places, None).map_err(DataFusionError::from)?;
        Ok(ColumnarValue::Array(values))
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;
    use crate::segments::compile::program::Owner;

    async fn looked_up(products: &str) -> String {
        let session = crate::segments::shop::session();
        for function in Products::read(&session, products).await.unwrap().functions() {
            session.register_udf(function);
        }
        let sql = "SELECT segment_product_category(id) AS category, segment_product_labels(id) AS labels \
                   FROM (VALUES (1, 'p1'), (2, NULL), (3, 'p9'), (4, 'a product with a long id'), (5, 'p2'), \
                   (6, 'a product with another'), (7, 'p1')) r(n, id) ORDER BY n";
        pretty_format_batches(&session.sql(sql).await.unwrap().collect().await.unwrap()).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_row_has_what_its_product_was_landed_with() {
        let products = "SELECT id AS product_id, category, CASE WHEN category IS NOT NULL THEN [id, 'sale'] END AS labels \
                        FROM (VALUES ('p1', 'Men'), ('p2', NULL), ('a product with a long id', 'Kids'), (NULL, 'none')) \
                        p(id, category)";
        assert_eq!(
            looked_up(products).await,
            "\
+----------+----------------------------------+
| category | labels                           |
+----------+----------------------------------+
| Men      | [p1, sale]                       |
|          |                                  |
|          |                                  |
| Kids     | [a product with a long id, sale] |
|          |                                  |
|          |                                  |
| Men      | [p1, sale]                       |
+----------+----------------------------------+"
        );
        let nothing = looked_up(&format!("{products} WHERE false")).await;
        assert_eq!(nothing.matches("|          |        |").count(), 7, "{nothing}");
    }

    #[tokio::test]
    async fn codes_are_those_of_the_row_that_is_looked_up() {
        let products = "SELECT id AS product_id, category, CASE WHEN n < 4 THEN ['Sale', 'new'] END AS labels \
                        FROM (VALUES (1, 'p1', 'Men'), (2, 'a product with a long id', 'Men > Shoes'), (3, 'p2', 'Kids'), \
                        (4, 'p1', 'Kids'), (5, NULL, 'Men'), (6, 'p3', NULL)) p(n, id, category) ORDER BY n";
        let session = crate::segments::shop::session();
        let products = Products::read(&session, products).await.unwrap();
        let reserved = || session.runtime_env().memory_pool.reserved();
        let before = reserved();
        let codes = |lookup: Lookup, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let owner = Owner::RowOrProduct;
            products.codes(&Key { lookup, owner, values, products: Vec::new() }).unwrap()
        };
        let long = "a product with a long id".to_owned();
        // The first row of `p1` is not the one that its functions give.
        assert_eq!(codes(Lookup::Path, &["Men", "Men > Shoes"]), [(long.clone(), vec![0, 1])]);
        assert_eq!(codes(Lookup::Elements, &["new", "sale"]), [(long, vec![0, 1]), ("p2".to_owned(), vec![0, 1])]);
        assert_eq!(codes(Lookup::Path, &["Women"]), []);
        assert!(reserved() > before && before > 0, "codes are reserved beside the products");
        drop(products);
        assert_eq!(reserved(), 0);
    }
}
