//! Who is who: chains of merges, and the ids of guests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use datafusion::common::exec_err;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::{DataFrame, SessionContext};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::engine::statement::{Params, plan_text};
use crate::error::Result;

/// The links whose target is itself linked on, by the linked id: target and time in microseconds.
type Edges = BTreeMap<String, (String, i64)>;

/// Follows the links whose target is itself linked on to their end, as the table (id, root).
pub(super) async fn chains(session: &SessionContext) -> Result<DataFrame> {
    let sql = "SELECT anonymous_id, customer_id, linked_at FROM links \
               WHERE anonymous_id IN (SELECT customer_id FROM links)";
    let mut edges = Edges::new();
    for batch in plan_text(session, sql, &Params::new()).await?.collect().await? {
        let from = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let to = arrow::compute::cast(batch.column(1), &DataType::Utf8)?;
        let (from, to) = (from.as_string::<i32>(), to.as_string::<i32>());
        let at = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let linked_at = if at.is_valid(row) { at.value(row) } else { i64::MIN };
            edges.insert(from.value(row).to_owned(), (to.value(row).to_owned(), linked_at));
        }
    }
    let roots = roots(edges);
    let schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false), Field::new("root", DataType::Utf8, false)]));
    let ids: StringArray = roots.keys().map(|id| Some(id.as_str())).collect();
    let ends: StringArray = roots.values().map(|root| Some(root.as_str())).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(ends)])?;
    Ok(session.read_table(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?)
}

/// The end of every chain. In a circle of merges the earliest link is the one that later links took back.
fn roots(mut edges: Edges) -> BTreeMap<String, String> {
    let starts: Vec<String> = edges.keys().cloned().collect();
    for start in &starts {
        while let Some(circle) = circle_from(&edges, start) {
            let oldest = circle.into_iter().min_by(|a, b| {
                let at = |id: &String| edges.get(id).map_or(i64::MIN, |(_, at)| *at);
                (at(a), a).cmp(&(at(b), b))
            });
            if let Some(oldest) = oldest {
                edges.remove(&oldest);
            }
        }
    }
    let mut roots = BTreeMap::new();
    for start in starts {
        let mut end = &start;
        while let Some((next, _)) = edges.get(end) {
            end = next;
        }
        roots.insert(start.clone(), end.clone());
    }
    roots
}

/// The members of the circle that following the links from `start` ends in, if it does.
fn circle_from(edges: &Edges, start: &str) -> Option<Vec<String>> {
    let mut path: Vec<&str> = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    let mut at = start;
    loop {
        if let Some(first) = seen.get(at) {
            return Some(path.iter().skip(*first).map(|id| (*id).to_owned()).collect());
        }
        seen.insert(at, path.len());
        path.push(at);
        at = edges.get(at)?.0.as_str();
    }
}

/// `guest_id(address)`: `guest:` and the first 16 hex digits of HMAC-SHA-256(lake key, address).
#[derive(PartialEq, Eq, Hash)]
struct GuestId {
    key: Vec<u8>,
    signature: Signature,
}

impl std::fmt::Debug for GuestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestId") // the key is a secret
    }
}

/// The function `guest_id` under a lake's key.
pub fn guest_id_function(key: &[u8]) -> ScalarUDF {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(GuestId { key: key.to_vec(), signature })
}

impl ScalarUDFImpl for GuestId {
    fn name(&self) -> &str {
        "guest_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let Some(first) = arguments.args.first() else { return exec_err!("guest_id takes an address") };
        let values = arrow::compute::cast(&first.to_array(arguments.number_rows)?, &DataType::Utf8View)?;
        let mut out = StringViewBuilder::with_capacity(values.len());
        for value in values.as_string_view() {
            match value {
                None => out.append_null(),
                Some(address) => out.append_value(guest_id(&self.key, address)?),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

fn guest_id(key: &[u8], address: &str) -> datafusion::error::Result<String> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return exec_err!("the lake key is empty") };
    mac.update(address.as_bytes());
    let digest = hex::encode(mac.finalize().into_bytes());
    Ok(format!("guest:{}", &digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(links: &[(&str, &str, i64)]) -> Edges {
        links.iter().map(|(from, to, at)| ((*from).to_owned(), ((*to).to_owned(), *at))).collect()
    }

    #[test]
    fn chains_end_at_the_last_customer() {
        let roots = roots(edges(&[("a", "b", 1), ("b", "c", 2)]));
        assert_eq!(roots["a"], "c");
        assert_eq!(roots["b"], "c");
    }

    #[test]
    fn a_circle_breaks_at_its_oldest_link() {
        let roots = roots(edges(&[("a", "b", 1), ("b", "a", 2), ("x", "a", 0)]));
        assert_eq!(roots["b"], "a");
        assert_eq!(roots["a"], "a");
        assert_eq!(roots["x"], "a");
    }

    #[test]
    fn guests_are_named_by_the_key() {
        let one = guest_id(b"key", "a@example.com").unwrap();
        assert_eq!(one.len(), 22);
        assert_ne!(one, guest_id(b"other", "a@example.com").unwrap());
        assert_eq!(one, guest_id(b"key", "a@example.com").unwrap());
    }
}
