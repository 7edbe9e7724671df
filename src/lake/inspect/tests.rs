//! Hostile files.

use super::*;
use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use object_store::PutPayload;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

fn file() -> Vec<u8> {
    let rows = 5_000;
    let lists = (0..rows).map(|i| Some((0..i % 4).map(Some)));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("c{i}")))) as ArrayRef),
        ("n", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2_000)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

async fn inspected(bytes: Vec<u8>) -> Result<Inspected> {
    let store = InMemory::new();
    let path = Path::from("landing/orders/x.parquet");
    let size = bytes.len() as u64;
    store.put(&path, PutPayload::from(bytes)).await.unwrap();
    parquet(&store, &path, size).await
}

fn footer_length(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap()) as usize
}

#[tokio::test]
async fn a_whole_file_passes() {
    let inspected = inspected(file()).await.unwrap();
    assert_eq!(inspected.rows, 5_000);
    assert_eq!(inspected.metadata.num_row_groups(), 3);
    let names: Vec<_> = inspected.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "n", "list"]);
}

#[tokio::test]
async fn other_files_are_told_from_broken_ones() {
    for (bytes, code) in [
        (b"".to_vec(), "lake.truncated_parquet"),
        (b"PAR1".to_vec(), "lake.not_parquet"),
        (b"customer_id,email\n1,a@example.org\n".to_vec(), "lake.not_parquet"),
        (b"PAR1 and then the upload stopped".to_vec(), "lake.truncated_parquet"),
        (b"PAR1............PARE".to_vec(), "lake.not_parquet"),
    ] {
        let error = inspected(bytes.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(error.place().file.as_deref(), Some("landing/orders/x.parquet"));
        assert!(error.hint().is_some() && !error.message().contains("example.org"));
    }
}

#[tokio::test]
async fn a_file_cut_anywhere_is_refused() {
    let whole = file();
    for length in (0..whole.len()).step_by(97) {
        let error = inspected(whole[..length].to_vec()).await.unwrap_err();
        assert!(["lake.truncated_parquet", "lake.not_parquet"].contains(&error.code()), "{length}: {error}");
    }
}

#[tokio::test]
async fn footers_that_lie_about_their_length_are_refused() {
    let whole = file();
    for length in [0, 1, 7, whole.len() as u32, u32::MAX, i32::MAX as u32] {
        let mut bytes = whole.clone();
        let at = bytes.len() - 8;
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(inspected(bytes).await.unwrap_err().code(), "lake.truncated_parquet", "{length}");
    }
}

#[tokio::test]
async fn a_claim_of_thousands_of_millions_of_row_groups_is_refused() {
    let whole = file();
    let footer = whole.len() - 8 - footer_length(&whole);
    // The header of the list of row groups: field 4, a list of three structs.
    let at = (footer..whole.len() - 1)
        .find(|i| whole[*i] == 0x19 && whole[*i + 1] == 0x3c && whole[*i + 2] == 0x19)
        .unwrap();
    let mut bytes = whole.clone();
    bytes.splice(at + 1..at + 2, [0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let length = (footer_length(&whole) + 5) as u32;
    let end = bytes.len() - 8;
    bytes[end..end + 4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(inspected(bytes).await.unwrap_err().code(), "lake.truncated_parquet");
}

#[tokio::test]
async fn a_damaged_footer_is_an_error_or_harmless_but_never_a_panic() {
    let whole = file();
    let footer = whole.len() - 8 - footer_length(&whole);
    let mut seed = 42_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut refused = 0;
    let mutations = 3_000;
    for mutation in 0..mutations {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = footer + random(bytes.len() - footer);
            match mutation % 4 {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = random(256) as u8,
                2 => bytes[at] = 0xff,
                _ => drop(bytes.remove(at)),
            }
        }
        match inspected(bytes).await {
            Ok(inspected) => {
                // What passes has every column inside the file.
                for group in inspected.metadata.row_groups() {
                    for column in group.columns() {
                        let (start, length) = column.byte_range();
                        assert!(start + length <= footer as u64);
                    }
                }
            }
            Err(error) => {
                refused += 1;
                assert!(["lake.truncated_parquet", "lake.not_parquet"].contains(&error.code()), "{error}");
            }
        }
    }
    assert!(refused > mutations / 3, "{refused} refused");
}
